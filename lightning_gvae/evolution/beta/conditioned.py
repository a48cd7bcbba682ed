"""Scores of genomes by a network that is conditioned on them: a forward pass of the probe each, nothing is trained."""

import numpy as np

from lightning_gvae.evolution.beta.genome_values import assign
from lightning_gvae.evolution.beta.lookahead import Trial, score
from lightning_gvae.evolution.model_copy import ModelCopy
from lightning_gvae.evolution.operators import Array

__all__ = ["conditioned", "conditioned_passes"]


def conditioned(model_copy: ModelCopy, trial: Trial, genomes: Array) -> Array:
    """Score of each genome: D and R of the network as it is conditioned on it, at fixed weights.

    Only for networks whose D and R depend on the genes without any training; all others would score alike.

    Args:
        model_copy: Copy to evaluate; restored first.
        trial: What the candidates share; its training batches are not used.
        genomes: ``(P, d)``.

    Returns:
        ``(P, 2 + S)`` of D and R on the probe, in the units of the loss, and of the measures.

    References:
        Bae et al., Multi-Rate VAE: Train Once, Get the Full Rate-Distortion Curve, 2023 (the network).
    """
    model_copy.restore()
    rows = []
    for genome in genomes:
        assign(model_copy.module, model_copy.optimizers, trial.genes, genome)
        rows.append(score(model_copy, trial))
    return np.array(rows, dtype=np.float64).reshape(-1, trial.width)


def conditioned_passes(candidates: int, probe: int) -> int:
    """Cost of :func:`conditioned` in sample-passes: a forward pass of the probe for each candidate."""
    return candidates * probe
