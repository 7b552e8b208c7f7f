"""Torch's own database of operators, as small models: what each computes, and what a rule hands back through it."""

import inspect
import itertools
import warnings
from dataclasses import dataclass
from functools import cache, cached_property

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode, get_testing_overrides
from torch.testing._internal.common_methods_invocations import op_db
from torch.testing._internal.common_utils import SEED, set_rng_seed
from torch.utils._pytree import tree_flatten, tree_leaves, tree_unflatten

import altprop
from altprop.explain import composites

SAMPLES = 3
"""How many of an operator's samples are tried."""

RANDOM = {"bernoulli", "normal", "normal.number_mean"}
"""Draw anew from what they are given; dropouts are seeded alike and take part."""


def name_of(entry):
    return entry.name + (f".{entry.variant_test_name}" if entry.variant_test_name else "")


ENTRIES = {
    name_of(entry): entry
    for entry in op_db
    if entry.supports_autograd and entry.supports_dtype(torch.float64, "cpu") and name_of(entry) not in RANDOM
}


class Model(nn.Module):
    """A function of tensors; all that it returns that is a real or complex number, side by side."""

    def __init__(self, function, inner=None):
        super().__init__()
        self.function, self.inner = function, inner

    def forward(self, *tensors):
        torch.manual_seed(0)
        parts = [part for part in tree_leaves(self.function(*tensors)) if takes_part(part)]
        real = [torch.view_as_real(part.resolve_conj()) if part.is_complex() else part for part in parts]
        joined = torch.cat([part.reshape(1, -1) for part in real], 1)
        self.output = joined.detach().clone()
        return joined


def takes_part(value):
    return isinstance(value, Tensor) and value.layout == torch.strided and value.requires_grad


@dataclass
class Sample:
    """One call of an operator: which tensors it takes, and the call itself with others in their place."""

    function: object
    args: tuple
    kwargs: dict
    tensors: list
    call: object
    partial: bool = False

    @cached_property
    def z(self):
        """What it computes, (1, values)."""
        with torch.no_grad():
            torch.manual_seed(0)
        return Model(self.call)(*self.leaves()).detach()

    @cached_property
    def v(self):
        """Relevance for each unit of output, the same in every run."""
        generator = torch.Generator().manual_seed(1)
        return torch.rand(self.z.shape, generator=generator, dtype=torch.float64) + 0.5

    @cached_property
    def R(self):
        """The relevance at the output."""
        return torch.where(self.z.isfinite(), self.z, 0) * self.v

    @cached_property
    def unit(self):
        """Relevance per unit of output, R / z."""
        return torch.where(self.z.isfinite() & (self.z != 0), self.v, 0)

    def model(self):
        return Model(self.call, self.function if isinstance(self.function, nn.Module) else None)

    def softmax_dim(self):
        if isinstance(self.function, nn.Softmax2d):
            return -3
        if isinstance(self.function, nn.Module):
            return self.function.dim
        return self.args[1] if len(self.args) > 1 else self.kwargs.get("dim", -1)

    @property
    def reduction(self):
        """How a function that reduces (``scatter_reduce``, ``segment_reduce``) does so."""
        given = [value for value in (*self.args, self.kwargs.get("reduce")) if isinstance(value, str)]
        return given[0]

    def leaves(self):
        return [tensor.detach().clone().requires_grad_() for tensor in self.tensors]

    def gradient(self, seed):
        """The plain gradient of each tensor."""
        leaves = self.leaves()
        found = torch.autograd.grad(Model(self.call)(*leaves), leaves, seed, allow_unused=True)
        return [torch.zeros_like(x) if g is None else g for g, x in zip(found, leaves, strict=True)]

    def times_gradient(self, seed):
        """Input times gradient."""
        return [x.detach() * g for x, g in zip(self.tensors, self.gradient(seed), strict=True)]

    def alone(self):
        """The same call, of which only the first tensor is explained."""
        return from_call(self.function, self.args, self.kwargs, first=True)


@cache
def samples(name):
    """The first samples of an operator that are of use: real tensors that something can be handed back to."""
    entry = ENTRIES[name]
    found = (from_call(entry.op, (sample.input, *sample.args), sample.kwargs) for sample in _inputs(entry))
    return list(itertools.islice((sample for sample in found if sample is not None), SAMPLES))


