"""What ``lightning_compat`` says is what Lightning does; a new version that changed it is found here, and said."""

import lightning as L
import pytest
import torch
from lightning.pytorch.loggers.logger import DummyLogger
from lightning.pytorch.strategies import DDPStrategy
from torch.utils.data import DataLoader, TensorDataset

from lightning_gvae import lightning_compat as compat

# function -> private names that it relies on, from the Trainer on
RELIED_ON = {
    "logger_step": ["fit_loop.epoch_loop._batches_that_stepped"],
    "epoch_means": ["_logger_connector.metrics"],
    "restore_logger_step": ["fit_loop.epoch_loop._batches_that_stepped"],
    "run_ends_here": ["fit_loop.epoch_loop._num_ready_batches_reached", "fit_loop.epoch_progress"],
    "stops_early": ["fit_loop._can_stop_early"],
    "validate_now": ["_logger_connector._first_loop_iter", "fit_loop.epoch_loop._batches_that_stepped"],
    "validate_on_steps": [
        "fit_loop.epoch_loop._should_check_val_fx",
        "fit_loop.epoch_loop._should_check_val_epoch",
        "fit_loop.epoch_loop._should_accumulate",
        "fit_loop.epoch_loop.restarted_on_last",
        "_val_check_time_interval",
    ],
    "validation_follows": ["fit_loop._data_fetcher", "fit_loop.epoch_loop._should_check_val_fx"],
    "leave_finished_epoch": [
        "fit_loop._restarting",
        "fit_loop.update_restart_stage",
        "fit_loop.restarted_on_epoch_end",
    ],
}


def changed(function, detail):
    return (
        f"Lightning {L.__version__} is not what lightning_compat.{function} relies on: {detail}. Mend the function, or "
        "bound the version of lightning in pyproject.toml."
    )


class Net(L.LightningModule):
    def __init__(self):
        super().__init__()
        self.layer = torch.nn.Linear(2, 1)

    def training_step(self, batch, batch_idx):
        loss = self.layer(batch[0]).square().mean()
        self.log("step_value", float(batch_idx))
        self.log("epoch_value", float(batch_idx), on_step=False, on_epoch=True)
        return loss

    def validation_step(self, batch, batch_idx):
        self.log("val", 0.0)

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.1)


class Rows(DummyLogger):
    """Keeps the step and the names of what is logged."""

    def __init__(self):
        super().__init__()
        self.rows = []

    def log_metrics(self, metrics, step=None):
        self.rows.append((step, {name: float(value) for name, value in metrics.items()}))


class Watch(L.Callback):
    """Compares at every batch what compat says with what Lightning does later."""

    def __init__(self, logger):
        self.logger, self.validated, self.announced = logger, [], []
        self.logged_at, self.due_at, self.epochs = [], [], 0

    def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
        accumulating = trainer.fit_loop._should_accumulate()
        assert compat.is_accumulating(trainer) is accumulating, changed("is_accumulating", f"batch {batch_idx}")
        due = trainer._logger_connector.should_update_logs
        assert compat.loggers_are_due(trainer) == due, changed("loggers_are_due", f"batch {batch_idx}")
        if due and not accumulating:
            self.due_at.append(compat.logger_step(trainer))
        if compat.validation_follows(trainer):
            self.announced.append(trainer.fit_loop.total_batch_idx)

    def on_validation_start(self, trainer, pl_module):
        self.validated.append(trainer.fit_loop.total_batch_idx)

    def on_train_epoch_end(self, trainer, pl_module):
        self.epochs += 1
        names = {"epoch_value"}
        assert set(compat.epoch_means(trainer)) == names, changed("epoch_means", sorted(compat.epoch_means(trainer)))


@pytest.mark.parametrize(
    "settings",
    [
        {"max_steps": 13, "val_check_interval": 4, "check_val_every_n_epoch": None},
        {"max_epochs": 2, "accumulate_grad_batches": 3, "log_every_n_steps": 2},
        {"max_epochs": 3, "limit_train_batches": 4, "accumulate_grad_batches": 3},
        {"max_epochs": 2, "val_check_interval": 0.5, "log_every_n_steps": 0},
    ],
    ids=["steps", "accumulation", "short epochs", "no logging"],
)
def test_it_foretells_what_lightning_does(settings, tmp_path):
    logger = Rows()
    watch = Watch(logger)
    loader = DataLoader(TensorDataset(torch.randn(20, 2)), batch_size=2)
    trainer = L.Trainer(
        accelerator="cpu",
        logger=logger,
        callbacks=[watch],
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        num_sanity_val_steps=0,
        default_root_dir=tmp_path,
        **{"max_epochs": -1, "log_every_n_steps": 3, **settings},
    )
    trainer.fit(Net(), loader, loader)
    assert watch.validated and watch.announced == watch.validated, changed("validation_follows", watch.announced)
    steps = [step for step, values in logger.rows if "step_value" in values]
    assert steps == watch.due_at, changed("logger_step", f"{watch.due_at}, rows at {steps}")
    assert bool(steps) == (settings.get("log_every_n_steps") != 0)
    assert sum("epoch_value" in values for _, values in logger.rows) == watch.epochs, changed(
        "epoch_means", logger.rows
    )


@pytest.mark.parametrize("function", list(RELIED_ON))
def test_the_private_names_are_there(function, tmp_path):
    trainer = L.Trainer(
        accelerator="cpu",
        logger=False,
        max_steps=1,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        default_root_dir=tmp_path,
    )
    for path in RELIED_ON[function]:
        *owners, last = path.split(".")
        owner = trainer
        for name in owners:
            owner = getattr(owner, name)
        # Of some, such as `metrics`, the value exists in a fit only.
        assert last in vars(owner) or hasattr(type(owner), last), changed(function, f"there is no {path}")


