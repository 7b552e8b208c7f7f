"""LFP through time, for each of snntorch's neurons, against the loop over its formula; and what it leaves behind."""

import copy
import io
from itertools import pairwise

import pytest
import torch
from snntorch import SLSTM, Alpha, Lapicque, Leaky, LeakyParallel, RLeaky, Synaptic
from torch import nn

import altprop
from altprop.nn.activations import step
from tests.neuron_oracle import run, walk_back

WIDTHS = (5, 6, 4, 3)
STEPS, SAMPLES = 6, 3


def neuron_of(kind, width, **options):
    common = {"learn_beta": True, "learn_threshold": True, "spike_grad": step, **options}
    beta, theta = torch.tensor(0.8), torch.tensor(0.6)
    if kind == "synaptic":
        return Synaptic(torch.tensor(0.6), beta, theta, learn_alpha=True, **common)
    if kind == "recurrent":
        return RLeaky(beta, linear_features=width, threshold=theta, **common)
    return Leaky(beta, theta, **common)


class Spiking(nn.Module):
    """As snntorch's tutorials write networks: the states are handed from step to step."""

    def __init__(self, kind, layers=3, **options):
        super().__init__()
        sizes = list(pairwise(WIDTHS))[-layers:]
        self.sums = nn.ModuleList(nn.Linear(*size) for size in sizes)
        self.neurons = nn.ModuleList(neuron_of(kind, width, **options) for _, width in sizes)

    def forward(self, x):
        """(T, N, inputs) to spikes (T, N, outputs)."""
        states, spikes = [()] * len(self.sums), []
        for neuron in self.neurons:
            neuron.reset_mem()
        for a in x:
            s = a
            for number, (weighted_sum, neuron) in enumerate(zip(self.sums, self.neurons, strict=True)):
                s, *others = neuron(weighted_sum(s), *states[number])
                states[number] = (s, *others) if isinstance(neuron, RLeaky) else others  # what it takes at the next
            spikes.append(s)
        return torch.stack(spikes)


def as_layers(model):
    """The network as the loop takes it."""
    layers = []
    for weighted_sum, neuron in zip(model.sums, model.neurons, strict=True):
        layer = {"w": weighted_sum.weight.tolist(), "b": weighted_sum.bias.tolist()}
        layer |= {"beta": neuron.beta.item(), "theta": neuron.threshold.item()}
        layer |= {"reset": neuron.reset_mechanism, "delay": neuron.reset_delay}
        if isinstance(neuron, Synaptic):
            layer["alpha"] = neuron.alpha.item()
        if isinstance(neuron, RLeaky):
            layer |= {"v": neuron.recurrent.weight.tolist(), "c": neuron.recurrent.bias.tolist()}
        layers.append(layer)
    return layers


def updates_by_name(model, updates):
    named = {}
    for number, update in enumerate(updates):
        names = {"w": f"sums.{number}.weight", "b": f"sums.{number}.bias"}
        names |= {"v": f"neurons.{number}.recurrent.weight", "c": f"neurons.{number}.recurrent.bias"}
        names |= {"beta": f"neurons.{number}.beta", "theta": f"neurons.{number}.threshold"}
        names["alpha"] = f"neurons.{number}.alpha"
        named |= {names[key]: value for key, value in update.items()}
    return named


def busy(kind, seed=0, **options):
    """A network in float64 that fires often, and its input: otherwise there is little to compare."""
    torch.manual_seed(seed)
    model = Spiking(kind, **options).double()
    with torch.no_grad():
        for weighted_sum in model.sums:
            weighted_sum.weight.mul_(2)
            weighted_sum.bias.uniform_(-0.2, 0.3)
    return model, 2 * torch.rand(STEPS, SAMPLES, model.sums[0].in_features, dtype=torch.float64)


