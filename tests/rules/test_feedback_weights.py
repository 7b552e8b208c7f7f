"""Rules with feedback weights against the loop over their formula, and what they promise beyond tests/test_rule.py."""

import copy
import warnings

import pytest
import torch
from torch import nn
from torch.nn import functional as F
from torch.nn.utils import parametrizations
from torch.utils.checkpoint import checkpoint

import altprop
from altprop.nn._feedback_layer import FeedbackLayer
from tests.test_rule import assert_same, gradients

RULES = {
    "fa": altprop.FeedbackAlignment(seed=1),
    "usf": altprop.SignSymmetric(),
    "brsf": altprop.SignSymmetric("batchwise", seed=1),
    "frsf": altprop.SignSymmetric("fixed", seed=1),
    "kp": altprop.KolenPollack(seed=1),
}
WEIGHTED = (nn.Linear, nn.modules.conv._ConvNd)


@pytest.fixture(params=RULES.values(), ids=RULES.keys())
def rule(request):
    return request.param


class Residual(nn.Module):
    def __init__(self, *layers):
        super().__init__()
        self.inner = nn.Sequential(*layers)

    def forward(self, x):
        return x + self.inner(x)


NETS = {
    "mlp": (lambda: [nn.Linear(4, 5), nn.Tanh(), nn.Linear(5, 6, bias=False), nn.Tanh(), nn.Linear(6, 3)], (4,)),
    "cnn": (
        lambda: [
            nn.Conv2d(2, 4, 3, stride=2, padding=1), nn.Tanh(),
            nn.Conv2d(4, 4, 2, groups=2, dilation=2, padding="same"), nn.Tanh(),
            nn.Conv2d(4, 2, 3, padding=1, padding_mode="reflect"), nn.Tanh(),
            nn.ConvTranspose2d(2, 2, 3, stride=2, output_padding=1, groups=2), nn.Flatten(), nn.Linear(128, 3),
        ],
        (2, 5, 5),
    ),
    "residual": (
        lambda: [
            nn.Conv1d(2, 3, 3, padding="same"), Residual(nn.Tanh(), nn.Conv1d(3, 3, 3, padding=1), nn.Tanh()),
            nn.Flatten(), Residual(nn.Linear(15, 15), nn.Tanh()), nn.Linear(15, 3),
        ],
        (2, 5),
    ),
}  # fmt: skip


def make(name):
    torch.manual_seed(0)
    layers, shape = NETS[name]
    model = nn.Sequential(*layers()).double()
    return model, torch.randn(3, *shape, dtype=torch.float64), torch.arange(3)


def with_weight(layer, weight):
    """The layer, plain, without a bias, with another weight."""
    layer = copy.deepcopy(layer)
    layer.bias = None
    layer.weight = nn.Parameter(weight)
    return layer


def loop(layer, feedback, a, error, found, name):
    """The error at the layer's input, by the formula, entry by entry: no autograd."""
    if isinstance(layer, nn.Sequential):
        values = [a]
        for part in layer:
            values.append(part(values[-1]))
        for index in reversed(range(len(layer))):
            error = loop(layer[index], feedback, values[index], error, found, f"{name}{index}.")
        return error
    if isinstance(layer, Residual):
        return error + loop(layer.inner, feedback, a, error, found, f"{name}inner.")
    if isinstance(layer, nn.Tanh):
        return error * (1 - a.tanh() ** 2)
    if isinstance(layer, nn.Flatten):
        return error.view(a.shape)
    for entry in range(layer.weight.numel()):
        unit = torch.zeros_like(layer.weight).flatten()
        unit[entry] = 1
        reached = with_weight(layer, unit.view(layer.weight.shape))(a)
        found.setdefault(name + "weight", torch.zeros_like(unit))[entry] = (reached * error).sum()
    found[name + "weight"] = found[name + "weight"].view(layer.weight.shape)
    if layer.bias is not None:
        found[name + "bias"] = error.sum([dim for dim in range(error.dim()) if dim != 1])
    units = torch.eye(a[0].numel(), dtype=a.dtype).view(-1, *a.shape[1:])
    B = with_weight(layer, feedback[name + "weight"])(units).flatten(1)
    return (error.flatten(1) @ B.t()).view(a.shape)


