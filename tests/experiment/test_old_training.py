"""The training loop: what it repeats, what it clips, and where it stops."""

import math

import pytest
import torch
from torch.nn import functional as F

import altprop
from altprop.experiment import build_model, load_data
from altprop.experiment.networks.names import Shape
from altprop.experiment.old_training import Job, train_network
from altprop.experiment.training.watching import Watch
from tests.experiment.toys import Gambler, Hooked, own_data, poison, tiny


def job(rule="lfp", seed=0, data=None, lr=0.1, **changes):
    settings = tiny(rules=rule, **changes)
    return Job(settings, data or load_data(settings.data), rule, seed, lr)


def train(*args, **kwargs):
    return train_network(job(*args, **kwargs), Watch())


def same_weights(one, other):
    return all(torch.equal(p, q) for p, q in zip(one.parameters(), other.parameters(), strict=True))


@pytest.mark.parametrize("optimizer", ["sgd", "adam", "adamw"])
@pytest.mark.parametrize("rule", ["backprop", "lfp", "shallow"])
def test_the_same_seed_gives_the_same_run_bit_for_bit(rule, optimizer):
    (first, one), (second, other) = (train(rule, optimizer=optimizer) for _ in range(2))
    assert first.epochs == second.epochs
    assert same_weights(one, other)
    other_seed, third = train(rule, seed=1, optimizer=optimizer)
    assert first.epochs != other_seed.epochs
    assert not same_weights(one, third)


def test_backprop_is_the_loop_that_a_user_would_write():
    data = load_data("circles")
    model = build_model("4", Shape((2,), 2), seed=3)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    generator = torch.Generator().manual_seed(3)
    for _ in range(2):
        order, losses = torch.randperm(1000, generator=generator), []
        for batch in order.split(250):
            optimizer.zero_grad()
            loss = F.cross_entropy(model(data.x_train[batch]), data.y_train[batch])
            loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 0.2)
            optimizer.step()
            losses.append(loss.item())
    run, trained = train("backprop", seed=3, clip=0.2)
    for p, q in zip(trained.parameters(), model.parameters(), strict=True):
        torch.testing.assert_close(p, q, rtol=1e-5, atol=1e-7)
    right = (model(data.x_test).argmax(1) == data.y_test).double().mean()
    assert run.epochs[-1].score == pytest.approx(float(right))
    assert run.epochs[-1].train_loss == pytest.approx(sum(losses) / 4, rel=1e-5)
    assert [epoch.epoch for epoch in run.epochs] == [1, 2]


@pytest.mark.parametrize("rule", [altprop.Backprop, Gambler])
def test_every_rule_starts_from_the_same_weights_and_sees_the_same_batches(register, rule):
    register("twin", rule)
    run, _ = train("backprop", model="4-4")
    twin, _ = train("twin", model="4-4")
    assert run.epochs == twin.epochs


def test_training_does_not_move_the_global_random_state(register):
    register("gambler", Gambler)
    before = torch.get_rng_state()
    train("gambler")
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize(("samples", "batch", "steps"), [(10, 5, 2), (11, 5, 2), (12, 5, 3), (3, 5, 1), (1, 5, 1)])
def test_an_epoch_takes_every_sample_once_but_none_alone(samples, batch, steps):
    x, y = torch.randn(samples, 3), torch.zeros(samples, dtype=torch.int64)
    toy = job(data=own_data(x_train=x, y_train=y), batch_size=batch)
    assert toy.steps_per_epoch == steps
    assert toy.steps == 2 * steps
    epochs = [[indices.tolist() for indices in batches] for batches in toy.batches()]
    for batches in epochs:
        seen = [index for indices in batches for index in indices]
        assert len(batches) == steps
        assert len(set(seen)) == len(seen) == samples - (samples % batch == 1 < samples)
    if samples > 3:
        assert epochs[0] != epochs[1], "each epoch has an order of its own"


def test_the_watch_is_told_of_each_step():
    class Counter(Watch):
        steps = 0

        def advance(self):
            self.steps += 1

    watch, toy = Counter(), job(epochs=3)
    train_network(toy, watch)
    assert watch.steps == toy.steps == 12


def test_measurements_are_those_of_the_rule():
    shallow, _ = train("shallow", model="4")
    for epoch in shallow.epochs:
        assert epoch.layer_cosines == {"linear1": 0.0, "linear2": pytest.approx(1.0)}
        assert 0 < epoch.cosine < 1
        assert epoch.sparsity >= 12 / 22  # the entries of the first layer are zero
    backprop, _ = train("backprop", model="4", activation="tanh")
    assert backprop.cosine == pytest.approx(1.0)
    assert backprop.sparsity == 0


