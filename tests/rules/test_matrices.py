"""Projections follow from a seed: what a model's state dict and buffers are does not change with the first batch."""

import copy
import io
import warnings

import pytest
import torch
from torch import nn
from torch.nn import functional as F
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

import altprop
from altprop.rules._projections import draw
from tests.rules.test_direct import attach_quietly

RULES = [altprop.DFA(seed=3), altprop.DFA(), altprop.DRTP(seed=3), altprop.LocalLoss(seed=3)]


@pytest.fixture(params=RULES, ids=repr)
def rule(request):
    return request.param


def network():
    torch.manual_seed(0)
    norm = lambda: nn.Sequential(nn.BatchNorm1d(8), nn.Tanh())  # noqa: E731
    return nn.Sequential(nn.Linear(6, 8), norm(), nn.Linear(8, 8), norm(), nn.Linear(8, 3)).double()


def batch():
    torch.manual_seed(1)
    return torch.randn(16, 6, dtype=torch.float64), torch.arange(16) % 3


def step(model, lr=0.1):
    x, y = batch()
    model.zero_grad()
    with altprop.targets(y):
        F.cross_entropy(model(x), y).backward()
    found = {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}
    torch.optim.SGD(model.parameters(), lr).step()
    return found


def assert_equal(found, expected):
    assert list(found) == list(expected)
    for name, value in expected.items():
        assert torch.equal(found[name], value), name


def test_state_and_buffers_are_there_from_the_start(rule):
    model = network()
    attach_quietly(rule, model)
    before = list(model.state_dict()), [name for name, _ in model.named_buffers()]
    step(model)
    assert before == (list(model.state_dict()), [name for name, _ in model.named_buffers()])


@pytest.mark.parametrize("use_buffers", [False, True])
@pytest.mark.parametrize("ema", [False, True])
def test_a_weight_average_may_be_made_before_the_first_batch(rule, ema, use_buffers):
    model = network()
    attach_quietly(rule, model)
    options = {"multi_avg_fn": get_ema_multi_avg_fn(0.5)} if ema else {}
    average = AveragedModel(model, use_buffers=use_buffers, **options)
    average.update_parameters(model)
    start = model[2].weight.detach().clone()
    step(model)
    average.update_parameters(model)
    torch.testing.assert_close(average.module[2].weight, (start + model[2].weight) / 2, rtol=0, atol=1e-12)
    if not ema:
        model.load_state_dict(average.module.state_dict())
        assert_equal(step(average.module, 0), step(model, 0))


def test_a_mean_over_the_values_of_the_state_dict_as_timm_takes_it(rule):
    model = network()
    attach_quietly(rule, model)
    average = copy.deepcopy(model)
    start = model[4].weight.detach().clone()
    step(model)
    with torch.no_grad():
        for mean, value in zip(average.state_dict().values(), model.state_dict().values(), strict=True):
            mean.copy_(0.5 * mean + 0.5 * value if value.is_floating_point() else value)
    torch.testing.assert_close(average[4].weight, (start + model[4].weight) / 2)
    model.load_state_dict(average.state_dict())
    assert_equal(step(average), step(model))


def test_a_mean_by_the_keys_of_an_early_state_dict(rule):
    model = network()
    attach_quietly(rule, model)
    mean = copy.deepcopy(model.state_dict())
    step(model)
    for key, value in model.state_dict().items():
        mean[key].copy_(value)
    other = network()
    attach_quietly(rule, other)
    other.load_state_dict(mean)
    assert_equal(step(other), step(model))


def test_a_projection_is_a_function_of_seed_and_name():
    model = network()
    altprop.DFA(seed=3).attach(model)
    step(model)
    expected = draw((3, 8), "2.feedback_projection", 3, init="normal", normalize=True, skew=None)
    assert torch.equal(model[2].feedback_projection, expected.double())


def test_another_seed_from_a_checkpoint_brings_other_projections():
    model, other = network(), network()
    altprop.DFA(seed=3).attach(model)
    altprop.DFA(seed=4).attach(other)
    step(model, 0), step(other, 0)
    B = other[2].feedback_projection
    assert not torch.equal(B, model[2].feedback_projection)
    other.load_state_dict(model.state_dict())
    assert other[2].feedback_projection is B, "in place, for what is compiled"
    assert_equal(step(other), step(model))


def test_another_seed_that_is_written_in_place_brings_other_projections():
    model, other = network(), network()
    altprop.DFA(seed=3).attach(model)
    altprop.DFA(seed=4).attach(other)
    step(other, 0)
    other.direct_seed.fill_(3)
    assert_equal(step(other, 0), step(model, 0))


