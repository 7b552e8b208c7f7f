"""Where a training runs: one device alone does what Lightning Fabric does there, and imports none of it."""

import subprocess
import sys

import pytest
import torch

from altprop.experiment.errors import InputError
from altprop.experiment.recipes.schema import MachineSection
from altprop.experiment.training.devices import OnFabric
from altprop.experiment.training.fit import fit_job
from altprop.experiment.training.job import Job
from altprop.experiment.training.machine import Alone, find_device, make_machine
from altprop.experiment.training.watching import Watch
from tests.experiment.training.toys import toy, weights, without_times


def trained_on(machine, recipe, splits):
    job = Job(recipe, splits, 3)
    return fit_job(job, machine, folder=None, resume=False, watch=Watch(), on_epoch=None)


@pytest.mark.parametrize("rule", ["backprop", "lfp", "dfa"])
@pytest.mark.parametrize("accumulate", [1, 5])
@pytest.mark.filterwarnings("ignore:LFP scales")
def test_alone_gives_the_bits_of_fabric_on_one_device(rule, accumulate, circles):
    recipe = toy(
        rule=rule,
        model={"name": "4-4", "norm": "batch", "dropout": 0.2},
        training={"epochs": 2, "accumulate": accumulate, "clip": 0.3},
        track={"metrics": ["bp_cosine", "sparsity"], "loggers": []},
    )
    alone = trained_on(Alone(torch.device("cpu")), recipe, circles)
    fabric = trained_on(OnFabric(recipe.machine), recipe, circles)
    assert torch.equal(weights(alone), weights(fabric))
    assert without_times(alone.history) == without_times(fabric.history)


def test_one_device_in_single_precision_is_alone_and_all_else_is_fabrics():
    assert isinstance(make_machine(MachineSection()), Alone)
    assert isinstance(make_machine(MachineSection(precision="bf16-mixed")), OnFabric)


@pytest.mark.parametrize(("accelerator", "name"), [("cuda:99", "cuda:99"), ("cuda:1234", "cuda:1234")])
def test_a_device_that_is_not_there_is_named(accelerator, name):
    with pytest.raises(InputError, match=rf"The device '{name}' cannot be used: .*Take another --device\.") as error:
        make_machine(MachineSection(accelerator=accelerator))
    assert "\n" not in str(error.value)


def test_one_of_several_gpus_is_asked_for_by_its_number(monkeypatch):
    monkeypatch.setattr("altprop.experiment.training.machine.check_device", lambda name: None)
    assert find_device("cuda:1") == torch.device("cuda", 1)
    assert find_device("cuda") == torch.device("cuda", 0)
    asked = {}

    class Recorded:
        def __init__(self, **options):
            asked.update(options)
            raise ValueError("enough")

    monkeypatch.setattr("altprop.experiment.training.devices.Fabric", Recorded)
    with pytest.raises(InputError, match="enough"):
        make_machine(MachineSection(accelerator="cuda:1", precision="bf16-mixed"))
    assert (asked["accelerator"], asked["devices"]) == ("cuda", [1])


def test_a_training_in_memory_imports_nothing_that_it_does_not_use():
    heavy = ("lightning_fabric", "torchmetrics", "torchvision")
    program = (
        "import sys\n"
        "from altprop.experiment.recipes import Recipe\n"
        "from altprop.experiment.training.fit import fit\n"
        "recipe = Recipe(data='circles', model='4', training={'epochs': 1})\n"
        "assert fit(recipe, seed=0).status == 'finished'\n"
        f"print([name for name in {heavy} if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False, timeout=120)
    assert done.stdout.strip() == "[]", done.stderr
