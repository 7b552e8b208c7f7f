"""LFP's rules for in-place operations: each gives the updates of its out-of-place twin."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import wraps
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from altprop.ops.lfp.basics import activation, hand_over, marks_of, move
from altprop.ops.lfp.credit import SPIKES
from altprop.ops.lfp.pass_ import LFPPass
from altprop.ops.names import OpRule

_OPERATORS = {"__iadd__": "add", "__isub__": "sub", "__imul__": "mul", "__itruediv__": "div", "__idiv__": "div",
              "__ipow__": "pow", "__imod__": "remainder"}  # fmt: skip


def with_in_place_twins(rules: Mapping[str | Callable[..., Any], OpRule]) -> dict[str | Callable[..., Any], OpRule]:
    """The table, extended by every in-place method and operator whose out-of-place twin has a rule.

    Args:
        rules: from names of torch's functions to rules.

    Returns:
        The extended table.
    """
    table = dict(rules)
    for name, rule in rules.items():
        written = f"{name}_"
        if isinstance(name, str) and not name.startswith("__") and written not in rules and hasattr(Tensor, written):
            table[written] = in_place(name, rule)
    for operator, name in _OPERATORS.items():
        if hasattr(Tensor, operator):
            table[operator] = in_place(name, rules[name])
    for name, rule in rules.items():
        if isinstance(name, str) and not name.startswith("__"):
            if name.endswith("_") and name[:-1] in rules:
                table[name] = in_place(name[:-1], rules[name[:-1]])
            elif _place_of_flag(name) is not None:
                table[name] = _by_flag(name, rule)
    return table


def _place_of_flag(name: str) -> int | None:
    """The place of the argument ``inplace`` of a function of torch.nn.functional, if it has one."""
    function = getattr(F, name, None)
    if function is None or not hasattr(function, "__code__"):
        return None
    arguments = function.__code__.co_varnames[: function.__code__.co_argcount]
    return arguments.index("inplace") if "inplace" in arguments else None


def _by_flag(name: str, rule: OpRule) -> OpRule:
    written, place = in_place(name, rule), _place_of_flag(name)

    @wraps(rule)
    def by_flag(lfp: LFPPass, function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        flag = args[place] if place is not None and len(args) > place else kwargs.get("inplace", False)
        return (written if flag is True else rule)(lfp, function, *args, **kwargs)

    return by_flag


def in_place(twin: str, rule: OpRule) -> OpRule:
    """The rule for ``x.twin_(…)``: that for ``x.twin(…)`` on a copy of x, written back into x.

    Where the rule needs no copy, it works on x itself.
    """
    function = _function(twin)

    def in_place_rule(lfp: LFPPass, original: Callable[..., Any], x: Any, *args: Any, **kwargs: Any) -> Any:
        lfp.before_overwriting(x)
        if _needs_no_copy(lfp, rule, x, args):
            lfp.apply_base_factor(x)
            return rule(lfp, original, x, *args, **kwargs)
        copy = lfp.defer(x.clone(), lfp.take(x)) if lfp.is_activation(x) else x.clone()
        result = rule(lfp, function, copy, *args, **kwargs)
        if result is NotImplemented:
            return result
        lfp.complete(result)
        lfp.apply_base_factor(x)
        mark = lfp.mark(result) if result.requires_grad else 0.0
        lfp.take(result)
        return lfp.defer(x.copy_(result), mark)

    in_place_rule.__name__, in_place_rule.__doc__ = rule.__name__, rule.__doc__
    return in_place_rule


def _needs_no_copy(lfp: LFPPass, rule: OpRule, x: Any, args: tuple[Any, ...]) -> bool:
    if not lfp.is_activation(x) or lfp.mark(x) == SPIKES or (not torch.compiler.is_compiling() and x._is_view()):
        return False
    if rule is activation or rule.__name__ == "clamp":
        return _activations_in(lfp, args) == 0 and not x.is_complex()
    if rule.__name__ == "dropout":
        return True
    if rule is move:
        return len(marks_of(lfp, (x, *args), set())) == 1
    return rule.__name__ in {"mixture", "addition", "added_product"} and lfp.mark(x) == 0.0


def _activations_in(lfp: LFPPass, values: Any) -> int:
    return sum(lfp.is_activation(value) for value in values)


def _function(name: str) -> Callable[..., Any]:
    for place in (torch, F, Tensor):
        if hasattr(place, name):
            function: Callable[..., Any] = getattr(place, name)
            return function
    raise AttributeError(name)


def _is_part(target: Tensor) -> bool:
    return not torch.compiler.is_compiling() and target._is_view()


def overwrite(lfp: LFPPass, function: Callable[..., Any], target: Any, *args: Any, **kwargs: Any) -> Any:
    """Written values keep their credit, and a deferred factor if the tensor they are written into lacks the same."""
    lfp.before_overwriting(target)
    marks = marks_of(lfp, kwargs.values(), marks_of(lfp, args, set()))
    mark = lfp.mark(target) if target.requires_grad else None
    if function is Tensor.copy_ and len(marks) == 1 and not _is_part(target):
        mark = next(iter(marks))  # all of it is overwritten
    if mark is not None and mark >= SPIKES and marks <= {mark}:
        hand_over(lfp, args)
        hand_over(lfp, kwargs.values())
        result = function(target, *args, **kwargs)
        lfp.defer(target, mark)
        return result
    values = lfp.operands(args), {key: lfp.operands(value) for key, value in kwargs.items()}
    if mark is not None and mark >= SPIKES:
        lfp.apply_factor_in_place(target)
    result = function(target, *values[0], **values[1])
    lfp.defer(target, 0.0)
    return result
