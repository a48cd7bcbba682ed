"""Negative log-likelihood of images by importance sampling, and its conversion to bits per dimension."""

import math
from collections.abc import Callable

import torch
from torch import Tensor

from lightning_gvae.devices import float64
from lightning_gvae.errors import ConfigError, DataError, NonFiniteError

__all__ = ["LogLikelihood", "bits_per_dim", "iwae_nll"]

# (images (n, C, H, W), latents (n, Z)) -> log p(x|z), nats summed over pixels, (n,); row i belongs to image i.
LogLikelihood = Callable[[Tensor, Tensor], Tensor]


@torch.no_grad()
def iwae_nll(
    images: Tensor,
    mean: Tensor,
    log_var: Tensor,
    log_px_given_z: LogLikelihood,
    k: int,
    generator: torch.Generator,
    chunk: int = 10,
) -> Tensor:
    r"""Importance-sampled negative log-likelihood of every image, prior :math:`p(z) = N(0, I)`.

    .. math:: -\log \frac1k \sum_{s=1}^k \frac{p(x|z_s)\, p(z_s)}{q(z_s|x)},\quad z_s \sim q(z|x)

    In expectation an upper bound of :math:`-\log p(x)`: the negative ELBO at k = 1, never larger for a larger k, exact
    for k to infinity or where q is the true posterior. Compare models at one k. The smaller KL(q || p(z|x)) is, the
    fewer draws are enough; a value that still falls between k and 10 k has not converged.

    The sum is streamed: only ``chunk`` draws an image are decoded at a time, and ``chunk`` changes memory and speed,
    not the draws.

    Args:
        images: ``(B, C, H, W)``, in the range that the likelihood wants.
        mean: Posterior means, ``(B, Z)``.
        log_var: Natural logarithms of the posterior variances, ``(B, Z)``.
        log_px_given_z: ``(images (n, C, H, W), latents (n, Z)) -> (n,)``, nats summed over pixels. For a model of this
            package ``lambda x, z: -model.likelihood(model.decoder(z).float(), x)``, in evaluation mode: in training
            mode the ``optimal_sigma`` likelihood looks at its own batch.
        k: Draws an image, at least 1; 100 to 5000 in the literature.
        generator: Source of the noise, on the device of ``mean``.
        chunk: Draws an image decoded at once, at least 1; memory grows with ``chunk * B`` images.

    Returns:
        Nats, summed over pixels, ``(B,)``, fp64. Positive infinity where no draw explains the image at all.

    Raises:
        ConfigError: ``k`` or ``chunk`` is below 1.
        DataError: Shapes do not match, or the posterior is not finite.
        NonFiniteError: ``log_px_given_z`` returned NaN.

    References:
        Burda, Grosse and Salakhutdinov, Importance Weighted Autoencoders, 2016, eq. 8.
    """
    if k < 1 or chunk < 1:
        raise ConfigError(f"`k` and `chunk` count draws and must be at least 1, got k={k}, chunk={chunk}.")
    if mean.ndim != 2 or mean.shape != log_var.shape or len(images) != len(mean):
        raise DataError(
            f"`mean` and `log_var` must both be (B, Z) with one row an image, got {tuple(mean.shape)}, "
            f"{tuple(log_var.shape)} and {len(images)} images."
        )
    if not (mean.isfinite().all() and log_var.isfinite().all()):
        raise DataError("`mean` and `log_var` must be finite; the encoder returned NaN or infinity.")
    means, log_vars = float64(mean), float64(log_var)
    total = means.new_full((len(means),), -torch.inf)
    for start in range(0, k, chunk):
        draws = min(chunk, k - start)
        # One call a draw: the numbers of a single large call would depend on its size, hence on `chunk`.
        noise = float64(torch.stack([_normal(mean, generator) for _ in range(draws)]))
        latents = means + torch.exp(0.5 * log_vars) * noise
        # log p(z) - log q(z|x); the constants cancel. fp64, because it is a small difference of large squares.
        log_ratio = 0.5 * (noise.square() - latents.square() + log_vars).sum(-1)
        repeated = images.expand(draws, *images.shape).flatten(0, 1)
        log_px = log_px_given_z(repeated, latents.to(mean).flatten(0, 1))
        if log_px.shape != (draws * len(means),):
            raise DataError(
                f"`log_px_given_z` must return one number a row, ({draws * len(means)},), got {tuple(log_px.shape)}."
            )
        log_weights = float64(log_px).view(draws, -1) + log_ratio
        total = torch.logaddexp(total, torch.logsumexp(log_weights, dim=0))
    if total.isnan().any():
        raise NonFiniteError(
            f"`log_px_given_z` is NaN for {int(total.isnan().sum())} of {len(total)} images; check the decoder's "
            "output."
        )
    return math.log(k) - total


def bits_per_dim(nll: Tensor, dims: int, levels: int | None = None) -> Tensor:
    r"""Bits per dimension of a negative log-likelihood.

    .. math:: \mathrm{bpd} = \frac{\mathrm{nll}}{D \ln 2} + \log_2(\mathrm{levels})

    Which numbers may be compared:

    - probabilities of discrete pixels (``bernoulli`` on binary images, a discretised likelihood) with each other, if
      the pixels have the same number of levels; ``levels=None``;
    - densities of pixels scaled to [0, 1] (``gaussian``, ``learnt_sigma``, ``optimal_sigma``) with each other; and,
    with
      ``levels``, with discrete likelihoods of so many levels, but only if the *evaluated* images were dequantised with
      uniform noise, ``(x + u) / levels``: the result then bounds the discrete value from above. Without the noise a
      density rises without bound on grey values that repeat, and the number means nothing;
    - ``bernoulli`` on grey values with nothing: the cross-entropy does not integrate to 1 over grey values.

    Args:
        nll: Nats, summed over pixels, any shape.
        dims: Values an image, ``C * H * W``.
        levels: Grey levels that were scaled to [0, 1], 256 for 8-bit images; ``None`` if ``nll`` is of discrete pixels.

    Returns:
        Bits per dimension, the shape of ``nll``; negative values occur for densities only.

    Raises:
        ConfigError: ``dims`` is below 1 or ``levels`` below 2.

    References:
        Theis, van den Oord and Bethge, A Note on the Evaluation of Generative Models, 2016, section 3.1.
    """
    if dims < 1:
        raise ConfigError(f"`dims` must be the number of values an image, at least 1, got {dims}.")
    if levels is not None and levels < 2:
        raise ConfigError(f"`levels` must be at least 2 (256 for 8-bit images) or None, got {levels}.")
    return nll / (dims * math.log(2)) + (0.0 if levels is None else math.log2(levels))


def _normal(like: Tensor, generator: torch.Generator) -> Tensor:
    return torch.randn(like.shape, dtype=like.dtype, device=like.device, generator=generator)
