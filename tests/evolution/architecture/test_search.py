"""The search with a stand-in for training: journal, crash, cache, rules, front, choice."""

import json
import math
import os
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import numpy as np
import pytest
import torch

from lightning_gvae.errors import ConfigError, DataError
from lightning_gvae.evolution.architecture.candidate_trainers import (
    LocalTrainer,
    PoolTrainer,
    RayTrainer,
    Result,
    build_trainer,
    candidate_seed,
)
from lightning_gvae.evolution.architecture.evolvers import Proposal
from lightning_gvae.evolution.architecture.genome import Block, Genome
from lightning_gvae.evolution.architecture.group import SearchGroup, longest_first
from lightning_gvae.evolution.architecture.journal import SearchJournal
from lightning_gvae.evolution.architecture.objectives import OBJECTIVES, objectives_by_name, row
from lightning_gvae.evolution.architecture.pymoo_evolvers import ALGORITHMS
from lightning_gvae.evolution.architecture.result_cache import ResultCache
from lightning_gvae.evolution.architecture.search import Entry, Region, choose, pixel_entropy
from lightning_gvae.evolution.pareto import hypervolume
from lightning_gvae.rng import numpy_stream
from tests.evolution.architecture.toy_search import COSTS, SETTINGS, SPACE, ToyTraining, killer, search


def contents(path: Path) -> list[dict]:
    """Lines of a journal without their times."""
    return [{k: v for k, v in json.loads(line).items() if k != "seconds"} for line in path.read_text().splitlines()]


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_a_search_ends_with_a_front_of_what_it_trained(tmp_path, algorithm):
    work = ToyTraining()
    found = search(tmp_path / "journal.jsonl", work, algorithm=algorithm)
    found.run(6)
    assert len(found.entries) == 6 * 7 and len(found.volumes) == 6
    assert found.volumes == sorted(found.volumes)
    assert len(work.trained) == len(set(work.trained)) <= 42
    front = found.front()
    assert [e.result.values["loc"] for e in front] == sorted(e.result.values["loc"] for e in front)
    losses = [e.row[0] for e in front]
    assert losses == sorted(losses, reverse=True)
    assert found.volumes[-1] == pytest.approx(hypervolume([e.row for e in front], (4, 12)))
    assert len(contents(tmp_path / "journal.jsonl")) == 43
    assert not list(tmp_path.glob("*.rank*"))


def test_a_finished_search_is_replayed_without_training(tmp_path):
    first = search(tmp_path / "journal.jsonl", ToyTraining())
    first.run(5)
    before = (tmp_path / "journal.jsonl").read_bytes()
    work = ToyTraining()
    again = search(tmp_path / "journal.jsonl", work)
    again.run(5)
    assert work.trained == [] and again.entries == first.entries and again.volumes == first.volumes
    assert (tmp_path / "journal.jsonl").read_bytes() == before
    again.run(7)
    straight = search(tmp_path / "straight.jsonl", ToyTraining())
    straight.run(7)
    assert contents(tmp_path / "journal.jsonl") == contents(tmp_path / "straight.jsonl")


@pytest.mark.parametrize("stop", [1, 4, 12, 20, 30])
def test_a_search_that_is_stopped_anywhere_ends_like_the_straight_one_and_trains_nothing_twice(tmp_path, stop):
    straight = search(tmp_path / "straight.jsonl", ToyTraining())
    straight.run(5)
    first = ToyTraining(stop_after=stop)
    with pytest.raises(KeyboardInterrupt):
        search(tmp_path / "journal.jsonl", first).run(5)
    second = ToyTraining()
    resumed = search(tmp_path / "journal.jsonl", second)
    resumed.run(5)
    assert not set(first.trained) & set(second.trained)
    assert len(first.trained) == stop
    assert contents(tmp_path / "journal.jsonl") == contents(tmp_path / "straight.jsonl")
    assert [e.number for e in resumed.front()] == [e.number for e in straight.front()]


