"""Classes of generated images: a generator that has lost some of them is found out at once."""

from lightning_gvae.devices import float64
from lightning_gvae.errors import ConfigError
from lightning_gvae.metrics.diversity.classes import class_diversity, class_shares
from lightning_gvae.metrics.fidelity.features import Features
from lightning_gvae.metrics.fidelity.score import Score

__all__ = ["SHARE", "class_balance"]

SHARE = 0.01  # of all images, from which on a class counts as covered


def class_balance(generated: Features) -> tuple[Score, Score, Score, Score]:
    r"""Covered classes, entropy and distance from uniform of the labels that the classifier gives, and its confidence.

    With :math:`h_k` the share of images whose largest logit is class k: the number of k with :math:`h_k > 0.01`,
    :math:`-\sum h_k \ln h_k` (nats, at most ln K), :math:`\tfrac12 \sum |h_k - 1/K|` (0 to 1 - 1/K), and the mean of
    the largest soft-max probability. Real images of balanced classes are near K, ln K and 0.

    Args:
        generated: Features of generated images, with logits.

    Returns:
        ``classes``, ``class_entropy``, ``class_tv`` and ``class_confidence``.

    Raises:
        ConfigError: The space has no logits.
    """
    logits, space = generated.logits, generated.space
    if logits is None or space.classes is None:
        raise ConfigError(
            f"classes need a space with logits, {space.name} has none; take the space domain, a classifier of the data"
        )
    found = class_diversity(logits, space.classes)
    values = {
        "classes": float((class_shares(logits, space.classes) > SHARE).sum()),
        "class_entropy": found.entropy,
        "class_tv": found.imbalance,
        "class_confidence": float64(logits).softmax(1).amax(1).mean().item(),
    }

    def score(name: str) -> Score:
        about = (space.name, space.fingerprint, space.accuracy)
        return Score(f"{name}/{space.name}", values[name], None, len(generated), 0, 1, 0, *about)

    return score("classes"), score("class_entropy"), score("class_tv"), score("class_confidence")
