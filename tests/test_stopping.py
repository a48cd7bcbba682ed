"""Signals outside training: the first raises, the second of a kind ends the process, ignored ones stay so."""

import os
import signal
import subprocess
import sys
import threading
import time

import pytest

from lightning_gvae.errors import ConfigError, StoppedError
from lightning_gvae.stopping import SIGNALS, Stop, is_stop, signal_name, stop_signals, take_over


def send(name):
    os.kill(os.getpid(), signal.Signals[name])
    time.sleep(0.01)  # the handler runs before the next instructions


@pytest.mark.parametrize("name", SIGNALS)
def test_the_first_signal_raises_and_handlers_are_given_back(name):
    before = {each: signal.getsignal(signal.Signals[each]) for each in SIGNALS}
    with pytest.raises(Stop) as caught, stop_signals():
        send(name)
    assert caught.value.name == name
    assert {each: signal.getsignal(signal.Signals[each]) for each in SIGNALS} == before


def test_another_kind_of_signal_does_not_disturb_the_end():
    done = []
    with pytest.raises(Stop), stop_signals():
        try:
            send("SIGINT")
        finally:
            send("SIGTERM")
            send("SIGHUP")
            done.append("cleaned up")
    assert done == ["cleaned up"]


SCRIPT = """
import signal, sys, time
from lightning_gvae.stopping import Stop, stop_signals
with stop_signals():
    try:
        print("ready", flush=True)
        time.sleep(60)
    except Stop as stop:
        print(stop.name, flush=True)
        time.sleep(60)
"""


def start(script, **settings):
    return subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True, **settings)


def test_the_second_of_a_kind_ends_the_process_at_once():
    with start(SCRIPT) as process:
        assert process.stdout.readline() == "ready\n"
        process.send_signal(signal.SIGINT)
        assert process.stdout.readline() == "SIGINT\n"
        process.send_signal(signal.SIGINT)
        assert process.wait(20) == -signal.SIGINT


def test_under_nohup_a_closed_terminal_is_no_reason_to_stop():
    ignoring = "import signal; signal.signal(signal.SIGHUP, signal.SIG_IGN)\n"
    with start(ignoring + SCRIPT) as process:
        assert process.stdout.readline() == "ready\n"
        process.send_signal(signal.SIGHUP)
        process.send_signal(signal.SIGTERM)
        assert process.stdout.readline() == "SIGTERM\n"
        process.kill()


def test_other_threads_take_nothing_over():
    found = []
    thread = threading.Thread(target=lambda: found.append(take_over(SIGNALS, lambda number, frame: None)))
    thread.start()
    thread.join()
    assert found == [{}]


def test_what_is_a_stop_and_what_is_a_fault():
    try:
        try:
            raise KeyboardInterrupt
        except KeyboardInterrupt:
            sys.exit(1)  # as Lightning does
    except SystemExit as error:
        assert is_stop(error) and signal_name(error) == "SIGINT"
    assert is_stop(Stop("SIGHUP")) and signal_name(Stop("SIGHUP")) == "SIGHUP"
    assert is_stop(StoppedError("", "SIGTERM")) and signal_name(StoppedError("", "SIGTERM")) == "SIGTERM"
    assert not is_stop(SystemExit(1)) and not is_stop(ConfigError("")) and not is_stop(None)
