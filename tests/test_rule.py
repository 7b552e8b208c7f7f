"""What every rule promises: one line to attach, an unchanged loop, and a model that is its old self afterwards."""

import copy
import io
import itertools
import threading
import warnings

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional as F

import altprop
from tests import distributed, every_rule

# Those that teach in the backward pass.
RULES = {name: rule for name, rule in every_rule.RULES.items() if "forward" not in name}

# The network has activations of every kind; tests/rules/test_direct.py asks for the warning.
pytestmark = pytest.mark.filterwarnings("ignore:DRTP teaches")


class Block(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.convolution = nn.Conv2d(width, width, 3, padding=1)
        self.norm = nn.BatchNorm2d(width)
        self.act = nn.ReLU(inplace=True)

    def forward(self, x):
        out = self.norm(self.convolution(x))
        out += x
        return self.act(out)


def network():
    """A small net with an in-place sum and ReLU, batch norm, a module shared by two places, and no zero parameter."""
    torch.manual_seed(0)
    shared = nn.Linear(6, 6)
    model = nn.Sequential(
        nn.Conv2d(1, 4, 3), Block(4), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(36, 6), nn.GELU(),
        shared, nn.Tanh(), shared, nn.Tanh(), nn.Linear(6, 3),
    )  # fmt: skip
    nn.init.normal_(model[1].norm.bias)
    return model


def batch(n=6, seed=1):
    torch.manual_seed(seed)
    return torch.randn(n, 1, 8, 8), torch.arange(n) % 3


def gradients(model, x, y):
    model.zero_grad()
    with altprop.targets(y):
        F.cross_entropy(model(x), y).backward()
    return {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}


def assert_same(found, expected, **tolerance):
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        torch.testing.assert_close(found[name], value, msg=lambda text, name=name: f"{name}: {text}", **tolerance)


@pytest.fixture(params=RULES.values(), ids=RULES.keys())
def rule(request):
    return request.param


def snapshot(model):
    """All that could tell a model from its old self."""
    modules = {
        name: (type(module), {key: value for key, value in vars(module).items() if not isinstance(value, dict)},
               {key: list(value) for key, value in vars(module).items() if isinstance(value, dict)})
        for name, module in model.named_modules()
    }  # fmt: skip
    state = {key: value.clone() for key, value in model.state_dict().items()}
    identities = [id(tensor) for tensor in (*model.parameters(), *model.buffers())]
    hooks = [parameter._backward_hooks for parameter in model.parameters()]
    return modules, state, identities, hooks


def assert_unchanged(before, after):
    assert before[0] == after[0]
    assert list(before[1]) == list(after[1])
    assert all(torch.equal(before[1][key], after[1][key]) for key in before[1])
    assert before[2:] == after[2:]


def test_remove_restores_the_model_bit_for_bit(rule):
    model, (x, y) = network(), batch()
    model.eval()
    expected, before = model(x), snapshot(model)
    attachment = rule.attach(model)
    gradients(model, x, y)
    model.zero_grad()
    attachment.remove()
    assert_unchanged(before, snapshot(model))
    assert torch.equal(model(x), expected)
    assert altprop.Attachment.of(model) is None
    attachment.remove()  # a second time is harmless


def test_the_context_manager_removes_the_rule_after_an_exception_too(rule):
    model = network()
    before = snapshot(model)
    with pytest.raises(ZeroDivisionError), rule.attach(model):
        raise ZeroDivisionError
    assert_unchanged(before, snapshot(model))


def test_evaluation_gives_the_plain_models_outputs_bit_for_bit(rule):
    model, (x, _) = network().eval(), batch()
    with torch.no_grad():
        expected = model(x)
        with rule.attach(model):
            assert torch.equal(model(x), expected)


def test_training_gives_the_plain_models_outputs_bit_for_bit(rule):
    x, y = batch()
    expected = network()(x)
    model = network()
    with rule.attach(model), altprop.targets(y):
        assert torch.equal(model(x), expected)


def test_suspended_is_plain_backprop(rule):
    model, (x, y) = network(), batch()
    expected = gradients(copy.deepcopy(model), x, y)
    with rule.attach(model) as attachment:
        with attachment.suspended():
            assert_same(gradients(model, x, y), expected, rtol=0, atol=0)
        assert attachment.active


def test_a_second_rule_names_the_first(rule):
    model = network()
    with rule.attach(model), pytest.raises(ValueError, match="already has " + repr(rule)[:3]):
        altprop.LFP().attach(model)
    with rule.attach(model[1]), pytest.raises(ValueError, match="its submodule '1' already has"):
        altprop.LFP().attach(model)


def test_wrapped_models_are_refused_with_the_remedy(rule):
    for wrap in (nn.DataParallel, torch.compile):
        with pytest.raises(ValueError, match="Attach to the inner model first, then wrap it"):
            rule.attach(wrap(network()))
    with pytest.raises(TypeError, match=r"attaches to a torch\.nn\.Module, got function"):
        rule.attach(network)


def test_gradient_accumulation_adds_up(rule):
    model, (x, y) = network().eval(), batch()
    with rule.attach(model):
        whole = gradients(model, x, y)
        model.zero_grad()
        for part in range(2):
            half = slice(3 * part, 3 * part + 3)
            with altprop.targets(y[half], scale=1 / 2):
                (F.cross_entropy(model(x[half]), y[half]) / 2).backward()
        found = {name: p.grad for name, p in model.named_parameters() if p.grad is not None}
        assert_same(found, whole, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize(
    "rule", [RULES[name] for name in ("backprop", "shallow", "lfp", "lfp-0", "lfp-gamma")], ids=repr
)
def test_any_optimizer_and_clipping_drive_the_loss_down(rule):
    x, y = batch(12)
    for make in (torch.optim.SGD, torch.optim.AdamW):
        model = network()
        with rule.attach(model):
            optimizer = make(model.parameters(), lr=0.01)
            losses = []
            for _ in range(30):
                optimizer.zero_grad()
                with altprop.targets(y):
                    loss = F.cross_entropy(model(x), y)
                loss.backward()
                nn.utils.clip_grad_norm_(model.parameters(), 3.0)
                optimizer.step()
                losses.append(loss.item())
        assert losses[-1] < losses[0]


def test_autocast_computes_the_rule_in_bfloat16(rule):
    model, (x, y) = network().eval(), batch()
    with rule.attach(model):
        expected = gradients(model, x, y)
        with torch.autocast("cpu", torch.bfloat16):
            found = gradients(model, x, y)
    assert all(value.dtype == torch.float32 for value in found.values())
    total = torch.cat([value.flatten() for value in expected.values()])
    other = torch.cat([found[name].flatten() for name in expected])
    assert F.cosine_similarity(total, other, dim=0) > 0.98


def test_compile_traces_the_attached_model_without_a_graph_break(rule):
    torch._dynamo.reset()
    model, (x, y) = network(), batch()
    with rule.attach(model):
        expected = gradients(model, x, y)
        compiled = torch.compile(model, fullgraph=True, backend="aot_eager")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # torch's own, while it traces
            found = gradients(compiled, x, y)
        found = {name.removeprefix("_orig_mod."): value for name, value in found.items()}
        assert_same(found, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", ["backprop", "fa", "dfa", "local-loss", "lfp"])
def test_the_models_own_compile_method_works_after_attaching(name):
    """For each way in which rules teach: what is traced is the same as above, where all rules are."""
    torch._dynamo.reset()
    model, (x, y) = network(), batch()
    with RULES[name].attach(model):
        expected = gradients(model, x, y)
        model.compile(backend="aot_eager")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            assert_same(gradients(model, x, y), expected, rtol=1e-4, atol=1e-5)


def test_deepcopy_and_pickle_carry_the_rule_along(rule):
    model, (x, y) = network(), batch()
    with rule.attach(model):
        expected = gradients(model, x, y)
        saved = io.BytesIO()
        torch.save(model, saved)
        saved.seek(0)
        for other in (copy.deepcopy(model), torch.load(saved, weights_only=False)):
            assert type(other).__name__ == "Sequential"
            assert_same(gradients(other, x, y), expected)
            altprop.Attachment.of(other).remove()
            assert type(other) is nn.Sequential
            assert_same(gradients(other, x, y), gradients(network(), x, y))
        assert_same(gradients(model, x, y), expected)


def test_a_state_dict_goes_into_a_plain_model_and_back(rule):
    model, plain = network(), network()
    with rule.attach(model):
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.add_(0.1)
        # Not strict: the rule's own state is in the state dict too.
        unknown = plain.load_state_dict(model.state_dict(), strict=False)
        assert not unknown.missing_keys
        missing = model.load_state_dict(plain.state_dict(), strict=False)
        assert set(missing.missing_keys) <= set(unknown.unexpected_keys)
        assert not missing.unexpected_keys
        state = model.state_dict()
    assert all(torch.equal(state[name], value) for name, value in plain.state_dict().items())


def test_a_state_dict_carries_the_rules_own_state(rule):
    model, other, (x, y) = network(), network(), batch()
    with rule.attach(model), rule.attach(other):
        with torch.no_grad():
            for tensor in model.state_dict().values():
                tensor.add_(1 if not tensor.is_floating_point() else 0.1)
        other.load_state_dict(model.state_dict())
        assert_same(gradients(other, x, y), gradients(model, x, y), rtol=0, atol=0)


def test_moving_and_assigning_parameters_keeps_the_rule(rule):
    model, (x, y) = network(), batch()
    with rule.attach(model):
        expected = gradients(model, x, y)
        model.load_state_dict(copy.deepcopy(model.state_dict()), assign=True)
        model.double()
        found = gradients(model, x.double(), y)
        assert_same({name: value.float() for name, value in found.items()}, expected, rtol=1e-3, atol=1e-5)


def test_a_frozen_parameter_gets_no_update(rule):
    model, (x, y) = network(), batch()
    with rule.attach(model):
        expected = gradients(model, x, y)
        model[0].weight.requires_grad_(False)
        model[4].bias.requires_grad_(False)
        expected.pop("0.weight", None)
        expected.pop("0.feedback_weight", None)
        expected.pop("4.bias", None)
        found = gradients(model, x, y)
    assert "0.weight" not in found
    assert "0.feedback_weight" not in found
    assert_same({k: v for k, v in found.items() if k in expected}, expected)


@pytest.fixture(scope="module")
def in_two_processes(tmp_path_factory):
    """What every rule trains in two processes, which are started once: most of the time is torch's import."""
    return distributed.train_in_processes(RULES, network, tmp_path_factory.mktemp("processes"), processes=2)


@pytest.mark.filterwarnings("ignore")  # torch's own, in the processes' start
@pytest.mark.parametrize("name", RULES)
def test_distributed_training_equals_one_process_on_the_joined_batch(name, in_two_processes):
    assert_same(in_two_processes[name], distributed.train_alone(RULES[name], network), rtol=0, atol=1e-6)


def test_two_threads_with_different_rules_do_not_see_each_other():
    x, y = batch()
    rules = {name: RULES[name] for name in ("backprop", "lfp", "shallow", "dfa")}
    expected = {name: _gradients_under(rule, x, y) for name, rule in rules.items()}
    found = {name: [] for name in rules}
    start = threading.Barrier(len(rules))

    def work(name):
        start.wait()
        found[name] = [_gradients_under(rules[name], x, y) for _ in range(5)]

    threads = [threading.Thread(target=work, args=(name,)) for name in rules]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for name, repeats in found.items():
        assert len(repeats) == 5
        for repeat in repeats:
            assert_same(repeat, expected[name])


def _gradients_under(rule, x, y):
    model = _seedless_network()
    with rule.attach(model):
        return gradients(model, x, y)


_TEMPLATE = network()


def _seedless_network():
    """A copy: drawing weights from torch's global generator in several threads would not repeat."""
    return copy.deepcopy(_TEMPLATE)


@given(
    widths=st.lists(st.integers(1, 6), min_size=1, max_size=4),
    act=st.sampled_from([nn.ReLU, nn.Tanh, nn.Identity, nn.GELU, altprop.nn.Step]),
    name=st.sampled_from(sorted(RULES)),
    seed=st.integers(0, 10_000),
)
@settings(max_examples=40, deadline=None)
def test_attach_and_remove_leave_any_architecture_as_it_was(widths, act, name, seed):
    torch.manual_seed(seed)
    sizes = [3, *widths, 2]
    layers = [layer for a, b in itertools.pairwise(sizes) for layer in (nn.Linear(a, b), act())]
    model = nn.Sequential(*layers[:-1])
    x, y = torch.randn(4, 3), torch.arange(4) % 2
    before, plain = snapshot(model), gradients(copy.deepcopy(model), x, y)
    with RULES[name].attach(model):
        gradients(model, x, y)
    model.zero_grad()
    assert_unchanged(before, snapshot(model))
    assert_same(gradients(model, x, y), plain, rtol=0, atol=0)
