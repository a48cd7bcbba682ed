"""``eval.py`` and ``gvae-eval``: the test set through the model of a checkpoint."""

from pathlib import Path

import hydra
from omegaconf import DictConfig

from lightning_gvae.cli.build import build, build_all, plain, rename_roots
from lightning_gvae.cli.entry import CONF, run_entry
from lightning_gvae.cli.restore import restore_run
from lightning_gvae.cli.scores import scalars, score, show_left_out, wanted_scores
from lightning_gvae.cli.summary import show_evaluation

__all__ = ["evaluate", "main"]


def evaluate(cfg: DictConfig) -> dict[str, float]:
    """Re-create model and data from a checkpoint's own configuration and evaluate it on the test set.

    Args:
        cfg: The composed ``eval`` configuration; entries of ``cfg.overrides`` replace the checkpoint's.

    Returns:
        Test metrics by name.

    Raises:
        GvaeError: The checkpoint or its data cannot be read, or none of the scores that were asked for can be computed.
    """
    from lightning_gvae.loggers.guarded import logging_session
    from lightning_gvae.report.run_record import RunRecord

    rename_roots(cfg)
    wanted = wanted_scores(cfg)
    run_cfg, datamodule, model = restore_run(cfg)
    trainer = build(cfg.trainer, callbacks=build_all(cfg.get("callbacks")), logger=build_all(cfg.get("logger")))
    folder = Path(cfg.paths.output_dir)
    about = {"model": type(model).__name__, "data": datamodule.spec.name}
    record = RunRecord(folder, plain(run_cfg), trainer, about, cfg.ckpt_path)
    with logging_session(trainer.loggers), record:
        trainer.test(model, datamodule=datamodule, verbose=False, weights_only=True)
        metrics = scalars(trainer.callback_metrics)
        sheet = score(cfg, wanted, trainer, model, datamodule)
        metrics |= sheet
        record.finish(metrics, sheet.left_out)
    show_evaluation(record)
    show_left_out(sheet)
    if trainer.is_global_zero:
        sheet.require_one(wanted.names)
    return metrics


@hydra.main(version_base="1.3", config_path=CONF, config_name="eval")
def _composed(cfg: DictConfig) -> dict[str, float]:
    return evaluate(cfg)


def main() -> None:
    """Entry point of ``eval.py`` and ``gvae-eval``."""
    run_entry(_composed)