def with_weights_of(model):
    return altprop.DFA(seed=0, init=lambda B: B.copy_(model[-1].weight))


def test_projections_that_a_function_draws_are_saved():
    model = network()
    with_weights_of(model).attach(model)
    step(model)
    state = model.state_dict()
    assert list(state)[-2:] == ["2.feedback_projection", "4.feedback_projection"]
    other = network()
    altprop.DFA(seed=0, init=lambda B: B.zero_()).attach(other)
    other.load_state_dict(state)
    assert_equal(step(other), step(model))


@pytest.mark.parametrize("way", ["copy", "deepcopy", "saved"])
def test_projections_that_are_changed_by_hand_are_saved(way):
    model = network()
    altprop.DFA(seed=3).attach(model)
    step(model)
    model[4].feedback_projection.copy_(torch.ones(3, 8))
    if way == "deepcopy":
        model = copy.deepcopy(model)
    if way == "saved":
        stored = io.BytesIO()
        torch.save(model, stored)
        stored.seek(0)
        model = torch.load(stored, weights_only=False)
    assert list(model.state_dict())[-1] == "4.feedback_projection"
    assert "2.feedback_projection" not in model.state_dict()
    for drawn in (False, True):
        other = network()
        altprop.DFA(seed=3).attach(other)
        if drawn:
            step(other)
        other.load_state_dict(model.state_dict())
        assert_equal(step(other, 0), step(model, 0))


def test_a_checkpoint_in_which_every_projection_is_a_buffer_is_read():
    model = network()
    altprop.DFA(seed=3).attach(model)
    step(model)
    old = dict(model.state_dict())
    for place in (2, 4):
        old[f"{place}.feedback_projection"] = torch.randn(3, 8, dtype=torch.float64)
    other = network()
    altprop.DFA(seed=8).attach(other)
    assert not any(other.load_state_dict(old))
    step(other)
    for place in (2, 4):
        assert torch.equal(other[place].feedback_projection, old[f"{place}.feedback_projection"])
    other.load_state_dict(model.state_dict())
    assert torch.equal(other[2].feedback_projection, model[2].feedback_projection)


@pytest.mark.parametrize("rule", [altprop.DFA(seed=3), altprop.DRTP(seed=3)], ids=repr)
def test_projections_go_where_the_model_goes(rule):
    model = network()
    attach_quietly(rule, model)
    step(model, 0)
    model.float()
    x, y = batch()
    with altprop.targets(y):
        model(x.float()).sum().backward()
    assert model[2].feedback_projection.dtype is torch.float32
    assert list(model.state_dict())[-1] == "direct_seed" or "direct_seed" in model.state_dict()
    assert not [key for key in model.state_dict() if "projection" in key]


def test_compiled_models_follow_a_seed_that_is_loaded():
    torch._dynamo.reset()
    model, other = network(), network()
    altprop.DFA(seed=3).attach(model)
    altprop.DFA(seed=4).attach(other)
    step(model, 0), step(other, 0)
    compiled = torch.compile(other, fullgraph=True, backend="aot_eager")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch's own, while it traces
        x, y = batch()
        F.cross_entropy(compiled(x), y).backward()
        other.load_state_dict(model.state_dict())
        other.zero_grad()
        F.cross_entropy(compiled(x), y).backward()
    found = {name: p.grad for name, p in other.named_parameters()}
    for name, value in step(model, 0).items():
        torch.testing.assert_close(found[name], value)


@pytest.mark.parametrize("drawn", [False, True])
def test_another_seed_may_be_assigned(drawn):
    model, other = network(), network()
    altprop.DFA(seed=3).attach(model)
    altprop.DFA(seed=4).attach(other)
    if drawn:
        step(other, 0)
    other.load_state_dict(copy.deepcopy(model.state_dict()), assign=True)
    assert_equal(step(other, 0), step(model, 0))


def test_a_seed_outlives_the_meta_device():
    with torch.device("meta"):
        model = nn.Sequential(nn.Linear(6, 8), nn.Tanh(), nn.Linear(8, 3))
    altprop.DFA(seed=3).attach(model)
    model.to_empty(device="cpu")
    for parameter in model.parameters():
        nn.init.normal_(parameter)
    model(torch.randn(2, 6)).sum().backward()
    assert model.direct_seed == 3
    assert torch.equal(
        model[2].feedback_projection, draw((3, 8), "2.feedback_projection", 3, init="normal", normalize=True, skew=None)
    )
