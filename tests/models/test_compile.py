"""Compiled networks: one graph each, no breaks, the same numbers, and the look-ahead beside them."""

import copy

import pytest
import torch
from torch import nn

from lightning_gvae.errors import ConfigError
from lightning_gvae.evolution.beta.lookahead_batched import unsupported_reason
from lightning_gvae.evolution.model_copy import ModelCopy
from lightning_gvae.models import EVAE, GAN, VAE, VAEGAN, TextVAE
from lightning_gvae.rng import torch_stream

TEXT = {"embedding": 8, "hidden": 8, "layers": 2, "heads": 2, "feedforward": 8, "latent_dim": 3}
MODELS = {
    "vae": lambda **given: VAE((1, 8, 8), latent_dim=3, **given),
    "conv": lambda **given: EVAE((1, 28, 28), latent_dim=3, likelihood="learnt_sigma", **given),
    "vae_gan": lambda **given: VAEGAN((1, 28, 28), latent_dim=3, **given),
    "transformer": lambda **given: TextVAE((6, 9), architecture="transformer", word_dropout=0.2, **TEXT, **given),
}


def batch(model):
    generator = torch_stream(0, "images")
    if isinstance(model, TextVAE):
        return torch.randint(4, 9, (4, 6), generator=generator)
    return torch.rand(4, *model.image_shape, generator=generator)


def loss(model, samples):
    if isinstance(model, VAEGAN):
        features, logits = model.judge(samples)
        return model.loss(model.trained_terms(samples, torch_stream(0, "n"))) + logits.mean() + features.mean()
    return model.loss(model.trained_terms(samples, torch_stream(0, "n")))


def to_be_compiled(model):
    return [each for each in model.compilable() if not any(isinstance(part, nn.LSTM) for part in each.modules())]


@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor that is not a leaf")  # dynamo looks at inputs
@pytest.mark.parametrize("name", MODELS)
def test_a_network_is_one_graph_and_computes_the_same(name):
    torch.manual_seed(0)
    plain = MODELS[name]()
    compiled = copy.deepcopy(plain)
    graphs: list[int] = []

    def counting(graph, inputs):
        graphs.append(len(graph.graph.nodes))
        return graph.forward

    torch.compiler.reset()
    networks = to_be_compiled(compiled)
    for network in networks:
        network.compile(backend=counting, fullgraph=True)  # a break is an error
    samples = batch(plain)
    expected, found = loss(plain, samples), loss(compiled, samples)
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)
    expected.backward()
    found.backward()
    for one, other in zip(plain.parameters(), compiled.parameters(), strict=True):
        assert (one.grad is None) == (other.grad is None)
        if one.grad is not None:
            torch.testing.assert_close(other.grad, one.grad, rtol=1e-4, atol=1e-5)
    # The discriminator is compiled once for images of the data, and once for decoded ones, which have gradients.
    expected_graphs = len(networks) + (name == "vae_gan")
    assert len(graphs) == expected_graphs, graphs
    loss(compiled, samples)
    assert len(graphs) == expected_graphs, "compiled anew for the same shapes"
    torch.compiler.reset()


def recorded(monkeypatch):
    calls: list[tuple[str, object]] = []
    monkeypatch.setattr(nn.Module, "compile", lambda self, mode=None: calls.append((type(self).__name__, mode)))
    return calls


def test_the_setting_reaches_every_network_but_lstms(monkeypatch):
    calls = recorded(monkeypatch)
    MODELS["vae"](compile=True)
    MODELS["vae"](compile="reduce-overhead")
    MODELS["vae"](compile=False)
    assert calls == [(name, mode) for mode in (None, "reduce-overhead") for name in ("MLPEncoder", "MLPDecoder")]
    calls.clear()
    MODELS["vae_gan"](compile=True)
    GAN((1, 8, 8), compile=True)
    assert [name for name, _ in calls] == ["ConvEncoder", "ConvDecoder", "Discriminator", "MLPDecoder", "Discriminator"]
    calls.clear()
    MODELS["transformer"](compile=True)
    TextVAE((6, 9), **TEXT, compile=True)
    assert [name for name, _ in calls] == ["TransformerDecoder"]


def test_modes_that_do_not_exist_or_cannot_work_are_refused():
    with pytest.raises(
        ConfigError, match="`compile` must be one of False, True, default, reduce-overhead, .* got 'fast'"
    ):
        VAE((1, 8, 8), compile="fast")
    for model in (VAEGAN, GAN):
        with pytest.raises(ConfigError, match="`compile` must be one of False, True, got 'reduce-overhead'"):
            model((1, 8, 8), compile="reduce-overhead")


def test_candidates_of_a_compiled_model_are_trained_together():
    model = EVAE((1, 8, 8), latent_dim=3, compile=True)
    optimizer = torch.optim.Adam(model.parameters())
    assert unsupported_reason(model, optimizer) is None
    calls = []
    made = ModelCopy(model, optimizer).module
    with pytest.MonkeyPatch.context() as patch:  # a copy that was compiled would call torch's compiler
        patch.setattr(torch, "compile", lambda *given, **options: calls.append(given))
        made.loss(made.elbo_terms(torch.rand(2, 1, 8, 8))).backward()
    assert not calls
