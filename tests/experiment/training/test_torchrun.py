"""The command line in two processes that torchrun starts."""

import os
import subprocess
import sys

import torch

from altprop.experiment.recipes import load_recipe
from altprop.experiment.studies.reading import load_trained
from altprop.experiment.training.fit import fit

RECIPE = """\
data: {name: digits}
model: {name: "16", activation: tanh}
rule: lfp
optimizer: {lr: 0.05}
training: {epochs: 1, batch_size: 256}
track: {loggers: []}
"""


def test_torchrun_trains_as_one_process_does(tmp_path):
    (tmp_path / "recipe.yaml").write_text(RECIPE)
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    words = ["train", "recipe.yaml", "--devices", "2", "--strategy", "ddp", "--name", "two"]
    ours = {"OMP_NUM_THREADS": "1", "GLOO_SOCKET_IFNAME": "lo"}
    done = subprocess.run(
        [*launcher, "-m", "altprop.cli", *words],
        check=False,
        cwd=tmp_path,
        env=os.environ | ours,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("Results: runs/two") == 1
    together, splits, recipe = load_trained(tmp_path / "runs" / "two", which="final")
    assert (recipe.machine.devices, recipe.machine.strategy) == (2, "ddp")
    alone = fit(load_recipe(tmp_path / "recipe.yaml"), seed=0, splits=splits).model
    for own, p in zip(together.parameters(), alone.parameters(), strict=True):
        torch.testing.assert_close(own, p, rtol=0, atol=1e-5)
