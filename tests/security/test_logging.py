"""Logging configurations make plain handlers and write below the run folder, and nothing else."""

from pathlib import Path

import hydra
import pytest
import yaml

from lightning_gvae.cli.logging_check import check_logging
from lightning_gvae.errors import ConfigError

OWN = "${hydra.runtime.output_dir}/"


def handlers(**entry):
    return {"version": 1, "handlers": {"console": {"class": "logging.StreamHandler"}, "evil": entry}}


@pytest.mark.parametrize("group", ["job_logging", "hydra_logging"])
def test_the_configurations_of_hydra_pass(group):
    files = sorted((Path(hydra.__file__).parent / "conf/hydra" / group).glob("*.yaml"))
    files = [file for file in files if file.stem != "hydra_debug"]  # it writes to the current folder
    assert len(files) >= 3
    for file in files:
        check_logging(yaml.safe_load(file.read_text()))


@pytest.mark.parametrize("kind", ["FileHandler", "handlers.RotatingFileHandler", "handlers.TimedRotatingFileHandler"])
@pytest.mark.parametrize("name", [OWN + "${hydra.job.name}.log", OWN + "run.log", OWN + "logs/my run.txt"])
def test_files_below_the_run_folder_pass(kind, name):
    check_logging(handlers(**{"class": f"logging.{kind}", "filename": name}))


@pytest.mark.parametrize(
    "name",
    [
        None,
        "victim.txt",
        "/etc/passwd",
        "${oc.env:HOME}/.bashrc",
        "${hydra.runtime.cwd}/train.py",
        OWN + "../../victim.txt",
        OWN + "/etc/passwd",
        OWN + "${oc.env:HOME}",
        OWN + "a/../../b",
        OWN,
    ],
)
@pytest.mark.parametrize("kind", ["FileHandler", "handlers.RotatingFileHandler", "handlers.WatchedFileHandler"])
def test_files_elsewhere_are_refused(kind, name):
    with pytest.raises(ConfigError, match="must lie below the run folder.*nothing was written"):
        check_logging(handlers(**{"class": f"logging.{kind}", "filename": name}))


@pytest.mark.parametrize(
    "entry",
    [
        {"class": "logging.io.open", "file": "victim.txt", "mode": "w"},
        {"class": "logging.os.mkdir", "path": "victim"},
        {"class": "logging.handlers.SocketHandler", "host": "example.org", "port": 80},
        {"class": "logging.handlers.SMTPHandler"},
        {"class": "logging.config.dictConfig"},
        {"class": "os.mkdir"},
        {"class": "${oc.decode:os.mkdir}"},
        {"()": "os.mkdir"},
        {"()": "logging.FileHandler", "filename": OWN + "x"},
        {"class": "logging.StreamHandler", "stream": "ext://os.environ"},
        {"class": "logging.StreamHandler", "formatter": {"()": "os.system"}},
        {"class": "logging.StreamHandler", "filters": [{"()": "os.system"}]},
    ],
    ids=str,
)
def test_whatever_else_would_be_made_is_refused(entry):
    with pytest.raises(ConfigError, match="a logging configuration may"):
        check_logging(handlers(**entry))


@pytest.mark.parametrize("section", ["filters", "formatters"])
def test_filters_and_formatters_make_nothing(section):
    with pytest.raises(ConfigError, match="nothing was called"):
        check_logging({"version": 1, section: {"evil": {"()": "os.mkdir", "path": "victim"}}})


def test_colours_are_allowed():
    check_logging({"formatters": {"colour": {"()": "colorlog.ColoredFormatter", "format": "%(message)s"}}})
