"""Shards: the source's rows again, the same bytes every time, and no damage goes unnoticed."""

import dataclasses
import json
import pickle
import re
import tarfile

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from neurogaze_fast import prepare
from neurogaze_fast.artifacts import canonical_json, seal, sha256_bytes, unseal
from neurogaze_fast.errors import ArtifactError, DataError, OutputExistsError
from neurogaze_fast.faces import write_shards as writing
from neurogaze_fast.faces.faceset import FaceSet, hash_image
from neurogaze_fast.faces.ferplus import read_ferplus
from neurogaze_fast.faces.folder import read_folder
from neurogaze_fast.faces.load import load_faces
from neurogaze_fast.faces.shards import read_shards
from neurogaze_fast.faces.synthetic import write_demo_faces
from neurogaze_fast.faces.torch_decoder import TorchDecoder
from neurogaze_fast.faces.write_shards import write_shards
from neurogaze_fast.pictures import decode_grey
from tests.faces.decoders import CPU, dali
from tests.faces.encoded_sets import SIDE, encode, memory_split, pixels, write_folder


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    """FERPlus as csv, 120 faces."""
    folder = tmp_path_factory.mktemp("csv") / "demo"
    write_demo_faces(folder, train=80, valid=40, test=20)
    return read_ferplus(folder)


@pytest.fixture(scope="module")
def shards(source, tmp_path_factory):
    """Folder of its shards, several to a split."""
    folder = tmp_path_factory.mktemp("packed") / "shards"
    write_shards(source, folder, shard_bytes=100_000)
    return folder


def copy_of(shards, tmp_path):
    """A copy that may be damaged."""
    copy = tmp_path / "copy"
    copy.mkdir(parents=True)
    for file in shards.iterdir():
        (copy / file.name).write_bytes(file.read_bytes())
    return copy


def contents(folder):
    return {file.name: file.read_bytes() for file in folder.iterdir()}


def test_what_comes_back_is_what_went_in(source, shards):
    back = read_shards(shards)
    assert back.splits.keys() == source.splits.keys()
    assert (back.synthetic, back.layout, back.left_out) == (True, "shards", source.left_out)
    for name, split in source.splits.items():
        packed = back[name]
        assert packed.sized
        assert packed.side == 48
        for column in ("images", "votes", "names", "rows", "pixel_hashes"):
            np.testing.assert_array_equal(getattr(packed, column), getattr(split, column))
    assert back.duplicates == source.duplicates
    assert len(list(shards.glob("train-*.tar"))) > 1
    assert read_shards(shards, verify=False).sha256 == back.sha256


def test_maps_do_not_travel_with_the_split(shards):
    split = read_shards(shards)["train"]
    first = split.read(0).tobytes()
    assert len(pickle.dumps(split.source)) < 20_000
    assert pickle.loads(pickle.dumps(split)).read(0).tobytes() == first


def test_the_same_set_gives_the_same_bytes_and_any_tar_program_reads_them(source, shards, tmp_path):
    write_shards(source, tmp_path / "again", shard_bytes=100_000)
    assert contents(tmp_path / "again") == contents(shards)
    rows = []
    for file in sorted(shards.glob("valid-*.tar")):
        with tarfile.open(file) as tar:
            members = tar.getmembers()
            assert all(m.mtime == 0 and m.uid == 0 and not m.uname for m in members)
            for image, note in zip(members[::2], members[1::2], strict=True):
                assert re.fullmatch(r"\d{9}\.png", image.name)
                assert note.name == image.name.replace(".png", ".json")
                metadata = json.load(tar.extractfile(note))
                pixels = decode_grey(tar.extractfile(image).read(), 48)
                rows.append((metadata["name"], metadata["row"], metadata["votes"], pixels))
    split = source["valid"]
    names, numbers, votes, images = zip(*rows, strict=True)
    assert list(names) == split.names.tolist()
    assert list(numbers) == split.rows.tolist()
    np.testing.assert_array_equal(votes, split.votes)
    np.testing.assert_array_equal(images, split.images)


