"""Map sets in memory and on disk; one thread."""

import pytest
import torch

from tests.teacher.helpers import map_set


@pytest.fixture(scope="package", autouse=True)
def _one_thread():
    """Batches this small only wait for one another's threads."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="session")
def planted():
    """Six rated people and two unrated ones, a strong planted signal."""
    return map_set(support=2)


@pytest.fixture(scope="session")
def maps_folder(planted, tmp_path_factory):
    """`planted` on disk."""
    folder = tmp_path_factory.mktemp("maps") / "maps"
    planted.save(folder)
    return folder
