"""Spiking networks over time: they do what a loop over the steps does, under every rule, and keep no state."""

import copy
import io
from functools import partial

import pytest
import snntorch
import torch
from snntorch import LeakyParallel, RLeaky, Synaptic
from snntorch.surrogate import ATan
from torch import nn

import altprop
from altprop.nn import SpikingResidual, SpikingSequential
from altprop.nn.activations import step
from altprop.nn.encoders import rate
from altprop.rules._blocks import hidden_gradients
from tests.test_house import HOUSE, python_blocks

STEPS = 6
Leaky = partial(snntorch.Leaky, 0.9, spike_grad=step)
RULES = {
    "lfp": altprop.LFP(strict=True),
    "fa": altprop.FeedbackAlignment(seed=0),
    "kp": altprop.KolenPollack(seed=0),
    "sign-symmetric": altprop.SignSymmetric(seed=0),
    "dfa": altprop.DFA(seed=0),
    "dfa-channel": altprop.DFA(seed=0, projection="channel"),
    "drtp": altprop.DRTP(seed=0),
    "drtp-forward": altprop.DRTP(seed=0, when="forward"),
    "local-loss": altprop.LocalLoss(seed=0),
    "shallow": altprop.Shallow(),
    "backprop": altprop.Backprop(),
}


def surrogate(**options):
    """A neuron with snntorch's surrogate gradient, but not in the closure that cannot be saved."""
    return snntorch.Leaky(0.9, spike_grad=arctangent, init_hidden=True, **options)


def arctangent(x):
    return ATan.apply(x, 2.0)


def mlp(**options):
    return SpikingSequential(
        nn.Flatten(),
        nn.Linear(36, 12),
        surrogate(),
        nn.Linear(12, 9),
        surrogate(),
        nn.Linear(9, 4),
        surrogate(),
        **options,
    )


def cnn(**options):
    return SpikingSequential(
        nn.Conv2d(1, 3, 3, padding=1), surrogate(), nn.MaxPool2d(2), nn.Conv2d(3, 5, 3, padding=1), surrogate(),
        nn.AvgPool2d(3), nn.Flatten(), nn.Linear(5, 4), surrogate(), **options,
    )  # fmt: skip


def residual(**options):
    body = nn.Sequential(nn.Conv2d(3, 3, 3, padding=1), nn.BatchNorm2d(3), surrogate(), nn.Conv2d(3, 3, 3, padding=1))
    return SpikingSequential(
        nn.Conv2d(1, 3, 3, padding=1), surrogate(), SpikingResidual(body), surrogate(), nn.Flatten(), nn.Linear(108, 4),
        surrogate(), **options,
    )  # fmt: skip


MODELS = {"mlp": mlp, "cnn": cnn, "residual": residual}


def make(name, seed=0, **options):
    torch.manual_seed(seed)
    model = MODELS[name](**{"steps": STEPS, **options})
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(3)
    return model


def batch(samples=5):
    torch.manual_seed(1)
    return torch.rand(samples, 1, 6, 6), torch.arange(samples) % 4


def step_by_step(model, x):
    """Every module of the network at every step, as snntorch's tutorials have it."""
    altprop.nn.spiking.reset_states(model)
    spikes = []
    for _ in range(model.steps):
        a = x
        for layer in model:
            a = layer(a)
        spikes.append(a)
    altprop.nn.spiking.reset_states(model)
    return torch.stack(spikes)