def test_dalis_own_reader_reads_them(source, shards):
    fn = pytest.importorskip("nvidia.dali.fn", exc_type=ImportError)
    from nvidia.dali import Pipeline, types

    files = sorted(map(str, shards.glob("train-*.tar")))
    count = len(source["train"])
    with Pipeline(batch_size=count, num_threads=1, device_id=None) as pipeline:
        # Without an index of its own, which DALI then makes from the tar.
        image, note = fn.readers.webdataset(paths=files, ext=["png;jpg", "json"])
        pipeline.set_outputs(fn.decoders.image(image, output_type=types.GRAY), note)
    images, notes = pipeline.run()
    np.testing.assert_array_equal(np.array(images.as_tensor())[..., 0], source["train"].images)
    names = [json.loads(bytes(np.array(notes.at(i))))["name"] for i in range(count)]
    assert names == source["train"].names.tolist()


def test_encoded_images_keep_their_bytes(tmp_path):
    faces = read_folder(write_folder(tmp_path / "set", {"train": 6}, "JPEG", channels=3))
    write_shards(faces, tmp_path / "shards")
    back = read_shards(tmp_path / "shards")["train"]
    for row in range(6):
        assert back.read(row).tobytes() == faces["train"].read(row).tobytes()
    np.testing.assert_array_equal(back.images, faces["train"].images)
    with tarfile.open(tmp_path / "shards/train-000000.tar") as tar:
        assert tar.getnames()[0] == "000000000.jpg"


def test_what_is_known_beside_the_votes_travels_too(source, tmp_path):
    train = source["train"]
    affect = np.linspace(-1, 1, 2 * len(train), dtype=np.float32).reshape(-1, 2)
    affect[1] = np.nan
    rated = dataclasses.replace(
        source,
        splits={"train": dataclasses.replace(train, valence_arousal=affect)},
        official_split=False,
        mapping={"Happy": "happiness"},
    )
    write_shards(rated, tmp_path / "out")
    found = read_shards(tmp_path / "out")
    assert np.array_equal(found["train"].valence_arousal, affect, equal_nan=True)
    assert (found.official_split, found.mapping) == (False, {"Happy": "happiness"})


def test_resizing_gives_the_pixels_that_decoding_at_that_size_gives(tmp_path):
    faces = read_folder(write_folder(tmp_path / "set", {"train": 4, "test": 4}, "PNG", 40), 24)
    write_shards(faces, tmp_path / "png", side=24)
    back = read_shards(tmp_path / "png")
    np.testing.assert_array_equal(back["train"].images, faces["train"].images)
    assert back["test"].side == 24
    faces = read_folder(write_folder(tmp_path / "jpegs", {"train": 4}, "JPEG", 40), 24)
    write_shards(faces, tmp_path / "jpg", side=24)
    back = read_shards(tmp_path / "jpg")["train"]
    difference = np.abs(back.images.astype(int) - faces["train"].images)
    assert 0 < difference.max() <= 8  # JPEG at quality 95
    assert bytes(back.read(0)[:2]) == b"\xff\xd8"
    assert back.pixel_hashes[2].tobytes() == hash_image(back.images[2])


def test_mixed_sizes_need_a_side(tmp_path):
    write_folder(tmp_path / "set", {"train": 3}, side=40)
    write_folder(tmp_path / "set", {"test": 2}, side=24)
    with pytest.raises(DataError, match=r"40 x 40 \(3\), 24 x 24 \(2\).*--side N"):
        write_shards(read_folder(tmp_path / "set"), tmp_path / "out")
    assert [p.name for p in tmp_path.iterdir()] == ["set"]


