"""The command line: compose a configuration, seed, build, run, and say where the results are.

The only module that imports Hydra. ``train(cfg)`` and ``evaluate(cfg)`` are plain functions of a configuration and
return the final metrics, ``inspect_data(cfg)`` the figures of a data set; the entry points turn errors into one
paragraph.
"""

import functools
import inspect
import logging
import os
import sys
import textwrap
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import hydra
from hydra._internal.config_loader_impl import ConfigLoaderImpl
from hydra.core.hydra_config import HydraConfig
from hydra.errors import HydraException
from hydra.types import RunMode
from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf, open_dict, read_write
from omegaconf.errors import OmegaConfBaseException

from lightning_gvae.errors import CheckpointError, ConfigError, GvaeError, StoppedError
from lightning_gvae.io.files import write_csv, write_json
from lightning_gvae.targets import check_logging, check_plugins, check_targets, named_targets, with_moved_targets

__all__ = [
    "app_main",
    "eval_main",
    "evaluate",
    "inspect_data",
    "inspect_main",
    "study",
    "study_main",
    "train",
    "train_main",
]

CONF = "pkg://lightning_gvae.conf"
# What a checkpoint that a visitor of the web lab names may be made of.
STORED_TARGETS = ("lightning_gvae.models.", "lightning_gvae.datamodules.", "lightning_gvae.schedules.")
STOPPED = 75  # exit status of a run that was told to stop and can be gone on with (EX_TEMPFAIL of sysexits.h)


def train(cfg: DictConfig) -> dict[str, float]:
    """Train one model on one data set.

    Args:
        cfg: The composed ``train`` configuration.

    Returns:
        Final metrics by name: the last training and validation values, and the test values of the final weights.

    Raises:
        GvaeError: A setting, a file or the training itself is not as it should be.
    """
    import lightning as L

    from lightning_gvae.callbacks.beta_override import BetaOverride
    from lightning_gvae.callbacks.one_folder import OneFolder
    from lightning_gvae.callbacks.run_config import RunConfig
    from lightning_gvae.evaluation.objective import objective_value
    from lightning_gvae.run import RunRecord
    from lightning_gvae.runtime import keep_freed_memory, process_group_scope, settle_gpu_check

    if cfg.keep_freed_memory:
        keep_freed_memory()
    _warn_without_effect(cfg)
    settle_gpu_check()
    output_dir = Path(cfg.paths.output_dir)
    ckpt_path = _resolve_checkpoint(cfg)
    _validate_at_least_once(cfg)
    L.seed_everything(cfg.seed, workers=True, verbose=False)
    datamodule, model = _build_data_and_model(cfg)
    config = _plain(cfg)
    known = RunConfig(config)
    callbacks = [known, OneFolder(output_dir), *_build_all(cfg.get("callbacks"))]
    if cfg.beta is not None:
        callbacks.append(BetaOverride(cfg.beta))
    trainer = _build(cfg.trainer, callbacks=callbacks, logger=_build_all(cfg.get("logger")))
    is_writer = trainer.is_global_zero
    with process_group_scope(), RunRecord(output_dir, config, ckpt_path, is_writer) as record:
        for logger in trainer.loggers:
            logger.log_hyperparams(config)
        trainer.ckpt_path = ckpt_path  # callbacks see it in their setup, unlike what is passed to `fit`
        trainer.fit(model, datamodule=datamodule, weights_only=True)
        trainer.ckpt_path = None
        metrics = known.latest(trainer)
        if cfg.test:
            trainer.test(model, datamodule=datamodule, verbose=False)
            metrics |= _scalars(trainer.callback_metrics)
        metrics |= _scores(cfg, trainer, model, datamodule)
        if cfg.get("objective") is not None and trainer.is_global_zero:
            metrics["objective"] = objective_value(metrics, **_plain(cfg.objective))
        record.finish(trainer, metrics)
    return metrics


def evaluate(cfg: DictConfig) -> dict[str, float]:
    """Re-create model and data from a checkpoint's own configuration and evaluate it on the test set.

    Args:
        cfg: The composed ``eval`` configuration; entries of ``cfg.overrides`` replace the checkpoint's.

    Returns:
        Test metrics by name.

    Raises:
        GvaeError: The checkpoint or its data cannot be read.
    """
    from lightning_gvae.run import RunRecord

    run_cfg, datamodule, model = _restore(cfg)
    trainer = _build(cfg.trainer, callbacks=_build_all(cfg.get("callbacks")), logger=_build_all(cfg.get("logger")))
    with RunRecord(Path(cfg.paths.output_dir), _plain(run_cfg), cfg.ckpt_path, trainer.is_global_zero) as record:
        trainer.test(model, datamodule=datamodule, verbose=not cfg.metrics)
        metrics = _scalars(trainer.callback_metrics)
        metrics |= _scores(cfg, trainer, model, datamodule)
        if cfg.metrics:
            _show(metrics)
        record.finish(trainer, metrics)
    return metrics


