"""What the tests of the student share."""

import pytest

from neurogaze_fast.faces.load import load_faces


@pytest.fixture(scope="package")
def faces(small_set):
    """The small set as training reads it."""
    return load_faces("ferplus", small_set)
