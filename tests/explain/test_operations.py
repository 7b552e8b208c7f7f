"""What operations hand back, in whatever form a model writes them: against formulas, twins and plain gradients."""

import copy
import pickle

import pytest
import torch
from torch import nn
from torch.nn import functional as F

import altprop
from altprop.explain import Composite, Epsilon, Flat, Gamma, Norm, Pass, WSquare, ZBox, composites, first
from altprop.ops import names
from tests.identities import Copy, Hooked


@pytest.fixture(autouse=True)
def double():
    torch.set_default_dtype(torch.float64)
    torch.manual_seed(0)
    yield
    torch.set_default_dtype(torch.float32)


class Net(nn.Module):
    """last(f(first(x))), without biases."""

    def __init__(self, f, out=2):
        super().__init__()
        self.f, self.first = f, nn.Linear(6, 6, bias=False)
        self.last = nn.Linear(6, out, bias=False) if out else nn.Identity()

    def forward(self, x):
        return self.last(self.f(self.first(x)))


class Function(nn.Module):
    """A function of the inputs alone."""

    def __init__(self, f):
        super().__init__()
        self.f = f

    def forward(self, *inputs):
        return self.f(*inputs)


def exact(model, x, target=0, composite=None, **options):
    return altprop.LRP(model, composite or composites.epsilon(1e-12, 1e-12), strict=True).attribute(
        x, target, **options
    )


def times_gradient(model, x, target=0):
    x = x.clone().requires_grad_()
    return (x * torch.autograd.grad(model(x)[:, target].sum(), x)[0]).detach()


# Layers, in every form


W, B = torch.randn(6, 6, dtype=torch.float64), torch.randn(6, dtype=torch.float64)
AS_LAYERS = {
    "linear, keywords": lambda h: F.linear(input=h, weight=W, bias=B),
    "addmm": lambda h: torch.addmm(B, h, W.t()),
    "addmm, keywords": lambda h: torch.addmm(input=B, mat1=h, mat2=W.t()),
    "addmm, scaled": lambda h: torch.addmm(B / 2, h, W.t() / 4, beta=2, alpha=4),
    "addmm, bias of the output's shape": lambda h: torch.addmm(B.expand(len(h), -1), h, W.t()),
    "addmm, weight first": lambda h: torch.addmm(B[:, None], W, h.t()).t(),
    "addmv": lambda h: torch.stack([torch.addmv(B, W, row) for row in h]),
    "baddbmm": lambda h: torch.baddbmm(B.expand(1, 1, -1), h[None], nn.Parameter(W.t())[None])[0],
    "matmul": lambda h: h @ W.t() + B,
    "matmul, 3-d": lambda h: (h[:, None] @ W.t())[:, 0] + B,
    "matmul, weight first": lambda h: (W @ h.t()).t() + B,
    "mm, keywords": lambda h: torch.mm(h, mat2=W.t()) + B,
    "mv": lambda h: torch.stack([W.mv(row) for row in h]) + B,
    "einsum": lambda h: torch.einsum("oi,bi->bo", W, h) + B,
    "einsum, a list": lambda h: torch.einsum("bi,oi->bo", [h, W]) + B,
    "tensordot": lambda h: torch.tensordot(h, W, dims=([1], [1])) + B,
    "inner": lambda h: torch.inner(h, W) + B,
    "rmatmul": lambda h: W.__matmul__(h.t()).t() + B,
}


@pytest.mark.parametrize("rule", [Gamma(0.25), Flat(), WSquare(), Epsilon(), ZBox(-9.0, 9.0)], ids=repr)
@pytest.mark.parametrize("form", AS_LAYERS)
def test_a_weight_makes_a_layer_in_every_form(form, rule):
    x, same = torch.randn(3, 6), Net(nn.Linear(6, 6))
    model = Net(AS_LAYERS[form])
    same.load_state_dict(model.state_dict(), strict=False)
    same.f.weight.data, same.f.bias.data = W.clone(), B.clone()
    if "addm" not in form and "linear" not in form and "badd" not in form:
        same.f = nn.Sequential(nn.Linear(6, 6, bias=False), Function(lambda h: h + B))
        same.f[0].weight.data = W.clone()
    pairs = Composite([(nn.Linear, rule)], stabiliser=1e-9)
    torch.testing.assert_close(exact(model, x, composite=pairs), exact(same, x, composite=pairs))


