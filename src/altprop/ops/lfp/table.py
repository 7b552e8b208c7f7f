"""LFP's table from torch function to rule, and the rules that are in no other file."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.utils._pytree import tree_leaves

from altprop.nn.activations import sign, step
from altprop.ops import names
from altprop.ops.interceptor import Interceptor
from altprop.ops.lfp import hot_path
from altprop.ops.lfp.basics import LEARNS, activation, mixture, move, ordinary, reached_by_call, ruled, secant_of
from altprop.ops.lfp.credit import SPIKES, scale_gradient
from altprop.ops.lfp.in_place import overwrite, with_in_place_twins
from altprop.ops.lfp.pass_ import LFPPass
from altprop.ops.lfp.products import (
    added_product,
    attention,
    elementwise_product,
    embedding_bag,
    homogeneous,
    interpolation,
    inverse,
    matrix_product,
    matrix_quotient,
    normalisation,
    power,
    product_with_log,
    quotient,
    reduction,
    reflected_quotient,
    square_form,
)
from altprop.ops.lfp.unseen import WEIGHT, weight_of_unseen
from altprop.ops.multi_head_attention import multi_head_attention_parts
from altprop.ops.names import OpRule

# ---------------------------------------------------------------------------------------------------------------------
# The table is built at the end of the file, from these lines.


def _table() -> dict[names.Key, OpRule]:
    # Functions with a rule of their own, though they are in one of the classes below.
    own: list[tuple[Iterable[names.Key], OpRule]] = [
        (("embedding_bag",), embedding_bag),
        (_ADDITIONS, addition),
        (("lerp",), interpolation),
        (("embedding",), embedding),
        (("neg", "__neg__", "negative"), move),  # a deferred factor does not know the sign
        (("pow", "__pow__", "__rpow__", "float_power"), power),
        (("__rtruediv__", "__rdiv__"), reflected_quotient),
        (("clamp", "clip", "clamp_min", "clamp_max"), clamp),
        (("prelu",), prelu),
        (("glu",), gated_linear_unit),
        (("bilinear", "cross", "kron", "vdot", "vecdot", "multi_dot", "chain_matmul"), matrix_product),
        (("var", "cov"), square_form),
        (("inv", "inverse", "inv_ex", "pinv", "pinverse", "tensorinv"), inverse),
        (("scatter_reduce", "index_reduce", "segment_reduce"), reduction),
        (("real",), ordinary),
        (("cosine_similarity",), cosine_similarity),
        (("pairwise_distance",), mixture),
        (("scaled_dot_product_attention",), attention),
        (("multi_head_attention_forward",), multi_head_attention),
    ]
    classes: list[tuple[Iterable[names.Key], OpRule]] = [
        # z = W a + b, and whatever else mixes values: credit in proportion to contributions
        ((*names.WEIGHTED_SUMS, *names.TRANSPOSED_CONVOLUTIONS), weighted_sum),
        ((*names.MIXTURES, *names.SAMPLERS, *names.FOURIER), mixture),
        (names.NORMALISATIONS, normalisation),
        (names.ADDED_PRODUCTS, added_product),
        # values that only move keep their credit; the winner of a contest (max pool, ReLU) takes it all
        ((*names.MOVES, *names.MOVING_ATTRIBUTES, *names.CONTESTS), move),
        (names.COMPLEX_MOVES, ordinary),
        # a' = φ(z): credit passes unchanged, whether φ has a derivative or not
        (names.ACTIVATIONS, activation),
        (names.SECOND_OPERAND_ACTIVATIONS, second_operand_activation),
        (names.DROPOUTS, dropout),
        # products of two activations: half of the credit to each
        (names.ELEMENTWISE_PRODUCTS, elementwise_product),
        (names.QUOTIENTS, quotient),
        (names.MATRIX_PRODUCTS, matrix_product),
        (names.HOMOGENEOUS, homogeneous),
        (names.MATRIX_QUOTIENTS, matrix_quotient),
        (names.PRODUCTS_WITH_LOG, product_with_log),
        # the ordinary gradient is the rule
        ((*names.SOFTMAXES, *names.SOFT_MAXIMA, *names.OBJECTIVES), ordinary),
    ]
    special = names.joined(own)
    rules = special | names.joined(([key for key in keys if key not in special], rule) for keys, rule in classes)
    hot = {name: _HOT[rule] for name, rule in rules.items() if rule in _HOT and not _works_in_place(name)}
    rules = with_in_place_twins(rules)
    last = names.joined(
        [
            (names.OVERWRITES, ruled(overwrite)),
            ((torch.real,), ruled(ordinary)),
            ((step, sign), ruled(activation)),
            (("requires_grad_", "retain_grad", "register_hook"), itself),
        ]
    )
    table = {name: ruled(rule, is_layer=name in _LAYERS) for name, rule in rules.items() if name not in last}
    return table | {name: shorter(table[name]) for name, shorter in hot.items() if name in table} | last


def _works_in_place(name: names.Key) -> bool:
    return isinstance(name, str) and name.endswith("_") and not name.startswith("__")


_ADDITIONS = ("add", "__add__", "__radd__", "sub", "subtract", "__sub__", "__rsub__", "rsub")
_LAYERS = {*names.WEIGHTED_SUMS, *names.TRANSPOSED_CONVOLUTIONS, "embedding"}


# ---------------------------------------------------------------------------------------------------------------------
# The rules.


def weighted_sum(
    lfp: LFPPass,
    function: Callable[..., Any],
    a: Tensor,
    w: Tensor,
    b: Tensor | None = None,
    *args: Any,
    **kwargs: Any,
) -> Any:
    """z = W a + b: LFP-ε, in proportion to each input's contribution; the update |w| · a · R / (z + ε·sign z)."""
    if w.requires_grad and lfp.mark(w) >= SPIKES:
        return matrix_product(lfp, function, a, w, b, *args, **kwargs)
    return lfp.defer(function(*lfp.layer_operands(a, w, b), *args, **kwargs), lfp.epsilon)


