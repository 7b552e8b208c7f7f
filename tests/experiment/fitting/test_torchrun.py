"""The command line in two processes that torchrun starts."""

import os
import subprocess
import sys

import torch

from altprop.experiment.fitting import fit, load_trained
from altprop.experiment.recipes import load_recipe

RECIPE = """\
data: {name: digits}
model: {name: "16", activation: tanh}
rule: RULE
optimizer: {lr: 0.05}
training: {epochs: 1, batch_size: 256}
track: {loggers: []}
"""


def torchrun(folder, rule, *words):
    """The status of torchrun and what it says, when two processes train by a recipe in ``folder``."""
    (folder / "recipe.yaml").write_text(RECIPE.replace("RULE", rule))
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    command = [*launcher, "-m", "altprop.cli", "train", "recipe.yaml", "--devices", "2", *words]
    ours = {"OMP_NUM_THREADS": "1", "GLOO_SOCKET_IFNAME": "lo"}
    done = subprocess.run(
        command, check=False, cwd=folder, env=os.environ | ours, capture_output=True, text=True, timeout=120
    )
    return done.returncode, done.stderr


def test_torchrun_trains_as_one_process_does(tmp_path):
    status, errors = torchrun(tmp_path, "lfp", "--strategy", "ddp", "--name", "two")
    assert status == 0, errors
    together, splits, recipe = load_trained(tmp_path / "runs" / "two", which="final")
    assert (recipe.machine.devices, recipe.machine.strategy) == (2, "ddp")
    alone = fit(load_recipe(tmp_path / "recipe.yaml"), seed=0, splits=splits).model
    for own, p in zip(together.parameters(), alone.parameters(), strict=True):
        torch.testing.assert_close(own, p, rtol=0, atol=1e-5)


def test_torchrun_says_an_error_once(tmp_path):
    _, errors = torchrun(tmp_path, "lpf", "--strategy", "ddp")
    assert errors.count("Did you mean 'lfp'?") == 1
    assert "exitcode: 2)" in errors  # torchrun's own status is 1
    assert not (tmp_path / "runs").exists()
