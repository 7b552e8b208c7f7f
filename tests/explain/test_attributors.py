"""Attributors against loops over their definitions, captum's own results and zennit's formulas; and LRP in captum."""

import itertools
import sys
from importlib import import_module

import pytest
import torch
from captum import attr
from torch import nn

import altprop
from altprop.explain.attributors import InputXGradient, IntegratedGradients, Occlusion, SmoothGrad

COMPOSITES = ["gradient", "guided_backprop", "epsilon", "epsilon_plus"]


def normal(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def make_net():
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(2, 4, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Dropout(0.5), nn.Linear(24, 3)
    ).double()


class TwoInputs(nn.Module):
    """Two inputs, an argument that is not explained, and an output of (batch, places, classes)."""

    def __init__(self):
        super().__init__()
        self.left, self.right = nn.Linear(4, 6), nn.Linear(3, 6)

    def forward(self, x, y, scale):
        return (torch.relu(self.left(x) + self.right(y)) * scale[:, None]).unflatten(1, (2, 3))


def make_two_inputs():
    torch.manual_seed(0)
    return TwoInputs().double(), (normal(3, 4), normal(3, 3, seed=1)), torch.tensor([1.0, 2.0, 0.5]).double()


x = normal(3, 2, 4, 6)
TARGETS = {
    "int": 2,
    "tensor": torch.tensor([0, 2, 1]),
    "weights": normal(3, 3, seed=5),
}


@pytest.mark.parametrize("composite", COMPOSITES)
def test_input_times_gradient(composite):
    model = make_net()
    found = InputXGradient(model, composite).attribute(x, target=1)
    torch.testing.assert_close(found, x * altprop.LRP(model, composite).attribute(x, target=1))


@pytest.mark.parametrize("target", TARGETS.values(), ids=TARGETS)
@pytest.mark.parametrize("composite", COMPOSITES)
def test_smooth_grad_is_the_mean_over_noisy_inputs(composite, target):
    model, generator = make_net(), torch.Generator().manual_seed(7)
    lrp = altprop.LRP(model, composite)
    expected = torch.zeros_like(x)
    deviation = torch.stack([0.2 * (image.max() - image.min()) for image in x]).view(3, 1, 1, 1)
    for _ in range(5):
        noise = torch.randn(x.shape, generator=generator, dtype=x.dtype)
        expected += lrp.attribute(x + deviation * noise, target=target)
    found = SmoothGrad(model, composite).attribute(x, target=target, n_samples=5, noise=0.2, seed=7)
    torch.testing.assert_close(found, expected / 5)


@pytest.mark.parametrize("composite", COMPOSITES)
def test_smooth_grad_without_noise_is_the_modified_gradient_as_in_zennit(composite):
    model = make_net()
    found = SmoothGrad(model, composite).attribute(x, target=1, n_samples=3, noise=0.0)
    torch.testing.assert_close(found, altprop.LRP(model, composite).attribute(x, target=1))


def test_smooth_grad_repeats_and_leaves_torchs_random_state_alone():
    smooth, state = SmoothGrad(make_net(), "epsilon"), torch.get_rng_state()
    first, again, other = (smooth.attribute(x, target=1, n_samples=3, seed=seed) for seed in (1, 1, 2))
    assert torch.equal(first, again)
    assert not torch.allclose(first, other)
    assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.parametrize("target", TARGETS.values(), ids=TARGETS)
@pytest.mark.parametrize("multiply", [True, False])
@pytest.mark.parametrize("composite", COMPOSITES)
def test_integrated_gradients_are_zennits_sum_along_the_line(composite, multiply, target):
    model, baseline = make_net(), 0.1 * normal(3, 2, 4, 6, seed=1)
    lrp, total = altprop.LRP(model, composite), torch.zeros_like(x)
    for step in range(1, 9):
        total += lrp.attribute(baseline + step / 8 * (x - baseline), target=target) / 8
    expected = total * (x - baseline) if multiply else total
    found = IntegratedGradients(model, composite, multiply_by_inputs=multiply).attribute(
        x, target=target, baselines=baseline, n_steps=8, method="riemann_right"
    )
    torch.testing.assert_close(found, expected, rtol=1e-6, atol=1e-8)


@pytest.mark.parametrize("batch_size", [None, 4])
def test_with_the_gradient_it_is_captums_own_integrated_gradients(batch_size):
    model = make_net().eval()
    expected = attr.IntegratedGradients(model).attribute(x, target=1, n_steps=10)
    found = IntegratedGradients(model).attribute(x, target=1, n_steps=10, batch_size=batch_size)
    torch.testing.assert_close(found, expected)
    own = x.clone().requires_grad_()
    torch.testing.assert_close(InputXGradient(model).attribute(x, 1), attr.InputXGradient(model).attribute(own, 1))


@pytest.mark.parametrize("make", [SmoothGrad, IntegratedGradients, InputXGradient])
@pytest.mark.parametrize("target", [None, (1, 2), [(0, 1), (1, 0), (1, 2)], normal(3, 2, 3, seed=4)])
def test_several_inputs_and_outputs_of_more_dimensions(make, target):
    model, inputs, scale = make_two_inputs()
    found = make(model).attribute(inputs, target, scale)
    assert [part.shape for part in found] == [part.shape for part in inputs]
    joined = JoinedInputs(model, scale)
    expected = make(joined).attribute(torch.cat(inputs, 1), target)
    if make is not SmoothGrad:  # whose noise is drawn for each input
        torch.testing.assert_close(torch.cat(found, 1), expected)
    assert all(part.any() for part in found)


class JoinedInputs(nn.Module):
    def __init__(self, model, scale):
        super().__init__()
        self.model, self.scale = model, scale

    def forward(self, xy):
        scale = self.scale.repeat(len(xy) // len(self.scale))
        return self.model(xy[:, :4], xy[:, 4:], scale)


@pytest.mark.parametrize("make", [SmoothGrad, IntegratedGradients, Occlusion])
def test_without_a_target_it_is_the_arg_max_of_the_input_as_it_is(make):
    model = make_net().eval()
    winners = model(x).argmax(1)
    assert len(winners.unique()) > 1
    torch.testing.assert_close(make(model).attribute(x), make(model).attribute(x, target=winners))


def test_one_example_with_a_target_tensor():
    model = make_net().eval()
    found = IntegratedGradients(model).attribute(x[:1], target=torch.tensor([2]))
    torch.testing.assert_close(found, attr.IntegratedGradients(model).attribute(x[:1], target=2))


def occlusion_by_hand(model, image, target, window, stride, baseline):
    """One image, one window at a time; a position gets the mean over the windows that it lies in."""
    (height, width), full = image.shape[1:], model(image[None])[0, target]
    total, count = torch.zeros_like(image), torch.zeros_like(image)
    starts = [range(0, n - w + s, s) for n, w, s in zip((height, width), window, stride, strict=True)]
    for top, left in itertools.product(*starts):
        place = (slice(None), slice(top, top + window[0]), slice(left, left + window[1]))
        covered = image.clone()
        covered[place] = baseline[place]
        total[place] += full - model(covered[None])[0, target]
        count[place] += 1
    return total / count


def both(value):
    return value if isinstance(value, tuple) else (value, value)


@pytest.mark.parametrize(
    ("window", "stride"), [(2, None), ((2, 3), None), ((2, 3), (1, 2)), (3, 1), (8, None)], ids=str
)
def test_occlusion_is_the_fall_of_the_output(window, stride):
    model = make_net().eval()
    sizes = tuple(min(pair) for pair in zip(x.shape[2:], both(window), strict=True))
    strides = sizes if stride is None else both(stride)
    mean = x.mean((2, 3), keepdim=True).expand_as(x)
    expected = torch.stack(
        [occlusion_by_hand(model, image, 1, sizes, strides, own) for image, own in zip(x, mean, strict=True)]
    )
    found = Occlusion(model).attribute(x, target=1, window=window, stride=stride, baseline="mean")
    torch.testing.assert_close(found, expected.detach(), rtol=1e-5, atol=1e-6)


def test_occlusion_of_features():
    torch.manual_seed(0)
    model, features = nn.Linear(6, 3).double(), normal(4, 6)
    found = Occlusion(model).attribute(features, target=2, window=1)
    torch.testing.assert_close(found, (features * model.weight[2]).detach(), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("make", [SmoothGrad, IntegratedGradients, InputXGradient, Occlusion])
def test_they_explain_in_evaluation_mode_and_leave_the_model_as_it_was(make):
    model = make_net()
    model[1].eval()
    found = make(model).attribute(x, target=1)
    assert [module.training for module in model] == [True, False, True, True, True, True]
    torch.testing.assert_close(found, make(make_net().eval()).attribute(x, target=1))
    assert not found.requires_grad
    assert not x.requires_grad
    assert all(parameter.grad is None for parameter in model.parameters())


@pytest.mark.parametrize(
    ("attribute", "error", "message"),
    [
        (lambda: SmoothGrad(make_net()).attribute(x.long()), TypeError, "floating point.*got torch.int64"),
        (lambda: SmoothGrad(make_net()).attribute({"x": x}), TypeError, "got dict"),
        (lambda: SmoothGrad(make_net()).attribute(x, n_samples=0), ValueError, "n_samples must be at least 1"),
        (lambda: SmoothGrad(make_net()).attribute(x, noise=-1.0), ValueError, "noise at least 0"),
        (lambda: Occlusion(make_net()).attribute(x, window=0), ValueError, "window must be at least 1"),
        (lambda: Occlusion(make_net()).attribute(x, stride=(1,)), ValueError, "stride must be"),
        (lambda: Occlusion(make_net()).attribute(x, target=3), ValueError, "target 3 is out of range"),
    ],
)
def test_bad_arguments_are_said(attribute, error, message):
    with pytest.raises(error, match=message):
        attribute()


def test_without_captum_the_error_names_the_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "captum", None)
    monkeypatch.delitem(sys.modules, "altprop.explain.attributors")
    with pytest.raises(ModuleNotFoundError, match=r"need captum.*pip install .*\[explain\]"):
        import_module("altprop.explain.attributors")


# What captum's NoiseTunnel asks of the method within it, beyond attribute(inputs, target=...): forward_func,
# multiplies_by_inputs, has_convergence_delta(), and attribute.__wrapped__ (it calls the method without its decorator).


@pytest.mark.parametrize("target", [1, torch.tensor([0, 2, 1])])
def test_lrp_is_at_home_in_captums_noise_tunnel(target):
    model = make_net().eval()
    tunnel = attr.NoiseTunnel(altprop.LRP(model, "epsilon"))
    torch.manual_seed(3)
    found = tunnel.attribute(x, nt_samples=4, stdevs=0.1, target=target)
    torch.manual_seed(3)
    noisy = x.repeat_interleave(4, dim=0) + torch.normal(0, torch.full((12, 2, 4, 6), 0.1))
    repeated = target if isinstance(target, int) else target.repeat_interleave(4)
    each = altprop.LRP(model, "epsilon").attribute(noisy, target=repeated)
    torch.testing.assert_close(found, each.view(3, 4, 2, 4, 6).mean(1))


def test_the_noise_tunnel_passes_on_the_convergence_delta():
    model = make_net().eval()
    tunnel = attr.NoiseTunnel(altprop.LRP(model, "epsilon"))
    _, delta = tunnel.attribute(x, nt_samples=4, stdevs=0.0, target=1, return_convergence_delta=True)
    _, expected = altprop.LRP(model, "epsilon").attribute(x, target=1, return_convergence_delta=True)
    torch.testing.assert_close(delta, expected.repeat_interleave(4))


def test_with_the_gradient_the_noise_tunnel_gives_captums_own_smooth_grad():
    model, found = make_net().eval(), []
    for method in (altprop.LRP(model, "gradient"), attr.Saliency(model)):
        torch.manual_seed(3)
        options = {} if isinstance(method, altprop.LRP) else {"abs": False}
        found.append(attr.NoiseTunnel(method).attribute(x, nt_samples=4, stdevs=0.1, target=1, **options))
    torch.testing.assert_close(*found)


ONE_PLACE = {"riemann_right": 1.0, "riemann_left": 0.0, "riemann_middle": 0.5, "gausslegendre": 0.5}


@pytest.mark.parametrize("composite", ["gradient", "epsilon"])
@pytest.mark.parametrize("method, place", ONE_PLACE.items())
def test_integrated_gradients_of_one_step_look_at_one_place(method, place, composite):
    model, start = make_net(), normal(3, 2, 4, 6, seed=3)
    g = altprop.LRP(model, composite).attribute(start + place * (x - start), target=model.eval()(x).argmax(1))
    model.train()
    for multiply in (True, False):
        integrated = IntegratedGradients(model, composite, multiply_by_inputs=multiply)
        found = integrated.attribute(x, baselines=start, n_steps=1, method=method)
        torch.testing.assert_close(found, g * (x - start) if multiply else g)


def test_one_step_with_two_inputs_and_a_number_for_each_baseline():
    model, inputs, scale = make_two_inputs()
    found = IntegratedGradients(model).attribute(
        inputs, (0, -1), scale, baselines=(0.5, 1), n_steps=1, method="riemann_right"
    )
    right = altprop.LRP(model, "gradient").attribute(inputs, (0, 2), scale)
    for part, g, value, start in zip(found, right, inputs, (0.5, 1), strict=True):
        torch.testing.assert_close(part, g * (value - start))


@pytest.mark.parametrize(
    "n_steps, method, message",
    [
        (0, "gausslegendre", "a whole number from 1 for 'gausslegendre', got 0"),
        (-3, "riemann_left", "a whole number from 1 for 'riemann_left', got -3"),
        (2.5, "riemann_left", "a whole number from 1 for 'riemann_left', got 2.5"),
        (1, "riemann_trapezoid", "a whole number from 2 for 'riemann_trapezoid', got 1"),
        (5, "simpson", "There is no method 'simpson'. There are: gausslegendre"),
    ],
)
def test_steps_and_methods_that_there_are_not(n_steps, method, message):
    with pytest.raises(ValueError, match=message):
        IntegratedGradients(make_net()).attribute(x, 1, n_steps=n_steps, method=method)


@pytest.mark.parametrize("target, same", [(-1, 2), ([-1], [2, 2, 2]), (torch.tensor([-1, 0, -2]), [2, 0, 1])])
def test_targets_from_the_end_in_every_attributor(target, same):
    model = make_net()
    for attributor in (InputXGradient, SmoothGrad, IntegratedGradients, Occlusion):
        found, right = (attributor(model).attribute(x, given) for given in (target, same))
        torch.testing.assert_close(found, right)
