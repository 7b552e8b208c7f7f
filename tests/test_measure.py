"""Measures against loops over their definitions; and looking changes nothing."""

import copy
import math
from functools import partial

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional as F

import altprop
from altprop import Attachment, _preserve, measure, rewards
from altprop._preserve import preserved


class Scaled(altprop.Rule):
    """Backprop with each gradient multiplied, entry by entry, by a factor that ``factor_of(parameter)`` gives."""

    def __init__(self, factor_of):
        self.factor_of = factor_of

    def _install(self, model):
        def scale(parameter, g):
            return g * self.factor_of(parameter) if Attachment.of(model).active else None

        model.__dict__["handles"] = [p.register_hook(partial(scale, p)) for p in model.parameters()]

    def _uninstall(self, model):
        for handle in model.__dict__.pop("handles"):
            handle.remove()


def wavy(parameter):
    """A factor of mixed signs, some of them zero, that differs from entry to entry."""
    factor = torch.arange(parameter.numel(), dtype=torch.float64).sub(2.0).cos().view_as(parameter)
    return torch.where(factor < -0.5, 0, factor).to(parameter)


def plain_net():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(4, 6), nn.Tanh(), nn.Sequential(nn.Linear(6, 5, bias=False)), nn.Linear(5, 3))


def restless_net():
    """A network whose forward pass has side effects, in training mode."""
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Linear(4, 8),
        nn.BatchNorm1d(8),
        nn.ReLU(),
        nn.Dropout(0.5),
        nn.Linear(8, 8),
        nn.Dropout(0.2),
        nn.Linear(8, 3),
    )


def batches_of(count, size=8):
    generator = torch.Generator().manual_seed(1)
    return [
        (torch.randn(size, 4, generator=generator), torch.randint(3, (size,), generator=generator))
        for _ in range(count)
    ]


def entries(tensors):
    return [value for tensor in tensors for value in tensor.flatten().tolist()]


def cosine(u, v):
    dot = sum(a * b for a, b in zip(u, v, strict=True))
    return dot / math.sqrt(sum(a * a for a in u)) / math.sqrt(sum(b * b for b in v))


def norm_ratio(u, v):
    return math.sqrt(sum(a * a for a in u) / sum(b * b for b in v))


def sparsity(u, v):
    return sum(a == 0 for a in u) / len(u)


ORACLES = {"cosine": cosine, "norm_ratio": norm_ratio, "sparsity": sparsity}
GROUPS = {
    "total": ["0.weight", "0.bias", "2.0.weight", "3.weight", "3.bias"],
    "biases": ["0.bias", "3.bias"],
    "layer 0": ["0.weight", "0.bias"],
    "layer 2.0": ["2.0.weight"],
    "layer 3": ["3.weight", "3.bias"],
    "parameter 0.weight": ["0.weight"],
    "parameter 0.bias": ["0.bias"],
    "parameter 2.0.weight": ["2.0.weight"],
    "parameter 3.weight": ["3.weight"],
    "parameter 3.bias": ["3.bias"],
}


def flatten(scores):
    layers = {f"layer {name}": value for name, value in scores.layers.items()}
    parameters = {f"parameter {name}": value for name, value in scores.parameters.items()}
    return {"total": scores.total, "biases": scores.biases} | layers | parameters


def assert_same_scores(found, expected):
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        assert found[name] == pytest.approx(value, rel=1e-6, nan_ok=True), name


def test_equals_the_loop_over_batches_and_entries():
    model, batches = plain_net(), batches_of(3)
    expected = {kind: dict.fromkeys(GROUPS, 0.0) for kind in ORACLES}
    for x, y in batches:
        plain = copy.deepcopy(model)
        F.cross_entropy(plain(x), y).backward()
        gradient = {name: p.grad for name, p in plain.named_parameters()}
        update = {name: p.grad * wavy(p) for name, p in plain.named_parameters()}
        for kind, oracle in ORACLES.items():
            for group, names in GROUPS.items():
                u, v = entries(update[n] for n in names), entries(gradient[n] for n in names)
                expected[kind][group] += oracle(u, v) / len(batches)
    with Scaled(wavy).attach(model):
        comparison = measure.compare_with_backprop(model, F.cross_entropy, batches)
    assert comparison.batches == 3
    for kind in ORACLES:
        assert_same_scores(flatten(getattr(comparison, kind)), expected[kind])


