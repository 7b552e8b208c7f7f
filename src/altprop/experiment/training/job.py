"""What one network's training takes, made from its recipe."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import torch
from torch import Tensor, nn

from altprop import targets
from altprop.experiment.data.examples import Splits
from altprop.experiment.errors import InputError
from altprop.experiment.metrics import METRICS
from altprop.experiment.networks.names import Shape, build_model
from altprop.experiment.networks.spiking import (
    Neurons,
    check_fit,
    check_task,
    default_objective,
    is_spiking,
    objective_of_spikes,
    read_spikes,
)
from altprop.experiment.networks.starting import freeze, zero_linear_layers
from altprop.experiment.objectives import make_objective
from altprop.experiment.recipes import Recipe
from altprop.experiment.recipes.learning import OPTIMIZER_KEYS
from altprop.experiment.recipes.rules import recipe_of_cell
from altprop.experiment.recipes.schema import RuleSection
from altprop.experiment.registry import RULES, check_start, make_named_rule
from altprop.experiment.seeding import seeded
from altprop.experiment.training.batches import Batches
from altprop.experiment.training.loggers import check_loggers
from altprop.experiment.training.stepping import Objective
from altprop.rule import Rule
from altprop.rules._layers import is_layer

_OPTIMIZERS: dict[str, Callable[..., torch.optim.Optimizer]] = {
    "sgd": torch.optim.SGD,
    "adam": torch.optim.Adam,
    "adamw": torch.optim.AdamW,
    "rmsprop": torch.optim.RMSprop,
}


def rule_seed(seed: int) -> int:
    """What a rule draws from: not the seed of the weights, or feedback weights would start out as copies."""
    return seed + 2**31  # torch looks at 32 bits


@dataclass(frozen=True)
class Job:
    """One network to be trained, and all that it takes.

    Attributes:
        recipe: what to do.
        splits: what to train on.
        seed: of the initial weights and of the order of the batches.
    """

    recipe: Recipe
    splits: Splits
    seed: int

    def model(self) -> nn.Module:
        """The network before training: the same for every rule."""
        section, shape = self.recipe.model, Shape(self.splits.input_shape, self.splits.outputs)
        usual = Neurons()
        beta = usual.beta if section.beta is None else section.beta
        network = build_model(
            section.name,
            shape,
            activation=section.activation,
            norm=section.norm,
            seed=self.seed,
            dropout=section.dropout,
            pretrained=section.pretrained,
            output=section.output,
            neurons=Neurons(beta, section.reset or usual.reset, section.noise),
        )
        if section.zero_init:
            zero_linear_layers(network)
        freeze(network, section.frozen)
        return network

    def blank_model(self) -> nn.Module:
        """The same network for weights to be put into: none are downloaded."""
        section = self.recipe.model.model_copy(update={"pretrained": False})
        return replace(self, recipe=self.recipe.model_copy(update={"model": section})).model()

    def with_rule(self, name: str) -> Job:
        """The same job by another rule."""
        return replace(self, recipe=recipe_of_cell(self.recipe, RuleSection(name=name)))

    def rule(self) -> Rule:
        """The learning rule."""
        name, arguments = self.recipe.single_rule.name, self.recipe.single_rule.arguments
        return make_named_rule(name, arguments, outputs=self.splits.outputs, output=self._before_output)

    @property
    def _before_output(self) -> str | None:
        """The layer whose outputs go through an activation: a direct rule takes the error at the layer itself."""
        if self.recipe.model.output == "none":
            return None
        layers: list[str] = [name for name, module in self.blank_model().named_modules() if is_layer(module)]
        return layers[-1]

    @property
    def label(self) -> str:
        """The rule as it is written on a command line."""
        return self.recipe.single_rule.label

    @property
    def rule_seed(self) -> int:
        """What the rule draws from."""
        return rule_seed(self.seed)

    @property
    def objective_name(self) -> str:
        """What the objective is called."""
        return self.recipe.objective.name or default_objective(self.recipe.model.name, self.splits.task)

    def objective(self) -> Objective:
        """What is descended, as the mean over the samples."""
        settings = self.recipe.objective.model_dump(exclude={"name"})
        objective = make_objective(self.objective_name, self.splits.task, output=self.recipe.model.output, **settings)
        return objective_of_spikes(self.objective_name, objective) if self.spiking else objective

    @cached_property
    def spiking(self) -> bool:
        """Whether the network gives spikes over time."""
        return is_spiking(self.recipe.model.name)

    def read(self, output: Tensor) -> Tensor:
        """What the network's output says: of shape (samples, outputs)."""
        return read_spikes(self.objective_name, output) if self.spiking else output

    @cached_property
    def lr(self) -> float:
        """The learning rate: the recipe's, or the rule's default."""
        return lr_of(self.recipe, self.recipe.single_rule)

    def optimizer(self, model: nn.Module) -> torch.optim.Optimizer:
        """The optimizer. Make it once the rule is attached: a rule may add parameters."""
        section = self.recipe.optimizer
        parameters, decay = [p for p in model.parameters() if p.requires_grad], section.weight_decay
        own = {key: getattr(section, key) for key in OPTIMIZER_KEYS[section.name]}
        return _OPTIMIZERS[section.name](parameters, lr=self.lr, weight_decay=decay, **own)

    @cached_property
    def recipe_as_json(self) -> dict[str, Any]:
        """The recipe, as JSON has it."""
        return self.recipe.model_dump(mode="json")

    @property
    def monitor(self) -> str:
        """The figure that says which epoch is best."""
        return self.recipe.training.monitor or ("val_score" if self.splits.validation is not None else "train_loss")

    @property
    def lower_is_better(self) -> bool:
        """Whether that figure is better the lower it is."""
        return self.monitor.endswith("loss") or METRICS[self.splits.task].lower_is_better

    def steps(self, per_epoch: int) -> int:
        """How many steps the training takes.

        Args:
            per_epoch: how many an epoch has.
        """
        training = self.recipe.training
        return training.steps or training.planned_epochs * per_epoch

    @property
    def all_steps(self) -> int:
        """How many steps the training takes, if it is not stopped early."""
        return self.steps(self.batches.per_epoch)

    @property
    def batches(self) -> Batches:
        """How one process alone cuts the samples."""
        return Batches(len(self.splits.train), self.recipe.training.batch_size)