def test_gpt2s_layers_have_the_rule_of_linear_ones():
    class Conv1D(nn.Module):
        def __init__(self, linear):
            super().__init__()
            self.weight, self.bias = nn.Parameter(linear.weight.t().clone()), nn.Parameter(linear.bias.clone())

        def forward(self, x):
            return torch.addmm(self.bias, x.view(-1, x.size(-1)), self.weight).view(*x.shape[:-1], -1)

    linear = nn.Sequential(nn.Linear(4, 8), nn.GELU(), nn.Linear(8, 3))
    model = nn.Sequential(Conv1D(linear[0]), nn.GELU(), Conv1D(linear[2]))
    x, composite = torch.randn(2, 5, 4), composites.attn_lrp(gamma=0.25)
    torch.testing.assert_close(exact(model, x, (1, 2), composite), exact(linear, x, (1, 2), composite))
    lrp, twin = altprop.LRP(model, "epsilon"), altprop.LRP(linear, "epsilon")
    found = lrp.weight_relevance(x, (1, 2))["0.weight"]
    torch.testing.assert_close(found, twin.weight_relevance(x, (1, 2))["0.weight"].t())


def test_a_weight_made_by_a_function_of_the_models_own_is_a_weight():
    class Rounded(torch.autograd.Function):
        @staticmethod
        def forward(ctx, w):
            return (w * 8).round() / 8

        @staticmethod
        def backward(ctx, g):
            return g

    weight = nn.Parameter(torch.randn(6, 6))
    model, same = Net(lambda h: F.linear(h, Rounded.apply(weight))), Net(nn.Linear(6, 6, bias=False))
    same.load_state_dict(model.state_dict(), strict=False)
    same.f.weight.data = Rounded.apply(weight).detach()
    x, composite = torch.randn(2, 6), composites.attn_lrp(gamma=0.25)
    torch.testing.assert_close(exact(model, x, 0, composite), exact(same, x, 0, composite))


def test_a_table_with_a_function_twice_is_an_error():
    def rule(*args):
        return None

    with pytest.raises(ValueError, match="addmm twice"):
        names.joined([(("addmm", "addmv"), rule), (("mm", "addmm"), rule)])


# Sums, products, distances: all that a function takes adds up to what it returns


SPREAD = 9 * torch.eye(4, dtype=torch.float64) + 1
SUMS = {
    "addmm of activations": lambda a, b: torch.addmm(a, a, b),
    "addmm, scaled": lambda a, b: torch.addmm(a, a, b, beta=3, alpha=-2),
    "addcmul": lambda a, b: torch.addcmul(a, a, b, value=2),
    "addcdiv": lambda a, b: torch.addcdiv(a, a, b),
    "addcdiv of a constant": lambda a, b: torch.addcdiv(a, torch.ones_like(b), b),
    "addr": lambda a, b: torch.addr(a, a[0], b[0]),
    "baddbmm": lambda a, b: torch.baddbmm(a[None], a[None], b[None])[0],
    "addbmm": lambda a, b: torch.addbmm(a, a[None], b[None]),
    "lerp": lambda a, b: torch.lerp(a, b, a.sigmoid()),
    "bilinear": lambda a, b: F.bilinear(a, b, torch.ones(4, 4, 4)),
    "bilinear, computed": lambda a, b: F.bilinear(a, b, a.expand(4, 4, 4)),
    "einsum": lambda a, b: torch.einsum("ij,kj->ik", a, b),
    "einsum, a list": lambda a, b: torch.einsum("ij,kj->ik", [a, b]),
    "bmm, keyword": lambda a, b: torch.bmm(a[None], mat2=b[None])[0],
    "linear, computed": lambda a, b: F.linear(a, b, a[0]),
    "var": lambda a, b: (a + b).var(1, keepdim=True).expand(4, 4),
    "std": lambda a, b: (a + b).std(1, keepdim=True).expand(4, 4),
    "norm": lambda a, b: (a - b).norm(dim=1, keepdim=True).expand(4, 4),
    "prod": lambda a, b: (a * b).prod(1, keepdim=True).expand(4, 4),
    "inverse": lambda a, b: torch.linalg.inv(a * SPREAD) + b,
    "solve": lambda a, b: torch.linalg.solve(a * SPREAD, b),
    "cosine": lambda a, b: F.cosine_similarity(a, b)[:, None].expand(4, 4),
    "cosine of all": lambda a, b: F.cosine_similarity(a[:, None], b[None], dim=-1),
    "cdist": torch.cdist,
    "mse": lambda a, b: F.mse_loss(a, b).expand(4, 4),
    "mse, none": lambda a, b: F.mse_loss(a, b, reduction="none"),
    "l1": lambda a, b: F.l1_loss(a, b, reduction="sum").expand(4, 4),
    "smooth l1": lambda a, b: F.smooth_l1_loss(a, b, beta=0.5).expand(4, 4),
    "huber": lambda a, b: F.huber_loss(a, b, delta=0.5).expand(4, 4),
    "cat": lambda a, b: torch.cat(tensors=[a, b]),
    "scatter_reduce": lambda a, b: a.scatter_reduce(1, torch.zeros(4, 4, dtype=torch.long), b, "mean"),
}