def test_backprop_agrees_with_itself():
    model = restless_net()
    with altprop.Backprop().attach(model):
        comparison = measure.compare_with_backprop(model, F.cross_entropy, batches_of(2))
    # The first layer's bias is undone by the batch norm behind it: its gradient is rounding, but the same rounding.
    for value in (flatten(comparison.cosine) | flatten(comparison.norm_ratio)).values():
        assert value == pytest.approx(1.0, abs=1e-12)


def test_shallow_leaves_the_hidden_layers_at_zero():
    model = restless_net()
    with altprop.Shallow().attach(model):
        comparison = measure.compare_with_backprop(model, F.cross_entropy, batches_of(2))
    hidden = ["0", "1", "4"]
    assert list(comparison.cosine.layers) == [*hidden, "6"]
    for layer in hidden:
        assert comparison.cosine.layers[layer] == 0
        assert comparison.norm_ratio.layers[layer] == 0
        assert comparison.sparsity.layers[layer] == 1
    assert comparison.cosine.layers["6"] == pytest.approx(1)
    assert 0 < comparison.cosine.total < 1


@settings(max_examples=15, deadline=None)
@given(factor=st.floats(1e-3, 1e3), sign=st.sampled_from([-1, 1]))
def test_a_uniform_factor_changes_the_length_alone(factor, sign):
    model = restless_net()
    with Scaled(lambda parameter: sign * factor).attach(model):
        comparison = measure.compare_with_backprop(model, F.cross_entropy, batches_of(1))
    for value in flatten(comparison.cosine).values():
        assert value == pytest.approx(sign, abs=1e-6)
    for value in flatten(comparison.norm_ratio).values():
        assert value == pytest.approx(factor, rel=1e-5)


def test_both_passes_see_the_same_masks_and_each_batch_sees_new_ones():
    seen = []

    def step(model, batch):
        x, y = batch
        seen.append(model[3](torch.ones(1, 64)))
        return F.cross_entropy(model(x), y)

    model = restless_net()
    with altprop.Backprop().attach(model):
        measure.compare_with_backprop(model, batches=batches_of(3), step=step)
    assert len(seen) == 6
    assert all(torch.equal(seen[i], seen[i + 1]) for i in (0, 2, 4))
    assert not torch.equal(seen[0], seen[2])
    assert not torch.equal(seen[2], seen[4])


def snapshot(model):
    """All that must not change; gradients by identity too."""
    return {
        "values": {name: value.clone() for name, value in model.state_dict().items()},
        "gradients": [(id(p.grad), None if p.grad is None else p.grad.clone()) for p in model.parameters()],
        "training": [module.training for module in model.modules()],
        "random state": torch.get_rng_state(),
        "hooks": [len(module._forward_pre_hooks) for module in model.modules()],
    }


def assert_same_snapshot(now, before):
    torch.testing.assert_close(now, before, rtol=0, atol=0, equal_nan=True)


def half_trained(model):
    """A model in the middle of accumulation: some parameters have gradients, others none; one module is in eval."""
    x, y = batches_of(1)[0]
    F.cross_entropy(model(x), y).backward()
    model[6].weight.grad = None
    model[5].eval()
    return model


def test_comparing_leaves_everything_as_it_was():
    model = half_trained(restless_net())
    loader = torch.utils.data.DataLoader(
        torch.utils.data.TensorDataset(*batches_of(1, size=16)[0]), batch_size=8, shuffle=True
    )
    with Scaled(wavy).attach(model):
        before = snapshot(model)
        measure.compare_with_backprop(model, F.cross_entropy, loader)
        assert_same_snapshot(snapshot(model), before)


class Shrinking(nn.Linear):
    """A layer that halves its own weights whenever it runs."""

    def forward(self, x):
        self.weight.data.mul_(0.5)
        return super().forward(x)


