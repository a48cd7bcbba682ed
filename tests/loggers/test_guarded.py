"""A logger that fails, wherever it does, is reported once by name and left out; the run ends as without it."""

import copy
import pickle

import pytest
import torch
from lightning.pytorch.loggers import CSVLogger, Logger, TensorBoardLogger, WandbLogger

from lightning_gvae.callbacks.figures import Figures
from lightning_gvae.callbacks.history import History
from lightning_gvae.loggers.csv import CsvLog
from lightning_gvae.loggers.guarded import attempt, failures, guarded, logging_session
from lightning_gvae.loggers.scalars import send_hyperparams, send_scalars
from lightning_gvae.loggers.tables import send_table
from tests.callbacks import FakeVAE, quiet_trainer, train_loader, val_loader


class Tables(Logger):
    """A logger with everything that this package asks of one; raises in one method."""

    def __init__(self, bad=None):
        self.bad, self.calls, self.rows = bad, [], []

    def _do(self, what):
        self.calls.append(what)
        if what == self.bad:
            raise RuntimeError("the server is away\nand more lines")

    @property
    def experiment(self):
        self._do("experiment")
        return self

    @property
    def name(self):
        self._do("name")
        return "tables"

    @property
    def version(self):
        self._do("version")
        return 0

    def log_metrics(self, metrics, step=None):
        self._do("log_metrics")

    def log_hyperparams(self, params):
        self._do("log_hyperparams")

    def log_table(self, key, columns, data, step=None):
        self._do("log_table")
        self.rows.append((key, data))

    def save(self):
        self._do("save")

    def after_save_checkpoint(self, checkpoint_callback):
        self._do("after_save_checkpoint")

    def finalize(self, status):
        self._do("finalize")


METHODS = ["experiment", "log_metrics", "log_hyperparams", "log_table", "save", "after_save_checkpoint", "finalize"]


def fit(folder, loggers):
    """A short run that uses loggers in every way; the weights it ends with."""
    torch.manual_seed(0)  # of the dropout
    model = FakeVAE()
    settings = {"max_steps": 12, "val_check_interval": 6, "check_val_every_n_epoch": None, "log_every_n_steps": 2}
    trainer = quiet_trainer(folder, History(), Figures(n_samples=4), logger=loggers, num_sanity_val_steps=0, **settings)
    with logging_session(trainer.loggers):
        send_hyperparams(trainer, {"seed": 0})
        trainer.fit(model, train_loader(), val_loader())
        trainer.test(model, val_loader(), verbose=False, weights_only=True)
        send_scalars(trainer, {"score/fid": 1.0}, trainer.global_step)
    return model.state_dict()


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    logger = Tables()
    weights = fit(tmp_path_factory.mktemp("good"), [logger])
    assert set(METHODS) <= set(logger.calls), "the run does not use all that is tested below"
    return weights


@pytest.mark.parametrize("bad", METHODS)
def test_a_logger_that_fails_is_reported_once_and_left_out(bad, undisturbed, tmp_path, caplog):
    logger, other = Tables(bad), CsvLog(tmp_path)
    with caplog.at_level("INFO", logger="lightning.pytorch.utilities.rank_zero"):
        weights = fit(tmp_path, [logger, other])
    said = [line for line in caplog.messages if "left out" in line]
    what = f"The logger Tables has failed in {bad} (RuntimeError: the server is away)"
    assert said == [f"{what} and is left out for the rest of the run, which goes on."]
    assert logger.calls.count(bad) == 1
    assert not set(logger.calls[logger.calls.index(bad) + 1 :]) - {"name", "version"}, "it was called again"
    assert failures([logger, other]) == {"Tables": f"{bad}: RuntimeError: the server is away"}
    assert all(torch.equal(weights[name], undisturbed[name]) for name in weights)
    assert len((tmp_path / "metrics.csv").read_text().splitlines()) > 6, "the other logger lost rows"


def test_a_guarded_logger_is_of_its_class_and_can_be_copied_and_sent(tmp_path):
    for logger in (Tables(), CSVLogger(tmp_path), TensorBoardLogger(tmp_path), WandbLogger(save_dir=tmp_path)):
        kind = type(logger)
        guarded(logger)
        assert isinstance(logger, kind) and type(logger).__name__ == kind.__name__
        assert guarded(logger) is logger
    for twin in (copy.deepcopy(guarded(Tables())), pickle.loads(pickle.dumps(guarded(Tables())))):  # noqa: S301
        assert isinstance(twin, Tables)
        twin.bad = "save"
        twin.save()
        assert failures([twin]) == {"Tables": "save: RuntimeError: the server is away"}


def test_an_interrupt_is_no_failure_of_a_logger():
    def interrupted():
        raise KeyboardInterrupt

    logger = guarded(Tables())
    with pytest.raises(KeyboardInterrupt):
        attempt(logger, "log_image", interrupted)
    assert failures([logger]) == {}


def test_columns_of_a_table_have_one_type_each(tmp_path):
    logger = Tables()
    trainer = quiet_trainer(tmp_path, logger=[logger])
    send_table(trainer, "population", ["beta", "fitness", "exit"], [[0.5, "", "a"], [1, -3.5, 7], [2, "", ""]], 3)
    assert logger.rows == [("population", [[0.5, None, "a"], [1.0, -3.5, "7"], [2.0, None, ""]])]
    send_table(trainer, "empty", ["beta"], [])
    assert logger.rows[-1] == ("empty", [])