@pytest.mark.parametrize("name", SUMS)
def test_all_that_an_operation_takes_adds_up_to_its_value(name):
    a, b = torch.rand(4, 4) + 0.1, torch.rand(4, 4) + 1.2
    model = Function(SUMS[name])
    z = model(a, b)
    R = torch.rand(z.shape) * z
    assert float(sum(r.sum() for r in exact(model, (a, b), R))) == pytest.approx(float(R.sum()), abs=1e-6)


def test_a_scale_and_a_shift_that_are_computed_have_their_shares():
    a, b = torch.rand(4, 4) + 0.1, torch.rand(4, 4) + 1.2
    fused = Function(lambda a, b: F.layer_norm(a, (4,), b[0] * 2, b[1] * 3))
    written = Function(lambda a, b: F.layer_norm(a, (4,)) * (b[0] * 2) + b[1] * 3)
    for found, right in zip(*(exact(model, (a, b), 0) for model in (fused, written)), strict=True):
        torch.testing.assert_close(found, right)


def test_a_variance_is_that_of_its_formula():
    x = torch.randn(3, 6)
    written = Net(lambda h: (h - h.mean(1, keepdim=True)).square().sum(1, keepdim=True) / 5, out=0)
    model = Net(lambda h: h.var(1, keepdim=True), out=0)
    model.load_state_dict(written.state_dict())
    torch.testing.assert_close(exact(model, x), exact(written, x))


def test_a_distance_within_the_model_is_that_of_its_formula():
    x, t = torch.randn(3, 6), torch.randn(3, 6)
    written = Net(lambda h: (h - t).abs().pow(2).mean(1, keepdim=True), out=0)
    model = Net(lambda h: F.mse_loss(h, t, reduction="none").mean(1, keepdim=True), out=0)
    model.load_state_dict(written.state_dict())
    torch.testing.assert_close(exact(model, x), exact(written, x))


def test_a_loss_without_a_rule_is_told_by_name():
    model, x = Net(lambda h: F.soft_margin_loss(h, torch.ones(2, 6), reduction="none")), torch.randn(2, 6)
    with pytest.raises(RuntimeError, match=r"no rule for .*soft_margin_loss"):
        exact(model, x)


# In place


def through_a_view(h):
    kept = h + 1
    h[:, :3].mul_(2)
    return kept + h


IN_PLACE = {
    "index_add_": lambda h: torch.zeros(2, 6).index_add_(0, torch.tensor([0, 0, 1]), h)[:1].expand(3, 6),
    "index_put_": lambda h: torch.zeros(2, 6).index_put_((torch.tensor([0, 0, 1]),), h, accumulate=True)[:1] + 0 * h,
    "scatter_add_": lambda h: torch.zeros(3, 6).scatter_add_(1, torch.zeros(3, 6, dtype=torch.long), h),
    "scatter_reduce_": lambda h: torch.zeros(3, 6).scatter_reduce_(1, torch.zeros(3, 6, dtype=torch.long), h, "sum"),
    "put_": lambda h: torch.zeros(3, 6).put_(torch.zeros(18, dtype=torch.long), h, accumulate=True),
    "cumsum_": lambda h: h.cumsum_(1),
    "lerp_": lambda h: h.lerp_(h.flip(1), 0.3),
    "addmm_": lambda h: torch.zeros(3, 6).addmm_(h, W),
    "part of a buffer": lambda h: filled(torch.zeros(2, 3, 6), h),
    "squeeze_": lambda h: h.unsqueeze_(0).squeeze_(0),
    "t_": lambda h: h.t_().t(),
    "transpose_": lambda h: h.transpose_(0, 1).transpose_(0, 1),
    "tril_": lambda h: h.tril_(),
    "negated through a view": through_a_view,
}


