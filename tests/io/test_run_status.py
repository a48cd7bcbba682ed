"""A run that was killed is not running for ever: its process is asked for."""

import json
import os
import subprocess
import sys

import pytest

from lightning_gvae.io.run_status import RECORD, process_facts, read_status, run_status

NOTE = (
    "import json; from lightning_gvae.io.run_status import process_facts; "
    "print(json.dumps(process_facts()), flush=True)"
)


@pytest.mark.parametrize(
    ("status", "read"),
    [
        ("finished", "finished"),
        ("stopped", "stopped"),
        ("failed: RuntimeError: out of luck", "failed"),
        ("failed", "failed"),
        ("running", "interrupted"),  # of a release that noted no process
        ("", "interrupted"),
        ("nonsense", "interrupted"),
    ],
)
def test_what_a_run_has_written_itself(status, read):
    assert run_status({"status": status}) == read


def test_a_run_is_running_while_its_process_is_there():
    record = {"status": "running", "process": process_facts()}
    assert run_status(record) == "running"
    assert run_status({**record, "status": "finished"}) == "finished"


def test_a_process_that_was_killed_is_gone_even_before_it_is_waited_for():
    script = f"{NOTE}; import time; time.sleep(60)"
    with subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True) as process:
        record = {"status": "running", "process": json.loads(process.stdout.readline())}
        assert run_status(record) == "running"
        process.kill()
        os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)  # it has ended, and is a zombie
        assert run_status(record) == "interrupted"
    assert run_status(record) == "interrupted"


def test_another_process_of_the_same_number_is_not_the_run():
    own = process_facts()
    assert run_status({"status": "running", "process": {**own, "started": "another boot 1"}}) == "interrupted"
    assert run_status({"status": "running", "process": {**own, "started": None}}) == "interrupted"


def test_of_another_machine_its_word_is_taken():
    facts = {"host": "elsewhere", "pid": 1, "started": "another boot 1"}
    assert run_status({"status": "running", "process": facts}) == "running"


@pytest.mark.parametrize("process", [None, {}, {"pid": "7"}, "7", {"pid": None}])
def test_a_record_without_a_process_is_of_a_run_that_is_gone(process):
    assert run_status({"status": "running", "process": process}) == "interrupted"


def test_a_folder_without_a_record_has_no_status(tmp_path):
    assert read_status(tmp_path) is None
    (tmp_path / RECORD).write_text("{")
    assert read_status(tmp_path) is None
    (tmp_path / RECORD).write_text("[]")
    assert read_status(tmp_path) is None
    (tmp_path / RECORD).write_text('{"status": "finished"}')
    assert read_status(tmp_path) == "finished"
