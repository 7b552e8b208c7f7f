"""What the keys of a recipe do to a training, against the same training written by hand."""

import math

import pytest
import torch
from torch.nn import functional as F

import altprop
import altprop.experiment
from altprop.experiment import InputError, Splits
from altprop.experiment.recipes.flags import make_recipe
from altprop.experiment.training.fit import fit
from altprop.experiment.training.job import Job
from altprop.experiment.training.randomness import all_seeded

LR, EPOCHS, CLASSES = 0.1, 1, 3
PLAIN = [
    "model.name=6", "model.activation=tanh", "rule=backprop", "optimizer.momentum=0", f"optimizer.lr={LR}",
    "training.clip=0", f"training.epochs={EPOCHS}", "training.batch_size=8",
]  # fmt: skip


@pytest.fixture(scope="module")
def splits():
    generator = torch.Generator().manual_seed(1)
    x = torch.randn(48, 5, generator=generator)
    y = (x @ torch.randn(5, CLASSES, generator=generator)).argmax(1)
    return Splits.of_tensors("own", (x[:40], y[:40]), (x[40:], y[40:]), outputs=CLASSES)


def made(*changes):
    return make_recipe("train", [*PLAIN, "track.metrics=[]", *changes], own=True)


def run(splits, *changes):
    trained = fit(made(*changes), seed=3, splits=splits)
    assert trained.status == "finished", trained.message
    return trained


def start_of(splits, *changes):
    """The initial weights, as a list: W1, b1, W2, b2."""
    return [p.detach().clone() for p in Job(made(*changes), splits, 3).model().parameters()]


def one_hot(y):
    return F.one_hot(y, CLASSES).float()


class ByHand:
    """A network with one hidden layer of tanh, taught by formulas: what differs from backprop is overridden."""

    def error(self, z, y):
        """∂L/∂z."""
        return (z.softmax(1) - one_hot(y)) / len(y)

    def hidden_error(self, e, w2):
        """What teaches the hidden layer's output."""
        return e @ w2

    def bounded(self, update):
        return update

    def move(self, weights, updates):
        for weight, update in zip(weights, updates, strict=True):
            weight.sub_(LR * update)

    def train(self, splits, weights):
        job = Job(made(), splits, 3)
        for epoch in range(1, EPOCHS + 1):
            for batch in job.batches.order(3, epoch):
                x, y = splits.train.x[batch], splits.train.y[batch]
                w1, b1, w2, b2 = weights
                h = (x @ w1.T + b1).tanh()
                e = self.error(h @ w2.T + b2, y)
                d = self.hidden_error(e, w2) * (1 - h**2)
                self.move(weights, [self.bounded(u) for u in (d.T @ x, d.sum(0), e.T @ h, e.sum(0))])
        return weights


class RmsProp(ByHand):
    alpha = 0.8
    squares = 0

    def move(self, weights, updates):
        self.squares = [
            (1 - self.alpha) * u**2 + (self.alpha * v if self.squares else 0)
            for u, v in zip(updates, self.squares or updates, strict=True)
        ]
        for weight, update, square in zip(weights, updates, self.squares, strict=True):
            weight.sub_(LR * update / (square.sqrt() + 1e-8))


class Bce(ByHand):
    def error(self, z, y):
        return (z.sigmoid() - one_hot(y)) / z.numel()


class TanhAndMse(ByHand):
    def error(self, z, y):
        return 2 * (z.tanh() - one_hot(y)) * (1 - z.tanh() ** 2) / len(y)


class SoftmaxAndMse(ByHand):
    def error(self, z, y):
        p = z.softmax(1)
        g = 2 * (p - one_hot(y)) / len(y)
        return p * (g - (g * p).sum(1, keepdim=True))


class Bounded(ByHand):
    def error(self, z, y):
        p = z.softmax(1)
        p = torch.where(p > 0.5, 1.0, torch.where(p < 0.2, 0.0, p))
        return (p - one_hot(y)) / len(y)


class SignBounded(ByHand):
    def error(self, z, y):
        p = z.softmax(1)
        p = torch.where(p < 0.2, 0.0, p)
        return -z.sign() * (one_hot(y) - p) / (z + 1e-6 * z.sign()) / len(y)