_HOT = {weighted_sum: hot_path.layer, move: hot_path.move, activation: hot_path.activation}


def addition(lfp: LFPPass, function: Callable[..., Any], a: Any, b: Any, *args: Any, **kwargs: Any) -> Any:
    """a ± b: in proportion to each operand's contribution (LFP-ε); adding 0 is the identity."""
    if type(b) in {int, float} and b == 0 and isinstance(a, Tensor):
        return move(lfp, function, a, b, *args, **kwargs)
    return mixture(lfp, function, a, b, *args, **kwargs)


def second_operand_activation(lfp: LFPPass, function: Callable[..., Any], order: Any, z: Any) -> Any:
    """φ_n(z): the reward passes unchanged to the second operand."""
    order, z = (z, order) if isinstance(order, Tensor) else (order, z)
    return secant_of(lfp, z, lambda value: torch.special.polygamma(order, value))


def clamp(lfp: LFPPass, function: Callable[..., Any], z: Any, *args: Any, **kwargs: Any) -> Any:
    """An activation: the reward passes unchanged; if the bounds are activations too, the one that is taken gets it."""
    if any(lfp.is_activation(bound) for bound in (*args, *kwargs.values())):
        return move(lfp, function, z, *args, **kwargs)
    return activation(lfp, function, z, *args, **kwargs)


def cosine_similarity(
    lfp: LFPPass, function: Callable[..., Any], x1: Tensor, x2: Tensor, dim: int = 1, eps: float = 1e-8
) -> Any:
    """a·b / (|a| |b|), by the rules of its parts: half of the reward to the product, half to the two lengths."""

    def parts() -> Any:
        lengths = [x.norm(dim=dim).clamp_min(eps) for x in (x1, x2)]
        return (x1 * x2).sum(dim) / (lengths[0] * lengths[1])

    by_parts = lfp.apply_factor(LFPInterceptor(LFP_TABLE, lfp).run(parts, (), {}))
    return function(x1.detach(), x2.detach(), dim, eps) + (by_parts - by_parts.detach())


def itself(lfp: LFPPass, function: Callable[..., Any], x: Tensor, *args: Any, **kwargs: Any) -> Any:
    """Concerns the tensor object, not its values."""
    is_data = not x.requires_grad and lfp.depends_on_input(x)
    result = function(x, *args, **kwargs)
    if is_data and x.requires_grad:
        lfp.defer(x, 0.0)
    return result


def embedding(
    lfp: LFPPass, function: Callable[..., Any], indices: Tensor, table: Tensor, *args: Any, **kwargs: Any
) -> Any:
    """An embedding is a weighted sum over a one-hot input: z = w, and the update is |w| · R / (w + ε·sign w)."""
    padding_index, max_norm, *rest = (*args, None, None)[: max(2, len(args))]
    padding_index, max_norm = kwargs.pop("padding_idx", padding_index), kwargs.pop("max_norm", max_norm)
    if max_norm is not None:
        # Renormalising changes the table in place, so it has to come before the scaling saves the table.
        F.embedding(indices, table.detach(), padding_index, max_norm, *rest[:1], **kwargs)
    return lfp.defer(function(indices, lfp.operand(table), padding_index, None, *rest, **kwargs), lfp.epsilon)


def prelu(lfp: LFPPass, function: Callable[..., Any], z: Tensor, slope: Tensor) -> Any:
    """PReLU: an activation whose slope learns too, by |slope| times its ordinary gradient."""
    if not lfp.is_activation(z):
        return mixture(lfp, function, z, slope)
    if lfp.is_activation(slope):
        a, slope = lfp.apply_factor(z), lfp.apply_factor(slope)
        if slope.numel() > 1:
            slope = slope.view(-1, *(1,) * max(z.dim() - 2, 0))
        return torch.where(a > 0, a, scale_gradient(a, 0.5) * scale_gradient(slope, 0.5))
    return secant_of(lfp, z, lambda value: function(value, lfp.operand(slope)))