def lr_of(recipe: Recipe, rule: RuleSection) -> float:
    """The learning rate of a rule of a recipe: the recipe's, or the rule's default."""
    section = recipe.optimizer
    return section.lr_of(rule.label) or RULES[rule.name].lr_with(section.name)


def check(job: Job) -> None:
    """Check that a job can be done: the parts fit each other, and two samples go forward and back.

    Raises:
        InputError: something does not fit; nothing was trained.
    """
    recipe, splits = job.recipe, job.splits
    check_fit(recipe.model.name, recipe.model.activation, recipe.objective.name)
    check_task(recipe.model.name, splits.task)
    if job.monitor.startswith("val") and splits.validation is None:
        raise InputError(
            f"training.monitor is {job.monitor!r}, but {splits.name} has no validation data: set data.validation to a "
            f"fraction, such as 0.1."
        )
    check_start(recipe.single_rule.name, zero_init=recipe.model.zero_init)
    job.rule(), job.objective()
    if len(splits.train) < 2:
        raise InputError(f"{splits.name} has {len(splits.train)} training samples: at least 2 are needed.")
    check_loggers(recipe)
    what = f"the model {recipe.model.name!r} on {splits.name} with the rule {job.label!r}"
    try:
        with seeded(job.rule_seed):
            _try_once(job)
    except InputError:
        raise
    except (RuntimeError, TypeError, ValueError) as error:
        raise InputError(f"Cannot train {what}: {error}") from error


def _try_once(job: Job) -> None:
    x, y = job.splits.train.batch(torch.arange(2), 0)
    model, objective = job.model(), job.objective()
    with job.rule().attach(model), targets(y):
        objective(model(x), y).backward()  # type: ignore[no-untyped-call]
        job.optimizer(model)