@pytest.mark.parametrize("epsilon", [1e-6, 1e-2])
@pytest.mark.parametrize("delay", [True, False], ids=["delayed", "at once"])
@pytest.mark.parametrize("reset", ["subtract", "zero", "none"])
@pytest.mark.parametrize("kind", ["leaky", "synaptic", "recurrent"])
def test_equals_the_loop_over_the_formula_through_time(kind, reset, delay, epsilon):
    model, x = busy(kind, reset_mechanism=reset, reset_delay=delay)
    steps = run(as_layers(model), x)
    rewards = torch.randn(STEPS, SAMPLES, WIDTHS[-1], dtype=torch.float64)
    expected, expected_input = walk_back(as_layers(model), steps, rewards, epsilon)
    x.requires_grad_()
    with altprop.LFP(epsilon, strict=True).attach(model):
        spikes = model(x)
        spikes.backward(-rewards)
    assert spikes.tolist() == [records[-1].s for records in steps]
    assert 0.1 < spikes.mean() < 0.9, "a network that is silent, or never is, shows little"
    expected = updates_by_name(model, expected) | {"input": expected_input}
    found = {name: -p.grad for name, p in model.named_parameters()} | {"input": -x.grad * x.detach()}
    assert expected.keys() == found.keys()
    for name, value in expected.items():
        torch.testing.assert_close(found[name], value, rtol=1e-9, atol=1e-12, msg=lambda text, n=name: f"{n}: {text}")


def lfp_updates(model, x, rewards, rule=None):
    with (rule or altprop.LFP(strict=True)).attach(model):
        model(x).backward(-rewards)
    found = {name: p.grad for name, p in model.named_parameters()}
    model.zero_grad()
    return found


def assert_same(one, other):
    assert one.keys() == other.keys()
    assert all(torch.equal(one[name], other[name]) for name in one)


@pytest.mark.parametrize("kind", ["leaky", "synaptic", "recurrent"])
def test_remove_restores_the_model_bit_for_bit(kind):
    model, x = busy(kind)
    plain, before = model(x), copy.deepcopy(model.state_dict())
    classes = [type(module) for module in model.modules()]
    attachment = altprop.LFP().attach(model)
    assert torch.equal(model(x), plain), "attached, it gives the same spikes"
    with torch.no_grad():
        assert torch.equal(model(x), plain)
    attachment.remove()
    assert_same(model.state_dict(), before)
    assert [type(module) for module in model.modules()] == classes
    assert not any("_altprop_op_rule" in vars(module) for module in model.modules())


@pytest.mark.parametrize("kind", ["leaky", "synaptic", "recurrent"])
def test_a_second_batch_knows_nothing_of_the_first(kind):
    model, x = busy(kind)
    rewards = torch.randn(STEPS, SAMPLES, WIDTHS[-1], dtype=torch.float64)
    once = lfp_updates(model, x, rewards)
    lfp_updates(model, x[:, :2], rewards[:, :2])
    assert_same(lfp_updates(model, x, rewards), once)


def test_the_states_may_stay_in_the_neurons():
    """As with ``init_hidden=True``: the same credit as if they were handed from step to step."""
    model, x = busy("leaky")
    rewards = torch.randn(STEPS, SAMPLES, WIDTHS[-1], dtype=torch.float64)
    handed_on = lfp_updates(model, x, rewards)
    layers = [layer for pair in zip(model.sums, model.neurons, strict=True) for layer in pair]
    kept = nn.Sequential(*layers)
    for neuron in model.neurons:
        neuron.init_hidden = True
        neuron.reset_mem()
    with altprop.LFP(strict=True).attach(kept):
        torch.stack([kept(a) for a in x]).backward(-rewards)
    found = {name: p.grad for name, p in model.named_parameters()}
    for name, value in handed_on.items():
        torch.testing.assert_close(found[name], value)


