"""Look-ahead measures what is trained: the loader's items, the run's objective; and what it cannot do is said."""

import numpy as np
import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, Sampler, SubsetRandomSampler, TensorDataset, WeightedRandomSampler

from lightning_gvae.callbacks.beta_evolution.notes import generations_left, notes_before, target_missed
from lightning_gvae.callbacks.beta_evolution.objective import check_objective
from lightning_gvae.callbacks.beta_evolution.recent_kl import RecentKL
from lightning_gvae.datamodules.digits import DigitsDataModule
from lightning_gvae.errors import ConfigError
from lightning_gvae.evolution.beta.genes import Gene
from lightning_gvae.evolution.beta.target_kl import Auto, Constant, Ramp
from lightning_gvae.models import VAE, VAEGAN, ControlVAE, SolveVAE, TextVAE
from tests.callbacks.beta_evolution.test_callback import Betas, build, evolution, fit, rows

SIZE = 60
IMAGES = (torch.arange(SIZE)[:, None] * torch.ones(64) / SIZE).reshape(-1, 1, 8, 8)
DATA = TensorDataset(IMAGES)


class Seeing(VAE):
    """Notes the items, by their grey value, that training and its copies see."""

    seen: dict[str, list[int]]

    def elbo_terms(self, images, generator=None):
        live = "run" if self._trainer is not None else "probe" if not torch.is_grad_enabled() else "ahead"
        type(self).seen[live] += (images[:, 0, 0, 0] * SIZE).round().int().tolist()
        return super().elbo_terms(images, generator)


def seen(folder, steps=45, data=None, callback=None, **kwargs):
    Seeing.seen = {"run": [], "ahead": [], "probe": []}
    callback = callback or evolution(lookahead="sequential", probe_size=16)
    fit(folder, build(Seeing), [callback], steps, data=data, **kwargs)
    return Seeing.seen


