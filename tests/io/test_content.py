"""Hashes of plain content keep their formulas: names of cached files are made of them."""

import hashlib

import hypothesis.extra.numpy as hnp
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from lightning_gvae.io import content
from lightning_gvae.io.content import array_hash, batch_hash, file_hash, text_hash, weights_hash

TYPES = st.sampled_from([np.uint8, np.int64, np.float32, np.float64, np.bool_])
ARRAYS = hnp.arrays(TYPES, hnp.array_shapes(min_dims=1, max_dims=3, min_side=0, max_side=4))


@settings(deadline=None)
@given(arrays=st.lists(ARRAYS, max_size=3), chunk=st.sampled_from([1, 7, 2**24]))
def test_arrays(arrays, chunk):
    expected = hashlib.blake2b(digest_size=16)
    for array in arrays:
        expected.update(f"{array.dtype.str}{array.shape}".encode() + array.tobytes())
    before, content.CHUNK = content.CHUNK, chunk
    try:
        assert array_hash(*arrays) == expected.hexdigest()
    finally:
        content.CHUNK = before


@settings(deadline=None)
@given(arrays=st.lists(ARRAYS, max_size=3))
def test_batches(arrays):
    expected = hashlib.blake2b(digest_size=16)
    tensors = [torch.from_numpy(array) for array in arrays]
    for tensor, array in zip(tensors, arrays, strict=True):
        expected.update(f"{tensor.dtype}{tuple(tensor.shape)}".encode() + array.tobytes())
    assert batch_hash(tensors) == expected.hexdigest()


def test_weights():
    network = torch.nn.Sequential(torch.nn.Linear(3, 2), torch.nn.BatchNorm1d(2))
    expected = hashlib.blake2b(digest_size=16)
    for name, value in sorted(network.state_dict().items()):
        array = np.ascontiguousarray(value.numpy())
        expected.update(f"{name}{array.dtype.str}{array.shape}".encode())
        expected.update(array.data)
    assert weights_hash(network.state_dict()) == expected.hexdigest()
    assert weights_hash(dict(reversed(network.state_dict().items()))) == expected.hexdigest()
    half = network.bfloat16().state_dict()
    bits = {name: value.view(torch.int16) if value.dtype == torch.bfloat16 else value for name, value in half.items()}
    assert weights_hash(half) not in (expected.hexdigest(), weights_hash(bits))


@pytest.mark.parametrize("size", [4, 8, 16])
def test_text_and_files(size, tmp_path):
    text = "naïve\n" * 1000
    (tmp_path / "a").write_text(text, encoding="utf-8")
    expected = hashlib.blake2b(text.encode(), digest_size=size).hexdigest()
    assert text_hash(text, size) == file_hash(tmp_path / "a", size) == expected


@pytest.mark.parametrize("shape", [(), (0,), (1,), (1, 1), (0, 3), (2, 1), (2, 3)])
@pytest.mark.parametrize("kind", [torch.int64, torch.float32, torch.bfloat16, torch.bool, torch.complex64])
def test_strides_of_tensors_do_not_count(shape, kind):
    plain = torch.zeros(shape, dtype=kind)
    wide = torch.ones(*shape, 3, dtype=kind)[..., 1].copy_(plain)
    assert batch_hash([wide]) == batch_hash([plain])
    assert batch_hash([wide.conj()]) == batch_hash([wide.conj().resolve_conj().clone()])