def test_a_measure_that_is_undefined_is_left_out(register):
    register("still", lambda: Hooked(lambda model, name, g: 0 * g))
    run, _ = train("still", model="4", activation="step")
    # Backprop's gradient is zero before the step too: no angle.
    assert run.epochs[0].layer_cosines["linear1"] is None
    assert run.epochs[0].layer_cosines["linear2"] == 0


@pytest.mark.parametrize("clip", [0.0, 0.05])
def test_the_norm_of_each_update_is_clipped_on_demand(register, clip):
    norms = []

    class Spy(torch.optim.SGD):
        def step(self):
            norms.append(math.hypot(*(float(p.grad.norm()) for group in self.param_groups for p in group["params"])))
            return super().step()

    toy = job("backprop", clip=clip)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch.optim, "SGD", Spy)
        train_network(toy, Watch())
    assert len(norms) == 8
    if clip:
        assert all(norm == pytest.approx(clip, rel=1e-3) for norm in norms)
    else:
        assert max(norms) > 0.1


# Each epoch of four steps is preceded by a backward pass that only measures.
@pytest.mark.parametrize(("call", "step", "epoch"), [(2, 1, 1), (4, 3, 1), (7, 5, 2)])
@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_stops_at_the_first_step_whose_update_is_not_finite(register, call, step, epoch, value):
    register("bad", poison("linear2.weight", call, value))
    run, model = train("bad", model="4-4")
    assert run.status == "diverged"
    assert (run.divergence.step, run.divergence.epoch) == (step, epoch)
    assert run.divergence.where == "the update of linear2.weight"
    assert len(run.epochs) == epoch - 1
    assert all(p.isfinite().all() for p in model.parameters()), "the broken step was not taken"
    for word in ("bad", "seed 0", f"step {step},", f"epoch {epoch}", "linear2.weight", "learning rate below 0.1"):
        assert word in run.message()


RULES = ["backprop", "lfp", "shallow"]
HUGE = torch.full((40, 3), 3.4e38)


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize(("part", "where"), [("x_train", ""), ("x_test", " for the test data")])
def test_a_loss_that_is_not_finite_is_laid_to_the_first_layer_that_is_not(rule, part, where):
    data = own_data(**{part: HUGE[: 40 if part == "x_train" else 20]})
    run, _ = train(rule, data=data, model="256-4", lr=1e-6)
    assert (run.divergence.step, run.epochs) == (1, ())
    assert run.divergence.where == f"the output of linear1{where}"


def test_a_loss_that_breaks_behind_the_last_layer_is_laid_to_it():
    run, _ = train("shallow", model="4-4", lr=1e38, clip=0.0)
    assert (run.divergence.step, run.divergence.where) == (2, "the loss of the output of linear3")


def test_a_norm_that_is_not_finite_is_laid_to_the_largest_update(register):
    register("steep", poison("linear2.weight", 3, 1e30))
    run, _ = train("steep", model="4-4")
    assert (run.divergence.step, run.divergence.where) == (2, "the norm of the update, largest in linear2.weight,")


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("clip", [0.0, 3.0])
def test_a_learning_rate_that_is_far_too_large_is_said_to_be_so(rule, clip):
    run, _ = train(rule, model="4-4", lr=1e38, clip=clip)
    assert run.divergence.step <= 3
    assert "linear" in run.divergence.where
    assert "A learning rate below 1e+38 may help" in run.message()
    assert ("or clipping" in run.message()) == (clip == 0)


def test_a_score_that_is_not_finite_stops_the_run():
    data = own_data(task="regression", outputs=1, y_train=torch.randn(40, 1), y_test=torch.randn(20, 1))
    data = own_data(task="regression", outputs=1, y_train=data.y_train, y_test=data.y_test, x_test=data.x_test * 1e30)
    run, _ = train("backprop", data=data, model="4", lr=0.01)
    assert run.divergence.where == "the score of the test data"


def test_a_rule_is_taken_off_in_the_end(register):
    register("bad", poison("linear1.weight", 3))
    for rule in ("lfp", "bad"):
        _, model = train(rule)
        assert altprop.Attachment.of(model) is None
        assert not any(module._forward_hooks for module in model.modules())


def test_regression_is_trained_too():
    run, _ = train("backprop", data=load_data("sine"), model="32", epochs=10, batch_size=25, activation="tanh", lr=0.1)
    assert run.score > 0.8
    assert run.epochs[-1].train_loss < run.epochs[0].train_loss


def test_feedback_weights_are_no_copies_of_the_weights():
    run, _ = train("fa", model="64-64", epochs=1, lr=1e-9)
    assert all(abs(cosine) < 0.3 for cosine in run.epochs[0].layer_weight_cosines.values())