def test_both_passes_see_the_same_weights_where_a_model_writes_its_own():
    """Backprop agrees with itself on every batch, which it would not from weights half as large."""
    torch.manual_seed(0)
    model = nn.Sequential(Shrinking(4, 6), nn.Tanh(), nn.Linear(6, 3))
    before = model[0].weight.detach().clone()
    with altprop.Backprop().attach(model):
        found = measure.compare_with_backprop(model, F.cross_entropy, batches_of(3))
    assert set(found.norm_ratio.parameters.values()) == {1.0}
    assert model[0].weight.equal(before)


def test_the_weights_are_not_copied_again_for_each_batch(monkeypatch):
    model, copied = plain_net(), []
    of_weights = set(map(id, model.parameters()))
    writable = _preserve._writable

    def recorded(tensors):
        found = writable(tensors)
        copied.extend(found)
        return found

    monkeypatch.setattr(_preserve, "_writable", recorded)
    with altprop.Backprop().attach(model):
        measure.compare_with_backprop(model, F.cross_entropy, batches_of(4))
    assert sum(id(tensor) in of_weights for tensor in copied) == 2 * len(of_weights)  # around all, and the first batch


def test_comparing_leaves_everything_as_it_was_after_an_exception():
    model = half_trained(restless_net())
    calls = []

    def fail_late(output, target):
        calls.append(output)
        if len(calls) == 4:
            raise ZeroDivisionError
        return F.cross_entropy(output, target)

    with Scaled(wavy).attach(model) as attachment:
        before = snapshot(model)
        with pytest.raises(ZeroDivisionError):
            measure.compare_with_backprop(model, fail_late, batches_of(3))
        assert_same_snapshot(snapshot(model), before)
        assert attachment.active


def test_works_where_gradients_are_switched_off():
    model = plain_net()
    with altprop.Backprop().attach(model), torch.no_grad():
        assert measure.compare_with_backprop(model, F.cross_entropy, batches_of(1)).cosine.total == pytest.approx(1)


class Drawn(altprop.Rule):
    """A rule that draws a buffer when it first runs, from torch's random state, as direct rules do."""

    def _install(self, model):
        def draw(module, inputs):
            if Attachment.of(module).active and "projection" not in module._buffers:
                module.register_buffer("projection", torch.randn(3))

        model.__dict__["handle"] = model.register_forward_pre_hook(draw)

    def _uninstall(self, model):
        model.__dict__.pop("handle").remove()
        model._buffers.pop("projection", None)


def test_what_a_rule_draws_while_it_is_compared_is_taken_back():
    model = restless_net()
    with Drawn().attach(model):
        before = snapshot(model)
        measure.compare_with_backprop(model, F.cross_entropy, batches_of(2))
        assert_same_snapshot(snapshot(model), before)


class OwnParameter(altprop.Rule):
    """A rule with a parameter of its own, which it alone trains, as Kolen and Pollack's does."""

    def _install(self, model):
        layer = model[0]
        layer.feedback_weight = nn.Parameter(torch.randn_like(layer.weight))

        def teach(g):
            if Attachment.of(model).active:
                layer.feedback_weight.grad = g.clone()

        model.__dict__["handle"] = layer.weight.register_hook(teach)

    def _uninstall(self, model):
        model.__dict__.pop("handle").remove()
        del model[0].feedback_weight


def test_parameters_that_only_the_rule_trains_are_left_out():
    model = plain_net()
    names = [name for name, _ in model.named_parameters()]
    with OwnParameter().attach(model):
        comparison = measure.compare_with_backprop(model, F.cross_entropy, batches_of(1))
    assert list(comparison.cosine.parameters) == names
    assert comparison.cosine.total == pytest.approx(1)


def test_frozen_parameters_are_left_out_and_unused_ones_count_as_zero():
    model = plain_net()
    model[0].weight.requires_grad_(False)
    model.register_parameter("unused", nn.Parameter(torch.ones(2)))
    with altprop.Backprop().attach(model):
        comparison = measure.compare_with_backprop(model, F.cross_entropy, batches_of(1))
    assert "0.weight" not in comparison.cosine.parameters
    assert math.isnan(comparison.cosine.parameters["unused"])
    assert math.isnan(comparison.norm_ratio.layers[""])
    assert comparison.sparsity.parameters["unused"] == 1
    assert comparison.cosine.total == pytest.approx(1)
    assert comparison.sparsity.total == pytest.approx(2 / (2 + 6 + 30 + 15 + 3))


