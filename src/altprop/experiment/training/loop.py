"""The training loop: one network, its optimizer, and where it stands."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn

from altprop import targets
from altprop.experiment.data.examples import TensorExamples
from altprop.experiment.data.loading import batches
from altprop.experiment.records.study import Epoch
from altprop.experiment.training.batches import Batches, check_batches
from altprop.experiment.training.checkpoints import Snapshot
from altprop.experiment.training.evaluating import evaluate
from altprop.experiment.training.job import Job
from altprop.experiment.training.machine import Machine, has_batch_statistics, share_buffers, summed
from altprop.experiment.training.schedules import make_schedule
from altprop.experiment.training.snapshots import take
from altprop.experiment.training.stepping import NotFiniteError, loss_of
from altprop.experiment.training.tally import Tally
from altprop.experiment.training.tracking import noting_layers, track


class Loop:
    """A training under way. Make it where torch's random state may move; ``network`` has its rule attached.

    Attributes:
        job: what is done.
        machine: where.
        network: the network itself.
        model: the same, wrapped for the machine: what is called.
        optimizer: its optimizer, likewise.
        batches: how the samples are cut.
        step: how many steps of the optimizer are done.
        epoch: the number of the present epoch.
        batch: how many of its batches are done.
        tally: the sums of the present epoch.
        output_layer: the name of the layer with weights that runs last; None if that is not known.
        start: the figures before the first step; None until :meth:`begin`.
        history: the figures of the epochs that are done.
        dumped: the same, as JSON has it.
        seconds: how long it took before this process went on with it.
    """

    def __init__(self, job: Job, machine: Machine, network: nn.Module) -> None:
        self.job, self.machine, self.network = job, machine, network
        splits, training = job.splits, job.recipe.training
        normalised = has_batch_statistics(network)
        parts = machine.world_size * training.accumulate
        self.batches = Batches(
            samples=len(splits.train),
            size=training.batch_size,
            processes=machine.world_size,
            rank=machine.global_rank,
            accumulate=training.accumulate,
            least=2 * parts if normalised else 2,
        )
        check_batches(self.batches, normalised)
        self.steps = job.steps(self.batches.per_epoch)
        self.objective = job.objective()
        self.factor = make_schedule(job.recipe.scheduler, self.steps, self.batches.per_epoch)
        self.step, self.epoch, self.batch = 0, 1, 0
        self.tally = self._new_tally()
        self.start: Epoch | None = None
        self.history: list[Epoch] = []
        self.dumped: list[dict[str, Any]] = []
        self.seconds, self._start = 0.0, time.perf_counter()
        self._train = self._near(splits.train)
        self._output: Tensor | None = None
        self._meet_data()

    def set_up(self) -> None:
        """Wrap network and optimizer for the machine. Register no parameters after this."""
        self.model = self.machine.wrap(self.network)
        self.optimizer = self.machine.wrap_optimizer(self.job.optimizer(self.model))
        self._parameters = list(self.network.named_parameters())

    @property
    def elapsed(self) -> float:
        """Seconds of training in all."""
        return self.seconds + time.perf_counter() - self._start

    @property
    def lr(self) -> float:
        """The learning rate of the next step."""
        return self.job.lr * self.factor(self.step)

    def begin(self) -> None:
        """Measure the network before its first step, as after each epoch, unless that was done already.

        Raises:
            NotFiniteError: what it says is not finite.
        """
        if self.start is None:
            lr = self.job.lr * self.factor(0)
            self.start = Epoch(epoch=0, step=0, lr=lr, **self._measured(), seconds=self.elapsed)

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

    def end_epoch(self) -> Epoch:
        """Evaluate the network after an epoch, and go on to the next.

        Raises:
            NotFiniteError: what it says is not finite.
        """
        share_buffers(self.machine, self.network)
        self.tally.restore(summed(self.machine, self.tally.totals), self.tally.state["samples"])
        train_loss, train_score = self.tally.figures()
        if not train_loss < float("inf"):
            raise NotFiniteError("the loss of the epoch", self.step)
        figures = Epoch(
            epoch=self.epoch,
            step=self.step,
            lr=self.job.lr * self.factor(self.step - 1),
            train_loss=train_loss,
            train_score=train_score,
            **self._measured(),
            seconds=self.elapsed,
        )
        self.history.append(figures)
        self.dumped.append(figures.model_dump())
        self.epoch, self.batch, self.tally = self.epoch + 1, 0, self._new_tally()
        return figures

    def snapshot(self) -> Snapshot:
        """Take down where the training stands. All of its processes must call it; the first one alone gets tensors."""
        return take(self)

    def _measured(self) -> dict[str, Any]:
        """What is measured between epochs: scores on data that is not trained on, and what the recipe tracks."""
        splits = self.job.splits
        validation = None if splits.validation is None else evaluate(self, splits.validation, "validation")
        test = evaluate(self, splits.test, "test")
        return {
            "val_loss": None if validation is None else validation.loss,
            "val_score": None if validation is None else validation.score,
            "test_score": test.score,
            "tracked": {**{f"test_top_{k}": value for k, value in test.top_k.items()}, **self._tracked()},
        }

    def _tracked(self) -> dict[str, float | None]:
        """What the recipe asks to be tracked."""
        return track(self)

    def first_batches(self, count: int) -> Iterator[tuple[Tensor, Tensor]]:
        """The first batches of the present epoch, whole, in every process."""
        indices = self.batches.order(self.job.seed, self.epoch)[:count]
        for x, y in batches(self._train, indices, self.epoch, 0):
            yield self.machine.convert(self.machine.to_device(x)), self.machine.to_device(y)

    def _take_step(
        self, data: Iterator[tuple[Tensor, Tensor]], parts: list[tuple[Tensor, float, int]], size: int
    ) -> None:
        lr = self.lr
        for group in self.optimizer.param_groups:
            group["lr"] = lr
        self.optimizer.zero_grad()
        total: Any = 0.0
        for number, (_, weight, samples) in enumerate(parts, 1):
            x, y = self.machine.to_device(next(data))
            with self.machine.sharing(self.model, number == len(parts)):
                loss = loss_of(self.model, self._recorded, x, y, weight=weight, scale=self.machine.scale())
                self.machine.check_loss(loss, self.network, x, self.step + 1)
                self.machine.backward(loss)
            total = loss.detach() if number == 1 else total + loss.detach()
            self._count(y, samples)
        clip = self.job.recipe.training.clip
        self.machine.check_and_clip(self.model, self.optimizer, self._parameters, clip, self.step + 1)
        self.optimizer.step()
        processes = self.machine.world_size
        self.tally.add_loss(total if processes == 1 else total / processes, size)

    def _recorded(self, output: Tensor, y: Tensor) -> Tensor:
        self._output = output.detach()
        return self.objective(output, y)

    def _count(self, y: Tensor, samples: int) -> None:
        assert self._output is not None
        output = self.job.read(self._output)
        if samples < len(y):
            output, y = output[:samples], y[:samples]
        self.tally.add_outputs(output, y)

    def _meet_data(self) -> None:
        """Run two samples, so that what the rule draws on the first batch is there before the network is wrapped."""
        x, y = self._train.batch(torch.arange(2), 0)
        device = next(self.network.parameters()).device
        self.network.eval()
        with torch.enable_grad(), targets(y.to(device)), noting_layers(self.network) as layers:
            self.network(x.to(device))
        self.network.train()
        self.output_layer = layers[-1] if layers else None

    def _near(self, examples: Any) -> Any:
        """Examples in memory on the device, or any as they are."""
        if isinstance(examples, TensorExamples):
            return TensorExamples(*self.machine.to_device((examples.x, examples.y)))
        return examples

    def _new_tally(self) -> Tally:
        return Tally(self.job.splits.task, self.job.splits.outputs)
