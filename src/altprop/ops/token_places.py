"""Which token each integer comes from, tracked through every function that a model applies to its tokens.

Tokens are integers, which autograd does not follow. Beside every integer tensor that was made of explained tokens there
is one of *places*: for each entry the number of the token that it comes from, counted from 1 through all explained
inputs; 0 for a constant; and a negative number where a function made it of several tokens or of their order, so that no
one token can be named: -1 for the first such function, and so on.

A function that moves entries moves their places; one that computes each entry from the one before it leaves the places
as they are; a look-up in a table takes those of the index. Zero is what torch fills with, so constants come by
themselves.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor
from torch.utils._pytree import tree_leaves, tree_map

from altprop.ops import names

PlacesOf = Callable[[Any], Tensor | None]

# Operands that say where or how to move, but are not moved themselves.
_STRUCTURE = {
    **dict.fromkeys(("index_select", "gather", "scatter", "index_copy", "index_fill"), (2,)),
    **dict.fromkeys(("__getitem__", "__setitem__", "take", "take_along_dim", "masked_select"), (1,)),
    **dict.fromkeys(("masked_fill", "masked_scatter", "index_put", "put", "repeat_interleave"), (1,)),
    **dict.fromkeys(("view_as", "reshape_as", "expand_as"), (1,)),
    "where": (0,),
}
# Operands that may be numbers and are written into the tensor.
_VALUES = {
    **dict.fromkeys(("masked_fill", "__setitem__", "index_put", "put", "constant_pad_nd"), (2,)),
    **dict.fromkeys(("index_fill", "scatter", "pad"), (3,)),
    "fill": (1,),
    "where": (1, 2),
}
_VALUE_NAMES = {"value", "fill_value", "other"}

_CASTS = {
    "to", "type", "type_as", "long", "int", "short", "char", "byte", "bool", "cpu", "cuda", "tensor", "as_tensor",
    "asarray", "new_tensor", "float", "double", "half", "bfloat16",
}  # fmt: skip
_OTHER_MOVES = {"detach", "copy", "zero", "__setitem__", "put", "index_put", "__deepcopy__", "alias"}
_MOVES = (set(names.MOVES) - _CASTS) | _OTHER_MOVES
_ATTRIBUTES = {getattr(torch.Tensor, name).__get__ for name in ("T", "mT", "H", "mH", "data")}
_ELEMENTWISE = {
    "floor_divide", "multiply", "subtract", "divide", "bucketize", "searchsorted", "and", "or", "rsub", "gcd", "lcm",
}  # fmt: skip
_OPERATORS = {
    "floordiv": "floor_divide", "truediv": "true_divide", "mod": "remainder", "invert": "bitwise_not",
    "lshift": "bitwise_left_shift", "rshift": "bitwise_right_shift", "xor": "bitwise_xor",
}  # fmt: skip
_LOOK_UPS = {"embedding", "__getitem__", "index_select", "gather", "take", "take_along_dim"}
_NEW = {
    "zeros_like", "ones_like", "full_like", "empty_like", "rand_like", "randn_like", "randint_like", "new_zeros",
    "new_ones", "new_full", "new_empty", "new_empty_strided",
}  # fmt: skip

CANNOT = object()
"""Of a function, that the places of its result are not known."""
CONSTANT = object()
"""That its result is a constant: tokens only gave it its shape, or said where something else goes."""


def base_name(function: Callable[..., Any]) -> str:
    """The name of a torch function, or of its twin if it works in place."""
    name = str(getattr(function, "__name__", ""))
    if name == "__setitem__" or not names.overwrites(function):
        return name
    return f"__{name[3:]}" if name in names.IN_PLACE_OPERATORS else name.rstrip("_")


def is_look_up(function: Callable[..., Any], args: tuple[Any, ...], places_of: PlacesOf) -> bool:
    """Whether this call looks something up with tokens as indices, in a table that is not made of tokens."""
    name = base_name(function)
    if name not in _LOOK_UPS:
        return False
    return name == "embedding" or places_of(args[0]) is None


def is_elementwise(function: Callable[..., Any]) -> bool:
    """Whether each entry of the result is computed from those at the same place."""
    return _is_elementwise(base_name(function))


@lru_cache(maxsize=1024)
def _is_elementwise(name: str) -> bool:
    if name in _CASTS:
        return True
    if name.startswith("__"):
        name = name.strip("_")
        right = name[1:] if name.startswith("r") and name not in {"rshift"} else name
        name = _OPERATORS.get(name, _OPERATORS.get(right, right))
    if name in _ELEMENTWISE:
        return True
    packet = getattr(torch.ops.aten, name, None)
    return packet is not None and any(torch.Tag.pointwise in getattr(packet, form).tags for form in packet.overloads())


def places_of_result(
    function: Callable[..., Any], args: tuple[Any, ...], kwargs: Mapping[str, Any], result: Any, places_of: PlacesOf
) -> Any:
    """The places of what ``function`` returned, in the structure of the result.

    Args:
        function: what was called, out of place.
        args: its arguments, tensors by place.
        kwargs: its other arguments.
        result: what it returned.
        places_of: of a tensor its places; None if it is a constant.

    Returns:
        Tensors of places; or :data:`CANNOT`, or :data:`CONSTANT`.
    """
    name = base_name(function)
    if name in _NEW:
        return CONSTANT
    if is_look_up(function, args, places_of):
        return _looked_up(function, name, args, result, places_of)
    if name in _CASTS or (name not in _MOVES and function not in _ATTRIBUTES and is_elementwise(function)):
        return _kept(args, kwargs, result, places_of)
    if name == "one_hot":
        found = places_of(args[0])
        return CONSTANT if found is None else found[..., None].expand(result.shape)
    if name in _MOVES or function in _ATTRIBUTES:
        return _moved(function, name, args, kwargs, places_of)
    return CANNOT


def writes_tokens(
    function: Callable[..., Any], args: tuple[Any, ...], kwargs: Mapping[str, Any], places_of: PlacesOf
) -> bool:
    """Whether ``function`` writes tokens into its first operand, as opposed to writing at their indices."""
    structure = _STRUCTURE.get(base_name(function), ())
    written = [value for position, value in enumerate(args) if position and position not in structure]
    return any(places_of(leaf) is not None for leaf in tree_leaves((written, dict(kwargs))))


def write(
    function: Callable[..., Any], args: tuple[Any, ...], kwargs: Mapping[str, Any], target: Tensor, places_of: PlacesOf
) -> bool:
    """Apply to ``target``, the places of ``args[0]``, what ``function`` did to that in place.

    Returns:
        Whether that is known.
    """
    name = base_name(function)
    if name in _MOVES:
        return _moved(function, name, args, kwargs, places_of) is not CANNOT
    if is_elementwise(function):
        found = _kept(args, kwargs, args[0], places_of)
        if found is not CANNOT:
            target.copy_(found)
            return True
    return False


def _moved(
    function: Callable[..., Any], name: str, args: tuple[Any, ...], kwargs: Mapping[str, Any], places_of: PlacesOf
) -> Any:
    """The function applied to places."""
    if kwargs.get("reduce") is not None or kwargs.get("accumulate") or (name == "index_put" and args[3:4] == (True,)):
        return CANNOT
    structure, values = _STRUCTURE.get(name, ()), _VALUES.get(name, ())
    tracked = False

    def place(value: Any) -> Any:
        nonlocal tracked
        if not isinstance(value, Tensor):
            return value
        found = places_of(value)
        tracked = tracked or found is not None
        return torch.zeros_like(value, dtype=torch.int64) if found is None else found

    substituted: list[Any] = []
    for position, value in enumerate(args):
        if position in structure:
            substituted.append(value)
        elif position in values and isinstance(value, int | float):
            substituted.append(0)
        else:
            substituted.append(tree_map(place, value))
    named = {key: 0 if key in _VALUE_NAMES else tree_map(place, value) for key, value in kwargs.items()}
    if not tracked:
        return CONSTANT
    try:
        return function(*substituted, **named)
    except (RuntimeError, TypeError, ValueError, IndexError):
        return CANNOT


def _kept(args: tuple[Any, ...], kwargs: Mapping[str, Any], result: Any, places_of: PlacesOf) -> Any:
    """The places of operands whose entries are computed with one by one: theirs, if they agree."""
    found = [(value, places_of(value)) for value in (*args, *kwargs.values()) if isinstance(value, Tensor)]
    tracked = [(value, places) for value, places in found if places is not None]
    if not isinstance(result, Tensor) or not tracked:
        return CONSTANT
    if len(tracked) == 1 and _shares_memory(tracked[0][0], result):
        return tracked[0][1].detach()
    try:
        joint = tracked[0][1].to(result.device).expand(result.shape)
        for _, places in tracked[1:]:
            other = places.to(result.device).expand(result.shape)
            if bool(((joint != other) & (joint != 0) & (other != 0)).any()):
                return CANNOT
            joint = torch.where(joint == 0, other, joint)
    except RuntimeError:
        return CANNOT
    return torch.empty_like(result, dtype=torch.int64).copy_(joint)


def _shares_memory(a: Tensor, b: Tensor) -> bool:
    return a.shape == b.shape and a.data_ptr() == b.data_ptr()


def _looked_up(
    function: Callable[..., Any], name: str, args: tuple[Any, ...], result: Tensor, places_of: PlacesOf
) -> Any:
    """The places of what was looked up by tokens: of an embedding those of the indices, for all of a vector."""
    if name == "embedding":
        places = next((places for places in map(places_of, args[:2]) if places is not None), None)
        return CONSTANT if places is None else places[..., None].expand(result.shape)
    if name in {"take", "gather", "take_along_dim"}:
        places = places_of(args[2 if name == "gather" else 1])
        return CONSTANT if places is None else places.expand(result.shape)
    # Look the places up as the entries were: in a table that has those of the n-th index at its n-th entry.
    table, index = args[0], args[1:]
    if name == "index_select":
        dim = args[1] % table.dim()
        found = places_of(args[2])
        return CONSTANT if found is None else function(_spread(found, table, dim), dim, _numbered(args[2]))
    parts = list(index[0]) if isinstance(index[0], tuple | list) else [index[0]]
    by_token = [(i, places) for i, part in enumerate(parts) if (places := places_of(part)) is not None]
    if not by_token:
        return CONSTANT
    (i, places), *others = by_token
    if others or parts[i].dtype == torch.bool:
        return CANNOT
    before = sum(map(_dimensions, parts[:i]))
    if any(part is Ellipsis for part in parts[:i]):
        before = table.dim() - sum(map(_dimensions, parts[i:]))
    spread = _spread(places, table, before)
    parts[i] = _numbered(parts[i])
    return function(spread, tuple(parts))


def _spread(places: Tensor, table: Tensor, dim: int) -> Tensor:
    shape = [places.numel() if i == dim else size for i, size in enumerate(table.shape)]
    return places.reshape([-1 if i == dim else 1 for i in range(table.dim())]).expand(shape)


def _numbered(index: Tensor) -> Tensor:
    return torch.arange(index.numel(), device=index.device).view(index.shape)


def _dimensions(part: Any) -> int:
    """How many dimensions of the indexed tensor this part of the index consumes."""
    if part is None or part is Ellipsis or isinstance(part, bool):
        return 0
    return part.dim() if isinstance(part, Tensor) and part.dtype in {torch.bool, torch.uint8} else 1
