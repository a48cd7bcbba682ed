"""Journals that only grow."""

import errno
import json
import os

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lightning_gvae.io.journal import JournalError, JsonJournal, append, append_rows, read_rows, whole_lines
from lightning_gvae.io.settings import differences

SAME_FOLDER = settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=40, deadline=None)
PLAIN = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text()
ENTRIES = st.lists(st.dictionaries(st.text(), PLAIN, max_size=3), max_size=5)


@SAME_FOLDER
@given(first=ENTRIES, second=ENTRIES)
def test_entries_come_back_in_their_order(first, second, tmp_path):
    path = tmp_path / "new" / "journal.jsonl"
    path.unlink(missing_ok=True)
    JsonJournal(path).append(first)
    JsonJournal(path).append(second)
    assert JsonJournal(path).read() == first + second


@SAME_FOLDER
@given(entries=ENTRIES.filter(bool), cut=st.integers(0, 300), more=ENTRIES)
def test_whatever_is_cut_off_the_end_costs_the_last_lines_alone(entries, cut, more, tmp_path):
    path = tmp_path / "journal.jsonl"
    path.unlink(missing_ok=True)
    journal = JsonJournal(path)
    journal.append(entries)
    whole = path.read_bytes()
    left = whole[: max(0, len(whole) - cut)]
    path.write_bytes(left)
    kept = entries[: left.count(b"\n")]
    assert journal.read() == kept
    assert path.read_bytes() == left  # a look changes nothing
    journal.append(more)
    assert journal.read() == kept + more
    journal.repair()
    assert journal.read() == kept + more


@pytest.mark.parametrize("damage", [b"not json", b"[1]", b'{"a":', b"\xff\xfe", b"", b"[" * 100_000])
def test_a_complete_line_that_cannot_be_read_is_named(damage, tmp_path):
    path = tmp_path / "journal.jsonl"
    journal = JsonJournal(path)
    journal.append([{"a": 1}, {"a": 2}, {"a": 3}])
    lines = path.read_bytes().splitlines()
    for torn in (b"", b'{"a"'):
        path.write_bytes(b"\n".join([lines[0], damage, lines[2], torn]))
        with pytest.raises(JournalError, match=r"journal\.jsonl, line 2 cannot be read") as caught:
            journal.read()
        assert caught.value.line == 2


def test_the_owner_may_refuse_entries(tmp_path):
    journal = JsonJournal(tmp_path / "journal.jsonl")
    journal.append([{"a": 1}, {"b": 2}])
    with pytest.raises(JournalError, match=r"line 2 cannot be read \(it has no a\)"):
        journal.read(lambda number, entry: None if "a" in entry else "it has no a")


def test_a_journal_that_is_not_there_is_empty(tmp_path):
    assert JsonJournal(tmp_path / "a").read() == [] == read_rows(tmp_path / "a") == whole_lines(tmp_path / "a")
    JsonJournal(tmp_path / "a").repair()
    JsonJournal(tmp_path / "a").append([])
    append(tmp_path / "a", b"")
    assert not (tmp_path / "a").exists()


def test_lines_without_an_end_are_refused(tmp_path):
    with pytest.raises(ValueError, match="must end with a new line"):
        append(tmp_path / "a", b"half")


@pytest.mark.parametrize("sync", [True, False])
def test_only_a_synced_line_waits_for_the_disk(sync, tmp_path, monkeypatch):
    calls = []
    monkeypatch.setattr("os.fsync", calls.append)
    append(tmp_path / "a", b"line\n", sync=sync)
    assert len(calls) == sync


def test_a_full_disk_is_explained(tmp_path, monkeypatch):
    def full(descriptor):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(OSError, match=r"No space left on device \([\d.]+ MB free\): .*journal.jsonl"):
        JsonJournal(tmp_path / "journal.jsonl").append([{}])


def test_rows_are_appended_after_a_torn_one(tmp_path):
    path = tmp_path / "a.csv"
    append_rows(path, [["a", "b"], [1, "x\ny"]])
    with path.open("ab") as file:
        file.write(b"2,to")
    assert read_rows(path) == [["a", "b"], ["1", "x\ny"]]
    append_rows(path, [[3, ""]])
    assert read_rows(path) == [["a", "b"], ["1", "x\ny"], ["3", ""]]


NESTED = st.recursive(PLAIN, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3))


@settings(deadline=None)
@given(value=st.dictionaries(st.text(), NESTED, max_size=4))
def test_settings_equal_themselves_and_their_copy_on_disk(value):
    assert differences(value, value) == []
    assert differences(json.loads(json.dumps(value)), value) == []


@settings(deadline=None)
@given(stored=st.dictionaries(st.text(min_size=1), PLAIN), now=st.dictionaries(st.text(min_size=1), PLAIN))
def test_every_setting_that_differs_is_named_with_both_values(stored, now):
    found = differences(stored, now)
    names = [name for name in sorted({*stored, *now}) if stored.get(name) != now.get(name)]
    assert found == [f"{name}: stored {stored.get(name)!r}, now {now.get(name)!r}" for name in names]


@pytest.mark.parametrize(
    ("stored", "now", "found"),
    [
        ({"a": (1, 2)}, {"a": [1, 2]}, []),
        ({"a": float("nan")}, {"a": float("nan")}, []),
        ({"a": [float("nan"), {"b": 1}]}, {"a": [float("nan"), {"b": 1}]}, []),
        ({}, {"a": None}, []),
        ({"a": {"b": {"c": 1}}}, {"a": {"b": {"c": 2}}}, ["a.b.c: stored 1, now 2"]),
        ({"a": None}, {"a": {"b": 1}}, ["a: stored None, now {'b': 1}"]),
        ({"a": "1"}, {"a": 1}, ["a: stored '1', now 1"]),
        ({"data": {"name": "x"}}, {"data": {"name": "x", "content": "f"}}, []),
        ({"data": {"content": "g"}}, {"data": {"content": "f"}}, ["data.content: stored 'g', now 'f'"]),
        ({"data": {"content": "g"}}, {"data": {}}, ["data.content: stored 'g', now None"]),
    ],
)
def test_differences_of_nested_settings(stored, now, found):
    assert differences(stored, now, added=("data.content",)) == found
