"""Explain a network's outputs by several rules side by side."""

from __future__ import annotations

import time
import warnings
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

import altprop
from altprop.experiment.composites import composites_for, make_composite
from altprop.experiment.errors import InputError, unknown
from altprop.experiment.explaining.network import TRAIN_FIRST, Network
from altprop.experiment.explaining.results import Explained, Explanations, Outcome
from altprop.experiment.explaining.samples import Samples, data_samples, image_samples
from altprop.experiment.explaining.settings import ALL, ExplainSettings
from altprop.experiment.explaining.trained import trained_network
from altprop.experiment.records.folder import results_folder
from altprop.experiment.records.machine import check_device, versions
from altprop.experiment.training.showing import or_default
from altprop.experiment.training.watching import Watch

_BATCH = 16


def explain(settings: ExplainSettings, *, data: Any = None, watch: Watch | None = None) -> Explanations:
    """Explain what a network makes of images or of test samples, by several composites of rules.

    Args:
        settings: what to explain, and how.
        data: the data set that the network was trained on, where that is one of your own.
        watch: told how it gets on.

    Returns:
        The relevance of every input by every composite, and what the network predicts. They are also written to the
        folder ``explanations.folder``, with pictures and a report, unless ``settings.out`` is None. If Ctrl-C or the
        like came, they are by the composites that were done by then, and ``explanations.interrupted`` says so.

    Raises:
        InputError: (a ValueError) something cannot be explained as asked; nothing was written.
        KeyboardInterrupt: it was interrupted before any composite was done; nothing was written.

    Example:
        >>> from altprop.experiment import ExplainSettings, explain
        >>> settings = ExplainSettings(
        ...     model="torchvision:squeezenet1_1", images="cat.jpg", composites="epsilon_plus_flat", target="tabby"
        ... )
        >>> explain(settings).relevance["epsilon_plus_flat"]  # doctest: +SKIP
    """
    watch = or_default(watch)
    check_device(settings.device)
    watch.stage("loading the network")
    network = _network(settings, data)
    if settings.images is not None:
        samples = image_samples(settings.images, network)
    else:
        samples = data_samples(settings.data, settings.index, network)
    default = f"explain-{network.name}-{samples.origin}"
    with results_folder(settings, default, kind="explanation") as folder:
        explanations = _explanations(settings, network, samples, watch)
        if folder is not None:
            from altprop.experiment.explaining.output import write_explanations  # noqa: PLC0415  (matplotlib is slow)

            watch.stage("writing the report")
            write_explanations(explanations, folder.path)
            explanations.folder = folder.publish()
    return explanations


def _network(settings: ExplainSettings, data: Any) -> Network:
    model, weights, size = settings.model, settings.weights, settings.size
    if not model:
        raise InputError(TRAIN_FIRST)
    if model.startswith("torchvision:"):
        from altprop.experiment.explaining.pretrained import torchvision_network  # noqa: PLC0415  (slow to import)

        return torchvision_network(model, weights, settings.seed, size)
    if weights is not None or size is not None:
        option = "--weights" if weights is not None else "--size"
        raise InputError(f"{option} is for networks of torchvision; the training run of {model} fixed it.")
    return trained_network(Path(model), settings.seed, data)


def _explanations(settings: ExplainSettings, network: Network, samples: Samples, watch: Watch) -> Explanations:
    network.module.to(settings.device)
    inputs, targets = _predicted(settings, network, samples)
    labels = dict.fromkeys(
        label
        for asked in settings.composites
        for label in (composites_for(network.module) if asked == ALL else (asked,))
    )
    done = _by_rules(settings, network, samples, targets, tuple(labels), watch)
    return Explanations(
        settings=settings,
        network=network.summary,
        data=samples.source,
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        versions=versions(settings.device),
        inputs=inputs,
        outcomes=tuple(done.outcomes),
        interrupted=done.interrupted,
        notes=tuple(dict.fromkeys(done.notes)),
        samples=samples.inputs,
        relevance={outcome.composite: done.relevance[outcome.composite] for outcome in done.outcomes},
    )


@dataclass
class _Done:
    """What came out so far, by one composite after the other."""

    notes: list[str]
    relevance: dict[str, Tensor] = field(default_factory=dict)
    outcomes: list[Outcome] = field(default_factory=list)
    interrupted: bool = False


