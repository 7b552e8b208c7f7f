"""Attack the networks of an experiment, and see what is left of their accuracy."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import torch

from altprop.experiment.errors import InputError
from altprop.experiment.metrics import score
from altprop.experiment.networks.spiking import is_spiking
from altprop.experiment.records.folder import results_folder
from altprop.experiment.records.machine import check_device, versions
from altprop.experiment.stress.attacks import Ball, attacked
from altprop.experiment.stress.results import Point, until_interrupted
from altprop.experiment.stress.robustness_results import RobustnessResults
from altprop.experiment.stress.settings import RobustnessSettings
from altprop.experiment.studies.reading import Kept, kept_networks
from altprop.experiment.training.showing import or_default
from altprop.experiment.training.watching import Watch

_BATCH = 256
_NO_GRADIENT = {"step", "sign"}


def robustness(settings: RobustnessSettings, *, data: Any = None, watch: Watch | None = None) -> RobustnessResults:
    """Attack the networks of an experiment with growing changes of the test inputs, and score them.

    Args:
        settings: what to attack, and how.
        data: the data set that the networks were trained on, where that is one of your own.
        watch: told how it gets on.

    Returns:
        The results. They are also written to the folder ``results.folder``, with curves and a report, unless
        ``settings.out`` is None. If Ctrl-C or the like came, they are of the networks that were done by then, and
        ``results.interrupted`` says so.

    Raises:
        InputError: (a ValueError) something cannot be attacked; nothing was written.
        KeyboardInterrupt: it was interrupted before any network was done; nothing was written.
    """
    watch = or_default(watch)
    check_device(settings.device)
    watch.stage("loading the networks")
    kept = kept_networks(settings.run, which=settings.which, device=settings.device, data=data)
    _check(kept)
    with results_folder(settings, f"robustness-{kept.name}", kind="robustness") as folder:
        low, high = kept.range()
        passes = len(settings.attacks) * len(kept.networks)
        watch.begin(passes * len(settings.epsilons))
        points, interrupted = until_interrupted(_passes(settings, kept, low, high, watch), passes)
        results = RobustnessResults(
            settings=settings,
            source=str(settings.run),
            network=kept.model,
            rules=kept.rules,
            data=kept.facts,
            tolerance=settings.tolerance,
            created=datetime.now(UTC).isoformat(timespec="seconds"),
            versions=versions(settings.device),
            points=points,
            interrupted=bool(interrupted),
            notes=(interrupted,) if interrupted else (),
            low=low,
            high=high,
        )
        if folder is not None:
            from altprop.experiment.stress.output import write_stress  # noqa: PLC0415  (matplotlib is slow)

            watch.stage("writing the report")
            write_stress(results, results.words, folder.path)
            results.folder = folder.publish()
    return results


def _check(kept: Kept) -> None:
    if kept.data.task != "classification":
        raise InputError(f"Attacks mislead about classes, but the task is {kept.data.task}: take classifiers.")
    if is_spiking(kept.model) or kept.activation in _NO_GRADIENT:
        what = "a spike" if is_spiking(kept.model) else f"the activation {kept.activation!r}"
        raise InputError(
            f"The networks of {kept.name} cannot be attacked: {what} has no gradient to follow. Take networks with an "
            f"activation that has one."
        )


def _passes(settings: RobustnessSettings, kept: Kept, low: float, high: float, watch: Watch) -> Iterator[list[Point]]:
    for attack in settings.attacks:
        for rule, seed in sorted(kept.networks, key=lambda key: kept.rules.index(key[0])):
            watch.stage(f"{attack}: {rule}, seed {seed}")
            points = []
            for epsilon in settings.epsilons:
                ball = Ball(epsilon * (high - low), low, high)
                reached = _score(attack, kept, (rule, seed), ball, settings.steps)
                points.append(Point(kind=attack, rule=rule, seed=seed, level=epsilon, score=reached))
                watch.advance()
            yield points


def _score(attack: str, kept: Kept, which: tuple[str, int], ball: Ball, steps: int) -> float:
    network, outputs, targets = kept.networks[which], [], []
    for x, y in kept.batches(kept.data.test, _BATCH):
        changed = attacked(attack, network, x, y, ball, steps=steps)
        with torch.no_grad():
            outputs.append(network(changed))
        targets.append(y)
    return score(kept.data.task, torch.cat(outputs), torch.cat(targets))
