"""The figure of a map set: a row for what there is, none for what there is not."""

from dataclasses import replace
from pathlib import Path

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
