"""Evolution of several genes in real Trainers: learning rate, weights of losses, free bits; figure and table."""

import json

import lightning as L
import pytest
import torch

from lightning_gvae.callbacks.beta_evolution.callback import BetaEvolution
from lightning_gvae.callbacks.beta_evolution.history import generation_table
from lightning_gvae.callbacks.beta_evolution.notes import measures_missed
from lightning_gvae.callbacks.checkpoints import LastCheckpoint
from lightning_gvae.callbacks.exact_resume import ExactResume
from lightning_gvae.callbacks.figures import Figures
from lightning_gvae.callbacks.history import History
from lightning_gvae.datamodules.digits import DigitsDataModule
from lightning_gvae.errors import ConfigError
from lightning_gvae.evolution.beta.genes import Gene
from lightning_gvae.evolution.beta.genome_values import LEARNING_RATE
from lightning_gvae.evolution.beta.search import BetaSearch
from lightning_gvae.models import DIPVAE, TCVAE, FactorVAE, InfoVAE
from lightning_gvae.rng import torch_stream
from lightning_gvae.schedules import Annealing
from tests.callbacks.beta_evolution.test_callback import build, fit, rows, same_weights
from tests.models.adversaries import vae_gan

PARTS = {"information": 3.0, "total_correlation": 0.3, "dimension_wise_kl": 3.0}
RATE = Gene(LEARNING_RATE, 1e-5, 1e-1)
# model, genes, search
RUNS = {
    "lr": (lambda: build(), [Gene("beta", 0.01, 100.0), RATE], {"target": 3.0}),
    "lr alone": (lambda: build(), [RATE], {"fitness": {"target_weight": 0.0}}),
    "free bits": (lambda: build(free_bits=0.5), [Gene("free_bits", 0.01, 2.0), RATE], {"target": 3.0}),
    "tc": (
        lambda: build(TCVAE, data_size=1400),
        [Gene(name, 0.01, 100.0) for name in ("alpha", "beta", "gamma")],
        {"fitness": {"targets": PARTS}, "method": "cma"},
    ),
    "factor": (
        lambda: build(FactorVAE, discriminator={"hidden": 16, "layers": 2}),
        [Gene("beta", 0.01, 100.0), Gene("gamma", 0.1, 100.0)],
        {"target": 3.0, "fitness": {"targets": {"total_correlation": 0.1}}},
    ),
    "info": (
        lambda: build(InfoVAE),
        [Gene("beta", 0.01, 100.0), Gene("mmd_weight", 1.0, 1e4)],
        {"fitness": {"targets": {"mmd": 0.01}}},
    ),
    "dip": (
        lambda: build(DIPVAE),
        [Gene("off_diagonal", 0.1, 100.0), Gene("diagonal", 0.1, 100.0)],
        {"fitness": {"scores": {"gaussian_total_correlation": -5.0, "active_units": 0.1}}},
    ),
    "gan": (
        lambda: vae_gan(gamma=0.1, beta=0.3),
        [Gene("beta", 0.001, 10.0), Gene("gamma", 0.001, 10.0)],
        {"target": 3.0, "fitness": {"targets": {"generator_loss": 0.69}}},
    ),
}


def evolution(name, **changes):
    _, genes, search = RUNS[name]
    settings = {"interval": 10, "warmup": 10, "lookahead_steps": 2, "probe_size": 64} | changes
    return BetaEvolution(BetaSearch(genes=genes, seed=1, **search), **settings)


@pytest.mark.parametrize("name", RUNS)
def test_genes_are_evolved_and_a_resumed_run_equals_the_straight_one(name, tmp_path):
    def run(folder, steps, ckpt_path=None):
        model, callback = RUNS[name][0](), evolution(name)
        callbacks = [callback, ExactResume(), LastCheckpoint(folder)]
        trainer = fit(folder, model, callbacks, steps=steps, ckpt_path=ckpt_path, enable_checkpointing=True)
        return model, callback, trainer

    model, callback, trainer = run(tmp_path / "straight", 35)
    run(tmp_path / "cut", 23)
    resumed, _, _ = run(tmp_path / "cut", 35, tmp_path / "cut" / "last.ckpt")
    assert same_weights(model, resumed)
    for label, value in model.named_buffers():
        assert torch.equal(value, resumed.get_buffer(label)), label
    straight, cut = ((tmp_path / folder / "evolution.csv").read_text() for folder in ("straight", "cut"))
    assert straight == cut
    # every gene has the value that the search believes in, and most have moved
    start = RUNS[name][0]()
    for gene, value in zip(callback.search.genes, callback.search.genome, strict=True):
        here = (
            trainer.optimizers[0].param_groups[0]["lr"] if gene.name == LEARNING_RATE else model.get_buffer(gene.name)
        )
        assert float(here) == value
    moved = [gene.name for gene in callback.search.genes if gene.name != LEARNING_RATE]
    assert not moved or any(model.get_buffer(each) != start.get_buffer(each) for each in moved)
    assert {"generation", *(gene.name for gene in callback.search.genes), *callback.search.measured} <= rows(
        tmp_path / "straight"
    )[0].keys()


