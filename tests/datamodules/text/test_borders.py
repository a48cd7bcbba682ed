"""Corpora as they come: encodings, line ends, single files, and parts that stay what they are."""

from typing import Any

import numpy as np
import pytest

from lightning_gvae.datamodules.text import corpus
from lightning_gvae.datamodules.text.corpus import corpus_files, sentences
from lightning_gvae.datamodules.text.datamodule import TextDataModule
from lightning_gvae.errors import CheckpointError, ConfigError, DataError
from tests.datamodules.sentences import sentence

KEY = "TextDataModule"


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("GVAE_CACHE_DIR", str(tmp_path / "cache"))


def lines(count: int, start: int = 0) -> list[str]:
    return [f"{sentence(number)} {number}" for number in range(start, start + count)]


def ready(root, content: list[str] | None = None, **options) -> TextDataModule:
    if content is not None:
        root.write_text("\n".join(content) + "\n", encoding="utf-8")
    settings: dict[str, Any] = {"words": {"vocabulary_cap": 30}, "batch_size": 8, "eval_batch_size": 8}
    module = TextDataModule(root, **settings | options)
    module.setup()
    return module


def parts(module: TextDataModule, content: list[str]) -> dict[str, set[str]]:
    splits = {"train": module.train_set, "val": module.val_set, "test": module.test_set}
    return {part: {content[index] for index in split.indices} for part, split in splits.items()}


# Encodings.


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-32"])
@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_byte_order_marks_and_line_ends(tmp_path, encoding, end):
    path = tmp_path / "x.txt"
    path.write_bytes(end.join(["der Bär", "", "ça va ?", "日本 語"]).encode(encoding))
    assert list(sentences(path)) == [["der", "Bär"], [], ["ça", "va", "?"], ["日本", "語"]]


@pytest.mark.parametrize("encoding", ["latin-1", "cp1252", "utf-16-le", "utf-16-be", "shift-jis"])
def test_encodings_without_a_mark_may_be_named(tmp_path, encoding):
    path = tmp_path / "x.txt"
    words = "日本 語" if encoding == "shift-jis" else "ça va"
    path.write_bytes(f"{words}\nb\n".encode(encoding))
    assert list(sentences(path, encoding)) == [words.split(), ["b"]]
    with pytest.raises(
        DataError, match=r"line 1 of .*x.txt (is not utf-8 text: byte|holds a NUL character, so it is no)"
    ):
        list(sentences(path))


@pytest.mark.parametrize(
    ("content", "encoding", "message"),
    [
        (
            b"fine\na\0b\n",
            "utf-8",
            "line 2 of .* holds a NUL character, so it is no utf-8 text; convert the file, or name",
        ),
        (b"\x89PNG\r\n\x1a\n", "utf-8", "line 1 of .* is not utf-8 text: byte 0x89 at position 1; convert the file"),
        (b"\xff\xfea\0b", "utf-8", "is not utf-16 text"),
        (b"a\n", "utf-16", "is not utf-16 text .*; name its encoding .data.words.encoding=utf-16-le."),
        (b"a\n", "rot13", "`words.encoding` must be one that Python knows, got 'rot13'"),
    ],
)
def test_what_is_no_text_is_refused(tmp_path, content, encoding, message):
    (tmp_path / "x.txt").write_bytes(content)
    with pytest.raises(DataError, match=message):
        list(sentences(tmp_path / "x.txt", encoding))


def test_a_line_without_an_end_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(corpus, "LONGEST", 100)
    (tmp_path / "x.txt").write_text("a b\n" + "c " * 49 + "\n")
    assert len(list(sentences(tmp_path / "x.txt"))) == 2
    (tmp_path / "x.txt").write_text("a b\n" + "c " * 200)
    with pytest.raises(
        DataError, match="line 2 of .* is longer than 100 characters; give a file with one sentence a line"
    ):
        list(sentences(tmp_path / "x.txt"))


def test_a_file_that_cannot_be_read_is_named(tmp_path):
    with pytest.raises(DataError, match=r"none.txt cannot be read: No such file"):
        list(sentences(tmp_path / "none.txt"))


# Where the file is.


@pytest.mark.parametrize("beside", [[], ["README.md", "image.png"], [".hidden.txt"]])
@pytest.mark.parametrize("name", ["corpus.txt", "NOVEL.TXT"])
def test_a_folder_with_one_text_is_that_text(tmp_path, name, beside):
    for other in (name, *beside):
        (tmp_path / other).write_text("a\nb\n")
    assert corpus_files(tmp_path, "some") == {"all": tmp_path / name}


def test_a_folder_with_one_file_of_any_name_is_that_file(tmp_path):
    (tmp_path / "sentences").write_text("a\n")
    assert corpus_files(tmp_path, "some") == {"all": tmp_path / "sentences"}
    (tmp_path / "more").write_text("a\n")
    with pytest.raises(DataError, match="holds no corpus: .*, or a single file; found more, sentences"):
        corpus_files(tmp_path, "some")
    (tmp_path / "a.txt").write_text("a\n")
    (tmp_path / "b.txt").write_text("a\n")
    with pytest.raises(DataError, match="found a.txt, b.txt"):
        corpus_files(tmp_path, "some")