def test_a_killed_process_goes_on(tmp_path):
    """SIGKILL in the middle of a generation; the training log has every finished candidate once."""
    script = textwrap.dedent(
        f"""
        from pathlib import Path
        from tests.evolution.architecture.toy_search import ToyTraining, search
        training = ToyTraining(log={str(tmp_path / "log")!r}, seconds=0.02)
        search(Path({str(tmp_path / "journal.jsonl")!r}), training).run(4)
        """
    )
    root = Path(__file__).resolve().parents[3]
    process = subprocess.Popen([sys.executable, "-c", script], cwd=root)
    log = tmp_path / "log"
    try:
        while not log.is_file() or len(log.read_text().splitlines()) < 10:
            assert process.poll() is None
            time.sleep(0.01)
    finally:
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
    resumed = search(tmp_path / "journal.jsonl", ToyTraining(log=str(log)))
    resumed.run(4)
    straight = search(tmp_path / "straight.jsonl", ToyTraining())
    straight.run(4)
    finished = log.read_text().splitlines()
    # The one that was finished but not noted when the kill came may be there twice.
    assert len(finished) - len(set(finished)) <= 1
    assert contents(tmp_path / "journal.jsonl") == contents(tmp_path / "straight.jsonl")


def test_failures_are_penalised_and_the_search_goes_on(tmp_path):
    def work(genome: Genome, seed: int) -> Result:
        if genome.optimizer == "adadelta":
            raise torch.OutOfMemoryError("no memory left\nat all")
        if genome.optimizer == "adagrad":
            return Result({**COSTS(genome), "loss": math.nan})
        return ToyTraining()(genome, seed)

    found = search(tmp_path / "journal.jsonl", work, algorithm="random")
    found.run(4)
    statuses = {e.proposal.genome.optimizer: (e.result.status, e.result.note, e.row) for e in found.entries}
    assert statuses["adadelta"] == ("failed", "OutOfMemoryError: no memory left", [4.0, 5.0])
    assert statuses["adagrad"][2] == [4.0, 5.0]
    assert all(e.proposal.genome.optimizer in ("adam", "rmsprop") for e in found.front())


def test_what_lies_outside_the_region_is_not_trained(tmp_path):
    work = ToyTraining()
    found = search(tmp_path / "journal.jsonl", work, algorithm="chv_roulette", region=Region(loc_max=2.6), redraw=False)
    found.run(3)
    outside = [e for e in found.entries if e.result.status == "outside"]
    assert outside and all(e.result.values["loc"] > 2.6 and e.row == [4.0, 5.0] for e in outside)
    assert not {e.proposal.genome.key for e in outside} & set(work.trained)
    assert all(e.result.values["loc"] <= 2.6 for e in found.front())


def test_what_cannot_improve_the_front_even_with_the_least_loss_is_not_trained(tmp_path):
    floor = 0.5

    class AtTheFloor(ToyTraining):
        def __call__(self, genome: Genome, seed: int) -> Result:
            return Result({**super().__call__(genome, seed).values, "loss": floor - 1e-5})

    work = AtTheFloor()
    found = search(tmp_path / "journal.jsonl", work, floor=floor, algorithm="random")
    found.run(4)
    hopeless = [e for e in found.entries if e.result.status == "hopeless"]
    least = min(e.result.values["loc"] for e in found.entries if e.generation == 0)
    assert hopeless and all(e.result.values["loc"] >= least for e in hopeless)
    assert not {e.proposal.genome.key for e in hopeless} & set(work.trained)
    # Exact: had they been trained, they would not have added anything.
    losses = {e.number: [floor, e.result.values["loc"]] for e in hopeless}
    assert hypervolume([e.row for e in found.front()] + list(losses.values()), (4, 12)) == pytest.approx(
        found.volumes[-1]
    )
    # And with the floor far below, nothing is hopeless.
    free = search(tmp_path / "free.jsonl", ToyTraining(), floor=0.0)
    free.run(4)
    assert all(e.result.status == "trained" for e in free.entries)