def test_measures_and_genes_are_logged_and_their_cost_is_counted(tmp_path):
    model, callback = RUNS["tc"][0](), evolution("tc")
    trainer = fit(tmp_path, model, [callback])
    for name in ("alpha", "beta", "gamma", *PARTS):
        assert f"evolution/{name}" in trainer.callback_metrics
    generations = callback.search.generation
    # each: a reference and 8 candidates, both observed once more than scored, and the steps looked ahead
    assert callback.evolution_passes == generations * (9 * 2 * 64 + 8 * 2 * 64 * 3)


def test_set_points_that_were_not_reached_are_told_at_the_end(tmp_path, caplog):
    caplog.set_level("INFO")
    fit(tmp_path, RUNS["tc"][0](), [evolution("tc")])
    assert "set-points were not reached: information " in caplog.text
    seen = {"a": 1.04, "b": 0.2, "c": 0.012}
    assert measures_missed(seen, {"a": 1.0, "c": 0.01}, 0.05) is None
    assert "b 0.2 of 0.3 (" in measures_missed(seen, {"a": 1.0, "b": 0.3}, 0.05)


def test_the_model_is_not_touched_by_a_look_ahead_with_other_learning_rates(tmp_path):
    class Still(BetaSearch):
        """Never decides for another candidate."""

        def tell(self, scores):
            scores[:, :2] = 1.0
            return super().tell(scores)

    callback = BetaEvolution(Still(genes=[RATE], seed=1, fitness={"target_weight": 0.0}), 10, 10, "lookahead", 2, 64)
    evolved, plain = build(), build()
    fit(tmp_path / "evolved", evolved, [callback])
    fit(tmp_path / "plain", plain, [])
    assert callback.search.generation == 4
    assert same_weights(evolved, plain)


def test_a_gene_other_than_beta_leaves_beta_to_a_schedule(tmp_path):
    model = build(free_bits=0.5, beta=0.0, schedule=Annealing(20))
    fit(tmp_path, model, [evolution("free bits")])
    assert float(model.beta) == 1.0
    assert float(model.free_bits) != 0.5


@pytest.mark.parametrize(
    ("made", "genes", "search", "message"),
    [
        (
            lambda: build(),
            [Gene("gamma", 0.1, 1.0)],
            {"target": 3.0},
            r"has no \['gamma'\]; it has \['beta', 'free_bits'\]",
        ),
        (
            lambda: build(lr_scheduler=lambda o: torch.optim.lr_scheduler.StepLR(o, 5)),
            [RATE],
            {"target": 3.0},
            "the gene 'optimizer.lr' is written by `model.lr_scheduler` at every step",
        ),
        (
            lambda: build(),
            [Gene("free_bits", 0.0, 1.0, "linear")],
            {"target": 3.0},
            "the gene 'free_bits' has no effect",
        ),
        (
            lambda: build(),
            [Gene("beta", 0.1, 10.0)],
            {"fitness": {"targets": {"mmd": 0.1}}},
            "knows no measure 'mmd' for VAE; .* may name active_units, dimension_wise_kl",
        ),
    ],
)
def test_what_cannot_be_evolved_is_refused(tmp_path, made, genes, search, message):
    callback = BetaEvolution(BetaSearch(genes=genes, seed=1, **search), 10, 10, "lookahead", 2, 64)
    with pytest.raises(ConfigError, match=message):
        fit(tmp_path, made(), [callback])


def test_first_order_knows_no_measures():
    search = BetaSearch(fitness={"targets": {"information": 1.0}})
    with pytest.raises(
        ConfigError, match="'first_order' predicts D and R alone, `search.fitness` asks for information"
    ):
        BetaEvolution(search, evaluator="first_order")


