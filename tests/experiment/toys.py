"""Experiments that take a moment, rules that do one odd thing, and results made by hand."""

import pytest
import torch

import altprop
from altprop import Attachment
from altprop.experiment import Dataset, Settings
from altprop.experiment.data.facts import DataFacts
from altprop.experiment.results import Divergence, Epoch, Results, Run
from altprop.experiment.training.watching import Watch


def tiny(**changes):
    """Settings of four steps an epoch, which write nothing."""
    toy = {"data": "circles", "model": "4", "rules": "lfp", "epochs": 2, "batch_size": 250, "seeds": 1, "out": None}
    return Settings(**toy | changes)


def own_data(**changes):
    """A data set that a user might bring."""
    generator = torch.Generator().manual_seed(5)
    x = torch.randn(60, 3, generator=generator)
    y = (x.sum(1) > 0).long()
    parts = {"x_train": x[:40], "y_train": y[:40], "x_test": x[40:], "y_test": y[40:], "outputs": 2}
    return Dataset(**{"name": "my own", "task": "classification"} | parts | changes)


def without_report(run, settings, data=None):
    """What ``compare`` or ``train`` gives, with its files but for the report, whose pictures take their time."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("altprop.experiment.comparison.write_report", lambda *_: None)
        return run(settings, data=data)


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
    """A run with the given scores, one for each epoch."""
    epochs = tuple(
        Epoch(epoch=n, train_loss=1 / n, score=s, cosine=cosine, layer_cosines={"linear1": cosine}, sparsity=0.25)
        for n, s in enumerate(scores, 1)
    )
    divergence = Divergence(step=7, epoch=len(scores) + 1, where="the update of a") if diverged else None
    return Run(
        rule=rule,
        seed=seed,
        lr=lr,
        clip=3.0,
        epochs=epochs,
        seconds=1.5,
        divergence=divergence,
        interrupted=interrupted,
    )


def results_of(*runs, command="compare", data=None, **changes):
    """Results with the given runs, of the rules and seeds that they name."""
    rules, seeds = (tuple(dict.fromkeys(getattr(run, key) for run in runs)) for key in ("rule", "seed"))
    parts = {
        "settings": tiny(rules=rules or ("lfp",), seeds=seeds or (0,)),
        "objective": "cross-entropy",
        "data": DataFacts.of(data or own_data()),
        "created": "2030-01-02T03:04:05+00:00",
        "versions": {"altprop": "1"},
        "runs": runs,
    }
    return Results(command=command, **parts | changes)


def without_times(results):
    """What must be the same when an experiment is repeated."""
    return [run.model_copy(update={"seconds": 0.0}) for run in results.runs]