def feedback_by_formula(name, rule, weight, layer):
    if isinstance(rule, altprop.SignSymmetric):
        magnitude = {
            "uniform": lambda: weight.square().mean().sqrt(),
            "fixed": lambda: layer.feedback_magnitude,
            "batchwise": layer.feedback_weight.abs,
        }[rule.mode]()
        return weight.sign() * magnitude
    return layer.feedback_weight.detach()


@pytest.mark.parametrize("net", NETS)
@torch.no_grad()
def test_gradients_equal_the_loop_over_the_formula(rule, net):
    model, x, labels = make(net)
    plain = copy.deepcopy(model)
    rule.attach(model)
    x.requires_grad_()
    with torch.enable_grad():
        found = gradients(model, x, labels)
    feedback = {
        f"{name}.weight": feedback_by_formula(name, rule, layer.weight, layer)
        for name, layer in model.named_modules()
        if isinstance(layer, WEIGHTED)
    }
    error = (plain(x).softmax(1) - F.one_hot(labels, 3)) / len(labels)
    expected = {}
    expected_input = loop(plain, feedback, x.detach(), error, expected, "")
    for name, value in expected.items():
        torch.testing.assert_close(found[name], value, rtol=1e-10, atol=1e-12)
        if isinstance(rule, altprop.KolenPollack) and name.endswith("weight"):
            twin = name.removesuffix("weight") + "feedback_weight"
            assert torch.equal(found.pop(twin), found[name])
    assert found.keys() == expected.keys()
    torch.testing.assert_close(x.grad, expected_input, rtol=1e-10, atol=1e-12)


CONVOLUTIONS = [
    (dims, {**options, "transposed": transposed})
    for dims in (1, 2, 3)
    for transposed, options in [
        (False, {"stride": 2, "groups": 2, "dilation": 2, "padding": 1}),
        (False, {"padding": "same", "kernel_size": 4}),
        (False, {"padding": "same", "dilation": 3}),
        (False, {"padding": "valid", "bias": False}),
        *[(False, {"padding": 2, "padding_mode": mode}) for mode in ("reflect", "circular", "replicate")],
        (False, {"padding": "same", "kernel_size": 2, "padding_mode": "circular"}),
        (True, {"stride": 3, "output_padding": 1, "padding": 1, "groups": 2, "dilation": 2}),
        (True, {"bias": False}),
    ]
]


@pytest.mark.filterwarnings("ignore:Using padding='same'")  # torch's own, of the plain layer
@pytest.mark.parametrize("batched", [True, False])
@pytest.mark.parametrize(("dims", "options"), CONVOLUTIONS, ids=str)
def test_every_geometry_of_a_convolution_goes_back_through_the_feedback_weights(dims, options, batched):
    torch.manual_seed(0)
    options = {"kernel_size": 3, **options}
    kind = f"Conv{'Transpose' if options.pop('transposed') else ''}{dims}d"
    plain = getattr(nn, kind)(4, 6, **options).double()
    layer = getattr(altprop.nn, "FA" + kind)(4, 6, **options).double()
    layer.load_state_dict(plain.state_dict(), strict=False)
    size = (2, 4, *[7] * dims)[not batched :]
    a = torch.randn(size, dtype=torch.float64, requires_grad=True)
    output = layer(a)
    assert torch.equal(output, plain(a))
    weights = torch.randn_like(output)
    own = torch.autograd.grad((output * weights).sum(), [a, *plain_parameters(layer)])
    _, *of_parameters = torch.autograd.grad((plain(a) * weights).sum(), [a, *plain_parameters(plain)])
    plain.weight.data = layer.feedback_weight
    (of_input,) = torch.autograd.grad((plain(a) * weights).sum(), [a])
    for found, expected in zip(own, (of_input, *of_parameters), strict=True):
        torch.testing.assert_close(found, expected, rtol=1e-10, atol=1e-12)


