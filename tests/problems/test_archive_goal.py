"""Goals of an archive, bound to tools made by hand."""

import math

import pytest
import torch
from torch import Tensor

from lightning_gvae.errors import ConfigError
from lightning_gvae.problems.archive_goal import ArchiveGoal
from lightning_gvae.problems.images import Measure
from lightning_gvae.rng import torch_stream


class Tools:
    """A classifier of brightness in three classes; counts its calls."""

    def __init__(self) -> None:
        self.calls = 0
        self.images = torch.rand(200, 1, 6, 6, generator=torch_stream(0, "images"))

    def classifier(self) -> Measure:
        def logits(images: Tensor) -> Tensor:
            self.calls += 1
            bright = images.flatten(1).mean(1)
            return torch.stack([bright, 2 * bright, torch.zeros_like(bright)], 1)

        return logits

    def critic(self) -> Measure:
        return lambda images: images.flatten(1).mean(1) - 0.5

    def typicality(self) -> Measure:
        return lambda images: images.flatten(1).mean(1)

    def training_images(self) -> Tensor:
        return self.images

    def target_image(self, number: int) -> Tensor:
        return self.images[number]

    def aggregate_posterior(self) -> Tensor:
        return torch.randn(3000, 2, generator=torch_stream(0, "codes"))


IMAGES = torch.rand(9, 1, 6, 6, generator=torch_stream(1, "images"))
LATENTS = torch.randn(9, 2, generator=torch_stream(1, "latents"))


def test_objective_descriptors_and_ranges_by_name() -> None:
    goal = ArchiveGoal({"brightness": [0.2, 0.8], "mirror_symmetry": "auto"}, "class_probability", wanted=1)
    problem = goal.bind(Tools())
    judged = problem.judge(LATENTS, IMAGES)
    bright = IMAGES.flatten(1).mean(1)
    torch.testing.assert_close(judged.descriptors[:, 0], bright)
    chances = torch.softmax(torch.stack([bright, 2 * bright, 0 * bright], 1), 1)
    torch.testing.assert_close(judged.objective.float(), chances[:, 1])
    assert judged.realistic is None
    assert problem.names == ("brightness", "mirror_symmetry")
    assert problem.floor == 0
    assert problem.ranges[0] == (0.2, 0.8)
    values = goal.bind(Tools()).descriptors["mirror_symmetry"](LATENTS, Tools().images).sort().values
    assert problem.ranges[1] == pytest.approx((float(values[2]), float(values[197])))


def test_the_posterior_of_a_class_orders_by_density_and_stays_in_the_unit_interval() -> None:
    goal = ArchiveGoal({"brightness": [0, 1]}, "class_posterior", wanted=0)
    found = goal.bind(Tools()).judge(LATENTS, IMAGES).objective
    chance = ArchiveGoal({"brightness": [0, 1]}, "class_probability", wanted=0).bind(Tools())
    density = chance.judge(LATENTS, IMAGES).objective * torch.exp(-0.5 * LATENTS.square().sum(1))
    torch.testing.assert_close(found.double(), density.double().sqrt())
    assert ((found > 0) & (found <= 1)).all()
    prior = ArchiveGoal({"brightness": [0, 1]}).bind(Tools()).judge(torch.zeros(3, 2), IMAGES[:3]).objective
    assert prior.tolist() == [1, 1, 1]


def test_images_are_clipped_and_the_classifier_looks_once() -> None:
    tools = Tools()
    goal = ArchiveGoal({"confidence": [0, 1], "class_probability": [0, 1]}, "class_posterior", wanted=2)
    problem = goal.bind(tools)
    first = problem.judge(LATENTS, 3 * IMAGES - 1)
    assert tools.calls == 1
    second = problem.judge(LATENTS, (3 * IMAGES - 1).clamp(0, 1))
    assert tools.calls == 2
    torch.testing.assert_close(first.descriptors, second.descriptors)


def test_minus_reverses_and_needs_a_floor() -> None:
    with pytest.raises(ConfigError, match="`floor` must be given: the objective -brightness"):
        ArchiveGoal({"width": [0, 1]}, "-brightness")
    found = ArchiveGoal({"width": [0, 1]}, "-brightness", floor=-1).bind(Tools()).judge(LATENTS, IMAGES).objective
    torch.testing.assert_close(found, -IMAGES.flatten(1).mean(1))


