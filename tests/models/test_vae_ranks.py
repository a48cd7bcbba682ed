"""Two and four real processes train a VAE as one process does on the same global batches, and evaluate as one does."""

import pytest
import torch
from torch import Tensor

from lightning_gvae.datamodules.batches import BatchLoader
from lightning_gvae.datamodules.digits import DigitsDataModule
from lightning_gvae.losses.elbo import ElboTerms
from lightning_gvae.models.vae import VAE
from tests.models.adversaries import SHAPE, Z, nets, noise_of, quiet_trainer
from tests.models.test_adversarial_ranks import on_ranks

STEPS, GLOBAL = 45, 32  # an epoch has 37 steps
# On two ranks 97 and 96 validation images, on four 49, 48, 48 and 48: in batches of 16, cut without care, one rank
# would make a batch more than the others and wait for them for ever.
VALIDATION, BATCH = 193, 16

SCRIPT = """
import sys, warnings
import lightning as L
import torch
from tests.models.test_vae_ranks import GLOBAL, fit

warnings.simplefilter("ignore")
folder, world = sys.argv[1], int(sys.argv[2])
torch.set_num_threads(1)

class Dump(L.Callback):
    def on_train_end(self, trainer, pl_module):
        logged = {key: value.cpu() for key, value in trainer.callback_metrics.items()}
        torch.save([pl_module.state_dict(), logged], f"{folder}/{trainer.global_rank}.pt")

if __name__ == "__main__":
    fit(folder, Dump(), batch_size=GLOBAL // world, devices=world, strategy="ddp")
"""


class FixedVAE(VAE):
    """Its noise is a function of the image, wherever in a batch or on whatever rank that is."""

    def posterior_terms(
        self, images: Tensor, mean: Tensor, log_var: Tensor, generator: torch.Generator | None = None
    ) -> ElboTerms:
        latents = mean + (0.5 * log_var).exp() * noise_of(images, "posterior")
        kl, kl_dims = self.divergence(latents, mean, log_var)
        return ElboTerms(self.likelihood(self.decoder(latents).float(), images).mean(), kl, kl_dims)


def built() -> FixedVAE:
    torch.manual_seed(0)
    encoder, decoder = nets()
    return FixedVAE(SHAPE, latent_dim=Z, network=(encoder, decoder), optimizer=gentle)


def gentle(parameters):
    return torch.optim.SGD(parameters, lr=1e-3)


def fit(folder, *callbacks, batch_size=GLOBAL, **settings):
    model = built()
    trainer = quiet_trainer(folder, STEPS, *callbacks, log_every_n_steps=STEPS, **settings)
    data = DigitsDataModule(val_size=VALIDATION, batch_size=batch_size, eval_batch_size=BATCH)
    trainer.fit(model, datamodule=data)
    return model, trainer


@pytest.mark.slow
@pytest.mark.parametrize("world", [2, 4])
def test_several_ranks_equal_one_process_and_each_other(world, tmp_path):
    ranks = on_ranks(tmp_path, SCRIPT, str(world), world=world)
    model, trainer = fit(tmp_path)
    for label, value in model.state_dict().items():
        assert all(torch.equal(ranks[0][0][label], state[label]) for state, _ in ranks), label
        assert (ranks[0][0][label] - value).abs().max() <= 2e-6, label
    start = built().state_dict()
    moved = max(float((value - start[label]).abs().max()) for label, value in model.state_dict().items())
    assert moved > 1e-2, "nothing was learnt, so nothing was compared"
    compared = {key for key in trainer.callback_metrics if key.startswith(("train/", "val/"))}
    assert {"train/loss", "val/elbo", "val/kl", "val/recon"} <= compared
    for key in compared:
        # Sums of 64 pixels in other orders, and means over ranks that have one validation image more or less.
        assert float(ranks[0][1][key]) == pytest.approx(float(trainer.callback_metrics[key]), rel=1e-5), key


@pytest.mark.parametrize("world", [2, 4])
def test_the_ranks_have_unequal_numbers_of_images_and_equal_numbers_of_batches(world):
    data = DigitsDataModule(val_size=VALIDATION)
    data.setup()
    loaders = [BatchLoader(data.val_set, BATCH, training=False, rank=rank, world_size=world) for rank in range(world)]
    sizes = [[len(batch[0]) for batch in loader] for loader in loaders]
    assert len({len(one) for one in sizes}) == 1, "another number of batches would hang the collectives"
    counts = [sum(one) for one in sizes]
    assert sum(counts) == VALIDATION and len(set(counts)) == 2
    assert len({-(-count // BATCH) for count in counts}) == 2, "cut without care, the numbers would differ"