def plain_parameters(layer):
    return [p for name, p in layer.named_parameters() if "feedback" not in name]


def test_a_transposed_convolution_takes_an_output_size():
    layer = altprop.nn.KPConvTranspose2d(2, 3, 3, stride=2)
    a = torch.randn(1, 2, 4, 4, requires_grad=True)
    assert layer(a, output_size=[10, 10]).shape == (1, 3, 10, 10)
    layer(a, [10, 10]).sum().backward()
    assert a.grad.any()


def set_feedback_to_weights(model):
    """With B = W every rule here is backprop."""
    for module in model.modules():
        if isinstance(module, FeedbackLayer):
            for weight, feedback in module.feedback_pairs():
                feedback.data.copy_(weight.data)


def quietly(model):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return altprop.FeedbackAlignment(seed=0).attach(model)


def updates(model, run):
    model.zero_grad()
    torch.manual_seed(2)
    run(model).square().sum().backward()
    return {name: p.grad.clone() for name, p in model.named_parameters()}


def assert_backprop_where_feedback_is_the_weight(model, run):
    expected_output = run(copy.deepcopy(model))
    expected = updates(copy.deepcopy(model), run)
    with quietly(model):
        torch.testing.assert_close(run(model), expected_output)
        assert any(not torch.allclose(g, expected[name]) for name, g in updates(model, run).items())
        set_feedback_to_weights(model)
        scale = max(float(g.abs().max()) for g in expected.values())
        assert_same(updates(model, run), expected, rtol=1e-4, atol=1e-5 * scale)


ATTENTIONS = [
    {}, {"batch_first": True}, {"bias": False}, {"add_bias_kv": True, "add_zero_attn": True}, {"kdim": 6, "vdim": 10},
    {"dropout": 0.5},
]  # fmt: skip


class Attention(nn.Module):
    """An attention below which there is a layer to be taught."""

    def __init__(self, **options):
        super().__init__()
        self.below = nn.Linear(8, 8)
        self.query = nn.Linear(8, 8)
        self.key = nn.Linear(8, options.get("kdim", 8))
        self.value = nn.Linear(8, options.get("vdim", 8))
        self.attention = nn.MultiheadAttention(8, 2, **options)

    def forward(self, x, **masks):
        x = self.below(x).tanh()
        output, weights = self.attention(self.query(x), self.key(x), self.value(x), **masks)
        return output if weights is None else output + weights.sum()


@pytest.mark.parametrize("options", ATTENTIONS, ids=str)
@pytest.mark.parametrize("masked", [False, True])
def test_attention_hands_the_error_back_through_its_projections_feedback(options, masked):
    torch.manual_seed(0)
    x = torch.randn(4, 4, 8)
    masks = {"attn_mask": torch.ones(4, 4).triu(1).bool(), "is_causal": True, "need_weights": False} if masked else {}
    model = Attention(**options)
    if options.get("dropout"):
        model.eval()
    assert_backprop_where_feedback_is_the_weight(model, lambda model: model(x, **masks))
    assert_backprop_where_feedback_is_the_weight(model, lambda model: model(x[0], **masks))


def test_attention_masks_its_padding():
    torch.manual_seed(0)
    x, padding = torch.randn(4, 3, 8), torch.tensor([[False] * 3 + [True], [False] * 4, [False, True] * 2])
    assert_backprop_where_feedback_is_the_weight(Attention(), lambda model: model(x, key_padding_mask=padding))


