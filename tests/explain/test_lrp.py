"""What LRP promises of the models that it explains: they are left as they are, whatever they are."""

import copy
import pickle

import pytest
import torch
from torch import nn
from torch.nn import functional as F
from torch.nn.utils import fusion

import altprop
from altprop.explain import LAYERS, Epsilon, Flat, Gamma, ZPlus
from altprop.explain.attributors import SmoothGrad

from .networks import assert_same_state, images, network, state_of, used

USES = {
    "attribute": lambda lrp, x: lrp.attribute(x, target=1),
    "trace": lambda lrp, x: lrp.trace(x, target=1),
    "conservation": lambda lrp, x: lrp.conservation(x, target=1),
    "a layer": lambda lrp, x: lrp.attribute(x, target=1, layer="4"),
    "concepts": lambda lrp, x: lrp.attribute(x, target=1, concepts={"2": [0]}),
}


@pytest.mark.parametrize("use", USES.values(), ids=USES)
def test_the_model_is_left_bit_for_bit(use):
    model = network()
    model.train()
    model[3].eval()
    model[0].weight.requires_grad_(False)
    model[9].weight.grad = torch.ones_like(model[9].weight)
    model[2].register_forward_hook(lambda module, args, output: None)
    before = state_of(model)
    use(altprop.LRP(model), images())
    assert_same_state(model, before)


class Fails(nn.Module):
    def forward(self, x):
        raise ArithmeticError("on purpose")


def test_the_model_is_left_bit_for_bit_after_an_error():
    model = nn.Sequential(network(), Fails()).train()
    before = state_of(model)
    with pytest.raises(ArithmeticError, match="on purpose"):
        altprop.LRP(model).attribute(images())
    assert_same_state(model, before)


def test_models_in_training_mode_are_explained_in_evaluation_mode():
    model, x = network(), images()
    trained = altprop.LRP(model.train()).attribute(x, target=1)
    assert altprop.LRP(model.eval()).attribute(x, target=1).equal(trained)


@pytest.mark.parametrize(
    "context", [torch.no_grad, torch.inference_mode, lambda: torch.autocast("cpu", torch.bfloat16)]
)
def test_any_context_may_be_on(context):
    model, x = network(), images()
    plain = altprop.LRP(model).attribute(x, target=1)
    with context():
        found = altprop.LRP(model).attribute(x.clone(), target=1)
    assert found.equal(plain)


RULES = [Epsilon(), ZPlus(), Gamma(), Gamma(bias="redistribute"), Flat(), altprop.explain.AlphaBeta()]


@pytest.mark.parametrize("rule", RULES, ids=repr)
def test_batch_norms_are_folded_as_if_merged_by_hand(rule):
    model = network().double().eval()
    merged = copy.deepcopy(model)
    for conv, norm in ((0, 1), (3, 4)):
        merged[conv], merged[norm] = fusion.fuse_conv_bn_eval(merged[conv], merged[norm]), nn.Identity()
    x = images().double()
    found, expected = (altprop.LRP(m, rule).attribute(x, target=1) for m in (model, merged))
    torch.testing.assert_close(found, expected)


@pytest.mark.parametrize("rule", RULES, ids=repr)
@pytest.mark.parametrize("transposed", [False, True])
def test_batch_norms_are_folded_into_other_layers_too(transposed, rule):
    torch.manual_seed(0)
    layer = nn.ConvTranspose1d(4, 6, 2, groups=2) if transposed else nn.Linear(4, 6)
    model = nn.Sequential(layer, nn.BatchNorm1d(6), nn.ReLU()).double().eval()
    used(model[1])
    merged = copy.deepcopy(model)
    if transposed:
        norm = model[1]  # torch's own fusion takes no groups of a transposed convolution
        scale = norm.weight / torch.sqrt(norm.running_var + norm.eps)
        merged[0].weight.data.view(2, 2, 3, 2).mul_(scale.view(2, 1, 3, 1))
        merged[0].bias.data = (layer.bias - norm.running_mean) * scale + norm.bias
    else:
        merged[0] = fusion.fuse_linear_bn_eval(merged[0], merged[1])
    merged[1] = nn.Identity()
    x = torch.randn(3, 4, 3).double() if transposed else torch.randn(3, 4).double()
    R = torch.rand_like(model(x)).detach()
    found, expected = (altprop.LRP(m, rule).attribute(x, target=R) for m in (model, merged))
    torch.testing.assert_close(found, expected)


