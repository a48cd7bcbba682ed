"""Streams are pure functions of their key and touch nothing else."""

import random

import numpy as np
import torch

from lightning_gvae.rng import numpy_stream, stream_key, torch_stream


def test_a_stream_is_a_function_of_its_key():
    for make, draw in (
        (numpy_stream, lambda stream: stream.random(8).tolist()),
        (torch_stream, lambda stream: torch.rand(8, generator=stream).tolist()),
    ):
        first = draw(make(3, "noise", 1, 2))
        assert draw(make(3, "noise", 1, 2)) == first
        for other in (make(4, "noise", 1, 2), make(3, "data", 1, 2), make(3, "noise", 2, 1), make(3, "noise", 1)):
            assert draw(other) != first


def test_keys_do_not_run_into_each_other():
    keys = {stream_key(seed, tag, a, b) for seed in (1, 11) for tag in ("a", "a/1") for a in (1, 11) for b in (1, 11)}
    assert len(keys) == 16


def test_streams_of_neighbouring_keys_are_uncorrelated():
    draws = np.stack([numpy_stream(0, "noise", step).standard_normal(2000) for step in range(30)])
    correlations = np.corrcoef(draws)[np.triu_indices(30, 1)]
    # 435 correlations with standard error 1 / sqrt(2000): the largest stays below 4.5 of them
    assert np.abs(correlations).max() < 4.5 / np.sqrt(2000)


def test_global_generators_are_left_alone():
    before = (random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state())  # noqa: NPY002
    numpy_stream(0, "noise").random()
    torch.rand(3, generator=torch_stream(0, "noise"))
    assert random.getstate() == before[0]
    assert np.random.get_state()[1].tolist() == before[1]  # noqa: NPY002
    assert torch.equal(torch.get_rng_state(), before[2])