def test_a_transformer_encoder_takes_its_fast_path_in_evaluation():
    torch.manual_seed(0)
    model = nn.TransformerEncoderLayer(8, 2, 16, dropout=0.0, batch_first=True)
    x = torch.randn(2, 3, 8)
    assert_backprop_where_feedback_is_the_weight(model, lambda model: model(x))
    with torch.no_grad():
        expected = model.eval()(x)
        quietly(model)
        assert torch.equal(model(x), expected)


class Conv1D(nn.Module):
    """What Hugging Face's layer of this name is, as GPT-2 has it."""

    __module__ = "transformers.pytorch_utils"

    def __init__(self, nf, nx):
        super().__init__()
        self.nf = nf
        self.weight, self.bias = nn.Parameter(torch.randn(nx, nf)), nn.Parameter(torch.randn(nf))

    def forward(self, x):
        return torch.addmm(self.bias, x.view(-1, x.size(-1)), self.weight).view(*x.shape[:-1], self.nf)


class Tied(nn.Module):
    def __init__(self):
        super().__init__()
        self.first, self.second = nn.Linear(4, 4), nn.Linear(4, 4)
        self.second.weight = self.first.weight

    def forward(self, x):
        return self.second(self.first(self.first(x).tanh()).tanh())


class Checkpointed(nn.Sequential):
    def forward(self, x):
        for layer in self:
            x = checkpoint(layer, x, use_reentrant=self.reentrant)
        return x


def checkpointed(reentrant):
    model = Checkpointed(nn.Linear(4, 4), nn.Tanh(), nn.Linear(4, 4), nn.Linear(4, 4))
    model.reentrant = reentrant
    return model


OTHERS = {
    "conv1d of gpt": lambda: nn.Sequential(nn.Linear(4, 4), Conv1D(5, 4), nn.Tanh(), Conv1D(3, 5)),
    "tied": Tied,
    "weight norm": lambda: nn.Sequential(nn.Linear(4, 4), parametrizations.weight_norm(nn.Linear(4, 4))),
    "checkpointed": lambda: checkpointed(False),
    "sequences": lambda: nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 4), nn.LSTM(4, 4)),
}


@pytest.mark.parametrize("make", OTHERS.values(), ids=OTHERS.keys())
def test_other_models_are_backprop_where_feedback_is_the_weight(make):
    torch.manual_seed(0)
    x = torch.randn(2, 3, 4)

    def run(model):
        output = model(x)
        return output[0] if isinstance(output, tuple) else output

    assert_backprop_where_feedback_is_the_weight(make(), run)


def test_reentrant_checkpointing_works():
    torch.manual_seed(0)
    x = torch.randn(3, 4, requires_grad=True)
    assert_backprop_where_feedback_is_the_weight(checkpointed(True), lambda model: model(x))


def resnet():
    from torchvision.models import resnet18  # noqa: PLC0415 - takes a while, and no other test needs it

    return resnet18(num_classes=3).eval(), 32


def vision_transformer():
    from torchvision.models import VisionTransformer  # noqa: PLC0415

    return VisionTransformer(8, 4, 2, 2, 16, 32, num_classes=3).eval(), 8


@pytest.mark.parametrize("make", [resnet, vision_transformer])
def test_torchvisions_models_convert(make):
    torch.manual_seed(0)
    model, size = make()
    for parameter in model.parameters():
        if not parameter.any():
            nn.init.normal_(parameter)
    x = torch.randn(1, 3, size, size)
    assert_backprop_where_feedback_is_the_weight(model, lambda model: model(x))


def mlp():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(4, 6), nn.Tanh(), nn.Linear(6, 5), nn.Tanh(), nn.Linear(5, 3))


def batch():
    torch.manual_seed(1)
    return torch.randn(8, 4), torch.arange(8) % 3


