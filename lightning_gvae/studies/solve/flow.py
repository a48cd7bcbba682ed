"""SOLVEfm: a VAE of points whose prior is a normalising flow, searched in the flow's noise."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from lightning_gvae.models.solve_vae import SolveVAE
from lightning_gvae.models.stacked_vae import range_of, to_unit
from lightning_gvae.rng import torch_stream

__all__ = ["FlowSettings", "fit_flow"]


@dataclass(frozen=True)
class FlowSettings:
    """Architecture and training.

    Args:
        hidden: Widths of the VAE's hidden layers; published: 512, 512, 512.
        flow_hidden: Width of the flow's conditioners; published: 512.
        layers: Couplings.
        sigma: Standard deviation of the observations in the units of the problem; the published loss, a squared error
            without the half, has 0.71.
        epochs: Passes over the points.
        warmup: Epochs over which the weight of the KL rises.
        batch_size: Points a step.
        lr: Learning rate of Adam.
        repeat_log_det: Count the log determinant once a dimension, as published.
    """

    hidden: tuple[int, ...] = (64, 64)
    flow_hidden: int = 64
    layers: int = 5
    sigma: float = 0.7
    epochs: int = 100
    warmup: int = 10
    batch_size: int = 100
    lr: float = 5e-4
    repeat_log_det: bool = False


def fit_flow(
    points: Tensor, seed: int, settings: FlowSettings | None = None, progress: Callable[[int], None] | None = None
) -> Callable[[Tensor], Tensor]:
    """Train on points ``(N, D)`` in problem units.

    Returns:
        From standard normal noise ``(M, D)`` to points ``(M, D)`` in problem units.
    """
    settings = FlowSettings() if settings is None else settings
    low, high = range_of(points)
    # Squared errors are of points in [-1, 1]: (x - x')^2 / (2 sigma^2) + KL, times 2 sigma^2 in those units.
    unit = 2 * settings.sigma / float((high - low).mean())
    model = SolveVAE(
        (points.shape[1],),
        hidden=settings.hidden,
        candidates=1,
        kl_scale=2 * unit**2,
        log_var_bounds=(-12.0, 1.0),
        prior="realnvp",
        prior_settings={
            "layers": settings.layers,
            "hidden": settings.flow_hidden,
            "repeat_log_det": settings.repeat_log_det,
        },
        seed=seed,
    )
    model.low.copy_(low)
    model.high.copy_(high)
    units, batch = to_unit(points, low, high), min(settings.batch_size, len(points))
    optimizer = torch.optim.Adam(model.parameters(), lr=settings.lr, fused=True)
    for epoch in range(settings.epochs):
        order = torch.randperm(len(units), generator=torch_stream(seed, "flow-order", epoch))
        noise = torch_stream(seed, "flow-noise", epoch)
        weight = model.beta.item() * min((epoch + 1) / settings.warmup, 1.0)
        for step in range(len(units) // batch):
            terms = model.stacked_terms(units[order[step * batch : (step + 1) * batch]], [noise])
            optimizer.zero_grad()
            terms.loss(weight).backward()
            optimizer.step()
        if progress is not None:
            progress(epoch + 1)
    model.requires_grad_(False).eval()
    return model.decode_noise