class Shared(nn.Module):
    """What the layer returns goes elsewhere too."""

    def __init__(self, layer, norm, elsewhere):
        super().__init__()
        self.layer, self.norm, self.elsewhere = layer, norm, elsewhere

    def forward(self, x):
        z = self.layer(x)
        return self.norm(z) + z if self.elsewhere else self.norm(z)


@pytest.mark.parametrize("layer, sizes", [(nn.Linear(5, 4), (4, 5)), (nn.Linear(5, 4), (5,))])
def test_batch_norms_are_not_folded_where_they_are_not_one_with_the_layer(layer, sizes):
    """The layer's output is used elsewhere, or the batch norm's channels are not the layer's outputs."""
    model = Shared(layer, nn.BatchNorm1d(4), elsewhere=len(sizes) == 1).eval()
    used(model.norm)
    x = torch.randn(3, *sizes)
    lrp = altprop.LRP(model, "epsilon")
    R = torch.rand_like(model(x)).detach()
    at_layer = lrp.trace(x, target=R)["layer"]
    expected = altprop.LRP(layer, "epsilon").attribute(x, target=at_layer)
    torch.testing.assert_close(lrp.attribute(x, target=R), expected)


RULES_TO_LEARN_BY = {
    "Backprop": altprop.Backprop,
    "LFP": altprop.LFP,
    "FeedbackAlignment": lambda: altprop.FeedbackAlignment(seed=0),
    "SignSymmetric": altprop.SignSymmetric,
    "KolenPollack": lambda: altprop.KolenPollack(seed=0),
    "DFA": lambda: altprop.DFA(seed=0),
    "LocalLoss": lambda: altprop.LocalLoss(seed=0),
    "Shallow": altprop.Shallow,
}


@pytest.mark.parametrize("make", RULES_TO_LEARN_BY.values(), ids=RULES_TO_LEARN_BY)
def test_models_that_learn_by_a_rule_are_explained_like_plain_ones_and_learn_on(make):
    x, y = images(), torch.tensor([0, 1])

    def gradients(explained):
        model = network().eval()
        model[6].p = 0.0
        plain = altprop.LRP(copy.deepcopy(model), "epsilon_plus").attribute(x, target=1)
        make().attach(model)
        for _ in range(2):
            model.zero_grad()
            if explained:
                assert altprop.LRP(model, "epsilon_plus").attribute(x, target=1).equal(plain)
            with altprop.targets(y):
                F.cross_entropy(model(x), y).backward()
        return [parameter.grad for parameter in model.parameters()]

    for found, expected in zip(gradients(True), gradients(False), strict=True):
        assert (found is None and expected is None) or found.equal(expected)


class Cube(nn.Module):
    def forward(self, z):
        return z * z * z


def test_activations_named_to_an_attached_rule_do_not_disturb():
    model, x = nn.Sequential(nn.Linear(4, 3), Cube(), nn.Linear(3, 2)), torch.randn(2, 4)
    plain = altprop.LRP(model, "epsilon").attribute(x, target=0)
    with altprop.LFP(activations=[Cube]).attach(model):
        assert altprop.LRP(model, "epsilon").attribute(x, target=0).equal(plain)


@pytest.mark.parametrize("kind", ["FA", "SignSymmetric", "KP"])
def test_layers_with_feedback_weights_are_explained_by_their_forward_weights(kind):
    conv, linear = (getattr(altprop.nn, f"{kind}{name}") for name in ("Conv2d", "Linear"))
    model = nn.Sequential(conv(3, 4, 3), nn.ReLU(), nn.Flatten(), linear(64, 5))
    plain = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(64, 5))
    plain.load_state_dict(model.state_dict(), strict=False)
    found, expected = (altprop.LRP(m, "epsilon_plus_flat") for m in (model, plain))
    assert found.attribute(images(), target=1).equal(expected.attribute(images(), target=1))


