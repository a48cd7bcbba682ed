"""The expressivity study: its measures, its words, its files, and the published conclusion at a small scale."""

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hydra import compose, initialize_config_module
from hydra.utils import instantiate

from lightning_gvae.errors import ConfigError
from lightning_gvae.metrics.diversity.pure import hamming, pure_diversity, spanning_tree_weight
from lightning_gvae.problems.shapes2d import draw, family, sobol_genomes
from lightning_gvae.studies.cells import CellError
from lightning_gvae.studies.expressivity import study as expressivity
from lightning_gvae.studies.expressivity.cells import (
    SETTINGS,
    ShapesSettings,
    cell_file,
    diversity,
    fit_vae,
    relative_error,
    run_cell,
    search_both,
    training_shapes,
)
from lightning_gvae.studies.expressivity.report import answers, difference
from lightning_gvae.studies.expressivity.study import ExpressivityStudy

TINY: dict[str, Any] = {
    "name": "tiny",
    "size": 16,
    "bins": 24,
    "generations": 4,
    "children": 8,
    "steps": 6,
    "latents": 3,
    "hidden": [32],
    "epochs": 5,
}


def tiny() -> ShapesSettings:
    return ShapesSettings(**{key: value for key, value in TINY.items() if key != "name"})


def codes(images: torch.Tensor) -> torch.Tensor:
    return images.flatten(1)[:, ::7] + 0.1


def test_diversity_of_sets_that_are_known() -> None:
    images = draw(sobol_genomes(40, 0), 16)
    found = diversity(images, images, codes)
    assert found["count"] == 40
    assert found["precision"] == found["recall"] == found["coverage"] == 1
    assert found["pure_diversity"] == pytest.approx(pure_diversity(hamming(images)))
    assert found["pure_diversity"] >= found["spanning_tree"] - 1e-9
    same = diversity(images[:1].repeat(40, 1, 1, 1), images, codes)
    assert same["pure_diversity"] == 0
    assert same["vendi_pixels"] == same["vendi_codes"] == pytest.approx(1)
    assert same["recall"] < 0.05


def test_pure_diversity_of_two_strings_and_the_spanning_tree_of_many_that_are_equal() -> None:
    strings = torch.tensor([[0.0, 1.0, 0.0, 1.0], [0.0, 1.0, 1.0, 0.0]])
    assert pure_diversity(hamming(strings)) == 0.5
    assert pure_diversity(hamming(strings[:1].repeat(2, 1))) == 0
    repeated = hamming(strings.repeat(6, 1))
    assert pure_diversity(repeated) == pytest.approx(0.5)
    assert spanning_tree_weight(repeated) == pytest.approx(0.5, abs=1e-4)


def test_the_relative_error_by_hand() -> None:
    images, rebuilt = torch.zeros(2, 1, 4, 4), torch.zeros(2, 1, 4, 4)
    images[0, 0, 0] = 1  # four pixels, of which one is missed and one is added elsewhere
    rebuilt[0, 0, 0, :3] = rebuilt[0, 0, 3, 3] = 1
    images[1, 0, :2] = rebuilt[1, 0, :2] = 1
    assert relative_error(images, rebuilt) == pytest.approx(0.25)


def test_every_setting_holds_out_what_it_says() -> None:
    for setting in SETTINGS:
        learnt, held, base = training_shapes(setting, 7, ShapesSettings())
        if setting == "expansion":
            assert (len(learnt), held, base) == (256, None, "all")
        else:
            assert held is not None
            assert len(learnt) + len(held) == 256
            assert base == "drop"  # the third base shape
            both = {tuple(row) for row in torch.cat([learnt, held]).tolist()}
            assert both == {tuple(row) for row in family("drop").flatten(0, 1).tolist()}


