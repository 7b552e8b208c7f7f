"""Flipping curves against closed forms and loops, the forms of their arguments, and LRP against chance."""

from functools import partial

import pytest
import torch
from torch import nn

import altprop
from altprop.explain.evaluation import pixel_flipping, quantus_explain_func
from tests.explain.digits import trained


def normal(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def linear_model(features=12, classes=3):
    torch.manual_seed(0)
    return nn.Sequential(nn.Flatten(), nn.Linear(features, classes)).double()


def contributions(model, x, target):
    return (model[1].weight.detach()[target] * x.flatten(1)).view_as(x)


@pytest.mark.parametrize("order", ["most", "least"])
@pytest.mark.parametrize("shape", [(5, 12), (5, 1, 12), (5, 1, 3, 4), (5, 1, 2, 3, 2)])
def test_a_linear_models_curve_is_the_sum_of_the_contributions_that_are_left(shape, order):
    model, x, target = linear_model(), normal(*shape), torch.tensor([0, 1, 2, 0, 1])
    relevance = contributions(model, x, target)
    curves = pixel_flipping(model, x, relevance, target, order=order, baseline="zero")
    sequence = relevance.flatten(1).sort(dim=1, descending=order == "most").values
    taken = torch.cat([torch.zeros(5, 1), sequence.cumsum(1)], dim=1)
    full = model(x).detach()[torch.arange(5), target]
    torch.testing.assert_close(curves.scores, full[:, None] - taken)
    torch.testing.assert_close(curves.fraction, torch.arange(13) / 12)
    heights = curves.scores
    torch.testing.assert_close(curves.area, ((heights[:, 1:] + heights[:, :-1]) / 2).mean(1))
    torch.testing.assert_close(curves.mean, heights.mean(0))


def test_the_right_order_has_the_smallest_area_and_its_reverse_the_largest():
    model, x = linear_model(), normal(20, 1, 3, 4)
    relevance = contributions(model, x, torch.zeros(20, dtype=torch.long))
    right, chance, reverse = (
        pixel_flipping(model, x, relevance, 0, order=order, baseline="zero").area
        for order in ("most", "random", "least")
    )
    assert (right < chance).all()
    assert (chance < reverse).all()
    inverted = pixel_flipping(model, x, -relevance, 0, baseline="zero").area
    torch.testing.assert_close(inverted, reverse)


def loop_over_patches(model, x, relevance, target, size, baseline):
    """One image at a time, one patch at a time; patches as (row, column) slices."""
    curves = []
    for image, own, stand_in in zip(x, relevance, baseline, strict=True):
        height, width = image.shape[1:]
        patches = [
            (slice(None), slice(i, i + size[0]), slice(j, j + size[1]))
            for i in range(0, height, size[0])
            for j in range(0, width, size[1])
        ]
        patches.sort(key=lambda patch: own[patch].sum().item(), reverse=True)
        flipped = image.clone()
        curve = [model(flipped[None])[0, target]]
        for patch in patches:
            flipped[patch] = stand_in[patch]
            curve.append(model(flipped[None])[0, target])
        curves.append(torch.stack(curve))
    return torch.stack(curves).detach()


@pytest.mark.parametrize("batch_size", [1, 2, 256])
@pytest.mark.parametrize("size", [(2, 2), (2, 3), (4, 5), (1, 1)])
def test_patches_span_the_channels_and_go_one_after_the_other(size, batch_size):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(2, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(24, 3)).double()
    x, relevance = normal(3, 2, 4, 5), normal(3, 2, 4, 5, seed=1)
    expected = loop_over_patches(model, x, relevance, 1, size, x.mean((2, 3), keepdim=True).expand_as(x))
    curves = pixel_flipping(model, x, relevance, 1, patch_size=size, batch_size=batch_size)
    torch.testing.assert_close(curves.scores, expected)


def test_tokens_have_their_channels_last():
    class Head(nn.Module):
        def forward(self, x):
            return x.mean(1)

    x, relevance = normal(3, 6, 4), normal(3, 6, 4, seed=1)
    curves = pixel_flipping(Head(), x, relevance, 2, patch_size=2, channel_dim=-1, baseline="zero")
    transposed = pixel_flipping(lambda_module(lambda x: x.mean(2)), x.mT, relevance.mT, 2, patch_size=2, baseline=0.0)
    assert curves.scores.shape == (3, 4)
    torch.testing.assert_close(curves.scores, transposed.scores)


def lambda_module(function):
    module = nn.Module()
    module.forward = function
    return module


def gaussian(side):
    deviation = max(1.0, side / 16)
    kernel = (
        torch.tensor([[-0.5 * ((i - j) / deviation) ** 2 for j in range(side)] for i in range(side)]).exp().double()
    )
    return kernel / kernel.sum(1, keepdim=True)


BASELINES = {
    "zero": torch.zeros_like,
    "mean": lambda x: torch.stack([torch.stack([torch.full_like(c, c.mean()) for c in image]) for image in x]),
    "blur": lambda x: torch.einsum("yi,bcij,xj->bcyx", gaussian(4), x, gaussian(20)),
    2.5: lambda x: torch.full_like(x, 2.5),
}


@pytest.mark.parametrize("name", BASELINES)
def test_baselines_are_what_they_are_called(name):
    shown = []

    def score(output):
        shown.append(output)
        return output.flatten(1)[:, :1]

    x = normal(3, 2, 4, 20)
    pixel_flipping(nn.Identity(), x, x, 0, baseline=name, steps=1, score=score)
    torch.testing.assert_close(shown[-1], BASELINES[name](x), rtol=1e-5, atol=1e-5)


def test_noise_lies_within_each_examples_values_and_repeats():
    shown = []

    def score(output):
        shown.append(output)
        return output.flatten(1)[:, :1]

    x = normal(3, 2, 8, 8)
    flip = partial(pixel_flipping, nn.Identity(), x, x, 0, baseline="uniform", steps=1, score=score)
    flip(seed=1), flip(seed=1), flip(seed=2)
    first, second, other = shown[2], shown[5], shown[8]
    assert torch.equal(first, second)
    assert not torch.equal(first, other)
    assert (first.amax((2, 3)) <= x.amax((2, 3))).all()
    assert (first.amin((2, 3)) >= x.amin((2, 3))).all()
    assert len(first.unique()) == first.numel()


@pytest.mark.parametrize("batch_size", [2, 256])
def test_a_baseline_may_be_a_tensor_for_each_example(batch_size):
    model, x, relevance = linear_model(), normal(5, 1, 3, 4), normal(5, 1, 3, 4, seed=1)
    own = normal(5, 1, 3, 4, seed=2)
    curves = pixel_flipping(model, x, relevance, 0, baseline=own, batch_size=batch_size)
    torch.testing.assert_close(curves.scores[:, -1], model(own)[:, 0].detach())


def test_baselines_may_be_tensors_and_functions():
    model, x, relevance = linear_model(), normal(5, 1, 3, 4), normal(5, 1, 3, 4, seed=1)
    constant = normal(1, 3, 4, seed=2)
    given = pixel_flipping(model, x, relevance, 0, baseline=constant)
    made = pixel_flipping(model, x, relevance, 0, baseline=constant.expand_as)
    torch.testing.assert_close(given.scores, made.scores)
    torch.testing.assert_close(given.scores[:, -1], model(constant)[:, 0].expand(5).detach())


def test_fewer_steps_and_a_fraction_see_the_same_curve():
    model, x, relevance = linear_model(), normal(5, 1, 3, 4), normal(5, 1, 3, 4, seed=1)
    full = pixel_flipping(model, x, relevance, 0)
    coarse = pixel_flipping(model, x, relevance, 0, steps=4)
    torch.testing.assert_close(coarse.scores, full.scores[:, ::3])
    torch.testing.assert_close(coarse.fraction, full.fraction[::3])
    half = pixel_flipping(model, x, relevance, 0, fraction=0.5)
    torch.testing.assert_close(half.scores, full.scores[:, :7])


def test_an_explanation_without_differences_is_a_random_order():
    model, x = linear_model(), normal(5, 1, 3, 4)
    blank = pixel_flipping(model, x, torch.ones_like(x), 0, seed=3)
    chance = pixel_flipping(model, x, None, 0, order="random", seed=3)
    torch.testing.assert_close(blank.scores, chance.scores)
    assert not torch.equal(chance.scores, pixel_flipping(model, x, None, 0, order="random", seed=4).scores)


@pytest.mark.parametrize("form", ["tensor", "function", "attributor", "one channel"])
def test_explanations_come_in_any_form(form):
    class Twice(nn.Module):
        def forward(self, x):
            return x.mean((2, 3))

    class Attributor:
        def attribute(self, inputs, target=None):
            return explain(inputs, target)

    def explain(inputs, target):
        assert len(inputs) == len(target) <= 2
        return inputs.square() * (1 + target.view(-1, 1, 1, 1))

    x = normal(5, 2, 3, 4)
    winners = x.mean((2, 3)).argmax(1)
    relevance = x.square() * (1 + winners.view(-1, 1, 1, 1))
    given = {
        "tensor": relevance,
        "function": explain,
        "attributor": Attributor(),
        "one channel": relevance.sum(1, keepdim=True),
    }[form]
    curves = pixel_flipping(Twice(), x, given, batch_size=2)
    expected = pixel_flipping(Twice(), x, relevance, winners, batch_size=2)
    torch.testing.assert_close(curves.scores, expected.scores)


@pytest.mark.parametrize(
    ("target", "pick"),
    [
        (None, lambda o: o.flatten(1).amax(1)),
        ((1, 2), lambda o: o[:, 1, 2]),
        ([(0, 1), (1, 0), (1, 2)], lambda o: torch.stack([o[0, 0, 1], o[1, 1, 0], o[2, 1, 2]])),
        (torch.arange(18.0).view(3, 2, 3), lambda o: (o * torch.arange(18.0).view(3, 2, 3)).sum((1, 2))),
    ],
    ids=["arg max", "tuple", "list of tuples", "weights"],
)
def test_targets_come_in_any_form(target, pick):
    torch.manual_seed(0)
    model, x = nn.Sequential(nn.Linear(4, 6), nn.Unflatten(1, (2, 3))).double(), normal(3, 4)
    curves = pixel_flipping(model, x, x, target, batch_size=2)
    torch.testing.assert_close(curves.scores[:, 0], pick(model(x)).detach())


def test_the_arg_max_stays_that_of_the_input_as_it_is():
    x = torch.tensor([[3.0, 1.0]])
    curves = pixel_flipping(nn.Identity(), x, x, baseline="zero")
    assert curves.scores.tolist() == [[3.0, 0.0, 0.0]]


def test_it_runs_in_evaluation_mode_and_leaves_the_model_as_it_was():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8), nn.Dropout(0.5), nn.Linear(8, 3)).double()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    x = normal(6, 4)
    found = pixel_flipping(model, x, x, 0)
    assert all(module.training for module in model.modules())
    torch.testing.assert_close(dict(model.state_dict()), before, rtol=0, atol=0)
    torch.testing.assert_close(found.scores, pixel_flipping(model.eval(), x, x, 0).scores)
    assert not found.scores.requires_grad


