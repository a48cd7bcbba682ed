"""Laws of crossover and mutation, and what a person may pick."""

import numpy as np
import pytest

from lightning_gvae.app.service.breeding import Population, Variety, breed, children, first_population
from lightning_gvae.app.session import Session
from lightning_gvae.errors import ConfigError
from lightning_gvae.rng import numpy_stream

CALM = {"mutation": 0.0, "jump": 0.0}


@pytest.fixture
def population(vae):
    return first_population(vae, 12, 7)


def test_the_first_generation_is_drawn_from_the_prior_by_the_seed(vae, population):
    assert population.genes.shape == (12, 8) and population.generation == 0 and np.abs(population.genes).max() <= 3
    assert (first_population(vae, 12, 7).genes == population.genes).all()
    assert (first_population(vae, 12, 8).genes != population.genes).all()
    assert (population.images(vae) == vae.decode(population.genes.astype(np.float32))).all()


def test_two_children_have_their_parents_mean():
    parents = np.array([[1.0, -1.0, 0.5, 0.2], [-0.5, 0.5, 0.1, 0.2]])
    for seed in range(20):
        pair = children(parents, 2, Variety(eta=30.0, **CALM), numpy_stream(seed, "test"))
        assert pair.mean(0) == pytest.approx(parents.mean(0), abs=1e-12)
        assert pair[:, 3] == pytest.approx([0.2, 0.2])  # what parents agree on stays


def test_genes_come_from_both_parents():
    parents = np.stack([np.full(1000, 1.0), np.full(1000, -1.0)])
    child = children(parents, 1, Variety(eta=100.0, **CALM), numpy_stream(0, "test"))[0]
    assert abs((child > 0).mean() - 0.5) < 4 * 0.5 / np.sqrt(1000)
    near, far = (
        np.abs(np.abs(children(parents, 2, Variety(eta=eta, **CALM), numpy_stream(0, "test"))) - 1).mean()
        for eta in (100, 1)
    )
    assert near < 0.02 < far


def test_jumps_have_the_size_and_share_that_was_asked_for():
    parents = np.zeros((1, 20_000))
    child = children(parents, 1, Variety(mutation=0.3, jump=0.1), numpy_stream(0, "test"))[0]
    moved = child[child != 0]
    assert len(moved) / 20_000 == pytest.approx(0.3, abs=4 * np.sqrt(0.3 * 0.7 / 20_000))
    # The sample median of the absolute jumps of a Cauchy law of scale 0.1 has the standard error pi / 2 * 0.1 /
    # sqrt(n).
    assert np.median(np.abs(moved)) == pytest.approx(0.1, abs=4 * 0.157 / np.sqrt(len(moved)))
    assert np.abs(child).max() <= 3


def test_one_parent_without_mutation_has_copies(population):
    following = breed(population, [4], Variety(**CALM))
    assert following.genes == pytest.approx(np.tile(population.genes[4], (12, 1)), abs=1e-12)


def test_different_individuals_are_counted(population):
    assert population.distinct == len(population.genes)
    same = breed(population, [3], Variety(mutation=0.0, keep_parents=False))
    assert same.distinct == 1
    assert breed(population, [1, 2], Variety(mutation=0.5)).distinct > 2


def test_parents_live_on_only_if_they_are_kept(population):
    kept, gone = (breed(population, [5, 2], Variety(keep_parents=keep)) for keep in (True, False))
    assert (kept.genes[:2] == population.genes[[2, 5]]).all() and len(kept.genes) == len(gone.genes) == 12
    assert not any((row == population.genes).all(1).any() for row in gone.genes)
    assert kept.generation == 1


def test_the_same_picks_breed_the_same_children_and_every_generation_others(population):
    variety = Variety()
    first, again = breed(population, [1, 2], variety), breed(population, [2, 1, 1], variety)
    assert (first.genes == again.genes).all()
    other = breed(Population(population.genes, 1, population.seed), [1, 2], variety)
    assert (first.genes[2:] != other.genes[2:]).any(1).all()


@pytest.mark.parametrize(
    ("picks", "expected"),
    [
        ([], "nobody was picked"),
        ([12], "numbers 1 to 12, got 13"),
        ([-1], "numbers 1 to 12"),
        (range(12), "no room for children"),
    ],
)
def test_picks_that_cannot_be(population, picks, expected):
    with pytest.raises(ConfigError, match=expected):
        breed(population, list(picks), Variety())


@pytest.mark.parametrize("change", [{"eta": 0}, {"mutation": 1.5}, {"jump": -1}, {"jump": float("nan")}])
def test_limits_of_variety(change):
    with pytest.raises(ConfigError, match="must be a number from"):
        Variety(**change)


def test_a_population_has_bounds(vae):
    for size in (1, 49, 10_000):
        with pytest.raises(ConfigError, match="from 2 to 48"):
            first_population(vae, size, 0)


def test_favourites_are_kept_once(vae, population):
    session = Session(population=population)
    session.pick({1, 3})
    assert session.add_favourites(vae) == 2 and session.add_favourites(vae) == 0
    session.pick({3, 4})
    assert session.add_favourites(vae) == 1 and len(session.favourites) == 3
    image, latents = session.favourites[2]
    assert (image == vae.decode(latents[None])[0]).all()
    session.pick(set())
    with pytest.raises(ConfigError, match="nobody was picked"):
        session.add_favourites(vae)
    with pytest.raises(ConfigError, match="numbers 1 to 12"):
        session.pick({12})


def test_another_model_starts_anew(population, tmp_path):
    session = Session(population=population, picked={1}, base=np.zeros(8, np.float32), favourites=[(None, None)])
    session.load(tmp_path / "x.ckpt")
    assert session == Session(checkpoint=tmp_path / "x.ckpt")


def test_every_visitor_has_a_folder_of_their_own(lab):
    one, other = Session(), Session()
    first, second = lab.downloads(one), lab.downloads(other)
    assert first == lab.downloads(one) != second
    (first / "x").write_text("x")
    one.forget()
    assert not first.exists() and second.exists()
    lab.close()
    assert not second.exists()


def test_without_a_model_there_is_nothing_to_open(lab):
    with pytest.raises(ConfigError, match="no model is loaded; choose a checkpoint"):
        lab.opened(Session())
