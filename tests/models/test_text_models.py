"""Models of sentences: the contract of all models, bounds of the likelihood, and whose words a checkpoint has."""

import math
from typing import Any

import lightning as L
import pytest
import torch

from lightning_gvae.callbacks.beta_evolution.callback import BetaEvolution
from lightning_gvae.callbacks.checkpoints import LastCheckpoint
from lightning_gvae.callbacks.evaluation import Evaluation
from lightning_gvae.callbacks.exact_resume import ExactResume
from lightning_gvae.datamodules.digits import DigitsDataModule
from lightning_gvae.datamodules.text.datamodule import TextDataModule
from lightning_gvae.errors import CheckpointError, ConfigError
from lightning_gvae.evolution.beta.search import BetaSearch
from lightning_gvae.metrics.likelihood import iwae_nll
from lightning_gvae.models import TextControlVAE, TextEVAE, TextLM, TextMultiRateVAE, TextVAE
from lightning_gvae.rng import torch_stream
from lightning_gvae.schedules import Annealing, Cyclical, DynamicController
from lightning_gvae.text import Vocabulary
from tests.datamodules.sentences import NOUNS, TOPICS, write_corpus

SHAPE = (20, 17)  # the toy corpus has 13 words
SMALL: dict[str, Any] = {"embedding": 8, "hidden": 12, "dropout": 0.1, "encoder_dropout": 0.1, "word_dropout": 0.1}
LSTM = SMALL | {"latent_dim": 4}
MODELS = {
    "text_vae": lambda **kw: TextVAE(SHAPE, **LSTM, **kw),
    "transformer": lambda **kw: TextVAE(
        SHAPE, architecture="transformer", heads=2, layers=2, feedforward=16, **LSTM, **kw
    ),
    "free_bits": lambda **kw: TextVAE(SHAPE, free_bits=0.3, **LSTM, **kw),
    "annealed": lambda **kw: TextVAE(SHAPE, beta=0.0, schedule=Annealing(40, "sigmoid"), **LSTM, **kw),
    "cyclical": lambda **kw: TextVAE(SHAPE, beta=0.0, schedule=Cyclical(40), **LSTM, **kw),
    "dynamic": lambda **kw: TextVAE(SHAPE, beta=2.0, schedule=DynamicController(2.0, beta_start=2.0), **LSTM, **kw),
    "control": lambda **kw: TextControlVAE(SHAPE, target_kl=2.0, beta_max=1.0, **LSTM, **kw),
    "evae": lambda **kw: TextEVAE(SHAPE, **LSTM, **kw),
    "multi_rate": lambda **kw: TextMultiRateVAE(SHAPE, beta=0.5, draws_per_batch=8, **LSTM, **kw),
    "lm": lambda **kw: TextLM(SHAPE, **SMALL, **kw),
}
NAMES = pytest.mark.parametrize("name", MODELS)
# In the middle of an epoch and at its end; the models that differ in what they must remember, the others with the slow
# tests.
RESUMED = [
    pytest.param(name, stop, marks=[] if name in often else pytest.mark.slow)
    for stop, often in ((10, ("transformer", "control", "evae")), (24, ("text_vae",)))
    for name in MODELS
]


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    return write_corpus(tmp_path_factory.mktemp("corpus") / "toy")


def data(root, **options):
    options = {"name": "toy", "max_length": 20, "batch_size": 16, "cache_dir": root.parent / "cache"} | options
    return TextDataModule(root, **options)


def build(name, **kwargs):
    torch.manual_seed(0)
    return MODELS[name](**kwargs)


def fast(group):
    return torch.optim.Adam(group, lr=1e-2)


def batch(root, n=24):
    module = data(root)
    module.setup()
    return module.val_set.batch(range(n))[0]