class Frozen(ByHand):
    def move(self, weights, updates):
        for number in (2, 3):
            weights[number] -= LR * updates[number]


class Clipped(ByHand):
    limit = 0.003

    def hidden_error(self, e, w2):
        return (e @ w2).clamp(-self.limit, self.limit)

    def bounded(self, update):
        return update.clamp(-self.limit, self.limit)


class Constrained(ByHand):
    norms = None

    def move(self, weights, updates):
        self.norms = self.norms or [weights[number].norm() for number in (0, 2)]
        super().move(weights, updates)
        for number, norm in zip((0, 2), self.norms, strict=True):
            weights[number] *= norm / weights[number].norm()


KEYS = {
    "nothing": ((), ByHand),
    "rmsprop": (("optimizer.name=rmsprop", f"optimizer.alpha={RmsProp.alpha}"), RmsProp),
    "bce of logits": (("objective=bce",), Bce),
    "bce of probabilities": (("objective=bce", "model.output=sigmoid"), Bce),
    "output tanh": (("objective=mse", "model.output=tanh"), TanhAndMse),
    "output softmax": (("objective=mse", "model.output=softmax"), SoftmaxAndMse),
    "bounds": (("objective.name=bounded-softmax", "objective.lower=0.2", "objective.upper=0.5"), Bounded),
    "sign only": (("objective.name=bounded-softmax", "objective.lower=0.2", "objective.sign_only=true"), SignBounded),
    "zero weights": (("model.zero_init=true",), ByHand),
    "frozen": (("model.frozen=lin*1",), Frozen),
    "clipped errors": ((f"training.error_clip={Clipped.limit}",), Clipped),
    "clipped errors, in parts": ((f"training.error_clip={Clipped.limit}", "training.accumulate=2"), Clipped),
    "constrained weights": (("training.constrain_weights=true",), Constrained),
}


@pytest.mark.parametrize("case", KEYS)
def test_a_training_is_that_by_hand(case, splits):
    changes, by_hand = KEYS[case]
    expected = by_hand().train(splits, start_of(splits, *changes))
    for found, weights in zip(run(splits, *changes).model.parameters(), expected, strict=True):
        torch.testing.assert_close(found.detach(), weights, rtol=1e-4, atol=1e-6)
    if case != "nothing":
        plain = run(splits).model.parameters()
        assert any(not torch.allclose(p.detach(), w, atol=1e-3) for p, w in zip(plain, expected, strict=True))


def test_frozen_layers_are_left_bit_for_bit_and_weights_of_zero_start_at_zero(splits):
    w1, b1, _, _ = start_of(splits)
    trained = run(splits, "model.frozen=linear1", "rule=lfp", "optimizer.lr=0.5").model
    assert torch.equal(trained.linear1.weight, w1)
    assert torch.equal(trained.linear1.bias, b1)
    zero = start_of(splits, "model.zero_init=true")
    assert not zero[0].any()
    assert not zero[2].any()
    assert torch.equal(zero[1], b1), "biases start as they do"


@pytest.mark.parametrize("rule", ["fa", "kp", "dfa", "drtp", "local-loss"])
def test_rules_with_feedback_of_their_own_learn_from_zero(rule, splits):
    trained = run(splits, "model.zero_init=true", f"rule={rule}", "training.epochs=40")
    assert trained.model.linear1.weight.abs().max() > 0.01
    commonest = float(splits.train.y.bincount().max()) / len(splits.train)
    assert trained.history[-1].train_score > commonest + 0.2


@pytest.mark.parametrize("rule", ["lfp", "sign-symmetric", "all"])
def test_rules_that_cannot_leave_zero_are_refused(rule, splits):
    with pytest.raises(
        InputError, match=r"model\.zero_init: the rule '(lfp|sign-symmetric)' multiplies by the weights"
    ):
        made("model.zero_init=true", f"rule={rule}")


@pytest.mark.parametrize(
    ("pattern", "message"),
    [
        ("linear3", "no layer with parameters called 'linear3'. Did you mean 'linear2'"),
        ("act1", "no layer with parameters called 'act1'.*Known: linear1, linear2"),
        ("linear*", "all layers are frozen"),
    ],
)
def test_what_cannot_be_frozen_is_told_before_training(pattern, message, splits):
    with pytest.raises(InputError, match=f"model.frozen: .*{message}"):
        fit(made(f"model.frozen={pattern}"), seed=0, splits=splits)


