"""altprop.LRP hands back what zennit 0.5.1 hands back: every composite and every rule. Run by ``make parity``.

Two things of zennit's own are kept out of the comparison. Its canonizers fold a batch norm into a convolution but
keep the norm's eps, and so divide by sqrt(1 + eps) once more: 5e-6 for each norm, so that the norms here have next to
none. And its BetaSmooth holds the input of a ReLU, which a ReLU in place overwrites, and of a ReLU that runs twice
only the last: it is compared on VGG, out of place.
"""

import pytest
import torch
import torchvision
import zennit.composites
from torch import nn
from zennit import rules as theirs
from zennit.torchvision import ResNetCanonizer, VGGCanonizer
from zennit.types import Activation, AvgPool, Linear

import altprop
from altprop import explain as ours
from altprop.explain import LAYERS, Composite, composites

TARGET = 3
EXACT = 1e-9  # in float64 nothing but rounding is left of the promise
CANONIZERS = {"vgg16": VGGCanonizer, "vgg16_bn": VGGCanonizer, "resnet18": ResNetCanonizer, "resnet50": ResNetCanonizer}


@pytest.fixture(scope="module", params=CANONIZERS)
def network(request):
    """A network of torchvision with random weights, built once; with its name."""
    torch.manual_seed(0)
    model = getattr(torchvision.models, request.param)(num_classes=10)
    if request.param.startswith("vgg"):  # the classifier for 64x64 images: a thirteenth of the weights
        model.avgpool, model.classifier[0] = nn.AdaptiveAvgPool2d(2), nn.Linear(512 * 2 * 2, 4096)
    return request.param, model.eval().double()


def relevance_by_zennit(model, x, composite, seed):
    with composite.context(model) as modified:
        x = x.clone().requires_grad_()
        output = modified(x)
        start = torch.zeros_like(output)
        start[:, TARGET] = output.detach()[:, TARGET] if seed == "value" else 1.0
        return torch.autograd.grad(output, x, start)[0]


def agree_on(name, network, stir, assert_agree):
    net, model = network
    stir(model)
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.eps = 1e-14
    x = torch.randn(2 if net == "resnet18" else 1, 3, 64, 64, generator=torch.Generator().manual_seed(2)).double()
    low, high = torch.full_like(x, -4.0), torch.full_like(x, 4.0)
    bounds = {"low": low, "high": high} if name == "epsilon_gamma_box" else {}
    own = composites.COMPOSITES[name](**{bound: value[0] for bound, value in bounds.items()})
    other = zennit.composites.COMPOSITES[name](canonizers=[CANONIZERS[net]()], **bounds)
    expected = relevance_by_zennit(model, x, other, own.seed)
    assert_agree(altprop.LRP(model, own).attribute(x, target=TARGET), expected, EXACT)


@pytest.mark.parametrize("name", sorted(zennit.composites.COMPOSITES.keys() - {"beta_smooth"}))
def test_composites_are_zennits(network, name, stir, assert_agree):
    agree_on(name, network, stir, assert_agree)


def test_beta_smooth_is_zennits(stir, assert_agree):
    torch.manual_seed(0)
    model = torchvision.models.vgg11_bn(num_classes=10).eval().double()
    for module in model.modules():
        if isinstance(module, nn.ReLU):
            module.inplace = False
    agree_on("beta_smooth", ("vgg16_bn", model), stir, assert_agree)


def test_every_composite_of_zennit_is_here():
    assert zennit.composites.COMPOSITES.keys() <= composites.COMPOSITES.keys()


