"""Rules with feedback weights act in every layer that they name, or the user is told in which they do not."""

import copy
import pickle
import types
import warnings

import pytest
import torch
from accelerate.hooks import ModelHook, add_hook_to_module, remove_hook_from_module
from torch import nn
from torch.nn import functional as F
from torch.nn.utils import parametrizations, parametrize, prune

import altprop

RULES = {
    "fa": altprop.FeedbackAlignment(seed=1),
    "usf": altprop.SignSymmetric(),
    "brsf": altprop.SignSymmetric("batchwise", seed=1),
    "frsf": altprop.SignSymmetric("fixed", seed=1),
    "kp": altprop.KolenPollack(seed=1),
}


@pytest.fixture(params=RULES.values(), ids=RULES.keys())
def rule(request):
    return request.param


def mlp():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(4, 6), nn.Tanh(), nn.Linear(6, 5), nn.Tanh(), nn.Linear(5, 3)).double()


def batch():
    torch.manual_seed(1)
    return torch.randn(8, 4).double(), torch.arange(8) % 3


def backward(model):
    x, y = batch()
    model.zero_grad()
    F.cross_entropy(model(x), y).backward()


def by_hand(model):
    """The gradients of the three weights by the rule's formula: the error goes back through B."""
    x, y = batch()
    with torch.no_grad():
        first = model[0](x).tanh()
        second = model[2](first).tanh()
        error = (model[4](second).softmax(1) - F.one_hot(y, 3)) / len(y)
        at_second = (error @ model[4].feedback_weight) * (1 - second**2)
        at_first = (at_second @ model[2].feedback_weight) * (1 - first**2)
        return [at_first.t() @ x, at_second.t() @ first, error.t() @ second]


def assert_in_force(model):
    backward(model)
    torch.testing.assert_close([model[i].weight.grad for i in (0, 2, 4)], by_hand(model))


def assert_backprop(model, plain):
    backward(model)
    backward(plain)
    assert all(map(torch.equal, (p.grad for p in model.parameters()), (p.grad for p in plain.parameters())))


def told(run):
    """What the warnings of ``run()`` say."""
    with warnings.catch_warnings(record=True) as heard:
        warnings.simplefilter("always")
        run()
    return [str(warning.message) for warning in heard]


def with_hooks_of_accelerate(model):
    for i in (0, 2, 4):
        add_hook_to_module(model[i], ModelHook())


def with_hooks_taken_off_again(model):
    with_hooks_of_accelerate(model)
    remove_hook_from_module(model, recurse=True)
    assert "forward" in vars(model[0])


def bound_to_the_layer(model):
    for i in (0, 2, 4):
        model[i].forward = types.MethodType(nn.Linear.forward, model[i])


def within_a_function(model):
    for i in (0, 2, 4):
        forward = model[i].forward
        model[i].forward = lambda x, forward=forward: forward(x)


BOUND = [with_hooks_of_accelerate, with_hooks_taken_off_again, bound_to_the_layer]


@pytest.mark.parametrize("change", BOUND)
def test_a_forward_that_the_module_keeps_is_the_rules_while_it_is_attached(rule, change):
    model, plain = mlp(), mlp()
    change(model)
    change(plain)
    kept = {name: value for name, value in vars(model[0]).items() if "forward" in name}
    with rule.attach(model):
        assert_in_force(model)
        assert_in_force(copy.deepcopy(model))
        listed = altprop.inspect(model, batch()[0], rule)
        assert [operation.rule for operation in listed if "linear" in operation.name] == [type(rule).__name__] * 3
    assert {name: value for name, value in vars(model[0]).items() if "forward" in name} == kept
    assert_backprop(model, plain)


@pytest.mark.parametrize("change", [with_hooks_of_accelerate, with_hooks_taken_off_again, within_a_function])
def test_a_forward_that_is_replaced_after_attaching_calls_the_rules(rule, change):
    model, plain = mlp(), mlp()
    with rule.attach(model):
        change(model)
        assert_in_force(model)
    assert_backprop(model, plain)
    with torch.no_grad():
        assert torch.equal(model(batch()[0]), plain(batch()[0]))
    remove_hook_from_module(model, recurse=True)
    assert_backprop(model, plain)