def test_a_journal_of_another_configuration_is_refused_with_the_difference(tmp_path):
    search(tmp_path / "journal.jsonl", ToyTraining()).run(1)
    other = SETTINGS | {"epochs": 7, "data": {"name": "cifar10"}}
    with pytest.raises(ConfigError, match="data.name: stored 'toy', now 'cifar10'; epochs: stored 5, now 7"):
        SearchJournal(tmp_path / "journal.jsonl", other).open()


def test_a_journal_of_an_earlier_version_does_not_know_the_images_and_is_gone_on_with(tmp_path):
    path = tmp_path / "journal.jsonl"
    search(path, ToyTraining()).run(1)
    now = SETTINGS | {"data": SETTINGS["data"] | {"content": "0" * 32}}
    assert len(SearchJournal(path, now).open()) == len(path.read_text().splitlines()) - 1
    SearchJournal(tmp_path / "new.jsonl", now).open()
    other = SETTINGS | {"data": SETTINGS["data"] | {"content": "1" * 32}}
    with pytest.raises(ConfigError, match=f"data.content: stored '{'0' * 32}', now '{'1' * 32}'"):
        SearchJournal(tmp_path / "new.jsonl", other).open()


def test_an_unreadable_line_is_named_and_a_broken_off_last_one_is_dropped(tmp_path):
    path = tmp_path / "journal.jsonl"
    search(path, ToyTraining()).run(2)
    whole = path.read_bytes()
    path.write_bytes(whole + b'{"phase":"search","num')
    work = ToyTraining()
    search(path, work).run(2)
    assert work.trained == [] and path.read_bytes() == whole
    lines = whole.splitlines(keepends=True)
    path.write_bytes(b"".join([*lines[:5], b"not json\n", *lines[6:]]))
    with pytest.raises(DataError, match=r"journal.jsonl, line 6 cannot be read .*'not json'"):
        search(path, ToyTraining())
    path.write_bytes(b'{"other": 1}\n')
    with pytest.raises(DataError, match="line 1: this is no journal"):
        search(path, ToyTraining())


def test_an_edited_journal_is_noticed(tmp_path):
    path = tmp_path / "journal.jsonl"
    search(path, ToyTraining()).run(2)
    lines = path.read_text().splitlines(keepends=True)
    lines[3], lines[4] = lines[3].replace('"key":"', '"key":"x'), lines[4]
    path.write_text("".join(lines))
    with pytest.raises(DataError, match="line 4: holds the candidate x"):
        search(path, ToyTraining()).run(2)


def test_a_reference_point_inside_the_front_is_explained(tmp_path):
    found = search(tmp_path / "journal.jsonl", ToyTraining(), reference=(4.0, 2.0))
    with pytest.warns(UserWarning, match=r"reference point lies inside the front: a member has loc .*reference 2"):
        found.run(3)


def test_three_objectives(tmp_path):
    found = search(tmp_path / "journal.jsonl", ToyTraining(), objectives=("loss", "loc", "macs"), reference=(4, 12, 13))
    found.run(5)
    assert all(len(e.row) == 3 for e in found.entries) and found.volumes == sorted(found.volumes)
    two = [e for e in found.front() if e.row[:2] in [x.row[:2] for x in found.front()]]
    assert len(two) == len(found.front()) >= 2


