"""``metrics=all`` over model families and kinds of data: what cannot be computed is left out, and the others go on."""

import math
import sys
from urllib.error import URLError

import pytest
import torch

from lightning_gvae.errors import ConfigError
from lightning_gvae.evaluation.catalogue import CATALOGUE, names_of_all
from lightning_gvae.evaluation.subject import Subject
from lightning_gvae.evaluation.suite import Suite
from lightning_gvae.metrics.fidelity import efficientnet
from lightning_gvae.models import VAE
from tests.evaluation.kinds import PAIRS, make_data, make_model

SAMPLERS = ("prior", "gmm", "reconstructions", "mean_image", "training_images")
SMALL = {"posteriors": 40, "votes": 100, "importance_samples": 2, "likelihood_images": 20, "pool": None, "resamples": 1}


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """Data modules by kind, made once."""
    root, made = tmp_path_factory.mktemp("data"), {}

    def of(name):
        if name not in made:
            made[name] = make_data(name, root)
        return made[name]

    return of


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    return tmp_path_factory.mktemp("cache")


def measured(data, model, names="all", **settings):
    shown = []
    samples = 30 if len(data.spec.image_shape) == 2 else 200  # sentences are written word by word
    settings = {**SMALL, "samples": samples, "samplers": SAMPLERS, **settings}
    sheet = Suite(**settings).measure(names, model, data, show=lambda name, images: shown.append(name))
    return sheet, shown


@pytest.mark.parametrize(("kind", "family"), PAIRS)
def test_every_score_is_there_or_left_out_with_a_reason(kind, family, data, cache):
    module = data(kind)
    model = make_model(family, module)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    sheet, shown = measured(module, model, cache_dir=cache)
    assert all(math.isfinite(value) for value in sheet.values()) and not sheet.pending
    assert all(reason and "\n" not in reason for reason in sheet.left_out.values())
    pieces = {
        piece.name
        for name in names_of_all(Subject(model, module))
        for piece in CATALOGUE[name].pieces(Subject(model, module), Suite(samplers=SAMPLERS))
        if name not in sheet.left_out
    }
    # A piece gives scores of one name or of several: precision_recall/domain/gmm gives precision/domain/gmm, ...
    found = {name.removeprefix("score/") for name in sheet}
    for piece in pieces - set(sheet.left_out):
        score, _, rest = piece.partition("/")
        names = {"precision_recall": ("precision", "recall"), "density_coverage": ("density", "coverage")}
        names |= {"class_diversity": ("class_coverage",), "perplexity": ("perplexity_iw", "perplexity_elbo")}
        for name in names.get(score, (score,)):
            sampler = rest.rpartition("/")[2]
            assert any(has.startswith(name) and has.endswith(sampler) for has in found), (piece, found)
    assert model.training and all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert len(module.spec.image_shape) == 3 or not shown


GAN_LACKS = {"nll", "aggregate_kl"} | {f"{name}/domain/{how}" for name in ("fid", "vendi") for how in SAMPLERS[1:3]}


