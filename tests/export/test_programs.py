"""ONNX and ``torch.export``: files that agree with the model, and a refusal where there can be none."""

import pytest
import torch

from lightning_gvae import GAN, VAE, VAEGAN, ConvAutoencoder, ConvVAE, SolveVAE, TextVAE
from lightning_gvae.errors import ConfigError
from lightning_gvae.export.programs import TOLERANCE, export_onnx, export_programs
from lightning_gvae.models import MultiRateVAE

SHAPE, GENOME = (1, 28, 28), "8k3nrp-4k3rp adam 0.003 robust"
MODELS = {
    "vae_mlp": lambda: VAE((3, 5, 7), latent_dim=3),
    "vae_conv": lambda: VAE(SHAPE, latent_dim=3, network="conv"),
    "vae_gaussian": lambda: VAE((1, 8, 8), latent_dim=3, likelihood="gaussian", sigma=0.2),
    "vae_flow": lambda: VAE((1, 8, 8), latent_dim=3, prior="realnvp", prior_settings={"hidden": 4, "layers": 2}),
    "vae_gmm": lambda: VAE((1, 8, 8), latent_dim=3, prior="gmm"),
    "multi_rate": lambda: MultiRateVAE((1, 8, 8), latent_dim=3, gate="published", beta=0.3),
    "vae_gan": lambda: VAEGAN(SHAPE, latent_dim=3),
    "gan": lambda: GAN((1, 8, 8), latent_dim=3),
    "solve_vae": lambda: SolveVAE((4,), candidates=2),
    "conv_vae": lambda: ConvVAE(SHAPE, GENOME),
    "conv_autoencoder": lambda: ConvAutoencoder(SHAPE, GENOME),
}
PARTS = {"gan": ["decoder"], "vae_flow": ["encoder", "decoder", "prior"]}


def made(name):
    model = MODELS[name]()
    model.configure_model()
    return model.eval()


@pytest.mark.parametrize("name", MODELS)
def test_programs_agree_with_the_model(name, tmp_path):
    model = made(name)
    files = export_programs(model, tmp_path)
    assert [path.name for path in files] == [f"{part}.pt2" for part in PARTS.get(name, ["encoder", "decoder"])]
    program = torch.export.load(tmp_path / "decoder.pt2").module()
    noise = torch.randn(7, *_code(model), generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        torch.testing.assert_close(program(noise), model.decode(noise), rtol=TOLERANCE, atol=TOLERANCE)


@pytest.mark.parametrize("name", MODELS)
def test_onnx_agrees_with_the_model(name, tmp_path):
    onnxruntime = pytest.importorskip("onnxruntime", reason="needs the extra onnx")
    pytest.importorskip("onnxscript", reason="needs the extra onnx")
    model = made(name)
    files = export_onnx(model, tmp_path)
    assert [path.name for path in files] == [f"{part}.onnx" for part in PARTS.get(name, ["encoder", "decoder"])]
    assert not list(tmp_path.glob("*.data"))
    session = onnxruntime.InferenceSession(str(tmp_path / "decoder.onnx"), providers=["CPUExecutionProvider"])
    noise = torch.randn(7, *_code(model), generator=torch.Generator().manual_seed(0))
    (pixels,) = session.run(["pixels"], {"latents": noise.numpy()})
    with torch.no_grad():
        torch.testing.assert_close(torch.from_numpy(pixels), model.decode(noise), rtol=TOLERANCE, atol=TOLERANCE)


def _code(model):
    if isinstance(model, ConvAutoencoder):
        return model.plan.code_shape
    return (model.latent_dim,)


def test_text_is_no_graph(tmp_path):
    with pytest.raises(ConfigError, match=r"TextVAE writes word by word.*to=folder"):
        export_programs(TextVAE((6, 9), 2, embedding=4, hidden=4).eval(), tmp_path)
    assert not list(tmp_path.iterdir())


def test_a_file_that_does_not_agree_is_not_kept(tmp_path, monkeypatch):
    monkeypatch.setattr("lightning_gvae.export.programs.TOLERANCE", -1.0)
    with pytest.raises(ConfigError, match=r"encoder\.pt2 was not kept: its mean differ by"):
        export_programs(made("vae_gmm"), tmp_path)
    assert not list(tmp_path.iterdir())


def test_onnx_names_its_extra(tmp_path, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "onnxruntime", None)
    with pytest.raises(ConfigError, match=r"`to=onnx` needs \S+; install it with: pip install .*\[onnx\]"):
        export_onnx(made("vae_gmm"), tmp_path)
