"""fer2013.csv: what is read, what is refused and how that is said, by both readers alike."""

import csv
import os
import re
import shutil
from functools import partial
from types import SimpleNamespace

import numpy as np
import pytest

from neurogaze_fast.errors import DataError
from neurogaze_fast.faces import fer_csv
from neurogaze_fast.faces.fer_csv import NO_EMOTION, NO_USAGE, USAGES, native_status, read_fer_csv

HEADER = "emotion,pixels,Usage\n"


IO = fer_csv._io
PORTABLE_IO = IO and SimpleNamespace(parse_fer_rows=partial(IO.parse_fer_rows, portable=True))
READERS = {"native": IO, "portable": PORTABLE_IO, "python": object()}  # any use of that would fail


def choose(reader, monkeypatch):
    """Make `read_fer_csv` use one of READERS."""
    monkeypatch.setenv("NEUROGAZE_NATIVE", "0" if reader == "python" else "1")
    monkeypatch.setattr(fer_csv, "_io", READERS[reader])


@pytest.fixture(params=READERS)
def read(request, monkeypatch):
    """`read_fer_csv` by one of the readers."""
    if READERS[request.param] is None:
        pytest.skip(native_status()[1])
    choose(request.param, monkeypatch)
    return read_fer_csv


def faces(count, seed=0):
    """Images whose values have one, two and three digits."""
    rng = np.random.default_rng(seed)
    top = rng.choice([10, 100, 256], (count, 48, 48))
    return (rng.random((count, 48, 48)) * top).astype(np.uint8)


def text_of(image):
    return " ".join(map(str, image.ravel()))


def csv_text(images, header=HEADER, form="{e},{p},{u}\n"):
    values = ({"e": i % 7, "p": text_of(x), "u": USAGES[i % 3]} for i, x in enumerate(images))
    return header + "".join(form.format(**row) for row in values)


def write(folder, content):
    path = folder / "fer2013.csv"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def check(data, images, emotion=True, usage=True):
    np.testing.assert_array_equal(data.pixels, images)
    for row in range(len(images)):
        assert data.emotion[row] == (row % 7 if emotion else NO_EMOTION)
        assert data.usage[row] == (row % 3 if usage else NO_USAGE)
    assert [a.dtype.name for a in vars(data).values()] == ["uint8", "int8", "uint8"]
    assert all(a.flags.c_contiguous and a.flags.writeable for a in vars(data).values())


def same_outcome(path, monkeypatch):
    """What all readers give alike: the bytes, or the error's words."""
    outcomes = []
    for reader in READERS:
        choose(reader, monkeypatch)
        try:
            outcomes.append([a.tobytes() for a in vars(read_fer_csv(path, threads=2)).values()])
        except DataError as error:
            outcomes.append(str(error))
    assert outcomes[0] == outcomes[1] == outcomes[2]
    return outcomes[0]


def test_native_reader_is_built_where_there_is_a_compiler():
    compilers = [name for name in ("c++", "g++", "clang++") if shutil.which(name)]
    switches = map(os.environ.get, ("NEUROGAZE_BUILD_NATIVE", "NEUROGAZE_NATIVE"))
    if not compilers or "0" in switches:
        pytest.skip("not asked for, or no compiler")
    assert native_status() == (True, ""), f"{compilers} found, but: {native_status()[1]}"


@pytest.mark.parametrize("threads", [1, 2, 5, None])
def test_reads_every_row_in_order(read, tmp_path, threads):
    images = faces(120)  # more than three blocks
    check(read(write(tmp_path, csv_text(images)), threads=threads), images)


@pytest.mark.parametrize(
    ("header", "form"),
    [
        ("emotion, Usage, pixels\n", "{e}, {u}, {p}\n"),
        ("pixels,emotion,Usage\n", " {p} , {e} ,\t{u}\t\n"),
        ('"emotion","pixels","Usage"\n', '"{e}","{p}","{u}"\n'),
        (HEADER, '{e}," {p} ",{u}\n'),
        (HEADER.replace("\n", "\r\n"), "{e},{p},{u}\r\n"),
        ("\ufeff" + HEADER, "{e},{p},{u}\n"),
        ("EMOTION,Pixels,usage\n", "{e},{p},{u}\n"),
        ("id,emotion,pixels,note,Usage\n", '7,{e},{p},"a, ""b""",{u}\n'),
        (",emotion,pixels,Usage,x,y\n", '7,{e},{p},{u},"plain",o"k\xff\n'),
    ],
)
def test_reads_every_layout(read, tmp_path, header, form):
    images = faces(4)
    check(read(write(tmp_path, csv_text(images, header, form))), images)


@pytest.mark.parametrize("end", ["", "\n", "\n\n", "\r\n", "\n  \n\t\r\n\n", "\n\n" * 100_000])
def test_reads_any_end_of_the_file(read, tmp_path, end):
    images = faces(3)
    check(read(write(tmp_path, csv_text(images)[:-1] + end)), images)


