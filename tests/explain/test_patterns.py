"""Patterns against loops over the paper's formula, and against what is known of a signal and its distractor."""

import copy
import itertools

import pytest
import torch
from torch import nn
from torch.nn import functional as F

import altprop
from altprop.explain.composites import pattern_attribution, pattern_net
from altprop.explain.evaluation import pixel_flipping
from altprop.explain.patterns import Patterns, fit_patterns
from tests.explain.digits import trained


def normal(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def patches_of(layer, x):
    """What each neuron sees, by hand: for every example and position and neuron, x in the weight's shape of a neuron.

    Of the shape (examples and positions, neurons, inputs of a neuron), and the weights as (neurons, inputs).
    """
    weight = layer.weight.detach()
    if isinstance(layer, nn.Linear):
        x = x.reshape(-1, 1, x.shape[-1])
        return x.expand(-1, len(weight), -1), weight
    # Each entry of a patch is what one entry of the weight, alone and at the value one, lets through.
    alone, columns = copy.deepcopy(layer), []
    alone.bias = None
    transposed = isinstance(layer, nn.modules.conv._ConvTransposeNd)
    groups = layer.groups
    inputs = weight.shape[0] // groups if transposed else weight.shape[1]
    for i, position in itertools.product(range(inputs), itertools.product(*map(range, weight.shape[2:]))):
        one = torch.zeros_like(weight)
        if transposed:
            one[(slice(i, None, inputs), slice(None), *position)] = 1
        else:
            one[(slice(None), i, *position)] = 1
        alone.weight = nn.Parameter(one)
        columns.append(alone(x).detach().movedim(1, -1).flatten(0, -2))
    per_neuron = weight
    if transposed:
        per_neuron = weight.unflatten(0, (groups, inputs)).transpose(1, 2).flatten(0, 1)
    return torch.stack(columns, dim=-1), per_neuron.flatten(1)


def oracle(layer, x, positive):
    """The paper's formula, neuron after neuron; of the shape (neurons, inputs of a neuron)."""
    patches, weights = patches_of(layer, x)
    patterns = []
    for neuron, w in enumerate(weights):
        seen = patches[:, neuron]
        y = seen @ w + (0 if layer.bias is None else layer.bias[neuron].detach())
        regime = y > 0 if positive else torch.ones_like(y, dtype=torch.bool)
        if not regime.any():
            patterns.append(torch.zeros_like(w))
            continue
        xy = torch.stack([a * b for a, b in zip(seen[regime], y[regime], strict=True)]).mean(0)
        numerator = xy - seen[regime].mean(0) * y.mean()
        patterns.append(numerator / (w @ numerator))
    return torch.stack(patterns)


def by_neuron(layer, pattern):
    if isinstance(layer, nn.modules.conv._ConvTransposeNd):
        pattern = pattern.unflatten(0, (layer.groups, -1)).transpose(1, 2).flatten(0, 1)
    return pattern.flatten(1)


LAYERS = {
    "linear": (lambda: nn.Linear(5, 4), (7, 5)),
    "linear, no bias": (lambda: nn.Linear(5, 4, bias=False), (7, 5)),
    "linear on tokens": (lambda: nn.Linear(5, 4), (3, 6, 5)),
    "conv1d": (lambda: nn.Conv1d(2, 3, 3, stride=2, padding=1), (4, 2, 9)),
    "conv1d, groups and dilation": (lambda: nn.Conv1d(4, 6, 2, dilation=3, groups=2), (4, 4, 9)),
    "conv2d": (lambda: nn.Conv2d(2, 3, 3, padding=1), (3, 2, 5, 6)),
    "conv2d, uneven": (lambda: nn.Conv2d(2, 4, (3, 2), (2, 1), (0, 1), (1, 2), groups=2), (3, 2, 6, 5)),
    "conv2d, same": (lambda: nn.Conv2d(2, 3, (2, 4), padding="same", bias=False), (3, 2, 5, 6)),
    "conv2d, circular": (lambda: nn.Conv2d(2, 3, 3, padding=(2, 1), padding_mode="circular"), (3, 2, 4, 5)),
    "conv2d, reflect": (lambda: nn.Conv2d(2, 3, 3, padding=1, stride=2, padding_mode="reflect"), (3, 2, 5, 5)),
    "conv3d": (lambda: nn.Conv3d(2, 2, 2, padding=1, stride=(1, 2, 1)), (2, 2, 3, 4, 3)),
    "transposed 1d": (lambda: nn.ConvTranspose1d(2, 3, 3, stride=2, padding=1, output_padding=1), (4, 2, 5)),
    "transposed 2d": (lambda: nn.ConvTranspose2d(4, 6, (3, 2), stride=(1, 2), groups=2), (3, 4, 3, 3)),
    "transposed 3d": (lambda: nn.ConvTranspose3d(2, 2, 2, dilation=2, padding=1), (2, 2, 3, 2, 3)),
}


@pytest.mark.parametrize("positive", [False, True])
@pytest.mark.parametrize("name", LAYERS)
@pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel")
def test_equals_a_loop_over_the_papers_formula(name, positive):
    make, shape = LAYERS[name]
    torch.manual_seed(0)
    layer, x = make().double(), normal(*shape) + 0.5
    pattern = fit_patterns(nn.Sequential(layer), [x], positive)["0"]
    assert pattern.shape == layer.weight.shape
    torch.testing.assert_close(by_neuron(layer, pattern), oracle(layer, x, positive), rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("positive", [False, True])
def test_the_weights_and_the_pattern_of_a_neuron_multiply_to_one(positive):
    layer = nn.Conv2d(2, 3, 3)
    pattern = fit_patterns(nn.Sequential(layer), [normal(5, 2, 6, 6).float()], positive)["0"]
    torch.testing.assert_close((layer.weight * pattern).flatten(1).sum(1), torch.ones(3), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("positive", [False, True])
@pytest.mark.parametrize("size", [1, 3, 12])
def test_any_split_into_batches_gives_the_same(size, positive):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(64, 3)).double()
    x = normal(24, 1, 6, 6) + 3
    expected = fit_patterns(model, [x], positive)
    found = fit_patterns(model, x.split(size), positive)
    for name, pattern in expected.items():
        torch.testing.assert_close(found[name], pattern, rtol=1e-9, atol=1e-9)


def test_large_means_do_not_swamp_what_varies():
    torch.manual_seed(0)
    layer, x = nn.Linear(4, 3).double(), normal(200, 4) + 1e6
    y = layer(x).detach()
    covariance = (y - y.mean(0)).T @ (x - x.mean(0))
    expected = covariance / (covariance * layer.weight.detach()).sum(1, keepdim=True)
    found = fit_patterns(nn.Sequential(layer), x.split(50))["0"]
    torch.testing.assert_close(found, expected, rtol=1e-6, atol=1e-6)


class Residual(nn.Module):
    """Two branches, functional operations, and a layer that is used twice."""

    def __init__(self):
        super().__init__()
        self.first = nn.Conv1d(2, 4, 3, padding=1)
        self.shared = nn.Conv1d(4, 4, 3, padding=1)
        self.head = nn.Linear(4, 3)

    def forward(self, x):
        h = F.relu(self.first(x))
        h = h + F.relu_(self.shared(h))
        h = h + torch.tanh(self.shared(input=h))
        return self.head(h.mean(-1))


@pytest.mark.parametrize("positive", [False, True])
def test_a_shared_layer_is_fitted_on_all_its_uses(positive):
    torch.manual_seed(0)
    model, x = Residual().double(), normal(6, 2, 5)
    found = fit_patterns(model, x.split(2), positive)
    first = F.relu(model.first(x))
    second = first + F.relu(model.shared(first))
    third = second + torch.tanh(model.shared(second))
    used = {"first": x, "shared": torch.cat([first, second]), "head": third.mean(-1)}
    assert list(found) == list(used)
    for name, inputs in used.items():
        layer = getattr(model, name)
        expected = oracle(layer, inputs.detach(), positive)
        torch.testing.assert_close(by_neuron(layer, found[name]), expected, rtol=1e-8, atol=1e-8)


def test_it_runs_in_evaluation_mode_and_leaves_the_model_bit_for_bit():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(4, 6), nn.BatchNorm1d(6), nn.Dropout(0.5), nn.ReLU(), nn.Linear(6, 2))
    model[2].eval()
    model[0].weight.grad = torch.ones(6, 4)
    before, gradient, random = copy.deepcopy(model.state_dict()), model[0].weight.grad, torch.get_rng_state()
    x = normal(20, 4).float()
    expected = fit_patterns(copy.deepcopy(model).eval(), [x])
    found = fit_patterns(model, x.split(5))
    torch.testing.assert_close(dict(found), dict(expected), rtol=1e-4, atol=1e-5)
    assert [module.training for module in model] == [True, True, False, True, True]
    torch.testing.assert_close(model.state_dict(), before, rtol=0, atol=0)
    assert model[0].weight.grad is gradient
    assert torch.equal(gradient, torch.ones(6, 4))
    assert torch.equal(torch.get_rng_state(), random)
    assert not any(module._forward_hooks for module in model.modules())


@pytest.mark.parametrize("form", ["tensor", "tuple", "list", "dict", "other"])
def test_batches_come_in_any_of_the_usual_forms(form):
    torch.manual_seed(0)
    model, x, y = nn.Sequential(nn.Linear(4, 2)), normal(8, 4).float(), torch.zeros(8)
    batch = {"tensor": x, "tuple": (x, y), "list": [x, y], "dict": {"input": x}, "other": (y, x)}[form]
    forward = (lambda model, batch: model(batch[1])) if form == "other" else None
    found = fit_patterns(model, [batch], forward=forward)
    assert torch.equal(found["0"], fit_patterns(model, [x])["0"])


def test_max_batches_and_modules_choose_what_is_looked_at():
    torch.manual_seed(0)
    model, x = nn.Sequential(nn.Linear(4, 3), nn.ReLU(), nn.Linear(3, 2)), normal(30, 4).float()
    found = fit_patterns(model, iter(x.split(10)), modules=["2"], max_batches=2)
    assert list(found) == ["2"]
    torch.testing.assert_close(found["2"], fit_patterns(model, [x[:20]])["2"])


def test_the_progress_wrapper_gets_the_loader():
    loader, seen = [normal(8, 4).float()] * 3, []

    def progress(batches):
        seen.append(len(batches))
        return batches

    fit_patterns(nn.Sequential(nn.Linear(4, 2)), loader, progress=progress)
    assert seen == [3]


@pytest.mark.parametrize("positive", [False, True])
def test_dead_neurons_get_zero_and_are_counted(positive):
    layer = nn.Linear(4, 3)
    with torch.no_grad():
        layer.weight[1] = 0  # constant
        layer.bias[1] = 0.3
        layer.bias[2] = -1000  # never positive
    patterns = fit_patterns(nn.Sequential(layer), normal(50, 4).float().split(7), positive)
    assert patterns.dead == {"0": 2 if positive else 1}
    assert torch.equal(patterns["0"].any(1), torch.tensor([True, False, not positive]))
    assert patterns["0"].isfinite().all()


def test_saved_moved_and_loaded_patterns_are_the_same(tmp_path):
    model = nn.Sequential(nn.Linear(4, 3), nn.ReLU(), nn.Linear(3, 2))
    patterns = fit_patterns(model.bfloat16(), [normal(9, 4).bfloat16()], positive=True)
    patterns.save(tmp_path / "patterns.pt")
    loaded = Patterns.load(tmp_path / "patterns.pt")
    for kept in (loaded, loaded.to("cpu")):
        torch.testing.assert_close(dict(kept), dict(patterns), rtol=0, atol=0)
        assert kept.dead == patterns.dead
    assert loaded["0"].dtype == torch.bfloat16
    assert loaded.to("meta")["2"].device.type == "meta"


def test_attention_has_no_patterns_and_the_rest_of_the_model_has():
    model = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True)
    assert list(fit_patterns(model, [normal(3, 4, 8).float()])) == ["linear1", "linear2"]