def test_a_forward_that_hides_that_of_the_class_is_told_and_not_listed(rule):
    model = mlp()
    forward = model[2].forward
    model[2].forward = lambda x: forward(2 * x)
    (message,) = told(lambda: rule.attach(model))
    assert "forward was replaced on the module itself" in message
    assert "2 (Linear)" in message
    listed = altprop.inspect(model, batch()[0], rule)
    kinds = [operation.rule for operation in listed if "linear" in operation.name]
    assert kinds == [type(rule).__name__, "gradient", type(rule).__name__]


def test_a_forward_of_attention_that_is_replaced_is_told(rule):
    model = nn.Sequential(nn.Linear(4, 4), nn.MultiheadAttention(4, 2))
    attend = model[1].forward
    model[1].forward = lambda q, k, v: attend(2 * q, k, v)
    (message,) = told(lambda: rule.attach(model))
    assert "1 (MultiheadAttention)" in message
    x = torch.randn(3, 2, 4)
    (message,) = told(lambda: model[1](*[model[0](x)] * 3)[0].sum().backward())
    assert "did not act in 1, 1.out_proj:" in message


class Functional(nn.Module):
    """Uses the weights of two of its layers without these."""

    def __init__(self):
        super().__init__()
        self.first, self.second, self.last = nn.Linear(4, 6), nn.Linear(6, 5), nn.Linear(5, 3)

    def forward(self, x):
        x = F.linear(x, self.first.weight, self.first.bias).tanh()
        return self.last((x @ self.second.weight.t()).tanh())


def step(model):
    x, y = batch()
    F.cross_entropy(model(x.to(next(model.parameters()).dtype)), y).backward()


def test_layers_whose_weights_are_used_without_them_are_told_once(rule):
    torch.manual_seed(0)
    model = Functional()
    attachment = rule.attach(model)
    before = copy.deepcopy(model), pickle.loads(pickle.dumps(model))
    for network in (model, *before):
        (message,) = told(lambda network=network: step(network))
        assert message.startswith(f"{rule!r} did not act in first, second: the weights got their gradients by backprop")
        assert not told(lambda network=network: step(network))
        assert not network.last.weight._backward_hooks
    copy.deepcopy(model), pickle.loads(pickle.dumps(model))
    attachment.remove()
    assert all(parameter._backward_hooks is None for parameter in model.parameters())
    with rule.attach(model):
        assert len(told(lambda: step(model))) == 1


def test_a_layer_that_is_told_of_and_acts_later_is_watched_no_longer():
    torch.manual_seed(0)
    model = Functional()
    with altprop.FeedbackAlignment().attach(model):
        assert told(lambda: step(model))
        model.first(torch.randn(2, 4)).sum().backward()
        assert model.first.weight._backward_hooks is None
        assert model.second.weight._backward_hooks


def test_a_forward_that_leaves_the_rule_out_is_told_at_the_first_backward_pass(rule):
    model = mlp()
    rule.attach(model)
    model[2].forward = types.MethodType(lambda layer, x: F.linear(x, layer.weight, layer.bias), model[2])
    (message,) = told(lambda: backward(model))
    assert "did not act in 2:" in message
    assert "forward" in message


@pytest.mark.parametrize("kind", [parametrizations.weight_norm, parametrizations.spectral_norm])
def test_parametrised_weights_that_are_used_without_their_layer_are_told(kind):
    torch.manual_seed(0)
    model = Functional()
    kind(model.first)
    with altprop.FeedbackAlignment().attach(model):
        (message,) = told(lambda: step(model))
        assert "did not act in first, second:" in message


def unsuspended(model, attachment):
    with attachment.suspended():
        z = model(batch()[0])
    z.sum().backward()


def explained(model, attachment):
    altprop.LRP(model).attribute(batch()[0], target=0)


def evaluated_first(model, attachment):
    with torch.no_grad():
        model(batch()[0])
    backward(model)


def a_head_that_is_not_used(model, attachment):
    model[:3](batch()[0]).sum().backward()


@pytest.mark.parametrize("run", [unsuspended, explained, evaluated_first, a_head_that_is_not_used])
def test_nothing_is_told_where_the_rule_is_in_force(rule, run):
    model = mlp()
    attachment = rule.attach(model)
    assert not told(lambda: run(model, attachment))
    assert not told(lambda: backward(model))
    assert all(parameter._backward_hooks is None for parameter in model.parameters())


