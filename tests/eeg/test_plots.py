"""The figure of a map set: a row for what there is, none for what there is not."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from neurogaze_fast.eeg.build import build_maps
from neurogaze_fast.eeg.config import PrepareEegConfig
from neurogaze_fast.eeg.plots import plot_band_maps
from tests.eeg.trials import trial

CONFIG = PrepareEegConfig(out=Path("unused"), demo=True, size=16)


def height(trials, config, path):
    plot_band_maps(build_maps(trials, config), path)
    with Image.open(path) as image:
        image.verify()
    with Image.open(path) as image:
        assert image.width > 900
        return image.height


@pytest.mark.parametrize("feature", ["log_power", "de"])
def test_ratings_add_a_row_each_where_both_sides_were_rated(tmp_path, feature):
    config = replace(CONFIG, feature=feature)
    labelled = [trial(0, valence=0.5, arousal=0.5), trial(1, valence=-0.5, arousal=0.5)]
    unlabelled = [replace(t, valence=None, arousal=None) for t in labelled]
    one = height(unlabelled, config, tmp_path / "one.png")
    two = height(labelled, config, tmp_path / "two.png")  # arousal was never low
    three = height([*labelled, trial(2, arousal=-1.0)], config, tmp_path / "three.png")
    assert one + 150 < two < three - 150


def test_rounding_is_not_drawn_as_a_finding(tmp_path):
    """Without a baseline a clip's own mean is taken off: means of whole clips do not differ."""
    trials = [
        trial(k, valence=0.5 - k, arousal=0.5 - k, baseline=None, subject="dreamer-01")
        for k in range(2)
    ]
    plot_band_maps(build_maps(trials, CONFIG), tmp_path / "none.png")
    with Image.open(tmp_path / "none.png") as image:
        pixels = np.asarray(image.convert("RGB")).astype(int)
    # The rows of differences are below the mean power; nothing there is strongly red or blue but
    # their colour bars, at the right.
    rows = pixels[pixels.shape[0] // 2 :, : pixels.shape[1] * 4 // 5]
    assert np.abs(rows[..., 0] - rows[..., 2]).max() < 60
    two = [trial(0, valence=0.5, arousal=0.5), trial(1, valence=-0.5, arousal=-0.5)]
    plot_band_maps(build_maps(two, CONFIG), tmp_path / "some.png")
    with Image.open(tmp_path / "some.png") as image:
        pixels = np.asarray(image.convert("RGB")).astype(int)
    rows = pixels[pixels.shape[0] // 2 :, : pixels.shape[1] * 4 // 5]
    assert np.abs(rows[..., 0] - rows[..., 2]).max() > 100