class Idle(nn.Sequential):
    def forward(self, x):
        return self[0](x)


@pytest.mark.parametrize(
    ("model", "loader", "options", "message"),
    [
        (nn.Sequential(nn.Linear(4, 2)), [], {}, "The loader is empty"),
        (nn.Sequential(nn.ReLU()), [torch.ones(2, 4)], {}, "Sequential has no linear"),
        (nn.Sequential(nn.Linear(4, 2)), [torch.ones(2, 3)], {}, r"batch 1 of the loader, float32 of shape \(2, 3\)"),
        (nn.Sequential(nn.Linear(4, 2)), [("a",)], {}, r"\(str\): The inputs must be a tensor, got str"),
        (nn.Sequential(nn.Linear(4, 2)), [torch.full((2, 4), torch.nan)], {}, "Layer '0' has no patterns: .* NaN"),
        (nn.Sequential(nn.Linear(4, 2)), [torch.full((2, 4), torch.inf)], {}, "Layer '0' has no patterns: .* NaN"),
        (Idle(nn.Linear(4, 2), nn.Linear(2, 2)), [torch.ones(2, 4)], {}, "never ran in evaluation mode.*: 1. Leave"),
        (nn.Sequential(nn.Linear(4, 2)), [torch.ones(2, 4)], {"modules": ["1"]}, "modules: '1' of .* Those are: 0"),
        (nn.Sequential(nn.LazyLinear(2)), [torch.ones(2, 4)], {}, "come with the first batch"),
    ],
    ids=["empty", "no layer", "shape", "form", "nan", "inf", "idle", "unknown", "lazy"],
)
@pytest.mark.filterwarnings("ignore:Lazy modules")
def test_what_cannot_be_fitted_is_said(model, loader, options, message):
    with pytest.raises(ValueError, match=message):
        fit_patterns(model, loader, **options)
    assert not any(module._forward_hooks for module in model.modules())


