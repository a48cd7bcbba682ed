import json

import pytest

from lightning_gvae.errors import ConfigError
from lightning_gvae.evolution.pareto import hypervolume
from lightning_gvae.studies.moncae import PAPER, MoncaeStudy, collect, volume_at

SCALE = {"name": "toy", "about": "made up", "overrides": ["trainer=cpu"]}


def study(**changes):
    settings = {"data": ["mnist"], "algorithms": ["sms_emoa", "random"], "seeds": [0, 1, 2], "scale": SCALE}
    return MoncaeStudy(**settings | changes)


def member(loc: float, loss: float, accuracy: float) -> dict:
    return {
        "key": f"net {loc}",
        "loc": loc,
        "loss": loss + 0.01,
        "test_loss": loss,
        "probe_accuracy": accuracy,
        "probe_loss": 1 - accuracy,
        "mlp_probe_accuracy": accuracy,
        "mlp_probe_loss": 0.5,
        "parameters": 1000 * loc,
    }


def result(algorithm: str, seed: int, trained: list[list[float]]) -> dict:
    return {
        "arm": f"mnist-{algorithm}", "seed": seed, "command": f"python train.py {algorithm} {seed}",
        # The last member is above the bound of 2.5 and must not count.
        "members": [member(1.5, 0.2 + 0.01 * seed, 0.7), member(2.0, 0.1 + 0.01 * seed, 0.8), member(3.0, 0.05, 0.99)],
        "trained": trained, "search_seconds": 120.0, "finetune_seconds": 30.0, "not_trained": {}, "wall_seconds": 200.0,
        "device": "cpu", "git_revision": "abc",
    }  # fmt: skip


def results(gain: float) -> list[dict]:
    found = []
    for seed in range(3):
        better = [[0.5, 2.0], [0.4 - gain - 0.001 * seed, 2.0], [0.3, 1.0]]
        found += [result("sms_emoa", seed, better), result("random", seed, [[0.5, 2.0], [0.4, 2.0]])]
    return found


def test_all_algorithms_get_the_same_settings_data_and_seeds():
    cells = study(data=["mnist", "cifar10"]).cells()
    assert len({cell.name for cell in cells}) == len(cells) == 12
    for cell in cells:
        data, algorithm = cell.arm.split("-")
        assert {f"data={data}", f"callbacks.architecture_evolution.algorithm={algorithm}", "trainer=cpu"} <= {
            *cell.overrides
        }


@pytest.mark.parametrize(
    ("gain", "words"),
    [(0.1, "sms_emoa reaches a larger hypervolume to (4, 12) after 2 trained"), (0.0, "No difference")],
)
def test_the_answer_is_about_equally_many_trained_candidates(tmp_path, gain, words):
    rows = results(gain)
    if gain == 0:
        for row in rows:
            row["trained"] = [[0.5, 2.0], [0.4, 2.0]]
    study().report(rows, tmp_path)
    page, tables = (tmp_path / "report.html").read_text(), (tmp_path / "tables.md").read_text()
    assert words in page and page.count("data:image/png;base64,") == 2
    # The third candidate of sms_emoa, for which random has no equal, does not count.
    expected = hypervolume([[0.5, 2.0], [0.4, 2.0]], (4, 12))
    assert f"| mnist, random | 2 | {expected:g} |" in tables


def test_table_1_is_of_members_below_the_bound_beside_the_published_numbers(tmp_path):
    study().report(results(0.1), tmp_path)
    tables = (tmp_path / "tables.md").read_text()
    (own,) = (line for line in tables.splitlines() if line.startswith("| mnist, LoC < 2.5 |"))
    # Loss 0.15 + 0.01 seed, LoC 1.75, accuracy 0.75, 1,750 parameters, two minutes, two members.
    assert "| 0.16 ± 0.025 | 1.75 | 0.25 | 0.75 | 0.5 | 0.75 | 1,750 | 2 | 30 | 2 |" in own
    assert "| as published | 0.141 | 1.699 | 0.409 | 0.858 |  |  |  | 93.23 | 1,160 |  |" in tables
    assert "Every member was trained once" in tables
    assert set(PAPER) == {"mnist", "fashion_mnist", "cifar10"}


def test_members_trained_from_several_seeds_count_with_their_means(tmp_path):
    rows = results(0.1)
    for row in rows:
        for own in row["members"]:
            own |= {"test_loss_mean": own["test_loss"] + 0.1, "probe_accuracy_mean": 0.5, "seeds": 2.0}
    study().report(rows, tmp_path)
    tables = (tmp_path / "tables.md").read_text()
    (line,) = (line for line in tables.splitlines() if line.startswith("| mnist, LoC < 2.5 |"))
    assert "| 0.26 ± 0.025 | 1.75 | 0.25 | 0.5 | 0.5 | 0.75 |" in line
    assert "means over up to 2 trainings" in tables


