"""Descriptors of images drawn by hand, and the Vendi contribution against the Vendi score itself."""

import math

import numpy as np
import pytest
import torch
from torch import Tensor

from lightning_gvae.errors import ConfigError
from lightning_gvae.metrics.diversity.vendi import vendi_features
from lightning_gvae.problems.descriptors import DESCRIPTORS, VendiContribution, reduced, slant, thickness
from lightning_gvae.rng import torch_stream


def bar(width: int, size: int = 40, length: int = 30, grey: float = 1.0) -> Tensor:
    images = torch.zeros(1, 1, size, size)
    images[..., 5 : 5 + length, 10 : 10 + width] = grey
    return images


@pytest.mark.parametrize("width", [1, 2, 4, 6])
@pytest.mark.parametrize("grey", [1.0, 0.3])
def test_thickness_of_a_bar_is_its_width_whatever_its_grey(width: int, grey: float) -> None:
    found = float(thickness(bar(width, grey=grey)))
    # Twice the area over the outline, ends included; its corners are cut by a diagonal step.
    outline = 2 * (30 + width) - 2 + math.sqrt(2)
    assert found == pytest.approx(2 * 30 * width / outline, rel=0.02)
    assert found == pytest.approx(width, rel=0.2)


def test_thickness_does_not_depend_on_where_or_in_which_direction() -> None:
    image = bar(3)
    assert float(thickness(image.roll((4, 7), (2, 3)))) == pytest.approx(float(thickness(image)), rel=1e-5)
    assert float(thickness(image.transpose(2, 3))) == pytest.approx(float(thickness(image)), rel=1e-5)
    edge = torch.zeros(1, 1, 20, 20)
    edge[..., :, 17:] = 1.0  # touches three edges of the picture
    assert float(thickness(edge)) == pytest.approx(2 * 60 / (2 * 23), rel=0.03)


@pytest.mark.parametrize("shift", [-1, 0, 1])
def test_slant_of_a_leaning_line(shift: int) -> None:
    image = torch.zeros(1, 1, 30, 60)
    for row in range(30):
        image[..., row, 30 - shift * (row - 15)] = 1.0  # upwards to the right for a positive shift
    assert float(slant(image)) == pytest.approx(shift, abs=1e-5)


def test_slant_is_the_regression_of_columns_on_rows() -> None:
    image = torch.rand(1, 1, 12, 9, generator=torch_stream(0, "image"))
    rows, columns = np.mgrid[:12, :9]
    weights = image[0, 0].numpy().ravel()
    slope = np.polyfit(-rows.ravel(), columns.ravel(), 1, w=np.sqrt(weights))[0]
    assert float(slant(image)) == pytest.approx(slope, rel=1e-4)


def test_width_height_lightness_and_symmetries_by_hand() -> None:
    image = torch.zeros(1, 1, 20, 40)
    image[..., 5:15, 10:30] = 0.8
    found = {name: float(measure(image)) for name, measure in DESCRIPTORS.items()}
    # Standard deviation of n equal steps: sqrt((n² - 1) / 12).
    assert found["width"] == pytest.approx(math.sqrt((20**2 - 1) / 12) / 40)
    assert found["height"] == pytest.approx(math.sqrt((10**2 - 1) / 12) / 20)
    assert found["lightness"] == pytest.approx(0.8)
    assert found["brightness"] == pytest.approx(0.8 * 200 / 800)
    for name in ("mirror_symmetry", "flip_symmetry", "rotational_symmetry"):
        assert found[name] == pytest.approx(1.0)
    image[..., 5:15, 30:38] = 0.8
    assert float(DESCRIPTORS["mirror_symmetry"](image)) < 0.9
    assert float(DESCRIPTORS["flip_symmetry"](image)) == pytest.approx(1.0)


def test_a_blank_image_has_no_strokes_but_has_ink_and_symmetry() -> None:
    blank = torch.zeros(2, 3, 8, 8)
    for name in ("thickness", "slant", "width", "height", "lightness"):
        assert DESCRIPTORS[name](blank).isnan().all(), name
    assert DESCRIPTORS["brightness"](blank).tolist() == [0, 0]
    assert DESCRIPTORS["mirror_symmetry"](blank).tolist() == [1, 1]


@pytest.mark.parametrize("name", DESCRIPTORS)
def test_every_descriptor_gives_one_number_an_image_in_any_batch(name: str) -> None:
    images = torch.rand(7, 3, 10, 12, generator=torch_stream(0, "batch"))
    found = DESCRIPTORS[name](images)
    assert found.shape == (7,)
    alone = torch.cat([DESCRIPTORS[name](image[None]) for image in images])
    torch.testing.assert_close(found, alone)


def test_the_vendi_contribution_is_the_derivative_of_the_score() -> None:
    stream = torch_stream(0, "references")
    references, new = torch.rand(60, 1, 3, 3, generator=stream), torch.rand(5, 1, 3, 3, generator=stream)
    found = VendiContribution(references)(new)
    rows, step = reduced(references), 1e-6
    for image, contribution in zip(new, found.tolist(), strict=True):
        both = torch.cat([rows, reduced(image[None])])
        shares = torch.full((61,), (1 - step) / 60, dtype=torch.float64)
        shares[-1] = step
        slope = (math.log(vendi_features(both, weights=shares)) - math.log(vendi_features(rows))) / step
        assert contribution == pytest.approx(slope, rel=1e-3, abs=1e-4)


def test_the_vendi_contribution_is_zero_on_average_and_larger_for_what_is_rare() -> None:
    stream = torch_stream(1, "references")
    common = torch.zeros(50, 1, 6, 6)
    common[:, :, :3] = 0.5 + 0.5 * torch.rand(50, 1, 3, 6, generator=stream)
    rare = common.flip(2)
    measure = VendiContribution(torch.cat([common, rare[:5]]))
    assert float(measure(torch.cat([common, rare[:5]])).mean()) == pytest.approx(0, abs=1e-6)
    assert measure(rare[5:10]).min() > measure(common).max()
    assert measure(torch.zeros(1, 1, 6, 6)).isnan().all()
    with pytest.raises(ConfigError, match="at least 2 images that are not black"):
        VendiContribution(torch.zeros(5, 1, 6, 6))
