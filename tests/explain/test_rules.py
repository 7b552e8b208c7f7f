"""Every rule against the formula of its docstring, on every kind of layer and in every place where it may stand."""

import itertools

import pytest
import torch
from torch import nn
from torch.nn import functional as F

import altprop
from altprop.explain import (
    LAYERS,
    AlphaBeta,
    Average,
    BetaSmooth,
    Composite,
    DeconvNet,
    Epsilon,
    Flat,
    Gamma,
    GuidedBackprop,
    Norm,
    Pass,
    PatternAttribution,
    PatternNet,
    WSquare,
    ZBox,
    ZPlus,
)

from . import oracle

pytestmark = pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel lengths:UserWarning")

LAYERS_AND_SIZES = {
    "linear": (lambda: nn.Linear(5, 4), (5,)),
    "linear without bias": (lambda: nn.Linear(5, 4, bias=False), (5,)),
    "linear on tokens": (lambda: nn.Linear(5, 4), (3, 5)),
    "conv1d": (lambda: nn.Conv1d(2, 4, 3, stride=2, padding=1), (2, 7)),
    "conv2d": (lambda: nn.Conv2d(2, 3, (3, 2), stride=(2, 1), padding=(1, 0)), (2, 5, 4)),
    "conv2d without bias": (lambda: nn.Conv2d(2, 3, 2, bias=False), (2, 3, 3)),
    "conv2d, same": (lambda: nn.Conv2d(2, 3, 3, padding="same", dilation=2), (2, 4, 4)),
    # torch warns that it copies the input: once for a process, so that it depends on the order of tests.
    "conv2d, same and uneven": (lambda: nn.Conv2d(2, 3, (2, 4), padding="same"), (2, 4, 5)),
    "conv2d, valid and grouped": (lambda: nn.Conv2d(4, 6, 2, padding="valid", groups=2), (4, 3, 3)),
    "conv2d, circular": (lambda: nn.Conv2d(2, 3, 3, padding=1, padding_mode="circular"), (2, 2, 4)),
    "conv2d, reflected": (lambda: nn.Conv2d(1, 3, 3, padding=1, padding_mode="reflect"), (1, 3, 4)),
    "conv2d, outputs of padding alone": (lambda: nn.Conv2d(2, 3, 1, padding=1), (2, 2, 2)),
    "conv3d": (lambda: nn.Conv3d(1, 2, 2, stride=(1, 2, 1)), (1, 3, 4, 3)),
    "transposed conv1d": (lambda: nn.ConvTranspose1d(2, 3, 3, stride=2, padding=1, output_padding=1), (2, 4)),
    "transposed conv2d, grouped": (lambda: nn.ConvTranspose2d(4, 6, 3, stride=2, groups=2, dilation=(1, 2)), (4, 3, 3)),
    "transposed conv2d with gaps": (lambda: nn.ConvTranspose2d(2, 3, 1, stride=2), (2, 2, 3)),
    "transposed conv3d": (lambda: nn.ConvTranspose3d(2, 1, 2), (2, 2, 2, 2)),
}

BIASES = ("absorb", "redistribute", "ignore")
RULES = {
    **{f"Epsilon, {bias}": Epsilon(0.01, bias=bias) for bias in BIASES},
    **{f"ZPlus, {bias}": ZPlus(epsilon=0.01, bias=bias) for bias in BIASES},
    **{f"AlphaBeta, {bias}": AlphaBeta(2.0, 1.0, epsilon=0.01, bias=bias) for bias in BIASES},
    **{f"Gamma, {bias}": Gamma(0.25, epsilon=0.01, bias=bias) for bias in BIASES},
    **{f"Norm, {bias}": Norm(epsilon=0.01, bias=bias) for bias in BIASES},
    "AlphaBeta(1, 0)": AlphaBeta(1.0, 0.0),
    "ZBox": ZBox(-2.5, 2.5, 0.01),
    "WSquare": WSquare(0.01),
    "Flat": Flat(0.01),
}


def layer_and_input(kind, seed=0):
    """A layer, and three inputs of any sign, of which the first is zero."""
    make, sizes = LAYERS_AND_SIZES[kind]
    torch.manual_seed(seed)
    layer = make().double()
    x = torch.randn(3, *sizes, dtype=torch.float64)
    x[0] = 0
    return layer, x


class Between(nn.Module):
    """A layer with something before and after it, and a head that hands relevance to all of its outputs."""

    def __init__(self, layer, before, after, outputs):
        super().__init__()
        self.before, self.layer, self.after = before, layer, after
        self.head = nn.Linear(outputs, 2, dtype=torch.float64)

    def forward(self, x):
        return self.head(self.after(self.layer(self.before(x))).flatten(1))


class Residual(nn.Module):
    def forward(self, z):
        return F.relu(z) + z


class ReLUAndElsewhere(nn.Module):
    """The output is rectified in place, and was used before that."""

    def forward(self, z):
        once = z * 2
        return once + F.relu(z, inplace=True)