def test_a_terminal_shows_a_bar_where_rich_is_installed(monkeypatch, capsys):
    model, loader = nn.Sequential(nn.Linear(4, 2)), [normal(8, 4).float()] * 3
    fit_patterns(model, loader)
    assert not capsys.readouterr().err
    monkeypatch.setattr("sys.stderr.isatty", lambda: True)
    with monkeypatch.context() as without_rich:
        without_rich.setattr("altprop.explain.patterns.find_spec", lambda name: None)
        fit_patterns(model, loader)
    assert not capsys.readouterr().err
    fit_patterns(model, loader)
    assert "fitting patterns" in capsys.readouterr().err


def signal_and_distractor(signal, distractor, count=20_000):
    """The paper's toy problem: x = a_s y + a_d ε, and the linear regression that finds y in it."""
    y, noise = normal(2, count, 1)
    x = y * signal + noise * distractor
    model = nn.Sequential(nn.Linear(len(signal), 1, bias=False)).double()
    with torch.no_grad():
        model[0].weight.copy_(torch.linalg.lstsq(x, y, driver="gelsd").solution.T)
    return model, x


def cosine_with(direction, explanations):
    return F.cosine_similarity(explanations, direction.expand_as(explanations)).abs()


@pytest.mark.parametrize("positive", [False, True])
@pytest.mark.parametrize("composite", [pattern_net, pattern_attribution])
def test_patterns_show_the_signal_where_the_gradient_does_not(composite, positive):
    signal, distractor = torch.tensor([1.0, 0.0]).double(), torch.tensor([1.0, 1.0]).double()
    model, x = signal_and_distractor(signal, distractor)
    patterns = fit_patterns(model, x.split(1000), positive)
    found = altprop.LRP(model, composite(patterns)).attribute(x[:50], target=0)
    assert (cosine_with(signal, found) > 0.99).all()
    gradient = altprop.LRP(model, "gradient").attribute(x[:50], target=0)
    assert (cosine_with(signal, gradient) < 0.8).all()
    torch.testing.assert_close(cosine_with(distractor, gradient), torch.zeros(50).double(), atol=1e-6, rtol=0)


def test_the_pattern_is_the_signal_in_many_dimensions():
    signal, distractor = normal(2, 30, seed=2)
    model, x = signal_and_distractor(signal, distractor)
    patterns = fit_patterns(model, x.split(1000))
    torch.testing.assert_close(patterns["0"][0], signal, atol=0.05, rtol=0)
    found = altprop.LRP(model, pattern_attribution(patterns)).attribute(x[:5], target=0)
    expected = model(x[:5]).detach() * model[0].weight.detach() * signal
    assert (F.cosine_similarity(found, expected) > 0.99).all()


def test_pattern_attribution_beats_chance_on_digits():
    model, data = trained()
    x, y = data.test.x[:100], data.test.y[:100]
    chance = pixel_flipping(model, x, None, y, order="random").area
    for positive in (False, True):
        patterns = fit_patterns(model, data.train.x.split(256), positive)
        attribution = altprop.LRP(model, pattern_attribution(patterns))
        assert (chance - pixel_flipping(model, x, attribution, y).area).mean() > 1
        signal = altprop.LRP(model, pattern_net(patterns)).attribute(x, target=y)
        assert signal.shape == x.shape
        assert signal.isfinite().all()
        assert signal.flatten(1).any(1).all()