def test_any_function_will_do() -> None:
    def corner(images: Tensor) -> Tensor:
        return images[:, 0, 0, 0]

    goal = ArchiveGoal({"corner": {"measure": corner, "range": [0, 1]}, "novelty": "auto"}, corner, floor=0.0)
    judged = goal.bind(Tools()).judge(LATENTS, IMAGES)
    assert torch.equal(judged.objective, IMAGES[:, 0, 0, 0])
    assert torch.equal(judged.descriptors[:, 0], IMAGES[:, 0, 0, 0])


def test_realism_by_latents_and_by_the_critic() -> None:
    goal = ArchiveGoal({"brightness": [0, 1]}, realism={"typical": [0.0, 0.9], "critic": 0.0})
    found = goal.bind(Tools()).judge(torch.tensor([[0.1, 0.0], [0.0, 9.0], [0.1, 0.0]]), torch.stack(
        [torch.ones(1, 6, 6), torch.ones(1, 6, 6), torch.zeros(1, 6, 6)]))  # fmt: skip
    assert found.realistic is not None
    assert found.realistic.tolist() == [True, False, False]


def test_realism_by_the_classifier() -> None:
    goal = ArchiveGoal({"brightness": [0, 1]}, wanted=1, realism={"class_probability": 0.5})
    bright = torch.stack([torch.full((1, 6, 6), value) for value in (0.0, 1.0)])
    found = goal.bind(Tools()).judge(torch.zeros(2, 2), bright)
    assert found.realistic is not None
    assert found.realistic.tolist() == [False, True]  # softmax of (0, 0, 0) and of (1, 2, 0)
    with pytest.raises(ConfigError, match="`wanted` belongs to"):
        ArchiveGoal({"brightness": [0, 1]}, realism={"class_probability": 0.5})


@pytest.mark.parametrize("name", ["vendi_contribution", "typicality", "realism", "novelty", "confidence"])
def test_what_needs_tools_is_bound(name: str) -> None:
    judged = ArchiveGoal({name: "auto"}).bind(Tools()).judge(LATENTS, IMAGES)
    assert judged.descriptors.shape == (9, 1)
    assert judged.descriptors.isfinite().all()


@pytest.mark.parametrize(
    ("descriptors", "options", "message"),
    [
        ({}, {}, "at least one descriptor"),
        ({"colour": [0, 1]}, {}, "`descriptors` may name"),
        ({"prior_density": [0, 1]}, {}, "`descriptors` may name"),
        ({"brightness": [1, 0]}, {}, "low < high"),
        ({"brightness": "wide"}, {}, "must be auto or"),
        ({"own": {"measure": 3, "range": [0, 1]}}, {}, "`descriptors.own` must have `measure`"),
        ({"brightness": [0, 1]}, {"objective": "beauty"}, "`objective` must be one of"),
        ({"brightness": [0, 1]}, {"objective": "class_probability"}, "`wanted` belongs to"),
        ({"brightness": [0, 1]}, {"wanted": 3}, "`wanted` belongs to"),
        ({"brightness": [0, 1]}, {"objective": "realism"}, "`floor` must be given"),
        ({"brightness": [0, 1]}, {"realism": {"shape": 1}}, "`realism` may have"),
    ],
)
def test_bad_goals_are_refused(descriptors: dict[str, object], options: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        ArchiveGoal(descriptors, **options)  # type: ignore[arg-type]


def test_a_class_that_does_not_exist_and_a_constant_range_are_refused() -> None:
    goal = ArchiveGoal({"brightness": [0, 1]}, "class_probability", wanted=7)
    with pytest.raises(ConfigError, match=r"`wanted` must be a class of 0\.\.2, got 7"):
        goal.bind(Tools()).judge(LATENTS, IMAGES)
    tools = Tools()
    tools.images = torch.ones(20, 1, 6, 6)
    with pytest.raises(ConfigError, match="brightness is constant on the training images"):
        ArchiveGoal({"brightness": "auto"}).bind(tools)
    tools.images = torch.zeros(20, 1, 6, 6)
    with pytest.raises(ConfigError, match="thickness: auto` finds no training image"):
        ArchiveGoal({"thickness": "auto"}).bind(tools)
    assert math.isfinite(ArchiveGoal({"thickness": [1, 2]}).bind(tools).floor)