@pytest.mark.parametrize("name", MODELS)
def test_it_runs_and_learns_as_the_loop_over_the_steps_does(name):
    """But for batch norm, whose statistics are over time: compared in evaluation mode."""
    model, (x, y) = make(name).eval(), batch()
    found = {}
    for kind, run in {"at once": model, "step by step": partial(step_by_step, model)}.items():
        spikes = run(x)
        altprop.rewards.SpikeRate()(spikes, y).backward()
        found[kind] = [spikes.detach(), *(p.grad for p in model.parameters())]
        model.zero_grad()
    assert 0.05 < found["at once"][0].mean() < 0.95
    for one, other in zip(*found.values(), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("name", MODELS)
def test_every_rule_teaches_the_layers_it_should_and_comes_off(name, rule):
    model, (x, y) = make(name), batch()
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.constant_(module.bias, 0.1)  # LFP warns of parameters at zero
    plain, before = model(x), copy.deepcopy(model.state_dict())
    attachment = RULES[rule].attach(model)
    with altprop.targets(y):
        spikes = model(x)
    altprop.rewards.SpikeRate()(spikes, y).backward()
    model.eval()
    grads = {n: p.grad for n, p in model.named_parameters() if n.endswith("weight")}
    last = list(grads)[-1]
    for n, grad in grads.items():
        taught = grad is not None and bool(grad.any())
        assert taught == (rule != "shallow" or n == last), n
        assert grad is None or grad.isfinite().all()
    attachment.remove()
    model.train()
    model.load_state_dict(before)
    assert torch.equal(model(x), plain)


@pytest.mark.parametrize("rule", ["lfp", "dfa", "drtp", "backprop"])
def test_nothing_of_a_batch_is_left_for_the_next(rule):
    model, (x, y) = make("mlp"), batch()
    before = {id(module): set(vars(module)) for module in model.modules()}
    attributes = {name: buffer.shape for name, buffer in model.named_buffers()}
    with RULES[rule].attach(model), altprop.targets(y):
        grads = []
        for samples in (slice(None), slice(3), slice(None)):
            with altprop.targets(y[samples]):
                altprop.rewards.SpikeRate()(model(x[samples]), y[samples]).backward()
            grads.append([p.grad for p in model.parameters()])
            model.zero_grad()
    assert all(torch.equal(one, other) for one, other in zip(grads[0], grads[2], strict=True))
    assert {name: buffer.shape for name, buffer in model.named_buffers()} == attributes
    assert {id(module): set(vars(module)) for module in model.modules()} == before


def test_the_states_are_reset_after_an_exception_too():
    model = make("mlp")
    model[6].register_forward_pre_hook(lambda module, args: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        model(batch()[0])
    assert not any(module.mem.numel() for module in model if hasattr(module, "mem"))


@pytest.mark.parametrize("rule", ["lfp", "dfa", "fa"])
def test_an_attached_network_is_copied_saved_and_loaded(rule):
    model, (x, y) = make("cnn"), batch()
    RULES[rule].attach(model)
    model(x)  # draws what is drawn on the first batch
    stored = io.BytesIO()
    torch.save(model, stored)
    stored.seek(0)
    found = []
    for other in (model, copy.deepcopy(model), torch.load(stored, weights_only=False)):
        altprop.rewards.SpikeRate()(other(x), y).backward()
        found.append([p.grad for p in other.parameters()])
    for one, *others in zip(*found, strict=True):
        assert all(torch.equal(one, other) for other in others)


@pytest.mark.parametrize("name", ["mlp", "cnn"])
def test_dfa_projects_the_error_of_each_step_to_its_own_step(name):
    """Written out: B e_t, as the gradient at what enters the last layer at step t."""
    model, x = make(name), batch()[0]
    last = [module for module in model if isinstance(module, nn.Linear)][-1]
    with altprop.DFA(seed=0).attach(model):
        with hidden_gradients(model) as hidden:
            spikes = model(x)
            e = torch.randn_like(spikes)
            spikes.backward(e)
        (signal,) = [g for n, g in hidden.items() if model.get_submodule(n) is last]
        expected = e.flatten(0, 1) @ last.feedback_projection
    torch.testing.assert_close(signal, expected)


def test_drtp_projects_the_target_to_every_step():
    model, (x, y) = make("mlp"), batch()
    with altprop.DRTP(seed=0).attach(model), hidden_gradients(model) as hidden:
        with altprop.targets(y):
            spikes = model(x)
        spikes.sum().backward()
        B = model[5].feedback_projection
    expected = (nn.functional.one_hot(y, 4).float() @ B / (STEPS * len(y))).repeat(STEPS, 1)
    torch.testing.assert_close(hidden["5"], expected)


def test_layers_before_the_first_neuron_run_once_for_a_constant_input():
    seen = []
    model = make("mlp")
    for index in (1, 3):
        model[index].register_forward_hook(lambda module, args, output: seen.append(len(output)))
    model(batch(5)[0])
    assert seen == [5, 5 * STEPS]


def test_dropout_differs_from_step_to_step():
    model = SpikingSequential(nn.Dropout(0.5), steps=8)
    torch.manual_seed(0)
    assert len({tuple(mask.flatten().tolist()) for mask in model(torch.ones(1, 40))}) == 8


@pytest.mark.parametrize("encoder", ["rate", "latency", None, partial(rate, generator=torch.Generator())])
def test_encoders_feed_every_step_its_own_input(encoder):
    seen = []
    model = SpikingSequential(nn.Identity(), Leaky(init_hidden=True), steps=STEPS, encoder=encoder)
    model[1].register_forward_pre_hook(lambda module, args: seen.append(args[0]))
    x = torch.rand(4, 3) if encoder is not None else torch.rand(STEPS + 1, 4, 3)
    assert model(x).shape == ((STEPS, 4, 3) if encoder is not None else x.shape)
    assert len({tuple(each.flatten().tolist()) for each in seen}) > 1
    if encoder is None:
        assert torch.equal(torch.stack(seen), x)


@pytest.mark.parametrize("init_hidden", [True, False])
@pytest.mark.parametrize(
    "neuron",
    [
        lambda hidden: Leaky(init_hidden=hidden),
        lambda hidden: Synaptic(0.8, 0.9, spike_grad=step, init_hidden=hidden),
        lambda hidden: RLeaky(0.9, linear_features=3, spike_grad=step, init_hidden=hidden),
    ],
    ids=["leaky", "synaptic", "recurrent"],
)
def test_neurons_may_keep_their_state_or_hand_it_out(neuron, init_hidden):
    torch.manual_seed(0)
    model = SpikingSequential(neuron(init_hidden), steps=STEPS)
    x = 2 * torch.rand(4, 3)
    alone = neuron(False)
    alone.load_state_dict(model[0].state_dict())
    assert torch.equal(model(x), torch.stack([alone(x)[0] for _ in range(STEPS)]))
    assert 0 < model(x).mean() < 1


class Block(nn.Module):
    """A module of the user's own, with a neuron in it."""

    def __init__(self):
        super().__init__()
        self.sum, self.neuron = nn.Linear(3, 3), Leaky(init_hidden=True)

    def forward(self, x):
        assert x.dim() == 2
        return self.neuron(self.sum(x)) + x


def test_a_module_that_holds_neurons_is_called_step_by_step():
    calls = []
    model = SpikingSequential(Block(), steps=STEPS)
    model[0].register_forward_hook(lambda module, args, output: calls.append(len(output)))
    model(torch.rand(4, 3))
    assert calls == [4] * STEPS


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"steps": 0}, ValueError, "1 step or more, got steps=0"),
        ({"encoder": "poisson"}, ValueError, "repeat, rate, latency.*'poisson'"),
    ],
)
def test_bad_arguments_are_explained(arguments, error, message):
    with pytest.raises(error, match=message):
        SpikingSequential(nn.Linear(3, 3), **arguments)


def test_a_neuron_that_runs_over_time_by_itself_is_refused():
    with pytest.raises(TypeError, match=r"'1' is a snntorch.LeakyParallel"):
        SpikingSequential(nn.Linear(3, 3), LeakyParallel(3, 3))


def test_the_programs_of_the_page_run():
    page = HOUSE / "docs" / "spiking.md"
    known = {}
    with torch.random.fork_rng(devices=()):
        exec(compile(python_blocks(page), page, "exec"), known)
    assert known["spikes"].shape == (15, 32, 10)
    assert known["net"][1].weight.grad.any()


def test_it_prints_its_settings():
    assert "steps=6, encoder=latency" in repr(make("mlp", encoder="latency"))