RULES = {
    "epsilon": (ours.Epsilon(0.1), theirs.Epsilon(0.1)),
    "epsilon-no-bias": (ours.Epsilon(1e-3, bias="ignore"), theirs.Epsilon(1e-3, zero_params=["bias"])),
    "gamma": (ours.Gamma(0.25), theirs.Gamma(0.25)),
    "gamma-no-bias": (ours.Gamma(0.7, bias="ignore"), theirs.Gamma(0.7, zero_params=["bias"])),
    "zplus": (ours.ZPlus(epsilon=1e-2), theirs.ZPlus(1e-2)),
    "zplus-no-bias": (ours.ZPlus(bias="ignore"), theirs.ZPlus(zero_params=["bias"])),
    "alpha2-beta1": (ours.AlphaBeta(2.0, 1.0), theirs.AlphaBeta(2.0, 1.0)),
    "alpha1-beta0": (ours.AlphaBeta(1.0, 0.0), theirs.AlphaBeta(1.0, 0.0)),
    "alpha-beta-no-bias": (ours.AlphaBeta(2.0, 1.0, bias="ignore"), theirs.AlphaBeta(2.0, 1.0, zero_params=["bias"])),
    "wsquare": (ours.WSquare(), theirs.WSquare()),
    "flat": (ours.Flat(), theirs.Flat()),
    "norm": (ours.Norm(), theirs.Norm()),
}  # fmt: skip
LAYER_PAIRS = {
    "linear": (lambda: [nn.Linear(6, 8), nn.Linear(8, 5)], (6,)),
    "linear-of-sequences": (lambda: [nn.Linear(6, 8), nn.Linear(8, 5, bias=False)], (3, 6)),
    "conv1d": (lambda: [nn.Conv1d(3, 6, 3, stride=2, padding=2), nn.Conv1d(6, 4, 2, dilation=2, groups=2)], (3, 13)),
    "conv2d": (lambda: [nn.Conv2d(3, 6, 3, padding=1), nn.Conv2d(6, 4, 3, stride=2, bias=False)], (3, 9, 9)),
    "conv2d-grouped": (
        lambda: [nn.Conv2d(4, 8, (3, 2), stride=(2, 1), groups=2), nn.Conv2d(8, 8, 2, dilation=(1, 2), groups=8)],
        (4, 10, 9),
    ),
    "conv2d-padded": (
        lambda: [nn.Conv2d(3, 5, 3, padding="same"), nn.Conv2d(5, 4, 3, padding=1, padding_mode="reflect")],
        (3, 6, 7),
    ),
    "conv3d": (lambda: [nn.Conv3d(2, 4, 3, padding=1, stride=2), nn.Conv3d(4, 3, 2, groups=1)], (2, 5, 6, 5)),
    "transposed1d": (lambda: [nn.ConvTranspose1d(3, 4, 3, stride=2), nn.ConvTranspose1d(4, 6, 3, groups=2)], (3, 5)),
    "transposed2d": (
        lambda: [
            nn.ConvTranspose2d(3, 4, 3, stride=2, padding=1, output_padding=1),
            nn.ConvTranspose2d(4, 4, 2, dilation=2, groups=2),
        ],
        (3, 4, 5),
    ),
    "transposed3d": (lambda: [nn.ConvTranspose3d(2, 3, 2, stride=2), nn.ConvTranspose3d(3, 2, 2)], (2, 3, 2, 3)),
}
BETWEEN = {
    "nothing": list,
    "tanh": lambda: [nn.Tanh()],
    "relu": lambda: [nn.ReLU()],
    "relu-in-place": lambda: [nn.ReLU(inplace=True)],
    "relu-average": lambda: [nn.ReLU(), AVERAGE],
}
AVERAGE = nn.Identity()  # stands for an average pool of the right dimension


def chain(layers, between, stir):
    """Two layers, with something between them, and their input of both signs."""
    torch.manual_seed(0)
    make, shape = LAYER_PAIRS[layers]
    first, second = make()
    pools = {2: nn.AvgPool1d(3, 1, 1), 3: nn.AvgPool2d(3, 1, 1), 4: nn.AvgPool3d(3, 1, 1)}
    pool = pools.get(len(shape), nn.Identity()) if layers != "linear-of-sequences" else nn.Identity()
    middle = [pool if module is AVERAGE else module for module in BETWEEN[between]()]
    return stir(nn.Sequential(first, *middle, second)).double(), torch.randn(3, *shape, dtype=torch.float64)


def both_relevances(model, x, own, other):
    layers = [(Activation, theirs.Pass()), (AvgPool, theirs.Norm()), (Linear, other)]
    # A relevance of both signs, and not in proportion to the output: what a rule above may hand down.
    torch.manual_seed(1)
    R = torch.randn_like(model(x)).detach()
    with zennit.composites.LayerMapComposite(layers).context(model) as modified:
        leaf = x.clone().requires_grad_()
        expected = torch.autograd.grad(modified(leaf), leaf, R)[0]
    return altprop.LRP(model, own).attribute(x, target=R), expected


COMBINATIONS = [(layers, between) for layers in ("linear", "conv2d") for between in BETWEEN] + [
    (layers, between) for layers in LAYER_PAIRS.keys() - {"linear", "conv2d"} for between in ("tanh", "relu-in-place")
]


@pytest.mark.parametrize(("layers", "between"), sorted(COMBINATIONS))
@pytest.mark.parametrize("rule", RULES)
def test_rules_are_zennits(rule, layers, between, stir, assert_agree):
    own, other = RULES[rule]
    model, x = chain(layers, between, stir)
    found, expected = both_relevances(model, x, own, other)
    assert_agree(found, expected, EXACT)


@pytest.mark.parametrize("layers", LAYER_PAIRS)
def test_zbox_is_zennits(layers, stir, assert_agree):
    model, x = chain(layers, "nothing", stir)
    first = nn.Sequential(model[0])
    own, other = ours.ZBox(-3.5, 4.0, 1e-3), theirs.ZBox(torch.full_like(x, -3.5), torch.full_like(x, 4.0), 1e-3)
    found, expected = both_relevances(first, x, own, other)
    assert_agree(found, expected, EXACT)


def test_pass_is_zennits(stir, assert_agree):
    torch.manual_seed(0)
    model = stir(nn.Sequential(nn.Linear(6, 6), nn.Tanh(), nn.Linear(6, 6))).double()
    x = torch.randn(3, 6, dtype=torch.float64)
    found, expected = both_relevances(model, x, Composite([(LAYERS, ours.Pass())]), theirs.Pass())
    assert_agree(found, expected, EXACT)
