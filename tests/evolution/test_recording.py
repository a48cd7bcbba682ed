"""Recorded operations run again: against the code that they were recorded from."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from lightning_gvae.evolution.recording import CannotRecord, Recorder, Recording

OTHER = torch.zeros(4)


def rand(*shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def names(recording, common, own=()):
    """Operations of a run, as torch sees them."""
    with Recorder() as again:
        recording(common, own)
    return [str(call[0]).split(".")[1] for call in again.calls]


def recorded(function, **lists):
    with Recorder() as recorder:
        results = function()
    return Recording(recorder, results, **lists)


def test_other_inputs_give_what_the_code_gives():
    weight, x, y = rand(3, 4), rand(5, 4), rand(5, 4, seed=1)

    def run(x):
        left, right = F.linear(x, weight).chunk(3, dim=1)[:2]
        both = torch.cat([left, right.exp()], dim=1)
        return [torch.addcmul(both, both, both, value=2.0), both.T.T.sum(0), (both > 0).float().mean(), None]

    recording = recorded(lambda: run(x), shared=[x])
    for inputs in (y, x):
        found = recording(recording.share([inputs]))
        assert found[3] is None
        for one, other in zip(found[:3], run(inputs), strict=False):
            assert torch.equal(one, other)
    own = recorded(lambda: run(x), own=[x])
    assert torch.equal(own(own.share(), [y])[0], run(y)[0])


def test_gradients_come_without_the_value_of_the_loss():
    layer, x, targets = nn.Linear(4, 3), rand(8, 4), torch.rand(8, 3, generator=torch.Generator().manual_seed(1))

    def gradients():
        loss = F.softplus(layer(x)).mul(targets).log1p().sum()
        return torch.autograd.grad(loss, list(layer.parameters()), torch.ones(()))

    recording = recorded(gradients, changing=list(layer.parameters()))
    common = recording.share()
    with torch.no_grad():
        layer.weight.add_(rand(3, 4, seed=2))
    for one, other in zip(recording(common), gradients(), strict=True):
        assert torch.equal(one, other)
    run = names(recording, common)
    assert "softplus" in run
    assert "log1p" not in run
    assert "sum" in run  # of the bias


def test_what_stays_the_same_runs_once():
    weight, x, beta = rand(4, 4), rand(6, 4), torch.tensor(2.0)

    def run():
        prepared = x.sigmoid() * 2
        scale = (beta + 1).sqrt()
        return [prepared @ weight * scale, (prepared * scale).tanh()]

    recording = recorded(run, shared=[x], settings=[beta], changing=[weight])
    common = recording.share([x])
    assert names(recording, common) == ["mm", "mul", "mul", "tanh"]
    beta.fill_(7.0)
    weight.mul_(3)
    recording.settle()
    assert all(torch.equal(a, b) for a, b in zip(recording(common), run(), strict=True))
    # a control: settings are read when they are settled
    beta.fill_(1.0)
    assert not torch.equal(recording(common)[1], run()[1])


def test_what_it_was_recorded_on_is_kept():
    x, weight = rand(6, 4), rand(4, 4)
    recording = recorded(lambda: [x.sin() @ weight], shared=[x], changing=[weight])
    assert torch.equal(recording.recorded[0], recording.share([x])[0])

    def in_place():
        noise = x.sin()
        early = noise @ weight
        return [early, noise.mul_(weight.sum())] if early is None else [noise.mul_(weight.sum())]

    with pytest.raises(CannotRecord, match="in use elsewhere"):
        recorded(in_place, shared=[x], changing=[weight])
    changed = recorded(lambda: [x.sin().mul_(weight.sum())], shared=[x], changing=[weight])
    assert changed.recorded is None
    common = changed.share([x])
    for _ in range(3):  # each run begins with what was shared, not with what the last one left
        assert torch.equal(changed(common)[0], x.sin() * weight.sum())


def test_views_of_what_lies_still_see_changes_in_place():
    weight, x = rand(3, 4), rand(5, 4)
    recording = recorded(lambda: [x @ weight.T, weight.T.T.clone(), weight[1:].sum()], changing=[weight])
    common = recording.share()
    weight.mul_(2)
    for one, other in zip(recording(common), [x @ weight.T, weight, weight[1:].sum()], strict=True):
        assert torch.equal(one, other)
    assert "t" not in names(recording, common)


def test_random_numbers_come_from_the_generator_that_was_given():
    weight, generator = rand(4), torch.Generator().manual_seed(3)

    def run():
        torch.randn(2, generator=generator)  # unused, but it moves the generator on
        return [torch.randn(4, generator=generator) * weight]

    recording = recorded(run, changing=[weight], generator=generator)
    for seed in (3, 8):
        generator.manual_seed(seed)
        found = recording(recording.share())[0]
        generator.manual_seed(seed)
        assert torch.equal(found, run()[0])


@pytest.mark.parametrize(
    ("code", "reason"),
    [
        (lambda w, g: w * w.sum().item(), "_local_scalar_dense.default reads a value off a tensor"),
        (lambda w, g: w if (w > 0).all() else -w, "reads a value off a tensor"),
        (lambda w, g: w * torch.equal(w, w), "equal.default reads a value off a tensor"),
        (lambda w, g: w + torch.randn(4), "randn.default draws from another random generator"),
        (lambda w, g: w + torch.randn(4, generator=torch.Generator()), "draws from another random generator"),
        (lambda w, g: torch.normal(w, 1.0, generator=g), "draws random numbers that depend on the candidate"),
        (lambda w, g: OTHER.add_(1) * w, "add_.Tensor changes a tensor in place that is in use elsewhere"),
        (lambda w, g: w.view(2, 2).mul_(2).sum(), "changes a tensor in place that is in use elsewhere"),
        (lambda w, g: (v := w.exp(), v.view(2, 2), v.add_(1))[1], "changes a tensor in place that is in use elsewhere"),
        (lambda w, g: (v := w.exp(), torch._foreach_add_([v], 1))[0], "changes a tensor in place that is in use"),
    ],
)
def test_code_that_is_no_fixed_list_of_operations_is_refused(code, reason):
    weight, generator = rand(4), torch.Generator()
    with pytest.raises(CannotRecord, match=reason):
        recorded(lambda: [code(weight, generator)], changing=[weight], generator=generator)


@pytest.mark.parametrize(
    "make",
    [
        lambda p: torch.optim.Adam(p, fused=True, weight_decay=0.1),
        lambda p: torch.optim.AdamW(p, fused=True),
        lambda p: torch.optim.SGD(p, lr=0.1, momentum=0.9, nesterov=True),
        lambda p: torch.optim.SGD(p, lr=0.1, foreach=True),
        lambda p: torch.optim.RMSprop(p, momentum=0.5, centered=True),
    ],
)
def test_steps_of_an_optimiser(make):
    copies = [[nn.Parameter(rand(3, 4)), nn.Parameter(rand(4, seed=1))] for _ in range(2)]
    optimizers = [make(parameters) for parameters in copies]
    for seed in range(6):
        gradients = [rand(3, 4, seed=seed), rand(4, seed=seed + 10)]
        for parameter, gradient in zip(copies[0], gradients, strict=True):
            parameter.grad = gradient.clone()
        optimizers[0].step()
        if seed < 3:
            for parameter, gradient in zip(copies[1], gradients, strict=True):
                parameter.grad = gradient.clone()
            with Recorder() as recorder:
                optimizers[1].step()
            own = [parameter.grad for parameter in copies[1]]
            state = [value for each in optimizers[1].state.values() for value in each.values()]
            state = [value for value in state if isinstance(value, torch.Tensor)]
        else:
            recording = Recording(recorder, [], own=own, changing=[*copies[1], *state])
            assert recording(recording.share(), gradients) == []
        for one, other in zip(*copies, strict=True):
            assert torch.equal(one, other)


def test_a_step_that_counts_in_python_is_refused():
    parameters = [nn.Parameter(rand(3))]
    optimizer = torch.optim.Adam(parameters, foreach=True)
    parameters[0].grad = rand(3, seed=1)
    optimizer.step()
    with Recorder() as recorder:
        optimizer.step()
    with pytest.raises(CannotRecord, match="reads a value off a tensor"):
        state = list(optimizer.state[parameters[0]].values())
        Recording(recorder, [], own=[parameters[0].grad], changing=[*parameters, *state])


@pytest.mark.parametrize("kind", [torch.optim.Adam, torch.optim.AdamW, torch.optim.SGD, torch.optim.Adagrad])
def test_what_changes_gradients_is_known(kind):
    """torch declares the gradients of fused optimisers as changed; without a scale they are not."""
    parameters = [nn.Parameter(rand(3, 50)), nn.Parameter(rand(7))]
    gradients = [rand(3, 50, seed=1), rand(7, seed=2)]
    optimizer = kind(parameters, lr=0.1, weight_decay=0.1, maximize=True, fused=True)
    for parameter, gradient in zip(parameters, gradients, strict=True):
        parameter.grad = gradient.clone()
    with Recorder() as step:
        optimizer.step()
    own = [parameter.grad for parameter in parameters]
    assert any("_fused_" in str(call[0]) for call in step.calls)
    assert all(torch.equal(one, other) for one, other in zip(own, gradients, strict=True))
    assert not step.writes_to(own)
    assert step.writes_to(parameters)
    with Recorder() as clip:
        nn.utils.clip_grad_norm_(parameters, 0.1)
    assert clip.writes_to(own)