def test_a_network_is_a_function_of_its_seed_and_learns() -> None:
    images, before = draw(sobol_genomes(40, 0), 16), torch.get_rng_state()
    settings = ShapesSettings(size=16, bins=40, latents=4, hidden=(64,), epochs=200, batch_size=20, beta=1.0)
    first, second, other = (fit_vae(images, settings, seed) for seed in (1, 1, 2))
    assert torch.equal(before, torch.get_rng_state())
    for one, two in zip(first.parameters(), second.parameters(), strict=True):
        assert torch.equal(one, two)
    with torch.no_grad():
        rebuilt, elsewhere = first.reconstruct(images), other.reconstruct(images)
    assert not torch.equal(rebuilt, elsewhere)
    mean = (images.mean(0, keepdim=True) > 0.5).float().expand_as(images)
    assert relative_error(images, (rebuilt > 0.5).float()) < 0.8 * relative_error(images, mean)


def test_both_searches_have_the_same_budget_and_end_with_the_same_number() -> None:
    settings = tiny()
    learnt = sobol_genomes(settings.bins, 0)
    model = fit_vae(draw(learnt, settings.size), settings, 0)
    found = search_both(model, learnt, settings, 0)
    for elites, shapes in found.values():
        assert len(elites.genomes) == len(shapes) == settings.bins
        assert set(shapes.unique().tolist()) <= {0.0, 1.0}
    assert found["latents"][0].genomes.abs().max() <= settings.box
    assert torch.equal(found["parameters"][1], draw(found["parameters"][0].genomes, settings.size))


def cell(setting: str, repeat: int, parameters: float, latents: float, **errors: float) -> dict[str, Any]:
    rows = {"start": 10.0, "rebuilt": 5.0, "parameters": parameters, "latents": latents}
    names = (
        "pure_diversity",
        "spanning_tree",
        "vendi_pixels",
        "vendi_codes",
        "qd_score",
        "fitness",
        "precision",
        "recall",
        "density",
        "coverage",
        "count",
    )
    return {
        "setting": setting,
        "repeat": repeat,
        "base": "all",
        "seconds": 1.0,
        "errors": {"seen": 0.1, **errors},
        "measured": {row: dict.fromkeys(names, value) for row, value in rows.items()},
    }


def test_the_answer_says_whether_the_conclusion_holds() -> None:
    lower = [cell("expansion", repeat, 10.0 + 0.1 * repeat, 6.0) for repeat in range(5)]
    assert "That holds here, in 1 setting " in answers(lower)[0]
    assert "Expansion: sets found in the latents have 59 %" in answers(lower)[1]
    assert "50 % (50 to 50) in expansion" in answers(lower)[-1]
    unclear = [cell("interpolation", repeat, 10.0, 10.0 + (-1) ** repeat) for repeat in range(6)]
    assert "cannot be seen here in any of 1 setting" in answers(unclear)[0]
    higher = [cell("recombination", repeat, 5.0 + 0.1 * repeat, 9.0) for repeat in range(5)]
    mixed = answers(lower + unclear + higher)[0]
    assert "in 1 of 3 settings (expansion)" in mixed
    assert "the opposite is found in recombination" in mixed
    assert "no difference can be told in interpolation" in mixed
    gap = difference(lower, "pure_diversity")
    assert gap.mean == pytest.approx(-4.2)
    assert gap.seeds == 5


@pytest.mark.parametrize(("beyond", "word"), [(0.5, "worse than"), (0.1, "better than")])
def test_the_answer_compares_extrapolation_with_interpolation(beyond: float, word: str) -> None:
    cells = [cell("interpolation", repeat, 9.0, 8.0, **{"held out": 0.3 + 0.01 * repeat}) for repeat in range(4)]
    cells += [cell("extrapolation", repeat, 9.0, 8.0, **{"held out": beyond}) for repeat in range(4)]
    assert f"larger than any seen are rebuilt {word} shapes" in answers(cells)[-1]