def inspect_data(cfg: DictConfig) -> dict[str, Any]:
    """Show what is in a data set; ``data.json`` and ``images.png`` in the run folder keep it.

    Args:
        cfg: The composed ``inspect`` configuration.

    Returns:
        The figures that ``data.json`` holds.

    Raises:
        GvaeError: The data set cannot be read.
    """
    from rich.console import Console
    from rich.table import Table

    from lightning_gvae.datamodules.examples import examples
    from lightning_gvae.datamodules.summary import summarise, time_reading
    from lightning_gvae.plots.images import contact_sheet
    from lightning_gvae.plots.style import save

    output_dir = Path(cfg.paths.output_dir)
    datamodule = _build(cfg.data)
    datamodule.prepare_data()
    datamodule.setup()
    if hasattr(datamodule, "describe"):
        return _inspect_text(datamodule, output_dir, _plain(cfg.data))
    reading = time_reading(datamodule)
    summary = summarise(datamodule, progress=True)
    figures = summary.as_dict() | {"reading": reading.as_dict(), "config": _plain(cfg.data)}
    save(contact_sheet(examples(datamodule), f"{summary.name}: training images"), output_dir / "images.png")
    write_json(output_dir / "data.json", figures, ensure_ascii=False)
    table = Table(show_header=False, box=None)
    for name, value in [*summary.rows(), reading.row()]:
        table.add_row(name, value)
    Console(highlight=False, markup=False).print(table)
    print(f"\nimages:  {output_dir / 'images.png'}\nfigures: {output_dir / 'data.json'}")
    return figures


def _inspect_text(datamodule: Any, output_dir: Path, config: dict[str, Any]) -> dict[str, Any]:
    """Figures of a corpus: a table of its parts, and ``data.json``."""
    from rich.console import Console
    from rich.table import Table

    figures = datamodule.describe()
    parts = {name: part for name, part in figures.items() if isinstance(part, dict)}
    table = Table("part", *next(iter(parts.values())), title=f"{figures['name']}: {figures['vocabulary']:,} tokens")
    for name, part in parts.items():
        table.add_row(name, *(f"{value:.2%}" if isinstance(value, float) else f"{value:,}" for value in part.values()))
    Console(highlight=False, markup=False).print(table)
    write_json(output_dir / "data.json", figures | {"config": config}, ensure_ascii=False)
    print(f"figures: {output_dir / 'data.json'}")
    return figures | {"config": config}


def study(cfg: DictConfig) -> Path:
    """Run what a study still lacks and write its report.

    Args:
        cfg: The composed ``study`` configuration.

    Returns:
        Path of the report.

    Raises:
        GvaeError: A setting is not as it should be, or a run failed.
    """
    from lightning_gvae.runtime import keep_freed_memory

    if cfg.keep_freed_memory:
        keep_freed_memory()
    _warn_without_effect(cfg)
    protocol, executor, options = _build(cfg.study), _build(cfg.executor), {}
    takes = inspect.signature(protocol.run).parameters
    if "executor" in takes:
        options["executor"] = executor
    elif not str(cfg.executor._target_).endswith(".ProcessExecutor"):
        raise ConfigError(f"study={cfg.study.get('name')} is done by one process; leave `executor` out.")
    if cfg.get("ckpt_path") is not None:
        if "model" not in takes:
            raise ConfigError(f"study={cfg.study.get('name')} trains its own models; leave `ckpt_path` out.")
        _, datamodule, model = _restore(cfg)
        datamodule.prepare_data()
        datamodule.setup()
        options |= {"model": model, "datamodule": datamodule}
    report: Path = protocol.run(Path(cfg.paths.output_dir), cfg.workers, **options)
    print(f"\nreport: {report}")
    return report


