"""The training loop: the one that a user of altprop would write, with its checks."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Any

import torch
from torch import Tensor, nn

from altprop.experiment.data.dataset import Dataset
from altprop.experiment.metrics import score
from altprop.experiment.networks.names import Shape
from altprop.experiment.networks.spiking import is_spiking, objective_of_spikes, read_spikes
from altprop.experiment.objectives import DEFAULT_OBJECTIVE, make_objective
from altprop.experiment.registry import make_rule
from altprop.experiment.results import Divergence, Epoch, Run
from altprop.experiment.seeding import seeded
from altprop.experiment.settings import Settings
from altprop.experiment.training.stepping import NotFiniteError, check_and_clip, check_loss, culprit, loss_of
from altprop.experiment.training.watching import Watch
from altprop.measure import compare_with_backprop, weight_alignment
from altprop.rule import Rule

_TEST_BATCH = 1024


def rule_seed(seed: int) -> int:
    """What a rule draws from: not the seed of the weights, or feedback weights would start out as copies."""
    return seed + 2**31  # torch looks at 32 bits


@dataclass(frozen=True)
class Job:
    """One network to be trained by one rule, and all that it takes.

    Attributes:
        settings: of the experiment.
        data: what to train on, on the device.
        rule: the label of the rule.
        seed: of the initial weights and of the order of the batches.
        lr: the learning rate.
    """

    settings: Settings
    data: Dataset
    rule: str
    seed: int
    lr: float

    def model(self) -> nn.Module:
        """The network before training: the same for every rule."""
        shape = Shape(self.data.input_shape, self.data.outputs)
        return self.settings.network(shape, self.seed).to(self.settings.device)

    def make_rule(self) -> Rule:
        """The rule, not attached yet."""
        return make_rule(self.rule, outputs=self.data.outputs)

    @property
    def rule_seed(self) -> int:
        """What the rule draws from."""
        return rule_seed(self.seed)

    def objective(self) -> Callable[[Tensor, Tensor], Tensor]:
        """What is descended."""
        objective = make_objective(self.objective_name, self.data.task)
        return objective_of_spikes(self.objective_name, objective) if self.spiking else objective

    @property
    def objective_name(self) -> str:
        """What the objective is called."""
        return self.settings.objective or DEFAULT_OBJECTIVE[self.data.task]

    @property
    def spiking(self) -> bool:
        """Whether the network gives spikes over time."""
        return is_spiking(self.settings.model)

    def read(self, output: Tensor) -> Tensor:
        """What the network's output says: of shape (samples, outputs)."""
        return read_spikes(self.objective_name, output) if self.spiking else output

    def optimizer(self, model: nn.Module) -> torch.optim.Optimizer:
        """The optimizer. Make it once the rule is attached: a rule may add parameters."""
        match self.settings.optimizer:
            case "sgd":
                return torch.optim.SGD(model.parameters(), lr=self.lr, momentum=self.settings.momentum)
            case "adam":
                return torch.optim.Adam(model.parameters(), lr=self.lr)
            case "adamw":
                return torch.optim.AdamW(model.parameters(), lr=self.lr)

    def batches(self) -> Iterator[Sequence[Tensor]]:
        """For each epoch the indices of its batches: the same for every rule."""
        generator = torch.Generator().manual_seed(self.seed)
        for _ in range(self.settings.epochs):
            order = torch.randperm(len(self.data.x_train), generator=generator).to(self.settings.device)
            # Batch norm cannot take a single sample: one that is left over is left out.
            yield torch.split(order, self.settings.batch_size)[: self.steps_per_epoch]

    @property
    def steps_per_epoch(self) -> int:
        """How many batches an epoch has."""
        whole, left_over = divmod(len(self.data.x_train), self.settings.batch_size)
        return max(1, whole + (left_over > 1))

    @property
    def steps(self) -> int:
        """How many steps of training the job takes."""
        return self.settings.epochs * self.steps_per_epoch


def train_network(job: Job, watch: Watch) -> tuple[Run, nn.Module]:
    """Train one network. It stops at the first step whose loss or update is not finite, and on Ctrl-C.

    Args:
        job: what to train.
        watch: told of each step.

    Returns:
        The run with every whole epoch, and the network as it was at the end, with the rule taken off.
    """
    start, epochs, end = time.perf_counter(), list[Epoch](), dict[str, Any]()
    model = job.model()
    with seeded(job.rule_seed), job.make_rule().attach(model):
        try:
            for epoch in _train(job, model, watch):
                epochs.append(epoch)
        except NotFiniteError as error:
            end["divergence"] = Divergence(step=error.step, epoch=len(epochs) + 1, where=error.where)
        except KeyboardInterrupt:
            end["interrupted"] = True
    seconds = time.perf_counter() - start
    run = Run(
        rule=job.rule, seed=job.seed, lr=job.lr, clip=job.settings.clip, epochs=tuple(epochs), seconds=seconds, **end
    )
    return run, model


def _train(job: Job, model: nn.Module, watch: Watch) -> Iterator[Epoch]:
    data, objective, optimizer, step = job.data, job.objective(), job.optimizer(model), 0
    for number, batches in enumerate(job.batches(), 1):
        x, y = data.x_train[batches[0]], data.y_train[batches[0]]
        updates = compare_with_backprop(model, objective, [(x, y)])
        feedback = weight_alignment(model).cosine
        losses = []
        for batch in batches:
            step += 1
            optimizer.zero_grad()
            x, y = data.x_train[batch], data.y_train[batch]
            loss = loss_of(model, objective, x, y)
            check_loss(loss, model, x, step)
            loss.backward()  # type: ignore[no-untyped-call]
            check_and_clip(list(model.named_parameters()), job.settings.clip, step)
            optimizer.step()
            losses.append(loss.item())
            watch.advance()
        yield Epoch(
            epoch=number,
            train_loss=fmean(losses),
            score=_test(job, model, step),
            cosine=_defined(updates.cosine.total),
            layer_cosines={layer: _defined(cosine) for layer, cosine in updates.cosine.layers.items()},
            sparsity=_defined(updates.sparsity.total),
            weight_cosine=_defined(feedback.total),
            layer_weight_cosines={layer: _defined(cosine) for layer, cosine in feedback.layers.items()},
        )


def _test(job: Job, model: nn.Module, step: int) -> float:
    data = job.data
    model.eval()
    with torch.no_grad():
        output = torch.cat([job.read(model(x)) for x in torch.split(data.x_test, _TEST_BATCH)])
    model.train()
    if not output.isfinite().all():
        raise NotFiniteError(f"{culprit(model, data.x_test)} for the test data", step)
    reached = score(data.task, output, data.y_test)
    if not math.isfinite(reached):
        raise NotFiniteError("the score of the test data", step)
    return reached


def _defined(value: float) -> float | None:
    return value if math.isfinite(value) else None
