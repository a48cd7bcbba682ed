"""An evaluation: the named scores one after the other, each kept as soon as it is there."""

from collections.abc import Callable, Collection, Iterator, Sequence
from functools import partial

import numpy as np
import torch
from tqdm import tqdm

from lightning_gvae.errors import ConfigError, GvaeError
from lightning_gvae.evaluation.catalogue import CATALOGUE, names_of_all
from lightning_gvae.evaluation.own import own_pieces
from lightning_gvae.evaluation.requirements import needs_sampler
from lightning_gvae.evaluation.results import Piece, ScoreSheet, unavailable_reason
from lightning_gvae.evaluation.settings import ScoreSettings
from lightning_gvae.evaluation.subject import Subject
from lightning_gvae.interfaces import DataModule, Network

__all__ = ["Suite", "check_names"]

ALL = "all"
SHOWN = 64  # images of a sampler
Show = Callable[[str, np.ndarray], None]
OnChange = Callable[[ScoreSheet], None]


class Suite(ScoreSettings):
    """Scores of a model by name, each under ``score/``.

    Text: ``perplexity`` and ``text_diversity`` (see :mod:`~lightning_gvae.evaluation.text`).

    Likelihood: ``nll`` (importance-sampled, nats), ``aggregate_kl`` (mutual information, total correlation and
    dimension-wise KL, nats). Disentanglement, for data with factors: ``mig``, ``sap``, ``modularity`` (with
    explicitness), ``beta_vae_score``, ``factor_vae_score``, and when they are named ``mig_chen`` and ``dci``, which
    take minutes. Images: ``fid``, ``kid``, ``is``, ``precision_recall``, ``density_coverage``, and when it is named
    ``class_balance``, for every sampler and in every feature space, whose names become part of the score's. Diversity,
    likewise: ``vendi``, ``duplicates``, ``class_diversity``, and when they are named ``pure_diversity``,
        ``memorisation`` and ``fid_train`` (see :mod:`~lightning_gvae.evaluation.diversity`).

    A score that this model and these data do not allow is left out, with the reason; the others go on. Settings are
    those of :class:`~lightning_gvae.evaluation.settings.ScoreSettings`.
    """

    def measure(
        self,
        names: Sequence[str] | str,
        model: Network,
        datamodule: DataModule,
        show: Show | None = None,
        on_change: OnChange | None = None,
    ) -> ScoreSheet:
        """Compute the named scores, or with ``"all"`` those of this kind of data that do not take minutes.

        Args:
            names: Of the scores, or ``"all"``.
            model: A score asks only for what it needs.
            datamodule: Set up.
            show: If images are scored, is given the name of each sampler and 64 of its images ``(64, C, H, W)`` in
                [0, 1].
            on_change: Called whenever a score has been computed or left out, with all that is known by then.

        Raises:
            ConfigError: There is no score of a name.
        """
        self.check_names(names)
        subject, sheet = Subject(model, datamodule, self.seed), ScoreSheet()
        pieces: list[Piece] = []
        shows_samples = False
        for name in self._chosen(names, subject):
            if self._attempt(name, partial(self._check, name, subject), sheet):
                pieces += self._pieces(name, subject)
                shows_samples |= name in CATALOGUE and CATALOGUE[name].shows_samples
        sheet.pending = [piece.name for piece in pieces]
        tell = on_change or (lambda sheet: None)
        tell(sheet)
        with tqdm(pieces, desc="scores", unit="score") as bar:
            for piece in bar:
                bar.set_postfix_str(piece.name)
                self._attempt(piece.name, partial(_take_down, piece, sheet), sheet)
                sheet.pending.remove(piece.name)
                tell(sheet)
        if show is not None and shows_samples:
            for sampler in self.samplers:
                self._attempt(f"images of {sampler}", partial(self._show, show, subject, sampler), sheet)
            tell(sheet)
        return sheet

    def run(
        self,
        names: Sequence[str] | str,
        model: Network,
        datamodule: DataModule,
        show: Show | None = None,
        on_change: OnChange | None = None,
    ) -> ScoreSheet:
        """As :meth:`measure`, for callers to whom an evaluation without a single score is an error.

        Raises:
            ConfigError: There is no score of a name, or none of those that were named can be computed.
        """
        sheet = self.measure(names, model, datamodule, show, on_change)
        sheet.require_one(names)
        return sheet

    def check(self, names: Sequence[str] | str, model: Network, datamodule: DataModule) -> None:
        """Refuse, before any work, an evaluation of which nothing can come.

        Args:
            names: As for :meth:`measure`.
            model: The model, trained or not.
            datamodule: Set up.

        Raises:
            ConfigError: There is no score of a name, or model and data allow none of those that were named.
        """
        self.check_names(names)
        subject, sheet = Subject(model, datamodule, self.seed), ScoreSheet()
        chosen = self._chosen(names, subject)
        allowed = [self._attempt(name, partial(self._check, name, subject), sheet) for name in chosen]
        if not any(allowed):
            sheet.require_one(names)

    def check_names(self, names: Sequence[str] | str) -> None:
        """Check the names of scores, own ones among them.

        Raises:
            ConfigError: There is no score of a name, or an own score has the name of another.
        """
        check_names(names, self.own)

    def _chosen(self, names: Sequence[str] | str, subject: Subject) -> list[str]:
        asked = [names] if isinstance(names, str) else list(names)
        return [*names_of_all(subject), *self.own] if asked == [ALL] else asked

    def _check(self, name: str, subject: Subject) -> None:
        if name in CATALOGUE:  # of an own score only its call can tell
            CATALOGUE[name].check(subject)

    def _pieces(self, name: str, subject: Subject) -> Iterator[Piece]:
        return own_pieces(name, self.own[name], subject) if name in self.own else CATALOGUE[name].pieces(subject, self)

    @staticmethod
    def _attempt(name: str, compute: Callable[[], None], sheet: ScoreSheet) -> bool:
        """Whether ``compute`` went through; a declared reason why it cannot is taken down, any other error raised."""
        try:
            compute()
        except (GvaeError, MemoryError, RuntimeError) as error:
            reason = unavailable_reason(error)
            if reason is None:
                raise
            sheet.left_out[name] = reason
            return False
        return True

    @staticmethod
    def _show(show: Show, subject: Subject, sampler: str) -> None:
        needs_sampler(subject, sampler)
        show(sampler, torch.cat(list(subject.samples(SHOWN, sampler))).numpy())


def check_names(names: Sequence[str] | str, own: Collection[str] = ()) -> None:
    """Check the names of scores.

    Args:
        names: As for :meth:`Suite.measure`.
        own: Names of the user's own scores.

    Raises:
        ConfigError: There is no score of a name, or an own score has the name of another.
    """
    asked = [names] if isinstance(names, str) else list(names)
    if taken := [name for name in own if name in CATALOGUE or name == ALL]:
        raise ConfigError(f"`evaluation.own` may not have the name of a score of this package, got {taken[0]}")
    if unknown := [name for name in asked if name != ALL and name not in CATALOGUE and name not in own]:
        raise ConfigError(
            f"`metrics` may name {', '.join([*CATALOGUE, *own])}, or be all; got {', '.join(map(str, unknown))}; a "
            "score of your own is given by `evaluation.own`"
        )
    if ALL in asked and len(asked) > 1:
        raise ConfigError(f"`metrics` must be all or a list of names, got {list(names)}; write metrics=all")


def _take_down(piece: Piece, sheet: ScoreSheet) -> None:
    for found in piece.compute():
        sheet.add(found)