class Own(Sampler):
    """Every third item, in an order of its own."""

    def __iter__(self):
        return iter((torch.randperm(SIZE // 3) * 3).tolist())

    def __len__(self):
        return SIZE // 3


class InPairs(Sampler):
    batch_size = 8

    def __iter__(self):
        return iter([list(range(start, start + 8)) for start in range(0, 24, 8)])

    def __len__(self):
        return 3


LOADERS = {
    "subset": (lambda: DataLoader(DATA, 8, sampler=SubsetRandomSampler(range(40, 60))), {}, set(range(40, 60))),
    "weights": (
        lambda: DataLoader(DATA, 8, sampler=WeightedRandomSampler([0.0] * 50 + [1.0] * 10, 40)), {}, set(range(50, 60)),
    ),
    "own sampler": (lambda: DataLoader(DATA, 8, sampler=Own()), {}, set(range(0, 60, 3))),
    "batch sampler": (lambda: DataLoader(DATA, batch_sampler=InPairs()), {}, set(range(24))),
    "limit": (lambda: DataLoader(DATA, 8), {"limit_train_batches": 2}, set(range(16))),
    "overfit": (lambda: DataLoader(DATA, 8), {"overfit_batches": 2}, set(range(16))),
}  # fmt: skip


@pytest.mark.parametrize("name", LOADERS)
def test_what_the_loader_leaves_out_is_neither_looked_ahead_with_nor_probed(tmp_path, name):
    make, how, expected = LOADERS[name]
    found = seen(tmp_path, data=make(), **how)
    assert set(found["run"]) <= expected
    for part in ("ahead", "probe"):
        assert set(found[part]) <= expected
        assert len(set(found[part])) > 0.6 * len(expected)


@pytest.mark.parametrize("name", ["subset", "weights", "own sampler"])
def test_the_run_is_the_one_without_evolution_and_the_same_again(tmp_path, name):
    runs = []
    for number, callbacks in enumerate(
        [[], [evolution(fitness={"min_improvement": 1e9})], [evolution()], [evolution()]]
    ):
        torch.manual_seed(0)
        model, betas = build(), Betas()
        torch.manual_seed(11)
        fit(tmp_path / str(number), model, [*callbacks, betas], 35, data=LOADERS[name][0]())
        runs.append((betas.values, torch.cat([p.detach().flatten() for p in model.parameters()])))
    assert torch.equal(runs[0][1], runs[1][1])
    assert runs[2][0] == runs[3][0]
    assert len(set(runs[2][0])) > 1
    assert rows(tmp_path / "2") == rows(tmp_path / "3")


class Rare(DigitsDataModule):
    """Digits of which training shows but ten, the first as often as all others."""

    def _training_weights(self):
        from lightning_gvae.datamodules.batches import SampleWeights

        values = np.zeros(len(self.train_set))
        values[:10] = [9, *[1] * 9]
        return SampleWeights(values / values.sum(), "rare")


@pytest.mark.parametrize("limits", [{}, {"limit_train_batches": 1}, {"overfit_batches": 1}])
def test_weights_of_the_data_weigh_in_look_ahead_and_probe(tmp_path, limits):
    data = Rare(batch_size=32)
    data.setup()
    wanted = data.train_set.batch(np.arange(10))[0]
    counts = {"run": np.zeros(10), "ahead": np.zeros(10), "probe": np.zeros(10)}

    class Counting(VAE):
        def elbo_terms(self, images, generator=None):
            same = (images[:, None] * 255 - wanted[None].to(images)).abs().flatten(2).amax(2) < 0.5
            assert same.any(1).all()
            live = self._trainer is not None
            counts["run" if live else "ahead" if torch.is_grad_enabled() else "probe"] += same.sum(0).numpy()
            return super().elbo_terms(images, generator)

    torch.manual_seed(0)
    callback = evolution(lookahead="sequential", probe_size=64)
    fit_with(tmp_path, build(Counting), callback, Rare(batch_size=32), **limits)
    shares = {name: each / each.sum() for name, each in counts.items()}
    assert shares["run"][0] == pytest.approx(0.5, abs=0.13)  # of a single batch for ever it is what that one has
    for name in ("ahead", "probe"):
        assert shares[name] == pytest.approx(shares["run"], abs=0.1)


def fit_with(folder, model, callback, datamodule, steps=35, **kwargs):
    import lightning as L

    trainer = L.Trainer(
        accelerator="cpu",
        callbacks=[callback],
        enable_progress_bar=False,
        enable_model_summary=False,
        logger=False,
        enable_checkpointing=False,
        default_root_dir=folder,
        max_steps=steps,
        max_epochs=-1,
        num_sanity_val_steps=0,
        **({"limit_val_batches": 0} | kwargs),
    )
    trainer.fit(model, datamodule=datamodule)
    return trainer


def test_candidates_train_on_augmented_images(tmp_path):
    plain = {}

    class Comparing(VAE):
        def elbo_terms(self, images, generator=None):
            if self._trainer is None:
                rounded = (images * 255 - (images * 255).round()).abs().max() < 1e-3
                plain[bool(rounded)] = plain.get(bool(rounded), 0) + 1
            return super().elbo_terms(images, generator)

    callback = evolution(lookahead="sequential")
    fit_with(tmp_path, build(Comparing), callback, DigitsDataModule(batch_size=64, dequantise=True))
    assert set(plain) == {False}


def test_a_probe_larger_than_the_data_shrinks_and_says_so(tmp_path, caplog):
    callback = evolution(probe_size=1000, lookahead="sequential")
    with caplog.at_level("INFO"):
        found = seen(tmp_path, 15, DataLoader(DATA, 8, sampler=SubsetRandomSampler(range(20))), callback)
    assert "the probe is the 20 images that training reads, `callbacks.beta_evolution.probe_size` 1000" in caplog.text
    assert len(found["probe"]) == 9 * 20  # the weights as they are and eight candidates
    assert callback.evolution_passes == 20 + 8 * (3 * 2 * 8 + 20)
    assert callback.plan.probe_size == 1000


class Logs(VAE):
    def training_step(self, batch, batch_idx):
        return super().training_step(batch, batch_idx)


class Declares(Logs):
    def trained_terms(self, images, generator=None):
        return self.elbo_terms(images, generator)


class Both(VAE):
    def training_step(self, batch, batch_idx):
        return super().training_step(batch, batch_idx)

    def trained_terms(self, images, generator=None):
        return self.elbo_terms(images, generator)


class Below(Both):
    def training_step(self, batch, batch_idx):
        return super().training_step(batch, batch_idx)


class OtherTerms(VAE):
    def elbo_terms(self, images, generator=None):
        return super().elbo_terms(images, generator)


class GameLogs(VAEGAN):
    def training_step(self, batch, batch_idx):
        return super().training_step(batch, batch_idx)


def bare(kind):
    """An instance without its networks: the check looks at the class."""
    module = kind.__new__(kind)
    nn.Module.__init__(module)
    return module


@pytest.mark.parametrize("kind", [VAE, VAEGAN, SolveVAE, TextVAE, ControlVAE, OtherTerms, Declares, Both])
def test_models_whose_objective_is_known_are_taken(kind):
    check_objective(bare(kind))


@pytest.mark.parametrize("kind", [Logs, Below, GameLogs])
def test_a_training_step_of_ones_own_is_refused_until_the_model_says_what_it_trains_on(kind):
    with pytest.raises(ConfigError, match=rf"{kind.__name__} has a `training_step` of its own.*`trained_terms\(self"):
        check_objective(bare(kind))


def test_a_step_put_on_the_instance_is_refused_unless_it_wraps_the_own_one():
    import functools

    module = bare(VAE)
    own = module.training_step

    @functools.wraps(own)
    def compiled(*args):
        return own(*args)

    vars(module)["training_step"] = compiled
    check_objective(module)
    vars(module)["training_step"] = lambda batch, batch_idx: None
    with pytest.raises(ConfigError, match="training_step"):
        check_objective(module)


def test_terms_that_a_model_declares_are_those_looked_ahead_with(tmp_path):
    asked = {True: 0, False: 0}

    class Halved(VAE):
        def trained_terms(self, images, generator=None):
            asked[self._trainer is not None] += 1
            return self.elbo_terms(images, generator)

    fit(tmp_path, build(Halved), [evolution(lookahead="sequential")], 15)
    assert asked[True] == 15
    assert asked[False] == 9 + 8 * 2  # nine probes, eight candidates of two steps


def recent(values, **kwargs):
    kept = RecentKL()
    for value in values:
        kept.add({"kl": torch.tensor(float(value))})
    how = {"probe": 10.0, "tolerance": 0.05, "probe_size": 256, "batch_size": 128, "device": torch.device("cpu")}
    return kept.mismatch(**(how | kwargs))


@pytest.mark.parametrize(
    ("values", "probe", "warns"),
    [
        ([10.0] * 16, 10.4, False),
        ([10.0] * 16, 10.6, True),
        ([10.0] * 16, 9.4, True),
        ([10.0] * 7, 20.0, False),  # too few
        ([8.0, 12.0] * 8, 13.0, False),  # within chance: the batches differ by as much
        ([8.0, 12.0] * 8, 25.0, True),
        ([], 5.0, False),
        ([1.0] * 20 + [10.0] * 16, 10.0, False),  # only the last sixteen count
    ],
)
def test_a_kl_on_the_probe_that_is_not_that_of_training_is_told_from_chance(values, probe, warns):
    found = recent(values, probe=probe)
    assert (found is not None) == warns
    if found:
        assert f"{probe:.3g} nats on the probe" in found
        assert "callbacks.beta_evolution.kl_source=training" in found


def test_the_mismatch_is_warned_of_once(tmp_path):
    class Elsewhere(Declares):
        """Trains on images of another KL than those that it is looked ahead with."""

        def training_step(self, batch, batch_idx):
            outputs = super().training_step(batch, batch_idx)
            return outputs | {"kl": outputs["kl"] + 5}

        trained_terms = Declares.trained_terms

    with pytest.warns(UserWarning, match=r"the KL is .* nats on the probe, but .* on the last 10 training") as caught:
        fit(tmp_path, build(Elsewhere), [evolution()], 45)
    assert sum("on the probe" in str(each.message) for each in caught) == 1


@pytest.mark.parametrize("interval", [1, 7, 10])
@pytest.mark.parametrize("warmup", [0, 10, 15, 40, 45, 60])
@pytest.mark.parametrize("end", [5, 41, 45])
def test_generations_left_are_those_that_come(interval, warmup, end):
    callback = evolution(interval=interval, warmup=warmup)
    came = 0
    for step in range(end):
        if callback.plan.due(step, callback.last_step):
            callback.last_step, came = step, came + 1
    assert generations_left(interval, warmup, 0, end) == came
    assert bool(notes_before(interval, warmup, 0, end, [1.0], None)) == (came == 0)


@pytest.mark.parametrize(
    ("how", "expected"),
    [
        ((250, 500, 0, 300, [1.0], None), "stays at 1: `callbacks.beta_evolution.warmup` is 500 optimiser steps"),
        ((250, 0, 10, 200, [0.5], None), "stays at 0.5: `callbacks.beta_evolution.interval` is 250 optimiser steps"),
        ((10, 0, 0, 100, [1.0], Ramp(1.0, 1.0, 50, 16.0)), "its maximum of 16 nats in this run: it is 2 at step 100"),
        ((10, 0, 0, 1000, [1.0], Ramp(1.0, 1.0, 50, 16.0)), None),
        ((10, 0, 0, 100, [1.0], Constant(3.0)), None),
        ((10, 0, 0, 100, [1.0], Auto(1.0)), None),
        ((250, 500, 0, float("inf"), [1.0], None), None),
        ((250, 500, 300, 300, [1.0], None), None),
    ],
)
def test_what_an_evolution_cannot_do_is_said_before_it(how, expected):
    found = notes_before(*how)
    assert [expected in note for note in found] == ([] if expected is None else [True])


@pytest.mark.parametrize(
    ("kl", "target", "beta", "expected"),
    [
        (6.1, 500.0, 0.01, "KL 6.1 of 500 nats (`callbacks.beta_evolution.search.target`), beta 0.01 at its bound"),
        (40.0, 3.0, 100.0, "KL 40 of 3 nats (`callbacks.beta_evolution.search.target`), beta 100 at its bound"),
        (5.0, 3.0, 2.5, "beta 2.5 within its bounds 0.01 and 100"),
        (3.1, 3.0, 2.5, None),
        (3.1, None, 2.5, None),
    ],
)
def test_a_target_that_was_not_reached_is_said_with_the_numbers(kl, target, beta, expected):
    found = target_missed(kl, target, 0.05, [Gene("beta", 0.01, 100.0)], [beta])
    assert found is None if expected is None else expected in found


def test_a_run_says_what_it_cannot_do_and_what_it_did_not_reach(tmp_path, caplog):
    with caplog.at_level("INFO"):
        fit(tmp_path / "short", build(), [evolution(warmup=100)], 15)
    assert (
        "no generation will take place, the KL weight stays at 1: `callbacks.beta_evolution.warmup` is 100"
        in caplog.text
    )
    assert "not reached" not in caplog.text
    caplog.clear()
    with caplog.at_level("INFO"):
        fit(tmp_path / "far", build(), [evolution(target=500.0)], 45)
    assert "no generation" not in caplog.text
    assert "the target was not reached: KL" in caplog.text
    assert "of 500 nats" in caplog.text
