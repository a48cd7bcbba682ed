"""A toy corpus: every sentence repeats one of six topics' words, so that a code of the topic helps."""

from pathlib import Path

from lightning_gvae.rng import numpy_stream

TOPICS = ("red", "blue", "green", "old", "new", "cold")
NOUNS = ("cat", "dog", "house", "river", "tree")


def sentence(number: int, seed: int = 0) -> str:
    stream = numpy_stream(seed, "toy", number)
    topic = TOPICS[stream.integers(len(TOPICS))]
    nouns = stream.choice(NOUNS, stream.integers(1, 5))
    return " and ".join(f"the {topic} {noun}" for noun in nouns)


def write_corpus(folder: Path, name: str = "toy", train: int = 200, held_out: int = 40) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    sizes = {"train": train, "valid": held_out, "test": held_out}
    for seed, (part, size) in enumerate(sizes.items()):
        lines = [f" {sentence(number, seed)} \n" for number in range(size)]
        (folder / f"{name}.{part}.txt").write_text("".join(lines), encoding="utf-8")
    return folder