def lab(cfg: DictConfig) -> None:
    """Serve the web lab until it is interrupted.

    Args:
        cfg: The composed ``app`` configuration.

    Raises:
        GvaeError: A setting is not as it should be, or the extra ``app`` is not installed.
    """
    settings = _build(cfg.app)
    try:
        from lightning_gvae.app.shell.page import run_lab
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] != "gradio":
            raise
        raise ConfigError("the web lab needs Gradio; install it with: pip install 'lightning-gvae[app]'") from error
    run_lab(settings, restore)


def restore(path: Path) -> Any:
    """What a checkpoint of train.py holds: its configuration, its trained model, and its data module, not loaded.

    Unlike ``eval.py`` it takes the word of the file for nothing but models and data of this package, downloads nothing
    and leaves all random generators as they are.

    Raises:
        CheckpointError: The file cannot be opened, or is not of a model that this package knows.
    """
    import torch

    from lightning_gvae.app.service.library import Restored
    from lightning_gvae.run import read_checkpoint

    checkpoint = read_checkpoint(path)
    stored = checkpoint.get("gvae_config")
    if not isinstance(stored, dict) or not {"model", "data"} <= stored.keys():
        raise CheckpointError(
            f"{path.name} does not carry a configuration; only checkpoints of train.py can be opened."
        )
    try:
        run_cfg = OmegaConf.create({"model": stored["model"], "data": stored["data"]})
        run_cfg.model.update({name: None for name in ("optimizer", "lr_scheduler") if name in run_cfg.model})
        run_cfg.data.update({name: False for name in ("download",) if name in run_cfg.data})
        if unknown := [name for name in named_targets(_plain(run_cfg)) if not str(name).startswith(STORED_TARGETS)]:
            raise CheckpointError(f"{path.name} names {unknown[0]}, which is no model and no data of this package.")
        with torch.random.fork_rng(devices=[]):
            datamodule, model = _build_data_and_model(run_cfg, checkpoint)
            model.on_load_checkpoint(checkpoint)
            model.load_state_dict(checkpoint["state_dict"])
    except CheckpointError:
        raise
    except (
        HydraException,
        OmegaConfBaseException,
        RuntimeError,
        LookupError,
        AttributeError,
        TypeError,
        ValueError,
    ) as error:
        text = " ".join(str(error).split())[:300]
        raise CheckpointError(f"{path.name} is not of a model that this version knows: {text}") from error
    return Restored(stored, model, datamodule)


@hydra.main(version_base="1.3", config_path=CONF, config_name="train")
def _train(cfg: DictConfig) -> dict[str, float] | float | None:
    with _as_a_run_of_its_own():
        metrics = train(cfg)
    if cfg.get("objective") is None:
        return metrics
    _rank(cfg)
    return metrics.get("objective")  # what a sweeper maximises


@contextmanager
def _as_a_run_of_its_own() -> Iterator[None]:
    """In a multirun, let the processes that Lightning starts be of the job under way, and write to its folder.

    Lightning starts them with this process's command line, which in a multirun is that of all jobs, and with the folder
    of a single run: each of them would do a multirun of its own. Jobs of other launchers than Hydra's own are processes
    with command lines of their own; there SLURM starts all processes.
    """
    from hydra._internal.utils import get_args_parser

    own: Any = HydraConfig.get()
    if own.mode != RunMode.MULTIRUN or not own.launcher._target_.endswith(".BasicLauncher"):
        yield
        return
    given = get_args_parser().parse_args(sys.argv[1:])
    flags = {"--config-path": given.config_path, "--config-name": given.config_name, "--config-dir": given.config_dir}
    job = [part for flag, value in flags.items() if value is not None for part in (flag, value)]
    of_all = ("hydra.mode=", "hydra.run.", "hydra.sweep", "hydra/sweeper", "hydra.launcher", "hydra/launcher")
    job += [*own.overrides.task, *(text for text in own.overrides.hydra if not text.lstrip("+~").startswith(of_all))]
    arguments, run_dir = sys.argv, own.run.dir
    try:
        sys.argv = [arguments[0], *job, "hydra.mode=RUN"]
        with read_write(own), open_dict(own):
            own.run.dir = own.runtime.output_dir
        yield
    finally:
        sys.argv = arguments
        with read_write(own), open_dict(own):
            own.run.dir = run_dir


@hydra.main(version_base="1.3", config_path=CONF, config_name="eval")
def _evaluate(cfg: DictConfig) -> dict[str, float]:
    return evaluate(cfg)


@hydra.main(version_base="1.3", config_path=CONF, config_name="inspect")
def _inspect(cfg: DictConfig) -> dict[str, Any]:
    return inspect_data(cfg)