class Ends(L.Callback):
    """Notes after which batches of the run it was said to end, and after which steps it was validated."""

    def __init__(self, also=lambda trainer: False):
        self.also, self.ends, self.validated = also, [], []

    def setup(self, trainer, pl_module, stage):
        compat.validate_on_steps(trainer, lambda: self.also(trainer))

    def on_train_batch_end(self, trainer, pl_module, *args):
        assert not compat.is_between_batches(trainer)
        if compat.run_ends_here(trainer):
            self.ends.append(trainer.fit_loop.total_batch_idx)

    def on_validation_start(self, trainer, pl_module):
        assert compat.is_accumulating(trainer) is False
        self.validated.append(trainer.global_step)


@pytest.mark.parametrize(
    ("settings", "batches", "steps"),
    [
        # 10 batches an epoch, 4 steps of at most 3 batches
        ({"max_steps": 7, "val_check_interval": 3, "check_val_every_n_epoch": None}, 19, [3, 6]),
        ({"max_epochs": 2, "val_check_interval": 2}, 20, [2, 4, 6, 8]),  # steps of the epoch
        ({"max_epochs": 2, "val_check_interval": 1.0}, 20, [4, 8]),
        ({"max_epochs": 1, "val_check_interval": 0.5}, 10, [2, 4]),  # batches 5 and 10, of which the first is no step
        ({"max_epochs": 1, "val_check_interval": 0.25}, 10, [1, 2, 3, 4]),
        ({"max_epochs": 3, "val_check_interval": 1.0, "check_val_every_n_epoch": 2}, 30, [8]),
        ({"max_epochs": 1, "val_check_interval": {"seconds": 0}}, 10, [1, 2, 3, 4]),
        ({"max_epochs": 1, "limit_val_batches": 0}, 10, []),
    ],
)
def test_validations_count_optimiser_steps_and_the_end_is_foretold(settings, batches, steps, tmp_path):
    ends = Ends()
    loader = DataLoader(TensorDataset(torch.randn(20, 2)), batch_size=2)
    quiet(tmp_path, ends, accumulate_grad_batches=3, num_sanity_val_steps=0, **{"max_epochs": -1, **settings}).fit(
        Net(), loader, loader
    )
    assert ends.validated == steps, changed("validate_on_steps", f"validated after {ends.validated}")
    assert ends.ends == [batches - 1], changed("run_ends_here", f"said after batches {ends.ends}")


def test_a_validation_can_be_asked_for(tmp_path):
    ends = Ends(also=lambda trainer: trainer.global_step == 2)
    loader = DataLoader(TensorDataset(torch.randn(20, 2)), batch_size=2)
    quiet(tmp_path, ends, max_epochs=1, check_val_every_n_epoch=5, num_sanity_val_steps=0).fit(Net(), loader, loader)
    assert ends.validated == [2], changed("validate_on_steps", f"validated after {ends.validated}")


def quiet(folder, *callbacks, **settings):
    return L.Trainer(
        accelerator="cpu",
        logger=False,
        callbacks=list(callbacks),
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        default_root_dir=folder,
        **settings,
    )


class Manual(Net):
    """Two optimisers that step in one batch, and count as one step or as two."""

    def __init__(self, once):
        super().__init__()
        self.automatic_optimization, self.once = False, once

    def training_step(self, batch, batch_idx):
        optimizers = self.optimizers()
        for optimizer in optimizers:
            for name in ("_on_before_step", "_on_after_step"):
                assert callable(getattr(optimizer, name, None)), changed("one_optimizer_step", f"there is no {name}")
        if self.once:
            with compat.one_optimizer_step(optimizers):
                self.steps(batch, optimizers)
        else:
            self.steps(batch, optimizers)

    def steps(self, batch, optimizers):
        for optimizer in optimizers:
            optimizer.zero_grad()
            self.manual_backward(self.layer(batch[0]).square().mean())
            optimizer.step()

    def configure_optimizers(self):
        return [torch.optim.SGD([parameter], lr=0.1) for parameter in self.parameters()]


@pytest.mark.parametrize(("once", "count"), [(True, 10), (False, 20)])
def test_steps_of_several_optimisers_count_as_one(once, count, tmp_path):
    loader = DataLoader(TensorDataset(torch.randn(20, 2)), batch_size=2)
    trainer = L.Trainer(
        accelerator="cpu",
        logger=False,
        max_epochs=1,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        default_root_dir=tmp_path,
    )
    trainer.fit(Manual(once), loader, loader)
    assert trainer.global_step == count, changed("one_optimizer_step", f"{trainer.global_step} steps, not {count}")


@pytest.mark.parametrize(("settings", "found"), [({}, False), ({"find_unused_parameters": True}, True)])
def test_ddp_says_whether_it_looks_for_unused_parameters(settings, found):
    strategy = DDPStrategy(**settings)
    assert compat.finds_unused_parameters(strategy) is found, changed("finds_unused_parameters", settings)


def test_the_data_module_of_a_run_is_known(tmp_path):
    settings = {"logger": False, "enable_checkpointing": False, "enable_progress_bar": False, "max_steps": 0}
    trainer = L.Trainer(accelerator="cpu", enable_model_summary=False, default_root_dir=tmp_path, **settings)
    assert compat.datamodule_of(trainer) is None, changed("datamodule_of", "a Trainer has none from the start")
    data, loader = L.LightningDataModule(), DataLoader(TensorDataset(torch.randn(4, 2)))
    data.train_dataloader = data.val_dataloader = lambda: loader
    trainer.fit(Net(), datamodule=data)
    assert compat.repeats_batches(trainer) is False and compat.repeats_batches(None) is False
    assert compat.datamodule_of(trainer) is data, changed("datamodule_of", "it is not the one of `fit`")
