"""The networks that experiments kept, read again with all that it takes to examine them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from pydantic import ValidationError
from torch import Tensor, nn

from altprop.experiment.data.dataset import Dataset
from altprop.experiment.data.examples import Examples, Splits
from altprop.experiment.data.facts import DataFacts
from altprop.experiment.errors import InputError
from altprop.experiment.metrics import score
from altprop.experiment.networks.weights import load_weights
from altprop.experiment.old_training import Job
from altprop.experiment.records.folder import RESULTS, weights_file
from altprop.experiment.results import Results
from altprop.experiment.studies.checkpoints import RECIPE, trained_on

if TYPE_CHECKING:
    from altprop.experiment.studies.reading import Which

_KEEP_THEM = (
    "Train some first: altprop compare --keep-weights --name mine, and then give runs/mine. (altprop train keeps its "
    "own network in any case.)"
)
_TEST_BATCH = 1024


@dataclass(frozen=True)
class Kept:
    """The networks of an experiment.

    Attributes:
        name: of its folder.
        model: the name of the network.
        activation: the name of its activation.
        rules: the labels of the rules, in the order asked for.
        networks: by rule and seed, in evaluation mode.
        data: what they were trained on, in parts.
        objective: what was descended.
        read: what a network's output says: of shape (samples, outputs).
        batch_size: samples in a batch of the training.
        device: where the networks are.
    """

    name: str
    model: str
    activation: str
    rules: tuple[str, ...]
    networks: dict[tuple[str, int], nn.Module]
    data: Splits
    objective: Callable[[Tensor, Tensor], Tensor]
    read: Callable[[Tensor], Tensor]
    batch_size: int
    device: str

    @property
    def facts(self) -> DataFacts:
        """The facts of the data."""
        return DataFacts.of(self.data)

    def batches(
        self, part: Examples, size: int, *, limit: int | None = None, seed: int = 0
    ) -> Iterator[tuple[Tensor, Tensor]]:
        """Batches of inputs and targets, on the device.

        Args:
            part: of the data.
            size: of a batch.
            limit: how many examples to draw, by ``seed``. Unset: all, in their order.
            seed: of the draw.
        """
        order = torch.arange(len(part))
        if limit is not None:
            order = torch.randperm(len(part), generator=torch.Generator().manual_seed(seed))[:limit]
        for indices in torch.split(order, size):
            x, y = part.batch(indices, 0)
            yield x.to(self.device), y.to(self.device)

    def range(self) -> tuple[float, float]:
        """The lowest and the highest value of the training inputs."""
        ends = [(float(x.min()), float(x.max())) for x, _ in self.batches(self.data.train, _TEST_BATCH)]
        return min(low for low, _ in ends), max(high for _, high in ends)

    def score(self, network: nn.Module) -> float:
        """The score of a network on the test data: accuracy, R² or squared error."""
        with torch.no_grad():
            pairs = [(self.read(network(x)), y) for x, y in self.batches(self.data.test, _TEST_BATCH)]
        output, y = (torch.cat(parts) for parts in zip(*pairs, strict=True))
        return score(self.data.task, output, y)


def kept_networks(
    folder: Path | None, *, which: Which = "final", device: str = "cpu", data: Dataset | None = None
) -> Kept:
    """Load the networks of an experiment that kept them. Those whose training did not finish are left out.

    Args:
        folder: what ``altprop compare --keep-weights`` or ``altprop train`` wrote.
        which: of networks that a recipe trained: ``"final"``, as they were at the end, ``"best"`` or ``"last"``
            (:func:`~altprop.experiment.studies.reading.load_trained`). Others are as they were at the end.
        device: where to put the networks.
        data: what they were trained on, if that is no embedded data set.

    Raises:
        InputError: there is no such folder, or it holds no networks; or they do not fit.
    """
    if folder is None:
        raise InputError(f"Give the folder of the networks. {_KEEP_THEM}")
    if not folder.is_dir():
        raise InputError(f"There is no folder {folder}. {_KEEP_THEM}")
    by_recipe = (folder / RECIPE).is_file()
    kept = _by_recipe(folder, which, device, data) if by_recipe else _by_settings(folder, device, data)
    if not kept.networks:
        raise InputError(f"{folder} holds no network whose training finished. {_KEEP_THEM}")
    return kept


def _by_recipe(folder: Path, which: Which, device: str, data: Dataset | None) -> Kept:
    # Lightning Fabric takes long to import, and only these networks need it.
    from altprop.experiment.studies.kept_recipe import trained_by_recipe  # noqa: PLC0415

    trained = trained_by_recipe(folder, which, data)
    job = trained.job
    return Kept(
        name=folder.resolve().name,
        model=job.recipe.model.name,
        activation=job.recipe.model.activation,
        rules=(trained.rule,),
        networks={(trained.rule, seed): one.eval().to(device) for seed, one in trained.networks.items()},
        data=job.splits,
        objective=job.objective(),
        read=job.read,
        batch_size=job.recipe.training.batch_size,
        device=device,
    )


def _by_settings(folder: Path, device: str, given: Dataset | None) -> Kept:
    results = _results(folder)
    data = _data(results, given)
    settings = results.settings.model_copy(update={"pretrained": False})
    networks = {}
    for run in results.runs:
        if run.status == "finished":
            network = settings.network(results.data.shape, run.seed)
            load_weights(network, _file(results, folder, run.rule, run.seed), f"the network of {folder}")
            networks[run.rule, run.seed] = network.eval().to(device)
    job = Job(settings, data, settings.rules[0], settings.seeds[0], 1.0)
    return Kept(
        name=folder.resolve().name,
        model=settings.model,
        activation=settings.activation,
        rules=tuple(rule for rule in settings.rules if any(rule == trained for trained, _ in networks)),
        networks=networks,
        data=Splits.of(data),
        objective=job.objective(),
        read=job.read,
        batch_size=settings.batch_size,
        device=device,
    )


def _data(results: Results, given: Dataset | None) -> Dataset:
    if given is None:
        return trained_on(results)
    data = given.reconstruction() if results.settings.task == "reconstruction" else given
    for what in ("task", "input_shape", "outputs"):
        there, trained = getattr(data, what), getattr(results.data, what)
        if there != trained:
            raise InputError(f"{data.name}: its {what} is {there}, but the networks were trained for {trained}.")
    return data


def _results(folder: Path) -> Results:
    if not (folder / RESULTS).is_file():
        raise InputError(f"{folder} has no {RESULTS}: it is no folder of results. {_KEEP_THEM}")
    try:
        return Results.load(folder)
    except ValidationError as error:
        raise InputError(f"{folder / RESULTS} holds no results of compare or train. {_KEEP_THEM}") from error


def _file(results: Results, folder: Path, rule: str, seed: int) -> Path:
    if results.settings.keep_weights:
        return weights_file(folder, rule, seed)
    if results.command == "compare":
        raise InputError(f"{folder} holds no weights: repeat it with --keep-weights.")
    return folder / ("model.pt" if len(results.runs) == 1 else f"model-seed-{seed}.pt")