class MaxPool(nn.Module):
    def forward(self, z):
        pools = {3: F.max_pool1d, 4: F.max_pool2d, 5: F.max_pool3d}
        return pools[z.dim()](z, 2, padding=1) if z.dim() in pools else z


BEFORE = {"inputs of any sign": nn.Identity, "after a ReLU": nn.ReLU, "after a ReLU in place": lambda: nn.ReLU(True)}
AFTER = {
    "nothing": nn.Identity,
    "ReLU": nn.ReLU,
    "ReLU in place": lambda: nn.ReLU(True),
    "max pool": MaxPool,
    "ReLU and max pool": lambda: nn.Sequential(nn.ReLU(True), MaxPool()),
    "sum": Residual,
    "ReLU in place, and used before": ReLUAndElsewhere,
    "Step": altprop.nn.Step,
}


def handed_back(rule, layer, x, before, after):
    """The relevance of the layer's input and that of its output, in a network that explains one of its outputs."""
    with torch.no_grad():
        outputs = after(layer(before(x.clone())).clone()).flatten(1).shape[1]
    model = Between(layer, before, after, outputs)
    lrp = altprop.LRP(model, Composite([("layer", rule)]))
    R = lrp.trace(x, target=1, modules=["layer"])["layer"]
    return lrp.attribute(x, target=1), R


def differ(found, expected):
    """Whether two relevances are not the same, but for rounding."""
    try:
        torch.testing.assert_close(found, expected)
    except AssertionError:
        return True
    return False


@pytest.mark.parametrize("rule", RULES.values(), ids=RULES)
def test_rules_agree_with_their_formula_on_every_layer(rule):
    wrong = []
    for kind in LAYERS_AND_SIZES:
        layer, x = layer_and_input(kind)
        R = torch.randn_like(layer(x)).detach()
        found = altprop.LRP(layer, [(LAYERS, rule)]).attribute(x, target=R)
        if differ(found, oracle.relevance(rule, layer, x, R)):
            wrong.append(kind)
    assert not wrong


@pytest.mark.parametrize("rule", RULES.values(), ids=RULES)
def test_cheap_forms_agree_with_the_formula(rule):
    """Wherever a layer stands: what enters it, and what follows it, decides how little has to be computed."""
    wrong = []
    for kind, before, after in itertools.product(["linear", "conv2d, same and uneven"], BEFORE, AFTER):
        layer, x = layer_and_input(kind)
        found, R = handed_back(rule, layer, x, BEFORE[before](), AFTER[after]())
        seen = x if before == "inputs of any sign" else x.relu()
        if differ(found, oracle.relevance(rule, layer, seen, R)):
            wrong.append(f"{kind}, {before}, then {after}")
    assert not wrong