@hydra.main(version_base="1.3", config_path=CONF, config_name="study")
def _study(cfg: DictConfig) -> None:
    study(cfg)


@hydra.main(version_base="1.3", config_path=CONF, config_name="app")
def _app(cfg: DictConfig) -> None:
    lab(cfg)


def train_main() -> None:
    """Entry point of ``train.py`` and ``gvae-train``."""
    _run(_train)


def eval_main() -> None:
    """Entry point of ``eval.py`` and ``gvae-eval``."""
    _run(_evaluate)


def inspect_main() -> None:
    """Entry point of ``python -m lightning_gvae.inspect`` and ``gvae-inspect``."""
    _run(_inspect)


def study_main() -> None:
    """Entry point of ``study.py`` and ``gvae-study``."""
    _run(_study)


def app_main() -> None:
    """Entry point of ``app.py`` and ``gvae-app``."""
    _run(_app)


def _run(entry: Callable[[], Any]) -> None:
    """Run an entry point; the user's own mistakes end in one paragraph, bugs in a traceback."""
    _quiet()
    _guard_hydra()
    full = os.environ.get("HYDRA_FULL_ERROR") == "1" and "GVAE_SHORT_ERRORS" not in os.environ
    if not full:
        # Hydra would print its own mixture of message and traceback; with this it hands the exception over.
        os.environ["HYDRA_FULL_ERROR"] = os.environ["GVAE_SHORT_ERRORS"] = "1"
    try:
        entry()
    except StoppedError as error:
        print(_paragraph(error), file=sys.stderr)
        sys.exit(STOPPED)
    except (GvaeError, HydraException, OmegaConfBaseException, OSError) as error:
        if full:
            raise
        sys.exit(_paragraph(error))
    finally:
        _close_wandb()


def _guard_hydra() -> None:
    """Check the section ``hydra`` too, whose callbacks and logging Hydra makes itself before this package has a say."""
    load = ConfigLoaderImpl.load_configuration
    if hasattr(load, "__wrapped__"):
        return

    @functools.wraps(load)
    def checked(*args: Any, **kwargs: Any) -> DictConfig:
        try:
            cfg = load(*args, **kwargs)
        except (ValueError, TypeError, AttributeError, AssertionError, LookupError) as error:
            # Hydra takes for granted that the choices of a group are names, and stumbles over numbers.
            given = " ".join(each for each in kwargs.get("overrides") or args[1] if not each.startswith("hydra.mode="))
            reason = f"{error}" or type(error).__name__
            raise ConfigError(
                f"The settings `{given}` do not compose ({reason}); choices such as `model=vae` must be names."
            ) from error
        own: Any = cfg.get("hydra") or {}
        if own.get("callbacks"):
            check_targets(OmegaConf.to_container(own["callbacks"], resolve=True))
        for name in ("launcher", "sweeper"):
            if own.get(name):
                check_plugins(OmegaConf.to_container(own[name], resolve=False))
        for name in ("job_logging", "hydra_logging"):
            if own.get(name):
                check_logging(OmegaConf.to_container(own[name], resolve=False))
        return cfg

    ConfigLoaderImpl.load_configuration = checked  # type: ignore[method-assign]


def _quiet() -> None:
    """Leave out what says nothing about the run: advertisements, and warnings about what is meant to be so."""
    logging.getLogger("lightning.pytorch.utilities.rank_zero").addFilter(lambda record: "Tip:" not in record.msg)
    for message in (
        "Experiment logs directory .* exists and is not empty",  # Hydra made it
        ".*isinstance.treespec, LeafSpec.* is deprecated",  # inside Lightning
        ".*does not have many workers",  # whole batches come from memory
        "The number of training batches .* is smaller than the logging interval",  # steps count here, not epochs
        "Checkpoint directory .* exists and is not empty",
        "The dirpath has changed from",  # a resumed run has a folder of its own
    ):
        warnings.filterwarnings("ignore", message)


def _paragraph(error: BaseException) -> str:
    text = str(error).split("Config search path")[0]  # Hydra's list of providers helps nobody
    message = " ".join(text.split())
    return "\n" + textwrap.fill(f"{type(error).__name__}: {message} (HYDRA_FULL_ERROR=1 shows the traceback)", 118)


def _close_wandb() -> None:
    # Only if the run used it: importing it takes a second.
    if (wandb := sys.modules.get("wandb")) is not None and wandb.run is not None:
        wandb.finish()