def test_the_report_shows_the_genes_and_a_table_of_generations(tmp_path):
    model, callback = RUNS["lr"][0](), evolution("lr")
    trainer = L.Trainer(
        accelerator="cpu",
        callbacks=[callback, History(), Figures(n_samples=4, max_traversal_dims=1)],
        enable_progress_bar=False,
        enable_model_summary=False,
        enable_checkpointing=False,
        default_root_dir=tmp_path,
        max_steps=45,
        val_check_interval=15,
        log_every_n_steps=5,
        logger=False,
    )
    trainer.fit(model, datamodule=DigitsDataModule(batch_size=64))
    index = json.loads((tmp_path / "figures" / "beta_evolution.index.json").read_text())
    assert index["figures"][0]["file"] == "beta_evolution_genes.png"
    (table,) = index["tables"]
    assert table["header"] == ["generation", "step", "beta", LEARNING_RATE, "D", "R", "fitness", "exit"]
    assert [row[1] for row in table["rows"]] == ["10", "20", "30", "40"]
    assert "Generations" in (tmp_path / "report.html").read_text()


def test_of_many_generations_the_table_shows_some_with_first_and_last():
    columns = ["generation", "step", "beta", "D", "R", "fitness", "chosen", "exit"]
    cells = [[str(g), str(10 * g), "1.5", "80", "20", "0.1", str(c), "give_up"] for g in range(300) for c in (1, 0)]
    table = generation_table(columns, cells)
    assert len(table.rows) == 40
    assert [table.rows[0][0], table.rows[-1][0]] == ["0", "299"]
    assert table.rows[0] == ["0", "0", "1.5", "80", "20", "0.1", "give up"]
    assert table.caption.startswith("40 of 300 generations. ")


def test_the_joint_loss_of_a_vae_gan_has_the_gradients_of_both_written_losses():
    model = vae_gan(gamma=0.3, beta=0.7, norm="none")
    images = torch.rand(16, 1, 8, 8, generator=torch_stream(0, "images"))
    loss, terms = model.joint_loss(images, torch_stream(0, "n"))
    networks = {name: list(getattr(model, name).parameters()) for name in ("encoder", "decoder")}
    found = {name: torch.autograd.grad(loss, own, retain_graph=True) for name, own in networks.items()}
    stream = torch_stream(0, "n")
    mean, log_var = model.encode(images)
    latents = mean + torch.exp(0.5 * log_var) * torch.randn(mean.shape, generator=stream)
    drawn = torch.randn(mean.shape, generator=stream)
    target = model.judge(images)[0].detach()
    features, recon = model.judge(model.decode(latents))
    llike = 0.5 * (features - target).square().flatten(1).sum(1).mean()
    kl = 0.5 * (mean**2 + log_var.exp() - 1 - log_var).sum(1).mean()
    prior = model.judge(model.decode(drawn))[1]
    softplus = torch.nn.functional.softplus
    adversarial = 0.5 * (softplus(-recon).mean() + softplus(-prior).mean())
    written = {"encoder": llike + 0.7 * kl, "decoder": 0.3 * llike + adversarial}
    for name, own in networks.items():
        for ours, theirs in zip(found[name], torch.autograd.grad(written[name], own, retain_graph=True), strict=True):
            torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-6)
    torch.testing.assert_close(terms.penalties["generator_loss"], adversarial)
    torch.testing.assert_close(terms.recon, llike)


def test_free_bits_and_gamma_are_no_weights_and_a_checkpoint_has_them_if_they_were_written(tmp_path):
    for make, name in ((lambda: build(free_bits=0.5), "free_bits"), (lambda: vae_gan(gamma=0.3), "gamma")):
        model = make()
        assert name not in model.state_dict()
        trainer = fit(tmp_path, model, [], steps=3)
        trainer.save_checkpoint(tmp_path / "before.ckpt")
        model.get_buffer(name).fill_(0.123)
        trainer.save_checkpoint(tmp_path / "after.ckpt")
        before, after = (torch.load(tmp_path / f"{each}.ckpt", weights_only=True) for each in ("before", "after"))
        assert [before["gvae_settings"], after["gvae_settings"]] == [{}, {name: 0.123}]
        again = make()
        again.on_load_checkpoint(after)
        assert float(again.get_buffer(name)) == 0.123