def trainer_for(name, folder, steps, **kwargs):
    evolution = BetaEvolution(BetaSearch(target=2.0), interval=10, warmup=10, lookahead_steps=2, probe_size=32)
    callbacks = [Evaluation(), ExactResume(), LastCheckpoint(folder), *([evolution] if name == "evae" else [])]
    defaults = {"log_every_n_steps": 7, "max_steps": steps, "max_epochs": -1, "val_check_interval": 15}
    return L.Trainer(
        accelerator="cpu",
        callbacks=callbacks,
        logger=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        default_root_dir=folder,
        num_sanity_val_steps=0,
        check_val_every_n_epoch=None,
        **defaults | kwargs,
    )


# The contract of all models.


@NAMES
def test_terms_have_their_meaning(name, root):
    model, tokens = build(name).eval(), batch(root)
    terms = model.elbo_terms(tokens, torch_stream(0, "n"))
    assert terms.recon.shape == terms.kl.shape == ()
    torch.testing.assert_close(terms.kl_dims.sum(), terms.kl)
    model.train()
    noisy = [model.elbo_terms(tokens, torch_stream(0, "n")).recon.item() for _ in range(2)]
    assert noisy[0] == noisy[1] != pytest.approx(terms.recon.item(), rel=1e-6)  # dropout, from the stream alone
    torch.testing.assert_close(model.loss(terms, beta=0.0), terms.recon)
    model.eval()
    mean, log_var = model.encode(tokens)
    assert mean.shape == log_var.shape == (24, model.latent_dim)
    for written in (model.decode(mean), model.sample(5, torch_stream(1, "s")), model.decode_beam(mean[:2], 2)):
        assert written.dtype == torch.int64 and written.shape[1] <= SHAPE[0]
    again = model.sample(5, torch_stream(1, "s"))
    assert torch.equal(again, model.sample(5, torch_stream(1, "s")))


@NAMES
def test_every_parameter_gets_a_gradient(name, root):
    model = build(name)
    model.loss(model.elbo_terms(batch(root), torch_stream(0, "n")), 1.0).backward()
    for label, parameter in model.named_parameters():
        assert parameter.grad is not None, label
        assert parameter.grad.abs().sum() > 0, label


@NAMES
def test_training_lowers_the_negative_elbo_and_leaves_the_global_generator_alone(name, root, tmp_path):
    model, tokens = build(name, optimizer=fast), batch(root)
    score = lambda: sum(model.eval().elbo_terms(tokens, torch_stream(0, "n"))[:2]).item()
    before, state = score(), torch.get_rng_state()
    model.train()
    trainer_for(name, tmp_path, 60).fit(model, datamodule=data(root))
    assert torch.equal(torch.get_rng_state(), state)
    assert score() < 0.9 * before


@pytest.mark.parametrize(("name", "stop"), RESUMED)
def test_resume_equals_the_uninterrupted_run_bit_for_bit(name, stop, root, tmp_path):
    def fit(steps, ckpt=None):
        model = build(name)
        trainer = trainer_for(name, tmp_path, steps)
        trainer.fit(model, datamodule=data(root), ckpt_path=ckpt, weights_only=True)
        return model, trainer

    straight, straight_trainer = fit(35)
    fit(stop)
    resumed, resumed_trainer = fit(35, tmp_path / "last.ckpt")
    for label, value in straight.state_dict().items():
        assert torch.equal(value, resumed.state_dict()[label]), label
    ours, theirs = straight_trainer.callback_metrics, resumed_trainer.callback_metrics
    assert {key: float(value) for key, value in ours.items()} == {key: float(value) for key, value in theirs.items()}
    other, _ = fit(36)
    assert not torch.equal(straight.decoder.embedding.weight, other.decoder.embedding.weight)


@pytest.mark.parametrize("name", ["text_vae", "transformer", "control", "evae", "lm"])
def test_a_checkpoint_loads_safely_in_plain_python_with_its_words(name, root, tmp_path):
    model, module = build(name), data(root)
    trainer = trainer_for(name, tmp_path, 12)
    trainer.fit(model, datamodule=module)
    trainer.save_checkpoint(tmp_path / "model.ckpt")
    loaded = type(model).load_from_checkpoint(tmp_path / "model.ckpt", weights_only=True).eval()
    assert loaded.vocabulary == module.vocabulary and loaded.latent_dim == model.latent_dim
    assert loaded.beta == model.beta
    model.eval()
    tokens = model.sample(4, torch_stream(0, "s"))
    assert torch.equal(loaded.sample(4, torch_stream(0, "s")), tokens)
    assert loaded.words(tokens) == [module.vocabulary.decode(row) for row in tokens.tolist()]


