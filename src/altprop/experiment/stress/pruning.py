"""Prune the networks of an experiment at growing rates, and see what is left."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

from altprop.experiment.errors import InputError
from altprop.experiment.networks.spiking import is_spiking
from altprop.experiment.records.folder import results_folder
from altprop.experiment.records.machine import check_device, versions
from altprop.experiment.stress.criteria import Subject, rank, rank_hidden_channels
from altprop.experiment.stress.masks import prune_by, sparsity
from altprop.experiment.stress.pruning_results import PrunedPoint, PruneResults
from altprop.experiment.stress.results import until_interrupted
from altprop.experiment.stress.settings import PruneSettings
from altprop.experiment.studies.reading import Kept, kept_networks
from altprop.experiment.training.job import rule_seed
from altprop.experiment.training.showing import or_default
from altprop.experiment.training.watching import Watch


def prune(settings: PruneSettings, *, data: Any = None, watch: Watch | None = None) -> PruneResults:
    """Prune the networks of an experiment at growing rates, by several rankings, and score them. None is trained again.

    Args:
        settings: what to prune, and how.
        data: the data set that the networks were trained on, where that is one of your own.
        watch: told how it gets on.

    Returns:
        The results. They are also written to the folder ``results.folder``, with curves and a report, unless
        ``settings.out`` is None. If Ctrl-C or the like came, they are of the networks that were done by then, and
        ``results.interrupted`` says so.

    Raises:
        InputError: (a ValueError) something cannot be pruned as asked; nothing was written.
        KeyboardInterrupt: it was interrupted before any network was done; nothing was written.
    """
    watch = or_default(watch)
    check_device(settings.device)
    watch.stage("loading the networks")
    kept = kept_networks(settings.run, which=settings.which, device=settings.device, data=data)
    _check(settings, kept)
    how = "-structured" * settings.structured + "-per-layer" * settings.per_layer
    with results_folder(settings, f"prune{how}-{kept.name}", kind="pruning") as folder:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always", UserWarning)
            passes = len(settings.by) * len(kept.networks)
            watch.begin(passes * len(settings.rates))
            points, interrupted = until_interrupted(_passes(settings, kept, watch), passes)
        results = PruneResults(
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
            notes=tuple(filter(None, dict.fromkeys([interrupted, *(str(warning.message) for warning in caught)]))),
        )
        if folder is not None:
            from altprop.experiment.stress.output import write_stress  # noqa: PLC0415  (matplotlib is slow)

            watch.stage("writing the report")
            write_stress(results, results.words, folder.path)
            results.folder = folder.publish()
    return results


def _check(settings: PruneSettings, kept: Kept) -> None:
    if "relevance" not in settings.by:
        return
    if kept.data.task != "classification":
        raise InputError(
            f"Relevance is of classes, but the task is {kept.data.task}: rank by magnitude, updates or random."
        )
    if is_spiking(kept.model):
        raise InputError(
            f"LRP has no rules for the neurons of the spiking network {kept.model!r}: rank by magnitude, updates or "
            f"random."
        )


def _passes(settings: PruneSettings, kept: Kept, watch: Watch) -> Iterator[list[PrunedPoint]]:
    ranks = rank_hidden_channels if settings.structured else rank
    for by in settings.by:
        for rule, seed in sorted(kept.networks, key=lambda key: kept.rules.index(key[0])):
            watch.stage(f"by {by}: {rule}, seed {seed}")
            network = kept.networks[rule, seed]
            scores, points = ranks(by, _subject(settings, kept, rule, seed)), []
            for rate in settings.rates:
                pruned = prune_by(network, scores, rate, per_layer=settings.per_layer)
                points.append(
                    PrunedPoint(
                        kind=by, rule=rule, seed=seed, level=rate, score=kept.score(pruned), sparsity=sparsity(pruned)
                    )
                )
                watch.advance()
            yield points


def _subject(settings: PruneSettings, kept: Kept, rule: str, seed: int) -> Subject:
    part = kept.data.train
    batches = list(kept.batches(part, kept.batch_size, limit=settings.samples, seed=settings.seed))
    return Subject(
        model=kept.networks[rule, seed],
        batches=batches,
        rule=rule,
        outputs=kept.data.outputs,
        objective=kept.objective,
        composite=settings.composite,
        low=min(float(x.min()) for x, _ in batches),
        high=max(float(x.max()) for x, _ in batches),
        seed=rule_seed(seed),
        draw=settings.seed + seed,
    )
