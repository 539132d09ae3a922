"""Damaged MATLAB files are errors: scipy's parser, given some of them, ends the process."""

import io
import zlib

import numpy as np
import pytest

pytest.importorskip("scipy")
from scipy.io import savemat

from neurogaze_fast.eeg.mat_check import MatDamageError, check_mat
from tests.eeg.mat_content import content


def written(*, compressed=False, values=None):
    buffer = io.BytesIO()
    savemat(buffer, values or content(), do_compression=compressed)
    return buffer.getvalue()


def check(tmp_path, data):
    path = tmp_path / "a.mat"
    path.write_bytes(data)
    check_mat(path)


@pytest.mark.parametrize("compressed", [False, True])
def test_what_scipy_writes_is_whole(tmp_path, compressed):
    check(tmp_path, written(compressed=compressed))


def test_more_than_one_chunk(tmp_path):
    noise = np.random.default_rng(0).standard_normal((3, 200_000))
    values = {"x": {"a": noise, "b": np.zeros((4, 500_000))}}
    check(tmp_path, written(values=values))
    check(tmp_path, written(values=values, compressed=True))


@pytest.mark.parametrize("compressed", [False, True])
def test_no_part_of_a_file_is_whole(tmp_path, compressed):
    # Whole variables may be missing at the end; nothing else may.
    data = written(compressed=compressed, values={"x": content()["struct"]})
    for keep in [0, 60, 127, *range(129, len(data), 11), len(data) - 1]:
        with pytest.raises((MatDamageError, zlib.error)):
            check(tmp_path, data[:keep])


@pytest.mark.parametrize("value", [0, 19, 68, 201, 255])
def test_an_unknown_type_code_is_refused(tmp_path, value):
    data = bytearray(written(values={"x": np.eye(3)}))
    at = data.rindex(b"\x09\x00\x00\x00\x48\x00\x00\x00")  # miDOUBLE, 72 bytes
    data[at] = value
    with pytest.raises(MatDamageError, match=f"type {value}"):
        check(tmp_path, bytes(data))


def test_entries_and_bytes_must_agree(tmp_path):
    data = bytearray(written(values={"x": np.eye(3)}))
    data[data.index(b"\x03\x00\x00\x00\x03\x00\x00\x00")] = 2
    with pytest.raises(MatDamageError, match="6 entries in 72 bytes"):
        check(tmp_path, bytes(data))


def test_an_element_must_fit_into_its_matrix(tmp_path):
    data = bytearray(written(values={"x": np.eye(3), "y": np.zeros(100)}))
    data[data.index(b"\x09\x00\x00\x00\x48\x00\x00\x00") + 4] = 0x50
    with pytest.raises(MatDamageError, match="80 bytes do not fit"):
        check(tmp_path, bytes(data))


def test_a_changed_byte_gives_no_other_error(tmp_path):
    data = written()
    rng = np.random.default_rng(0)
    refused = 0
    for at in range(128, len(data), 3):
        changed = bytearray(data)
        changed[at] = rng.integers(256)
        try:
            check(tmp_path, bytes(changed))
        except MatDamageError:
            refused += 1
    assert refused > len(data) // 24


def test_a_changed_byte_of_compressed_data_is_found(tmp_path):
    data = written(compressed=True, values={"x": content()["struct"]})
    for at in range(136, len(data), 2):
        changed = bytearray(data)
        changed[at] ^= 0x10
        try:
            check(tmp_path, bytes(changed))
        except (MatDamageError, zlib.error):
            continue
        # A bit that only fills up the last byte before the checksum.
        assert zlib.decompress(changed[136:]) == zlib.decompress(data[136:])


def test_matrices_within_matrices_without_end(tmp_path):
    inner = np.zeros((0, 0))
    for _ in range(40):
        outer = np.empty((1, 1), object)
        outer[0, 0] = inner
        inner = outer
    with pytest.raises(MatDamageError, match="deep"):
        check(tmp_path, written(values={"x": inner}))
