"""Training one network by a recipe."""

import random

import numpy as np
import pytest
import torch

from altprop.experiment import InputError, Splits, build_model, load_data
from altprop.experiment.networks.names import Shape
from altprop.experiment.records.study import StopTraining
from altprop.experiment.registry import RULES
from altprop.experiment.training.batches import Batches
from altprop.experiment.training.fit import fit
from tests.experiment.toys import StopsAt, own_data, poison
from tests.experiment.training.toys import toy, weights, without_times


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.filterwarnings("ignore:DRTP teaches")
def test_the_same_seed_gives_the_same_network_bit_for_bit(rule, circles):
    recipe = toy(rule={"name": rule}, model={"name": "4", "activation": "tanh"})
    one, other = (fit(recipe, seed=1, splits=circles) for _ in range(2))
    assert torch.equal(weights(one), weights(other))
    assert without_times(one.history) == without_times(other.history)
    assert not torch.equal(weights(one), weights(fit(recipe, seed=2, splits=circles)))


def test_backprop_is_the_loop_that_a_user_would_write(circles):
    recipe = toy(training={"clip": 0.2}, optimizer={"lr": 0.1}, rule={"name": "backprop"})
    trained = fit(recipe, seed=3, splits=circles)
    model = build_model("4", Shape((2,), 2), seed=3)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    for epoch in (1, 2):
        losses, right = [], 0
        for batch in Batches(1000, 250).order(3, epoch):
            x, y = circles.train.batch(batch, epoch)
            output = model(x)
            loss = torch.nn.functional.cross_entropy(output, y)
            optimizer.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 0.2)
            optimizer.step()
            losses.append(loss.item())
            right += int((output.argmax(1) == y).sum())
    torch.testing.assert_close(weights(trained), torch.cat([p.flatten() for p in model.parameters()]))
    last = trained.history[-1]
    assert last.train_loss == pytest.approx(sum(losses) / 4)
    assert last.train_score == pytest.approx(right / 1000)
    correct = (model(circles.test.x).argmax(1) == circles.test.y).double().mean()
    assert last.test_score == pytest.approx(float(correct))
    assert (last.epoch, last.step, last.lr, last.val_score) == (2, 8, 0.1, None)


def test_global_random_states_do_not_move(circles):
    before = torch.get_rng_state(), random.getstate(), str(np.random.get_state())
    fit(toy(), seed=0, splits=circles)
    assert torch.equal(torch.get_rng_state(), before[0])
    assert (random.getstate(), str(np.random.get_state())) == before[1:]


@pytest.mark.parametrize("task", ["regression", "reconstruction"])
def test_the_training_score_is_that_of_the_outputs_in_training(task):
    data = load_data("sine")
    data = data.reconstruction() if task == "reconstruction" else data
    # Nothing moves, so that the scores of training and of an evaluation of the same data agree.
    pair = data.train.x, data.train.y
    splits = Splits.of_tensors("same", pair, pair, task=task, outputs=data.outputs)
    figures = fit(toy(optimizer={"lr": 1e-30}, training={"epochs": 1}), seed=0, splits=splits).history[0]
    assert figures.train_score == pytest.approx(figures.test_score, rel=1e-4)


def test_on_epoch_sees_each_epoch_and_may_stop(circles):
    seen = []

    def watch(figures):
        seen.append(figures)
        if figures.epoch == 2:
            raise StopTraining("hopeless")

    trained = fit(toy(training={"epochs": 5}), seed=0, splits=circles, on_epoch=watch)
    assert (trained.status, trained.message) == ("pruned", "hopeless")
    assert tuple(seen) == trained.history
    assert len(seen) == 2


@pytest.mark.parametrize(("steps", "epochs"), [(3, 1), (4, 1), (6, 2)])
def test_steps_take_the_place_of_epochs(steps, epochs, circles):
    trained = fit(toy(training={"steps": steps, "epochs": None}), seed=0, splits=circles)
    assert [figures.step for figures in trained.history] == [min(4 * n, steps) for n in range(1, epochs + 1)]


def test_training_stops_early_when_nothing_gets_better(circles):
    stopping = {"epochs": 50, "early_stopping": {"patience": 2}, "monitor": "train_loss"}
    trained = fit(toy(training=stopping, optimizer={"lr": 1e-30}), seed=0, splits=circles)
    assert trained.status == "stopped early"
    assert len(trained.history) <= 50
    assert len(trained.history) == trained.best_epoch + 2


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_divergence_is_named(value, circles, register):
    register("poisoned", poison("linear1.weight", 6, value))
    trained = fit(toy(rule={"name": "poisoned"}), seed=0, splits=circles)
    assert trained.status == "diverged"
    assert "step 6, in epoch 2: the update of linear1.weight is not finite" in trained.message
    assert len(trained.history) == 1


