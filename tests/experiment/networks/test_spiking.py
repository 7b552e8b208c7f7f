"""Spiking networks by name, in comparisons and on the command line."""

import copy
import pickle
import sys

import pytest
import torch
from torch import nn

from altprop.experiment import InputError, build_model, compare
from altprop.experiment.networks.names import Shape
from altprop.experiment.networks.spiking import SPIKING_MODELS, STEPS, SURROGATES, Neurons, Surrogate, read_spikes
from altprop.experiment.recipes.flags import make_recipe
from altprop.nn.activations import step
from tests.experiment.toys import models_of, own_data

IMAGE = Shape((1, 8, 8), 5)


@pytest.mark.parametrize("norm", ["none", "batch"])
@pytest.mark.parametrize("surrogate", SURROGATES)
@pytest.mark.parametrize("name", [*SPIKING_MODELS, "lif-6", "lif-6-4"])
def test_every_network_spikes_with_the_surrogate_and_norm_asked_for(name, surrogate, norm):
    model = build_model(name, IMAGE, activation=surrogate, norm=norm)
    spikes = model(torch.randn(2, *IMAGE.input))
    assert spikes.shape == (STEPS, 2, 5)
    assert set(spikes.unique().tolist()) <= {0.0, 1.0}
    neurons = [module for module in model.modules() if type(module).__name__ == "Leaky"]
    assert all((neuron.spike_grad is step) == (surrogate == "step") for neuron in neurons[:-1])
    assert isinstance(neurons[-1].spike_grad, Surrogate), "the last layer can always learn"
    norms = [m for m in model.modules() if isinstance(m, nn.BatchNorm1d | nn.BatchNorm2d)]
    assert bool(norms) == (norm == "batch")


@pytest.mark.parametrize("name", ["lif-mlp", "lif-resnet"])
def test_initial_weights_depend_on_the_seed_alone_and_the_network_can_be_copied(name):
    torch.manual_seed(1)
    first, before = build_model(name, IMAGE, activation="atan", seed=3), torch.get_rng_state()
    again = build_model(name, IMAGE, activation="atan", seed=3)
    assert torch.equal(torch.get_rng_state(), before)
    for other in (again, copy.deepcopy(first), pickle.loads(pickle.dumps(first))):
        assert all(torch.equal(p, q) for p, q in zip(first.parameters(), other.parameters(), strict=True))


@pytest.mark.parametrize("name", SURROGATES[:2])
def test_a_surrogate_is_a_step_with_a_slope(name):
    z = torch.tensor([-0.5, 0.1, 2.0], requires_grad=True)
    spikes = Surrogate(name)(z)
    spikes.sum().backward()
    assert spikes.tolist() == [0.0, 1.0, 1.0]
    assert (z.grad > 0).all()


@pytest.mark.parametrize("objective", ["spike-rate", "first-spike", "cross-entropy", "correct-classification"])
def test_a_comparison_trains_and_scores_spikes(objective):
    flags = {"model": "lif-16", "rules": "lfp,dfa,drtp", "objective": objective, "epochs": 2, "batch_size": 25}
    results = compare(data=own_data(), seeds=1, out=None, **flags)
    assert [summary.rule for summary in results.summaries] == ["backprop", "lfp", "dfa", "drtp", "shallow"]
    assert not results.diverged
    assert results.objective == objective


def test_a_hard_step_stops_the_gradient_at_the_last_layer():
    flags = {"model": "lif-16", "rules": "lfp", "activation": "step", "epochs": 1, "seeds": 1, "out": None}
    results = compare(data=own_data(), **flags)
    moved = {}
    for (rule, seed), network in models_of(results).items():
        start = build_model("lif-16", Shape((3,), 2), activation="step", seed=seed)
        moved[rule] = not torch.equal(network[1].weight, start[1].weight)
    assert moved == {"backprop": False, "lfp": True, "shallow": False}


def test_spiking_networks_have_defaults_of_their_own():
    def chosen(**flags):
        made = make_recipe("train", flags=flags)
        return made.model.activation, made.optimizer.name, made.objective.name

    assert chosen(model="lif-mlp") == ("atan", "adam", "spike-rate")
    given = {"activation": "step", "optimizer": "sgd", "objective": "cross-entropy"}
    assert chosen(model="lif-mlp", **given) == ("step", "sgd", "cross-entropy")
    deep = make_recipe("train", flags={"model": "lif-vgg-like"}).model
    assert deep.norm == "batch", "a deep one falls silent without"
    assert make_recipe("train").model.activation == "relu"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"model": "lif-mlp", "activation": "relu"}, "neurons of 'lif-mlp' fire spikes.*atan, fast-sigmoid, step"),
        ({"model": "16", "activation": "atan"}, "'atan' is the surrogate gradient.*'16' has none"),
        ({"model": "16", "objective": "spike-rate"}, "'16' gives none.*such as lif-mlp"),
        ({"model": "lif-"}, "no model 'lif-'.*lif-mlp"),
    ],
)
def test_what_does_not_fit_is_refused_when_the_recipe_is_made(options, message):
    with pytest.raises(ValueError, match=message):
        make_recipe("train", flags=options)


