"""Corpora: what a line is, the cache, the vocabulary, buckets that resume, and files that are not as they should be."""

import json
import multiprocessing

import numpy as np
import pytest
import torch

from lightning_gvae.datamodules.ptb import PTBDataModule
from lightning_gvae.datamodules.text import cache as text_cache
from lightning_gvae.datamodules.text.batches import BucketLoader
from lightning_gvae.datamodules.text.corpus import corpus_files, sentences
from lightning_gvae.datamodules.text.datamodule import TextDataModule, WordSettings
from lightning_gvae.errors import CheckpointError, ConfigError, DataError
from lightning_gvae.text import EOS, PAD, UNK, Vocabulary
from tests.datamodules.sentences import write_corpus


@pytest.fixture
def root(tmp_path):
    return write_corpus(tmp_path / "toy")


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("GVAE_CACHE_DIR", str(tmp_path / "cache"))


def ready(root, **options):
    module = TextDataModule(root, **{"name": "toy", "batch_size": 8, "eval_batch_size": 16} | options)
    module.setup()
    return module


def one_file(folder, content: bytes, **options):
    path = folder / "corpus.txt"
    path.write_bytes(content)
    return TextDataModule(path, **{"val_size": 1, "test_size": 1} | options)


# Vocabulary.


def test_words_are_numbered_by_frequency_then_alphabet_and_the_cap_counts_special_tokens():
    counts = {"b": 2, "a": 2, "c": 5, "<unk>": 9, "rare": 1}
    assert Vocabulary.of_counts(counts).tokens == ("<pad>", "<unk>", "<bos>", "<eos>", "c", "a", "b", "rare")
    capped = Vocabulary.of_counts(counts, cap=6)
    assert capped.words == ("c", "a")
    assert len(capped) == 6
    assert capped.encode(["a", "b", "<unk>", "<eos>", "<pad>", "<bos>"]) == [5, UNK, UNK, UNK, UNK, UNK]
    assert capped.decode([2, 4, 1, 3, 5]) == "c <unk>"
    assert capped.digest != Vocabulary.of_counts(counts).digest
    assert Vocabulary(capped.words) == capped


@pytest.mark.parametrize("cap", [4, 0, -1])
def test_a_cap_below_the_special_tokens_is_refused_at_construction(root, cap):
    with pytest.raises(ConfigError, match=f"`words.vocabulary_cap` must be an integer of at least 5.*got {cap}"):
        TextDataModule(root, words={"vocabulary_cap": cap})


@pytest.mark.parametrize("words", [[], ["a", "a"], ["a b"], ["<eos>"], [""]])
def test_words_that_cannot_be_told_apart_are_refused(words):
    with pytest.raises(DataError, match="`words` must be at least one different word"):
        Vocabulary(words)


def test_unseen_words_of_the_other_parts_are_unknown_and_counted(tmp_path):
    (tmp_path / "train.txt").write_text("a b\nb c\n")
    (tmp_path / "valid.txt").write_text("a z\n")
    (tmp_path / "test.txt").write_text("x y z a\n")
    module = ready(tmp_path)
    assert module.vocabulary.words == ("b", "a", "c")
    tokens, lengths = module.test_set.batch([0])
    assert tokens.tolist() == [[UNK, UNK, UNK, 5, EOS]] and lengths.tolist() == [5]
    assert module.statistics["test"].unknown_rate == 0.75
    assert module.statistics["val"].unknown == 1


# What a line is.


def test_line_ends_of_all_systems_a_byte_order_mark_and_empty_lines(tmp_path):
    path = tmp_path / "x.txt"
    path.write_bytes(b"\xef\xbb\xbfa b\r\nc\n\n  \nd\re\r\nf")
    assert [" ".join(words) for words in sentences(path)] == ["a b", "c", "", "", "d", "e", "f"]
    path.write_bytes("a\u2028b \x85 c\n".encode())  # no line ends, but white space
    assert list(sentences(path)) == [["a", "b", "c"]]
    path.write_bytes("Ä B\n".encode("latin-1"))
    assert list(sentences(path, "latin-1", lowercase=True)) == [["ä", "b"]]


def test_windows_files_give_the_tokens_of_unix_files(tmp_path):
    module = one_file(tmp_path, b"a b\r\nc d e\r\nf\r\ng\r\n")
    module.setup()
    windows = [split.batch(range(len(split)))[0].tolist() for split in (module.train_set, module.val_set)]
    (tmp_path / "corpus.txt").write_bytes(b"a b\nc d e\nf\ng\n")
    other = TextDataModule(tmp_path / "corpus.txt", val_size=1, test_size=1)
    other.setup()
    assert windows == [split.batch(range(len(split)))[0].tolist() for split in (other.train_set, other.val_set)]
    assert "\r" not in "".join(module.vocabulary.words)