# Likelihood and its bounds.


def test_the_logged_perplexity_is_that_of_a_loop_over_the_sentences(root, tmp_path):
    model, module = build("lm", optimizer=fast), data(root)
    trainer = trainer_for("lm", tmp_path, 30)
    (untrained,) = trainer.test(model, datamodule=module, verbose=False)
    trainer.fit(model, datamodule=module)
    (found,) = trainer.test(model, datamodule=module, verbose=False)
    model.eval()
    nats = words = unknown = 0
    for number in range(len(module.test_set)):
        tokens, lengths = module.test_set.batch([number])
        nats -= model.log_likelihood(tokens, torch.zeros(1, 0)).item()
        words += int(lengths)
        unknown += int((tokens == 1).sum())
    assert found["test/perplexity"] == pytest.approx(math.exp(nats / words), rel=1e-5)
    assert found["test/kl"] == 0 and found["test/elbo"] == pytest.approx(-nats / len(module.test_set), rel=1e-5)
    assert found["test/unknown_rate"] == unknown == 0
    assert found["test/perplexity"] < 0.8 * untrained["test/perplexity"]


def test_importance_weighting_tightens_the_elbo_to_the_likelihood(root):
    torch.manual_seed(1)
    model = TextVAE(SHAPE, latent_dim=1, embedding=8, hidden=12).eval()
    with torch.no_grad():
        for module in (model.decoder.first, model.encoder.head):
            module.weight.mul_(6)
    tokens = batch(root, 6)
    grid = torch.linspace(-8, 8, 4001, dtype=torch.float64)
    log_prior = -0.5 * grid.square() - 0.5 * math.log(2 * math.pi)
    with torch.no_grad():
        mean, log_var = model.encode(tokens)
        rows = [model.log_likelihood(row.expand(4001, -1), grid.float()[:, None]).double() for row in tokens]
        exact = -torch.stack([torch.logsumexp(row + log_prior, 0) for row in rows]) - math.log(grid[1] - grid[0])
        terms = [model.elbo_terms(tokens, torch_stream(draw, "elbo")) for draw in range(400)]
    elbo = torch.stack([term.recon + term.kl for term in terms]).double()
    estimate = lambda k, draws: torch.stack(
        [iwae_nll(tokens, mean, log_var, model.log_likelihood, k, torch_stream(d, "iw")).mean() for d in range(draws)]
    )
    one, ten, many = estimate(1, 400), estimate(10, 100), estimate(2000, 1)
    band = 4 * math.sqrt(float(one.var() + elbo.var()) / 400)
    assert one.mean().item() == pytest.approx(elbo.mean().item(), abs=band)  # k = 1 is the ELBO
    assert one.mean() > ten.mean() > exact.mean() - 1e-3  # it tightens with k ...
    assert many.mean().item() == pytest.approx(exact.mean().item(), abs=0.02)  # ... to the likelihood
    assert one.mean() - exact.mean() > 0.02  # and there is a gap to close


def test_free_bits_and_the_kl_are_those_of_the_posterior(root):
    model, tokens = build("free_bits").eval(), batch(root)
    mean, log_var = model.encode(tokens)
    expected = (0.5 * (mean.square() + log_var.exp() - 1 - log_var)).mean(0)
    terms = model.elbo_terms(tokens, torch_stream(0, "n"))
    torch.testing.assert_close(terms.kl_dims, expected)
    torch.testing.assert_close(model.rate(terms), expected.clamp(min=0.3).sum())