def test_only_the_main_algorithms_fronts_are_trained_on_and_all_share_their_candidates():
    own = "callbacks.architecture_evolution"
    cells = {cell.arm: cell for cell in study(seeds=[0]).cells()}
    alone = {f"{own}.front.finetune_epochs=0", f"{own}.front.seeds=1", f"{own}.front.probes=false"}
    assert alone <= {*cells["mnist-random"].overrides} and not alone & {*cells["mnist-sms_emoa"].overrides}
    shared = f"{own}.files.shared_journal=${{paths.output_dir}}/../../../shared"
    assert all(shared in cell.overrides for cell in cells.values())
    assert not any("shared_journal" in text for cell in study(shared=False).cells() for text in cell.overrides)
    # Runs that share are not neighbours, or they would train the same things side by side.
    assert [cell.seed for cell in study().cells()] == [0, 1, 2, 0, 1, 2]


@pytest.mark.slow
def test_a_small_study_runs_and_every_algorithm_finds_what_it_finds_alone(tmp_path):
    """The real thing on digits: cells, shared candidates, tables, figures."""
    own = "callbacks.architecture_evolution"
    toy = [
        "trainer=cpu",
        "trainer.max_epochs=1",
        "trainer.max_steps=2",
        "test=false",
        "callbacks.progress_bar=null",
        "callbacks.code_figures=null",
        f"{own}.parallel.backend=local",
        f"{own}.training.train_images=64",
        f"{own}.training.score_images=64",
        f"{own}.population=4",
        f"{own}.generations=3",
        f"{own}.training.epochs=1",
        f"{own}.front.finetune_epochs=1",
        f"{own}.space.max_blocks=2",
        f"{own}.front.seeds=2",
        f"{own}.front.probes=false",
    ]
    scale = {"name": "toy", "about": "made up", "overrides": toy}
    settings = {"data": ["digits"], "algorithms": ["chv_roulette", "nsga2", "random"], "main": "nsga2", "seeds": [0, 1]}
    fronts = {}
    for shared in (True, False):
        folder = tmp_path / str(shared)
        report = study(**settings, scale=scale, shared=shared).run(folder, 2)
        assert report.is_file() and "| digits, LoC < 2.5 |" in (folder / "tables.md").read_text()
        cells = [json.loads(path.read_text()) for path in sorted(folder.glob("cells/*/cell.json"))]
        fronts[shared] = {(c["arm"], c["seed"]): [c["members"], c["trained"]] for c in cells}
    assert len(fronts[True]) == 6 and fronts[True] == fronts[False]


def test_volume_at_equals_the_hypervolume_of_the_first_ones():
    trained = [[0.5, 2.0, 9.0], [0.4, 3.0, 9.0], [0.3, 1.0, 9.0]]
    assert volume_at(trained, 2, (4, 12)) == hypervolume([row[:2] for row in trained[:2]], (4, 12))
    assert volume_at([], 2, (4, 12)) == 0


def test_a_run_is_read_from_its_folder(tmp_path):
    run, search = tmp_path / "attempt-0", tmp_path / "search"
    run.mkdir()
    search.mkdir()
    front = {"members": [{"key": "a", "values": {"loc": 1.0}}], "search_seconds": 3.0, "finetune_seconds": 1.0}
    (run / "front.json").write_text(json.dumps(front | {"not_trained": {"failed": 1}}))
    (run / "run.json").write_text(json.dumps({"wall_seconds": 9.0, "git_revision": "abc", "device": "cpu"}))
    lines = [{"journal": 1, "settings": {}}]
    for key, phase, status in (
        ("a", "search", "trained"),
        ("a", "search", "trained"),
        ("b", "search", "failed"),
        ("c", "search", "trained"),
        ("a", "finetune 3", "trained"),
    ):
        lines.append({"phase": phase, "key": key, "status": status, "objectives": [ord(key), 1.0]})
    (search / "journal.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    kept = collect(run)
    assert kept["trained"] == [[97, 1.0], [99, 1.0]] and kept["members"] == [{"key": "a", "loc": 1.0}]
    assert kept["search_seconds"] == 3.0 and kept["device"] == "cpu"


def test_mistakes_are_named():
    with pytest.raises(ConfigError, match="at least one data set, algorithm and seed, got 1, 2 and 0"):
        study(seeds=[])
    with pytest.raises(ConfigError, match="`main` must be one of sms_emoa, random"):
        study(main="nsga2")