def test_attention_that_is_suspended_is_in_force_afterwards(rule):
    model, x = nn.TransformerEncoderLayer(4, 2, 8, dropout=0.0), torch.randn(3, 2, 4)
    with rule.attach(model).suspended():
        assert not told(lambda: model(x).sum().backward())
    assert not told(lambda: model(x).sum().backward())


def test_a_compiled_model_is_not_told_of(rule):
    torch._dynamo.reset()
    model = mlp()
    with rule.attach(model):
        compiled, (x, y) = torch.compile(model, backend="aot_eager", fullgraph=True), batch()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # torch's own, while it traces
            compiled(x)
        assert not told(lambda: F.cross_entropy(compiled(x), y).backward())
        torch.testing.assert_close([model[i].weight.grad for i in (0, 2, 4)], by_hand(model))


def pruned(layer):
    prune.random_unstructured(layer, "weight", amount=0.5)


def normed_the_old_way(layer):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        nn.utils.weight_norm(layer)


class Doubled(nn.Module):
    def forward(self, w):
        return 2 * w


def parametrised_twice(layer):
    parametrizations.weight_norm(layer)
    parametrize.register_parametrization(layer, "weight", Doubled())


@pytest.mark.parametrize("change", [pruned, normed_the_old_way, parametrizations.weight_norm, parametrised_twice])
@pytest.mark.parametrize("name", ["fa", "usf", "frsf"])
def test_computed_weights_get_feedback_of_their_own_shape(name, change):
    model, effective = mlp(), mlp()
    for network in (model, effective):
        torch.manual_seed(2)
        for i in (0, 2, 4):
            change(network[i])
    with RULES[name].attach(model):
        assert not told(lambda: backward(model))
        expected = by_hand(model)
    # The chain rule from the effective weights to what they are computed from is torch's own.
    found = [p.grad for p in model.parameters() if p.dim() > 1]
    effective(batch()[0])
    for i, gradient in zip((0, 2, 4), expected, strict=True):
        effective[i].weight.backward(gradient, retain_graph=True)
    torch.testing.assert_close(found, [p.grad for p in effective.parameters() if p.dim() > 1])


@pytest.mark.parametrize("change", [pruned, normed_the_old_way, parametrizations.weight_norm])
def test_kolen_and_pollack_tell_that_computed_weights_need_not_meet_b(change):
    model = mlp()
    change(model[2])
    (message,) = told(lambda: altprop.KolenPollack(seed=0).attach(model))
    assert "the weights of 2 are computed from other parameters" in message
    late = torch.optim.SGD([p for name, p in model.named_parameters() if "feedback" not in name], lr=0.1)
    model[0].requires_grad_(False)
    model[4].requires_grad_(False)
    backward(model)
    late.step()
    (message,) = told(lambda: backward(model))
    assert "make it after attach()" in message


def trained(model, optimizer, steps=3):
    start = copy.deepcopy(model.state_dict())
    for _ in range(steps):
        backward(model)
        optimizer.step()
    return {name: value - start[name] for name, value in model.state_dict().items()}


def test_a_layer_that_is_unfrozen_after_attaching_has_a_b_that_learns_as_it_does():
    model = mlp()
    model[2].requires_grad_(False)
    altprop.KolenPollack(seed=0).attach(model)
    model[2].weight.requires_grad_()
    moved = trained(model, torch.optim.SGD(model.parameters(), lr=0.1))
    assert moved["2.weight"].any()
    torch.testing.assert_close(moved["2.weight"], moved["2.feedback_weight"])


def test_a_layer_that_is_frozen_and_unfrozen_after_attaching_stops_and_learns_with_its_b():
    model = mlp()
    altprop.KolenPollack(seed=0).attach(model)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9, weight_decay=0.1)
    for frozen in (False, True, False, True):
        model[2].weight.requires_grad_(not frozen)
        moved = trained(model, optimizer, steps=2)
        assert bool(moved["2.weight"].any()) is not frozen
        assert bool(moved["2.feedback_weight"].any()) is not frozen
        assert model[2].feedback_weight.requires_grad is not frozen