def test_the_difference_of_kolen_and_pollacks_weights_decays_as_the_paper_says():
    model, (x, y) = mlp().double(), batch()
    rate, decay = 0.1, 0.05
    with altprop.KolenPollack(seed=0).attach(model):
        optimizer = torch.optim.SGD(model.parameters(), lr=rate, weight_decay=decay)

        def differences():
            return torch.stack([(model[i].weight - model[i].feedback_weight).norm().detach() for i in (0, 2, 4)])

        start = differences()
        for step in range(1, 201):
            optimizer.zero_grad()
            F.cross_entropy(model(x.double()), y).backward()
            optimizer.step()
            torch.testing.assert_close(differences(), start * (1 - rate * decay) ** step, rtol=1e-5, atol=0)
        assert altprop.measure.weight_alignment(model).cosine.total > 0.8


def test_kolen_and_pollack_warn_once_if_the_optimizer_lacks_the_feedback_weights():
    model, (x, y) = mlp(), batch()
    late = torch.optim.SGD(model.parameters(), lr=0.1)

    def step(optimizer):
        gradients(model, x, y)
        optimizer.step()

    with altprop.KolenPollack().attach(model):
        step(late)
        with pytest.warns(UserWarning, match="make it after attach") as caught:
            step(late)
        assert len(caught) == 1
        step(late)
    with altprop.KolenPollack().attach(model):
        for _ in range(3):
            step(torch.optim.SGD(model.parameters(), lr=0.1))
        model.eval()
        with torch.no_grad():
            model(x)


def test_a_frozen_layers_feedback_weights_stay_and_carry_the_error():
    model, (x, y) = mlp(), batch()
    with altprop.KolenPollack(seed=0).attach(model):
        expected = gradients(model, x, y)
        model[2].weight.requires_grad_(False)
        found = gradients(model, x, y)
        assert expected.keys() - found.keys() == {"2.weight", "2.feedback_weight"}
        assert_same(found, {name: expected[name] for name in found})
    with altprop.KolenPollack(seed=0).attach(model):
        assert not model[2].feedback_weight.requires_grad
        assert_same(gradients(model, x, y), found)


def test_where_no_error_goes_back_torchs_own_node_is_used(rule):
    model, (x, _) = mlp(), batch()
    with rule.attach(model):
        own = model[0](x).grad_fn.name()
        assert (own == "AddmmBackward0") == (not isinstance(rule, altprop.KolenPollack))
        assert model[0](x.requires_grad_()).grad_fn.name() == "_LinearBackward"


@pytest.mark.parametrize("kind", [altprop.FeedbackAlignment, altprop.KolenPollack, altprop.SignSymmetric])
def test_seeds_and_generators_repeat_and_leave_the_random_state_alone(kind):
    def drawn(**arguments):
        if kind is altprop.SignSymmetric:
            arguments["mode"] = "fixed"
        model = mlp()
        before = torch.get_rng_state()
        with kind(**arguments).attach(model):
            unmoved = torch.equal(torch.get_rng_state(), before)
            return torch.cat([model[i].feedback_weight.detach().flatten() for i in (0, 2, 4)]), unmoved

    first, unmoved = drawn(seed=3)
    assert unmoved
    assert torch.equal(drawn(seed=3)[0], first)
    assert not torch.equal(drawn(seed=4)[0], first)
    from_generator, unmoved = drawn(generator=torch.Generator().manual_seed(3))
    assert unmoved
    assert torch.equal(drawn(generator=torch.Generator().manual_seed(3))[0], from_generator)
    assert not drawn()[1]
    assert drawn(seed=0, init=nn.init.ones_)[1]
    with pytest.raises(ValueError, match="a seed or a generator"):
        kind(seed=0, generator=torch.Generator())