@pytest.mark.parametrize("rule", ["dfa", "drtp", "local-loss", "shallow"])
def test_direct_rules_take_the_error_before_the_activation_of_the_outputs(rule, splits):
    def updates(*changes):
        job = Job(made(f"rule={rule}", "objective=bce", *changes), splits, 3)
        model, x, y = job.model(), splits.train.x[:8], splits.train.y[:8]
        with all_seeded(job.rule_seed), job.rule().attach(model), altprop.targets(y):
            job.objective()(model(x), y).backward()
        return {name: p.grad for name, p in model.named_parameters() if p.grad is not None}

    plain, activated = updates(), updates("model.output=sigmoid")
    assert plain.keys() == activated.keys()
    for name, update in plain.items():
        torch.testing.assert_close(activated[name], update, rtol=1e-4, atol=1e-7)


@pytest.mark.parametrize("rule", ["dfa", "drtp"])
def test_the_signal_of_direct_rules_is_clipped_at_each_layer(rule, splits):
    limit = 0.01
    job = Job(
        made(f"rule={rule}", f"training.error_clip={limit}", "training.steps=1", "training.epochs=null"), splits, 3
    )
    before = start_of(splits)
    trained = fit(job.recipe, seed=3, splits=splits).model
    batch = job.batches.order(3, 1)[0]
    x, y = splits.train.x[batch], splits.train.y[batch]
    model = job.model()
    with all_seeded(job.rule_seed), job.rule().attach(model), altprop.targets(y):
        model(x)
        b = model.linear2.feedback_projection.clone()
    w1, b1, w2, b2 = before
    h = (x @ w1.T + b1).tanh()
    signal = ((h @ w2.T + b2).softmax(1) if rule == "dfa" else 2 * one_hot(y)) - one_hot(y)
    d = (signal / len(y) @ b).clamp(-limit, limit) * (1 - h**2)
    assert ((signal / len(y) @ b).abs() > limit).any()
    torch.testing.assert_close(trained.linear1.weight.detach(), w1 - LR * (d.T @ x).clamp(-limit, limit))


@pytest.mark.parametrize("rule", altprop.experiment.RULES)
def test_a_clipped_training_leaves_no_hook_behind(rule, splits):
    trained = run(
        splits, f"rule={rule}", "training.error_clip=0.1", "training.epochs=1", "training.constrain_weights=true"
    )
    assert not any(module._forward_pre_hooks for module in trained.model.modules())
    norms = [p.norm() for p in start_of(splits)[::2]]
    for weight, norm in zip(list(trained.model.parameters())[::2], norms, strict=True):
        torch.testing.assert_close(weight.detach().norm(), norm)


def gini_by_hand(values):
    """Hurley and Rickard's formula, term by term."""
    ordered, count = sorted(map(abs, values)), len(values)
    shares = (c / sum(ordered) * (count - k + 0.5) / count for k, c in enumerate(ordered, 1))
    return 1 - 2 * sum(shares)


def test_the_gini_index_of_weights_and_activations_is_tracked(splits):
    trained = run(splits, "track.metrics=[gini]", "training.steps=5", "training.epochs=null", "model.activation=relu")
    tracked, weights = trained.start.tracked, [p.flatten().tolist() for p in start_of(splits)[::2]]
    assert tracked["weight_gini"] == pytest.approx(gini_by_hand(weights[0] + weights[1]))
    assert tracked["weight_gini/linear1"] == pytest.approx(gini_by_hand(weights[0]))
    w1, b1, *_ = start_of(splits)
    job = Job(made(), splits, 3)
    h = (splits.train.x[job.batches.order(3, 1)[0]] @ w1.T + b1).relu()
    expected = [gini_by_hand(row) for row in h.tolist() if any(row)]
    assert tracked["activation_gini/linear2"] == pytest.approx(sum(expected) / len(expected))
    assert tracked["activation_gini"] == pytest.approx(sum(expected) / len(expected))
    assert "activation_gini/linear1" not in tracked, "the inputs are no activations"
    assert trained.history[-1].tracked["weight_gini"] != tracked["weight_gini"]
    assert all(math.isfinite(value) for value in tracked.values())