def test_damaged_images_are_left_out_counted_and_named(tmp_path):
    whole = encode(pixels(3), "JPEG")
    black = encode(np.zeros((SIDE, SIDE), np.uint8))
    gone = FileNotFoundError(2, "No such file")
    first, last = encode(pixels(1)), encode(pixels(2))
    images = [first, whole[:-30], whole[:-9], b"text", last, black, gone]
    faces = FaceSet({"train": memory_split(images)}, "memory", "folder", False, {"train": {"x": 2}})
    index = write_shards(faces, tmp_path / "out", side=SIDE)
    back = read_shards(tmp_path / "out")
    assert back["train"].names.tolist() == ["face 0", "face 4"]
    assert back["train"].rows.tolist() == [1, 5]
    assert back.left_out == index["left_out"] == {
        "train": {
            "x": 2,
            "image file is truncated": 2,
            "no picture that can be read": 1,
            "all-zero image": 1,
            "cannot be read": 1,
        }
    }  # fmt: skip
    assert [entry["name"] for entry in index["damaged"]] == [f"face {i}" for i in (1, 2, 3, 5, 6)]
    assert "No such file" in index["damaged"][-1]["reason"]
    bad = FaceSet({"train": memory_split([b"text"])}, "memory", "folder", False)
    with pytest.raises(DataError, match="None of the 1 train images"):
        write_shards(bad, tmp_path / "none", side=SIDE)


def test_an_existing_folder_is_left_alone(source, shards):
    before = contents(shards)
    with pytest.raises(OutputExistsError, match="nothing was written"):
        write_shards(source, shards)
    assert contents(shards) == before


@pytest.mark.parametrize("where", ["image", "table", "index"])
def test_an_interruption_leaves_nothing(source, tmp_path, monkeypatch, where):
    def interrupted(*args, **kwargs):
        raise KeyboardInterrupt

    if where == "image":
        monkeypatch.setattr(
            "neurogaze_fast.faces.write_shards._ShardWriter.table", lambda *_: interrupted()
        )
    else:
        monkeypatch.setattr(writing, {"table": "sha256_bytes", "index": "seal"}[where], interrupted)
    with pytest.raises(KeyboardInterrupt):
        write_shards(source, tmp_path / "out")
    assert list(tmp_path.iterdir()) == []


@settings(max_examples=40, deadline=None)
@given(data=st.data())
def test_a_flipped_byte_anywhere_is_refused(shards, tmp_path_factory, data):
    name = data.draw(st.sampled_from(["index.json", "train.npz", "train-000001.tar"]))
    copy = copy_of(shards, tmp_path_factory.mktemp("flipped"))
    raw = bytearray((copy / name).read_bytes())
    raw[data.draw(st.integers(0, len(raw) - 1))] ^= data.draw(st.integers(1, 255))
    (copy / name).write_bytes(raw)
    with pytest.raises(ArtifactError, match=re.escape(name)):
        read_shards(copy)


@pytest.mark.parametrize("name", ["index.json", "valid.npz", "train-000000.tar"])
def test_missing_cut_and_longer_files_are_refused(shards, tmp_path, name):
    raw = (shards / name).read_bytes()
    for number, content in enumerate((None, raw[:-1], raw[:600], b"", raw + b"\n")):
        copy = copy_of(shards, tmp_path / str(number))
        (copy / name).unlink() if content is None else (copy / name).write_bytes(content)
        for verify in (True, False):
            with pytest.raises(ArtifactError, match=re.escape(name)):
                read_shards(copy, verify=verify)


def test_an_index_of_another_kind_or_with_other_paths_is_refused(shards, tmp_path):
    def rewritten(change):
        copy = copy_of(shards, tmp_path / str(len(list(tmp_path.iterdir()))))
        index = unseal(json.loads((copy / "index.json").read_bytes()))
        change(index)
        (copy / "index.json").write_bytes(canonical_json(seal(index)))
        return copy

    assert read_shards(rewritten(lambda index: None))
    for change, message in {
        lambda index: index.update(version=2): "version 2",
        lambda index: index.update(kind="EEG map set"): "EEG map set",
        lambda index: index.pop("splits"): "splits",
        lambda index: index["splits"]["test"]["table"].update(file="../x"): "outside",
    }.items():
        with pytest.raises(ArtifactError, match=message):
            read_shards(rewritten(change))


