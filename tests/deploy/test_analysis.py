"""The one call: everything that holds faces, and what comes back."""

import numpy as np
import pytest
import skimage.data
from PIL import Image

import neurogaze_fast
from neurogaze_fast.deploy import analysis
from neurogaze_fast.deploy.vision.results import COLUMNS
from neurogaze_fast.deploy.vision.video import VideoWriter
from neurogaze_fast.emotions import EMOTIONS
from neurogaze_fast.errors import ConfigError, DataError
from tests.deploy.vision.fakes import BrightnessEngine, FixedDetector


@pytest.fixture
def quick(monkeypatch):
    """An engine and a detector that take no time."""
    engine = BrightnessEngine()
    monkeypatch.setattr(analysis, "_open", lambda *options: engine)
    detector = FixedDetector([8, 8, 40, 40, 0.9])
    monkeypatch.setattr(analysis, "_detector", lambda *options: detector)
    return engine


@pytest.fixture
def folder(tmp_path):
    for number in range(3):
        Image.new("RGB", (64, 64), (80 * number,) * 3).save(tmp_path / f"{number}.png")
    with VideoWriter(tmp_path / "film.mp4", 10) as video:
        for number in range(12):
            video.write(np.full((64, 64, 3), 20 * number, np.uint8))
    return tmp_path


def test_a_photo_with_the_shipped_model(tmp_path):
    photo = np.ascontiguousarray(skimage.data.astronaut()[:400])
    (face,) = neurogaze_fast.analyse(photo, threads=1)
    assert face.label == "happiness"
    assert face.box == pytest.approx((180, 58, 272, 178), abs=10)
    assert face.certainty > 0.9
    Image.fromarray(photo).save(tmp_path / "p.png")
    assert list(neurogaze_fast.analyse(tmp_path / "p.png", threads=1)) == [face]


def test_a_folder_gives_its_pictures_and_videos(folder, quick):
    faces = neurogaze_fast.analyse(folder)
    assert len(faces) == 15
    assert [place[0] for place in faces.places[:3]] == [str(folder / f"{n}.png") for n in range(3)]
    assert [place[1:3] for place in faces.places[3:5]] == [(0, 0.0), (1, 0.1)]
    assert [face.label for face in faces[:3]] == [EMOTIONS[80 * n // 32] for n in range(3)]
    assert {face.identity for face in faces[3:]} == {1}
    assert len(neurogaze_fast.analyse(str(folder / "film.mp4"), every=5)) == 3
    assert len(neurogaze_fast.analyse(str(folder / "*.png"))) == 3


def test_arrays_and_lists_keep_their_order(folder, quick):
    images = np.zeros((3, 64, 64, 3), np.uint8) + np.arange(3, dtype=np.uint8)[:, None, None, None]
    assert [p[0] for p in neurogaze_fast.analyse(images).places] == [f"array {n}" for n in range(3)]
    mixed = [images[0], folder / "2.png", np.zeros((64, 64), np.uint8), str(folder / "1.png")]
    faces = neurogaze_fast.analyse(mixed)
    assert [place[0] for place in faces.places] == [
        "array 0", str(folder / "2.png"), "array 2", str(folder / "1.png"),
    ]  # fmt: skip
    assert [face.label for face in faces][1] == EMOTIONS[160 // 32]
    assert neurogaze_fast.analyse([]) == []
    many = neurogaze_fast.analyse(np.zeros((70, 48, 48, 3), np.uint8), detect=False)
    assert len(many) == 70
    assert quick.batches[-3:] == [32, 32, 6]


def test_a_table_has_a_row_for_each_face(folder, quick):
    pandas = pytest.importorskip("pandas")
    faces = neurogaze_fast.analyse(folder)
    table = faces.to_dataframe()
    assert isinstance(table, pandas.DataFrame)
    assert tuple(table.columns) == COLUMNS
    assert len(table) == 15
    assert table["time_s"].tolist()[3:6] == [0.0, 0.1, 0.2]
    assert table["id"].notna().sum() == 12
    assert tuple(neurogaze_fast.Faces().to_dataframe().columns) == COLUMNS


def test_what_could_not_be_read_is_said(folder, quick, monkeypatch):
    (folder / "bad.png").write_bytes(b"none")
    faces = neurogaze_fast.analyse([folder, folder / "absent.jpg"])
    assert len(faces) == 15
    assert [source.rpartition("/")[2] for source, _ in faces.skipped] == ["bad.png", "absent.jpg"]
    with pytest.raises(DataError, match=r"Nothing could be looked at: .*absent\.jpg: there is no"):
        neurogaze_fast.analyse(folder / "absent.jpg")
    with pytest.raises(DataError, match=r"Image 1 must be uint8 .* float64 \[4, 4\]"):
        neurogaze_fast.analyse([np.zeros((64, 64), np.uint8), np.zeros((4, 4))])
    with pytest.raises(DataError, match="of type int"):
        neurogaze_fast.analyse(3)
    with pytest.raises(ConfigError, match="every is 0"):
        neurogaze_fast.analyse(folder, every=0)


def test_pictures_without_a_face_are_counted(folder, quick, monkeypatch):
    monkeypatch.setattr(analysis, "_detector", lambda *options: FixedDetector())
    faces = neurogaze_fast.analyse(folder / "0.png")
    assert faces == []
    assert faces.without_face == [(str(folder / "0.png"), 0, 0.0)]
