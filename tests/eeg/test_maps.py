"""Map sets on disk: what was saved comes back, anything else is refused with the reason."""

import json
from dataclasses import replace

import numpy as np
import pytest
from safetensors.numpy import save

from neurogaze_fast.artifacts import canonical_json, manifest_path, sha256_file, write_artifact
from neurogaze_fast.eeg import map_files
from neurogaze_fast.eeg.build import build_maps
from neurogaze_fast.eeg.maps import MapSet
from neurogaze_fast.errors import ArtifactError, OutputExistsError
from tests.eeg.trials import CONFIG, people

ROWS = ("maps", "power", "valence", "arousal", "subject", "trial", "start", "flags", "clip")


@pytest.fixture(scope="module")
def made():
    return build_maps(people(), CONFIG, synthetic=True)


@pytest.fixture
def small():
    """A set of 3 windows, small enough to flip every byte of."""
    return MapSet(
        maps=np.arange(3 * 2 * 4, dtype=np.float16).reshape(3, 2, 2, 2),
        power=np.arange(12, dtype=np.float32).reshape(3, 2, 2),
        valence=np.array([0.5, 0.5, np.nan], np.float32),
        arousal=np.array([-1, -1, np.nan], np.float32),
        subject=np.array([0, 0, 1]),
        trial=np.array([0, 0, 1]),
        start=np.array([0, 1, 0], np.float32),
        flags=np.array([0, 1, 4], np.uint8),
        subjects=("a", "b"),
        names=("Fz", "Cz"),
        bands=("theta", "alpha"),
        provenance={"synthetic": True, "made_by": "a test"},
        clip=np.array([1, 1, 0]),
        clips=("film-a", "film-b"),
        level=np.ones((2, 2, 2)),
        spread=np.array([[[2.0, 0], [1, 1]]] * 2),
        signals=np.arange(18, dtype=np.float16).reshape(3, 2, 3),
    )


def assert_same(one, other):
    for name in ROWS:
        np.testing.assert_array_equal(getattr(one, name), getattr(other, name))
        assert getattr(one, name).dtype == getattr(other, name).dtype
    for name in ("level", "spread", "positions", "signals"):
        np.testing.assert_array_equal(getattr(one, name), getattr(other, name))
    for name in ("subjects", "names", "bands", "clips", "provenance"):
        assert getattr(one, name) == getattr(other, name)


def test_round_trip_over_several_shards(made, tmp_path, monkeypatch):
    monkeypatch.setattr(map_files, "SHARD_WINDOWS", 50)
    digest = made.save(tmp_path / "out" / "maps")
    loaded = MapSet.load(tmp_path / "out" / "maps")
    assert len(list((tmp_path / "out" / "maps").glob("maps-*.safetensors"))) == 3
    assert_same(loaded, made)
    assert loaded.sha256 == digest == sha256_file(tmp_path / "out" / "maps" / "maps.json")
    assert_same(MapSet.load(tmp_path / "out"), made)  # the folder that holds it will do
    assert_same(made.rows(slice(0, 0)), MapSet.load(_saved(made.rows([]), tmp_path / "none")))


def _saved(maps, folder):
    maps.save(folder)
    return folder


def test_every_flipped_byte_is_refused(small, tmp_path):
    small.save(tmp_path)
    generator = np.random.default_rng(0)
    victims = sorted(tmp_path.iterdir())
    assert [v.name for v in victims] == [
        "maps-00000.manifest.json", "maps-00000.safetensors", "maps.json", "maps.manifest.json",
        "subjects.manifest.json", "subjects.safetensors",
    ]  # fmt: skip
    for victim in victims:
        intact = victim.read_bytes()
        for position, bit in enumerate(generator.integers(0, 8, len(intact))):
            damaged = bytearray(intact)
            damaged[position] ^= 1 << bit
            victim.write_bytes(damaged)
            with pytest.raises(ArtifactError):
                MapSet.load(tmp_path)
        victim.write_bytes(intact)
    assert_same(MapSet.load(tmp_path), small)


def test_a_missing_file_is_refused(small, tmp_path):
    small.save(tmp_path)
    for victim in sorted(tmp_path.iterdir()):
        content = victim.read_bytes()
        victim.unlink()
        with pytest.raises(ArtifactError, match="cannot be read"):
            MapSet.load(tmp_path)
        victim.write_bytes(content)
    with pytest.raises(ArtifactError, match=r"maps\.manifest\.json cannot be read"):
        MapSet.load(tmp_path / "nowhere")


