"""What pydantic cannot see in a recipe: names that there are not, and keys that do not go together."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from inspect import signature
from types import NoneType
from typing import TYPE_CHECKING, get_args

from pydantic import BaseModel

from altprop._names import did_you_mean
from altprop.experiment.data.examples import Task
from altprop.experiment.errors import InputError, unknown
from altprop.experiment.networks.names import ACTIVATIONS, check_model_name
from altprop.experiment.networks.spiking import SURROGATES, check_fit, check_task
from altprop.experiment.objectives import DEFAULT_OBJECTIVE, check_objective_name, tasks_of
from altprop.experiment.recipes.reading import Key
from altprop.experiment.recipes.schema import ALL, Recipe, RuleSection
from altprop.experiment.registry import CONTROL, REFERENCE, RULES, make_named_rule
from altprop.experiment.sections import section_in

if TYPE_CHECKING:
    from altprop.experiment.data.catalog import DataSet

Problem = tuple[Key, str]


def problems(
    recipe: Recipe, fixed: Collection[str] = (), *, own: bool = False, names_alone: bool = False
) -> list[Problem]:
    """All that is wrong with a recipe: keys, each with a message.

    Args:
        recipe: any.
        fixed: keys that were given a value, which drop out of the search: it does not matter what it says of them.
        own: whether the data are given in Python, and not by the recipe.
        names_alone: whether to leave out how its parts fit each other.
    """
    for checks in (_NAMES,) if names_alone else (_NAMES, _FITS):
        found = [problem for check in checks if not (own and check in _OF_DATA) for problem in check(recipe)]
        found = [(key, message) for key, message in found if key[:2] != ("search", "space") or key[-1] not in fixed]
        if found:
            return found
    return []


def check_recipe(recipe: Recipe, *, own: bool = False) -> None:
    """Check a recipe that was made in Python; :func:`~altprop.experiment.recipes.load_recipe` checks those of files.

    Args:
        recipe: any.
        own: whether the data are given in Python: whether the recipe fits them is seen when they are there.

    Raises:
        InputError: something is wrong; the message has a line for each thing.

    Example:
        >>> check_recipe(Recipe(training={"epochs": 3, "steps": 100}))
        Traceback (most recent call last):
        ...
        altprop.experiment.errors.InputError: training.steps: training.epochs is given too: leave one of them out.
    """
    found = [f"{'.'.join(key)}: {message}" for key, message in problems(recipe, own=own)]
    if found:
        raise InputError("\n".join(found))


def _complaint(key: Key, check: Callable[[], object]) -> Iterator[Problem]:
    try:
        check()
    except InputError as error:
        yield key, str(error)


def _data_set(recipe: Recipe) -> DataSet:
    # Imported late: who opens data reads the schema of recipes first.
    from altprop.experiment.data.catalog import find_data_set  # noqa: PLC0415

    return find_data_set(recipe.data.name)


def _data(recipe: Recipe) -> Iterator[Problem]:
    yield from _complaint(("data", "name"), lambda: _data_set(recipe))


def _model(recipe: Recipe) -> Iterator[Problem]:
    yield from _complaint(("model", "name"), lambda: check_model_name(recipe.model.name))
    if recipe.model.activation not in ACTIVATIONS and recipe.model.activation not in SURROGATES:
        known = dict.fromkeys([*ACTIVATIONS, *SURROGATES])
        yield ("model", "activation"), str(unknown("activation", recipe.model.activation, known))


def _rule(recipe: Recipe) -> Iterator[Problem]:
    several = isinstance(recipe.rule, tuple)
    if not recipe.rules:
        yield ("rule",), "at least one is needed."
    labels = [rule.label for rule in recipe.rules]
    for twice in dict.fromkeys(label for label in labels if labels.count(label) > 1):
        yield ("rule",), f"{twice!r} is named twice."
    for number, rule in enumerate(recipe.rules):
        yield from _one_rule(rule, ("rule", str(number)) if several else ("rule",))


def _one_rule(rule: RuleSection, key: Key) -> Iterator[Problem]:
    name, arguments = rule.name, rule.arguments
    if name == ALL:
        if arguments:
            yield key, f"{ALL!r} stands for every rule, and takes no arguments."
        return
    if name not in RULES:
        yield (*key, "name"), str(unknown("rule", name, RULES))
        return
    known = signature(RULES[name].make).parameters
    strangers = [argument for argument in arguments if argument not in known]
    for argument in strangers:
        message = f"The rule {name!r} takes no arguments."
        if known:
            message = str(unknown(f"argument of the rule {name!r} called", argument, known))
        yield (*key, argument), message
    if not strangers:
        yield from _complaint(key, lambda: make_named_rule(name, arguments))


def _rates(recipe: Recipe) -> Iterator[Problem]:
    optimizer = recipe.optimizer
    if optimizer.lr is not None and optimizer.lr_grid:
        yield ("optimizer", "lr_grid"), "optimizer.lr is given too: give either, or the grid to choose it from."
    if len(set(optimizer.lr_grid)) < len(optimizer.lr_grid):
        yield ("optimizer", "lr_grid"), f"a rate is named twice: {', '.join(f'{lr:g}' for lr in optimizer.lr_grid)}."
    if not isinstance(optimizer.lr, dict):
        return
    # Backprop and the control may join those that are named.
    trained = {REFERENCE, CONTROL, *(rule.label for rule in recipe.rules), *(rule.name for rule in recipe.rules)}
    trained = (trained | set(RULES) if ALL in trained else trained) - {ALL}
    for label in optimizer.lr:
        if label not in trained:
            message = str(unknown("rule in this run, to give a learning rate, called", label, sorted(trained)))
            yield ("optimizer", "lr", label), message


def _objective(recipe: Recipe) -> Iterator[Problem]:
    name = recipe.objective.name
    if name is not None:
        yield from _complaint(("objective", "name"), lambda: check_objective_name(name))


def _search_keys(recipe: Recipe) -> Iterator[Problem]:
    for key in recipe.search.space if recipe.search else ():
        if not _is_key(key):
            known = [*keys(Recipe), *(f"rule.{name}" for name in _rule_arguments(recipe))]
            yield ("search", "space", key), f"there is no such key of a recipe.{did_you_mean(key, known)}"


def _rule_arguments(recipe: Recipe) -> list[str]:
    known = [RULES[rule.name].make for rule in recipe.rules if rule.name in RULES]
    return [name for make in known for name in signature(make).parameters]


def _is_key(key: str) -> bool:
    # A searched rule may have arguments that the one of the recipe has not.
    return key in keys(Recipe) or key in ("rule", "model", "optimizer", "scheduler") or key.startswith("rule.")


def keys(section: type[BaseModel], before: str = "") -> list[str]:
    """The dotted keys of a section, without those of a search.

    Example:
        >>> from altprop.experiment.recipes.schema import ObjectiveSection
        >>> keys(ObjectiveSection, "objective.")
        ['objective.name', 'objective.label_smoothing']
    """
    found = []
    for name, field in section.model_fields.items():
        inner = None if NoneType in get_args(field.annotation) else section_in(field.annotation)
        found += [f"{before}{name}"] if inner is None else keys(inner, f"{before}{name}.")
    return [key for key in found if key != "search"]


def _task(recipe: Recipe) -> Task:
    return recipe.data.task or _data_set(recipe).task


def _fits_task(recipe: Recipe) -> Iterator[Problem]:
    task, objective = _task(recipe), recipe.objective.name
    for rule in (rule.name for rule in recipe.rules if rule.name != ALL):
        if task not in RULES[rule].tasks:
            yield ("rule",), f"The rule {rule!r} is for {', '.join(RULES[rule].tasks)}, and the data are for {task}."
    if objective and task not in tasks_of(objective):
        yield ("objective", "name"), f"{objective!r} is for {' and '.join(tasks_of(objective))}, not for {task}."
    used = objective or DEFAULT_OBJECTIVE[task]
    if recipe.objective.label_smoothing and used != "cross-entropy":
        message = f"smoothing is of the cross-entropy, and the objective is {used}: set one of them otherwise."
        yield ("objective", "label_smoothing"), message


def _fits_spikes(recipe: Recipe) -> Iterator[Problem]:
    model = recipe.model
    yield from _complaint(("model",), lambda: check_fit(model.name, model.activation, recipe.objective.name))
    yield from _complaint(("model", "name"), lambda: check_task(model.name, _task(recipe)))


def _optimizer(recipe: Recipe) -> Iterator[Problem]:
    optimizer = recipe.optimizer
    if optimizer.nesterov and (optimizer.name != "sgd" or not optimizer.momentum):
        yield ("optimizer", "nesterov"), "this is a kind of momentum: it needs name: sgd, and momentum above 0."


def _scheduler(recipe: Recipe) -> Iterator[Problem]:
    scheduler = recipe.scheduler
    if scheduler.name == "step" and not scheduler.epochs:
        message = "the step scheduler needs scheduler.epochs: after which epochs the rate falls, such as [10, 20]."
        yield ("scheduler",), message
    if scheduler.warmup and scheduler.name in ("none", "cyclic"):
        yield (
            ("scheduler", "warmup"),
            f"the scheduler {scheduler.name!r} has no warm-up: take cosine, step or one-cycle.",
        )


def _training(recipe: Recipe) -> Iterator[Problem]:
    training = recipe.training
    if training.epochs and training.steps:
        yield ("training", "steps"), "training.epochs is given too: leave one of them out."
    if training.batch_size % training.accumulate:
        message = f"a batch of {training.batch_size} is not cut into {training.accumulate} equal parts."
        yield ("training", "accumulate"), f"{message} Take a divisor of training.batch_size."
    if recipe.model.norm == "batch" and training.batch_size == training.accumulate:
        yield ("training", "batch_size"), "batch norm needs 2 samples or more in each part of a batch: raise it."
    if not training.seeds:
        yield ("training", "seeds"), "at least one is needed."
    if len(set(training.seeds)) < len(training.seeds):
        yield ("training", "seeds"), f"one is named twice: {', '.join(map(str, training.seeds))}."


def _machine(recipe: Recipe) -> Iterator[Problem]:
    machine = recipe.machine
    if ":" in machine.accelerator and (machine.devices, machine.nodes, machine.strategy) != (1, 1, "auto"):
        message = f"{machine.accelerator} is one device: take cuda for several, or leave devices, nodes and strategy."
        yield ("machine", "accelerator"), message


def _validation(recipe: Recipe) -> Iterator[Problem]:
    # A set of files may have a part for validation: that is seen when it is opened.
    embedded = _data_set(recipe).read is None
    if recipe.data.validation or not embedded:
        return
    monitor, remedy = recipe.training.monitor, "hold some out with data.validation, such as 0.1"
    if monitor and monitor.startswith("val_"):
        yield ("training", "monitor"), f"{monitor} needs validation data: {remedy}, or monitor train_loss."
    if recipe.training.early_stopping and not monitor:
        message = f"stopping early needs validation data: {remedy}, or set training.monitor to train_loss."
        yield ("training", "early_stopping"), message
    if recipe.search and recipe.search.tune_on.startswith("val_"):
        yield ("search", "tune_on"), f"{recipe.search.tune_on} needs validation data: {remedy}, or tune on error."


def _search(recipe: Recipe) -> Iterator[Problem]:
    search = recipe.search
    if search and "model.dropout" in search.space and not search.tune_on.startswith("val_"):
        message = f"dropout always harms {search.tune_on!r}, which is on training data: tune on val_error or val_loss."
        yield ("search", "space", "model.dropout"), message


_NAMES = (_data, _model, _rule, _objective, _rates, _search_keys)
_FITS = (_fits_task, _fits_spikes, _optimizer, _scheduler, _training, _machine, _validation, _search)
_OF_DATA = (_data, _fits_task, _fits_spikes, _validation)
