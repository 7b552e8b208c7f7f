"""The learning rate of each step is the one that torch's schedulers give."""

import pytest
import torch
from torch.optim import lr_scheduler as of_torch

from altprop.experiment.networks.names import Shape, build_model
from altprop.experiment.recipes.learning import SchedulerSection
from altprop.experiment.training.batches import Batches
from altprop.experiment.training.fit import fit
from altprop.experiment.training.schedules import make_schedule
from tests.experiment.training.toys import toy, weights

LR = 0.3
STEPS, PER_EPOCH = 120, 10


def warmed_up(optimizer, rising, scheduler):
    """A rise along a straight line, then another scheduler."""
    line = of_torch.LinearLR(optimizer, start_factor=1 / (rising + 1), total_iters=rising)
    return of_torch.SequentialLR(optimizer, [line, scheduler], milestones=[rising])


def one_cycle(optimizer, steps, warmup):
    return of_torch.OneCycleLR(optimizer, max_lr=LR, total_steps=steps, pct_start=warmup, cycle_momentum=False)


def cyclic(optimizer, half, lowest):
    return of_torch.CyclicLR(optimizer, base_lr=lowest * LR, max_lr=LR, step_size_up=half, cycle_momentum=False)


def warmed_up_steps(optimizer, rising, milestones, gamma):
    line = of_torch.LinearLR(optimizer, start_factor=1 / (rising + 1), total_iters=rising)
    return of_torch.ChainedScheduler([line, of_torch.MultiStepLR(optimizer, milestones, gamma)])


# Each with the number of steps in which the two must agree.
CASES = {
    "none": ({}, STEPS, lambda opt: of_torch.ConstantLR(opt, factor=1.0)),
    "one-cycle": ({"name": "one-cycle"}, STEPS, lambda opt: one_cycle(opt, STEPS, 0.3)),
    "one-cycle, no rise": ({"name": "one-cycle", "warmup": 0.0}, STEPS, lambda opt: one_cycle(opt, STEPS, 0.0)),
    "one-cycle, half": ({"name": "one-cycle", "warmup": 0.5}, STEPS, lambda opt: one_cycle(opt, STEPS, 0.5)),
    "one-cycle, odd": ({"name": "one-cycle", "warmup": 0.37}, 97, lambda opt: one_cycle(opt, 97, 0.37)),
    "cyclic": ({"name": "cyclic", "lowest": 0.1}, STEPS, lambda opt: cyclic(opt, 15, 0.1)),
    "cyclic from 0": ({"name": "cyclic", "cycles": 3}, STEPS, lambda opt: cyclic(opt, 20, 0.0)),
    "cyclic, odd": ({"name": "cyclic", "cycles": 7, "lowest": 0.2}, STEPS, lambda opt: cyclic(opt, 9, 0.2)),
    "step": (
        {"name": "step", "epochs": (9, 4), "factor": 0.2},
        STEPS,
        lambda opt: of_torch.MultiStepLR(opt, [40, 90], 0.2),
    ),
    "step, warmed up": (
        {"name": "step", "epochs": (4, 9), "warmup": 0.1},
        STEPS,
        lambda opt: warmed_up_steps(opt, 12, [40, 90], 0.1),
    ),
    "cosine": ({"name": "cosine"}, STEPS, lambda opt: of_torch.CosineAnnealingLR(opt, STEPS)),
    "cosine to 0.05": (
        {"name": "cosine", "lowest": 0.05},
        STEPS,
        lambda opt: of_torch.CosineAnnealingLR(opt, STEPS, eta_min=0.05 * LR),
    ),
    "cosine, warmed up": (
        {"name": "cosine", "warmup": 0.1, "lowest": 0.05},
        STEPS,
        lambda opt: warmed_up(opt, 12, of_torch.CosineAnnealingLR(opt, STEPS - 12, eta_min=0.05 * LR)),
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_each_step_has_the_rate_of_torchs_scheduler(name):
    section, steps, make = CASES[name]
    factor = make_schedule(SchedulerSection(**section), steps, PER_EPOCH)
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=LR)
    scheduler = make(optimizer)
    for step in range(steps):
        [expected] = scheduler.get_last_lr()
        assert LR * factor(step) == pytest.approx(expected, rel=1e-7, abs=1e-15), step
        optimizer.step()
        scheduler.step()


@pytest.mark.parametrize("name", ["one-cycle", "cosine, warmed up"])
def test_training_takes_these_rates(name, circles):
    section, _, make = CASES[name]
    recipe = toy(rule={"name": "backprop"}, optimizer={"lr": LR}, scheduler=section, training={"epochs": 30, "clip": 0})
    trained = fit(recipe, seed=0, splits=circles)
    model = build_model("4", Shape((2,), 2), seed=0)
    optimizer = torch.optim.SGD(model.parameters(), lr=LR, momentum=0.9)
    scheduler = make(optimizer)
    for epoch in range(1, 31):
        for batch in Batches(1000, 250).order(0, epoch):
            x, y = circles.train.batch(batch, epoch)
            optimizer.zero_grad()
            torch.nn.functional.cross_entropy(model(x), y).backward()
            optimizer.step()
            last = scheduler.get_last_lr()
            scheduler.step()
        assert trained.history[epoch - 1].lr == pytest.approx(last[0], rel=1e-7)
    torch.testing.assert_close(weights(trained), torch.cat([p.flatten() for p in model.parameters()]))
