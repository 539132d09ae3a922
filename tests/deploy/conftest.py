"""One fitted student and its exported graphs, shared by the tests of engines."""

import pytest

from neurogaze_fast import export as export_command
from neurogaze_fast.deploy.export import parity
from neurogaze_fast.deploy.export.exporting import export
from tests.deploy.small_model import write_run


@pytest.fixture(scope="session")
def fitted_run(tmp_path_factory):
    """A run folder with the model file of a student that tells drawn faces apart."""
    return write_run(tmp_path_factory.mktemp("fitted") / "run")


@pytest.fixture(scope="session")
def quick_timing():
    """Parity reports that time a handful of faces."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(parity, "_SECONDS", 0.05)
        patch.setattr(parity, "_BATCH", 4)
        yield


@pytest.fixture(scope="session")
def exported_run(fitted_run, small_set, quick_timing):
    """The same folder after `export --engine openvino --precision fp32`."""
    options = ["--engine", "openvino", "--precision", "fp32", "--data", str(small_set)]
    export_command.main([str(fitted_run), *options])
    return fitted_run


@pytest.fixture(scope="session")
def int8_run(exported_run, small_set):
    """The same folder with an int8 graph beside the fp32 one."""
    options = ["--engine", "onnxruntime", "--precision", "int8", "--data", str(small_set)]
    options += ["--calibration-faces", "70"]
    export(export_command.parse([str(exported_run), *options]))  # its limits are not the matter
    return exported_run
