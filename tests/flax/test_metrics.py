import jax.numpy as jnp
import numpy as np
import pytest
from torch.nn import functional as F

import altprop
from altprop.flax import metrics
from altprop.measure import compare_with_backprop, weight_alignment
from tests.flax.convert import batch, gradients, kernel, parameters, tanh_network


def updates_and_gradients(rule):
    model, (x, y) = tanh_network(), batch()
    F.cross_entropy(model(x), y).backward()
    exact = gradients(model)
    model.zero_grad()
    rule.attach(model)
    F.cross_entropy(model(x), y).backward()
    return model, gradients(model), exact


@pytest.mark.parametrize(
    "rule", [altprop.FeedbackAlignment(seed=0), altprop.DFA(seed=0), altprop.LFP(), altprop.Shallow()], ids=repr
)
def test_comparisons_equal_those_of_the_torch_rules(rule):
    model, updates, exact = updates_and_gradients(rule)
    found = metrics.compare(updates, exact)
    expected = compare_with_backprop(model, F.cross_entropy, [batch()])
    for name in ("cosine", "norm_ratio", "sparsity"):
        ours, theirs = getattr(found, name), getattr(expected, name)
        assert float(ours.total) == pytest.approx(theirs.total, rel=1e-4)
        assert float(ours.biases) == pytest.approx(theirs.biases, rel=1e-4)
        assert [float(v) for v in ours.layers.values()] == pytest.approx(list(theirs.layers.values()), rel=1e-4)


def test_weight_alignment_equals_that_of_the_torch_rule():
    model, _, _ = updates_and_gradients(altprop.FeedbackAlignment(seed=0))
    layers = [model[0], model[2], model[4]]
    feedback = {f"layer{n}": kernel(layer.feedback_weight) for n, layer in enumerate(layers)}
    nested = {name: {"kernel": B} for name, B in feedback.items()}
    expected = weight_alignment(model).cosine
    for tree in (feedback, nested):
        found = metrics.weight_alignment(parameters(model), tree)
        assert float(found.total) == pytest.approx(expected.total, rel=1e-4, abs=1e-6)
        values = [float(v) for v in found.layers.values()]
        assert values == pytest.approx(list(expected.layers.values()), rel=1e-4, abs=1e-6)


def test_averages_leave_out_what_is_undefined():
    ones, zeros = {"a": {"kernel": jnp.ones(2)}}, {"a": {"kernel": jnp.zeros(2)}}
    found = metrics.average(metrics.compare, [(ones, ones), (zeros, zeros), (zeros, ones)], count=3)
    assert float(found.cosine.total) == 0.5
    assert np.isnan(found.cosine.biases)
    assert float(metrics.average(metrics.compare, [(ones, ones), (zeros, ones)], count=1).cosine.total) == 1
    with pytest.raises(ValueError, match="no batch"):
        metrics.average(metrics.compare, [], count=1)


def test_learned_feedback_weights_do_not_count_as_an_update():
    g = {"a": {"kernel": jnp.ones(2)}}
    u = {"a": {"kernel": jnp.ones(2), "feedback": -jnp.ones(2)}}
    assert float(metrics.compare(u, g).cosine.total) == pytest.approx(1)


def test_trees_that_do_not_fit_are_refused():
    with pytest.raises(ValueError, match=r"alone: \['a.bias'\]"):
        metrics.compare({"a": {"kernel": jnp.ones(2), "bias": jnp.ones(2)}}, {"a": {"kernel": jnp.ones(2)}})
    with pytest.raises(ValueError, match="has the shapes"):
        metrics.compare({"a": {"kernel": jnp.ones(2)}}, {"a": {"kernel": jnp.ones(3)}})
    with pytest.raises(ValueError, match="belong to no layer"):
        metrics.weight_alignment({"a": {"kernel": jnp.ones(2)}}, {"b": jnp.ones(2)})
