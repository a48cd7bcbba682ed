"""An architecture search on two processes is the search on one."""

import json
from pathlib import Path

import pytest
import torch
import torch.distributed as dist

from lightning_gvae.errors import ConfigError, DesyncError
from lightning_gvae.evolution.architecture.candidate_trainers import Result
from lightning_gvae.evolution.architecture.genome import Genome
from lightning_gvae.evolution.architecture.group import SearchGroup, longest_first
from lightning_gvae.evolution.architecture.search import ArchitectureSearch, Entry
from tests.evolution.architecture.toy_search import COSTS, ToyTraining, search
from tests.evolution.test_ranks import start
from tests.processes import start_ranks


class OneFails(ToyTraining):
    """One candidate in five raises."""

    def __call__(self, genome, seed) -> Result:
        if seed % 5 == 0:
            raise RuntimeError(f"bad luck {seed}")
        return super().__call__(genome, seed)


def work(rank: int, folder: str) -> None:
    start(rank, folder)
    group = SearchGroup(timeout_hours=0.1)
    training = OneFails()
    found = search(Path(folder) / "two.jsonl", training, group=group)
    found.run(4)
    Path(folder, f"trained{rank}.json").write_text(json.dumps(training.trained))
    messages = []
    try:
        group.agree("the answer", {"same": [1.0], "value": [41, 42 + rank]})
    except DesyncError as error:
        messages.append(str(error))
    try:
        group.from_first(complain)
    except ConfigError as error:
        messages.append(str(error))
    # Ranks wait for each other as long as the search says, not as long as training does.
    messages.append(str(group._group._get_backend(torch.device("cpu")).options._timeout))
    Path(folder, f"messages{rank}.json").write_text(json.dumps(messages))
    group.close()
    dist.destroy_process_group()


def macs(line: dict) -> float:
    return COSTS(Genome.from_dict(line["genome"]))["macs"]


def complain() -> None:
    raise ConfigError("only rank 0 can know")


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_two_processes_write_the_journal_of_one(tmp_path):
    start_ranks(work, str(tmp_path))
    alone = OneFails()
    search(tmp_path / "one.jsonl", alone).run(4)

    def lines(name: str) -> list[dict]:
        return [
            {k: v for k, v in json.loads(text).items() if k != "seconds"}
            for text in (tmp_path / name).read_text().splitlines()
        ]

    assert lines("one.jsonl") == lines("two.jsonl")
    statuses = [line["status"] for line in lines("one.jsonl")[1:]]
    assert len(statuses) == 28 and "failed" in statuses and "trained" in statuses
    shares = [json.loads((tmp_path / f"trained{rank}.json").read_text()) for rank in range(2)]
    assert not set(shares[0]) & set(shares[1])
    assert sorted(shares[0] + shares[1]) == sorted(alone.trained)
    # Every generation is dealt out by cost, the dearest first.
    expected = [[], []]
    for generation in range(4):
        dealt = [line for line in lines("one.jsonl")[1:] if line["generation"] == generation]
        known = {*expected[0], *expected[1]}
        fresh = list({line["key"]: line for line in dealt if line["key"] not in known}.values())
        for rank, share in enumerate(longest_first([macs(line) for line in fresh], 2)):
            expected[rank] += [fresh[at]["key"] for at in share]
    failed = {line["key"] for line in lines("one.jsonl")[1:] if line["status"] == "failed"}
    assert shares == [[key for key in keys if key not in failed] for keys in expected]
    assert all(len(keys) >= 4 for keys in expected)
    expected = (
        "the answer differs from that of rank 0 on rank 1 (value): value, entry 2, is 42 on rank 0 and 43 on rank 1; "
        "start all ranks with the same settings, seed and code"
    )
    for rank in range(2):
        messages = json.loads((tmp_path / f"messages{rank}.json").read_text())
        assert messages == [
            expected,
            "only rank 0 can know",
            "0:06:00",
        ]


def fall_apart(rank: int, folder: str) -> None:
    """On rank 1 a result changes in its last decimal, or a member of the Pareto set is lost, in generation 1."""
    start(rank, folder)
    messages = {}
    for what in ("result", "front"):
        found = search(Path(folder) / f"{what}.jsonl", ToyTraining(), group=SearchGroup(timeout_hours=0.1))
        if rank == 1:
            spoil(found, what)
        try:
            found.run(4)
        except DesyncError as error:
            messages[what] = [found.evolver.generation, len(found.journal.lines) * (1 - rank), str(error)]
    Path(folder, f"apart{rank}.json").write_text(json.dumps(messages))
    dist.destroy_process_group()


def spoil(found: ArchitectureSearch, what: str) -> None:
    evaluate, front = found.evaluate, found.front

    def changed(phase: str, genomes: list[Genome]) -> list[Result]:
        results = evaluate(phase, genomes)
        if found.evolver.generation == 1:
            at = next(number for number, result in enumerate(results) if result.status == "trained")
            loss = results[at].values["loss"]
            results[at] = Result({**results[at].values, "loss": loss + 2e-6})  # rows have six decimals
        return results

    def shortened(of: str = "archive") -> list[Entry]:
        return front()[1:] if len(found.volumes) == 2 else front()

    if what == "result":
        found.evaluate = changed  # type: ignore[method-assign, assignment]
    else:
        found.front = shortened  # type: ignore[method-assign]


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_pareto_set_that_differs_is_named_in_its_own_generation_and_not_journalled(tmp_path):
    start_ranks(fall_apart, str(tmp_path))
    for rank in range(2):
        messages = json.loads((tmp_path / f"apart{rank}.json").read_text())
        for what, named in (("result", "objectives"), ("front", "Pareto set")):
            generation, journalled, text = messages[what]
            assert generation == 2, "the generation after the one that differs has not begun"
            assert journalled == (7 if rank == 0 else 0), "only the generation before is in the journal"
            assert text.startswith("generation 1 differs from that of rank 0 on rank 1 (")
            assert named in text.partition(":")[0] and f"): {named}, entry " in text
        assert messages["front"][2].partition(":")[0].endswith("(Pareto set)")