@pytest.mark.parametrize("activation", [altprop.nn.Step, altprop.nn.Sign])
def test_activations_without_a_derivative_pass_relevance(activation):
    torch.manual_seed(0)
    model, x = nn.Sequential(nn.Linear(4, 6), activation(), nn.Linear(6, 3)), torch.randn(2, 4)
    layers = altprop.LRP(model, "epsilon").trace(x, target=1)
    assert layers["0"].any() and layers["0"].equal(layers["1"])


class Normed(nn.Module):
    def __init__(self):
        super().__init__()
        self.linear = nn.utils.parametrizations.weight_norm(nn.Linear(4, 3))

    def forward(self, x):
        return self.linear(x)


def test_weights_that_are_computed_are_weights():
    model, x = Normed(), torch.randn(2, 4)
    plain = nn.Linear(4, 3)
    plain.weight.data, plain.bias.data = model.linear.weight.detach(), model.linear.bias.detach()
    found = altprop.LRP(model, "epsilon", strict=True).attribute(x, target=0)
    torch.testing.assert_close(found, altprop.LRP(plain, "epsilon").attribute(x, target=0))


@pytest.mark.parametrize(
    "composite, error, message",
    [
        ("epsilon_plsu", ValueError, "no composite 'epsilon_plsu'. Did you mean 'epsilon_plus'"),
        ("epsilon_gamma_box", ValueError, r"needs arguments: .*epsilon_gamma_box\(low=..., high=...\)"),
        ("pattern_net", ValueError, r"pattern_net\(patterns=...\)"),
        (3.0, TypeError, "A composite is a name, a Composite, a rule or pairs"),
        ([(nn.Linear, "epsilon")], TypeError, "made of pairs"),
        ([(3, Epsilon())], TypeError, "A predicate is"),
    ],
)
def test_composites_that_are_none_are_explained(composite, error, message):
    with pytest.raises(error, match=message):
        altprop.LRP(nn.Linear(2, 2), composite)


def test_weights_that_change_are_seen():
    model, x = nn.Sequential(nn.Linear(4, 3)), torch.randn(2, 4)
    lrp = altprop.LRP(model, [(LAYERS, ZPlus())])
    lrp.attribute(x, target=0)
    with torch.no_grad():
        model[0].weight.mul_(-1)
    assert lrp.attribute(x, target=0).equal(altprop.LRP(model, [(LAYERS, ZPlus())]).attribute(x, target=0))
    model[0].weight.data.mul_(-1)  # which is no new version of the weight
    lrp.refresh()
    assert lrp.attribute(x, target=0).equal(altprop.LRP(model, [(LAYERS, ZPlus())]).attribute(x, target=0))


@pytest.mark.parametrize("again", [copy.copy, copy.deepcopy, lambda lrp: pickle.loads(pickle.dumps(lrp))])
@pytest.mark.parametrize("used", [False, True])
def test_a_copied_explainer_explains_as_the_original_does(again, used):
    lrp, x = altprop.LRP(network(), "epsilon_alpha2_beta1"), images()
    if used:
        lrp.attribute(x, target=1)
    copied = again(lrp)
    assert copied.attribute(x, target=1).equal(lrp.attribute(x, target=1))
    assert copied.composite == lrp.composite and copied.strict == lrp.strict


class Linear8bit(nn.Linear):
    """As bitsandbytes and its kin have them: codes in place of weights."""

    def __init__(self):
        super().__init__(4, 4)
        self.weight = nn.Parameter(torch.zeros(4, 4, dtype=torch.int8), requires_grad=False)


class Packed(nn.Module):
    """As GPTQ's layers: codes in a buffer."""

    def __init__(self):
        super().__init__()
        self.register_buffer("qweight", torch.zeros(4, 2, dtype=torch.int32))


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("explain", [altprop.LRP, lambda model: SmoothGrad(model, "epsilon")])
@pytest.mark.parametrize("kind", ["dynamic", "8 bit", "packed"])
def test_quantised_models_are_refused(kind, explain):
    plain = nn.Sequential(nn.Linear(4, 4), nn.ReLU(), nn.Linear(4, 2))
    if kind == "dynamic":
        plain = torch.ao.quantization.quantize_dynamic(plain, {nn.Linear})
    else:
        plain[0] = Linear8bit() if kind == "8 bit" else Packed()
    with pytest.raises(ValueError, match=r"LRP cannot explain this Sequential: 0 \(.*\) is quantised"):
        explain(plain)
