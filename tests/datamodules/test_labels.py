"""Tables of labels as spreadsheets write them."""

from pathlib import Path

import pytest

from lightning_gvae.datamodules.labels import read_labels
from lightning_gvae.errors import DataError

ROOT = Path("/images")
NAMES = ["a/x.png", "b/x.png", "b/y.PNG", "c/ü.png", "z.jpg"]
EXPECTED = {"a/x.png": "cat", "b/x.png": "a big dog", "b/y.PNG": "(none)", "z.jpg": "cat"}
ROWS = [("a/x.png", "cat"), ("b/x.png", "a big dog"), ("b/y.PNG", ""), ("z.jpg", "cat")]


def read(text: str | bytes, column: str = "label", names: list[str] = NAMES) -> dict[str, str]:
    content = text if isinstance(text, bytes) else text.encode()
    return read_labels(content, ROOT / "labels.csv", column, ROOT, names).labels


def table(separator: str = ",", end: str = "\n", quote: str = "", space: str = "") -> str:
    rows = [("file", "label"), *ROWS]
    return "".join(separator.join(f"{space}{quote}{cell}{quote}{space}" for cell in row) + end for row in rows)


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-32"])
@pytest.mark.parametrize("separator", [",", ";", "\t", "|"])
@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("quote", ["", '"'])
def test_every_way_of_writing_a_table(encoding, separator, end, quote):
    assert read(table(separator, end, quote).encode(encoding)) == EXPECTED


@pytest.mark.parametrize(
    "text",
    [
        table(space=" "),
        "sep=;\r\n" + table(";", "\r\n"),
        "\n ,\n" + table() + ",\n\n  \n",
        table().replace("file,label", "FILE, Label"),
        table().replace("a big dog", '"a  big\ndog"'),
        table().replace("b/y.PNG,", "b/y.PNG"),  # a short row
        table().replace("\n", ",,\n"),  # empty cells beyond the header's
        table().replace("a/x.png", r"a\x.png").replace("b/x.png", r".\b\x.png"),
        table().replace("a/x.png", "./a/x.png").replace("b/x.png", "/images/b/x.png"),
        table().replace("z.jpg", "Z.JPG").replace("y.PNG", "y.png"),
        table().replace("z.jpg", "z").replace("b/y.PNG", "y.png"),
        table() + "a/x.png,cat\na//x.png,cat\n",  # again, and in agreement
    ],
)
def test_tables_that_say_the_same_in_other_words(text):
    assert read(text) == EXPECTED


def test_columns_may_have_spaces_and_others_may_stand_between():
    assert read("id;my  label;file\n1;x;z.jpg\n", "My label") == {"z.jpg": "x"}
    assert read('file,label\nz.jpg,"a ""b"", c"\n') == {"z.jpg": 'a "b", c'}
    assert read("file,label\nc/u\u0308.png,x\n") == {"c/ü.png": "x"}  # an accent written as Macs do


def test_rows_of_other_files_are_told():
    found = read_labels(b"file,label\nz.jpg,x\nz.png,y\nd/z.jpg,y\n", ROOT / "labels.csv", "label", ROOT, NAMES)
    assert found.labels == {"z.jpg": "x"} and found.strangers == ["z.png", "d/z.jpg"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "must have the columns file and label, found none; data.label_column names the second"),
        ("name,label\nz.jpg,x\n", r"must have the columns file and label, found \['name', 'label'\]"),
        ("file,label,label\nz.jpg,x,y\n", "the columns file and label once each, found label 2 times"),
        ("file,label\n", "names none of the 5 images, the first of which is 'a/x.png'; it has no row"),
        ("file,label\nq.png,x\n", "names none of the 5 images.*; its first row names 'q.png'"),
        (
            "file,label\nx.png,x\n",
            r"line 2 of .* names 'x.png', which may be any of 2 images \(a/x.png, b/x.png\); wri",
        ),
        ("file,label\nz.jpg,x\n\nz,y\n", "two labels to z.jpg: 'x' in line 2 and 'y' in line 4; remove one"),
        ("file,label\nz.jpg,x\nZ.jpg,\n", r"two labels to z.jpg: 'x' in line 2 and '\(none\)' in line 3"),
        ("file,label\nz.jpg,x,y\n", "line 2 of .* has 3 cells, its header 2; put cells that hold the separator into"),
        ("sep=,\nfile,label\n,x\n", "line 3 of .* names no file; complete it or remove it"),
        ('file,label\nz.jpg,"x\na/x.png,y\n', "is no table as spreadsheets write them: unexpected end of data"),
        ("file,label\nz.jpg,x\0y\n", "holds NUL characters, so it is no text, or UTF-16 without a byte order mark"),
        ("file,label\nz.jpg,\xe9\n".encode("latin-1"), "line 2 of .* is not utf-8 text .byte 0xe9.; save the table as"),
        ("file,label\nz.jpg,x\n".encode("utf-16-le"), "UTF-16 without a byte order mark"),
        (b"\xff\xfef", "is not utf-16 text"),
        (b"PK\x03\x04...", "is a spreadsheet's own file and no table of text; save it as CSV"),
        (b"\xd0\xcf\x11\xe0...", "is a spreadsheet's own file and no table of text; save it as CSV"),
        ("file,label\nz.jpg," + "x" * 200_000, "is no table as spreadsheets write them: field larger than field limit"),
    ],
)
def test_tables_that_cannot_be_taken_at_their_word_are_refused(text, message):
    with pytest.raises(DataError, match=message):
        read(text)


def test_names_that_differ_in_capitals_alone_are_not_mixed_up():
    names = ["a.png", "A.png"]
    assert read("file,label\na.png,x\nA.png,y\n", names=names) == {"a.png": "x", "A.png": "y"}
    with pytest.raises(DataError, match="names 'A.PNG', which may be any of 2 images"):
        read("file,label\nA.PNG,x\n", names=names)
