"""What of a recipe JAX can do, and what is refused in a line each."""

import pytest

from altprop.experiment import InputError, Recipe
from altprop.experiment.recipes.flags import make_recipe
from altprop.flax.checks import check_for_jax, jax_keys


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ("model.dropout=0.5", "model.dropout: this key has no meaning under JAX: its networks are fully connected"),
        ("model.norm=layer", "model.norm: this key has no meaning under JAX"),
        ("model.name=autoencoder-8-4", "model.name: JAX trains fully connected networks, such as 256-256"),
        ("machine.devices=2", "machine.devices: this key has no meaning under JAX: it trains on one device"),
        ("machine.precision=bf16-mixed", "machine.precision: this key has no meaning under JAX"),
        ("machine.accelerator=mps", "machine.accelerator: 'mps' is not there under JAX"),
        (
            "training.accumulate=2",
            "training.accumulate: this key has no meaning under JAX: .* cuts no batch",
        ),
        ("objective.name=softmax", "objective.name: 'softmax' is not there under JAX. Known: cross-entropy, mse"),
        ("rule=local-loss", "rule: 'local-loss' is not there under JAX. Known: backprop, fa"),
        ("rule=lfp:gamma=0.1", "rule.gamma: this key has no meaning under JAX: lfp takes only epsilon, minimum_scale"),
        ("rule=[fa, 'dfa:skew=positive']", "rule.skew: this key has no meaning under JAX: dfa takes only signal, init"),
        ("rule=sign-symmetric:mode=batchwise", "rule.mode: magnitudes that are drawn at each step"),
        ("rule=shallow:output=linear1", "rule.output: this key has no meaning under JAX: shallow takes no arguments"),
    ],
)
def test_what_jax_cannot_do_is_refused_with_key_and_reason(changes, message):
    with pytest.raises(InputError, match=message) as error:
        check_for_jax(make_recipe("train", [changes]))
    assert "\n" not in str(error.value)


def test_all_that_is_wrong_is_said_at_once():
    with pytest.raises(InputError) as error:
        check_for_jax(make_recipe("train", ["model.dropout=0.5", "machine.threads=2", "rule=local-loss"]))
    assert [line.partition(":")[0] for line in str(error.value).splitlines()] == [
        "model.dropout", "machine.threads", "rule",
    ]  # fmt: skip


def test_what_is_as_usual_is_no_matter():
    check_for_jax(Recipe())
    check_for_jax(make_recipe("compare", ["model.dropout=0", "machine.accelerator=cuda:1", "data.validation=0.1"]))


def test_the_keys_that_are_done_are_keys_of_a_recipe_that_can_be_changed():
    assert {"rule", "data.name", "optimizer.lr", "machine.accelerator", "scheduler.name"} <= jax_keys()
    assert not {"model.dropout", "machine.devices", "training.accumulate"} & jax_keys()
