"""Integer inputs (tokens), followed to the embedding vectors at which their relevance arrives."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.overrides import resolve_name
from torch.utils._pytree import tree_leaves

from altprop.ops import names
from altprop.ops.interceptor import Interceptor
from altprop.ops.lrp.facts import TensorFacts, is_followed, set_facts
from altprop.ops.operands import by_place
from altprop.ops.token_places import CANNOT, CONSTANT, base_name, places_of_result, write, writes_tokens
from altprop.ops.witness import sequence_number


@dataclass
class Source:
    """What is known about one integer tensor.

    Attributes:
        tensor: itself: as long as it is held, its id is its own.
        places: the number of the token that each entry comes from; see :mod:`altprop.ops.token_places`.
        inputs: the explained inputs that it was made of, by their number.
        one_hot: whether each token became a vector of zeros and a one.
    """

    tensor: Tensor
    places: Tensor
    inputs: frozenset[int]
    one_hot: bool = False


@dataclass
class LookUp:
    """Values looked up by tokens: relevance arrives at ``vectors``, and ``places`` says for which token."""

    vectors: Tensor
    places: Tensor
    inputs: frozenset[int]


class Tokens:
    """The integer inputs of one forward pass, and what the model computes from them.

    Attributes:
        look_ups: where the relevance of tokens arrives, in the order in which they were looked up.
    """

    def __init__(self) -> None:
        self._sources: dict[int, Source] = {}
        self._inputs: list[tuple[int, torch.Size]] = []
        self._count = 0
        self._blind: list[str] = []
        self._ended: dict[str, frozenset[int]] = {}
        self._written = False
        self.look_ups: list[LookUp] = []

    def __bool__(self) -> bool:
        return bool(self._inputs)

    def enter(self, value: Tensor) -> Tensor:
        """Follow an explained input from here.

        Returns:
            What the model is to be given: a copy, which it may overwrite.
        """
        entry = value.clone()
        first = self._count + 1
        self._count += value.numel()
        numbers = torch.arange(first, self._count + 1, device=value.device).view(value.shape)
        self._inputs.append((first, value.shape))
        self._know(entry, torch.empty_like(entry, dtype=torch.int64).copy_(numbers), frozenset({len(self._inputs) - 1}))
        return entry

    def among(self, args: Iterable[Any]) -> bool:
        """Whether one of the arguments was made of tokens."""
        for value in args:
            if id(value) in self._sources:
                return True
            if type(value) in {list, tuple} and self.among(value):
                return True
            if self._written and self.source(value) is not None:
                return True
        return False

    def source(self, value: Any) -> Source | None:
        """What is known about a tensor; None for constants and other values."""
        known = self._sources.get(id(value))
        if known is not None or not self._written or not isinstance(value, Tensor) or value._base is None:
            return known
        base = self._sources.get(id(value._base))  # a view from before tokens were written into what it is a view of
        if base is None:
            return None
        offset = int(value.storage_offset()) - int(base.tensor.storage_offset())
        places = base.places.as_strided(value.shape, value.stride(), int(base.places.storage_offset()) + offset)
        return self._know(value, places, base.inputs, base.one_hot)

    def places_of(self, value: Any) -> Tensor | None:
        """The places of a tensor; None for constants and other values."""
        known = self.source(value)
        return None if known is None else known.places

    def close(self) -> None:
        """Release all tensors."""
        self._sources.clear()
        self.look_ups.clear()

    def follow(self, function: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any], result: Any) -> Any:
        """Record what ``function`` made of tokens.

        Returns:
            The result, with a place for relevance to arrive at if it was looked up.
        """
        out = kwargs.get("out")
        operands = [source for value in tree_leaves((args, kwargs)) if (source := self.source(value)) is not None]
        inputs = frozenset().union(*(source.inputs for source in operands))
        if names.overwrites(function) or function.__name__ == "__setitem__":
            self._write(function, args, kwargs, inputs)
            return result
        made = [leaf for leaf in tree_leaves(result) if isinstance(leaf, Tensor)]
        if not made:
            if function.__name__ in _READING:
                self._end(function, inputs)
            return result
        if out is None and len(made) == 1 and id(made[0]) in self._sources:
            return result  # an operand itself
        kwargs = {name: value for name, value in kwargs.items() if name not in {"out", "dtype", "device"}}
        places = places_of_result(function, args, kwargs, result, self.places_of)
        if places is CONSTANT:
            return result
        one_hot = any(source.one_hot for source in operands)
        if base_name(function) == "one_hot":
            one_hot = bool((places >= 0).any())  # else it marks a position, as argmax does
        return self._noted(function, result, made, places, inputs, one_hot, operands)

    def _noted(
        self, function: Callable[..., Any], result: Any, made: list[Tensor], places: Any, inputs: frozenset[int],
        one_hot: bool, operands: list[Source],
    ) -> Any:  # fmt: skip
        leaves: list[Any] = [] if places is CANNOT else tree_leaves(places)
        looks_up = base_name(function) in _FLOATS_FROM
        for i, tensor in enumerate(made):
            found = leaves[i] if len(leaves) == len(made) else None
            if found is None or found.shape != tensor.shape or found.dtype != torch.int64:
                found = self._blinded(function, tensor)
            if tensor.is_floating_point() or tensor.is_complex():
                if (one_hot or looks_up) and isinstance(result, Tensor) and not tensor.requires_grad:
                    return self.enter_values(tensor, found, inputs)
                self._end(function, inputs)
            elif tensor.dtype == torch.bool and any(source.tensor.dtype != torch.bool for source in operands):
                self._end(function, inputs)  # a decision, such as a mask
            else:
                self._know(tensor, found, inputs, one_hot)
        return result

    def _know(self, tensor: Tensor, places: Tensor, inputs: frozenset[int], one_hot: bool = False) -> Source:
        known = self._sources[id(tensor)] = Source(tensor, places, inputs, one_hot)
        return known

    def _write(
        self, function: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any], inputs: frozenset[int]
    ) -> None:
        target = args[0]
        if target.is_floating_point() or target.is_complex():
            self._end(function, inputs)
            return
        if self.source(target) is None:
            if not writes_tokens(function, args, kwargs, self.places_of):
                self._end(function, inputs)
                return
            whole = target if target._base is None else target._base
            self._written = True
            self._know(whole, torch.zeros_like(whole, dtype=torch.int64), inputs)
        known = self.source(target)
        assert known is not None
        for source in self._sources.values():
            if source.tensor is target or source.tensor is target._base:
                source.inputs |= inputs
        if not write(function, args, kwargs, known.places, self.places_of):
            known.places.copy_(self._blinded(function, known.places))

    def enter_values(self, values: Tensor, places: Tensor, inputs: frozenset[int]) -> Tensor:
        """``values``, which were looked up by tokens and to which relevance comes back."""
        if not torch.is_grad_enabled():
            self._ended["torch.no_grad"] = self._ended.get("torch.no_grad", frozenset()) | inputs
            return values
        leaf = values.detach().requires_grad_()
        entry = leaf.clone()  # which the model may overwrite
        set_facts(entry, TensorFacts(beyond_first=False))
        self.look_ups.append(LookUp(leaf, places, inputs))
        return entry

    def _blinded(self, function: Callable[..., Any], like: Tensor) -> Tensor:
        """Places of entries that come from no single token."""
        name = _told(function)
        if name not in self._blind:
            self._blind.append(name)
        return torch.full_like(like, -1 - self._blind.index(name), dtype=torch.int64)

    def _end(self, function: Callable[..., Any], inputs: frozenset[int]) -> None:
        name = _told(function)
        self._ended[name] = self._ended.get(name, frozenset()) | inputs

    def relevance(self, number: int, arrived: Sequence[Tensor | None]) -> Tensor | None:
        """The relevance of an input, of its shape; None if it was not looked up.

        Args:
            number: that of the input.
            arrived: the relevance at each of its :meth:`vectors_of`.

        Raises:
            ValueError: relevance arrives at a look-up of which no one knows which token it was of.
        """
        first, shape = self._inputs[number]
        look_ups = [look_up for look_up in self.look_ups if number in look_up.inputs]
        if not look_ups:
            return None
        total: Tensor | None = None
        for look_up, R in zip(look_ups, arrived, strict=True):
            if R is None:
                continue
            summed, places = _summed(R, look_up.places)
            if self._blind:
                self._check(summed, places)
            if total is None:
                total = torch.zeros(self._count + 1, dtype=R.dtype, device=R.device)
            total.index_add_(0, places.clamp(min=0).to(total.device), summed.to(total))
        if total is None:
            return torch.zeros(shape, device=look_ups[0].vectors.device)
        return total[first : first + shape.numel()].view(shape)

    def vectors_of(self, number: int) -> list[Tensor]:
        """The tensors at which the relevance of an input arrives."""
        return [look_up.vectors for look_up in self.look_ups if number in look_up.inputs]

    def _check(self, R: Tensor, places: Tensor) -> None:
        lost = places[(places < 0) & (R != 0)]
        if lost.numel():
            name = self._blind[-1 - int(lost[0])]
            raise ValueError(
                f"LRP cannot tell which token's relevance arrives at an embedding: its indices went through {name}, "
                f"after which an index comes from no one token. Do that outside the model, or give it the embeddings."
            )

    def account(self) -> str:
        """A sentence about the integer inputs that were not looked up; empty if all were."""
        found = {number for look_up in self.look_ups for number in look_up.inputs}
        missing = [number for number in range(len(self._inputs)) if number not in found]
        if not missing:
            return ""
        which = f"integer input {missing[0]} was" if len(self._inputs) > 1 else "the integer input was"
        told = f"{which} not looked up in an embedding that LRP sees (F.embedding, weight[ids], F.one_hot)"
        ends = [name for name, inputs in self._ended.items() if missing[0] in inputs]
        return f"{told}: it went into {', '.join(ends[:4])}, and no further" if ends else told


def _summed(R: Tensor, places: Tensor) -> tuple[Tensor, Tensor]:
    """Relevance and places without the dimensions along which all places are the same."""
    for dim in reversed(range(places.dim())):
        if places.stride(dim) == 0 and places.shape[dim] > 1:
            R, places = R.sum(dim), places.select(dim, 0)
    return R.reshape(-1), places.reshape(-1)


_READING = {"item", "tolist", "numpy", "__int__", "__index__", "__float__", "__array__", "__long__"}
_FLOATS_FROM = {"embedding", "__getitem__", "index_select", "gather", "take", "take_along_dim"}


def _told(function: Callable[..., Any]) -> str:
    return resolve_name(function) or str(getattr(function, "__name__", "an operation"))


class TokenInterceptor(Interceptor):
    """LRP's interceptor for models whose inputs are tokens: it follows those too."""

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Iterable[type],
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        """Answer one call of a torch function: torch calls this, users do not."""
        tokens: Tokens = self.settings.tokens  # type: ignore[attr-defined]
        if self._silenced or not (tokens.among(args) or (kwargs and tokens.among(kwargs.values()))):
            return super().__torch_function__(func, types, args, kwargs)
        args, kwargs = by_place(func, args, kwargs or {})
        if func is F.embedding_bag:
            return self._bag(func, types, args, kwargs)
        return self._looked_up(func, args, kwargs, super().__torch_function__(func, types, args, kwargs))

    def _looked_up(self, func: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any], result: Any) -> Any:
        tokens: Tokens = self.settings.tokens  # type: ignore[attr-defined]
        known, before = len(tokens.look_ups), sequence_number()
        result = tokens.follow(func, args, kwargs, result)
        if len(tokens.look_ups) > known:
            self.witness.note(func, before, sequence_number())
            self.settings.watch_look_up(func, result, tokens.look_ups[-1].places)  # type: ignore[attr-defined]
            if self._observer is not None:
                self._observer(_told(func), self.rule_of(F.embedding))
        return result

    def _bag(
        self, func: Callable[..., Any], types: Iterable[type], args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> Any:
        """Bags of vectors looked up elsewhere: each vector then is its own row of the table."""
        given = _bound(args, kwargs)
        ids, weight, pad = given["input"], given["weight"], given["padding_idx"]
        tokens: Tokens = self.settings.tokens  # type: ignore[attr-defined]
        source = tokens.source(ids)
        computed = weight.requires_grad and not weight.is_leaf and is_followed(weight)
        if source is None or computed or not torch.is_grad_enabled():
            return self._looked_up(func, args, kwargs, super().__torch_function__(func, types, args, kwargs))
        vectors = F.embedding(ids, weight.detach(), None, given["max_norm"], given["norm_type"]).flatten(0, -2)
        places, rows = source.places.flatten(), torch.arange(ids.numel(), device=ids.device).view(ids.shape)
        if pad is not None:
            rows = torch.where(ids == pad % len(weight), ids.numel(), rows)
            vectors, places, pad = F.pad(vectors, (0, 0, 0, 1)), F.pad(places, (0, 1)), ids.numel()
        before = sequence_number()
        vectors = tokens.enter_values(vectors, places[:, None].expand_as(vectors), source.inputs)
        self.witness.note(func, before, sequence_number())
        self.settings.watch_look_up(F.embedding, vectors, tokens.look_ups[-1].places)  # type: ignore[attr-defined]
        bag = (rows, vectors, given["offsets"], None, 2.0, False, given["mode"], False, given["per_sample_weights"])
        return super().__torch_function__(func, types, (*bag, given["include_last_offset"], pad), {})


def _bound(args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> dict[str, Any]:
    bound = _signature().bind(*args, **kwargs)
    bound.apply_defaults()
    return bound.arguments


@lru_cache(maxsize=1)
def _signature() -> inspect.Signature:
    return inspect.signature(F.embedding_bag)
