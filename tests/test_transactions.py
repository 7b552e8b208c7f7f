"""Attach and remove happen, or leave no trace: whatever fails on the way, and at whichever line it is interrupted."""

import copy
import gc
import pickle
import threading
import weakref

import pytest
import torch
from torch import nn
from torch.distributed import HashStore, destroy_process_group, init_process_group
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import FSDPModule, fully_shard
from torch.nn import functional as F
from torch.nn.utils import parametrizations, parametrize
from torch.overrides import _get_current_function_mode_stack

import altprop
from altprop._preserve import in_evaluation_mode
from altprop._targets import _stack
from altprop.rules._blocks import _runs
from tests.every_rule import RULES
from tests.failures import Interrupt, OutOfMemory, failures_of, interrupts_of

MODIFYING = {name: rule for name, rule in RULES.items() if name != "backprop"}


@pytest.fixture(params=RULES.values(), ids=RULES.keys())
def rule(request):
    return request.param


def mlp():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(4, 8), nn.Tanh(), nn.Linear(8, 8), nn.Sigmoid(), nn.Linear(8, 3))


def batch():
    torch.manual_seed(1)
    return torch.randn(4, 4), torch.arange(4) % 3


def traces(model):
    """All that a rule may change in a model, without the values."""

    def hooks(module):
        return {name: len(value) for name, value in vars(module).items() if "_hooks" in name}

    def of_parameters(module):
        return [(p._backward_hooks, p._post_accumulate_grad_hooks, p.requires_grad) for p in module.parameters()]

    return [(type(m), list(vars(m)), hooks(m), list(m.state_dict()), of_parameters(m)) for m in model.modules()]


def gradients(model):
    x, y = batch()
    model.zero_grad()
    F.cross_entropy(model(x), y).backward()
    return [p.grad for p in model.parameters()]


UNTOUCHED, PLAIN = traces(mlp()), gradients(mlp())


def assert_plain(model, place):
    """The model is its old self, and so is the thread: no rule is in force, nothing is switched off."""
    assert traces(model) == UNTOUCHED, place
    assert not _get_current_function_mode_stack(), place
    assert not _runs.current, place
    assert not _stack.entries, place
    assert torch.is_grad_enabled(), place
    assert not torch.is_autocast_enabled("cpu"), place
    assert autocast_depth() == 0, place  # else its copies of the weights are never made anew
    assert all(map(torch.equal, gradients(model), PLAIN)), place


def autocast_depth():
    depth = torch.autocast_increment_nesting() - 1
    torch.autocast_decrement_nesting()
    return depth


def take_off(model):
    attachment = altprop.Attachment.of(model)
    if attachment is not None:
        attachment.remove()


def train(model, rule):
    (x, y), attachment = batch(), rule.attach(model)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.0)
    for _ in range(2):
        optimizer.zero_grad()
        with altprop.targets(y):
            loss = F.cross_entropy(model(x), y)
        loss.backward()
        optimizer.step()
    with attachment.suspended():
        model(x)
    attachment.remove()


@pytest.mark.parametrize("failure", [Interrupt, OutOfMemory])
def test_an_attach_that_fails_leaves_the_model_as_it_was(rule, failure):
    for model, place in failures_of(failure, mlp, rule.attach, at_most=150):
        assert_plain(model, place)
        rule.attach(model).remove()


@pytest.mark.parametrize("failure", [Interrupt, OutOfMemory])
def test_a_remove_that_fails_has_removed_the_rule_or_can_be_called_again(rule, failure):
    def attached():
        model = mlp()
        rule.attach(model)
        return model

    for model, place in failures_of(failure, attached, take_off, at_most=150):
        take_off(model)
        assert_plain(model, place)


def test_of_a_thousand_interrupts_none_leaves_a_trace(rule):
    count = 0
    for model, place in failures_of(Interrupt, mlp, lambda model: train(model, rule), at_most=120):
        take_off(model)
        assert_plain(model, place)
        count += 1
    assert count > (60 if rule is not RULES["backprop"] else 10)


def test_an_interrupt_at_any_line_leaves_no_switch_of_torchs_on():
    def forward(attached):
        with altprop.targets(batch()[1]):
            attached(batch()[0])

    def drtp():
        model = mlp()
        RULES["drtp-forward"].attach(model)
        return model

    count = 0
    for _, place in interrupts_of(drtp, forward):
        assert not torch.is_autocast_enabled("cpu"), place
        assert autocast_depth() == 0, place
        assert torch.is_grad_enabled(), place
        count += 1
    assert count > 100


@pytest.mark.parametrize("name", ["fa", "dfa", "lfp"])
def test_leaving_the_with_block_removes_the_rule_also_if_that_is_interrupted(name):
    def attached():
        model = mlp()
        return model, RULES[name].attach(model)

    def leave(subject):
        with subject[1]:
            pass

    kept = 0
    for (model, _), place in failures_of(Interrupt, attached, leave, at_most=200):
        kept += altprop.Attachment.of(model) is not None
        take_off(model)
        assert_plain(model, place)
    assert kept == 0