def test_spikes_are_for_classes():
    with pytest.raises(InputError, match="tell classes apart: it is not for regression"):
        compare(model="lif-8", data="sine", out=None)


@pytest.mark.parametrize(
    ("name", "shape", "norm", "message"),
    [
        ("lif-vgg-like", (1, 4, 4), "none", "'lif-vgg-like' takes images of at least 8×8.*shape 1×4×4.*lif-mlp"),
        ("lif-cnn", (40,), "none", "'lif-cnn' takes images of at least 4×4.*shape 40"),
        ("lif-mlp", (40,), "layer", "'lif-mlp' knows no layer norm"),
    ],
)
def test_what_a_network_cannot_take_is_refused_with_a_remedy(name, shape, norm, message):
    with pytest.raises(InputError, match=message):
        build_model(name, Shape(shape, 3), activation="atan", norm=norm)


def test_without_snntorch_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "snntorch", None)
    with pytest.raises(InputError, match=r"needs snntorch.*pip install .*\[snn\]"):
        build_model("lif-mlp", IMAGE, activation="atan")


def test_spikes_are_read_by_the_code_they_were_trained_for():
    spikes = torch.zeros(6, 1, 2)
    spikes[0, 0, 0] = spikes[1:, 0, 1] = 1
    assert read_spikes("first-spike", spikes).argmax(1).item() == 0
    assert read_spikes("spike-rate", spikes).argmax(1).item() == 1
    assert read_spikes("cross-entropy", spikes).argmax(1).item() == 1


def fired(current, beta, reset):
    """The spikes of a leaky neuron, step by step: of shape (steps, batch, neurons), as the current is."""
    u, spikes = torch.zeros_like(current[0]), []
    for now in current:
        before = (u > 1).float()  # a spike acts on the next step
        kept = (1 - before) * u if reset == "zero" else u
        u = beta * kept + now - (before if reset == "subtract" else 0)
        spikes.append((u > 1).float())
    return torch.stack(spikes)


@pytest.mark.parametrize("reset", ["subtract", "zero", "none"])
@pytest.mark.parametrize("beta", [0.0, 0.5, 0.9, 1.0])
def test_neurons_decay_and_are_reset_as_asked_for(beta, reset):
    model = build_model("lif-6", Shape((4,), 3), activation="atan", neurons=Neurons(beta, reset))
    x = 3 * torch.randn(20, 4, generator=torch.Generator().manual_seed(0))
    first, last = (module for module in model if isinstance(module, nn.Linear))
    hidden = fired(first(x).expand(STEPS, -1, -1), beta, reset)
    assert 0.02 < hidden.mean() < 0.98
    assert torch.equal(model(x), fired(last(hidden), beta, reset))


def test_noise_is_drawn_for_each_step_in_training_alone():
    noisy = build_model("lif-6", Shape((4,), 3), activation="atan", neurons=Neurons(noise=0.5))
    plain = build_model("lif-6", Shape((4,), 3), activation="atan")
    plain.load_state_dict(dict(zip(plain.state_dict(), noisy.state_dict().values(), strict=True)))
    seen = []
    next(m for m in noisy if isinstance(m, nn.Linear)).register_forward_pre_hook(lambda _, args: seen.append(args[0]))
    x = torch.randn(4, generator=torch.Generator().manual_seed(0)).expand(500, 4)
    noisy(x)
    noise = (seen[0] - x.repeat(STEPS, 1)).reshape(STEPS, -1)
    count = noise.numel()
    assert float(noise.mean()) == pytest.approx(0, abs=5 * 0.5 / count**0.5)
    assert float(noise.std()) == pytest.approx(0.5, abs=5 * 0.5 / (2 * count) ** 0.5)
    assert abs(float(torch.corrcoef(noise[:2])[0, 1])) < 5 / noise.shape[1] ** 0.5, "each step has its own"
    assert torch.equal(noisy.eval()(x), plain.eval()(x))


@pytest.mark.parametrize("reset", ["subtract", "zero", "none"])
def test_every_rule_trains_with_noise_and_any_reset(reset):
    flags = {"model": "lif-6", "rules": "all", "epochs": 1, "batch_size": 25}
    recipe = make_recipe("compare", ["model.noise=0.1", f"model.reset={reset}", "model.beta=0.5"], flags, own=True)
    results = compare(recipe, data=own_data(), seeds=1, out=None)
    assert not results.diverged
    assert results.recipe.model.reset == reset
