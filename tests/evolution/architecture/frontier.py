"""A rate-distortion frontier in closed form, as a stand-in for a trained VAE."""

import numpy as np

VARIANCES = np.array([90.0, 40.0, 20.0, 15.0, 12.0, 8.0])


def frontier(beta):
    """D and R ``(P, 2)`` of a linear-Gaussian model with unit noise, by reverse water-filling; dD/dR = -beta."""
    level = np.minimum(np.asarray(beta, dtype=float).reshape(-1, 1), VARIANCES)
    return np.stack([0.5 * level.sum(1), 0.5 * np.log(VARIANCES / level).sum(1)], axis=1)


def evolve(search, generations, beta=1.0, response=1.0):
    """Run a search on the frontier; the candidates' look-ahead covers the share ``response`` of the way there.

    Returns:
        Betas in force after each generation, and the exits.
    """
    betas, exits = [], []
    for generation in range(generations):
        here = frontier(beta)[0]
        candidates = search.ask(generation, [beta], tuple(here))
        if len(candidates):
            reached = here + response * (frontier(candidates) - here)
            (beta,) = search.tell(reached).genome
        betas.append(beta)
        exits.append(search.exit)
    return np.array(betas), exits
