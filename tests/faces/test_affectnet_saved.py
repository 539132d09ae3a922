"""AffectNet's csv files as other programs save them again."""

import pytest

from neurogaze_fast.errors import DataError
from neurogaze_fast.faces.load import load_faces
from tests.faces.affectnet_files import HEADER, official, row


@pytest.mark.parametrize(
    ("mark", "encoding", "message"),
    [
        (";", "utf-8", "has no header with subdirectory_filepath and expression"),
        ("\t", "utf-8-sig", "has no header"),
        (",", "utf-16", "is not text"),
        (",", "utf-16-be", "is not text|has no header"),
    ],
)
def test_what_a_spreadsheet_saved_is_refused_not_taken_for_class_folders(
    tmp_path, mark, encoding, message
):
    """Its images lie in folders called 1, 2, ...: read as classes, every label would be wrong."""
    rows = [row(f"{number % 3}/{number}.jpg", 6) for number in range(12)]
    root = official(tmp_path, rows, images=".")
    text = (root / "training.csv").read_text().replace(";", "_").replace(",", mark)
    text = "\ufeff" * encoding.endswith("-be") + text
    (root / "training.csv").write_bytes(text.encode(encoding))
    with pytest.raises(DataError, match=message):
        load_faces("affectnet", root)


def test_a_column_that_is_there_twice_is_refused(tmp_path):
    header = HEADER.replace("arousal", "valence")
    with pytest.raises(DataError, match="several columns named valence"):
        load_faces("affectnet", official(tmp_path, [row("1/a.jpg", 6)], header=header))