def _by_rules(
    settings: ExplainSettings, network: Network, samples: Samples, targets: Tensor, labels: Sequence[str], watch: Watch
) -> _Done:
    """Explain by one composite after the other, to the end or to an interruption."""
    done = _Done(list(network.notes))
    watch.begin(len(labels))
    try:
        for label in labels:
            watch.stage(label)
            try:
                found = _by_rule(label, network, samples.inputs, targets, settings.device)
            except (NotImplementedError, RuntimeError, TypeError, ValueError) as error:
                if label in settings.composites:
                    raise InputError(f"The network cannot be explained by {label!r}: {error}") from error
                done.notes.append(f"{label} is left out: {error}")
            else:
                done.relevance[label], outcome, warned = found
                done.outcomes.append(outcome)
                done.notes += warned
            watch.advance()
    except KeyboardInterrupt:
        if not done.outcomes:
            raise
        done.interrupted = True
        done.notes.append(f"Interrupted: {len(done.outcomes)} of {len(labels)} composites were done.")
    if not done.outcomes:
        raise InputError(f"No composite could explain the network: {'; '.join(done.notes)}")
    return done


def _predicted(settings: ExplainSettings, network: Network, samples: Samples) -> tuple[tuple[Explained, ...], Tensor]:
    """What the network makes of the inputs, and the output to be explained of each."""
    outputs = _outputs(network, samples.inputs, settings.device)
    predicted = outputs.argmax(1)
    targets = torch.full_like(predicted, _target(settings.target, outputs.shape[1], network.classes))
    targets = targets.where(targets >= 0, predicted)
    names = network.classes if len(network.classes) == outputs.shape[1] else tuple(map(str, range(outputs.shape[1])))
    inputs = tuple(
        Explained(
            name=samples.names[number],
            true=samples.true[number],
            predicted=int(best),
            predicted_name=names[best],
            score=float(row[best]),
            target=int(target),
            target_name=names[target],
            output=float(row[target]),
        )
        for number, (row, best, target) in enumerate(zip(outputs, predicted, targets, strict=True))
    )
    return inputs, targets


def _outputs(network: Network, inputs: Tensor, device: str) -> Tensor:
    shape = "×".join(map(str, inputs.shape[1:]))
    try:
        with torch.no_grad():
            parts = [network.module(part.to(device)) for part in torch.split(inputs, _BATCH)]
    except (AssertionError, RuntimeError, ValueError) as error:
        reason = str(error).partition("\n")[0]
        raise InputError(
            f"{network.summary} does not take inputs of shape {shape}: {reason}. Choose another --size."
        ) from error
    if not all(isinstance(part, Tensor) and part.dim() == 2 for part in parts):
        raise InputError(f"{network.summary} does not give one vector of outputs for each input.")
    outputs = torch.cat(parts).cpu()
    if not outputs.isfinite().all():
        raise InputError(f"{network.summary} gives outputs that are NaN or infinite for these inputs.")
    return outputs


def _target(asked: str | None, count: int, classes: tuple[str, ...]) -> int:
    """The number of the output that is asked for; -1 for the predicted one."""
    if asked is None:
        return -1
    named = {name.lower(): number for number, name in enumerate(classes)}
    if asked.lower() in named:
        return named[asked.lower()]
    try:
        number = int(asked)
    except ValueError:
        raise unknown("class", asked, classes or map(str, range(count))) from None
    if not 0 <= number < count:
        raise InputError(f"The target {number} is out of range: the network has outputs from 0 to {count - 1}.")
    return number


def _by_rule(
    label: str, network: Network, inputs: Tensor, targets: Tensor, device: str
) -> tuple[Tensor, Outcome, list[str]]:
    """The relevance by one composite, with its sums and what was warned of."""
    low, high = (one.to(device) if isinstance(one, Tensor) else one for one in (network.low, network.high))
    lrp = altprop.LRP(network.module, composite=make_composite(label, low=low, high=high))
    parts, deltas, start = [], [], time.perf_counter()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", UserWarning)
        for x, target in zip(torch.split(inputs, _BATCH), torch.split(targets, _BATCH), strict=True):
            R, delta = lrp.attribute(x.to(device), target=target.to(device), return_convergence_delta=True)
            parts.append(R.detach().cpu())
            deltas += delta.tolist()
    seconds = time.perf_counter() - start
    relevance = torch.cat(parts)
    if not relevance.isfinite().all():
        raise ValueError("it gives relevance that is NaN or infinite")
    sums = tuple(relevance.flatten(1).double().sum(1).tolist())
    warned = [str(warning.message) for warning in caught]
    return relevance, Outcome(composite=label, sums=sums, deltas=tuple(deltas), seconds=seconds), warned