@pytest.mark.parametrize("rule", [Gamma(epsilon=0.01), AlphaBeta(epsilon=0.01), Epsilon(0.01)], ids=repr)
@pytest.mark.parametrize(
    "following", [Epsilon(0.01, bias="redistribute"), Flat(), Gamma(bias="redistribute")], ids=repr
)
def test_rules_behind_that_give_relevance_to_zeros_are_heeded(rule, following):
    """The next layer hands relevance to entries that a ReLU set to zero: the cheap forms must not lose it."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.ReLU(), nn.Linear(6, 5), nn.ReLU(True), nn.Linear(5, 3)).double()
    x = torch.randn(4, 6, dtype=torch.float64)
    lrp = altprop.LRP(model, [("1", rule), ("3", following)])
    R = lrp.trace(x, target=0)["1"]
    torch.testing.assert_close(lrp.attribute(x, target=0), oracle.relevance(rule, model[1], x.relu(), R))


@pytest.mark.parametrize("rule", [PatternNet, PatternAttribution])
@pytest.mark.parametrize("kind", LAYERS_AND_SIZES)
def test_pattern_rules_hand_back_through_the_patterns(kind, rule):
    layer, x = layer_and_input(kind)
    patterns = {"layer": torch.randn_like(layer.weight), "head": torch.zeros(0)}
    R = torch.randn_like(layer(x)).detach()
    model = nn.Sequential()
    model.add_module("layer", layer)
    found = altprop.LRP(model, [("layer", rule(patterns))]).attribute(x, target=R)
    torch.testing.assert_close(found, oracle.relevance(rule(patterns), layer, x, R))


@pytest.mark.parametrize(
    "bound", [torch.full((2, 1, 1), -3.0), torch.full((2, 4, 5), -3.0), torch.full((3, 2, 4, 5), -3.0)]
)
def test_zbox_takes_bounds_for_a_channel_an_input_or_the_batch(bound):
    layer, x = layer_and_input("conv2d, same and uneven")
    R = torch.randn_like(layer(x)).detach()
    found = altprop.LRP(layer, ZBox(bound.double(), 3.0, 0.01)).attribute(x, target=R)
    torch.testing.assert_close(found, oracle.relevance(ZBox(-3.0, 3.0, 0.01), layer, x, R))


def test_zbox_refuses_bounds_that_do_not_fit():
    layer, x = layer_and_input("conv2d")
    with pytest.raises(ValueError, match=r"low has shape \(5,\), which does not broadcast .* \(3, 2, 5, 4\)"):
        altprop.LRP(layer, ZBox(torch.zeros(5), 1.0)).attribute(x)


@pytest.mark.parametrize("rule", RULES.values(), ids=RULES)
def test_layers_take_vectors_within_a_model(rule):
    """A model may hand its layers one example without a batch dimension: a vector, an image."""
    torch.manual_seed(0)
    linear, convolution = nn.Linear(4, 3).double(), nn.Conv1d(2, 2, 2).double()

    class OneByOne(nn.Module):
        def __init__(self):
            super().__init__()
            self.linear, self.convolution = linear, convolution

        def forward(self, x):
            return torch.stack([self.linear(self.convolution(one).flatten()) for one in x])

    batched = nn.Sequential(convolution, nn.Flatten(), linear)
    x = torch.randn(3, 2, 3, dtype=torch.float64)
    found = altprop.LRP(OneByOne(), rule).attribute(x, target=1)
    torch.testing.assert_close(found, altprop.LRP(batched, rule).attribute(x, target=1))


def test_pass_needs_one_shape():
    x = torch.randn(2, 4)
    square = nn.Linear(4, 4)
    R = torch.randn(2, 4)
    assert altprop.LRP(square, Pass()).attribute(x, target=R).equal(R)
    with pytest.raises(ValueError, match=r"Pass cannot be the rule of the layer .* makes \(2, 3\) of \(2, 4\)"):
        altprop.LRP(nn.Sequential(nn.Linear(4, 3)), Pass()).attribute(x)


@pytest.mark.parametrize("in_place", [False, True])
@pytest.mark.parametrize(
    "rule, expected",
    [
        (GuidedBackprop(), lambda z, R: R.clamp(min=0) * (z > 0)),
        (DeconvNet(), lambda z, R: R.clamp(min=0)),
        (BetaSmooth(3.0), lambda z, R: R * torch.sigmoid(3.0 * z)),
    ],
    ids=lambda value: type(value).__name__,
)
def test_activation_rules(rule, expected, in_place):
    x, R = torch.randn(5, 4), torch.randn(5, 4)
    model = nn.Sequential(nn.Identity(), nn.ReLU(in_place))
    found = altprop.LRP(model, Composite([(nn.ReLU, rule)], otherwise="gradient")).attribute(x, target=R)
    torch.testing.assert_close(found, expected(x, R))


@pytest.mark.parametrize(
    "pool, average",
    [
        (nn.MaxPool2d(2), nn.AvgPool2d(2)),
        (nn.MaxPool2d(3, stride=2, padding=1), nn.AvgPool2d(3, stride=2, padding=1, count_include_pad=False)),
        (nn.AdaptiveMaxPool2d(2), nn.AdaptiveAvgPool2d(2)),
    ],
)
def test_average_takes_a_max_pool_for_an_average_pool(pool, average):
    x = torch.randn(2, 3, 5, 5, dtype=torch.float64)
    R = torch.randn_like(pool(x))
    found = altprop.LRP(pool, Composite([(nn.Module, Average(0.01))])).attribute(x, target=R)
    leaf = x.clone().requires_grad_()
    z = average(leaf)
    expected = x * torch.autograd.grad(z, leaf, R / oracle.stabilised(z.detach(), 0.01))[0]
    torch.testing.assert_close(found, expected)


def test_average_refuses_dilated_windows():
    with pytest.raises(ValueError, match="no average pool for a max pool with dilation 2"):
        altprop.LRP(nn.MaxPool1d(2, dilation=2), Composite([(nn.Module, Average())])).attribute(torch.randn(1, 2, 6))


@pytest.mark.parametrize(
    "make, message",
    [
        (lambda: Epsilon(-1.0), "Epsilon's epsilon must be a finite number >= 0, got -1.0"),
        (lambda: Epsilon(bias="share"), "bias must be 'absorb', 'redistribute' or 'ignore', got 'share'"),
        (lambda: AlphaBeta(2.0, 2.0), "alpha - beta = 1"),
        (lambda: Gamma(float("inf")), "gamma must be a finite number"),
        (lambda: ZBox(1.0, 0.0), "low <= high"),
        (lambda: BetaSmooth(0.0), "beta must be a finite number > 0"),
    ],
)
def test_rules_refuse_parameters_out_of_range(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_patterns_of_another_model_are_refused():
    model, x = nn.Sequential(nn.Linear(4, 3)), torch.randn(2, 4)
    with pytest.raises(ValueError, match="There are no patterns for the layer '0'"):
        altprop.LRP(model, "epsilon").attribute(x)
        altprop.LRP(model, [(nn.Linear, PatternNet({}))]).attribute(x)
    with pytest.raises(ValueError, match=r"patterns of the layer '0' have shape \(2, 4\), its weight \(3, 4\)"):
        altprop.LRP(model, [(nn.Linear, PatternNet({"0": torch.zeros(2, 4)}))]).attribute(x)
