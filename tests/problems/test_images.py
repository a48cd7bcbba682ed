"""Objectives and criteria of images against hand-made images and brute force."""

import math

import pytest
import torch

from lightning_gvae.errors import ConfigError
from lightning_gvae.problems.images import (
    ImageGoal,
    ImageProblem,
    class_loss,
    nearest_distance,
    pixel_mass,
    symmetry,
)


class Bench:
    """Tools made of plain functions, which count what was asked for."""

    def __init__(self):
        self.asked = []
        self.references = torch.rand(30, 1, 4, 4, generator=torch.Generator().manual_seed(1))

    def classifier(self):
        self.asked.append("classifier")
        return lambda images: torch.stack([images.mean((1, 2, 3)), images[:, 0, 0, 0], -images[:, 0, 0, 0]], 1)

    def critic(self):
        self.asked.append("critic")
        return lambda images: images[:, 0, 1, 1]

    def typicality(self):
        self.asked.append("typicality")
        return lambda images: 3 * images.mean((1, 2, 3))

    def training_images(self):
        self.asked.append("training_images")
        return self.references

    def target_image(self, number):
        self.asked.append("target_image")
        return self.references[number]


def some(count=7):
    return torch.rand(count, 1, 4, 4, generator=torch.Generator().manual_seed(2))


def test_class_loss_is_cross_entropy():
    logits = torch.randn(9, 4, generator=torch.Generator().manual_seed(0))
    expected = torch.nn.functional.cross_entropy(logits, torch.full((9,), 2), reduction="none")
    torch.testing.assert_close(class_loss(logits, 2), expected.double())
    assert class_loss(torch.tensor([[30.0, 0.0]]), 0).item() == pytest.approx(math.exp(-30), rel=1e-6)
    with pytest.raises(ConfigError, match=r"`wanted` must be a class of 0\.\.3, got 4"):
        class_loss(logits, 4)


def test_nearest_distance_is_that_of_brute_force():
    images, references = torch.rand(600, 3, 5, 4), torch.rand(40, 3, 5, 4)
    brute = torch.stack([(image - references).square().mean((1, 2, 3)).sqrt().min() for image in images])
    torch.testing.assert_close(nearest_distance(images, references), brute, rtol=1e-4, atol=1e-5)
    assert nearest_distance(references, references).max() < 1e-3
    assert nearest_distance(torch.ones(1, 1, 2, 2), torch.zeros(1, 1, 2, 2)).item() == 1.0
    with pytest.raises(ConfigError, match=r"shape \(3, 5, 4\) cannot be compared with references of shape \(1, 5, 4\)"):
        nearest_distance(images, references[:, :1])


def test_mass_and_symmetry_of_drawn_images():
    left = torch.zeros(1, 1, 4, 4)
    left[..., :2] = 1.0  # the left half
    bar = torch.zeros(1, 1, 4, 4)
    bar[:, :, 1] = 1.0  # a row above the middle
    diagonal = torch.eye(4)[None, None]
    assert [pixel_mass(image).item() for image in (left, bar, diagonal)] == [0.5, 0.25, 0.25]
    assert [symmetry(image, (3,)).item() for image in (left, bar, diagonal)] == [0, 1, 0]
    assert [symmetry(image, (2, 3)).item() for image in (left, bar, diagonal)] == [0, 0, 1]
    assert symmetry(torch.zeros(1, 1, 4, 4), (3,)).item() == 1
    assert symmetry(torch.tensor([[[[1.0, 0.5]]]]), (3,)).item() == pytest.approx(1 - 1 / 3)


@pytest.mark.parametrize(
    ("goal", "tool", "expected"),
    [
        (ImageGoal("class_probability", wanted=1), "classifier", lambda x, b: class_loss(b.classifier()(x), 1)),
        (
            ImageGoal("target_distance", target=4),
            "target_image",
            lambda x, b: (x - b.references[4]).square().mean((1, 2, 3)),
        ),
        (ImageGoal("realism"), "critic", lambda x, b: -x[:, 0, 1, 1]),
        (ImageGoal("novelty"), "training_images", lambda x, b: -nearest_distance(x, b.references)),
    ],
    ids=lambda value: value.objective if isinstance(value, ImageGoal) else "",
)
def test_objectives_by_name(goal, tool, expected):
    bench = Bench()
    problem = goal.bind(bench)
    assert bench.asked == [tool] == list(goal.needs)
    torch.testing.assert_close(problem.objective(some()), expected(some(), Bench()))
    assert problem.violations(some()).shape == (7, 0)


def test_criteria_by_name_are_columns_in_their_order():
    goal = ImageGoal(
        "novelty",
        criteria={
            "rotational_symmetry": 0.9,
            "pixel_mass": [0.45, 0.5],
            "typicality": 1.4,
            "realism": 0.5,
            "mirror_symmetry": 0.7,
        },
    )
    bench = Bench()
    violations = goal.bind(bench).violations(some())
    assert goal.needs == ("training_images", "typicality", "critic")
    assert sorted(bench.asked) == sorted(goal.needs)
    x, mass = some(), some().mean((1, 2, 3))
    expected = [
        (0.9 - symmetry(x, (2, 3))).clamp(min=0),
        (0.45 - mass).clamp(min=0) + (mass - 0.5).clamp(min=0),
        (3 * mass - 1.4).clamp(min=0),
        (0.5 - x[:, 0, 1, 1]).clamp(min=0),
        (0.7 - symmetry(x, (3,))).clamp(min=0),
    ]
    torch.testing.assert_close(violations, torch.stack(expected, 1))
    assert ((violations == 0).any(0) | (violations > 0).any(0)).all()


def test_what_lies_outside_the_range_of_pixels_is_clipped_first():
    problem = ImageProblem(pixel_mass, {"mass": pixel_mass})
    loud = torch.tensor([[[[-5.0, 9.0]]]])
    assert problem.objective(loud).item() == 0.5
    assert problem.violations(loud).item() == 0.5


def test_labels_say_what_the_objective_means():
    bench = Bench()
    label = ImageGoal("class_probability", wanted=1).bind(bench).label
    assert [label(-math.log(0.25)), label(2e-5)] == ["p=0.250", "1\N{MINUS SIGN}p=2e-05"]
    assert ImageGoal("realism").bind(bench).label(-0.1234) == "\N{MINUS SIGN}0.123"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            {"objective": "beauty"},
            "`objective` must be one of class_probability, target_distance, realism, novelty, or a function",
        ),
        ({"objective": "class_probability"}, "`wanted` belongs to the objective class_probability.*`wanted` is None"),
        ({"objective": "realism", "wanted": 3}, "the objective is realism, `wanted` is 3"),
        (
            {"objective": "class_probability", "wanted": 3, "target": 1},
            "`target` belongs to the objective target_distance",
        ),
        ({"objective": "class_probability", "wanted": -1}, "`wanted` must be a whole number of at least 0, got -1"),
        ({"objective": "novelty", "criteria": {"size": 3}}, "`criteria` may name pixel_mass, .*, got 'size'"),
        ({"objective": "novelty", "criteria": {"pixel_mass": 0.3}}, r"must be \[least, most\].*got 0.3"),
        ({"objective": "novelty", "criteria": {"pixel_mass": [0.3, 0.2]}}, "0 <= least < most <= 1"),
        (
            {"objective": "novelty", "criteria": {"typicality": "low"}},
            "`criteria.typicality` must be a number, got 'low'",
        ),
    ],
)
def test_goals_that_make_no_sense(arguments, message):
    with pytest.raises(ConfigError, match=message):
        ImageGoal(**arguments)