def _build(node: Any, **kwargs: Any) -> Any:
    """Instantiate a node; what its constructor has to say about the user's values is passed on as it is."""
    if not OmegaConf.is_dict(node) or "_target_" not in node:
        raise ConfigError(
            f"a setting that names a class by `_target_`, with its arguments, is needed; got {node!r:.100}."
        )
    for name in sorted(OmegaConf.missing_keys(node)):  # full names
        raise ConfigError(f"`{name}` must be given, on the command line as {name}=...")
    # Resolved before it is checked: an interpolation may lead to a target anywhere in the configuration.
    node = with_moved_targets(OmegaConf.to_container(node, resolve=True))
    check_targets(node)
    try:
        # Plain lists and dicts, so that checkpoints hold nothing but plain containers.
        return instantiate(node, _convert_="all", **kwargs)
    except HydraException as error:
        cause = error.__cause__
        if isinstance(cause, GvaeError):
            raise cause from None
        if cause is not None:  # whatever it is: with HYDRA_FULL_ERROR=1 its traceback is shown
            said = f"{type(cause).__name__}: {cause}" if str(cause) else type(cause).__name__
            said = str(cause) if isinstance(cause, ValueError | TypeError) and str(cause) else said
            raise ConfigError(f"{node.get('_target_')} refuses its settings: {said}") from cause
        raise


def _build_all(nodes: Any) -> list[Any]:
    """Instantiate every entry of a group; entries set to null are left out."""
    if nodes is not None and not OmegaConf.is_dict(nodes):
        raise ConfigError(f"a group of settings by name is needed, got {nodes!r:.100}.")
    return [_build(node) for node in (nodes or {}).values() if node is not None]


def _build_data_and_model(cfg: DictConfig, checkpoint: Mapping[str, Any] | None = None) -> tuple[Any, Any]:
    datamodule = _build(cfg.data)
    if not hasattr(datamodule, "spec"):
        raise ConfigError(f"`data` must be a data module of this package, got {type(datamodule).__name__}.")
    if not OmegaConf.is_dict(cfg.model):
        raise ConfigError(f"`model` must name a class by `_target_`, with its arguments; got {cfg.model!r:.100}.")
    if checkpoint is not None and hasattr(datamodule, "restore"):
        datamodule.restore(checkpoint)  # sentences are read with the words that the model knows
    with open_dict(cfg):
        if cfg.model.get("image_shape") is None:
            cfg.model.image_shape = list(datamodule.spec.image_shape)
    model = _build(cfg.model)
    if not hasattr(model, "image_shape"):
        raise ConfigError(f"`model` must be a model of this package, got {type(model).__name__}.")
    if tuple(model.image_shape) != tuple(datamodule.spec.image_shape):
        raise ConfigError(
            f"`model.image_shape` is {tuple(model.image_shape)}, but the data set {datamodule.spec.name} has images of "
            f"shape {tuple(datamodule.spec.image_shape)}; leave model.image_shape out to take the data's."
        )
    return datamodule, model


def _restore(cfg: DictConfig) -> tuple[DictConfig, Any, Any]:
    """The configuration that a checkpoint carries, with ``cfg``'s changes to it, and its data and trained model."""
    import lightning as L

    from lightning_gvae.run import read_checkpoint

    checkpoint = read_checkpoint(cfg.ckpt_path)
    stored = checkpoint.get("gvae_config")
    if stored is None:
        raise CheckpointError(
            f"{cfg.ckpt_path} does not carry a configuration; only checkpoints of train.py can be evaluated this way."
        )
    if not isinstance(stored, dict) or not {"data", "model", "seed"} <= stored.keys():
        raise CheckpointError(f"{cfg.ckpt_path} carries a configuration without data, model and seed; it is damaged.")
    try:
        run_cfg = OmegaConf.create(stored)
        for name in ("data", "model"):
            if given := {key: value for key, value in (cfg.get(name) or {}).items() if value is not None}:
                run_cfg[name] = OmegaConf.merge(run_cfg[name], given)
        L.seed_everything(int(run_cfg.seed), workers=True, verbose=False)
        datamodule, model = _build_data_and_model(run_cfg, checkpoint)
        model.on_load_checkpoint(checkpoint)
        model.load_state_dict(checkpoint["state_dict"])
    except (AttributeError, IndexError, KeyError, RuntimeError, TypeError, ValueError) as error:
        if isinstance(error, GvaeError):
            raise
        said = " ".join(str(error).split())[:300]
        raise CheckpointError(
            f"{cfg.ckpt_path} is not of a model that this version knows, or damaged ({type(error).__name__}: {said})."
        ) from error
    return run_cfg, datamodule, model


