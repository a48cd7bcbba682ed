"""``ckpt_path=last``: the newest run of the same model and data."""

import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from omegaconf import DictConfig, OmegaConf

from lightning_gvae.errors import CheckpointError
from lightning_gvae.io.network_choice import plain_choice
from lightning_gvae.io.run_status import read_status
from lightning_gvae.loading.targets import named_targets
from lightning_gvae.renames import renamed_settings

__all__ = ["latest_checkpoint"]

LAST = "checkpoints/last.ckpt"
# Settings beside the classes that make another model, whose weights do not fit, or other data.
MODEL = ("latent_dim", "network", "likelihood", "prior", "genome")
DATA = ("name", "root", "path", "problem", "image_size", "channels")
# Classes that only say how a model is trained: a run may go on with others, or is refused with the reason.
TRAINING = ("torch.optim.",)
SHOWN = 5


class _Candidate(NamedTuple):
    path: Path
    facts: dict[str, Any]
    reason: str  # why it cannot be read; empty if it can


def latest_checkpoint(cfg: DictConfig) -> Path:
    """Newest ``last.ckpt`` of the task's earlier runs with the model and the data of ``cfg``; says which it is.

    Models and data are the same if their classes are, those of schedules and networks included, and the settings that
    decide about shapes and sources. Runs that were passed over, being newer and of others, are named.

    Args:
        cfg: The composed ``train`` configuration.

    Raises:
        CheckpointError: There is none; the message says what there is.
    """
    runs = Path(cfg.paths.log_dir) / cfg.task_name
    own = Path(cfg.paths.output_dir).resolve()
    found = [path for path in runs.glob(f"**/{LAST}") if own not in path.resolve().parents]
    wanted = _facts(OmegaConf.to_container(cfg, resolve=True, throw_on_missing=False))
    passed: list[str] = []
    for candidate in map(_read, sorted(found, key=lambda path: path.stat().st_mtime, reverse=True)):
        if changed := _differences(candidate, wanted):
            passed.append(f"{candidate.path.parents[1]} ({changed})")
            continue
        if os.environ.get("LOCAL_RANK", "0") == "0":  # the first of several processes speaks for all
            status = read_status(candidate.path.parents[1]) or "status unknown"
            print(f"ckpt_path=last: going on from {candidate.path} ({status})")
            if passed:
                print(f"passed over, newer: {_listed(passed)}")
        return candidate.path
    there = f"; there are {_listed(passed)}" if passed else ""
    raise CheckpointError(
        f"`ckpt_path=last` finds no {LAST} below {runs} that is of this model and data{there}; give the path of "
        "a checkpoint, or "
        "start without ckpt_path."
    )


def _read(path: Path) -> _Candidate:
    from lightning_gvae.io.checkpoint import read_checkpoint

    try:
        stored = read_checkpoint(path).get("gvae_config")
    except CheckpointError:
        return _Candidate(path, {}, "damaged")
    if not isinstance(stored, dict):
        return _Candidate(path, {}, "without a configuration")
    return _Candidate(path, _facts(renamed_settings(stored, quiet=True)), "")


def _facts(config: Any) -> dict[str, Any]:
    """Settings that make model and data, by the names of settings."""
    facts: dict[str, Any] = {}
    for section, names in (("model", MODEL), ("data", DATA)):
        given = config.get(section) if isinstance(config, Mapping) else None
        if not isinstance(given, Mapping):
            continue
        facts[section] = str(given.get("_target_", "")).rpartition(".")[2]
        facts[f"parts of {section}"] = sorted(_classes(given))
        facts |= {f"{section}.{name}": plain_choice(given[name]) for name in names if name in given}
    return facts


def _classes(section: Mapping[str, Any]) -> Iterator[str]:
    for target in named_targets(section):
        if not str(target).startswith(TRAINING):
            yield str(target)


def _differences(candidate: _Candidate, wanted: Mapping[str, Any]) -> str:
    """Why a checkpoint is not of the run that is wanted; empty if it is."""
    if candidate.reason:
        return candidate.reason
    stored = candidate.facts
    for section in ("model", "data"):
        if stored.get(section) != wanted.get(section):
            return f"{stored.get('model')} on {stored.get('data')}"
    names = [name for name in wanted if name in stored and stored[name] != wanted[name]]
    return "; ".join(f"{name} {_short(stored[name])}, not {_short(wanted[name])}" for name in names)


def _short(value: Any) -> str:
    if isinstance(value, list):
        return ", ".join(str(each).rpartition(".")[2] for each in value)
    return f"{value}"


def _listed(passed: list[str]) -> str:
    more = f" and {len(passed) - SHOWN} more" if len(passed) > SHOWN else ""
    return ", ".join(passed[:SHOWN]) + more