@pytest.mark.parametrize(
    ("inputs", "options", "message"),
    [
        (torch.ones(2, 4, dtype=torch.long), {}, "must be floating point.* int64"),
        (torch.ones(4), {}, r"got float32 of shape \(4,\)"),
        (torch.ones(2, 4), {"explanation": None}, "'most' needs an explanation"),
        (torch.ones(2, 4), {"order": "best"}, "order must be one of 'most', 'least', 'random', got 'best'"),
        (torch.ones(2, 4), {"patch_size": 0}, r"patch_size must be at least 1.* \(4,\); got 0"),
        (torch.ones(2, 4), {"patch_size": (2, 2)}, r"patch_size.*got \(2, 2\)"),
        (torch.ones(2, 4), {"baseline": "black"}, "baseline must be .* got 'black'"),
        (torch.ones(2, 4), {"steps": 0}, "steps must be at least 1"),
        (torch.ones(2, 4), {"fraction": 1.5}, "fraction in"),
        (torch.ones(2, 4), {"explanation": torch.ones(2, 3)}, r"shape \(2, 4\).* got \(2, 3\)"),
        (torch.ones(2, 4), {"explanation": torch.ones(2, 1, 4)}, r"got \(2, 1, 4\)"),
        (torch.ones(2, 4), {"explanation": torch.full((2, 4), torch.nan)}, "NaN"),
        (torch.ones(2, 4), {"target": 4}, "target 4 is out of range"),
        (torch.ones(2, 4), {"target": (0, 1, 2)}, "does not fit an output"),
        (torch.ones(2, 4), {"target": torch.tensor([0, 1, 2])}, "each of the 2 examples, got 3"),
        (torch.ones(2, 4), {"target": torch.ones(2, 3)}, r"shape \(2, 4\); got \(2, 3\)"),
    ],
)
def test_bad_arguments_are_said(inputs, options, message):
    with pytest.raises(ValueError, match=message):
        pixel_flipping(nn.Identity(), inputs, **{"explanation": torch.ones(2, 4), "target": 0} | options)


def test_quantus_gets_arrays_for_arrays():
    model = linear_model().float()
    x, classes = normal(5, 1, 3, 4).float(), torch.tensor([0, 1, 2, 0, 1])
    relevance = quantus_explain_func(
        model=model, inputs=x.numpy(), targets=classes.numpy(), composite="epsilon", device="cpu", img_size=3
    )
    torch.testing.assert_close(torch.from_numpy(relevance), contributions(model, x, classes), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("composite", ["epsilon", "epsilon_plus", "alpha1_beta0"])
def test_lrp_beats_chance_on_digits(composite):
    model, data = trained()
    x, y = data.test.x[:100], data.test.y[:100]
    lrp = altprop.LRP(model, composite)
    chance = pixel_flipping(model, x, None, y, order="random").area
    assert (chance - pixel_flipping(model, x, lrp, y).area).mean() > 2
    assert (pixel_flipping(model, x, lrp, y, order="least").area - chance).mean() > 2
    half = pixel_flipping(model, x, lrp, y, patch_size=2, score=lambda output: output.softmax(-1))
    assert ((half.scores >= 0) & (half.scores <= 1)).all()