def filled(buffer, h):
    buffer[0].add_(h)
    buffer[1] += h.flip(1)
    return buffer.sum(0)


@pytest.mark.parametrize("name", IN_PLACE)
def test_in_place_operations_on_layers_and_constants(name):
    model, x = Net(IN_PLACE[name]), torch.randn(3, 6)
    torch.testing.assert_close(exact(model, x), times_gradient(model, x))


def test_an_operation_in_place_that_no_rule_knows_is_its_twin():
    model, x = Net(lambda h: torch.zeros(3, 6).add(h).xlogy_(2.0)), torch.randn(3, 6)
    twin = Net(lambda h: torch.xlogy(h, 2.0))
    twin.load_state_dict(model.state_dict())
    torch.testing.assert_close(exact(model, x), exact(twin, x))


# Attention


def test_what_depends_on_no_input_takes_nothing_of_attention():
    q, k, x = torch.randn(1, 3, 8), torch.randn(1, 3, 8), torch.randn(1, 3, 8)
    total = {}
    for name, operands in {
        "v": lambda x: (q, k, x),
        "k and v": lambda x: (q, x, x),
        "q": lambda x: (x, k, k),
    }.items():
        model = Function(lambda x, operands=operands: F.scaled_dot_product_attention(*operands(x)).flatten(1))
        written = Function(lambda x, operands=operands: attended(*operands(x)).flatten(1))
        torch.testing.assert_close(exact(model, x), exact(written, x))
        total[name] = exact(model, x)
    model = Function(lambda x: F.scaled_dot_product_attention(q, k, x).flatten(1))
    torch.testing.assert_close(total["v"], times_gradient(model, x))


def attended(q, k, v):
    return F.softmax(q @ k.transpose(1, 2) / 8**0.5, -1) @ v


def test_a_mask_that_is_computed_is_a_term_of_the_scores():
    q, x = torch.randn(1, 3, 4), torch.randn(1, 3, 4)
    fused = Function(lambda x: F.scaled_dot_product_attention(q, q, x, x @ q.transpose(1, 2)).flatten(1))
    written = Function(lambda x: (F.softmax(q @ q.mT / 2 + x @ q.transpose(1, 2), -1) @ x).flatten(1))
    torch.testing.assert_close(exact(fused, x), exact(written, x))


# Types of numbers and results


COMPLEX = {
    "rotary": lambda h: torch.view_as_real(torch.view_as_complex(h.view(-1, 3, 2)) * TURN).flatten(1),
    "fft": lambda h: torch.fft.fft(h).real,
    "there and back": lambda h: torch.fft.irfft(torch.fft.rfft(h) * torch.arange(4), 6),
    "a complex matrix": lambda h: (h.to(torch.complex128) @ torch.complex(W, W.t())).imag,
    "divided": lambda h: (torch.complex(h, h.flip(1)) / (1 + 2j)).real,
    "added": lambda h: (torch.complex(h, h) + torch.complex(h.flip(1), -h)).imag,
}
TURN = torch.polar(torch.ones(3, dtype=torch.float64), torch.arange(3.0, dtype=torch.float64))


@pytest.mark.parametrize("name", COMPLEX)
def test_linear_maps_of_complex_numbers_are_input_times_gradient(name):
    model, x = Net(COMPLEX[name]), torch.randn(2, 6)
    torch.testing.assert_close(exact(model, x), times_gradient(model, x))


def test_a_complex_layer_cannot_have_every_rule():
    model = Net(COMPLEX["a complex matrix"])
    with pytest.raises(ValueError, match="complex numbers"):
        exact(model, torch.randn(2, 6), composite=Composite([(nn.Linear, Gamma())]))


@pytest.mark.parametrize(
    "named",
    [
        lambda h: h.cummax(1).values,
        lambda h: h.max(1, keepdim=True).values.expand(-1, 6),
        lambda h: h.topk(6).values,
        lambda h: h.sort(1, descending=True).values,
        lambda h: h.median(1, keepdim=True).values.expand(-1, 6),
        lambda h: torch.aminmax(h, dim=1, keepdim=True).max.expand(-1, 6),
    ],
)
def test_results_with_names_keep_them(named):
    model, x = Net(named), torch.randn(2, 6)
    torch.testing.assert_close(exact(model, x), times_gradient(model, x))