TABLES = {
    "one vote row less": ("votes", lambda votes: votes[1:], r"votes of uint8 \[79, 10\] for 80"),
    "votes that are no counts": ("votes", lambda v: v + np.nan, "votes of float64"),
    "other votes": ("votes", lambda votes: votes[:, :8], r"expected \[80, 10\]"),
    "a name less": ("names", lambda names: names[1:], "names"),
    "a hash less": ("hashes", lambda hashes: hashes[1:], "hashes"),
    "beyond its shard": ("offsets", lambda offsets: offsets + 10**9, "80 images outside"),
    "before its shard": ("offsets", lambda offsets: offsets - 10**6, "outside their shards"),
    "no such shard": ("shards", lambda shards: shards + 99, "outside their shards"),
    "lengths that overflow": ("lengths", lambda n: n * 0 + 2**62, "outside their shards"),
    "lengths below nothing": ("lengths", lambda n: -n, "outside their shards"),
    "a missing column": ("rows", None, "no table of images"),
}


@pytest.mark.parametrize("case", TABLES)
def test_a_sealed_table_that_describes_no_images_is_refused(shards, tmp_path, case):
    column, change, message = TABLES[case]
    copy = copy_of(shards, tmp_path / "copy")
    with np.load(copy / "train.npz") as table:
        columns = dict(table)
    if change is None:
        del columns[column]
    else:
        columns[column] = change(columns[column])
    np.savez(copy / "train.npz", **columns)
    raw = (copy / "train.npz").read_bytes()
    index = unseal(json.loads((copy / "index.json").read_bytes()))
    index["splits"]["train"]["table"].update(bytes=len(raw), sha256=sha256_bytes(raw))
    (copy / "index.json").write_bytes(canonical_json(seal(index)))
    with pytest.raises(ArtifactError, match=message):
        read_shards(copy)


def test_pictures_of_other_kinds_become_png_and_keep_their_pixels(tmp_path):
    image = pixels(5)
    kinds = [encode(image, "WEBP", lossless=True), encode(image, "BMP"), encode(image, "TIFF"),
             encode(image.astype(np.uint16) * 257), encode(image)]  # fmt: skip
    faces = FaceSet({"train": memory_split(kinds)}, "memory", "folder", False, notes=["A note."])
    write_shards(faces, tmp_path / "out", side=SIDE)
    back = read_shards(tmp_path / "out")
    np.testing.assert_array_equal(back["train"].images, np.stack([image] * 5))
    assert {back["train"].read(row)[:4].tobytes() for row in range(5)} == {b"\x89PNG"}
    assert len(set(back["train"].pixel_hashes.tolist())) == 1
    assert back["train"].read(4).tobytes() == kinds[4], "a usual PNG keeps its bytes"
    assert back.notes == ["A note."]


def test_both_decoders_take_them_at_their_size(source, shards):
    faces = read_shards(shards)["train"].subset(np.arange(70, 20, -1))
    wanted = source["train"].images[70:20:-1]
    for decoder in (TorchDecoder(CPU, 1), dali()):
        batches = list(decoder.batches(faces, list(torch.arange(50).split(16))))
        np.testing.assert_array_equal(torch.cat(batches), wanted)
        decoder.close()


def test_the_command_packs_any_set_and_says_what_it_left_out(tmp_path, capsys):
    write_folder(tmp_path / "set", {"train": 4, "test": 2}, side=40)
    (tmp_path / "set/train/fear").mkdir()
    (tmp_path / "set/train/fear/broken.png").write_bytes(b"no image")
    out = tmp_path / "shards"
    argv = ["shards", "--data", str(tmp_path / "set"), "--out", str(out), "--side", "24"]
    prepare.main(argv)
    printed = capsys.readouterr().out
    assert "no picture that can be read" in printed
    assert "fear/broken.png" in printed
    assert printed.rstrip().endswith(f"Shards: {out}")
    assert str(tmp_path) not in (out / "index.json").read_text()
    faces = load_faces(None, out)
    assert (faces.layout, faces["train"].side, len(faces["train"])) == ("shards", 24, 4)
    with pytest.raises(SystemExit) as end:
        prepare.main(argv)
    assert end.value.code == 2
    assert "OutputExistsError" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        prepare.main([*argv[:-1], "4", "--out", str(tmp_path / "x")])
    assert "--side is 4" in capsys.readouterr().err