def test_batchwise_magnitudes_are_drawn_anew_after_each_update_alone():
    model, (x, y) = mlp(), batch()
    rule = altprop.SignSymmetric("batchwise", seed=0)
    with rule.attach(model):
        random_state = torch.get_rng_state()
        first = gradients(model, x, y)
        seen = model[2].feedback_weight
        assert_same(gradients(model, x, y), first, rtol=0, atol=0)
        assert_same(gradients(copy.deepcopy(model), x, y), first, rtol=0, atol=0)
        draws = [seen.abs()]
        for _ in range(3):
            with torch.no_grad():
                model[2].weight.mul_(1.001)
            announced = model[2].feedback_weight
            gradients(model, x, y)
            assert torch.equal(model[2].feedback_weight, announced)
            assert torch.equal(announced.sign(), model[2].weight.sign())
            draws.append(announced.abs())
        assert len({draw.sum().item() for draw in draws}) == 4
        assert model[2].feedback_draws[1] == 3
        assert model[4].feedback_draws[1] == 0
        assert torch.equal(torch.get_rng_state(), random_state)


@pytest.mark.parametrize("init", ["lecun_normal", "xavier_uniform", None])
def test_batchwise_magnitudes_have_the_distribution_of_the_init(init):
    torch.manual_seed(0)
    layer = altprop.nn.SignSymmetricLinear(300, 200, mode="batchwise", feedback_init=init)
    signed = layer.feedback_weight.abs()
    deviation = {"lecun_normal": 300**-0.5, "xavier_uniform": (2 / 500) ** 0.5, None: (3 * 300) ** -0.5}[init]
    expected = altprop.nn.FALinear(300, 200, feedback_init=init or "lecun_uniform").feedback_weight.abs()
    expected *= deviation / expected.square().mean().sqrt()
    quantiles = torch.linspace(0.1, 0.9, 9)
    torch.testing.assert_close(
        signed.flatten().quantile(quantiles), expected.flatten().quantile(quantiles), rtol=0.05, atol=0
    )
    rows = torch.corrcoef(signed)
    assert rows.fill_diagonal_(0).abs().max() < 0.35


def test_a_weight_that_is_cut_sends_nothing_back():
    layer = altprop.nn.SignSymmetricLinear(3, 2)
    with torch.no_grad():
        layer.weight[0, 1] = 0
    assert (layer.feedback_weight == 0).nonzero().tolist() == [[0, 1]]


def test_the_backward_pass_can_be_differentiated(rule):
    model, (x, y) = mlp().double(), batch()
    x = x.double().requires_grad_()
    rule.attach(model)
    (g,) = torch.autograd.grad(F.cross_entropy(model(x), y), x, create_graph=True)
    penalty = g.square().sum()
    found = torch.autograd.grad(penalty, [model[0].bias, model[4].bias])
    B = [model[i].feedback_weight.detach() for i in (0, 2, 4)]
    z = [model[:end](x) for end in (1, 3, 5)]
    error = (z[2].softmax(1) - F.one_hot(y, 3)) / len(y)
    by_hand = ((error @ B[2] * (1 - z[1].tanh() ** 2)) @ B[1] * (1 - z[0].tanh() ** 2)) @ B[0]
    torch.testing.assert_close(g, by_hand)
    expected = torch.autograd.grad(by_hand.square().sum(), [model[0].bias, model[4].bias])
    torch.testing.assert_close(found, expected)


class Masked(nn.Linear):
    def forward(self, x):
        return F.linear(x, self.weight.tril(), self.bias)


