"""One table, written as spreadsheets and programs of every system write it."""

import pytest

from neurogaze_fast.delimited import DelimitedTextError, read_delimited, read_header
from neurogaze_fast.errors import DataError

KNOWN = ("file", "subject", "note")
HEADER = ("file", "Subject", "note")
ROWS = [("a/b.bdf", "1", "x, y"), ("c.bdf", "2", "")]


def written(delimiter=",", end="\n", before=""):
    def field(text):
        return f'"{text}"' if delimiter in text else text

    lines = [delimiter.join(map(field, row)) for row in (HEADER, *ROWS)]
    return before + end.join(lines) + end


def read(tmp_path, data, known=KNOWN):
    path = tmp_path / "t.csv"
    path.write_bytes(data)
    return read_delimited(path, known)


@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize(
    ("before", "encoding"),
    [
        ("", "utf-8"),
        ("", "utf-8-sig"),
        ("", "utf-16"),
        ("\ufeff", "utf-16-be"),
        ("", "utf-16-le"),
        ("", "utf-16-be"),
        ("", "utf-32"),
    ],
)
def test_every_delimiter_line_end_and_encoding(tmp_path, delimiter, end, before, encoding):
    table = read(tmp_path, written(delimiter, end, before).encode(encoding))
    assert (table.delimiter, table.header) == (delimiter, HEADER)
    assert table.columns == KNOWN
    assert [row.fields for row in table.rows] == ROWS
    assert [(row.number, row.line) for row in table.rows] == [(1, 2), (2, 3)]


@pytest.mark.parametrize("line", ["sep={}", "SEP={}", '"sep={}"', "sep={};;;", "\n sep={}"])
@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_a_line_that_names_the_delimiter_is_no_row(tmp_path, line, delimiter, end):
    before = line.format(delimiter).replace("\n", end) + end
    table = read(tmp_path, written(delimiter, end, before).encode(), known=())
    assert (table.delimiter, table.header) == (delimiter, HEADER)
    assert [row.fields for row in table.rows] == ROWS
    assert table.rows[0].number == 1
    assert table.rows[0].line == 3 + line.count("\n")


def test_sep_written_out_as_a_letter(tmp_path):
    assert read(tmp_path, written("\t", before="sep=\\t\n").encode()).delimiter == "\t"


@pytest.mark.parametrize("mark", ["\u2028", "\u2029", "\x0b", "\x0c", "\x1c", "\x1e", "\x85"])
def test_only_line_ends_end_a_line(tmp_path, mark):
    table = read(tmp_path, f"file,subject,note\na{mark}b,1,x\nc,2,y\n".encode())
    assert [row.fields for row in table.rows] == [(f"a{mark}b", "1", "x"), ("c", "2", "y")]


def test_known_names_outweigh_a_longer_split(tmp_path):
    """Notes full of commas do not make a comma the delimiter."""
    table = read(tmp_path, b"file;subject;note, free, of, any, form\na;1;x\n")
    assert table.delimiter == ";"
    assert table.rows[0].fields == ("a", "1", "x")


def test_quotation_marks(tmp_path):
    table = read(tmp_path, b'"file", "subject" ,note\n"a, b", 1,"two\r\nlines ""here"""\n'.replace(
        b'" ,', b'",'))  # fmt: skip
    assert table.rows[0].fields == ("a, b", "1", 'two\nlines "here"')
    assert table.rows[0].line == 3


def test_white_space_and_invisible_marks_around_fields(tmp_path):
    table = read(
        tmp_path, "\ufeff\ufefffile,\u200bsubject\xa0, note\n a ,\ufeff1\u3000,x\n".encode()
    )
    assert table.columns == KNOWN
    assert table.rows[0].fields == ("a", "1", "x")


def test_empty_rows_and_columns(tmp_path):
    table = read(tmp_path, b"\n,,,\nfile,subject,note,,\na,1,x\n\n,,,,\nb,2,y,,,,,\n")
    assert [row.fields for row in table.rows] == [("a", "1", "x", "", ""), ("b", "2", "y", "", "")]
    assert [(row.number, row.line) for row in table.rows] == [(1, 4), (4, 7)]


def test_columns_by_any_of_their_names(tmp_path):
    table = read(tmp_path, b"Path,person,y,y\na,1,2,3\n")
    assert table.column("image_path", "path") == 0
    assert table.column("split") is None
    with pytest.raises(DelimitedTextError, match="2 columns named y"):
        table.column("label", "y")


@pytest.mark.parametrize(
    ("text", "comma"),
    [
        ("a;b\n0,5;1\n", True),
        ("a\tb\n0,5\t1\n", True),
        ("a;b\n0,5;0.5\n", False),
        ("a;b\nr.edf;0,5\n", True),
        ('a,b\n"0,5",1\n', False),
    ],
)
def test_a_decimal_comma_needs_another_delimiter_and_no_decimal_point(tmp_path, text, comma):
    assert read(tmp_path, text.encode()).decimal_comma is comma


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (b"", "is empty"),
        (b"\n\n ,, \n", "is empty"),
        (b"file,subject,note\na,1\n", "line 2: found 2 fields, expected 3"),
        (b"file,subject,note\na,1,x\na,1,x,y\n", "line 3: found 4 fields"),
        (b'file,subject,note\na,1,"x\nb,2,y\n', "line 2: unexpected end of data. Mend the quot"),
        (b'file,subject,note\n"a"b,1,x\n', "line 2: "),
        ("file,subject,note\ncaf\xe9,1,x\n".encode("cp1252"), "not text in UTF-8.*line 2, byte 21"),
        (b"file,subject,note\na\0,1,x\n", "NUL"),
        (b"\xff\xfef", "not text"),
    ],
)
def test_what_is_no_table_is_refused_naming_the_place(tmp_path, data, says):
    with pytest.raises(DelimitedTextError, match=says) as caught:
        read(tmp_path, data)
    assert isinstance(caught.value, DataError)
    assert "t.csv" in str(caught.value)


def test_a_missing_file_is_said(tmp_path):
    with pytest.raises(DelimitedTextError, match="No such file"):
        read_delimited(tmp_path / "no.csv")


def test_the_header_of_a_long_file(tmp_path):
    path = tmp_path / "t.csv"
    path.write_bytes(b"file;subject;note\n" + "\u00e9".encode() * 100_001)
    table = read_header(path, KNOWN)
    assert (table.columns, table.rows, table.delimiter) == (KNOWN, (), ";")