def test_the_cosine_of_zero_vectors():
    model = plain_net()
    flat = [p for name, p in model.named_parameters() if name.startswith("3")]
    with Scaled(lambda p: 0.0 if any(p is q for q in flat) else 1.0).attach(model):
        comparison = measure.compare_with_backprop(model, F.cross_entropy, batches_of(1))
        nothing = measure.compare_with_backprop(model, lambda o, y: 0 * F.cross_entropy(o, y), batches_of(1))
    assert comparison.cosine.layers["3"] == 0
    assert comparison.norm_ratio.layers["3"] == 0
    assert all(math.isnan(value) for value in flatten(nothing.cosine).values())
    assert all(math.isnan(value) for value in flatten(nothing.norm_ratio).values())
    assert all(value == 1 for value in flatten(nothing.sparsity).values())


def test_an_update_without_a_gradient_is_infinitely_long():
    model = plain_net()
    x, y = batches_of(1)[0]

    def step(model, batch):
        return F.cross_entropy(model(x), y) * (1.0 if Attachment.of(model).active else 0.0)

    with altprop.Backprop().attach(model):
        comparison = measure.compare_with_backprop(model, batches=[None], step=step)
    assert comparison.norm_ratio.total == math.inf
    assert comparison.cosine.total == 0


def test_averages_leave_out_undefined_batches_but_not_broken_ones():
    (x, y), other = batches_of(2)

    def scaled_loss(output, target):
        return F.cross_entropy(output, target[1]) * target[0]

    def compare(factor):
        model = plain_net()
        with Scaled(wavy).attach(model):
            batches = [(x, (1.0, y)), (other[0], (factor, other[1]))]
            return measure.compare_with_backprop(model, scaled_loss, batches, 1 if factor is None else None)

    assert flatten(compare(0.0).cosine) == flatten(compare(None).cosine)
    assert all(math.isnan(value) for value in flatten(compare(math.nan).cosine).values())


def test_the_threshold_counts_small_entries_as_zero():
    model = plain_net()
    with altprop.Backprop().attach(model):
        sparsities = [
            measure.compare_with_backprop(model, F.cross_entropy, batches_of(1), threshold=t).sparsity.total
            for t in (0.0, 0.02, 10.0)
        ]
    assert sparsities[0] == 0 < sparsities[1] < sparsities[2] == 1


def test_max_batches_takes_no_more_from_an_iterator():
    model, source = plain_net(), iter(batches_of(5))
    with altprop.Backprop().attach(model):
        assert measure.compare_with_backprop(model, F.cross_entropy, source, 2).batches == 2
    assert len(list(source)) == 3


def test_a_step_takes_any_kind_of_batch():
    model = plain_net()
    batches = [{"inputs": x, "labels": y} for x, y in batches_of(2)]
    with Scaled(wavy).attach(model):
        by_step = measure.compare_with_backprop(
            model, batches=batches, step=lambda m, b: F.cross_entropy(m(b["inputs"]), b["labels"])
        )
        by_objective = measure.compare_with_backprop(model, F.cross_entropy, batches_of(2))
    assert by_step == by_objective


def test_rewards_are_objectives():
    model = plain_net()
    with altprop.Backprop().attach(model):
        reward = rewards.Misclassification()
        assert measure.compare_with_backprop(model, reward, batches_of(1)).cosine.total == pytest.approx(1)


def test_finds_the_attachment_within_a_wrapper():
    inner, wrapped = plain_net(), plain_net()
    with Scaled(wavy).attach(inner):
        expected = measure.compare_with_backprop(inner, F.cross_entropy, batches_of(1))
    wrapper = nn.Sequential(wrapped)
    with Scaled(wavy).attach(wrapped):
        found = measure.compare_with_backprop(wrapper, F.cross_entropy, batches_of(1))
    assert found.cosine.total == expected.cosine.total


def one_linear():
    return altprop.Backprop().attach(nn.Linear(4, 3)).model


