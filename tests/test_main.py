"""One door to all commands: ``neurogaze-fast COMMAND`` and ``python -m neurogaze_fast COMMAND``."""

import importlib.util
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from neurogaze_fast import __version__
from neurogaze_fast.__main__ import COMMANDS, main


def test_every_command_is_a_module_with_a_main():
    for name in COMMANDS:
        spec = importlib.util.find_spec(f"neurogaze_fast.{name.replace('-', '_')}")
        assert "def main(" in Path(spec.origin).read_text(), name


def test_the_script_is_this_door():
    project = tomllib.loads((Path(__file__).parents[1] / "pyproject.toml").read_text())["project"]
    assert project["scripts"] == {"neurogaze-fast": "neurogaze_fast.__main__:main"}


def test_help_names_every_command_without_loading_any(capsys):
    main(["--help"])
    shown = capsys.readouterr().out
    assert all(f"  {name}  " in shown for name in COMMANDS)
    main(["--version"])
    assert capsys.readouterr().out == f"{__version__}\n"


@pytest.mark.parametrize(
    ("words", "said"), [([], "Name a command."), (["fly"], "no command 'fly'")]
)
def test_a_command_that_is_none_is_said(words, said, capsys):
    with pytest.raises(SystemExit) as stop:
        main(words)
    assert stop.value.code == 2
    assert said in capsys.readouterr().err


def test_words_go_on_to_the_command(tmp_path):
    words = ["predict", str(tmp_path / "none.png"), "--no-detect", "--out", str(tmp_path / "out")]
    done = subprocess.run(
        [sys.executable, "-m", "neurogaze_fast", *words], capture_output=True, text=True
    )
    assert done.returncode == 2
    assert "DataError: Of 1 file none could be read" in done.stderr
