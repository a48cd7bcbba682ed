"""Stacked training of VAEs of points: equal to separate trainings, with the published loss and choice."""

import pytest
import torch
from torch import nn

from lightning_gvae.errors import ConfigError, DataError
from lightning_gvae.models.stacked_vae import StackedVAE, fit_stacked, from_unit, range_of, to_unit
from lightning_gvae.nets.stacked import StackedLinear
from lightning_gvae.rng import torch_stream

D, L, K, N, BATCH, EPOCHS = 3, 2, 3, 70, 16, 4


def points(seed=0, n=N, dims=D):
    raw = torch.rand(n, dims, generator=torch_stream(seed, "points"))
    return torch.cat([raw[:, :1] * 10 - 3, raw[:, 1:] * 80 + 7], 1)


class Alone(nn.Module):
    """One VAE as published, from nn.Linear and a literal loss: the second implementation."""

    def __init__(self, stack: StackedVAE, index: int) -> None:
        super().__init__()
        halves = []
        for layers in (stack.encoder.layers, stack.decoder.layers):
            linears = []
            for layer in layers:
                assert isinstance(layer, StackedLinear)
                linear = nn.Linear(*layer.weight.shape[1:])
                with torch.no_grad():
                    linear.weight.copy_(layer.weight[index].T)
                    linear.bias.copy_(layer.bias[index, 0])
                linears.append(linear)
            halves.append(nn.ModuleList(linears))
        self.encoder, self.decoder = halves

    def encode(self, x):
        mean, log_var = self.encoder[1](torch.relu(self.encoder[0](x))).chunk(2, dim=1)
        return mean, log_var

    def decode(self, z):
        return torch.tanh(self.decoder[1](torch.relu(self.decoder[0](z))))

    def published_loss(self, x, noise):
        """Squared errors summed over the batch, plus the KL averaged over it."""
        mean, log_var = self.encode(x)
        output = self.decode(mean + torch.exp(0.5 * log_var) * noise)
        kl = -0.5 * torch.sum(1 + log_var - mean.pow(2) - log_var.exp()) / len(x)
        return nn.functional.mse_loss(output, x, reduction="sum") + kl, output


def stack(count=K):
    return StackedVAE(D, L, (4,), [torch_stream(5, "solve-weights", number) for number in range(count)])


def test_the_loss_is_the_published_one_over_the_batch_size():
    net, x = stack(), torch.rand(BATCH, D, generator=torch_stream(0, "x")) * 2 - 1
    noise = torch.randn(K, BATCH, L, generator=torch_stream(0, "n"))
    terms = net(x, noise)
    assert terms.recon.shape == terms.kl.shape == terms.error.shape == (K,)
    for index in range(K):
        expected, output = Alone(net, index).published_loss(x, noise[index])
        ours = terms.recon[index] + terms.kl[index] / BATCH
        torch.testing.assert_close(BATCH * ours, expected)
        torch.testing.assert_close(terms.error[index], torch.linalg.norm(output - x, dim=0).mean())
    torch.testing.assert_close(terms.loss(0.5), (terms.recon + 0.5 * terms.kl).sum())
    torch.testing.assert_close(terms.kl_dims.sum(1), terms.kl)


def test_stacked_training_equals_separate_trainings():
    """Same initial weights, batches and noise, each with an Adam of its own: the weights agree to 1e-5."""
    data = points()
    fitted = fit_stacked(
        [data], [5], latent_dim=L, hidden=(4,), candidates=K, epochs=EPOCHS, batch_size=BATCH, kl_scale=1 / BATCH
    )[0]
    units, steps, errors = to_unit(data, *range_of(data)), N // BATCH, []
    start = stack()
    for index in range(K):
        alone = Alone(start, index)
        optimizer = torch.optim.Adam(alone.parameters(), lr=1e-3)
        for epoch in range(EPOCHS):
            order = torch.randperm(N, generator=torch_stream(5, "solve-order", epoch))
            noise = torch.randn((steps, BATCH, L), generator=torch_stream(5, "solve-noise", index, epoch))
            measures = []
            for step in range(steps):
                x = units[order[step * BATCH : (step + 1) * BATCH]]
                loss, output = alone.published_loss(x, noise[step])
                optimizer.zero_grad()
                (loss / BATCH).backward()
                optimizer.step()
                measures.append(torch.linalg.norm(output.detach() - x, dim=0).mean())
        errors.append(torch.stack(measures).mean())
        for ours, theirs in ((fitted.net.encoder, alone.encoder), (fitted.net.decoder, alone.decoder)):
            for layer, linear in zip(ours.layers, theirs, strict=True):
                torch.testing.assert_close(layer.weight[index], linear.weight.T, rtol=0, atol=1e-5)
                torch.testing.assert_close(layer.bias[index, 0], linear.bias, rtol=0, atol=1e-5)
    torch.testing.assert_close(fitted.errors, torch.stack(errors), rtol=0, atol=1e-5)
    assert fitted.index == int(torch.stack(errors).argmin())


