"""Files that are written whole or not at all."""

import csv
import errno
import json
import os

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file

from lightning_gvae.io.files import (
    replace_file,
    write_array,
    write_arrays,
    write_bytes,
    write_csv,
    write_json,
    write_tensors,
    write_text,
    write_torch,
)

SAME_FOLDER = settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=30, deadline=None)
WRITERS = {
    "bytes": lambda path: write_bytes(path, b"new"),
    "text": lambda path: write_text(path, "new"),
    "json": lambda path: write_json(path, [1]),
    "csv": lambda path: write_csv(path, ["a"], [[1]]),
    "array": lambda path: write_array(path, np.zeros(3)),
    "arrays": lambda path: write_arrays(path, {"a": np.zeros(3)}),
    "tensors": lambda path: write_tensors(path, {"a": torch.zeros(3)}),
    "torch": lambda path: write_torch(path, torch.zeros(3), only_writer=True),
}
SIMPLE = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text()
PLAIN = st.recursive(SIMPLE, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3))


@SAME_FOLDER
@given(content=st.binary(max_size=2000))
def test_bytes_come_back(content, tmp_path):
    write_bytes(tmp_path / "new" / "file.bin", content)
    assert (tmp_path / "new" / "file.bin").read_bytes() == content
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["file.bin"]


@SAME_FOLDER
@given(content=PLAIN, indent=st.sampled_from([None, 2]), ascii_only=st.booleans())
def test_json_comes_back(content, indent, ascii_only, tmp_path):
    write_json(tmp_path / "a.json", content, indent=indent, ensure_ascii=ascii_only)
    assert json.loads((tmp_path / "a.json").read_text(encoding="utf-8")) == content


@SAME_FOLDER
@given(text=st.text())
def test_text_comes_back_with_its_line_ends(text, tmp_path):
    write_text(tmp_path / "a.txt", text)
    assert (tmp_path / "a.txt").read_bytes().decode() == text


@SAME_FOLDER
@given(rows=st.lists(st.lists(st.text(alphabet='ab,"\r\n é'), min_size=2, max_size=2), max_size=4))
def test_tables_come_back(rows, tmp_path):
    by_name = [dict(zip(("x", "y"), row, strict=True)) for row in rows]
    for given_rows in (rows, by_name):
        write_csv(tmp_path / "a.csv", ["x", "y"], given_rows)
        with (tmp_path / "a.csv").open(newline="", encoding="utf-8") as file:
            assert list(csv.reader(file)) == [["x", "y"], *rows]


def test_a_table_leaves_missing_cells_empty_and_refuses_others(tmp_path):
    path = tmp_path / "a.csv"
    write_csv(path, ["x", "y"], [{"y": 1}])
    assert path.read_bytes() == b"x,y\r\n,1\r\n"
    for row, words in [
        ({"z": 1}, "row 1 names columns that are not there: z"),
        ([1], "row 1 must have 2 cells, got 1"),
    ]:
        with pytest.raises(ValueError, match=words):
            write_csv(path, ["x", "y"], [row])
    assert path.read_bytes() == b"x,y\r\n,1\r\n"


def test_arrays_and_tensors_come_back(tmp_path):
    array, tensor = np.arange(6).reshape(2, 3), torch.arange(6.0).reshape(2, 3).T.requires_grad_()
    write_array(tmp_path / "a.npy", array)
    write_arrays(tmp_path / "a.npz", {"a": array, "b": np.float32(2)}, compress=True)
    write_tensors(tmp_path / "a.safetensors", {"t": tensor}, {"about": "x"})
    size = write_torch(tmp_path / "a.pt", {"t": tensor})
    assert np.array_equal(np.load(tmp_path / "a.npy"), array)
    with np.load(tmp_path / "a.npz") as found:
        assert np.array_equal(found["a"], array) and found["b"] == 2
    assert torch.equal(load_file(tmp_path / "a.safetensors")["t"], tensor)
    assert torch.equal(torch.load(tmp_path / "a.pt", weights_only=True)["t"], tensor)
    assert size == (tmp_path / "a.pt").stat().st_size


def test_arrays_of_objects_are_refused_before_anything_is_written(tmp_path):
    with pytest.raises(ValueError, match="the array b holds objects"):
        write_arrays(tmp_path / "a.npz", {"b": np.array([object()])})
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("there", [True, False])
@pytest.mark.parametrize("moment", ["write", "fsync", "replace"])
@pytest.mark.parametrize("kind", WRITERS)
def test_a_full_disk_keeps_the_earlier_file_and_says_so(kind, moment, there, tmp_path, monkeypatch):
    path = tmp_path / f"file.{kind}"
    if there:
        path.write_bytes(b"old")

    def full(*args):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "/somewhere/else")

    target = {"write": "pathlib.Path.write_bytes", "fsync": "os.fsync", "replace": "pathlib.Path.replace"}[moment]
    monkeypatch.setattr(target, full)
    kept = "; the earlier file is as it was" if there else ""
    with pytest.raises(OSError, match=rf"No space left on device \([\d.]+ MB free{kept}\): .*file\.{kind}'$"):
        WRITERS[kind](path)
    monkeypatch.undo()
    assert [item.name for item in tmp_path.iterdir()] == ([path.name] if there else [])
    assert not there or path.read_bytes() == b"old"


@pytest.mark.parametrize("only_writer", [True, False])
def test_a_writer_that_fails_leaves_the_earlier_file(only_writer, tmp_path):
    path = tmp_path / "a.txt"
    path.write_text("old")

    def fail(beside):
        beside.write_text("half")
        raise RuntimeError("disk on fire")

    with pytest.raises(RuntimeError, match="disk on fire"):
        replace_file(path, fail, only_writer=only_writer)
    assert path.read_text() == "old"
    assert [entry.name for entry in tmp_path.iterdir()] == ["a.txt"]


def test_the_only_writer_takes_the_place_of_what_a_kill_has_left(tmp_path):
    (tmp_path / ".a.pt.part").write_bytes(b"half")
    write_torch(tmp_path / "a.pt", torch.ones(2), only_writer=True)
    assert [entry.name for entry in tmp_path.iterdir()] == ["a.pt"]


def test_a_folder_that_is_a_file_is_an_error_about_the_path_that_was_asked_for(tmp_path):
    (tmp_path / "a").write_text("a file")
    with pytest.raises(OSError, match="a/b.txt"):
        write_text(tmp_path / "a" / "b.txt", "x")