def test_layers_that_keep_backprop_are_named_and_others_refused(rule):
    model = nn.ModuleDict({"taken": nn.Linear(2, 2), "lstm": nn.LSTM(2, 2), "pair": nn.Bilinear(2, 2, 2),
                           "own": Masked(2, 2), "words": nn.Embedding(3, 2), "norm": nn.LayerNorm((2, 2))})  # fmt: skip
    with pytest.warns(UserWarning, match=r"keep backprop: lstm \(LSTM\), pair \(Bilinear\), own \(Masked\)\.$"):
        rule.attach(model)
    with pytest.raises(ValueError, match=r"head \(LazyLinear\) has lazy weights"):
        rule.attach(nn.ModuleDict({"first": nn.Linear(2, 2), "head": nn.LazyLinear(2)}))
    with pytest.raises(ValueError, match="has no layer for it"):
        rule.attach(nn.Sequential(nn.Embedding(3, 2), nn.ReLU()))
    quantised = nn.Sequential(nn.Linear(2, 2), nn.Identity())
    type_of_quantised = type("Linear", (nn.Module,), {"__module__": "torch.ao.nn.quantized.modules.linear"})
    quantised[1] = type_of_quantised()
    with pytest.raises(ValueError, match=r"1 \(Linear\) is quantised"):
        rule.attach(quantised)
    assert type(quantised[0]) is nn.Linear


def test_an_attachment_that_fails_leaves_the_model_as_it_was():
    model = mlp()

    def fail(tensor):
        if tensor.shape[0] == 5:
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        altprop.FeedbackAlignment(fail).attach(model)
    assert {type(module) for module in model} == {nn.Linear, nn.Tanh}
    assert len(model.state_dict()) == 6


@pytest.mark.parametrize(
    ("kind", "rule"),
    [
        (altprop.nn.FALinear, altprop.FeedbackAlignment()),
        (altprop.nn.SignSymmetricLinear, altprop.SignSymmetric()),
        (altprop.nn.KPLinear, altprop.KolenPollack()),
    ],
)
def test_layers_of_altprop_nn_do_what_the_rule_does_and_can_be_suspended(kind, rule):
    plain, (x, y) = mlp(), batch()
    built = nn.Sequential(*[kind(m.in_features, m.out_features) if isinstance(m, nn.Linear) else m for m in plain])
    rule.attach(plain)
    built.load_state_dict(plain.state_dict())
    assert_same(gradients(built, x, y), gradients(plain, x, y), rtol=0, atol=0)
    before = {name: value.clone() for name, value in built.state_dict().items()}
    with rule.attach(built) as attachment, attachment.suspended():
        backprop = gradients(built, x, y)
    assert_same(backprop, gradients(mlp(), x, y))
    assert_same(dict(built.state_dict()), before, rtol=0, atol=0)
    assert_same(gradients(built, x, y), gradients(plain, x, y), rtol=0, atol=0)
    assert_same(gradients(copy.deepcopy(built), x, y), gradients(plain, x, y), rtol=0, atol=0)


def test_comparison_with_backprop_leaves_the_feedback_weights_out(rule):
    model, (x, y) = mlp(), batch()
    names = [name for name, _ in model.named_parameters()]
    with rule.attach(model):
        comparison = altprop.measure.compare_with_backprop(model, F.cross_entropy, [(x, y)])
    assert list(comparison.cosine.parameters) == names
    assert comparison.cosine.layers["4"] == pytest.approx(1)
    assert abs(comparison.cosine.layers["0"]) < 0.99


def test_inspection_names_the_rule_of_each_layer(rule):
    model, (x, _) = mlp(), batch()
    kinds = [operation.rule for operation in altprop.inspect(model, x, rule)]
    assert kinds == [type(rule).__name__, "gradient"] * 2 + [type(rule).__name__]
    with rule.attach(model) as attachment:
        assert [operation.rule for operation in altprop.inspect(model, x, rule)] == kinds
        assert attachment.active


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: altprop.FeedbackAlignment("gaussian"), "There is no init 'gaussian'"),
        (lambda: altprop.KolenPollack("gaussian"), "There is no init 'gaussian'"),
        (lambda: altprop.SignSymmetric("random"), "mode must be"),
        (lambda: altprop.SignSymmetric("batchwise", init="orthogonal"), "independent entries"),
        (lambda: altprop.nn.SignSymmetricLinear(2, 2, mode="fixed", feedback_init="x"), "There is no init 'x'"),
    ],
)
def test_arguments_that_make_no_sense_are_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()
