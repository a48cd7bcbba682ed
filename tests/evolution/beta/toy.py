"""A small VAE in plain torch with generated data, and a training loop that a search steers."""

import hashlib
import random

import numpy as np
import torch
from torch import nn

from lightning_gvae.evolution.beta.lookahead import Trial, lookahead, score
from lightning_gvae.evolution.model_copy import ModelCopy, Noise, preserved_rng
from lightning_gvae.rng import numpy_stream, torch_stream

CPU = torch.device("cpu")
SIGMA = 0.4


def toy_data(count=2048):
    """Five independent causes of unequal strength, mixed into sixteen channels."""
    rng = numpy_stream(0, "toy data")
    causes = rng.standard_normal((count, 5)) * np.array([1.5, 1.2, 1.0, 0.8, 0.6])
    mixed = np.tanh(causes @ rng.standard_normal((5, 16)) / np.sqrt(5)) + 0.1 * rng.standard_normal((count, 16))
    return torch.from_numpy(mixed).float()


class ToyVAE(nn.Module):
    """Gaussian likelihood of fixed width; optional batch statistics and dropout."""

    def __init__(self, beta=1.0, seed=0, norm=False, dropout=0.0):
        super().__init__()
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.encoder = nn.Sequential(
                nn.Linear(16, 32), *([nn.BatchNorm1d(32)] if norm else []), nn.ReLU(), nn.Linear(32, 12)
            )
            self.decoder = nn.Sequential(nn.Linear(6, 32), nn.ReLU(), nn.Dropout(dropout), nn.Linear(32, 16))
        self.register_buffer("beta", torch.tensor(float(beta), dtype=torch.float64))

    def terms(self, x, generator):
        mean, log_var = self.encoder(x).chunk(2, dim=1)
        z = mean + torch.exp(0.5 * log_var) * torch.randn(mean.shape, generator=generator)
        d = ((x - self.decoder(z)) ** 2).sum(1).mean() / (2 * SIGMA**2)
        r = 0.5 * (mean**2 + log_var.exp() - log_var - 1).sum(1).mean()
        return d, r


def probe_loss(module, batch, generator):
    d, r = module.terms(batch, generator)
    return d + module.beta.float() * r, d, r


def make_trial(data, generation=0, k=5, batch=64, micro=1, probe=256, seed=0):
    rng = numpy_stream(seed, "toy trial", generation)
    steps = [[data[rng.choice(len(data), batch // micro, replace=False)] for _ in range(micro)] for _ in range(k)]
    positions = rng.choice(len(data), probe, replace=False)
    chunks = [(data[positions[: probe // 2]], 0.5), (data[positions[probe // 2 :]], 0.5)]
    return Trial(probe_loss, steps, chunks, Noise(seed, "toy", generation, CPU), ["beta"])


def train(model, optimizer, data, steps, first=0, seed=0, batch=64):
    """Plain training; returns the rate of each step."""
    rates = []
    for step in range(first, first + steps):
        positions = numpy_stream(seed, "toy batch", step).choice(len(data), batch, replace=False)
        loss, _, r = probe_loss(model, data[positions], torch_stream(seed, "toy step", step))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        rates.append(float(r.detach()))
    return rates


def closed_loop(search, data, steps=1000, interval=50, k=10, warmup=300, evaluate=lookahead, lr=3e-3, seed=0):
    """Train with a search in the loop.

    Returns:
        Beta and rate of each step after the warm-up, and the negative ELBO at the last generation.
    """
    model = ToyVAE(seed=seed)
    optimizer = torch.optim.Adam(model.parameters(), lr=lr)
    train(model, optimizer, data, warmup, seed=seed)
    betas, rates = [], []
    for step in range(warmup, warmup + steps, interval):
        with preserved_rng(CPU):
            model_copy, trial = ModelCopy(model, optimizer), make_trial(data, step, k, seed=seed)
            trial.noise.reseed()
            here = score(model_copy, trial)
            candidates = search.ask(step, [float(model.beta)], here)
            if len(candidates):
                search.tell(evaluate(model_copy, trial, candidates))
        model.beta.fill_(search.genome[0])
        rates += train(model, optimizer, data, interval, step, seed)
        betas += [search.genome[0]] * interval
    return np.array(betas), np.array(rates), sum(here)


def fingerprint(module, optimizer):
    """Hash of everything a generation must leave alone."""
    digest = hashlib.sha256()

    def add(value):
        if isinstance(value, torch.Tensor):
            digest.update(str((value.dtype, tuple(value.shape))).encode() + value.detach().cpu().numpy().tobytes())
        elif isinstance(value, dict):
            for key, item in value.items():
                digest.update(repr(key).encode())
                add(item)
        elif isinstance(value, (list, tuple)):
            for item in value:
                add(item)
        else:
            digest.update(repr(value).encode())

    add(dict(module.named_parameters()))
    add(dict(module.named_buffers()))
    add([parameter.grad for parameter in module.parameters()])
    add([parameter.requires_grad for parameter in module.parameters()])
    add([part.training for part in module.modules()])
    add(optimizer.state_dict())
    add(len(optimizer.state))
    add([random.getstate(), np.random.get_state(), torch.get_rng_state()])  # noqa: NPY002
    return digest.hexdigest()
