"""Experiments that take a moment, rules that do one odd thing, and studies made by hand."""

import pytest
import torch

import altprop
from altprop import Attachment
from altprop.experiment import Splits
from altprop.experiment.data.facts import DataFacts
from altprop.experiment.recipes import Recipe
from altprop.experiment.records.study import Cell, Epoch, Study
from altprop.experiment.training.watching import Watch


def tiny(**changes):
    """Flags for four steps an epoch, which write nothing."""
    toy = {"data": "circles", "model": "4", "rules": "lfp", "epochs": 2, "batch_size": 250, "seeds": 1, "out": None}
    return toy | changes


def own_data(**changes):
    """Data that a user might bring."""
    generator = torch.Generator().manual_seed(5)
    x = torch.randn(60, 3, generator=generator)
    y = (x.sum(1) > 0).long()
    parts = {"x_train": x[:40], "y_train": y[:40], "x_test": x[40:], "y_test": y[40:], "outputs": 2}
    parts |= {"name": "my own", "task": "classification"} | changes
    pairs = {part: (parts.pop(f"x_{part}"), parts.pop(f"y_{part}")) for part in ("train", "test")}
    return Splits.of_tensors(**parts, **pairs)


def without_report(run, options):
    """What ``compare`` or ``train`` gives, with its files but for the report, whose pictures take their time."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("altprop.experiment.reports.study.write_report", lambda *_: None)
        return run(**options)


class Hooked(altprop.Rule):
    """Backprop, but for a hook on the gradient of each parameter: ``hook(model, name, gradient)``."""

    def __init__(self, hook):
        self.hook = hook

    def _install(self, model):
        def call(name, g):
            return self.hook(model, name, g) if Attachment.of(model).active else None

        model.__dict__["handles"] = [
            p.register_hook(lambda g, name=name: call(name, g)) for name, p in model.named_parameters()
        ]

    def _uninstall(self, model):
        for handle in model.__dict__.pop("handles"):
            handle.remove()


def poison(parameter, call, value=float("nan")):
    """A rule that makes one entry of the update of ``parameter`` not finite, at its backward pass number ``call``."""

    def hook(model, name, g):
        if name != parameter:
            return g
        model.__dict__["calls"] = model.__dict__.get("calls", 0) + 1
        if model.__dict__["calls"] != call:
            return g
        g = g.clone()
        g.view(-1)[-1] = value
        return g

    return lambda: Hooked(hook)


class Gambler(Hooked):
    """Backprop that draws random numbers, when it is attached and at each step."""

    def __init__(self):
        super().__init__(lambda model, name, g: g + 0 * torch.rand(()))

    def _install(self, model):
        torch.rand(3)
        super()._install(model)


class StopsAt(Watch):
    """Presses Ctrl-C after so many steps, or at a stage whose description holds a text; only once."""

    def __init__(self, steps=None, stage=None):
        self.steps, self.text, self.done, self.pressed = steps, stage, 0, False

    def press(self):
        if not self.pressed:
            self.pressed = True
            raise KeyboardInterrupt

    def advance(self):
        self.done += 1
        if self.done == self.steps:
            self.press()

    def stage(self, text):
        if self.text and self.text in text:
            self.press()


def run_of(rule, seed, *scores, diverged=False, interrupted=False, lr=0.1, cosine=0.5):
    """A cell with the given scores, one for each epoch."""
    tracked = {"bp_cosine": 0.9, "bp_cosine_hidden": cosine, "bp_cosine/linear1": cosine, "sparsity": 0.25}
    history = tuple(
        Epoch(epoch=n, step=n, lr=lr, train_loss=1 / n, train_score=s, test_score=s, tracked=tracked)
        for n, s in enumerate(scores, 1)
    )
    return Cell(
        rule=rule,
        seed=seed,
        lr=lr,
        status="diverged" if diverged else "interrupted" if interrupted else "finished",
        history=history,
        seconds=1.5,
        diverged_at=7 if diverged else None,
        message=f"{rule} (seed {seed}) diverged at step 7" if diverged else "",
    )


def study_of(*cells, data=None, rules=None, seeds=None, **changes):
    """A study with the given cells, of the rules and seeds that they name."""
    named, numbers = (tuple(dict.fromkeys(getattr(cell, key) for cell in cells)) for key in ("rule", "seed"))
    rules, seeds = rules or named or ("lfp",), seeds or numbers or (0,)
    data = data or own_data()
    parts = {
        "recipe": Recipe(
            data={"name": data.name},
            model="4",
            rule=list(rules) if len(rules) > 1 else rules[0],
            training={"epochs": 2, "batch_size": 250, "seeds": seeds},
        ),
        "objective": "cross-entropy",
        "data": DataFacts.of(data),
        "created": "2030-01-02T03:04:05+00:00",
        "versions": {"altprop": "1"},
        "cells": cells,
    }
    return Study(**parts | changes)


def models_of(study):
    """The networks of a study by rule and seed."""
    return {(cell.rule, cell.seed): cell.model for cell in study.cells}


def without_times(study):
    """What must be the same when a study is repeated."""
    return [
        cell.model_copy(
            update={
                "seconds": 0.0,
                "model": None,
                "start": cell.start and cell.start.model_copy(update={"seconds": 0.0}),
                "history": tuple(one.model_copy(update={"seconds": 0.0}) for one in cell.history),
            }
        )
        for cell in study.cells
    ]
