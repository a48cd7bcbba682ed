"""Decoding a whole generation at once and scoring it, with answers to decoders and problems that misbehave."""

import math
from collections.abc import Callable
from typing import Literal, NamedTuple

import torch
from torch import Tensor

from lightning_gvae.errors import ConfigError, NonFiniteError, checked_count
from lightning_gvae.evolution.latent.settings import Problem

__all__ = ["Decode", "Inherited", "NanPolicy", "Scored", "Scorer"]

Decode = Callable[[Tensor], Tensor]
NanPolicy = Literal["error", "worst"]


class Scored(NamedTuple):
    """A generation: decoded ``(R, P, ...)``, objective ``(R, P)`` and violations ``(R, P, C)``."""

    decoded: Tensor
    objective: Tensor
    violations: Tensor


class Inherited(NamedTuple):
    """Scores known before a generation is decoded, overwritten where they do not hold, ``fresh`` ``(R, P)``."""

    scored: Scored
    fresh: Tensor


class Scorer:
    """Decodes and scores ``(R, P, L)`` latents in one call of the decoder, or one a chunk.

    Args:
        decode: From latents ``(N, L)`` to points ``(N, ...)``.
        problem: Scores them.
        chunk_size: Latents decoded at a time; ``None`` for all.
        nan: What a NaN is: an ``"error"``, or the ``"worst"`` there is.

    Raises:
        ConfigError: an argument is out of range; when called: the decoder or the problem gives another number of rows
            than it was given latents, or the first latents make the decoder fail.
        NonFiniteError: the problem gives NaN, or a negative infinite objective, and that is an error.
    """

    def __init__(
        self, decode: Decode, problem: Problem, chunk_size: int | None = None, nan: NanPolicy = "error"
    ) -> None:
        if chunk_size is not None:
            checked_count("chunk_size", chunk_size, unit="latents")
        if nan not in ("error", "worst"):
            raise ConfigError(f"`nan` must be error or worst, got {nan!r}")
        self.decode, self.problem, self.chunk_size, self.nan = decode, problem, chunk_size, nan
        self.decodes = 0

    def __call__(self, latents: Tensor, generation: int, inherited: Inherited | None = None) -> Scored:
        """Decode and score the population ``(R, P, L)`` of a generation, but for what it has inherited.

        The number is for messages. Of what is inherited the decoder and the problem see nothing, so they must be
        functions of their arguments alone. They are called in any case, if only for one row.
        """
        runs, population = latents.shape[:2]
        rows = latents.flatten(0, 1)
        fresh = None if inherited is None else _at_least_one(inherited.fresh.flatten())
        rows = rows if fresh is None else rows[fresh]
        parts = [self._score(part) for part in rows.split(self.chunk_size or len(rows))]
        columns = [made[0] if len(made) == 1 else torch.cat(made) for made in zip(*parts, strict=True)]
        if inherited is not None and fresh is not None:
            known = (values.flatten(0, 1) for values in inherited.scored)
            columns = [
                old.index_copy_(0, fresh.to(old.device), new.to(old.device))
                for old, new in zip(known, columns, strict=True)
            ]
        decoded, objective, violations = columns
        objective = objective.to(latents.device).unflatten(0, (runs, population))
        violations = violations.to(latents.device).unflatten(0, (runs, population))
        return Scored(decoded.unflatten(0, (runs, population)), *self._finite(objective, violations, generation))

    def _score(self, latents: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        count = len(latents)
        try:
            decoded = self.decode(latents)
        except torch.OutOfMemoryError as error:
            raise ConfigError(f"decoding {count} latents at once needs too much memory; lower `chunk_size`") from error
        except RuntimeError as error:
            if self.decodes:
                raise
            raise ConfigError(
                f"the decoder cannot take latents of size {latents.shape[-1]}, as many as the bounds have "
                "entries; give "
                f"bounds for each latent of this decoder. It says: {error}"
            ) from error
        self.decodes += 1
        if not isinstance(decoded, Tensor) or decoded.ndim < 1 or len(decoded) != count:
            raise ConfigError(f"`decode` must give one row a latent, {count} here, got {_shape(decoded)}")
        objective, violations = self.problem.objective(decoded), self.problem.violations(decoded)
        if not isinstance(objective, Tensor) or objective.shape != (count,):
            raise ConfigError(f"`objective` must give one number a point, shape ({count},), got {_shape(objective)}")
        if not isinstance(violations, Tensor) or violations.ndim != 2 or len(violations) != count:
            raise ConfigError(
                f"`violations` must give one row a point, shape ({count}, C), got {_shape(violations)}; without "
                f"criteria return `decoded.new_zeros({count}, 0)`"
            )
        return decoded.detach(), _floating(objective), _floating(violations)

    def _finite(self, objective: Tensor, violations: Tensor, generation: int) -> tuple[Tensor, Tensor]:
        # NaN is the minimum wherever it occurs, and no comparison with it holds.
        if objective.min().item() > -math.inf and (not violations.numel() or violations.min().item() >= 0):
            return objective, violations
        wrong = {
            "objective": objective.isnan() | (objective == -torch.inf),
            "violations": (violations.isnan() | (violations < 0)).any(-1),
        }
        if self.nan == "error":
            for name, where in wrong.items():
                if where.any():
                    raise NonFiniteError(
                        f"`{name}` of {int(where.sum())} of {where.numel()} points of generation {generation} is NaN"
                        f"{' or negative infinite' if name == 'objective' else ' or negative'}; correct the problem, "
                        "narrow the bounds, or let such points count as worst with `nan='worst'`"
                    )
            return objective, violations
        bad = wrong["objective"] | wrong["violations"]
        return objective.masked_fill(bad, torch.inf), violations.masked_fill(bad.unsqueeze(-1), torch.inf)


def _at_least_one(mask: Tensor) -> Tensor:
    """Mask, with its first place set where it has none."""
    places = mask.nonzero()[:, 0]
    return places if len(places) else places.new_zeros(1)


def _floating(values: Tensor) -> Tensor:
    return values.detach() if values.is_floating_point() else values.detach().float()


def _shape(value: object) -> str:
    return f"shape {tuple(value.shape)}" if isinstance(value, Tensor) else type(value).__name__