def test_a_shard_of_another_set_is_refused(small, tmp_path):
    small.save(tmp_path / "a")
    replace(small, power=small.power + 1).save(tmp_path / "b")
    for name in ("maps-00000.safetensors", "maps-00000.manifest.json"):
        (tmp_path / "a" / name).write_bytes((tmp_path / "b" / name).read_bytes())
    with pytest.raises(ArtifactError, match="another map set"):
        MapSet.load(tmp_path / "a")


def test_nothing_is_overwritten(small, tmp_path):
    small.save(tmp_path / "maps")
    before = {p: p.read_bytes() for p in (tmp_path / "maps").iterdir()}
    with pytest.raises(OutputExistsError):
        small.save(tmp_path / "maps")
    assert {p: p.read_bytes() for p in (tmp_path / "maps").iterdir()} == before


@pytest.mark.parametrize(
    ("changes", "match"),
    [
        ({"maps": np.zeros((3, 2, 2, 2), np.float32)}, "maps are float32"),
        ({"power": np.zeros((3, 2, 9), np.float32)}, "power are"),
        ({"power": np.full((3, 2, 2), np.nan, np.float32)}, "power holds a value"),
        ({"valence": np.array([2, 0, np.nan], np.float32)}, "outside"),
        ({"valence": np.array([0.5, np.nan, np.nan], np.float32)}, "without the other"),
        ({"subject": np.array([0, 0, 2])}, "outside the 2 subjects"),
        ({"subject": np.array([0, 1, 1])}, "two subjects share a trial"),
        ({"clip": np.array([0, 1, 1])}, "a trial has windows of two clips"),
        ({"clip": np.array([2, 2, 0])}, "outside the 2 clips"),
        ({"level": np.ones((1, 2, 2))}, "level is not finite numbers"),
        ({"signals": np.full((3, 2, 3), np.inf, np.float16)}, "signals hold"),
    ],
)
def test_what_is_no_map_set_is_refused(small, changes, match):
    with pytest.raises(ArtifactError, match=match):
        replace(small, **changes)


def test_rows_picks_windows_and_forgets_the_files_hash(small, tmp_path):
    loaded = MapSet.load(_saved(small, tmp_path / "maps"))
    part = loaded.rows(loaded.labelled)
    assert len(part) == 2
    assert part.subjects == ("a", "b")
    assert (loaded.sha256, part.sha256) != ("", loaded.sha256)
    assert part.synthetic


def test_manifests_lie_beside_every_file(small, tmp_path):
    small.save(tmp_path)
    for file in (tmp_path / "maps-00000.safetensors", tmp_path / "maps.json"):
        assert json.loads(manifest_path(file).read_text())["sha256"] == sha256_file(file)


def test_a_set_of_an_earlier_version_is_read_and_says_that_it_knows_no_clips(small, tmp_path):
    """Index and shards as they were written before clips, scales and positions were kept."""
    empty = {"clip": None, "clips": (), "level": None, "spread": None, "signals": None}
    old = replace(small, **empty)
    old.save(tmp_path)
    index = json.loads((tmp_path / "maps.json").read_bytes())
    shard = tmp_path / index["shards"][0]["file"]
    columns = {name: getattr(old, name) for name in map_files.ROWS}
    del index["clips"]
    index["flags"] = {"interpolated": 1, "blink": 2, "no_baseline": 4}
    brief = {"kind": map_files.KIND, "synthetic": True}
    index["shards"][0]["sha256"] = write_artifact(shard, save(columns), brief | {"shard": 0})
    write_artifact(tmp_path / "maps.json", canonical_json(index), brief)
    loaded = MapSet.load(tmp_path)
    np.testing.assert_array_equal(loaded.maps, small.maps)
    assert not loaded.knows_clips
    assert loaded.clips == ()
    assert (loaded.clip == -1).all()
    with pytest.raises(ArtifactError, match="--normalise subject"):
        loaded.unscaled()
    assert small.knows_clips


def test_the_scale_can_be_taken_back(made):
    raw = made.unscaled()
    for one in range(len(made.subjects)):
        mine = made.subject == one
        np.testing.assert_allclose(raw[mine].mean(0), made.level[one], atol=1e-5)
        np.testing.assert_allclose(raw[mine].std(0), made.spread[one], rtol=1e-4)
    np.testing.assert_array_equal(np.unique(made.film[made.subject == 0]), [0, 1])
    assert made.clips[:2] == ("dreamer:clip-00", "dreamer:clip-01")