X, Y = torch.zeros(2, 4), torch.zeros(2, dtype=torch.int64)
BAD_CALLS = {
    "no rule": (lambda: (nn.Linear(4, 3), F.cross_entropy, [(X, Y)]), {}, ValueError, "No rule is attached.*Attach"),
    "no batches": (lambda: (one_linear(), F.cross_entropy, []), {}, ValueError, "no batch"),
    "no objective": (lambda: (one_linear(), None, [(X, Y)]), {}, ValueError, "got neither"),
    "two objectives": (lambda: (one_linear(), F.cross_entropy, [(X, Y)]), {"step": max}, ValueError, "got both"),
    "a dict": (lambda: (one_linear(), F.cross_entropy, [{"x": X}]), {}, TypeError, "got a dict.*step="),
    "a triple": (lambda: (one_linear(), F.cross_entropy, [(X, X, Y)]), {}, TypeError, "got a tuple of 3"),
    "a loss per sample": (lambda: (one_linear(), lambda o, y: o, [(X, Y)]), {}, TypeError, r"\(2, 3\).*mean"),
    "a loss that is a float": (lambda: (one_linear(), lambda o, y: 0.0, [(X, Y)]), {}, TypeError, "a float"),
}  # fmt: skip


@pytest.mark.parametrize("case", BAD_CALLS)
def test_bad_calls_are_explained(case):
    make, options, error, message = BAD_CALLS[case]
    with pytest.raises(error, match=message):
        measure.compare_with_backprop(*make(), **options)


def test_update_sparsity_counts_zeros_of_the_current_gradients():
    model = plain_net()
    with Scaled(wavy).attach(model):
        F.cross_entropy(model(batches_of(1)[0][0]), batches_of(1)[0][1]).backward()
    model[3].bias.grad = None
    found = flatten(measure.update_sparsity(model))
    gradients = {n: torch.zeros_like(p) if p.grad is None else p.grad for n, p in model.named_parameters()}
    assert found == {g: sparsity(entries(gradients[n] for n in names), None) for g, names in GROUPS.items()}
    assert measure.update_sparsity(model, threshold=math.inf).total == 1


def test_update_sparsity_reads_sparse_gradients():
    embedding = nn.Embedding(4, 2, sparse=True)
    embedding(torch.tensor([1, 1])).sum().backward()
    assert measure.update_sparsity(embedding).total == 0.75


def test_update_sparsity_without_gradients_is_explained():
    with pytest.raises(ValueError, match="backward"):
        measure.update_sparsity(plain_net())


def test_weight_measures_equal_the_loop():
    model = plain_net()
    model[0].feedback_weight = torch.randn(6, 4)
    model[2][0].register_buffer("feedback_weight", torch.randn(5, 6))
    model[3].feedback_weight = nn.Parameter(-model[3].weight.detach())
    layers = {"0": model[0], "2.0": model[2][0], "3": model[3]}
    found = measure.weight_alignment(model)
    for scores, oracle in ((found.cosine, cosine), (found.norm_ratio, norm_ratio)):
        expected = {n: oracle(entries([m.feedback_weight]), entries([m.weight])) for n, m in layers.items()}
        assert scores.layers == pytest.approx(expected)
        feedback = entries(m.feedback_weight for m in layers.values())
        assert scores.total == pytest.approx(oracle(feedback, entries(m.weight for m in layers.values())))
    assert found.cosine.layers["3"] == pytest.approx(-1)


def test_weight_measures_take_an_attentions_input_projections_together():
    model = nn.TransformerEncoderLayer(4, 2, 6)
    with altprop.FeedbackAlignment().attach(model):
        found = measure.weight_alignment(model)
        attention = model.self_attn
        expected = cosine(entries([attention.in_proj_feedback_weight]), entries([attention.in_proj_weight]))
    assert list(found.cosine.layers) == ["self_attn", "self_attn.out_proj", "linear1", "linear2"]
    assert found.cosine.layers["self_attn"] == pytest.approx(expected)


def test_weight_measures_pass_over_layers_without_matching_feedback():
    model = plain_net()
    assert measure.weight_alignment(model).cosine.layers == {}
    assert math.isnan(measure.weight_alignment(model).cosine.total)
    model[0].feedback_weight = None
    model[1].feedback_weight = torch.ones(2)
    model[3].feedback_weight = torch.ones(5, 3)
    assert measure.weight_alignment(model).norm_ratio.layers == {}