def test_bytes_that_are_not_text_name_line_and_place(tmp_path):
    module = one_file(tmp_path, b"fine\nalso fine\nab \xff c\n")
    with pytest.raises(DataError, match=r"line 3 of .*corpus.txt is not utf-8 text: byte 0xff at position 4.*encoding"):
        module.setup()
    module = one_file(tmp_path, b"fine\nalso fine\nab \xff c\n", words=WordSettings(encoding="latin-1"))
    module.setup()
    assert "ÿ" in module.vocabulary.words
    with pytest.raises(DataError, match="`words.encoding` must be one that Python knows, got 'utf-7000'"):
        one_file(tmp_path, b"a\n", words={"encoding": "utf-7000"}).setup()


@pytest.mark.parametrize("content", [b"", b"\n\n \r\n", b"\xef\xbb\xbf"])
def test_a_file_without_words_is_refused(tmp_path, content):
    with pytest.raises(DataError, match=r"corpus.txt is empty: it has no word; give a file with one sentence a line"):
        one_file(tmp_path, content).setup()


def test_an_empty_test_part_is_refused_too(root):
    (root / "toy.test.txt").write_text("\n")
    with pytest.raises(DataError, match=r"toy.test.txt is empty"):
        ready(root)


def test_one_giant_line_is_cut_at_the_maximum_and_counted(tmp_path, capsys):
    (tmp_path / "train.txt").write_text("a b c\n" + "w " * 100_000 + "\n")
    module = TextDataModule(tmp_path, max_length=10)
    module.setup()
    found = module.statistics["train"]
    assert (found.sentences, found.cut, found.cut_words, found.words) == (2, 1, 100_000 - 9, 3 + 9)
    assert "text/train: 1 of 2 sentences are longer than 10 tokens and lose 99991 words" in capsys.readouterr().err
    tokens, lengths = module.train_set.batch([1])
    assert lengths.tolist() == [10] and tokens[0, -1] == EOS
    # 9 words and <eos> are exactly the maximum: nothing is lost
    (tmp_path / "train.txt").write_text("w " * 9 + "\n")
    module = TextDataModule(tmp_path, max_length=10)
    module.setup()
    assert module.statistics["train"].cut_words == 0


# Where the files are.


def test_files_are_found_by_name_then_alone_then_plain(tmp_path):
    for name in ("a.train.txt", "b.train.txt", "test.txt", "val.txt"):
        (tmp_path / name).write_text("x\n")
    assert corpus_files(tmp_path, "b")["train"].name == "b.train.txt"
    assert corpus_files(tmp_path, "b")["val"].name == "val.txt"
    with pytest.raises(DataError, match=r"2 files for `train` .a.train.txt, b.train.txt.*data.name"):
        corpus_files(tmp_path, "c")
    (tmp_path / "b.train.txt").unlink()
    assert corpus_files(tmp_path, "c")["train"].name == "a.train.txt"


def test_missing_corpora_and_parts_are_named(tmp_path, root):
    with pytest.raises(DataError, match="there is no corpus at .*nowhere"):
        TextDataModule(tmp_path / "nowhere").setup()
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match=r"holds no corpus: expected ptb.train.txt, ptb.valid.txt and ptb.test.txt"):
        PTBDataModule(tmp_path / "empty").setup()
    (root / "toy.valid.txt").unlink()
    with pytest.raises(DataError, match=r"has no val part, only train, test; add toy.valid.txt"):
        ready(root).val_dataloader()
    (root / "toy.train.txt").unlink()
    with pytest.raises(DataError, match="has no training part to make a vocabulary of"):
        ready(root)
    with pytest.raises(ConfigError, match=r"`train_set` does not exist before `setup\(\)`"):
        TextDataModule(root).train_set  # noqa: B018


def test_a_single_file_is_cut_by_the_seed_without_overlap(tmp_path):
    module = one_file(tmp_path, "".join(f"w{n}\n" for n in range(50)).encode(), val_size=7, test_size=5)
    module.setup()
    parts = [set(part.indices.tolist()) for part in (module.train_set, module.val_set, module.test_set)]
    assert [len(part) for part in parts] == [38, 7, 5]
    assert set.union(*parts) == set(range(50))
    with pytest.raises(ConfigError, match="`val_size` 30 and `test_size` 20 leave no training sentence of the 50"):
        TextDataModule(tmp_path / "corpus.txt", val_size=30, test_size=20).setup()


