"""A table of embeddings made elsewhere is scored and becomes a bank, as a teacher's would."""

import io

import numpy as np
import pytest
from rich.console import Console

from neurogaze_fast.errors import ConfigError, DataError
from neurogaze_fast.prototypes.bank import PrototypeBank
from neurogaze_fast.prototypes.config import BuildPrototypesConfig
from neurogaze_fast.prototypes.from_table import bank_from_table
from neurogaze_fast.teacher.table import read_table, score_table


@pytest.fixture
def rows():
    """(subject, clip, va, embedding) of 8 people watching 9 films; the embedding knows the V/A."""
    generator = np.random.default_rng(0)
    subject, clip = np.repeat(np.arange(8), 9), np.tile(np.arange(9), 8)
    va = np.clip(generator.uniform(-0.8, 0.8, (9, 2))[clip] + 0.1 * generator.standard_normal(
        (72, 2)), -1, 1)  # fmt: skip
    embedding = va @ generator.standard_normal((2, 6)) + 0.2 * generator.standard_normal((72, 6))
    return subject, clip, va, embedding


def write_csv(path, rows):
    lines = ["subject;clip;valence;arousal;" + ";".join(f"e{i}" for i in range(6))]
    for who, what, va, embedding in zip(*rows, strict=True):
        lines.append(
            ";".join([f"s{who}", f"film{what}", *map(repr, map(float, [*va, *embedding]))])
        )
    path.write_text("\n".join(lines))
    return path


def test_csv_and_npz_hold_the_same(tmp_path, rows):
    subject, clip, va, embedding = rows
    table = read_table(write_csv(tmp_path / "t.csv", rows))
    np.savez(
        tmp_path / "t.npz", subject=np.array([f"s{i}" for i in subject]),
        clip=np.array([f"film{i}" for i in clip]), valence=va[:, 0], arousal=va[:, 1],
        embedding=embedding,
    )  # fmt: skip
    other = read_table(tmp_path / "t.npz")
    for one in (table, other):
        np.testing.assert_allclose(one.power[:, 0], embedding, rtol=1e-6)
        np.testing.assert_allclose(one.valence, va[:, 0], rtol=1e-6)
    assert table.clips == other.clips
    assert table.subjects == other.subjects


def test_embeddings_that_know_the_ratings_score_on_new_films_and_make_a_bank(tmp_path, rows):
    file = write_csv(tmp_path / "t.csv", rows)
    result = score_table(read_table(file), folds=2)
    for part in (result, result["people_and_clips_out"]):
        assert part["pooled"]["trial"]["teacher"]["valence"]["ccc"]["low"] > 0.5
    config = BuildPrototypesConfig(embeddings=file, out=tmp_path / "bank")
    console = Console(file=io.StringIO(), width=200)
    bank_from_table(config, console)
    said = console.file.getvalue()
    assert "People and films never trained on" in said
    bank = PrototypeBank.load(tmp_path / "bank.safetensors", width=6, grid=5)
    assert bank.counts.sum() == 18  # two of eight people
    assert bank.provenance["embeddings"]["trained_on"].startswith("not known")


def test_what_is_no_table_is_refused(tmp_path, rows):
    file = tmp_path / "t.csv"
    for text, match in (
        ("subject,clip,valence\na,b,0\n", "arousal"),
        ("subject,clip,valence,arousal\na,b,0,0\n", "columns of an embedding"),
        ("subject,clip,valence,arousal,e0\na,b,0,0,x\n", "line 2: e0 is 'x'"),
        ("subject,clip,valence,arousal,e0\na,b,5,0,1\n", r"on \[-1, 1\]"),
        ("subject,clip,valence,arousal,e0\na,b,0,0,nan\n", "not finite"),
        ("subject,clip,valence,arousal,e0\n", "no rows"),
    ):
        file.write_text(text)
        with pytest.raises(DataError, match=match):
            read_table(file)
    with pytest.raises(ConfigError, match="one of"):
        BuildPrototypesConfig()
