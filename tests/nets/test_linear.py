"""Products by oneDNN are those of torch up to rounding, gradients of any order and vmap included, and only where asked for."""

import pytest
import torch
from torch.func import vmap
from torch.nn import functional as F

from lightning_gvae.models import VAE
from lightning_gvae.nets import linear as module
from lightning_gvae.nets.linear import Linear, linear
from lightning_gvae.onednn import VARIABLE, onednn_chosen, use_onednn

ROWS, INPUTS, OUTPUTS = 128, 256, 192  # large enough for oneDNN


@pytest.fixture(autouse=True)
def onednn(monkeypatch):
    """On for the test, and as it was afterwards."""
    monkeypatch.setenv(VARIABLE, "true")
    onednn_chosen.cache_clear()
    if not onednn_chosen():
        pytest.skip("this torch is built without oneDNN")
    yield
    onednn_chosen.cache_clear()


@pytest.fixture
def products(monkeypatch):
    """Counts what oneDNN multiplies."""
    sizes, plain = [], module._product

    def counting(rows, weight, bias=None):
        sizes.append(rows.numel() * len(weight))
        return plain(rows, weight, bias)

    monkeypatch.setattr(module, "_product", counting)
    return sizes


def tensors(*shapes, dtype=torch.float32):
    generator = torch.Generator().manual_seed(len(shapes))
    return [torch.randn(shape, generator=generator, dtype=dtype).requires_grad_() for shape in shapes]


def close(found, wanted):
    scale = max(1.0, wanted.abs().max().item())
    torch.testing.assert_close(found, wanted, rtol=1e-5, atol=1e-5 * scale)


def through(function, *parts):
    """Output, gradients, and gradients of a function of the gradients."""
    output = function(*parts)
    first = torch.autograd.grad(output.square().mean(), parts, create_graph=True)
    second = torch.autograd.grad(sum(gradient.square().sum() for gradient in first), parts)
    return output, *first, *second


@pytest.mark.parametrize("shape", [(ROWS, INPUTS), (4, ROWS // 4, INPUTS)])
@pytest.mark.parametrize("with_bias", [True, False])
def test_outputs_and_gradients_of_both_orders_are_those_of_torch(products, shape, with_bias):
    parts = tensors(shape, (OUTPUTS, INPUTS), *([(OUTPUTS,)] if with_bias else []))
    for found, wanted in zip(through(linear, *parts), through(F.linear, *parts), strict=True):
        close(found, wanted)
        assert found.stride() == wanted.stride()
    assert len(products) > 3  # forward, both gradients, and those of the gradients


def test_a_weight_that_lies_transposed_gets_its_gradient_in_its_own_order(products):
    rows, weight = tensors((ROWS, INPUTS), (INPUTS, OUTPUTS))
    found, wanted = (
        torch.autograd.grad(function(rows.detach(), weight.mT).square().mean(), weight)[0]
        for function in (linear, F.linear)
    )
    close(found, wanted)
    assert found.is_contiguous()
    assert len(products) == 2


@pytest.mark.parametrize("batched", [(0, 0, 0), (None, 0, 0), (0, None, None)])
def test_under_vmap_each_member_is_a_layer_of_its_own(products, batched):
    shapes = [(ROWS, INPUTS), (OUTPUTS, INPUTS), (OUTPUTS,)]
    parts = tensors(*(shape if dim is None else (3, *shape) for shape, dim in zip(shapes, batched, strict=True)))

    def of(function):
        output = vmap(function, in_dims=batched)(*parts)
        return output, *torch.autograd.grad(output.square().mean(), parts)

    for found, wanted in zip(of(linear), of(F.linear), strict=True):
        close(found, wanted)
    assert products


def test_vmap_within_vmap():
    rows, weight = tensors((2, ROWS, INPUTS), (3, OUTPUTS, INPUTS))
    found = vmap(lambda w: vmap(lambda r: linear(r, w))(rows))(weight)
    close(found, torch.einsum("rbi,woi->wrbo", rows, weight))
    found = vmap(lambda r: vmap(lambda w: linear(r, w))(weight))(rows)
    close(found, torch.einsum("rbi,woi->rwbo", rows, weight))


def test_matrices_with_gaps_are_closed_up(products):
    wide, weight = tensors((ROWS, 3 * INPUTS), (OUTPUTS, INPUTS))
    rows = wide[:, INPUTS : 2 * INPUTS]
    close(linear(rows, weight), F.linear(rows, weight))
    found, wanted = (
        torch.autograd.grad(function(rows, weight).square().mean(), [wide, weight]) for function in (linear, F.linear)
    )
    for mine, theirs in zip(found, wanted, strict=True):
        close(mine, theirs)
    assert products


def test_everything_else_is_left_to_torch(products):
    rows, weight, bias = tensors((ROWS, INPUTS), (OUTPUTS, INPUTS), (OUTPUTS,))
    assert torch.equal(linear(rows[:4], weight, bias), F.linear(rows[:4], weight, bias))  # few rows
    assert torch.equal(linear(rows[:, :8], weight[:, :8]), F.linear(rows[:, :8], weight[:, :8]))  # a small product
    assert torch.equal(linear(rows[:0], weight, bias), F.linear(rows[:0], weight, bias))
    double = [part.double() for part in (rows, weight, bias)]
    assert torch.equal(linear(*double), F.linear(*double))
    with torch.autocast("cpu", torch.bfloat16):
        assert linear(rows, weight, bias).dtype == torch.bfloat16
        assert torch.equal(linear(rows, weight, bias), F.linear(rows, weight, bias))
    assert linear(rows.to("meta"), weight.to("meta")).device.type == "meta"
    assert not products


def test_a_layer_is_one_of_torch_but_for_its_product(products):
    torch.manual_seed(1)
    ours = Linear(INPUTS, OUTPUTS)
    torch.manual_seed(1)
    theirs = torch.nn.Linear(INPUTS, OUTPUTS)
    assert torch.equal(ours.weight, theirs.weight)
    assert ours.state_dict().keys() == theirs.state_dict().keys()
    (rows,) = tensors((ROWS, INPUTS))
    close(ours(rows), theirs(rows))
    assert len(products) == 1


def train(choice, steps=30):
    assert use_onednn(choice) is choice
    torch.manual_seed(0)
    model = VAE((1, 28, 28), latent_dim=20, network="mlp", seed=1)
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
    images = torch.rand(64, 1, 28, 28, generator=torch.Generator().manual_seed(2))
    losses = []
    for step in range(steps):
        optimizer.zero_grad()
        loss = model.loss(model.elbo_terms(images, torch.Generator().manual_seed(step)))
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return losses


def test_a_training_takes_the_same_course(products):
    ours = train(True)
    assert len(products) > 30
    products.clear()
    theirs = train(False)
    assert not products
    assert ours == pytest.approx(theirs, rel=1e-4)
    assert theirs[-1] < 0.99 * theirs[0]