# The cache.


def test_a_second_start_reads_the_cache_and_changed_files_or_settings_do_not(root, monkeypatch):
    first = ready(root)
    calls = []
    monkeypatch.setattr(text_cache, "sentences", lambda *args: calls.append(args) or sentences(*args))
    again = ready(root)
    assert not calls
    batch = lambda module: module.train_set.batch(range(20))[0]
    assert torch.equal(batch(first), batch(again))
    assert again.statistics == first.statistics
    ready(root, max_length=5)
    assert len(calls) == 3
    (root / "toy.test.txt").write_text("the red cat\n")
    assert len(ready(root).test_set) == 1


def test_a_cache_that_was_broken_off_is_written_anew_and_a_damaged_one_is_named(root, tmp_path, monkeypatch):
    def broken(*args):
        yield ["the"]
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(text_cache, "sentences", broken)
        with pytest.raises(DataError, match=r"cannot be written or read: No space left.*cache_dir"):
            ready(root)
    assert not list((tmp_path / "cache").glob("text-*[!k]"))
    ready(root)
    (tokens,) = (tmp_path / "cache").glob("text-toy.train-*/tokens.i32")
    tokens.write_bytes(tokens.read_bytes()[:-4])
    with pytest.raises(DataError, match=r"tokens.i32 must be \d+ bytes long, found \d+; delete"):
        ready(root)


def _start(root):
    module = TextDataModule(root, name="toy")
    module.setup()
    assert len(module.train_set) == 200


