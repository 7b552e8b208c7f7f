"""How the learning rate changes: a factor for each step, that depends on nothing but the step."""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Callable

from altprop.experiment.recipes.learning import SchedulerSection

Factor = Callable[[int], float]


def make_schedule(section: SchedulerSection, steps: int, per_epoch: int) -> Factor:
    """What the learning rate is multiplied by in each step, from 0.

    They are those of torch's schedulers, without their state: a training that is resumed, or made longer, needs none.

    Args:
        section: which, and how.
        steps: how many there are.
        per_epoch: how many an epoch has.

    Returns:
        The factor. ``one-cycle`` rises from 1/25 to 1 and falls to 4·10⁻⁶ along cosines, as ``OneCycleLR``, by default
        in three tenths of the training; ``cyclic`` goes up and down in straight lines, as ``CyclicLR``; ``cosine``
        falls as ``CosineAnnealingLR``, ``step`` as ``MultiStepLR``, after a warmup along a straight line.

    Example:
        >>> factor = make_schedule(SchedulerSection(name="cosine"), steps=100, per_epoch=10)
        >>> [round(factor(step), 3) for step in (0, 50, 100)]
        [1.0, 0.5, 0.0]
    """
    match section.name:
        case "none":
            return lambda step: 1.0
        case "one-cycle":
            return _one_cycle(0.3 if section.warmup is None else section.warmup, steps)
        case "cyclic":
            return _cyclic(section.cycles, section.lowest, steps)
        case "step":
            ends = [epoch * per_epoch for epoch in sorted(section.epochs)]
            return _warmed_up(lambda step: section.factor ** bisect_right(ends, step), section.warmup, steps, shift=0)
        case "cosine":
            warmup = round((section.warmup or 0.0) * steps)
            cosine = _cosine(section.lowest, max(1, steps - warmup))
            return _warmed_up(cosine, section.warmup, steps, shift=warmup)


def _between(start: float, end: float, part: float) -> float:
    return end + (start - end) * (1 + math.cos(math.pi * part)) / 2


def _one_cycle(warmup: float, steps: int) -> Factor:
    top = warmup * steps - 1
    last = max(1, steps - 1)

    def factor(step: int) -> float:
        if step <= top:
            return _between(1 / 25, 1.0, step / top) if top > 0 else 1.0
        return _between(1.0, 1 / 25e4, min(1.0, (step - top) / max(1, last - top)))

    return factor


def _cyclic(cycles: int, lowest: float, steps: int) -> Factor:
    half = max(1, round(steps / cycles / 2))

    def factor(step: int) -> float:
        part = (step % (2 * half)) / half
        return lowest + (1 - lowest) * (1 - abs(1 - part))

    return factor


def _cosine(lowest: float, steps: int) -> Factor:
    return lambda step: _between(1.0, lowest, min(1.0, step / steps))


def _warmed_up(factor: Factor, warmup: float | None, steps: int, shift: int) -> Factor:
    rising = round((warmup or 0.0) * steps)
    # The first step has a rate above 0, or it would be lost.
    return lambda step: (step + 1) / (rising + 1) * factor(0) if step < rising else factor(step - shift)