def test_results_with_names_of_functions_without_a_rule_keep_them():
    model, x = Net(lambda h: torch.linalg.qr(h.t() @ h).R), torch.randn(7, 6)
    with pytest.warns(UserWarning, match=r"no rule for .*linalg\.qr"):
        assert altprop.LRP(model, "epsilon").attribute(x, 0).isfinite().all()


@pytest.mark.parametrize("composite", ["epsilon", "epsilon_plus", "attn_lrp", "epsilon_plus_flat"])
def test_autocast_within_the_model_is_explained_to_its_precision(composite):
    class Cast(nn.Sequential):
        def forward(self, x):
            with torch.autocast("cpu", dtype=torch.bfloat16):
                return super().forward(x).float()

    layers = [nn.Conv1d(1, 4, 3), nn.BatchNorm1d(4), nn.ReLU(), nn.Flatten(), nn.LayerNorm(16), nn.Linear(16, 2)]
    model, x = Cast(*layers).float().eval(), torch.rand(2, 1, 6).float()
    found = altprop.LRP(model, composite).attribute(x, 0)
    plain = altprop.LRP(nn.Sequential(*layers).eval(), composite).attribute(x, 0)
    assert found.dtype == torch.float32 and float((found - plain).norm() / plain.norm()) < 0.05


# Weights


@pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel lengths")
@pytest.mark.parametrize("kernel, dilation", [(4, 1), ((4, 3), 1), (2, 3)])
def test_weights_of_even_kernels_have_relevance(kernel, dilation):
    conv = nn.Conv2d(1, 3, kernel, padding="same", dilation=dilation, bias=False)
    model = nn.Sequential(conv, nn.ReLU(), nn.Flatten(), nn.Linear(108, 2, bias=False))
    x = torch.randn(2, 1, 6, 6)
    right = conv.weight * torch.autograd.grad(model(x)[:, 0].sum(), conv.weight)[0]
    lrp = altprop.LRP(model, composites.epsilon(1e-12, 1e-12))
    torch.testing.assert_close(lrp.weight_relevance(x, 0)["0.weight"], right.detach())


CHANGES = {
    "copied": lambda w: w.data.copy_(torch.randn_like(w)),
    "one value": lambda w: w.data[3].view(-1)[1:2].add_(1.0),
    "exchanged": lambda w: w.data.copy_(w.data.flip(0)),
    "numpy": lambda w: w.detach().numpy().__setitem__((slice(0, 1),), 3.0),
    "another": lambda w: setattr(w, "data", torch.randn_like(w)),
}


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("width", [6, 80])
def test_weights_that_change_unseen_by_autograd_are_noticed(change, width):
    model = nn.Sequential(nn.Linear(4, width), nn.ReLU(), nn.Linear(width, width), nn.ReLU(), nn.Linear(width, 2))
    x, lrp = torch.rand(3, 4), altprop.LRP(model, "alpha1_beta0")
    lrp.attribute(x, 0)
    CHANGES[change](model[2].weight)
    torch.testing.assert_close(lrp.attribute(x, 0), altprop.LRP(model, "alpha1_beta0").attribute(x, 0))


def test_a_batch_norm_that_changes_unseen_is_noticed():
    model = nn.Sequential(nn.Conv1d(1, 3, 2), nn.BatchNorm1d(3), nn.ReLU(), nn.Flatten(), nn.Linear(9, 2)).eval()
    x, lrp = torch.rand(3, 1, 4), altprop.LRP(model, "epsilon_plus")
    lrp.attribute(x, 0)
    model[1].weight.data.mul_(-1)
    model[1].running_var.data.mul_(4)
    torch.testing.assert_close(lrp.attribute(x, 0), altprop.LRP(model, "epsilon_plus").attribute(x, 0))


@pytest.mark.parametrize("again", [lambda lrp: pickle.loads(pickle.dumps(lrp)), copy.deepcopy])
def test_an_explainer_can_be_copied(again):
    model, x = nn.Sequential(nn.Linear(4, 5), nn.ReLU(), nn.Linear(5, 2)), torch.randn(2, 4)
    lrp = altprop.LRP(model, "alpha1_beta0")
    right = lrp.attribute(x, 0)
    torch.testing.assert_close(again(lrp).attribute(x, 0), right)


def test_nothing_stays_on_parameters():
    model = Net(lambda h: h + model.last.weight[0] * h)
    exact(model, torch.randn(2, 6))
    assert not any(vars(parameter) for parameter in model.parameters())


