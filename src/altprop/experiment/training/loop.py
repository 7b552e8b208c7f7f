"""The training loop on Lightning Fabric: one network, its optimizer, and where it stands."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, nullcontext
from typing import Any, cast

import torch
from lightning_fabric import Fabric
from torch import Tensor, nn
from torch.optim import Optimizer

from altprop import targets
from altprop.experiment.data.examples import TensorExamples
from altprop.experiment.data.loading import batches
from altprop.experiment.records.training import EpochFigures
from altprop.experiment.training.batches import Batches, check_batches
from altprop.experiment.training.devices import has_batch_statistics, share_buffers, summed
from altprop.experiment.training.evaluating import evaluate
from altprop.experiment.training.job import Job
from altprop.experiment.training.schedules import make_schedule
from altprop.experiment.training.stepping import NotFiniteError, check_and_clip, check_loss, loss_of
from altprop.experiment.training.tally import Tally
from altprop.experiment.training.tracking import track


class Loop:
    """A training under way. Make it where torch's random state may move; ``network`` has its rule attached.

    Attributes:
        job: what is done.
        fabric: where.
        network: the network itself.
        model: the same in Fabric's hands.
        forward: what is called: the model, or the network itself where Fabric has nothing to add.
        optimizer: the same in Fabric's hands.
        batches: how the samples are cut.
        step: how many steps of the optimizer are done.
        epoch: the number of the present epoch.
        batch: how many of its batches are done.
        tally: the sums of the present epoch.
        history: the figures of the epochs that are done.
        dumped: the same, as JSON has it.
        seconds: how long it took before this process went on with it.
    """

    def __init__(self, job: Job, fabric: Fabric, network: nn.Module) -> None:
        self.job, self.fabric, self.network = job, fabric, network
        splits, training = job.splits, job.recipe.training
        normalised = has_batch_statistics(network)
        parts = fabric.world_size * training.accumulate
        self.batches = Batches(
            samples=len(splits.train),
            size=training.batch_size,
            processes=fabric.world_size,
            rank=fabric.global_rank,
            accumulate=training.accumulate,
            least=2 * parts if normalised else 2,
        )
        check_batches(self.batches, normalised)
        self.steps = job.steps(self.batches.per_epoch)
        self.objective = job.objective()
        self.factor = make_schedule(job.recipe.scheduler, self.steps, self.batches.per_epoch)
        self.step, self.epoch, self.batch = 0, 1, 0
        self.tally = self._new_tally()
        self.history: list[EpochFigures] = []
        self.dumped: list[dict[str, Any]] = []
        self.seconds, self._start = 0.0, time.perf_counter()
        self._train = self._near(splits.train)
        self._output: Tensor | None = None
        self._meet_data()

    def set_up(self) -> None:
        """Put the network in Fabric's hands, and make the optimizer. What the network holds must not change after."""
        self.model = self.fabric.setup_module(self.network)
        self.optimizer = cast(Optimizer, self.fabric.setup_optimizers(self.job.optimizer(self.model)))
        self._parameters = list(self.network.named_parameters())
        # On one device in single precision Fabric has nothing to add to a step, and its wrappers take their time.
        self._bare = self.fabric.world_size == 1 and self.job.recipe.machine.precision == "32-true"
        self._bare &= self.job.recipe.machine.strategy == "auto"
        self.forward: nn.Module = self.network if self._bare else self.model
        self._scaler = getattr(self.fabric.strategy.precision, "scaler", None)

    @property
    def elapsed(self) -> float:
        """Seconds of training in all."""
        return self.seconds + time.perf_counter() - self._start

    @property
    def lr(self) -> float:
        """The learning rate of the next step."""
        return self.job.lr * self.factor(self.step)

    def run_epoch(self) -> Iterator[None]:
        """Take the steps that are left of the epoch, one by one.

        Raises:
            NotFiniteError: a loss or an update is not finite; the weights are those of the step before.
        """
        left = self.batches.order(self.job.seed, self.epoch)[self.batch :][: self.steps - self.step]
        parts = [self.batches.parts(batch) for batch in left]
        indices = [part[0] for one in parts for part in one]
        data = batches(self._train, indices, self.epoch, self.job.recipe.data.workers)
        for batch, own in zip(left, parts, strict=True):
            self._take_step(data, own, len(batch))
            self.step += 1
            self.batch += 1
            yield

    def end_epoch(self) -> EpochFigures:
        """Evaluate the network after an epoch, and go on to the next.

        Raises:
            NotFiniteError: what it says is not finite.
        """
        share_buffers(self.fabric, self.network)
        self.tally.restore(summed(self.fabric, self.tally.totals), self.tally.state["samples"])
        train_loss, train_score = self.tally.figures()
        if not train_loss < float("inf"):
            raise NotFiniteError("the loss of the epoch", self.step)
        splits = self.job.splits
        validation = None if splits.validation is None else evaluate(self, splits.validation, "validation")
        test = evaluate(self, splits.test, "test")
        figures = EpochFigures(
            epoch=self.epoch,
            step=self.step,
            lr=self.job.lr * self.factor(self.step - 1),
            train_loss=train_loss,
            train_score=train_score,
            val_loss=None if validation is None else validation.loss,
            val_score=None if validation is None else validation.score,
            test_score=test.score,
            tracked={**{f"test_top_{k}": value for k, value in test.top_k.items()}, **track(self)},
            seconds=self.elapsed,
        )
        self.history.append(figures)
        self.dumped.append(figures.model_dump())
        self.epoch, self.batch, self.tally = self.epoch + 1, 0, self._new_tally()
        return figures

    def first_batches(self, count: int) -> Iterator[tuple[Tensor, Tensor]]:
        """The first batches of the present epoch, whole, in every process."""
        indices = self.batches.order(self.job.seed, self.epoch)[:count]
        for x, y in batches(self._train, indices, self.epoch, 0):
            yield self.converted(self.fabric.to_device(x)), self.fabric.to_device(y)

    def converted(self, x: Tensor) -> Tensor:
        """Inputs in the precision of the network, for calls past Fabric."""
        converted: Tensor = self.fabric.strategy.precision.convert_input(x)
        return converted

    def _take_step(
        self, data: Iterator[tuple[Tensor, Tensor]], parts: list[tuple[Tensor, float, int]], size: int
    ) -> None:
        lr = self.lr
        for group in self.optimizer.param_groups:
            group["lr"] = lr
        self.optimizer.zero_grad()
        total: Any = 0.0
        for number, (_, weight, samples) in enumerate(parts, 1):
            x, y = self.on_device(next(data))
            with self._sharing(number == len(parts)):
                loss = self._loss(x, y, weight)
                self._backward(loss)
            total = loss.detach() if number == 1 else total + loss.detach()
            self._count(y, samples)
        self._check_and_clip()
        self.optimizer.step()
        self.tally.add_loss(total if self.fabric.world_size == 1 else total / self.fabric.world_size, size)

    def _sharing(self, last: bool) -> AbstractContextManager[None]:
        """Processes share their updates with the last part of a batch."""
        if last or self.fabric.world_size == 1:
            return nullcontext()
        context: AbstractContextManager[None] = self.fabric.no_backward_sync(self.model)
        return context

    def _loss(self, x: Tensor, y: Tensor, weight: float) -> Tensor:
        loss = loss_of(self.forward, self._recorded, x, y, weight=weight, scale=self._scale())
        # Of several processes none may stop alone: they all see the update, and at the end the sum of the losses.
        if self.fabric.world_size == 1:
            check_loss(loss, self.network, x if self._bare else self.converted(x), self.step + 1)
        return loss

    def _backward(self, loss: Tensor) -> None:
        if self._bare:
            loss.backward()  # type: ignore[no-untyped-call]
        else:
            self.fabric.backward(loss)

    def on_device(self, batch: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
        """A batch where the network is."""
        return batch if self.fabric.device.type == "cpu" else self.fabric.to_device(batch)

    def _scale(self) -> float:
        return 1.0 if self._scaler is None else float(self._scaler.get_scale())

    def _recorded(self, output: Tensor, y: Tensor) -> Tensor:
        self._output = output.detach()
        return self.objective(output, y)

    def _count(self, y: Tensor, samples: int) -> None:
        assert self._output is not None
        output = self.job.read(self._output)
        if samples < len(y):
            output, y = output[:samples], y[:samples]
        self.tally.add_outputs(output, y)

    def _check_and_clip(self) -> None:
        clip = self.job.recipe.training.clip
        if self._scaler is None:
            check_and_clip(self._parameters, clip, self.step + 1)
            return
        # The scaler of float16 skips a step whose updates are not finite: that is no divergence.
        limit = clip or float("inf")
        self.fabric.clip_gradients(self.model, self.optimizer, max_norm=limit, error_if_nonfinite=False)

    def _meet_data(self) -> None:
        """Let the rule draw what it draws on the first batch, before the network is in Fabric's hands."""
        x, y = self._train.batch(torch.arange(2), 0)
        device = next(self.network.parameters()).device
        self.network.eval()
        with torch.enable_grad(), targets(y.to(device)):
            self.network(x.to(device))
        self.network.train()

    def _near(self, examples: Any) -> Any:
        """Examples in memory on the device, or any as they are."""
        if isinstance(examples, TensorExamples) and self.fabric.device.type != "cpu":
            return TensorExamples(*self.fabric.to_device((examples.x, examples.y)))
        return examples

    def _new_tally(self) -> Tally:
        return Tally(self.job.splits.task, self.job.splits.outputs)