def gated_linear_unit(lfp: LFPPass, function: Callable[..., Any], z: Tensor, dim: int = -1) -> Any:
    """GLU: a · σ(b), a product of two activations."""
    a, b = lfp.apply_factor(z).chunk(2, dim)
    return scale_gradient(a, 0.5) * scale_gradient(activation(lfp, torch.sigmoid, lfp.defer(b, 0.0)), 0.5)


def dropout(
    lfp: LFPPass,
    function: Callable[..., Any],
    a: Tensor,
    p: float = 0.5,
    training: bool = True,
    *args: Any,
    **kwargs: Any,
) -> Any:
    """The kept values, scaled by 1/(1 − p), keep their credit; a deferred ε is scaled like them."""
    a = lfp.apply_spike_factor(a)
    kept = 1.0 - p if training and p < 1.0 else 1.0
    epsilon = lfp.take(a) / kept
    return lfp.defer(function(a, p, training, *args, **kwargs), epsilon)


def multi_head_attention(
    lfp: LFPPass,
    function: Callable[..., Any],
    query: Tensor,
    key: Tensor,
    value: Tensor,
    *args: Any,
    **kwargs: Any,
) -> Any:
    """nn.MultiheadAttention: computed step by step, each step by its own rule."""
    return LFPInterceptor(LFP_TABLE, lfp).run(multi_head_attention_parts, (query, key, value, *args), kwargs)


class LFPInterceptor(Interceptor):
    """An interceptor that also tracks dependence on the model's input through functions without a rule.

    Args:
        rules: the table.
        lfp: the pass.
        unknown: as for any interceptor; by default nothing happens.
        observer: likewise.
    """

    settings: LFPPass

    def __init__(
        self,
        rules: dict[Callable[..., Any] | str, OpRule],
        lfp: LFPPass,
        unknown: Callable[[str], None] = lambda name: None,
        observer: Callable[[str, OpRule | None], None] | None = None,
    ) -> None:
        super().__init__(rules, lfp, unknown, observer, kind="lfp")

    def _without_gradient(self, func: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        result = func(*args, **kwargs)
        self.settings.trace_origin(func, result, args, kwargs)
        return result

    def _answer(
        self,
        key: Callable[..., Any],
        rule: OpRule | None,
        function: Callable[..., Any],
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
    ) -> Any:
        if rule is None and not torch.compiler.is_compiling() and self._takes_weights_alone(key, args, kwargs):
            result = function(*args, **kwargs)
            for leaf in tree_leaves(result):
                if isinstance(leaf, Tensor) and leaf.grad_fn is not None:
                    weight_of_unseen(self.settings, leaf)
            return result
        result = super()._answer(key, rule, function, args, kwargs)
        if rule is None:
            self.settings.trace_origin(key, result, args, kwargs)
        return result

    def _takes_weights_alone(self, function: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> bool:
        if getattr(function, "__name__", "") in {"__get__", "__set__"}:
            return False
        return reached_by_call(self.settings, args, kwargs) == LEARNS


# ---------------------------------------------------------------------------------------------------------------------
# Modules that are one operation.


def activation_module(lfp: LFPPass, forward: Callable[..., Any], z: Any, *args: Any, **kwargs: Any) -> Any:
    """A module that is an activation, whatever it is made of: the reward passes unchanged."""
    if not (isinstance(z, Tensor) and lfp.is_activation(z)):
        return mixture_module(lfp, forward, z, *args, **kwargs)
    return secant_of(lfp, z, lambda value: _all_ordinary(lfp).run(forward, (value.clone(), *args), kwargs))


def mixture_module(lfp: LFPPass, forward: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    """A module that mixes values (a normalisation), whatever it is made of: LFP-ε on the whole."""
    depends = any(lfp.is_activation(a) or (isinstance(a, Tensor) and lfp.depends_on_input(a)) for a in args)
    taken = tuple(lfp.take_in(a) for a in args)
    return lfp.defer(_all_ordinary(lfp).run(forward, taken, kwargs), lfp.epsilon if depends else WEIGHT)


MODULE_RULES: dict[str, OpRule] = {"activation": activation_module, "mixture": mixture_module}


def _all_ordinary(lfp: LFPPass) -> Interceptor:
    return LFPInterceptor(_Always(ruled(ordinary)), lfp)


class _Always(dict[Callable[..., Any] | str, OpRule]):
    """A table with one rule for every function."""

    def __init__(self, rule: OpRule) -> None:
        super().__init__()
        self._rule = rule

    def get(self, key: object, default: object = None) -> OpRule:
        return self._rule


LFP_TABLE = names.resolve(_table())
