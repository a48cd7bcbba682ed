"""Executors of studies: the same results wherever the cells are computed, and what is killed is done once more."""

import os
import signal
import sys
from functools import partial
from pathlib import Path
from types import ModuleType, SimpleNamespace

import pytest

from lightning_gvae import cli
from lightning_gvae.cli.build import build
from lightning_gvae.errors import ConfigError
from lightning_gvae.evolution.ray_tasks import RayTasks, Told
from lightning_gvae.studies import cells
from lightning_gvae.studies.cells import run_cells
from lightning_gvae.studies.executors import ItemOutcome, ProcessExecutor, RayExecutor
from tests.cli.test_train import config
from tests.studies.test_cells import TRAIN, collect, made


def work(item: int, folder: Path) -> str:
    """Refuses 3; its process is killed by 4 once and by 5 always, if it is not the test's own."""
    if item == 3:
        raise ConfigError("three is no number")
    if item in (4, 5):
        mark = folder / f"{item}-{len(list(folder.glob(f'{item}-*')))}"
        if item == 5 or mark.name == "4-0":
            mark.touch()
            os.kill(os.getpid(), signal.SIGKILL)
    return f"{item} done"


class FakeRay(ModuleType):
    """As much of Ray as is used: a call is made when it is waited for, in this process, the last one asked first."""

    class RayError(Exception):
        pass

    class RayTaskError(RayError):
        def __init__(self, cause: BaseException) -> None:
            super().__init__("raised far away")
            self.cause = cause

    class WorkerCrashedError(RayError):
        pass

    def __init__(self) -> None:
        super().__init__("ray")
        self.exceptions = SimpleNamespace(RayError=self.RayError, RayTaskError=self.RayTaskError)
        self.up, self.most, self.said, self.asked = False, 0, dict[str, object](), list[tuple]()
        self.crashes: dict[tuple, int] = {}  # arguments -> how often their worker is lost

    def is_initialized(self) -> bool:
        return self.up

    def init(self, **settings) -> None:
        if settings["address"] == "nowhere":
            raise ConnectionError("no cluster")
        self.up, self.said = True, settings

    def shutdown(self) -> None:
        self.up = False

    def put(self, value):
        return value

    def remote(self, **options):
        self.said |= options

        def task(function):
            def call(*arguments):
                self.asked.append(arguments)
                return partial(self._do, function, arguments)

            return SimpleNamespace(remote=call)

        return task

    def _do(self, function, arguments):
        if self.crashes and self.crashes.get(arguments, 0):
            self.crashes[arguments] -= 1
            raise self.WorkerCrashedError("the worker died\nof something")
        try:
            return function(*arguments)
        except Exception as error:
            raise self.RayTaskError(error) from error

    def wait(self, waiting):
        self.most = max(self.most, len(waiting))
        return [waiting[-1]], waiting[:-1]

    def get(self, call):
        return call()


@pytest.fixture
def ray(monkeypatch):
    fake = FakeRay()
    monkeypatch.setitem(sys.modules, "ray", fake)
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    return fake


def test_one_worker_works_in_this_very_process():
    seen = []
    found = list(ProcessExecutor().run(lambda item: seen.append(item) or item**2, [1, 2]))
    assert found == [ItemOutcome(0, 1), ItemOutcome(1, 4)] and seen == [1, 2]
    (refused,) = ProcessExecutor().run(partial(work, folder=Path()), [3])
    assert refused == ItemOutcome(0, None, "ConfigError: three is no number")
    with pytest.raises(ZeroDivisionError):  # a mistake of the code is no failure of a cell
        list(ProcessExecutor().run(lambda item: 1 / item, [0]))


@pytest.mark.slow
def test_a_killed_process_costs_only_what_was_under_way(tmp_path):
    found = sorted(ProcessExecutor(2).run(partial(work, folder=tmp_path), [1, 2, 3, 4, 5]))
    assert [outcome.value for outcome in found] == ["1 done", "2 done", None, "4 done", None]
    assert found[2].problem == "ConfigError: three is no number"
    assert found[4].problem == "its process was killed twice; memory may have run out"


def test_ray_keeps_so_many_under_way_and_makes_a_lost_call_once_more(ray):
    tasks = RayTasks(workers=2, gpus=0.5)
    ray.crashes = {(4,): 1, (5,): 2}
    told = list(tasks.run(lambda item: work(item, Path()) if item < 4 else item, [(n,) for n in (1, 3, 4, 2, 5)]))
    assert sorted(told) == [
        Told(0, "1 done"),
        Told(1, None, "ConfigError: three is no number"),
        Told(2, 4),
        Told(3, "2 done"),
        Told(4, None, "WorkerCrashedError: the worker died"),
    ]
    assert ray.most == 2
    assert sorted(ray.asked) == [(1,), (2,), (3,), (4,), (4,), (5,), (5,)], "what raised is not made again"
    assert ray.said["max_retries"] == 0 and ray.said["num_gpus"] == 0.5 and ray.said["num_cpus"] == 2 - 1
    tasks.close()
    assert not ray.up


def test_a_cluster_is_joined_and_what_was_started_elsewhere_stays(ray, monkeypatch):
    RayTasks(workers=3)
    assert (ray.said["num_cpus"], ray.said["address"]) == (3, None)
    ray.up = False
    monkeypatch.setenv("RAY_ADDRESS", "auto")
    RayTasks(workers=3)
    assert ray.said["address"] == "auto" and "num_cpus" not in ray.said
    RayTasks().close()
    assert ray.up, "it was started elsewhere"
    ray.up = False
    with pytest.raises(ConfigError, match="no cluster of Ray at 'nowhere'; start one with `ray start --head`"):
        RayTasks(address="nowhere")


def test_cells_on_ray_are_the_cells_of_processes(ray, tmp_path, monkeypatch):
    monkeypatch.setattr(cells, "COMMAND", (sys.executable, "-c", TRAIN))
    results = {
        name: run_cells(made("ab"), tmp_path / name, collect, 2, executor)
        for name, executor in (("pool", None), ("processes", ProcessExecutor(2)), ("ray", RayExecutor(2)))
    }
    assert results["ray"] == results["processes"] == results["pool"]
    assert list(results["ray"]) == made("ab")
    assert not ray.up, "Ray ends with the study"
    assert run_cells(made("ab"), tmp_path / "ray", collect, 2, RayExecutor(2)) == results["ray"]


def test_mistakes_are_named(ray):
    for executor in (ProcessExecutor, RayExecutor):
        with pytest.raises(ConfigError, match="`workers` must be at least 1, got 0"):
            executor(workers=0)
    with pytest.raises(ConfigError, match="`gpus` must be a number of GPUs a task, 0 or more, got -1"):
        list(RayExecutor(gpus=-1).run(str, [1]))


def test_without_ray_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(ConfigError, match=r"pip install 'lightning-gvae\[ray\]', or use executor=process"):
        list(RayExecutor().run(str, [1]))


def test_the_executor_is_chosen_on_the_command_line(tmp_path):
    made = build(config(tmp_path, "executor=ray", "workers=3", "executor.gpus=0.25", name="study").executor)
    assert isinstance(made, RayExecutor) and (made.workers, made.gpus, made.address) == (3, 0.25, None)
    assert isinstance(build(config(tmp_path, name="study").executor), ProcessExecutor)
    with pytest.raises(ConfigError, match="study=latent_search is done by one process; leave `executor` out"):
        cli.study(config(tmp_path, "study=latent_search", "executor=ray", "ckpt_path=x", name="study"))
