"""The cross-entropy of pixels against torch's own and against fp64."""

import pytest
import torch
from torch.func import vmap
from torch.nn.functional import binary_cross_entropy_with_logits

from lightning_gvae.cross_entropy import cross_entropy_of_logits


def torchs(logits, targets):
    return binary_cross_entropy_with_logits(logits, targets, reduction="none")


def cases(dtype=torch.float32):
    generator = torch.Generator().manual_seed(0)
    logits = 8 * torch.randn(16, 3, 7, dtype=torch.float64, generator=generator)
    logits[0] = torch.linspace(-120, 120, 21, dtype=torch.float64).reshape(3, 7)
    targets = torch.rand(16, 3, 7, dtype=torch.float64, generator=generator)
    targets[:8] = targets[:8].round()
    return logits.to(dtype), targets.to(dtype)


def test_equals_torchs():
    torch.testing.assert_close(cross_entropy_of_logits(*cases(torch.float64)), torchs(*cases(torch.float64)))


def test_is_as_exact_as_torchs_in_fp32():
    truth = torchs(*(each.double() for each in cases()))
    ours, theirs = ((found(*cases()).double() - truth).abs() for found in (cross_entropy_of_logits, torchs))
    assert ours.max() <= theirs.max()
    assert ours.mean() < theirs.mean()


def test_pixels_that_are_right_cost_nothing_and_those_that_are_wrong_their_logit():
    logits, right = torch.tensor([1e4, -1e4, 60.0, -60.0]), torch.tensor([1.0, 0.0, 1.0, 0.0])
    assert cross_entropy_of_logits(logits, right).tolist() == [0, 0, 0, 0]
    assert cross_entropy_of_logits(logits, 1 - right).tolist() == [1e4, 1e4, 60, 60]


def test_a_logit_that_is_not_finite_is_seen():
    assert cross_entropy_of_logits(torch.tensor([float("nan")]), torch.ones(1)).isnan().all()


@pytest.mark.parametrize("wanted", [(True, True), (True, False), (False, True)])
def test_gradients_are_torchs(wanted):
    parts = [part.requires_grad_(want) for part, want in zip(cases(torch.float64), wanted, strict=True)]
    asked = [part for part in parts if part.requires_grad]
    found, expected = (torch.autograd.grad(f(*parts).square().sum(), asked) for f in (cross_entropy_of_logits, torchs))
    torch.testing.assert_close(found, expected)


def test_gradients_of_any_order():
    logits, targets = (part[1:3, :1, :2].clone().requires_grad_() for part in cases(torch.float64))
    assert torch.autograd.gradcheck(cross_entropy_of_logits, (logits, targets))
    assert torch.autograd.gradgradcheck(cross_entropy_of_logits, (logits, targets))


@pytest.mark.parametrize("dims", [(0, 0), (0, None), (None, 0), (1, 0)])
def test_many_at_once_are_those_one_after_the_other(dims):
    logits, targets = cases()
    parts = [
        part[0] if dim is None else part.movedim(0, dim) for part, dim in zip((logits, targets), dims, strict=True)
    ]
    parts[0].requires_grad_()
    together = vmap(cross_entropy_of_logits, in_dims=dims)(*parts)
    rows = [part if dim is None else part.movedim(dim, 0) for part, dim in zip(parts, dims, strict=True)]
    alone = torch.stack([
        cross_entropy_of_logits(*(row if dim is None else row[i] for row, dim in zip(rows, dims, strict=True)))
        for i in range(16)
    ])  # fmt: skip
    torch.testing.assert_close(together, alone)
    weights = torch.rand(together.shape, generator=torch.Generator().manual_seed(1))
    found, expected = (torch.autograd.grad(value, parts[0], weights)[0] for value in (together, alone))
    torch.testing.assert_close(found, expected)