def test_several_data_sets_in_one_stack_are_trained_as_each_alone():
    sets = [points(0), points(1)]
    both = fit_stacked(sets, [3, 4], candidates=2, epochs=3, batch_size=BATCH)
    for data, seed, ours in zip(sets, (3, 4), both, strict=True):
        alone = fit_stacked([data], [seed], candidates=2, epochs=3, batch_size=BATCH)[0]
        torch.testing.assert_close(ours.errors, alone.errors, rtol=0, atol=1e-5)
        z = torch.randn(7, D, generator=torch_stream(0, "z"))
        torch.testing.assert_close(ours.decode(z), alone.decode(z), rtol=0, atol=1e-3)
    # the control: another seed is another training
    other = fit_stacked([sets[0]], [9], candidates=2, epochs=3, batch_size=BATCH)[0]
    assert (other.errors - both[0].errors).abs().max() > 1e-3


def test_decoded_points_never_leave_the_range_of_the_data():
    data = points()
    fitted = fit_stacked([data], [0], candidates=2, epochs=30, batch_size=BATCH)[0]
    low, high = range_of(data)
    decoded = fitted.decode(100 * torch.randn(5000, D, generator=torch_stream(0, "far")))
    assert (decoded >= low).all() and (decoded <= high).all()
    spread = (decoded.amax(0) - decoded.amin(0)) / (high - low)
    assert (spread > 0.5).all()
    mean, log_var = fitted.encode(data)
    assert mean.shape == log_var.shape == (N, D)


def test_training_lowers_the_error_of_reconstruction():
    data = points()
    short, long = (fit_stacked([data], [0], candidates=1, epochs=epochs, batch_size=BATCH)[0] for epochs in (1, 150))
    error = lambda fitted: (fitted.decode(fitted.encode(data)[0]) - data).square().mean()
    assert long.errors[0] < 0.7 * short.errors[0]
    assert error(long) < 0.5 * error(short)


def test_the_same_call_gives_the_same_networks_and_leaves_the_global_generator_alone():
    state, seen = torch.get_rng_state(), []
    first, second = (
        fit_stacked([points()], [1], candidates=2, epochs=2, batch_size=BATCH, progress=seen.append)[0]
        for _ in range(2)
    )
    assert torch.equal(torch.get_rng_state(), state)
    for ours, theirs in zip(first.net.parameters(), second.net.parameters(), strict=True):
        assert torch.equal(ours, theirs)
    assert seen == [1, 2, 1, 2]


def test_scaling_is_undone_and_a_constant_feature_stays():
    data = points()
    data[:, 1] = 4.0
    low, high = range_of(data)
    units = to_unit(data, low, high)
    assert units.amin() == -1 and units.amax() == 1
    assert torch.equal(units[:, 1], torch.zeros(N))
    torch.testing.assert_close(from_unit(units, low, high), data)


def test_latents_of_another_size_are_refused():
    fitted = fit_stacked([points()], [0], candidates=1, epochs=1, batch_size=BATCH)[0]
    with pytest.raises(ConfigError, match=r"`latents` must be \(n, 3\), the latent size of the decoder, got \(2, 5\)"):
        fitted.decode(torch.zeros(2, 5))


@pytest.mark.parametrize(
    ("data", "kwargs", "error", "message"),
    [
        (
            [points()],
            {"seeds": [0, 1]},
            ConfigError,
            r"`seeds` must be one for every data set \(1, at least 1\), got 2",
        ),
        ([points()], {"kl_scale": -1.0}, ConfigError, "`kl_scale` must be 0 or more, got -1.0"),
        ([points()], {"candidates": 0}, ConfigError, "`candidates` must be an integer of at least 1, got 0"),
        ([points()], {"lr": 0.0}, ConfigError, "`lr` must be positive, got 0.0"),
        ([points(), points(n=9)], {"seeds": [0, 1]}, DataError, r"equally many points \(N, D\) in every set"),
        ([points() * torch.nan], {}, DataError, "`data` must be finite"),
    ],
)
def test_mistakes_are_named(data, kwargs, error, message):
    with pytest.raises(error, match=message):
        fit_stacked(data, **{"seeds": [0], "epochs": 1} | kwargs)