def test_an_interruption_ends_it_with_what_there_is(circles):
    trained = fit(toy(), seed=0, splits=circles, watch=StopsAt(6))
    assert trained.status == "interrupted"
    assert len(trained.history) == 1


TRACKED = {
    "bp_cosine": "bp_cosine",
    "weight_alignment": "weight_alignment",
    "sparsity": "sparsity",
    "norms": "norm_ratio",
}


@pytest.mark.parametrize("rule", ["lfp", "fa"])
def test_what_is_tracked_does_not_change_the_training(rule, circles):
    plain = fit(toy(rule={"name": rule}), seed=0, splits=circles)
    track = {"metrics": tuple(TRACKED), "batches": 2, "top_k": (2,)}
    tracked = fit(toy(rule={"name": rule}, track=track), seed=0, splits=circles)
    assert torch.equal(weights(plain), weights(tracked))
    found = tracked.history[-1].tracked
    assert set(TRACKED.values()) | {"weight_norm", "bp_cosine/linear1", "test_top_2"} <= set(found)
    assert found["test_top_2"] == 1.0  # of two classes
    assert (found["weight_alignment"] is None) == (rule == "lfp")
    assert -1 <= found["bp_cosine"] < 1
    assert found["weight_norm"] == pytest.approx(float(weights(tracked).norm()), rel=1e-4)


@pytest.mark.parametrize(
    "rule", ["backprop", "lfp", "fa", "kp", "sign-symmetric", "dfa", "drtp", "local-loss", "shallow"]
)
@pytest.mark.filterwarnings("ignore:DRTP teaches")
def test_accumulated_parts_are_the_whole_batch(rule, circles):
    def trained(parts):
        recipe = toy(
            rule={"name": rule},
            model={"name": "6", "activation": "tanh"},
            machine={"precision": "64-true"},
            training={"batch_size": 101, "accumulate": parts},
        )
        return fit(recipe, seed=0, splits=circles)

    whole, parts = trained(1), trained(4)
    torch.testing.assert_close(weights(parts), weights(whole), rtol=0, atol=1e-6)
    assert parts.history[-1].train_loss == pytest.approx(whole.history[-1].train_loss, abs=1e-6)


@pytest.mark.parametrize("precision", ["64-true", "bf16-mixed", "bf16-true"])
@pytest.mark.parametrize("rule", ["backprop", "lfp", "drtp"])
@pytest.mark.filterwarnings("ignore:DRTP teaches")
def test_every_precision_trains(rule, precision, circles):
    recipe = toy(rule={"name": rule}, machine={"precision": precision}, track={"metrics": ("bp_cosine",)})
    trained = fit(recipe, seed=0, splits=circles)
    assert trained.status == "finished"
    assert trained.history[1].train_loss < trained.history[0].train_loss


@pytest.mark.parametrize(
    ("sections", "words"),
    [
        ({"rule": {"name": "lpf"}}, "Did you mean 'lfp'"),
        ({"rule": {"name": "lfp", "epsilom": 1}}, "Did you mean 'epsilon'"),
        ({"rule": {"name": "lfp", "epsilon": -1}}, "epsilon"),
        ({"model": {"name": "lenet"}}, "lenet"),
        ({"objective": {"name": "mse", "label_smoothing": 0.1}}, "smoothing"),
        ({"training": {"steps": 3}}, "leave one of them out"),
        ({"training": {"monitor": "val_loss"}}, "data.validation"),
        ({"training": {"batch_size": 2, "accumulate": 3}}, "accumulate"),
        ({"training": {"batch_size": 2, "accumulate": 2}, "model": {"name": "4", "norm": "batch"}}, "batch norm"),
        ({"optimizer": {"name": "adam", "nesterov": True}}, "nesterov"),
        ({"scheduler": {"name": "step"}}, "scheduler.epochs"),
        ({"machine": {"accelerator": "cuda"}}, "The device 'cuda:0' cannot be used"),
        ({"machine": {"strategy": "fsdp", "precision": "64-true"}}, "precision='64-true'"),
        ({"model": {"name": "lif-8"}}, "surrogate"),
    ],
)
def test_what_cannot_be_done_is_said_before(sections, words):
    with pytest.raises(InputError, match=words) as error:
        fit(toy(**sections), seed=0)
    assert "\n" not in str(error.value)


@pytest.mark.filterwarnings("ignore:DRTP teaches")
def test_a_target_that_the_rule_cannot_learn_is_said_before():
    with pytest.raises(InputError, match="DRTP needs class targets"):
        fit(
            toy(rule={"name": "drtp"}, model={"name": "4", "activation": "tanh"}),
            seed=0,
            splits=load_data("sine"),
        )


def test_own_data_of_few_samples():
    trained = fit(toy(training={"batch_size": 13}), seed=0, splits=own_data())
    assert trained.history[-1].step == 6  # 40 = 3 · 13 + 1, and the one that is left over is left out