def test_processes_that_start_at_once_share_one_cache(root, tmp_path):
    context = multiprocessing.get_context("fork")
    processes = [context.Process(target=_start, args=(root,)) for _ in range(4)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    assert [process.exitcode for process in processes] == [0] * 4
    folders = [path.name for path in (tmp_path / "cache").iterdir() if path.is_dir()]
    assert len(folders) == 4  # the vocabulary and three parts
    assert not [name for name in folders if "partial" in name]


# Batches.


def test_batches_are_padded_with_zeros_behind_the_end(root):
    split = ready(root).train_set
    tokens, lengths = split.batch([3, 0, 7])
    assert tokens.dtype == torch.int64 and tokens.shape == (3, max(lengths))
    for row, length in zip(tokens, lengths, strict=True):
        assert row[length - 1] == EOS
        assert (row[:length] != PAD).all() and (row[length:] == PAD).all()
    texts = [split.source.tokens[split.source.offsets[n] : split.source.offsets[n + 1]].tolist() for n in (3, 0, 7)]
    assert [row[:length].tolist() for row, length in zip(tokens, lengths, strict=True)] == texts


def loader(root, pool=5, rank=0, world=1, epoch=0, batch_size=8):
    split = ready(root).train_set
    found = BucketLoader(split, batch_size, training=True, seed=3, pool=pool, rank=rank, world_size=world)
    found.set_epoch(epoch)
    return found


def test_an_epoch_shows_each_sentence_at_most_once_and_bucketing_pads_less(root):
    split = ready(root).train_set
    keys = [tuple(split.batch([n])[0][0].tolist()) for n in range(len(split))]
    padded = {}
    for pool in (1, 5):
        batches = list(loader(root, pool))
        assert len(batches) == 25 and all(len(tokens) == 8 for tokens, _ in batches)
        shown = [tuple(row[row != PAD].tolist()) for tokens, _ in batches for row in tokens]
        assert sorted(shown) == sorted(keys)  # 200 is a multiple of 8
        padded[pool] = sum(int((tokens == PAD).sum()) for tokens, _ in batches)
    assert padded[5] < 0.5 * padded[1]


def test_order_depends_on_seed_and_epoch_alone_and_buckets_come_in_random_order(root):
    lengths = lambda **options: [batch[1].tolist() for batch in loader(root, **options)]
    assert lengths() == lengths()
    assert lengths() != lengths(epoch=1)
    longest = [max(batch) for batch in lengths(pool=25)]
    assert longest != sorted(longest) and longest != sorted(longest, reverse=True)


def test_ranks_share_each_global_batch_evenly(root):
    alone = [sorted(map(tuple, tokens.tolist())) for tokens, _ in loader(root, batch_size=8)]
    halves = [list(loader(root, rank=rank, world=2, batch_size=4)) for rank in (0, 1)]
    together, skew = [], []
    for (left, left_lengths), (right, right_lengths) in zip(*halves, strict=True):
        width = max(left.shape[1], right.shape[1])
        rows = [torch.nn.functional.pad(part, (0, width - part.shape[1])) for part in (left, right)]
        together.append(sorted(map(tuple, torch.cat(rows).tolist())))
        skew.append(abs(int(left_lengths.sum()) - int(right_lengths.sum())) / int(left_lengths.sum()))
    assert together == alone
    assert np.mean(skew) < 0.2


@pytest.mark.parametrize("done", [1, 12, 24, 25])
def test_a_loader_goes_on_where_it_stopped(root, done):
    batches = lambda found: [tokens.tolist() for tokens, _ in found]
    whole = batches(loader(root)) + batches(loader(root, epoch=1))
    stopped = loader(root)
    iterator = iter(stopped)
    for _ in range(done):
        next(iterator)
    state = json.loads(json.dumps(stopped.state_dict()))
    rest = loader(root)
    rest.load_state_dict(state)
    found = batches(rest)
    assert found == whole[done : done + len(found)] and len(found) == (25 - done or 25)
    with pytest.raises(CheckpointError, match="`pool` of the checkpoint's data loader is 5, here it is 7"):
        loader(root, pool=7).load_state_dict(state)


def test_evaluation_sees_each_sentence_once_by_length(root):
    module = ready(root)
    for world in (1, 2, 3):
        loaders = [
            BucketLoader(module.test_set, 7, training=False, rank=rank, world_size=world) for rank in range(world)
        ]
        assert len({len(found) for found in loaders}) == 1
        lengths = [batch[1].tolist() for found in loaders for batch in found]
        assert sorted(length for batch in lengths for length in batch) == sorted(module.test_set.lengths.tolist())
    assert lengths[0] == sorted(lengths[0])


def test_too_few_sentences_for_a_batch_are_called_sentences(root):
    with pytest.raises(ConfigError, match="needs 500 sentences a step, but toy/train has 200"):
        len(ready(root, batch_size=500).train_dataloader())


# With a checkpoint.


def test_another_corpus_is_read_with_the_words_of_the_checkpoint(root, tmp_path, capsys):
    trained = ready(root)
    checkpoint = {"gvae_vocabulary": list(trained.vocabulary.words), "TextDataModule": trained.state_dict()}
    (tmp_path / "other.txt").write_text("the red fox\nthe blue cat\n")
    other = TextDataModule(tmp_path / "other.txt", name="other")
    other.restore(checkpoint)
    assert other.spec.image_shape == trained.spec.image_shape
    other.setup()
    assert len(other.test_set) == 2  # the whole file
    assert other.statistics["all"].unknown == 1
    assert "16.67 % of the words of other/all are unknown to the model" in capsys.readouterr().err
    with pytest.raises(DataError, match="has no train part, only test"):
        other.train_dataloader()
    same = ready(root)
    same.restore(checkpoint)
    assert len(same.train_set) == 200
    with pytest.raises(CheckpointError, match="the checkpoint holds no vocabulary"):
        other.restore({})


def test_the_file_that_was_trained_on_keeps_its_parts(tmp_path):
    module = one_file(tmp_path, "".join(f"w{n % 7} a\n" for n in range(50)).encode(), val_size=7, test_size=5)
    module.setup()
    checkpoint = {"gvae_vocabulary": list(module.vocabulary.words), "TextDataModule": module.state_dict()}
    again = TextDataModule(tmp_path / "corpus.txt", val_size=7, test_size=5)
    again.restore(checkpoint)
    again.setup()
    assert again.test_set.indices.tolist() == module.test_set.indices.tolist()


def test_going_on_with_another_vocabulary_is_refused(root):
    state = ready(root).state_dict()
    with pytest.raises(CheckpointError, match=r"the checkpoint was trained with another vocabulary \(hash"):
        ready(root, words={"vocabulary_cap": 8}).load_state_dict(state)


def test_penn_treebank_has_the_published_numbers(data_dir):
    if not (data_dir / "ptb").is_dir():
        pytest.skip("needs ptb below GVAE_DATA_DIR")
    module = PTBDataModule(data_dir / "ptb")
    module.setup()
    assert {part: (s.sentences, s.words, s.cut, s.empty) for part, s in module.statistics.items()} == {
        "train": (42_068, 887_521, 0, 0),
        "val": (3_370, 70_390, 0, 0),
        "test": (3_761, 78_669, 0, 0),
    }
    assert len(module.vocabulary) == 10_002  # 9,999 kinds with <unk>, and three special tokens
    assert module.vocabulary.decode(module.val_set.batch([0])[0][0].tolist()).startswith("consumers may want to move")
    tokens = sum(batch[0].numel() for batch in module.train_dataloader())
    words = sum(int(batch[1].sum()) for batch in module.train_dataloader())
    assert words / tokens > 0.95