def test_a_b_that_was_frozen_by_itself_stays_frozen():
    model = mlp()
    altprop.KolenPollack(seed=0).attach(model)
    model[2].feedback_weight.requires_grad_(False)
    moved = trained(model, torch.optim.SGD(model.parameters(), lr=0.1))
    assert moved["2.weight"].any()
    assert not moved["2.feedback_weight"].any()


def test_an_optimizer_made_of_what_learns_before_b_did_is_told():
    model = mlp()
    for i in (0, 2, 4):
        model[i].weight.requires_grad_(False)
    altprop.KolenPollack(seed=0).attach(model)
    for i in (0, 2, 4):
        model[i].weight.requires_grad_()
    late = torch.optim.SGD([p for p in model.parameters() if p.requires_grad], lr=0.1)
    messages = told(lambda: trained(model, late))
    assert len(messages) == 1
    assert "make it after attach()" in messages[0]


def test_a_copy_of_a_frozen_layer_knows_that_it_is_frozen():
    model = mlp()
    model[2].requires_grad_(False)
    altprop.KolenPollack(seed=0).attach(model)
    for other in (copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
        other[2].weight.requires_grad_()
        backward(other)
        torch.testing.assert_close(other[2].feedback_weight.grad, other[2].weight.grad)


def test_a_layer_unfrozen_under_compile_learns():
    torch._dynamo.reset()
    model, (x, y) = mlp(), batch()
    model[2].requires_grad_(False)
    altprop.KolenPollack(seed=0).attach(model)
    model[2].weight.requires_grad_()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        F.cross_entropy(torch.compile(model, backend="eager")(x), y).backward()
    torch.testing.assert_close(model[2].feedback_weight.grad, model[2].weight.grad)


class Raw(nn.Module):
    """Has a weight matrix, a kernel and a table of positions as bare parameters."""

    def __init__(self):
        super().__init__()
        self.position, self.matrix = nn.Parameter(torch.randn(1, 4)), nn.Parameter(torch.randn(5, 4))
        self.kernel, self.last = nn.Parameter(torch.randn(2, 1, 3)), nn.Linear(6, 3)

    def forward(self, x):
        x = (x + self.position) @ self.matrix.t()
        return self.last(F.conv1d(x.tanh()[:, None], self.kernel).flatten(1))


def test_weights_of_no_layer_are_told_once_and_others_are_not(rule):
    model = nn.Sequential(nn.Linear(4, 4), Raw())
    before = list(vars(model[1]))
    attachment = rule.attach(model)
    copied = copy.deepcopy(model)
    with attachment.suspended():
        assert not told(lambda: step(model))
    assert not told(lambda: altprop.LRP(model).attribute(batch()[0].float(), target=0))
    for network in (model, copied):
        (message,) = told(lambda network=network: step(network))
        assert message.endswith("belong to no layer that it knows and keep backprop: 1.matrix, 1.kernel.")
        assert not told(lambda network=network: step(network))
    assert not model[1]._forward_hooks
    attachment.remove()
    with rule.attach(model):
        pass
    assert list(vars(model[1])) == before
    assert not model[1]._forward_hooks


def test_layers_that_are_put_in_after_attaching_are_told(rule):
    model = nn.Sequential(nn.Linear(4, 4), nn.Sequential(nn.Linear(4, 4), nn.Tanh()))
    attachment = rule.attach(model)
    for network in (model, copy.deepcopy(model)):

        def exchange(network=network):
            network[1][0] = nn.Sequential(nn.Identity(), nn.Linear(4, 4))

        (message,) = told(exchange)
        assert "before these layers were put into the model: 1.0.1. They keep backprop" in message
    assert not told(lambda: model[1].register_module("1", nn.ReLU()))
    assert not told(lambda: model.register_module("0", model[0]))
    assert not told(lambda: parametrizations.weight_norm(model[0]))
    attachment.remove()
    parametrize.remove_parametrizations(model[0], "weight")
    assert not told(lambda: model.append(nn.Linear(4, 4)))
    with rule.attach(model):
        assert not told(lambda: nn.Sequential(nn.Linear(4, 4)))
    with altprop.LFP().attach(model):
        assert not told(lambda: model.append(nn.Linear(4, 4)))
