"""The layout of the weights changes nothing but rounding, and nothing in a checkpoint."""

import lightning as L
import torch
from torch import nn

from lightning_gvae.callbacks.channels_last import ChannelsLast
from lightning_gvae.models import VAE

SHAPE = (2, 16, 16)


def build():
    torch.manual_seed(0)
    encoder = nn.Sequential(
        nn.Conv2d(2, 4, 4, 2, 1), nn.ReLU(), nn.Conv2d(4, 8, 4, 2, 1), nn.ReLU(), nn.Flatten(), nn.Linear(128, 8)
    )
    decoder = nn.Sequential(
        nn.Linear(4, 128), nn.Unflatten(1, (8, 4, 4)), nn.ConvTranspose2d(8, 4, 4, 2, 1), nn.ReLU(),
        nn.ConvTranspose2d(4, 2, 4, 2, 1),
    )  # fmt: skip
    # A large eps: otherwise Adam makes steps of full length of gradients that are nothing but rounding.
    return VAE(SHAPE, 4, network=(encoder, decoder), optimizer=adam)


def adam(parameters):
    return torch.optim.Adam(parameters, lr=1e-2, eps=1e-2, fused=True)


class Layouts(L.Callback):
    def on_train_batch_end(self, trainer, pl_module, *args):
        self.convolutions = [
            weight.is_contiguous(memory_format=torch.channels_last) and not weight.is_contiguous()
            for weight in pl_module.parameters()
            if weight.ndim == 4
        ]


def fit(folder, model, callbacks, steps=6, ckpt_path=None):
    images = torch.rand(48, *SHAPE, generator=torch.Generator().manual_seed(1))
    loader = torch.utils.data.DataLoader(images, batch_size=16)
    layouts = Layouts()
    trainer = L.Trainer(
        accelerator="cpu",
        callbacks=[*callbacks, layouts],
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        max_steps=steps,
        max_epochs=-1,
        default_root_dir=folder,
        limit_val_batches=0,
    )
    trainer.fit(model, loader, loader, ckpt_path=ckpt_path, weights_only=True)
    return trainer, layouts


def close(first, second):
    return all(
        torch.allclose(a, b, rtol=1e-4, atol=2e-5)
        for a, b in zip(first.state_dict().values(), second.state_dict().values(), strict=True)
    )


def test_training_is_equal_up_to_rounding(tmp_path):
    plain, innermost, start = build(), build(), build()
    assert not any(fit(tmp_path, plain, [])[1].convolutions)
    assert all(fit(tmp_path, innermost, [ChannelsLast()])[1].convolutions)
    assert close(plain, innermost)
    assert not close(plain, start)


def test_a_checkpoint_serves_either_way(tmp_path):
    """Moments of the wrong layout would be read in another order by the fused optimiser."""
    ends = {}
    for written in (False, True):
        trainer, _ = fit(tmp_path, build(), [ChannelsLast()] if written else [])
        trainer.save_checkpoint(tmp_path / "a.ckpt")
        checkpoint = torch.load(tmp_path / "a.ckpt", weights_only=True)
        weights, moments = checkpoint["state_dict"], checkpoint["optimizer_states"][0]["state"]
        assert weights.keys() == build().state_dict().keys()
        assert all(tensor.is_contiguous() for tensor in weights.values())
        assert all(tensor.is_contiguous() for state in moments.values() for tensor in state.values())
        for read in (False, True):
            model = ends[written, read] = build()
            _, layouts = fit(tmp_path, model, [ChannelsLast()] if read else [], 12, ckpt_path=tmp_path / "a.ckpt")
            assert all(layouts.convolutions) == read
    assert all(close(ends[False, False], model) for model in ends.values())