def test_validation_is_in_single_precision_whatever_the_training(root, tmp_path):
    model = build("text_vae")
    seen = []
    model.decoder.register_forward_hook(lambda module, args, out: seen.append((module.training, out.dtype)))
    trainer = trainer_for("text_vae", tmp_path, 15, precision="bf16-mixed")
    trainer.fit(model, datamodule=data(root))
    values = {name: float(value) for name, value in trainer.callback_metrics.items()}
    plain = trainer_for("text_vae", tmp_path / "b", 15)
    (again,) = plain.validate(model, datamodule=data(root), verbose=False)
    assert again["val/elbo"] == values["val/elbo"]
    assert {training for training, _ in seen} == {True, False}
    assert all(dtype == torch.float32 for _, dtype in seen)


@pytest.mark.parametrize("name", ["text_vae", "transformer", "evae", "lm"])
def test_reduced_precision_trains_as_fp32_does(name, root, tmp_path):
    tokens = batch(root)

    def trained(precision):
        model = build(name, optimizer=fast)
        trainer = trainer_for(name, tmp_path / precision, 30, precision=precision)
        trainer.fit(model, datamodule=data(root))
        assert all(p.dtype == torch.float32 and p.isfinite().all() for p in model.parameters())
        return sum(model.eval().elbo_terms(tokens, torch_stream(0, "n"))[:2]).item()

    before = sum(build(name).eval().elbo_terms(tokens, torch_stream(0, "n"))[:2]).item()
    full, reduced = trained("32-true"), trained("bf16-mixed")
    assert full < before
    assert abs(reduced - full) < 0.25 * (before - full)


# Sentences.


def test_interpolation_goes_from_one_code_to_the_other(root):
    model, tokens = build("text_vae").eval(), batch(root)
    line = model.interpolate(tokens[0], tokens[5], 5)
    assert len(line) == 5
    ends = model.decode(model.encode(tokens[[0, 5]])[0])
    for row, end in ((0, 0), (-1, 1)):
        assert [w for w in line[row].tolist() if w] == [w for w in ends[end].tolist() if w]
    with pytest.raises(ConfigError, match="`steps` must be an integer of at least 2"):
        model.interpolate(tokens[0], tokens[5], 1)


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_a_trained_vae_writes_its_sentences_back(seed, tmp_path):
    lines = [f"{topic} {noun}\n" for topic in TOPICS for noun in NOUNS]
    for part in ("train", "valid", "test"):
        (tmp_path / f"{part}.txt").write_text("".join(lines * 4))
    torch.manual_seed(seed)
    module = TextDataModule(tmp_path, max_length=4, batch_size=20, cache_dir=tmp_path)
    model = TextVAE((4, 15), latent_dim=4, embedding=16, hidden=32, dropout=0, beta=0, optimizer=fast, seed=seed)
    trainer_for("text_vae", tmp_path, 400, val_check_interval=400).fit(model, datamodule=module)
    tokens = module.test_set.batch(range(30))[0]
    codes = model.eval().encode(tokens)[0]
    own, other = (model.decode(latents) == tokens for latents in (codes, codes.roll(7, 0)))
    # The decoder without the code of its sentence is the baseline: it writes grammar, and one sentence in thirty by
    # chance.
    assert own.all(1).float().mean() > other.all(1).float().mean() + 0.25
    assert own.float().mean() > other.float().mean() + 0.15
    nats, nats_of_another = (-model.log_likelihood(tokens, latents).mean() for latents in (codes, codes.roll(7, 0)))
    assert nats < 0.25 * nats_of_another
    written, right = model.reconstruct(tokens), own.all(1)
    assert torch.equal(written, model.decode(codes))
    assert model.words(written[right]) == model.words(tokens[right])
    assert model.words(tokens)[0] == "red cat"


# Whose words.