def test_weight_measures_of_zero_weights():
    layer = nn.Linear(2, 2)
    layer.feedback_weight = torch.zeros(2, 2)
    assert measure.weight_alignment(layer).cosine.layers == {"": 0.0}
    nn.init.zeros_(layer.weight)
    assert math.isnan(measure.weight_alignment(layer).cosine.layers[""])


def test_preserved_restores_whatever_the_block_does():
    model = half_trained(restless_net())
    before = snapshot(model)
    with pytest.raises(ZeroDivisionError), preserved(model):
        assert all(p.grad is None for p in model.parameters())
        model.eval()
        model(torch.randn(8, 4)).sum().backward()
        with torch.no_grad():
            model[0].weight.fill_(math.nan)
            model[1].running_mean.zero_()
        model.register_buffer("extra", torch.ones(1))
        model[0].bias = None
        model.append(nn.Linear(3, 3))
        raise ZeroDivisionError
    assert_same_snapshot(snapshot(model), before)
    assert len(model) == 7


def test_preserved_keeps_graphs_from_before_usable():
    model = plain_net()
    loss = model(torch.randn(2, 4)).sum()
    with preserved(model):
        model(torch.randn(2, 4)).sum().backward()
    loss.backward()
    assert model[0].weight.grad is not None


def test_preserved_takes_buffers_that_cannot_be_written_to():
    model = nn.Linear(2, 2)
    model.register_buffer("expanded", torch.ones(1).expand(3))
    model.register_buffer("nothing", None)
    with preserved(model):
        model(torch.ones(1, 2))
    assert model.expanded.tolist() == [1, 1, 1]


def test_preserved_explains_lazy_parameters():
    with (
        pytest.raises(ValueError, match=r"shapes of 0\.weight, 0\.bias .*one batch first"),
        preserved(nn.Sequential(nn.LazyLinear(2))),
    ):
        pass


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs CUDA")
def test_comparing_on_cuda_leaves_everything_as_it_was():
    model = half_trained(restless_net()).cuda()
    batches = [(x.cuda(), y.cuda()) for x, y in batches_of(2)]
    with altprop.Backprop().attach(model):
        before = snapshot(model), torch.cuda.get_rng_state()
        comparison = measure.compare_with_backprop(model, F.cross_entropy, batches)
        assert_same_snapshot((snapshot(model), torch.cuda.get_rng_state()), before)
    assert comparison.cosine.total == pytest.approx(1)


def test_the_gini_index_is_hurley_and_rickards():
    values = torch.tensor([[1.0, -2.0, 0.5, 0.0], [0.0, 0.0, 0.0, 0.0]])
    ordered = [0.0, 0.5, 1.0, 2.0]
    expected = 1 - 2 * sum(c / 3.5 * (4 - k + 0.5) / 4 for k, c in enumerate(ordered, 1))
    found = measure.gini(values)
    assert found[0].item() == pytest.approx(expected)
    assert math.isnan(found[1])


def test_the_gini_index_knows_no_scale_and_no_copies_and_rises_as_the_rich_get_richer():
    values = torch.rand(50, generator=torch.Generator().manual_seed(0))
    whole = measure.gini(values)
    torch.testing.assert_close(measure.gini(7 * values), whole)
    torch.testing.assert_close(measure.gini(values.repeat(3)), whole)
    richer = values + torch.where(values == values.max(), 10.0, 0.0)
    assert measure.gini(richer) > whole
    assert measure.gini(values + 10) < whole


def test_a_comparison_without_the_output_layer_is_that_of_the_others():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(4, 8), nn.Tanh(), nn.Linear(8, 5), nn.Tanh(), nn.Linear(5, 3))
    batches = [(torch.randn(16, 4), torch.randint(3, (16,))) for _ in range(2)]
    with altprop.DFA(seed=1).attach(model):
        compared = altprop.measure.compare_with_backprop(model, F.cross_entropy, batches)
    hidden = compared.without("4")
    assert hidden.batches == 2
    assert hidden.cosine.layers == {name: compared.cosine.layers[name] for name in ("0", "2")}
    assert hidden.without("2").cosine.total == pytest.approx(compared.cosine.layers["0"])
    assert hidden.without("2").sparsity.total == compared.sparsity.layers["0"]
    assert compared.without().cosine == compared.cosine
    assert math.isnan(compared.without("0", "2", "4").cosine.total)