def test_a_suspended_block_that_is_interrupted_is_left():
    for model, place in failures_of(Interrupt, mlp, _suspend):
        attachment = altprop.Attachment.of(model)
        assert attachment is None or attachment.active, place


def _suspend(model):
    with altprop.DFA(seed=0).attach(model).suspended():
        assert not altprop.Attachment.of(model).active


def test_a_copy_made_while_suspended_is_under_the_rule():
    model = mlp()
    with altprop.FeedbackAlignment(seed=0).attach(model).suspended():
        copies = copy.deepcopy(model), pickle.loads(pickle.dumps(model))
    expected = gradients(model)
    assert not torch.equal(expected[0], PLAIN[0])
    for other in copies:
        assert altprop.Attachment.of(other).active
        assert all(map(torch.equal, gradients(other), expected))


def test_evaluation_mode_ends_also_if_it_is_interrupted():
    def evaluate(model):
        with in_evaluation_mode(model), in_evaluation_mode(model[0]):
            assert not any(module.training for module in model.modules())

    model = mlp()
    model[1].eval()
    for _, place in failures_of(Interrupt, lambda: model, evaluate):
        assert [module.training for module in model.modules()] == [True, True, False, True, True, True], place


class Table(nn.Module):
    """A layer of which nothing says how many features enter it."""

    def __init__(self):
        super().__init__()
        self.table = nn.Parameter(torch.randn(2, 8))


@pytest.mark.parametrize(
    "make",
    [
        altprop.LocalLoss,
        lambda: altprop.LocalLoss(classifier="trained"),
        lambda: altprop.DFA(blocks=["1", "no such layer"]),
        lambda: altprop.DRTP(output="no such layer"),
    ],
)
def test_a_model_that_is_refused_half_way_is_as_it_was(make):
    model = nn.Sequential(nn.Linear(4, 8), nn.Linear(8, 8), Table(), nn.Linear(8, 3))
    before = traces(model)
    with pytest.raises(ValueError, match=r"no such layer|does not know how many features"):
        make().attach(model)
    assert traces(model) == before


class Clumsy(altprop.Rule):
    """A rule of a user's that undoes each thing once, in the wrong order, and may fail after any of them."""

    def __init__(self, fails_after):
        self.fails_after = fails_after

    def _install(self, model):
        model.handle = model.register_forward_hook(lambda *_: None)
        self._step(1)
        model[0].weight.requires_grad_(False)
        model[0].weight.register_hook(lambda g: g) if model[0].weight.requires_grad else None
        model[2].weight.register_hook(lambda g: g)
        self._step(2)
        model[2] = nn.Identity()
        del model[4].bias
        model[4].register_parameter("bias", nn.Parameter(torch.zeros(3)))
        self._step(3)

    def _uninstall(self, model):
        model.handle.remove()
        self._step(4)
        del model.handle
        self._step(5)

    def _step(self, number):
        if number == self.fails_after:
            self.fails_after = 0
            raise ZeroDivisionError


@pytest.mark.parametrize("step", [1, 2, 3])
def test_a_users_rule_that_fails_in_attach_leaves_the_model_as_it_was(step):
    model = mlp()
    parameters = list(model.parameters())
    with pytest.raises(ZeroDivisionError):
        Clumsy(step).attach(model)
    assert_plain(model, step)
    assert all(map(torch.equal, model.parameters(), parameters))
    assert [id(p) for p in model.parameters()] == [id(p) for p in parameters]


@pytest.mark.parametrize("step", [4, 5])
def test_a_users_rule_that_fails_in_remove_is_removed(step):
    model = mlp()
    attachment = Clumsy(step).attach(model)
    with pytest.raises(ZeroDivisionError):
        attachment.remove()
    assert altprop.Attachment.of(model) is None
    assert not model._forward_hooks
    assert not hasattr(model, "handle")


@pytest.mark.parametrize("rule", MODIFYING.values(), ids=MODIFYING.keys())
@pytest.mark.parametrize("removed", [True, False])
def test_a_users_classes_are_freed_with_the_last_model(rule, removed):
    def one():
        class User(nn.Module):
            def __init__(self):
                super().__init__()
                self.a, self.act, self.b = Own(4, 8), nn.Tanh(), Own(8, 3)

            def forward(self, x):
                return self.b(self.act(self.a(x)))

        class Own(nn.Linear):
            pass

        (x, y), model = batch(), User()
        attachment = rule.attach(model)
        with altprop.targets(y):
            F.cross_entropy(model(x), y).backward()
        if removed:
            attachment.remove()
        return weakref.ref(User), weakref.ref(Own)

    classes = [cls for _ in range(5) for cls in one()]
    gc.collect()
    assert sum(cls() is not None for cls in classes) == 0