def test_reads_files_without_emotion_or_usage(read, tmp_path):
    images = faces(3)
    test, train = ("pixels\n", "{p}\n"), ("emotion,pixels\n", "{e},{p}\n")
    check(read(write(tmp_path, csv_text(images, *test))), images, emotion=False, usage=False)
    check(read(write(tmp_path, csv_text(images, *train))), images, usage=False)


@pytest.mark.parametrize("number", ["007", "0000000000000000007", "7 ", " 7", "   7   ", "0007"])
def test_reads_irregular_spaces_and_zeros(read, tmp_path, number):
    images = faces(5)
    images[2, 0, :3] = 7
    text = csv_text(images).replace(",7 7 7 ", f",{number} 7 {number} ")
    check(read(write(tmp_path, text)), images)


@pytest.mark.parametrize("end", ["", "\n"])
def test_reads_files_that_fill_whole_pages(read, tmp_path, end):
    images = faces(2)
    text = csv_text(images, "note,emotion,Usage,pixels\n", "{{pad}},{e},{u},{p}\n")[:-1] + end
    text = text.replace("{pad}", "x", 1)
    missing = -len(text.replace("{pad}", "").encode()) % 4096
    path = write(tmp_path, text.replace("{pad}", "y" * missing))
    assert path.stat().st_size % 4096 == 0
    check(read(path), images)


def test_reads_lines_longer_than_a_block(read, tmp_path):
    images = faces(4)
    text = csv_text(images, "emotion,pixels,Usage,note\n", "{e},{p},{u},{{note}}\n")
    text = text.replace("{note}", "z" * 600_000, 2).replace("{note}", "")
    check(read(write(tmp_path, text)), images)


GOOD = text_of(faces(1, seed=3)[0])
START, REST = " ".join(GOOD.split()[:4]), " ".join(GOOD.split()[5:])
WRONG_NUMBERS = {
    "not a whole number": ["abc", "1.0", "+1", "1\t1", "٣"],
    "above 255": ["256", "511", "767", "1000", "0256"],
    "below 0": ["-1"],
}
MALFORMED = {
    "3,1 2 3": "it has 2 columns, but the header has 3",
    f"3,{GOOD},Training,": "it has 4 columns, but the header has 3",
    "3,,Training": "found 0 of 2304 pixels",
    f"3,{START} {REST},Training": "found 2303 of 2304 pixels",
    f"3,{GOOD} 1,Training": "found 2305 of 2304 pixels",
    f"3,{GOOD[:-1]}x,Training": "pixel 2304 of 2304 is ",
    f",{GOOD},Training": "emotion is empty, expected 0 to 6",
    f"7,{GOOD},Training": "emotion is '7', expected 0 to 6",
    f"3,{GOOD},": "Usage is empty, expected Training, PublicTest, PrivateTest",
    f"3,{GOOD},training": "Usage is 'training', expected Training, PublicTest, PrivateTest",
    f"3,{GOOD},\0Training": f"it contains a NUL byte (byte {len(GOOD) + 4} of the line)",
    f"3,{START}\0{REST},Training": f"it contains a NUL byte (byte {len(START) + 3} of the line)",
    f'3,"{START}\n{REST}",Training': "a quoted field does not end on its line",
    f'3,"{GOOD}" 1,Training': "'1' follows a closing quote",
    "": "it is blank, but more rows follow",
    f"3,{START} {'9' * 5000} {REST},Training": f"pixel 5 of 2304 is '{'9' * 20}'..., above 255",
    **{
        f"3,{START} {number} {REST},Training": f"pixel 5 of 2304 is {number!r}, {why}"
        for why, numbers in WRONG_NUMBERS.items()
        for number in numbers
    },
}


@pytest.mark.parametrize("place", [1, 3, 100])
@pytest.mark.parametrize("bad", MALFORMED, ids=range(len(MALFORMED)))
def test_names_the_row_the_line_and_what_was_found(read, tmp_path, bad, place):
    lines = [HEADER[:-1], *[f"0,{GOOD},Training"] * 110, f"9,{GOOD},", ""]
    lines[place] = bad
    path = write(tmp_path, "\n".join(lines))
    with pytest.raises(DataError) as error:
        read(path)
    begin = f"{path}, row {place} (line {place + 1}): {MALFORMED[bad]}"
    assert re.fullmatch(re.escape(begin) + r".*\. Repair that line, or .*\.", str(error.value))


