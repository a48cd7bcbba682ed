"""Requirements of scores on the model and on the data, checked before anything is computed."""

from lightning_gvae.errors import ScoreUnavailable
from lightning_gvae.evaluation.subject import BASELINES, Subject
from lightning_gvae.interfaces import (
    Autoencoder,
    Density,
    DrawsSamples,
    EncodesLatents,
    HasDensity,
    HasPrior,
    NamesLikelihood,
    TextModel,
    encodes,
    offers,
)

__all__ = [
    "needs_density",
    "needs_factors",
    "needs_grid",
    "needs_images",
    "needs_posterior",
    "needs_sampler",
    "needs_text",
]


def needs_images(subject: Subject) -> None:
    """Check that the data are images.

    Raises:
        ScoreUnavailable: They are sentences or points.
    """
    if len(subject.spec.image_shape) != 3:
        raise ScoreUnavailable(f"it compares images, and {subject.spec.name} has none")


def needs_text(subject: Subject) -> None:
    """Check that the data are sentences and the model writes some.

    Raises:
        ScoreUnavailable: They are not.
    """
    if not offers(subject.model, TextModel):
        raise ScoreUnavailable(
            f"it is a score of text, and {subject.spec.name} is none; take data=ptb or data=text with model=text_vae"
        )


def needs_posterior(subject: Subject) -> None:
    """Check that the model gives every image a distribution of latents.

    Raises:
        ScoreUnavailable: It has no encoder, no latents, or its code is a point.
    """
    model = subject.model
    if not (offers(model, EncodesLatents) and encodes(model)):
        raise ScoreUnavailable(f"it needs posteriors q(z|x), and {type(model).__name__} has none")


def needs_density(subject: Subject) -> None:
    """Check that the model is a density of images: likelihood and prior are normalised.

    Raises:
        ScoreUnavailable: One of them is no density.
    """
    model = subject.model
    if not offers(model, HasDensity):
        raise ScoreUnavailable(f"it needs a likelihood, and {type(model).__name__} has none")
    parts: dict[str, object] = {}
    if offers(model, NamesLikelihood):
        parts["likelihood"] = model.likelihood
    if offers(model, HasPrior):
        parts["prior"] = model.prior
    for name, part in parts.items():
        if offers(part, Density) and not part.is_normalised:
            raise ScoreUnavailable(
                f"the {name} {type(part).__name__} does not integrate to 1, so its values are no likelihood"
            )


def needs_factors(subject: Subject) -> None:
    """Check that the targets are factors.

    Raises:
        ScoreUnavailable: They are not.
    """
    if not subject.spec.factor_sizes:
        raise ScoreUnavailable(
            f"it compares codes with factors, and {subject.spec.name} has none; take data=dsprites or data=celeba"
        )


def needs_grid(subject: Subject) -> None:
    """Check that there is one image for every combination of factors.

    Raises:
        ScoreUnavailable: There is not.
    """
    needs_factors(subject)
    if not subject.spec.is_grid:
        raise ScoreUnavailable(
            f"it draws images of chosen factors, and {subject.spec.name} has not one image for every combination of "
            "factors; take data=dsprites"
        )


def needs_sampler(subject: Subject, sampler: str) -> None:
    """Check that the model can be sampled from in this way.

    Raises:
        ScoreUnavailable: It cannot.
    """
    model = subject.model
    if sampler == "prior" and not offers(model, DrawsSamples):
        raise ScoreUnavailable(
            f"{type(model).__name__} has no prior to sample from; take evaluation.samplers=[reconstructions]"
        )
    if sampler == "reconstructions" and not offers(model, Autoencoder):
        raise ScoreUnavailable(f"{type(model).__name__} cannot reconstruct images")
    if sampler not in ("prior", *BASELINES):
        needs_posterior(subject)
