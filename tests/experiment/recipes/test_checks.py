"""Keys that do not go together are refused before anything is trained."""

import time

import pytest

from altprop.experiment import InputError
from altprop.experiment.recipes import Recipe, check_recipe, parse_recipe
from altprop.experiment.recipes.schema import MachineSection
from altprop.experiment.training.devices import OnFabric

STOP = "{patience: 3}"


@pytest.mark.parametrize(
    ("text", "key", "message"),
    [
        ("training: {epochs: 3, steps: 9}", "training.steps", "training.epochs is given too"),
        (
            "machine: {accelerator: cuba}",
            "machine.accelerator",
            "a device is cpu, cuda, one of several GPUs",
        ),
        ("machine: {accelerator: 'cuda:x'}", "machine.accelerator", "one of several GPUs such as cuda:1"),
        ("machine: {accelerator: 'cpu:1'}", "machine.accelerator", "got 'cpu:1'"),
        ("machine: {accelerator: 'cuda:1', devices: 2}", "machine.accelerator", "cuda:1 is one device: take cuda for"),
        ("machine: {accelerator: 'cuda:1', strategy: ddp}", "machine.accelerator", "cuda:1 is one device"),
        ("training: {batch_size: 64, accumulate: 3}", "training.accumulate", "a batch of 64 is not cut into 3 equal"),
        ("training: {seeds: [1, 1]}", "training.seeds", "one is named twice: 1, 1."),
        ("training: {seeds: 0}", "training.seeds", "at least one is needed."),
        ("model: {norm: batch}\ntraining: {batch_size: 1}", "training.batch_size", "batch norm needs 2 samples"),
        (f"training: {{early_stopping: {STOP}}}", "training.early_stopping", "stopping early needs validation data"),
        ("training: {monitor: val_loss}", "training.monitor", "val_loss needs validation data: hold some out"),
        ("search: {space: {optimizer.lr: [1]}}", "search.tune_on", "val_error needs validation data"),
        ("objective: {name: mse, label_smoothing: 0.1}", "objective.label_smoothing", "smoothing is of the cross-entr"),
        (
            "objective: {name: softmax, label_smoothing: 0.1}",
            "objective.label_smoothing",
            "and the objective is softmax",
        ),
        ("data: sine\nobjective: {label_smoothing: 0.1}", "objective.label_smoothing", "and the objective is mse"),
        ("data: sine\nobjective: softmax", "objective.name", "'softmax' is for classification, not for regression."),
        ("data: sine\nrule: drtp", "rule", "The rule 'drtp' is for classification, and the data are for regression."),
        ("data: {name: digits, task: reconstruction}\nrule: drtp", "rule", "and the data are for reconstruction."),
        ("scheduler: step", "scheduler", "the step scheduler needs scheduler.epochs"),
        ("scheduler: {name: cyclic, warmup: 0.1}", "scheduler.warmup", "the scheduler 'cyclic' has no warm-up"),
        ("optimizer: {nesterov: true, momentum: 0}", "optimizer.nesterov", "this is a kind of momentum"),
        ("optimizer: {name: adam, nesterov: true}", "optimizer.nesterov", "this is a kind of momentum"),
        ("model: {name: lif-8, activation: relu}", "model", "The neurons of 'lif-8' fire spikes"),
        ("model: {activation: atan}", "model", "The activation 'atan' is the surrogate gradient of spiking neurons"),
        ("model: lif-8\ndata: sine\nobjective: mse", "model.name", "it is not for regression."),
        (
            "data: {validation: 0.1}\nsearch: {space: {optimizer.lrr: [1]}}",
            "search.space.optimizer.lrr",
            "there is no such key of a recipe. Did you mean 'optimizer.lr'?",
        ),
        (
            "search: {tune_on: error, space: {model.dropout: [0, 0.1]}}",
            "search.space.model.dropout",
            "dropout always harms 'error', which is on training data",
        ),
    ],
)
def test_what_does_not_go_together_is_named(text, key, message):
    with pytest.raises(InputError) as caught:
        parse_recipe(text, source="recipe.yaml")
    (line,) = str(caught.value).splitlines()
    assert line.startswith("recipe.yaml:")
    assert f": {key}: {message}" in line or (f": {key}: " in line and message in line)


@pytest.mark.parametrize(
    "text",
    [
        f"training: {{early_stopping: {STOP}, monitor: train_loss}}",
        f"data: {{validation: 0.1}}\ntraining: {{early_stopping: {STOP}, monitor: val_score}}",
        "search: {tune_on: loss, space: {optimizer.lr: [1, 2], rule.name: [lfp, fa], rule.epsilon: [0, 1]}}",
        "data: {validation: 0.1}\nsearch: {space: {model.dropout: [0, 0.1]}}",
        "scheduler: {name: cosine, warmup: 0.1}",
        "objective: {label_smoothing: 0.1}",
    ],
)
def test_what_goes_together_is_taken(text):
    parse_recipe(text)


def test_a_key_that_was_given_a_value_is_not_searched():
    parse_recipe("search: {tune_on: error, space: {model.dropout: [0, 0.1], rule.name: [fa]}}", ["model.dropout=0"])


def test_a_recipe_made_in_python_is_checked_by_the_same_rules():
    with pytest.raises(InputError, match=r"^training.monitor: val_loss needs validation data"):
        check_recipe(Recipe(training={"monitor": "val_loss"}))
    check_recipe(Recipe())


def test_sets_of_files_may_have_validation_data_of_their_own():
    check_recipe(Recipe.model_validate({"data": {"name": "flowers-102"}, "training": {"monitor": "val_loss"}}))


@pytest.mark.parametrize(
    ("text", "key"),
    [
        ("training: {seeds: 10000000000}", "training.seeds"),
        ("training: {seeds: '10000000000'}", "training.seeds"),
        ("training: {seeds: [4294967296]}", "training.seeds"),
        ("training: {epochs: 10000000000}", "training.epochs"),
        ("training: {steps: 99999999999999999999}", "training.steps"),
        ("training: {batch_size: 10000000000}", "training.batch_size"),
        ("training: {accumulate: 10000000000}", "training.accumulate"),
        ("training: {early_stopping: {patience: 10000000000}}", "training.early_stopping.patience"),
        ("scheduler: {name: cyclic, cycles: 10000000000}", "scheduler.cycles"),
        ("checkpoints: {every: 10000000000}", "checkpoints.every"),
        ("track: {batches: 10000000000}", "track.batches"),
        ("track: {top_k: [10000000000]}", "track.top_k"),
        ("data: {workers: 100000}", "data.workers"),
        ("data: {size: 1000000}", "data.size"),
        ("data: {seed: 4294967296}", "data.seed"),
        ("machine: {devices: 100000}", "machine.devices"),
        ("machine: {nodes: 100000}", "machine.nodes"),
        ("machine: {threads: 100000000}", "machine.threads"),
        ("search: {space: {}, trials: 10000000}", "search.trials"),
        ("search: {space: {}, executions: 100000}", "search.executions"),
    ],
)
def test_a_number_beyond_reason_is_a_line_at_once(text, key):
    start = time.perf_counter()
    with pytest.raises(InputError) as error:
        parse_recipe(text)
    assert time.perf_counter() - start < 1
    assert str(error.value).startswith(f"recipe:1: {key}: ")
    assert "\n" not in str(error.value)


def test_more_processes_than_cores_can_bear_are_not_started():
    with pytest.raises(InputError, match=r"machine.devices: 1000 processes on \d+ cores"):
        OnFabric(MachineSection(devices=1000))