def test_a_study_leaves_report_tables_rows_and_figures_and_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    done: list[tuple[str, int]] = []
    usual = expressivity.run_cell

    def counted(setting: Any, repeat: int, shapes: ShapesSettings, folder: Path) -> None:
        if len(done) == 3:
            raise ConfigError("broken off")
        done.append((setting, repeat))
        usual(setting, repeat, shapes, folder)

    monkeypatch.setattr(expressivity, "run_cell", counted)
    study = ExpressivityStudy(repeats=2, scale=TINY, settings=("interpolation", "expansion"))
    with pytest.raises(CellError, match="1 of 4 cells failed; the first: expansion, repeat 1"):
        study.run(tmp_path)
    assert len(done) == 3
    done.clear()
    report = study.run(tmp_path)
    assert done == [("expansion", 1)]
    text = report.read_text(encoding="utf-8")
    assert "Published: search in the latent space gives less diverse sets" in text
    with (tmp_path / "results.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 4 * 4
    assert {row["set"] for row in rows} == {"start", "rebuilt", "parameters", "latents"}
    result = json.loads(cell_file(tmp_path, "expansion", 1, study.shapes).read_text())
    listed = next(r for r in rows if (r["setting"], r["repeat"], r["set"]) == ("expansion", "1", "latents"))
    assert float(listed["pure_diversity"]) == result["measured"]["latents"]["pure_diversity"]
    assert (tmp_path / "tables.md").read_text().startswith("## Differences")
    assert {path.name for path in (tmp_path / "figures").iterdir()} == {
        "pure_diversity.png",
        "vendi_pixels.png",
        "qd_score.png",
        "shapes_interpolation.png",
        "shapes_expansion.png",
    }


def test_a_cell_is_the_same_each_time(tmp_path: Path) -> None:
    results = []
    for folder in ("one", "two"):
        run_cell("expansion", 3, tiny(), tmp_path / folder)
        path = cell_file(tmp_path / folder, "expansion", 3, tiny())
        results.append(json.loads(path.read_text()))
        with np.load(path.with_suffix(".npz"), allow_pickle=False) as stored:
            assert stored["latents"].shape == (24, 16, 2)
    assert results[0]["measured"] == results[1]["measured"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"settings": ("growth",)}, "`settings` must be among"),
        ({"repeats": 1}, "`repeats` must be at least 2"),
        ({"scale": {"bins": 2}}, "`bins`"),
        ({"scale": {"beta": -1.0}}, "`beta`"),
        ({"scale": {"hidden": []}}, "`hidden`"),
    ],
)
def test_bad_settings_are_refused(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        ExpressivityStudy(**arguments)


@pytest.mark.parametrize("scale", ["expressivity_small", "expressivity_paper"])
def test_the_configuration_is_that_of_the_constructor(scale: str) -> None:
    with initialize_config_module("lightning_gvae.conf", version_base="1.3"):
        study = instantiate(compose("study", ["study=expressivity", f"study/scale={scale}"]).study, _convert_="all")
    assert isinstance(study, ExpressivityStudy)
    assert study.repeats >= 10
    assert study.settings == list(SETTINGS)
    assert study.shapes.bins == (512 if scale.endswith("paper") else 256)


@pytest.mark.slow
@pytest.mark.parametrize("repeat", [0, 1, 2])
def test_latent_search_gives_less_diverse_sets_at_the_fast_scale(tmp_path: Path, repeat: int) -> None:
    settings = ShapesSettings()  # 32 x 32, 256 bins, 200 generations, 150 epochs
    run_cell("expansion", repeat, settings, tmp_path)
    measured = json.loads(cell_file(tmp_path, "expansion", repeat, settings).read_text())["measured"]
    found = {row: values["pure_diversity"] for row, values in measured.items()}
    assert found["latents"] / found["parameters"] < 0.85
    assert found["rebuilt"] < found["start"]
    for values in measured.values():
        assert values["count"] <= 256
        assert values["pure_diversity"] >= values["spanning_tree"] - 1e-4
    assert measured["latents"]["vendi_pixels"] < measured["parameters"]["vendi_pixels"]
