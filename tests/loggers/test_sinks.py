"""Figures, tables and final values reach every logger that can take them, by the calls of its library."""

import csv
from pathlib import Path

import numpy as np
import pytest
from lightning.pytorch.loggers import CometLogger, CSVLogger, Logger, MLFlowLogger, TensorBoardLogger
from lightning.pytorch.loggers.logger import DummyLogger
from matplotlib.figure import Figure as Drawing

from lightning_gvae.loggers.figures import save_pictures, send_images, send_pictures
from lightning_gvae.loggers.sinks import MethodSink, sink_of
from lightning_gvae.loggers.tables import send_summary, send_table
from lightning_gvae.plots.pictures import Picture, Views
from tests.callbacks import quiet_trainer

COLUMNS, ROWS = ["beta", "exit"], [[0.5, "a|b"], ["", "c"]]


class Calls:
    """Takes any call and keeps it."""

    def __init__(self):
        self.made = []

    def __getattr__(self, name):
        return lambda *arguments, **settings: self.made.append((name, arguments, settings))


class Recorded:
    """A logger of a library that need not be installed."""

    def __init__(self):
        Logger.__init__(self)
        self.calls = Calls()

    experiment = property(lambda self: self.calls)
    name = version = property(lambda self: "recorded")

    def log_metrics(self, metrics, step=None): ...

    def log_hyperparams(self, params): ...


class RecordedMLflow(Recorded, MLFlowLogger):
    run_id = "r1"


class RecordedComet(Recorded, CometLogger): ...


class Methods(Recorded, Logger):
    """Somebody's own logger, with methods like those of W&B's."""

    def log_image(self, key, images, step=None, **more):
        self.calls.log_image(key, images, step)

    def log_table(self, key, columns, data, step=None):
        self.calls.log_table(key, columns, data, step)


def sent(folder, logger):
    """Everything that this package sends, to one logger; the paths of the pictures."""
    trainer = quiet_trainer(folder, logger=[logger])
    figure = Drawing()
    figure.add_subplot().plot([0, 1])
    pictures = [Picture("Curve", "A line.", "curve.png", figure)]
    save_pictures(folder, pictures, "curve")
    (folder / "figures" / "moving.gif").write_bytes(b"GIF89a")
    send_pictures(trainer, folder, [*pictures, Picture("Moving", "It moves.", "moving.gif")])
    images = np.zeros((2, 1, 4, 4))
    send_images(trainer, Views(images, images, images, np.zeros((0, 0, 1, 4, 4)), [], np.zeros(0), np.zeros(0)))
    send_table(trainer, "population", COLUMNS, ROWS, 3)
    send_summary(trainer, {"best": 1.5, "why": "because"})
    return folder / "figures" / "curve.png", folder / "figures" / "moving.gif"


def test_mlflow_gets_artifacts_metrics_and_tags(tmp_path):
    logger = RecordedMLflow()
    curve, moving = sent(tmp_path, logger)
    text = "beta,exit\r\n0.5,a|b\r\n,c\r\n"
    assert logger.calls.made == [
        ("log_artifact", ("r1", str(curve), "figures/step_0"), {}),
        ("log_artifact", ("r1", str(moving), "figures/step_0"), {}),
        ("log_text", ("r1", text, "tables/population.csv"), {}),
        ("log_metric", ("r1", "best", 1.5), {}),
        ("set_tag", ("r1", "why", "because"), {}),
    ]


def test_comet_gets_images_tables_and_values(tmp_path):
    logger = RecordedComet()
    curve, moving = sent(tmp_path, logger)
    assert logger.calls.made == [
        ("log_image", (), {"image_data": str(curve), "name": "figures/curve", "step": 0}),
        ("log_image", (), {"image_data": str(moving), "name": "figures/moving_in_motion", "step": 0}),
        ("log_table", ("population.csv",), {"tabular_data": [[0.5, "a|b"], [None, "c"]], "headers": COLUMNS}),
        ("log_metric", ("best", 1.5), {}),
        ("log_other", ("why", "because"), {}),
    ]


def test_somebodys_own_logger_gets_what_it_has_methods_for(tmp_path):
    logger = Methods()
    curve, moving = sent(tmp_path, logger)
    assert logger.calls.made == [
        ("log_image", ("figures/curve", [str(curve)], 0), {}),
        ("log_image", ("figures/moving_in_motion", [str(moving)], 0), {}),
        ("log_table", ("population", COLUMNS, [[0.5, "a|b"], [None, "c"]], 3), {}),
    ]


def test_loggers_of_numbers_alone_are_left_in_peace(tmp_path):
    for logger in (CSVLogger(tmp_path), DummyLogger()):
        assert isinstance(sink_of(logger), MethodSink)
        sent(tmp_path, logger)


def test_tensorboard_gets_figures_and_tables_as_text(tmp_path):
    events = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    logger = TensorBoardLogger(tmp_path / "tb", name="", version="")
    sent(tmp_path, logger)
    logger.experiment.flush()
    found = events.EventAccumulator(str(tmp_path / "tb"))
    found.Reload()
    assert found.Tags()["images"] == ["figures/curve"]
    (event,) = found.Tensors("population/text_summary")
    text = event.tensor_proto.string_val[0].decode()
    assert event.step == 3
    assert text == "| beta | exit |\n| --- | --- |\n| 0.5 | a&#124;b |\n|  | c |"
    assert "| why | because |" in found.Tensors("summary/text_summary")[0].tensor_proto.string_val[0].decode()


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # of its libraries
def test_a_real_mlflow_run_has_them(tmp_path, monkeypatch):
    mlflow = pytest.importorskip("mlflow", reason="needs the extra mlflow")
    pytest.importorskip("sqlalchemy", reason="needs the extra mlflow")
    monkeypatch.chdir(tmp_path)
    logger = MLFlowLogger("lightning-gvae", tracking_uri=f"sqlite:///{tmp_path / 'mlflow.db'}", tags={"task": "train"})
    sent(tmp_path, logger)
    client = mlflow.MlflowClient(f"sqlite:///{tmp_path / 'mlflow.db'}")
    run = client.get_run(logger.run_id)
    assert run.data.metrics == {"best": 1.5}
    assert {"why": "because", "task": "train"}.items() <= run.data.tags.items()
    folders = ("figures/step_0", "tables")
    listed = {entry.path for folder in folders for entry in client.list_artifacts(logger.run_id, folder)}
    assert listed == {"figures/step_0/curve.png", "figures/step_0/moving.gif", "tables/population.csv"}
    table = Path(client.download_artifacts(logger.run_id, "tables/population.csv", str(tmp_path)))
    assert list(csv.reader(table.read_text().splitlines())) == [COLUMNS, ["0.5", "a|b"], ["", "c"]]
