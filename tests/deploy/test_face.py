"""The one answer for a face: its JSON and its row of a table."""

import json

import numpy as np

from neurogaze_fast.deploy import Prediction
from neurogaze_fast.deploy.face import Face, faces_of
from neurogaze_fast.deploy.vision.quality import Qualities
from neurogaze_fast.emotions import EMOTIONS

PROBABILITIES = np.array([0.1, 0.2, 0.3000001, 0.05, 0.05, 0.1, 0.1, 0.1], np.float32)
POINT = np.array([0.123456, -0.5], np.float32)
BOX = np.array([-1.26, 2, 30.25, 40, 0.98768], np.float32)
AS_GIVEN = np.array([0, 0, 64, 48, np.nan], np.float32)


def test_json_is_the_answer_and_the_box_of_a_face_that_was_found():
    cut_out, found, whole = (
        faces_of(PROBABILITIES[None], POINT[None], None if box is None else box[None])[0].to_json()
        for box in (None, BOX, AS_GIVEN)
    )
    assert list(cut_out) == ["label", "probabilities", "valence", "arousal"]
    assert cut_out == whole
    assert cut_out["label"] == EMOTIONS[2]
    assert cut_out["probabilities"] == dict(zip(EMOTIONS, PROBABILITIES.tolist(), strict=True))
    assert (cut_out["valence"], cut_out["arousal"]) == tuple(POINT.tolist())
    assert found == {**cut_out, "box": [-1.3, 2.0, 30.2, 40.0], "score": float(BOX[4])}
    assert json.loads(json.dumps(found)) == found


def test_a_row_is_flat_and_rounded():
    face = Face.from_outputs(PROBABILITIES, POINT, BOX)
    row = face.row()
    assert list(row) == [
        *("left", "top", "right", "bottom", "score", "label", *EMOTIONS, "valence", "arousal"),
        *("pixels", "sharpness", "yaw", "pitch", "roll", "quality", "certainty", "uncertain"),
        *("smoothed_label", "smoothed_confidence", "smoothed_valence", "smoothed_arousal"),
    ]
    assert [row[name] for name in EMOTIONS] == [0.1, 0.2, 0.3, 0.05, 0.05, 0.1, 0.1, 0.1]
    assert (row["left"], row["score"], row["valence"]) == (-1.3, 0.9877, 0.1235)
    whole = Face.from_outputs(PROBABILITIES, POINT, AS_GIVEN).row()
    assert (whole["right"], whole["bottom"], whole["score"]) == (64, 48, None)
    assert Face.from_outputs(PROBABILITIES, POINT).row()["left"] is None


def test_it_is_the_prediction_that_other_programs_import():
    assert Prediction is Face
    face = Face.from_outputs(PROBABILITIES, POINT)
    assert (face.box, face.score) == (None, None)
    assert face.confidence == float(PROBABILITIES[2])


def test_what_is_known_of_a_faces_quality_is_said():
    quality = Qualities(*(np.array([v]) for v in (100.0, 0.02, 3.0, np.nan, -1.0, 0.9)))
    (face,) = faces_of(PROBABILITIES[None], POINT[None], BOX[None], quality, uncertain_below=0.9)
    assert face.uncertain
    assert face.quality.pixels == 100
    answer = face.to_json()
    assert list(answer)[-3:] == ["quality", "certainty", "uncertain"]
    row = face.row()
    assert (row["pixels"], row["yaw"], row["pitch"], row["uncertain"]) == (100.0, 3.0, None, 1)
    (sure,) = faces_of(PROBABILITIES[None], POINT[None], BOX[None], quality, uncertain_below=0.0)
    assert not sure.uncertain
    assert sure.certainty == face.certainty
    assert faces_of(PROBABILITIES[None], POINT[None], BOX[None])[0].certainty is None