@pytest.mark.parametrize("composite", ["epsilon", "epsilon_plus_flat", "gradient", "attn_lrp"])
def test_a_model_made_in_inference_mode_is_explained(composite):
    def make():
        torch.manual_seed(3)
        layers = [nn.Conv1d(1, 3, 2), nn.BatchNorm1d(3), nn.PReLU(), nn.Flatten(), nn.LayerNorm(9), nn.Linear(9, 2)]
        return nn.Sequential(*layers).eval()

    with torch.inference_mode():
        model = make()
    x = torch.randn(3, 1, 4)
    right = altprop.LRP(make(), composite).attribute(x, 0)
    torch.testing.assert_close(altprop.LRP(model, composite).attribute(x, 0), right)


# Pairs of a composite


def of_one(layer, rule, x, **options):
    model = nn.Sequential(layer, nn.Flatten()).eval()
    return altprop.LRP(model, Composite([(type(layer), rule)], **options)).attribute(x, torch.ones_like(model(x)))


@pytest.mark.parametrize("otherwise", ["relevance", "gradient"])
def test_a_pair_holds_whatever_the_others_do(otherwise):
    x, options = torch.rand(2, 1, 4) + 1, {"otherwise": otherwise}
    mean = F.avg_pool1d(x, 2)
    torch.testing.assert_close(
        of_one(nn.AvgPool1d(2), Norm(0.5), x, **options), x / 2 / (mean + 0.5).repeat_interleave(2, 2)
    )
    torch.testing.assert_close(of_one(nn.Softmax(-1), Pass(), x, **options), torch.ones_like(x))
    for norm in (nn.BatchNorm1d(1), nn.LayerNorm(4), nn.GroupNorm(1, 1), nn.InstanceNorm1d(1), nn.RMSNorm(4)):
        torch.testing.assert_close(of_one(norm, Pass(), x, **options), torch.ones_like(x))
    # A batch norm without statistics to take away: x / √(1 + ε), which is in proportion to x alone.
    torch.testing.assert_close(of_one(nn.BatchNorm1d(1), Norm(1e-12), x, **options), torch.ones_like(x))


@pytest.mark.parametrize(
    "cls, rule",
    [
        (nn.Softmax, Epsilon()),
        (nn.AvgPool2d, Pass()),
        (nn.MaxPool2d, Norm()),
        (nn.ReLU, Gamma()),
        (nn.Dropout, Pass()),
        (nn.LayerNorm, Epsilon()),
        ((nn.Linear, nn.Flatten), Epsilon()),
    ],
)
def test_a_pair_that_cannot_hold_is_an_error(cls, rule):
    with pytest.raises(ValueError, match=r"cannot be the rule of"):
        Composite([(cls, rule)])


def test_a_pattern_that_holds_for_nothing_is_told():
    model, x = nn.Sequential(nn.Linear(4, 3), nn.Sequential(nn.ReLU(), nn.Linear(3, 2))), torch.randn(2, 4)
    for pattern, told in {
        "head": "matches no module",
        "1": r"within: '1\.\*'",
        "1.0": "holds for nothing that the modules '1.0' compute",
    }.items():
        lrp = altprop.LRP(model, [(pattern, Gamma())])
        with pytest.warns(UserWarning, match=told):
            lrp.attribute(x, 0)
        lrp.attribute(x, 0)  # once
        with pytest.raises(ValueError, match=told):
            altprop.LRP(model, [(pattern, Gamma())], strict=True).attribute(x, 0)


def test_the_first_layer_is_the_first_behind_any_identity():
    def make(identity):
        torch.manual_seed(5)
        layers = [nn.Conv1d(1, 3, 2), identity, nn.BatchNorm1d(3), nn.ReLU(), nn.Flatten(), nn.Linear(9, 2)]
        return nn.Sequential(*layers).eval()

    x = torch.rand(3, 1, 4)
    composite = Composite([(first, Flat()), (nn.Linear, Gamma())])
    right = altprop.LRP(make(nn.Identity()), composite).attribute(x, 0)
    forms = [
        Hooked(),
        *map(Function, (lambda h: h.view_as(h), lambda h: h + 0, lambda h: 1.0 * h, lambda h: h.clone())),
    ]
    for form in forms:
        torch.testing.assert_close(altprop.LRP(make(form), composite).attribute(x, 0), right)
    with pytest.warns(UserWarning, match="Copy"):
        torch.testing.assert_close(altprop.LRP(make(Function(Copy.apply)), composite).attribute(x, 0), right)