def test_searches_share_what_they_train(tmp_path):
    """With a store every algorithm finds what it finds alone, and the first generation is trained once for all."""
    trained = {}
    for algorithm in ALGORITHMS:
        alone = search(tmp_path / f"{algorithm}-alone.jsonl", ToyTraining(), algorithm=algorithm)
        alone.run(4)
        work = ToyTraining()
        found = search(
            tmp_path / f"{algorithm}.jsonl", work, algorithm=algorithm, store=ResultCache(tmp_path / "s", SETTINGS)
        )
        found.run(4)
        assert contents(tmp_path / f"{algorithm}.jsonl") == contents(tmp_path / f"{algorithm}-alone.jsonl")
        trained[algorithm] = work.trained
    everything = [key for keys in trained.values() for key in keys]
    assert len(everything) == len(set(everything))
    first, *others = ALGORITHMS
    keys = [json.loads(text)["key"] for text in (tmp_path / f"{first}.jsonl").read_text().splitlines()[1:8]]
    assert set(keys) <= set(trained[first]) and not any(set(keys) & set(trained[name]) for name in others)


def test_a_store_keeps_settings_apart_and_names_what_it_cannot_read(tmp_path):
    store = ResultCache(tmp_path, SETTINGS)
    store.open()
    store.add("a", Result({"loss": 0.25}, seconds=2.0))
    store.add("b", Result({}, "failed", "no memory"))
    assert store.read(["a", "b", "c"]) == {"a": Result({"loss": 0.25}, seconds=2.0)}
    other = ResultCache(tmp_path, SETTINGS | {"epochs": 7})
    other.open()
    assert other.read(["a"]) == {} and other.weights != store.weights
    (file,) = (path for path in store.folder.glob("*.json") if path.name != "settings.json")
    file.write_text('{"key": "z"}')
    with pytest.raises(DataError, match="is no result of the candidate a; remove it"):
        store.read(["a"])
    file.write_text("{")
    with pytest.raises(DataError, match="cannot be read .*; remove it to train that candidate anew"):
        store.read(["a"])
    (store.folder / "settings.json").write_text('{"epochs": 5}')
    with pytest.raises(ConfigError, match="is of other settings: data: stored None, now"):
        store.open()


def test_the_population_of_the_paper_is_part_of_the_archive(tmp_path):
    found = search(tmp_path / "journal.jsonl", ToyTraining(), algorithm="chv_roulette")
    found.run(5)
    last = found.front("population")
    assert last and all(e.generation == 4 for e in last)
    assert hypervolume([e.row for e in last], (4, 12)) <= found.volumes[-1]


@pytest.fixture(scope="module")
def genomes() -> list[Genome]:
    return [SPACE.sample(numpy_stream(9, "genome", number)) for number in range(9)]


@pytest.mark.parametrize("kind", ["pool", "ray"])
@pytest.mark.slow
def test_who_trains_does_not_matter(kind, genomes, request):
    if kind == "ray":
        request.getfixturevalue("ray_session")
    mine = LocalTrainer(ToyTraining()).train(genomes, 3)
    trainer = build_trainer(kind, ToyTraining(), 2)
    reported = {}
    try:
        for order in (range(9), [4, 2, 8, 0, 1, 3, 7, 6, 5]):
            theirs = trainer.train([genomes[at] for at in order], 3, lambda at, result: reported.update({at: result}))
            assert [r.values for r in theirs] == [mine[at].values for at in order]
            assert [reported[at] for at in range(9)] == theirs
    finally:
        trainer.close()


@pytest.mark.slow
def test_a_worker_that_dies_fails_its_candidate_only(genomes):
    doomed = [genome.key for genome in genomes[:4]]
    trainer = PoolTrainer(killer(doomed[1]), 2)
    try:
        results = trainer.train(genomes[:4], 0)
        assert [r.status for r in results] == ["trained", "failed", "trained", "trained"]
        assert "was killed" in results[1].note
        assert trainer.train(genomes[4:6], 0)[0].status == "trained"
    finally:
        trainer.close()


def test_ray_that_is_not_installed_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(ConfigError, match=r"pip install 'lightning-gvae\[ray\]'"):
        RayTrainer(ToyTraining())


