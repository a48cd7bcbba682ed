"""``train.py`` and ``gvae-train``: one run, from the configuration to its final numbers."""

from pathlib import Path

import hydra
from omegaconf import DictConfig, OmegaConf

from lightning_gvae.cli.build import build, build_all, build_data_and_model, plain, rename_roots, warn_without_effect
from lightning_gvae.cli.entry import CONF, run_entry
from lightning_gvae.cli.hydra_guard import as_a_run_of_its_own, last_job_if_stopped
from lightning_gvae.cli.ranking import rank
from lightning_gvae.cli.restore import resolve_checkpoint
from lightning_gvae.cli.scores import scalars, score, show_left_out, wanted_scores
from lightning_gvae.cli.summary import show_multirun_stop, show_nothing_left, show_run, show_stop
from lightning_gvae.errors import ConfigError
from lightning_gvae.stopping import is_stop, stopped_error

__all__ = ["main", "train"]


def train(cfg: DictConfig) -> dict[str, float]:
    """Train one model on one data set.

    Args:
        cfg: The composed ``train`` configuration.

    Returns:
        Final metrics by name: the last training and validation values, and the test values of the final weights.

    Raises:
        StoppedError: The run was told to stop by Ctrl-C or another signal; what it had done is kept.
        GvaeError: A setting, a file or the training itself is not as it should be; at the very end, when everything
            else is kept: none of the scores that were asked for can be computed.
    """
    import lightning as L

    from lightning_gvae.callbacks.beta_override import BetaOverride
    from lightning_gvae.callbacks.one_folder import OneFolder
    from lightning_gvae.callbacks.run_config import RunConfig
    from lightning_gvae.callbacks.score_check import ScoreCheck
    from lightning_gvae.callbacks.validation_schedule import ValidationSchedule
    from lightning_gvae.evaluation.optimized_metric import optimized_metric
    from lightning_gvae.io.checkpoint import read_checkpoint
    from lightning_gvae.loggers.guarded import logging_session
    from lightning_gvae.loggers.scalars import send_hyperparams
    from lightning_gvae.report.run_record import RunRecord
    from lightning_gvae.runtime import keep_freed_memory, process_group_scope, settle_gpu_check

    rename_roots(cfg)
    if cfg.keep_freed_memory:
        keep_freed_memory()
    warn_without_effect(cfg)
    settle_gpu_check()
    output_dir = Path(cfg.paths.output_dir)
    wanted = wanted_scores(cfg)
    ckpt_path = resolve_checkpoint(cfg)
    if not OmegaConf.is_dict(cfg.trainer):
        raise ConfigError(f"`trainer` must name a class by `_target_`, with its arguments; got {cfg.trainer!r:.100}.")
    L.seed_everything(cfg.seed, workers=True, verbose=False)
    checkpoint = None if ckpt_path is None else read_checkpoint(ckpt_path)
    datamodule, model = build_data_and_model(cfg, checkpoint, goes_on=True)
    del checkpoint  # it may be large
    config = plain(cfg)
    known = RunConfig(config)
    callbacks = [known, OneFolder(output_dir), ValidationSchedule(), *build_all(cfg.get("callbacks"))]
    if cfg.beta is not None:
        callbacks.append(BetaOverride(cfg.beta))
    if wanted.suite is not None:
        callbacks.append(ScoreCheck(wanted.names, wanted.suite))
    trainer = build(cfg.trainer, callbacks=callbacks, logger=build_all(cfg.get("logger")))
    about = {"model": type(model).__name__, "data": datamodule.spec.name}
    record = RunRecord(output_dir, config, trainer, about, ckpt_path, lambda: known.latest(trainer))
    try:
        with process_group_scope(), logging_session(trainer.loggers), record:
            send_hyperparams(trainer, config)
            trainer.ckpt_path = ckpt_path  # callbacks see it in their setup, unlike what is passed to `fit`
            trainer.fit(model, datamodule=datamodule, weights_only=True)
            trainer.ckpt_path = None
            if trainer.global_step == known.resumed_at:
                show_nothing_left(trainer, config["trainer"], ckpt_path)
            metrics = known.latest(trainer)
            if cfg.test:
                trainer.test(model, datamodule=datamodule, verbose=False, weights_only=True)
                metrics |= scalars(trainer.callback_metrics)
            sheet = score(cfg, wanted, trainer, model, datamodule)
            metrics |= sheet
            if cfg.get("optimized_metric") is not None and trainer.is_global_zero:
                wanted_metric = plain(cfg.optimized_metric)
                metrics["optimized_metric"] = optimized_metric(metrics, **wanted_metric, left_out=sheet.left_out)
            record.finish(metrics, sheet.left_out)
    except BaseException as error:
        if not is_stop(error):
            raise
        show_stop(record, error)
        raise stopped_error(error) from error
    show_run(record)
    show_left_out(sheet)
    if trainer.is_global_zero:
        sheet.require_one(wanted.names)
    return metrics


@hydra.main(version_base="1.3", config_path=CONF, config_name="train")
def _composed(cfg: DictConfig) -> dict[str, float] | float | None:
    with last_job_if_stopped(show_multirun_stop), as_a_run_of_its_own():
        metrics = train(cfg)
    if cfg.get("optimized_metric") is None:
        return metrics
    rank()
    return metrics.get("optimized_metric")  # what a sweeper maximises


def main() -> None:
    """Entry point of ``train.py`` and ``gvae-train``."""
    run_entry(_composed)
