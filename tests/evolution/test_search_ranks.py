"""An architecture search on two processes is the search on one."""

import json
from pathlib import Path

import pytest
import torch.distributed as dist
import torch.multiprocessing as mp

from lightning_gvae.errors import ConfigError, DesyncError
from lightning_gvae.evolution.candidates import Result
from lightning_gvae.evolution.search_group import SearchGroup
from tests.evolution.test_ranks import start
from tests.evolution.toy_search import ToyTraining, search


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
        group.agree("the answer", 42 + rank)
    except DesyncError as error:
        messages.append(str(error))
    try:
        group.from_first(complain)
    except ConfigError as error:
        messages.append(str(error))
    Path(folder, f"messages{rank}.json").write_text(json.dumps(messages))
    group.close()
    dist.destroy_process_group()


def complain() -> None:
    raise ConfigError("only rank 0 can know")


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_two_processes_write_the_journal_of_one(tmp_path):
    mp.spawn(work, args=(str(tmp_path),), nprocs=2)
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
    assert all(len(share) >= 6 for share in shares)
    for rank in range(2):
        messages = json.loads((tmp_path / f"messages{rank}.json").read_text())
        assert messages == [
            "the answer differs from that of rank 0 on rank 1; start all ranks with the same settings, seed and code",
            "only rank 0 can know",
        ]