def _inputs(entry):
    """What ``entry.sample_inputs`` gives, which for each operator searches the stack for a test, frame by frame."""
    made = iter(entry.sample_inputs_func(entry, "cpu", torch.float64, True))
    while True:
        set_rng_seed(SEED)
        try:
            yield next(made)
        except StopIteration:
            return


def from_call(function, args, kwargs, *, first=False):
    """A call as a sample, of which all tensors are explained, or only the first; None if nothing comes of it."""
    leaves, structure = tree_flatten((args, kwargs))
    places = [place for place, leaf in enumerate(leaves) if is_explained(leaf)][: 1 if first else None]
    leaves = [leaf.detach() if isinstance(leaf, Tensor) else leaf for leaf in leaves]

    def call(*tensors):
        filled = list(leaves)
        for place, tensor in zip(places, tensors, strict=True):
            filled[place] = tensor
        args, kwargs = tree_unflatten(filled, structure)
        return function(*args, **kwargs)

    if not places or any(not leaves[place].numel() for place in places):
        return None
    made = Sample(function, args, kwargs, [leaves[place].detach() for place in places], call, first)
    try:
        made.gradient(made.v)
        return made if made.z.numel() else None
    except (RuntimeError, TypeError, ValueError, IndexError):
        return None  # torch has no such form, or nothing that has a gradient comes out


def by_operator(entry, sample):
    """A sample by Python's operator (``x ** y``); None if there is none."""
    return None if entry.operator_variant is None else from_call(entry.operator_variant, sample.args, sample.kwargs)


def in_place(variant, sample):
    """The in-place form of a sample, on a copy of its first operand; None if there is none."""
    if variant is None or not sample.args or not isinstance(sample.args[0], Tensor):
        return None

    def function(target, *args, **kwargs):
        return variant(target.clone(), *args, **kwargs)

    return from_call(function, sample.args, sample.kwargs)


_SIGNATURES = get_testing_overrides()


def by_keywords(entry, sample):
    """A sample with every operand given by torch's name for it; None if torch does not take it so."""
    if entry.op not in _SIGNATURES:
        return None
    parameters = list(inspect.signature(_SIGNATURES[entry.op]).parameters.values())
    named = [p.name for p in parameters if p.kind is p.POSITIONAL_OR_KEYWORD]
    if len(named) < len(sample.args) or set(named[: len(sample.args)]) & set(sample.kwargs):
        return None
    return from_call(entry.op, (), dict(zip(named, sample.args, strict=False)) | sample.kwargs)


def is_explained(leaf):
    return (
        isinstance(leaf, Tensor) and leaf.requires_grad and leaf.dtype == torch.float64 and leaf.layout == torch.strided
    )


class _Recorder(TorchFunctionMode):
    def __init__(self):
        super().__init__()
        self.names = []

    def __torch_function__(self, function, types, args=(), kwargs=None):
        result = function(*args, **(kwargs or {}))
        if any(map(takes_part, tree_leaves(result))):
            self.names.append(getattr(function, "__name__", str(function)))
        return result


def called(sample):
    """The names of the torch functions that a call shows."""
    leaves = sample.leaves()
    with _Recorder() as recorder:
        sample.call(*leaves)
    return recorder.names


@dataclass
class Handed:
    """What a rule handed back: the output, each tensor's relevance, and the functions that had no rule."""

    output: Tensor
    R: list
    unknown: list


def by_lrp(sample, *, strict=False):
    model = sample.model()
    lrp = altprop.LRP(model, composites.epsilon(1e-13, 1e-13), strict=strict)
    with warnings.catch_warnings(record=True) as heard:
        warnings.simplefilter("always")
        R = lrp.attribute(tuple(sample.tensors), sample.R)
    return Handed(model.output, list(R), unknown(heard))


def by_lfp(sample, *, strict=False):
    model, leaves = sample.model(), sample.leaves()
    with warnings.catch_warnings(record=True) as heard:
        warnings.simplefilter("always")
        with altprop.LFP(epsilon=0, strict=strict).attach(model):
            output = model(*leaves)
    found = torch.autograd.grad(output, leaves, sample.unit, allow_unused=True)
    R = [torch.zeros_like(x) if g is None else x.detach() * g for x, g in zip(leaves, found, strict=True)]
    return Handed(output.detach(), R, unknown(heard))


def unknown(heard):
    told = [str(warning.message) for warning in heard if "has no rule for" in str(warning.message)]
    return [message.partition("has no rule for ")[2].partition(":")[0] for message in told]
