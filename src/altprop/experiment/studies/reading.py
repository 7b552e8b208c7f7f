"""Studies read again: their networks, with all that it takes to examine them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from safetensors.torch import load
from torch import Tensor, nn

from altprop.experiment.data.examples import Examples, Splits, as_splits
from altprop.experiment.data.facts import DataFacts
from altprop.experiment.data.opening import open_data
from altprop.experiment.errors import InputError, unknown
from altprop.experiment.metrics import score
from altprop.experiment.networks.weights import put_weights
from altprop.experiment.recipes import Recipe
from altprop.experiment.recipes.rules import recipe_of_cell
from altprop.experiment.records.files import read_checked
from altprop.experiment.records.kinds import is_written, kind_of
from altprop.experiment.records.study import STUDY, WEIGHTS, Study, cell_folder
from altprop.experiment.training.checkpoints import BrokenCheckpointError, read_checkpoint
from altprop.experiment.training.job import Job

Which = Literal["best", "last", "final"]

_TRAIN_FIRST = "Train some first: altprop compare --name mine, and then give runs/mine."
_TEST_BATCH = 1024


def read_study(folder: Path | str) -> Study:
    """Read a study, also one that is not over.

    Raises:
        InputError: there is none in the folder, it is of an earlier version of altprop, or it is damaged.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise InputError(f"There is no folder {folder}. {_TRAIN_FIRST}")
    if kind_of(folder) != "study" or not is_written(folder, "study"):
        raise InputError(f"{folder} has no {STUDY}: it is no folder of compare or train. {_TRAIN_FIRST}")
    return Study.load(folder)


def load_trained(
    folder: Path | str,
    seed: int | None = None,
    which: Which = "best",
    *,
    rule: str | None = None,
    splits: Splits | None = None,
) -> tuple[nn.Module, Splits, Recipe]:
    """Load a network of a study.

    Args:
        folder: of the study.
        seed: of the network, if there are several. Unset: the first.
        which: ``"best"``: of the epoch that was best by ``training.monitor``; ``"last"``: of the last checkpoint;
            ``"final"``: as it was at the end.
        rule: the label of the rule that trained it, if there are several. Unset: the first.
        splits: what it was trained on, if the recipe does not say.

    Returns:
        The network in evaluation mode, without its rule; the data, opened again; and the recipe of the network.

    Raises:
        InputError: there is no such study, no such network in it, or its files are damaged.
    """
    study = read_study(folder)
    seed = study.seeds[0] if seed is None else seed
    label = study.rules[0] if rule is None else rule
    if label not in study.rules:
        raise unknown(f"rule in {folder} called", label, study.rules)
    place = cell_folder(Path(folder), label, seed)
    if not place.is_dir():
        there = [str(one) for one in study.seeds if cell_folder(Path(folder), label, one).is_dir()]
        raise InputError(f"{folder} has no network of seed {seed}, but of {', '.join(there) or 'none'}.")
    splits = data_of(study, splits)
    section = next(one for one in study.recipe.rules if one.label == label)
    network = Job(recipe_of_cell(study.recipe, section), splits, seed).blank_model()
    if which == "final":
        put_weights(network, load(read_checked(place / WEIGHTS)), place / WEIGHTS, f"the network of {folder}")
    else:
        network.load_state_dict(_weights(place / which, network))
    return network.eval(), splits, recipe_of_cell(study.recipe, section)


def data_of(study: Study, given: Any = None) -> Splits:
    """What the networks of a study were trained on.

    Args:
        study: any.
        given: data in the place of those that it names; see :func:`~altprop.experiment.data.examples.as_splits`.

    Raises:
        InputError: altprop does not know them, their files are not there, or those that are given do not fit.
    """
    if given is None and study.has_own_data:
        raise InputError(
            f"The network was trained on {study.data.name!r}, which is no data set that altprop knows: give it in "
            f"Python, as data=..."
        )
    splits = open_data(study.recipe.data) if given is None else as_splits(given)
    if given is not None and study.data.task == "reconstruction" and splits.task != "reconstruction":
        splits = splits.reconstruction()
    for what in ("task", "input_shape", "outputs"):
        there, trained = getattr(splits, what), getattr(study.data, what)
        if there != trained:
            raise InputError(f"{splits.name}: its {what} is {there}, but the networks were trained for {trained}.")
    return splits


def _weights(checkpoint: Path, network: nn.Module) -> dict[str, Tensor]:
    """The network's own part of a checkpoint, which holds the rule's too."""
    if not checkpoint.is_dir():
        raise InputError(f"There is no checkpoint {checkpoint}: the training ended before its first epoch did.")
    try:
        state = read_checkpoint(checkpoint).model
    except BrokenCheckpointError as error:
        raise InputError(f"A checkpoint cannot be used: {error}") from error
    missing = [name for name in network.state_dict() if name not in state]
    if missing:
        raise InputError(f"{checkpoint} is of another network: it has no {missing[0]}.")
    return {name: state[name] for name in network.state_dict()}


@dataclass(frozen=True)
class Kept:
    """The networks of a study.

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


def kept_networks(folder: Path | None, *, which: Which = "final", device: str = "cpu", data: Any = None) -> Kept:
    """Load the networks of a study. Those whose training was broken off are left out.

    Args:
        folder: what ``altprop compare`` or ``altprop train`` wrote.
        which: of each network; see :func:`load_trained`.
        device: where to put the networks.
        data: what they were trained on, if altprop does not know it.

    Raises:
        InputError: there is no such folder, or it holds no networks; or they do not fit.
    """
    if folder is None:
        raise InputError(f"Give the folder of the networks. {_TRAIN_FIRST}")
    study = read_study(folder)
    splits = data_of(study, data)
    networks = {
        (cell.rule, cell.seed): load_trained(folder, cell.seed, which, rule=cell.rule, splits=splits)[0].to(device)
        for cell in study.cells
        if cell.counts
    }
    if not networks:
        raise InputError(f"{folder} holds no network whose training finished. {_TRAIN_FIRST}")
    job, trained = Job(study.recipe, splits, 0), {rule for rule, _ in networks}
    return Kept(
        name=folder.resolve().name,
        model=study.recipe.model.name,
        activation=study.recipe.model.activation,
        rules=tuple(rule for rule in study.rules if rule in trained),
        networks=networks,
        data=splits,
        objective=job.objective(),
        read=job.read,
        batch_size=study.recipe.training.batch_size,
        device=device,
    )


def rule_and_seed(parts: tuple[str, ...], study: Study) -> tuple[str, int] | None:
    """The rule and the seed of a cell, from the parts of a path within the folder of its study; None if it is in none.

    Example:
        >>> study = Study.model_construct(recipe=Recipe(rule="lfp:epsilon=0"))
        >>> rule_and_seed(("cells", "lfp%3Aepsilon=0-seed-0", "last"), study)
        ('lfp:epsilon=0', 0)
    """
    for rule in study.rules:
        for seed in study.seeds:
            if cell_folder(Path(), rule, seed).name in parts:
                return rule, seed
    return None