def test_a_module_and_its_copies_have_one_class_while_they_live(rule):
    model, other = mlp(), mlp()
    rule.attach(model)
    rule.attach(other)
    for copied in (other, copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
        assert [type(module) for module in copied.modules()] == [type(module) for module in model.modules()]


class Meeting(altprop.FeedbackAlignment):
    """Lets another thread attach while this one does."""

    def _install(self, model):
        self.other.start()
        self.other.join()
        super()._install(model)


@pytest.mark.parametrize("part", ["", "2"])
@pytest.mark.parametrize("second", [altprop.FeedbackAlignment(), altprop.LFP(), altprop.DFA()], ids=repr)
def test_a_second_thread_is_refused_in_words(second, part):
    model, refused, first = mlp(), [], Meeting(seed=0)

    def attach():
        try:
            second.attach(model.get_submodule(part))
        except ValueError as error:
            refused.append(str(error))

    first.other = threading.Thread(target=attach)
    attachment = first.attach(model)
    assert len(refused) == 1
    assert "already has Meeting(" in refused[0]
    attachment.remove()
    assert_plain(model, second)


def test_of_many_threads_one_attaches():
    for _ in range(20):
        model, start, refused, attached = mlp(), threading.Barrier(8), [], []

        def attach(rule, model=model, start=start, refused=refused, attached=attached):
            start.wait()
            try:
                attached.append(rule.attach(model))
            except ValueError as error:
                refused.append(error)

        rules = [altprop.LFP(), altprop.DFA(), altprop.FeedbackAlignment(), altprop.Shallow()] * 2
        threads = [threading.Thread(target=attach, args=(rule,)) for rule in rules]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(attached) == 1
        assert len(refused) == 7
        attached[0].remove()
        assert_plain(model, rules)


def test_a_part_of_an_attached_model_is_refused(rule):
    model = mlp()
    beside = nn.Sequential(model[0], nn.Linear(8, 3))
    for attached in (model, copy.deepcopy(model)):
        with rule.attach(attached), pytest.raises(ValueError, match="this model is part of a Sequential that already"):
            altprop.LFP().attach(attached[2])
    with rule.attach(model), pytest.raises(ValueError, match="its submodule '0' is part of a Sequential that already"):
        altprop.LFP().attach(beside)
    altprop.LFP().attach(beside)


def test_remove_leaves_what_was_laid_over_the_rule(rule):
    if isinstance(rule, altprop.KolenPollack) or rule is RULES["local-loss-trained"]:
        pytest.skip("the rule's own parameters, which are sharded too, go with it")
    init_process_group("gloo", rank=0, world_size=1, store=HashStore())
    try:
        model, mesh = mlp(), init_device_mesh("cpu", (1,))
        attachment = rule.attach(model)
        fully_shard(model[2], mesh=mesh)
        fully_shard(model, mesh=mesh)
        attachment.remove()
        assert all(isinstance(module, FSDPModule) for module in (model, model[2]))
        assert type(model).__bases__ == (FSDPModule, nn.Sequential)
        assert type(model[2]).__bases__ == (FSDPModule, nn.Linear)
        assert all(torch.equal(g.full_tensor(), plain) for g, plain in zip(gradients(model), PLAIN, strict=True))
    finally:
        destroy_process_group()


def test_remove_leaves_a_parametrisation_that_was_put_on_since(rule):
    model, plain = mlp(), mlp()
    attachment = rule.attach(model)
    for network in (model, plain):
        parametrizations.weight_norm(network[2])
    attachment.remove()
    assert parametrize.is_parametrized(model[2], "weight")
    assert all(map(torch.equal, gradients(model), gradients(plain)))
    parametrize.remove_parametrizations(model[2], "weight")
    assert type(model[2]) is nn.Linear


def test_remove_leaves_hooks_that_were_put_on_since(rule):
    model, called = mlp(), []
    attachment = rule.attach(model)
    for module in (model, model[2]):
        module.register_forward_hook(lambda *_: called.append("hook"))
    model[2].weight.register_hook(lambda g: called.append("weight"))
    attachment.remove()
    gradients(model)
    assert called == ["hook", "hook", "weight"]


@pytest.mark.parametrize("name", ["fa", "usf", "brsf", "frsf", "kp"])
def test_a_layer_that_was_exchanged_comes_off_too(name):
    model = mlp()
    attachment = RULES[name].attach(model)
    exchanged = model[2]
    with pytest.warns(UserWarning, match="before these layers were put into the model: 2"):
        model[2] = nn.Linear(8, 8)
    attachment.remove()
    assert type(exchanged) is nn.Linear
    model[2] = exchanged
    assert_plain(model, name)
