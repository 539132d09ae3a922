"""Which images of a set the model was trained with: flags on the very rows, and their use."""

import numpy as np
import pytest

from neurogaze_fast.evaluation.calibration import Scaling
from neurogaze_fast.evaluation.scoring import Predictions, score
from neurogaze_fast.evaluation.training_images import TrainingImages
from neurogaze_fast.faces.faceset import FaceSplit


def split_of(name, images, labels):
    votes = np.zeros((len(images), 10), np.uint8)
    votes[np.arange(len(images)), labels] = 10
    names = np.array([f"{name}{i}.png" for i in range(len(images))])
    return FaceSplit(name, images, votes, names, np.arange(len(images)))


@pytest.fixture
def sets():
    """Ten valid images; 1, 5 and 6 are also training images; 3 has no emotion."""
    draw = np.random.default_rng(0)
    train = draw.integers(0, 256, (4, 16, 16), np.uint8)
    images = draw.integers(0, 256, (10, 16, 16), np.uint8)
    images[[1, 5, 6]] = train[[2, 0, 3]]
    labels = np.array([0, 1, 2, 9, 4, 5, 6, 7, 0, 1])
    return split_of("train", train, [0, 1, 2, 3]), split_of("valid", images, labels)


def test_flags_are_on_the_images_that_occur_in_training(sets):
    train, valid = sets
    known = TrainingImages.of_split(train)
    index, _ = valid.labelled("argmax")
    assert 3 not in index
    flags, counted = known.among(valid, index)
    assert index[flags].tolist() == [1, 5, 6]
    assert counted == {"known": True, "n": 3}
    shuffled = index[::-1].copy()
    assert shuffled[known.among(valid, shuffled)[0]].tolist() == [6, 5, 1]


def test_scores_without_duplicates_leave_out_those_very_images(sets):
    train, valid = sets
    index, _ = valid.labelled("argmax")
    labels = valid.votes[index][:, :8].argmax(1).astype(np.int64)
    logits = np.zeros((len(index), 8), np.float32)
    logits[np.arange(len(index)), labels] = 1
    duplicate = np.isin(index, [1, 5, 6])
    wrong = duplicate.copy()
    wrong[0] = True  # every duplicate is answered wrongly, and one other image
    logits[wrong] = np.roll(logits[wrong], 1, axis=1)
    predictions = Predictions("valid", logits, labels, valid, index)
    scores = score(predictions, TrainingImages.of_split(train), Scaling("none"), draws=0).scores
    assert scores["8way"]["accuracy"] == pytest.approx(5 / 9)
    assert scores["without_duplicates"]["n"] == 6
    assert scores["without_duplicates"]["8way"]["accuracy"] == pytest.approx(5 / 6)
