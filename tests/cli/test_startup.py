"""The command line answers questions and mistakes before anything heavy is imported."""

import json
import os
import subprocess
import sys

import pytest

HEAVY = ("torch", "lightning", "matplotlib", "sklearn", "scipy", "pymoo", "torch_fidelity", "wandb", "gradio", "ray")
SCRIPT = """
import json, sys

from lightning_gvae.cli.{module} import main

sys.argv = [{entry!r} + ".py", {argument!r}]
try:
    main()
except SystemExit as error:
    print(json.dumps([str(error.code), [name for name in {heavy!r} if name in sys.modules]]))
else:
    print(json.dumps(["", [name for name in {heavy!r} if name in sys.modules]]))
"""


def answer(entry, argument):
    script = SCRIPT.format(entry=entry, module={"eval": "evaluate"}.get(entry, entry), argument=argument, heavy=HEAVY)
    # A command line that ran in this process leaves them to the processes that it starts.
    own = {name: value for name, value in os.environ.items() if name not in ("HYDRA_FULL_ERROR", "GVAE_SHORT_ERRORS")}
    command = [sys.executable, "-c", script]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=120, env=own)
    code, imported = json.loads(done.stdout.splitlines()[-1])
    return done.stdout + code, imported


@pytest.mark.parametrize("entry", ["train", "eval", "study", "app"])
def test_help_imports_nothing_heavy(entry):
    text, imported = answer(entry, "--help")
    assert "Powered by Hydra" in text
    assert imported == []


@pytest.mark.parametrize(
    ("argument", "message"),
    [("model=nope", "nope"), ("trainer.no_such_setting=1", "no_such_setting"), ("data=", "data")],
)
def test_a_mistake_is_found_before_anything_heavy_is_imported(argument, message):
    text, imported = answer("train", argument)
    assert message in text
    assert imported == []