def _warn_without_effect(cfg: DictConfig) -> None:
    """Warn about settings of the last release that are still accepted and do nothing any more."""
    if cfg.get("onednn_linear") is not None:
        warnings.warn(
            "`onednn_linear` has no effect: linear layers are torch's own. Leave it out; the next release refuses it.",
            FutureWarning,
            stacklevel=2,
        )


def _validate_at_least_once(cfg: DictConfig) -> None:
    """A run shorter than the validation interval is validated when it ends."""
    if not OmegaConf.is_dict(cfg.trainer):
        raise ConfigError(f"`trainer` must name a class by `_target_`, with its arguments; got {cfg.trainer!r:.100}.")
    interval, steps = cfg.trainer.get("val_check_interval"), cfg.trainer.get("max_steps")
    if isinstance(interval, int) and isinstance(steps, int) and 0 < steps < interval:
        cfg.trainer.val_check_interval = steps


def _resolve_checkpoint(cfg: DictConfig) -> str | None:
    """Path to resume from.

    ``last`` is the newest ``last.ckpt`` among the task's earlier runs; ``auto`` is the one in the run's own folder, if
    an interrupted run has left one there: the same command starts and goes on.
    """
    if cfg.ckpt_path is None:
        return None
    from lightning_gvae.run import read_checkpoint

    path = Path(cfg.ckpt_path)
    if cfg.ckpt_path == "auto":
        path = Path(cfg.paths.output_dir) / "checkpoints" / "last.ckpt"
        if not path.is_file():
            return None
    if cfg.ckpt_path == "last":
        runs = Path(cfg.paths.log_dir) / cfg.task_name
        own = Path(cfg.paths.output_dir).resolve()
        found = [path for path in runs.glob("**/checkpoints/last.ckpt") if own not in path.resolve().parents]
        if not found:
            raise CheckpointError(
                f"`ckpt_path=last` finds no checkpoints/last.ckpt below {runs}; give the path of a checkpoint, or "
                "start without ckpt_path."
            )
        path = max(found, key=lambda candidate: candidate.stat().st_mtime)
    read_checkpoint(path)
    return str(path)


def _plain(cfg: DictConfig) -> dict[str, Any]:
    container = OmegaConf.to_container(cfg, resolve=True)
    assert isinstance(container, dict)
    return {str(key): value for key, value in container.items()}


def _scores(cfg: DictConfig, trainer: Any, model: Any, datamodule: Any) -> dict[str, float]:
    """The scores that ``metrics`` names, computed by rank 0 and given to the loggers."""
    if not cfg.metrics or not trainer.is_global_zero:
        return {}
    from lightning_gvae.plots.images import grid
    from lightning_gvae.plots.style import save

    folder = Path(cfg.paths.output_dir)
    suite = _build(cfg.evaluation)
    names = cfg.metrics if isinstance(cfg.metrics, str) else list(cfg.metrics)

    def show(sampler: str, images: Any) -> None:
        save(grid(images, title=f"Sampler: {sampler}"), folder / "figures" / f"samples_{sampler}.png")

    scores: dict[str, float] = suite.run(names, model, datamodule, show=show)
    # A score without its number of images and its seed says nothing.
    settings = {name: value for name, value in _plain(cfg.evaluation).items() if name not in ("_target_", "cache_dir")}
    write_json(folder / "scores.json", {"scores": scores, "settings": settings})
    for logger in trainer.loggers:
        logger.log_metrics(scores, step=trainer.global_step)
        logger.save()
    return scores


def _rank(cfg: DictConfig) -> None:
    """In a multirun: the runs so far, best objective first, in ``ranking.csv`` above the run folders."""
    from lightning_gvae.evaluation.objective import ranking

    if HydraConfig.get().mode != RunMode.MULTIRUN:
        return
    folder = Path(HydraConfig.get().sweep.dir)
    write_csv(folder / "ranking.csv", ["objective", "run", "overrides"], ranking(folder))
    print(f"ranking:    {folder / 'ranking.csv'}")


def _show(metrics: Mapping[str, float]) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table("metric", "value")
    for name, value in sorted(metrics.items()):
        table.add_row(name, f"{value:.6g}")
    Console().print(table)


def _scalars(metrics: Mapping[str, Any]) -> dict[str, float]:
    return {name: float(value) for name, value in metrics.items()}