def test_seeds_follow_from_run_and_phenotype(genomes):
    seeds = {candidate_seed(seed, genome) for seed in (0, 1) for genome in genomes}
    assert len(seeds) == 18
    twin = Genome((*genomes[0].blocks[:-1], Block(active=0)), genomes[0].optimizer)
    if twin.key == genomes[0].key:
        assert candidate_seed(0, twin) == candidate_seed(0, genomes[0])


def test_the_longest_candidates_are_dealt_out_first():
    costs = numpy_stream(0, "costs").random(23) ** 4
    for world in (1, 2, 3):
        shares = longest_first(costs.tolist(), world)
        assert sorted(at for share in shares for at in share) == list(range(23))
        loads = [costs[share].sum() for share in shares]
        # Graham, 1969: at most 4/3 of the optimum, which is no less than the mean or the longest.
        assert max(loads) <= 4 / 3 * max(costs.sum() / world, costs.max()) + 1e-12
    assert longest_first([], 2) == [[], []]


def entry(number: int, loss: float, loc: float) -> Entry:
    return Entry(number, 0, Proposal(Genome((Block(),))), Result({"loss": loss, "loc": loc}), [loss, loc])


def test_choices():
    front = [entry(0, 0.30, 1.2), entry(1, 0.12, 1.8), entry(2, 0.10, 2.9), entry(3, 0.09, 4.0)]
    assert choose(front, "knee") == 1
    assert choose(front, "min_loss_under_loc", loc_max=3.0) == 2
    assert choose(front, "index", index=3) == 2
    for how, options, message in (
        ("min_loss_under_loc", {"loc_max": 1.0}, "no member .* of at most 1.0; the least is 1.200"),
        ("min_loss_under_loc", {}, "needs `front.choose_loc_max`"),
        ("index", {"index": 5}, "`front.index` must be 1 to 4"),
        ("best", {}, "`front.choose` must be one of knee"),
    ):
        with pytest.raises(ConfigError, match=message):
            choose(front, how, **options)
    with pytest.raises(ConfigError, match="no candidate could be trained"):
        choose([], "knee")


def test_the_floor_is_the_entropy_of_the_pixels():
    images = numpy_stream(0, "images").integers(0, 256, (3, 1, 5, 5)).astype(np.uint8)
    x = torch.from_numpy(images).double() / 255
    expected = torch.nn.functional.binary_cross_entropy(x, x).item()
    assert pixel_entropy(images) == pytest.approx(expected)
    other = torch.rand(x.shape, dtype=torch.float64)
    assert torch.nn.functional.binary_cross_entropy(other, x).item() > pixel_entropy(images)


def test_objectives_by_name_are_capped_and_rounded():
    names = ["loss", "loc", "macs", "parameters", "probe_error", "fid"]
    values = {"loss": 0.12345678, "loc": 1.5, "macs": 1e6, "parameters": 1e3, "probe_accuracy": 0.9, "fid": 99.0}
    assert row(Result(values), objectives_by_name(names)) == pytest.approx([0.123457, 1.5, 6.0, 3.0, 0.1, 2.0])
    assert row(Result(values | {"loss": 99.0}), objectives_by_name(names[:2])) == [4.0, 1.5]
    assert row(Result(values | {"loss": math.inf}), objectives_by_name(names[:2])) == [4.0, 5.0]
    assert all(o.cap <= o.reference for o in OBJECTIVES.values())
    with pytest.raises(ConfigError, match="got 'speed'"):
        objectives_by_name(["loss", "speed"])
    with pytest.raises(ConfigError, match="at least two different"):
        objectives_by_name(["loss", "loss"])


def test_mistakes_are_named():
    with pytest.raises(ConfigError, match="`parallel.backend` must be one of local, pool, ray"):
        build_trainer("dask", ToyTraining())
    with pytest.raises(ConfigError, match="`workers` must be an integer of at least 1"):
        PoolTrainer(ToyTraining(), 0)
    with pytest.raises(ConfigError, match="`timeout_hours` must be positive"):
        SearchGroup(0)
