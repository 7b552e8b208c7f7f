"""Operations written out in plain torch, such that input times gradient is what has to arrive: the laws of some.

``half`` halves what flows back to a factor, ``constant`` stops it. Each function here has the value of the one whose
name it bears.
"""

import inspect

import torch
from torch import nn
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_leaves, tree_map_only


def constant(x):
    return x.detach()


def part(x, share):
    """x, of which ``share`` of the gradient flows back."""
    return share * x + (1 - share) * constant(x)


def product(a, b, multiply=torch.mul):
    """Equal parts to the factors that depend on the input."""
    share = 1 / max(1, a.requires_grad + b.requires_grad)
    return multiply(part(a, share), part(b, share))


def once(x):
    """1, with the relative gradient of x."""
    return x / constant(x)


def cosine_similarity_by_lrp(x1, x2, dim=1, eps=1e-8):
    """The sum of products in proportion, its divisor a constant."""
    lengths = [constant(x).norm(dim=dim).clamp_min(eps) for x in (x1, x2)]
    return product(x1, x2).sum(dim) / (lengths[0] * lengths[1])


def cosine_similarity_by_lfp(x1, x2, dim=1, eps=1e-8):
    """A quotient: half to the product, half to the lengths, with the other sign."""
    lengths = [x.norm(dim=dim).clamp_min(eps) for x in (x1, x2)]
    above, below = product(x1, x2).sum(dim), product(*lengths)
    return 0.5 * above / constant(below) + 0.5 * constant(above / below) * once(below)


def layer_norm(x, normalized_shape, weight=None, bias=None, eps=1e-5):
    return _scaled(_standardised(x, tuple(range(-len(normalized_shape), 0)), eps), weight, bias)


def group_norm(x, num_groups, weight=None, bias=None, eps=1e-5):
    normalised = _standardised(x.reshape(len(x), num_groups, -1), -1, eps).view_as(x)
    return _scaled(normalised, *_per_channel(x, weight, bias))


def _standardised(x, dim, eps):
    """The standard deviation is a constant; the mean is part of the sum."""
    variance = constant(x).var(dim, correction=0, keepdim=True)
    return (x - x.mean(dim, keepdim=True)) / (variance + eps).sqrt()


def _per_channel(x, weight, bias):
    shape = (1, -1, *(1,) * (x.dim() - 2))
    return [None if w is None else w.reshape(shape) for w in (weight, bias)]


def _scaled(x, weight, bias):
    x = x if weight is None else product(x, weight)
    return x if bias is None else x + bias


def batch_norm(x, running_mean, running_var, weight=None, bias=None, *args, **kwargs):
    """Relevance passes; through a scale and shift that depend on the input, as through any product and sum."""
    computed = any(w is not None and w.requires_grad for w in (weight, bias))
    taken = (None, None) if computed else (weight, bias)
    y = passing(F.batch_norm)(x, running_mean, running_var, *taken, *args, **kwargs)
    return _scaled(y, *_per_channel(x, weight, bias)) if computed else y


def instance_norm(
    x, running_mean=None, running_var=None, weight=None, bias=None, use_input_stats=True, momentum=0.1, eps=1e-5
):
    if not use_input_stats:
        return batch_norm(x, running_mean, running_var, weight, bias, False, momentum, eps)
    return _scaled(_standardised(x, tuple(range(2, x.dim())), eps), *_per_channel(x, weight, bias))


def rms_norm(x, normalized_shape, weight=None, eps=None):
    return _scaled(passed(lambda z: F.rms_norm(z, normalized_shape, None, eps), x), weight, None)


def passed(activation, x):
    """An activation of x: relevance passes, which is all of R / x times x."""
    return torch.where(x == 0, constant(activation(x)), constant(activation(x)) * once(x))


def passing(function):
    """What passes to its first operand, whatever it does."""
    return lambda x, *args, **kwargs: passed(lambda z: function(z, *args, **kwargs), x)


def of_the_difference(function):
    """An elementwise loss φ(x - y): the difference and the mean in proportion, φ passes."""

    def loss(x, y, reduction="mean", weight=None, **settings):
        difference = x - y
        losses = passed(lambda d: function(d, torch.zeros_like(d), reduction="none", **settings), difference)
        return {"mean": torch.mean, "sum": torch.sum, "none": torch.clone}[reduction](losses)

    return loss


def cross_entropy(x, target, *args, label_smoothing=0.0, **kwargs):
    """A logarithm of softmax, which passes, and the mean of what the targets pick."""
    return F.nll_loss(passed(lambda z: F.log_softmax(z, 1 if z.dim() > 1 else 0), x), target, *args, **kwargs)


def scaled(normalise):
    """A normalisation without its scale and shift, and these by themselves: for LFP it is a mixture as a whole."""
    signature = inspect.signature(normalise)

    def function(*args, **kwargs):
        given = signature.bind(*args, **kwargs).arguments
        affine = [given.pop(name, None) for name in ("weight", "bias")]
        if normalise not in {F.layer_norm, F.rms_norm}:
            affine = _per_channel(given["input"], *affine)
        return _scaled(normalise(**given), *affine)

    return function


_SCALED = (F.layer_norm, F.rms_norm, F.group_norm, F.instance_norm, F.batch_norm)
WRITTEN_OUT = {
    **{("lfp", norm.__name__): scaled(norm) for norm in _SCALED},
    ("lrp", "cosine_similarity"): cosine_similarity_by_lrp,
    ("lfp", "cosine_similarity"): cosine_similarity_by_lfp,
    ("lrp", "layer_norm"): layer_norm,
    ("lrp", "group_norm"): group_norm,
    ("lrp", "instance_norm"): instance_norm,
    ("lrp", "rms_norm"): rms_norm,
    **{("lrp", norm.__name__): passing(norm) for norm in (F.normalize, F.local_response_norm)},
    ("lrp", "batch_norm"): batch_norm,
    ("lrp", "mse_loss"): of_the_difference(F.mse_loss),
    ("lrp", "l1_loss"): of_the_difference(F.l1_loss),
    ("lrp", "smooth_l1_loss"): of_the_difference(F.smooth_l1_loss),
    ("lrp", "huber_loss"): of_the_difference(F.huber_loss),
    ("lrp", "cross_entropy"): cross_entropy,
    ("lrp", "nll_loss"): F.nll_loss,
    ("lrp", "kl_div"): F.kl_div,
}


class InPlaceOf(TorchFunctionMode):
    """Calls ``other`` where ``name`` is called."""

    def __init__(self, name, other):
        super().__init__()
        self.name, self.other = name, other

    def __torch_function__(self, function, types, args=(), kwargs=None):
        chosen = self.other if getattr(function, "__name__", "") == self.name else function
        if chosen is self.other:
            # The parameters of a module are constants.
            args, kwargs = tree_map_only(nn.Parameter, constant, (args, kwargs or {}))
        return chosen(*args, **(kwargs or {}))


def handed_back(sample, function, other):
    """Input times gradient, credit R / z, with ``other`` in the place of ``function``."""
    leaves = sample.leaves()
    torch.manual_seed(0)
    with InPlaceOf(function, other):
        made = sample.call(*leaves)
    z = torch.cat([one.reshape(1, -1) for one in tree_leaves(made) if one.requires_grad], 1)
    torch.testing.assert_close(constant(z), sample.z, equal_nan=True)
    found = torch.autograd.grad(z, leaves, sample.unit, allow_unused=True)
    return [torch.zeros_like(x) if g is None else constant(x) * g for x, g in zip(leaves, found, strict=True)]