@pytest.mark.parametrize("bad", MALFORMED, ids=range(len(MALFORMED)))
def test_names_the_first_of_two_malformed_rows(read, tmp_path, bad):
    text = f"{HEADER}0,{GOOD},Training\n{bad}\n7,{GOOD} 256,x\0\n0,{GOOD},Training\n"
    with pytest.raises(DataError, match=re.escape(f"row 2 (line 3): {MALFORMED[bad]}")):
        read(write(tmp_path, text))


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b"", "is empty"),
        (HEADER, "has a header but no rows"),
        ("\n" + HEADER, "no column emotion and no pixels and no Usage (found '')"),
        ("emotion,Usage\n0,Training\n", "no column pixels (found 'emotion', 'Usage')"),
        ("emotion,pixels,Pixels\n", "names column pixels twice"),
        (f"0,{GOOD},Training\n", "no column emotion and no pixels and no Usage"),
        ('emotion,"pixels,Usage\n', "line 1: a quoted field does not end on its line"),
        (HEADER.encode("utf-16"), "line 1: it contains a NUL byte (byte 4 of the line)"),
        (b"x" * 100_000, "line 1: the header does not end within 65536 bytes"),
    ],
)
def test_refuses_a_header_that_is_none(read, tmp_path, content, expected):
    path = write(tmp_path, content)
    with pytest.raises(DataError, match=f"^{re.escape(str(path))}.*{re.escape(expected)}"):
        read(path)


def test_refuses_what_cannot_be_read(read, tmp_path):
    with pytest.raises(DataError, match="is a directory"):
        read(tmp_path)
    with pytest.raises(DataError, match="cannot be read: No such file"):
        read(tmp_path / "none.csv")
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(DataError, match="is not a regular file"):
        read(tmp_path / "pipe")
    write(tmp_path, csv_text(faces(1))).chmod(0)
    if os.geteuid() != 0:  # root may read every file
        with pytest.raises(DataError, match="cannot be read: Permission denied"):
            read(tmp_path / "fer2013.csv")
    if os.path.exists("/proc/self/mem"):  # a regular file, but its first byte cannot be read
        with pytest.raises(DataError, match="cannot be read: Input/output error"):
            read("/proc/self/mem")


@pytest.mark.skipif(IO is None, reason=native_status()[1])
class TestNativeReader:
    """What only the native reader can get wrong."""

    def parse(self, path, **options):
        options = dict(start=0, columns=3, emotion=0, pixels=1, usage=2, threads=3) | options
        with path.open("rb") as file:
            return IO.parse_fer_rows(file.fileno(), size=path.stat().st_size, **options)

    def test_stops_before_the_first_irregular_row(self, tmp_path):
        lines = csv_text(faces(100)).splitlines(keepends=True)
        lines[61] = lines[61].replace(" ", "  ", 1)
        path = write(tmp_path, "".join(lines))
        *columns, stop = self.parse(path, start=len(HEADER))
        assert [len(column) for column in columns] == [60, 60, 60]
        assert stop == len("".join(lines[:61]))
        with pytest.raises(ValueError, match="out of range"):
            self.parse(path, pixels=3)

    @pytest.mark.parametrize("form", ["{e},{p},{u}\n", '"{e}", "{p}" ,"{u}" \r\n'])
    @pytest.mark.parametrize("portable", [False, True])
    def test_takes_every_regular_row(self, tmp_path, form, portable):
        numbers = np.arange(2304 * 64) * 7 // 3 % 256  # every value, at every offset in 16 bytes
        images = numbers.astype(np.uint8).reshape(-1, 48, 48)
        path = write(tmp_path, csv_text(images, "", form).rstrip())
        check(fer_csv.FerCsv(*self.parse(path, portable=portable)[:3]), images)

    def test_agrees_on_cut_files(self, tmp_path, monkeypatch):
        whole = csv_text(faces(2) % 10).encode()
        ends = [i + k for i, c in enumerate(whole) if c in b"\n," for k in range(-2, 3)]
        for length in sorted({*range(0, len(whole), 97), *(e for e in ends if e >= 0)}):
            same_outcome(write(tmp_path, whole[:length]), monkeypatch)

    @pytest.mark.parametrize("seed", range(8))
    def test_agrees_on_altered_files(self, tmp_path, monkeypatch, seed):
        rng = np.random.default_rng(seed)
        whole = csv_text(faces(3, seed), form='{e},"{p}",{u}\n' if seed % 2 else "{e},{p},{u}\n")
        accepted = 0
        for _ in range(50):
            data = bytearray(whole.encode())
            for _ in range(rng.integers(1, 3)):
                at, cut = rng.integers(len(data)), rng.choice([0, 1, 1, 1, 2])
                char = rng.choice([*b'0123456789012345 ,"\n\r\0-.\t', rng.integers(256)])
                data[at : at + cut] = bytes([char])
            path = write(tmp_path, bytes(data))
            result = same_outcome(path, monkeypatch)
            if not isinstance(result, str):
                accepted += 1
                assert result[0] == plain_pixels(path)
        assert 0 < accepted < 50


def plain_pixels(path):
    """The pixels by the csv module and int()."""
    with open(path, newline="", encoding="latin-1") as file:
        rows = [row for row in csv.reader(file, skipinitialspace=True) if "".join(row).strip()]
    return bytes(int(pixel) for row in rows[1:] for pixel in row[1].split())