@pytest.mark.parametrize(
    ("kind", "family", "lacking", "present"),
    [
        (
            "digits",
            "vae",
            {"mig", "beta_vae_score"},
            {"nll", "fid/domain/prior", "precision/domain/gmm", "kid/domain/prior"},
        ),
        ("digits", "gan", GAN_LACKS, {"fid/domain/prior", "fid/domain/mean_image", "recall/domain/prior"}),
        (
            "digits",
            "conv_autoencoder",
            {"nll", "fid/domain/prior"},
            {"fid/domain/reconstructions", "is/domain/mean_image"},
        ),
        ("digits", "broken decoder", {"fid/domain/prior", "kid/domain/gmm"}, {"nll", "fid/domain/training_images"}),
        ("digits", "broken encoder", {"nll", "mutual_information", "fid/domain/gmm"}, {"fid/domain/prior"}),
        ("digits", "realnvp", {"dimension_wise_kl"}, {"mutual_information", "total_correlation", "nll"}),
        ("folder of 12", "vae", {"fid/domain/prior", "vendi/domain/real"}, {"nll", "total_correlation"}),
        (
            "folder of 12 with labels",
            "vae",
            {"fid/domain/prior", "density_coverage/domain/prior"},
            {"kid/domain/prior"},
        ),
        ("folder of one class", "vae", {"fid/domain/prior"}, {"nll"}),
        ("grid", "vae", {"fid/domain/prior"}, {"mig", "sap", "modularity", "beta_vae_score", "factor_vae_score"}),
        ("grid", "one latent", {"mig", "sap"}, {"modularity", "explicitness", "factor_vae_score"}),
        ("grid with a gap", "vae", {"mig", "factor_vae_score"}, {"nll"}),
        ("attributes", "vae", {"mig", "explicitness", "beta_vae_score"}, {"nll"}),
        ("four channels", "vae", {"fid/domain/prior"}, {"nll"}),
        (
            "equal images",
            "vae",
            {"mig"},
            {"fid/domain/mean_image", "precision/domain/prior", "vendi/domain/n200-seed0/prior"},
        ),
        ("text", "text_vae", set(), {"mutual_information", "perplexity_iw", "self_bleu_3"}),
        ("text", "text_lm", {"aggregate_kl"}, {"perplexity_elbo", "distinct_2"}),
        ("points", "solve_vae", {"nll"}, {"mutual_information"}),
    ],
)
def test_what_is_left_out_and_what_goes_on(kind, family, lacking, present, data, cache):
    module = data(kind)
    sheet, _ = measured(module, make_model(family, module), cache_dir=cache)
    assert lacking <= set(sheet.left_out)
    assert {f"score/{name}" for name in present} <= set(sheet)


@pytest.mark.parametrize("kind", ["grid", "folder of 12 with labels", "text", "points"])
def test_every_name_of_the_catalogue_at_once(kind, data, cache):
    module = data(kind)
    families = {"text": "text_vae", "points": "solve_vae"}
    sheet, _ = measured(module, make_model(families.get(kind, "vae"), module), list(CATALOGUE), cache_dir=cache)
    assert sheet and sheet.left_out and not sheet.pending
    if kind == "grid":
        assert {"score/mig_chen", "score/dci_completeness"} <= set(sheet)
    if kind == "folder of 12 with labels":
        assert {"score/memorised/domain/n200-seed0/prior", "score/pure_diversity/domain/n200-seed0/prior"} <= set(sheet)


def test_missing_extras_cost_their_own_scores_only(data, cache, monkeypatch, tmp_path):
    looked = []

    def unreachable(*args, **kwargs):
        looked.append(args)
        raise URLError("no route to host")

    monkeypatch.setattr(efficientnet, "find_spec", lambda name: None)
    monkeypatch.setattr(torch.hub, "download_url_to_file", unreachable)
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    spaces = ("efficientnet_lite0", "inception", "domain")
    module = data("digits")
    settings = {"feature_spaces": spaces, "samplers": ("prior",), "cache_dir": cache}
    sheet, _ = measured(module, make_model("vae", module), ["fid", "is", "class_diversity"], **settings)
    assert {"score/fid/domain/prior", "score/is/domain/prior"} <= set(sheet)
    assert "pip install" in sheet.left_out["fid/efficientnet_lite0/prior"]
    assert "cannot be fetched" in sheet.left_out["is/inception/prior"]
    assert "classifier of the data's own classes" in sheet.left_out["class_diversity/inception/prior"]
    assert len(looked) == 1, "a download that failed is not tried again for every score"


def test_text_without_sacrebleu_keeps_its_other_scores(data, monkeypatch):
    monkeypatch.setitem(sys.modules, "sacrebleu.metrics.bleu", None)
    module = data("text")
    sheet, _ = measured(module, make_model("text_vae", module), "text_diversity")
    assert set(sheet) == {"score/distinct_1", "score/distinct_2", "score/words"}
    assert set(sheet.left_out) == {"self_bleu_2", "self_bleu_3"}


def test_a_density_that_is_none_has_no_likelihood(data):
    module = data("digits")
    model = VAE((1, 8, 8), latent_dim=3, network="mlp", prior="realnvp", prior_settings={"repeat_log_det": True})
    with pytest.raises(ConfigError, match="nll: the prior RealNVPPrior does not integrate to 1"):
        Suite(**SMALL).run("nll", model, module)
    sheet, _ = measured(data("points"), make_model("solve_vae", data("points")), "nll")
    assert "the likelihood SquaredError does not integrate to 1" in sheet.left_out["nll"]