def test_a_model_and_data_with_other_words_are_refused(root, tmp_path):
    model = build("text_vae")
    trainer_for("text_vae", tmp_path, 3).fit(model, datamodule=data(root))
    other = write_corpus(tmp_path / "other")
    for path in other.iterdir():
        path.write_text(path.read_text().replace("cat", "cow"))
    foreign = data(other)
    with pytest.raises(CheckpointError, match=r"the data has another vocabulary \(hash .* than the model"):
        trainer_for("text_vae", tmp_path / "b", 1).test(model, datamodule=foreign, verbose=False)
    with pytest.raises(CheckpointError, match=r"another vocabulary .hash"):
        trainer_for("text_vae", tmp_path / "c", 5).fit(
            build("text_vae"), datamodule=foreign, ckpt_path=tmp_path / "last.ckpt", weights_only=True
        )
    # with the model's words it goes, and the new one is unknown
    (found,) = trainer_for("text_vae", tmp_path / "d", 1).test(
        model, datamodule=data(other, vocabulary=model.vocabulary), verbose=False
    )
    assert 0 < found["test/unknown_rate"] < 0.2


def test_a_vocabulary_of_another_size_is_refused(root, tmp_path):
    model = TextVAE((20, 30), **LSTM)
    with pytest.raises(ConfigError, match="`image_shape` says 30 tokens, but the data has a vocabulary of 17"):
        trainer_for("text_vae", tmp_path, 3).fit(model, datamodule=data(root))
    with pytest.raises(ConfigError, match="the model has no words yet"):
        model.words(torch.tensor([[4]]))


def test_a_checkpoint_of_another_decoder_is_refused(root, tmp_path):
    trainer_for("text_vae", tmp_path, 3).fit(build("text_vae"), datamodule=data(root))
    with pytest.raises(CheckpointError, match="network: stored 'lstm-8-12-1', now 'transformer-8-12-2'"):
        trainer_for("x", tmp_path, 5).fit(
            build("transformer"), datamodule=data(root), ckpt_path=tmp_path / "last.ckpt", weights_only=True
        )
    with pytest.raises(CheckpointError, match="class: stored 'TextVAE', now 'TextControlVAE'"):
        build("control").on_load_checkpoint(torch.load(tmp_path / "last.ckpt", weights_only=True))


def test_a_model_of_text_refuses_images_and_settings_out_of_range():
    with pytest.raises(ConfigError, match=r"got \(1, 8, 8\); text models need text: choose data=ptb or data=text"):
        TextVAE((1, 8, 8))
    digits = DigitsDataModule()
    digits.setup()
    with pytest.raises(ConfigError, match=r"reads sentences, integers \(B, T\), got torch.uint8"):
        build("text_vae").prepare(digits.val_set.batch([0]))
    cases = [
        ({"architecture": "gru"}, "`architecture` must be one of lstm, transformer, got 'gru'"),
        ({"dropout": 1.0}, r"`dropout` must be in \[0, 1\), got 1.0"),
        ({"word_dropout": -0.1}, r"`word_dropout` must be in \[0, 1\], got -0.1"),
        ({"hidden": 0}, "`hidden` must be an integer of at least 1, got 0"),
        ({"latent_dim": 0}, "`latent_dim` must be an integer of at least 1, got 0"),
    ]
    for settings, message in cases:
        with pytest.raises(ConfigError, match=message):
            TextVAE(SHAPE, **settings)
    with pytest.raises(ConfigError, match="TextLM has no latents: leave `latent_dim` at 0, got 4"):
        TextLM(SHAPE, latent_dim=4)


def test_evolution_is_asked_for_and_writes_alone(root, tmp_path):
    with pytest.raises(ConfigError, match="EVAE needs something that evolves `beta`"):
        trainer_for("text_vae", tmp_path, 3).fit(build("evae"), datamodule=data(root))
    with pytest.raises(ConfigError, match="`beta` is written by PIController already, BetaEvolution cannot"):
        trainer_for("evae", tmp_path, 3).fit(build("control"), datamodule=data(root))
    model = build("evae")
    trainer_for("evae", tmp_path, 25).fit(model, datamodule=data(root))
    assert model.beta != 1.0


def test_a_vocabulary_made_by_hand_serves_plain_loaders():
    model = TextLM((6, 6), **SMALL)
    model.vocabulary = Vocabulary(["a", "b"])
    assert model.words(torch.tensor([[4, 5, 3, 0], [5, 1, 4, 5]])) == ["a b", "b <unk> a b"]