def test_a_loss_on_the_membrane_is_rewarded_per_unit_of_membrane():
    neuron = Leaky(0.9, spike_grad=step)
    current, before = torch.tensor([[0.5, -0.8]]), torch.tensor([[0.3, 0.2]])
    model, w = nn.ModuleList([neuron]), current.clone().requires_grad_()
    model.forward = lambda w: neuron(w, before)[1]
    with altprop.LFP(0.0).attach(model):
        membrane = model(w)
        membrane.backward(-torch.ones(1, 2))
    divisor = before.abs() + (0.9 * before + current - before).abs()
    torch.testing.assert_close(-w.grad, membrane.detach() / divisor)


def test_spikes_that_are_summed_in_the_model_are_credited_by_their_own_contribution():
    """Counts are a sum over time: a step without a spike contributed nothing to them."""

    class Counting(Spiking):
        def forward(self, x):
            return super().forward(x).sum(0)

    torch.manual_seed(0)
    model, x = busy("leaky")
    g = torch.randn(SAMPLES, WIDTHS[-1], dtype=torch.float64)
    spikes = model(x).detach()
    counts = spikes.sum(0)
    factor = counts / (counts + 1e-6)
    expected = lfp_updates(model, x, spikes * g * factor)
    model.__class__ = Counting
    found = lfp_updates(model, x, g)
    for name, value in expected.items():
        torch.testing.assert_close(found[name], value)


def test_the_attached_model_is_copied_and_saved():
    model, x = busy("leaky")
    rewards = torch.randn(STEPS, SAMPLES, WIDTHS[-1], dtype=torch.float64)
    altprop.LFP().attach(model)
    stored = io.BytesIO()
    torch.save(model, stored)
    stored.seek(0)
    grads = []
    for other in (model, copy.deepcopy(model), torch.load(stored, weights_only=False)):
        for neuron in other.neurons:
            neuron.reset_mem()
        other(x).backward(-rewards)
        grads.append({name: p.grad for name, p in other.named_parameters()})
    assert_same(grads[0], grads[1])
    assert_same(grads[0], grads[2])


@pytest.mark.parametrize(
    "neuron", [Alpha(0.9, 0.8), Lapicque(0.9), SLSTM(4, 4), LeakyParallel(4, 4)], ids=lambda n: type(n).__name__
)
def test_neurons_of_another_kind_are_refused(neuron):
    model = nn.Sequential(nn.Linear(4, 4), neuron)
    with (
        altprop.LFP().attach(model),
        pytest.raises(RuntimeError, match=f"no rule for snntorch.{type(neuron).__name__}"),
    ):
        model(torch.rand(3, 4))


@pytest.mark.parametrize("options", [{"gamma": 0.1}, {"update": "hebbian"}, {"update": "oja"}], ids=str)
def test_variants_are_refused_before_anything_is_changed(options):
    model, x = busy("leaky")
    plain = model(x)
    with pytest.raises(ValueError, match=r"not for spiking neurons, such as 'neurons.0'"):
        altprop.LFP(**options).attach(model)
    assert torch.equal(model(x), plain)
    altprop.LFP().attach(model)


def test_inspect_names_the_neurons():
    model, x = busy("leaky", layers=2)
    operations = altprop.inspect(model, x[:1], altprop.LFP(strict=True))
    assert [o.rule for o in operations if o.name.endswith("Leaky")] == ["leaky", "leaky"]
    assert all(o.known for o in operations)


def test_a_spike_is_worth_its_own_contribution_through_an_activation_and_dropout():
    """A silent neuron hands back nothing, whatever takes its spikes in."""
    torch.manual_seed(0)
    neuron = Leaky(0.9, spike_grad=step, init_hidden=True)
    for between in (nn.Identity(), nn.Dropout(0.5), nn.Tanh(), nn.ReLU()):
        current = torch.tensor([[2.0, 0.5, 3.0, -1.0]], requires_grad=True)
        neuron.reset_mem()
        model = nn.Sequential(neuron, between, nn.Linear(4, 1, bias=False))
        with altprop.LFP(strict=True).attach(model):
            model(current).backward()
        assert not current.grad[0, [1, 3]].any()
        assert between.__class__ is nn.Dropout or current.grad[0, [0, 2]].all()