# Parts of a single file.


def test_a_sentence_stays_in_its_part_whatever_is_added(tmp_path):
    before = parts(ready(tmp_path / "c.txt", lines(300)), lines(300))
    more = [*lines(50, 1000), *lines(300)[::-1], "", *lines(50, 2000)]
    after = parts(ready(tmp_path / "c.txt", more), [line for line in more if line])
    assert all(before[part] <= after[part] for part in before)
    for part, share in (("val", 0.1), ("test", 0.1)):
        assert abs(len(before[part]) - 300 * share) < 4 * np.sqrt(300 * share * 0.9)


def test_a_sentence_that_occurs_twice_is_in_one_part(tmp_path):
    content = [line for line in lines(60) for _ in range(3)]
    module = ready(tmp_path / "c.txt", content)
    found = parts(module, content)
    assert not (found["train"] & found["test"] or found["train"] & found["val"] or found["val"] & found["test"])
    assert sum(module.part_sizes.values()) == 180 and all(module.part_sizes.values())


@pytest.mark.parametrize("count", [3, 8, 40])
def test_small_corpora_have_all_parts(tmp_path, count):
    assert all(ready(tmp_path / "c.txt", lines(count)).part_sizes.values())


def test_sizes_are_shares_or_counts(tmp_path):
    assert ready(tmp_path / "c.txt", lines(60), val_size=7, test_size=5).part_sizes == {
        "train": 48,
        "val": 7,
        "test": 5,
    }
    with pytest.raises(
        ConfigError, match="`val_size` 10000 and `test_size` 0.1 leave no training sentence of the 60 in"
    ):
        ready(tmp_path / "c.txt", val_size=10_000)
    with pytest.raises(ConfigError, match="`test_size` must be an integer of at least 1, or a share"):
        TextDataModule(tmp_path / "c.txt", test_size=1.5)
    with pytest.raises(DataError, match=r"text .* has 1 different sentence.s., too few for 3 parts"):
        ready(tmp_path / "c.txt", ["a b"] * 50)


# With a checkpoint.


def test_a_run_does_not_go_on_with_other_sentences(tmp_path, capsys):
    state = ready(tmp_path / "c.txt", lines(100)).state_dict()
    ready(tmp_path / "c.txt").load_state_dict(state)
    checkpoint = {KEY: state, "gvae_vocabulary": list(ready(tmp_path / "c.txt").vocabulary.words)}
    changed = [*lines(100), *lines(20, 500)]

    def going_on(**options) -> TextDataModule:
        (tmp_path / "c.txt").write_text("\n".join(changed) + "\n")
        module = TextDataModule(tmp_path / "c.txt", words={"vocabulary_cap": 30}, batch_size=8, **options)
        module.resume_from(checkpoint)
        module.setup()
        module.load_state_dict(state)
        return module

    with pytest.raises(
        CheckpointError, match=r"the sentences of train.* 0 of the \d+ test sentences and 0 of the \d+ valid"
    ):
        going_on()
    module = going_on(if_changed="accept")
    assert "Gone on with" in capsys.readouterr().err and module.train_dataloader().changed
    with pytest.raises(CheckpointError, match="of the .* test sentences"):
        going_on(seed=3)


def test_a_corpus_that_has_grown_is_not_evaluated_on_what_was_trained_on(tmp_path, capsys):
    trained = ready(tmp_path / "c.txt", lines(100))
    checkpoint = {KEY: trained.state_dict(), "gvae_vocabulary": list(trained.vocabulary.words)}

    def evaluated(content, **options) -> TextDataModule:
        (tmp_path / "d.txt").write_text("\n".join(content) + "\n")
        module = TextDataModule(tmp_path / "d.txt", words={"vocabulary_cap": 30}, batch_size=8, **options)
        module.restore(checkpoint)
        module.compare_with(checkpoint)
        module.setup()
        return module

    assert len(evaluated(lines(100)).test_set) == len(trained.test_set)  # the same corpus elsewhere
    grown = [*lines(100), *lines(30, 500)]
    with pytest.raises(CheckpointError, match=r"0 of the \d+ test sentences"):
        evaluated(grown)
    accepted = evaluated(grown, if_changed="accept")
    old = {sentence for part, found in parts(trained, lines(100)).items() if part != "test" for sentence in found}
    assert not old & {grown[index] for index in accepted.test_set.indices}
    capsys.readouterr()
    assert len(evaluated(lines(40, 700)).test_set) == 40  # another corpus is a test part as a whole
    assert "other data than the model was trained on (text). 0 of the 40 test sentences" in capsys.readouterr().err
    with pytest.raises(CheckpointError, match=r"\d\d of the 30 test sentences had been trained on"):
        evaluated(lines(30))
