"""Autograd nodes through which relevance flows backward in place of gradients.

What flows is the relevance R of each tensor's entries itself, so that autograd's own bookkeeping does the rest: where a
tensor is used more than once its relevances add up, and operations that only move values (views, concatenation, the
winner of a max pool) hand it back by their ordinary backward pass.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Sequence
from functools import lru_cache, partial
from typing import Any

import torch
from torch import Tensor
from torch.autograd import Function
from torch.autograd.graph import Node
from torch.nn import functional as F

from altprop._switches import with_gradients
from altprop.ops.lrp.facts import SavedTensor, facts_of


class RelevanceNode:
    """One operation of the forward pass, and how it hands relevance back.

    Attributes:
        label: the rule's name, for the reader.
        received: the relevance that reached its output, once it was asked for with :meth:`watch`.
        passed: the relevance that it handed back to its inputs.
        stabilised: the relevance that its stabilisers ε took.
        before: its input, of an activation that does not keep the sign.
        scaled_by: of a product or quotient of an activation and something else, its place among the two, the other, and
            whether that is a constant.
    """

    label = "pass"
    received: Tensor | None = None
    passed: Tensor | None = None
    stabilised: Tensor | None = None
    before: SavedTensor | None = None
    scaled_by: tuple[int, Any, bool] | None = None

    @property
    def counts(self) -> bool:
        """Whether it gets a record in :meth:`altprop.LRP.conservation`."""
        return True

    def hand_back(self, R: Tensor) -> tuple[Tensor | None, ...]:
        """The relevance of each input, of its shape, from the relevance of the output."""
        raise NotImplementedError

    def watch(self) -> None:
        """Count from now on, in double precision, how much relevance comes in and goes out."""
        self.received = self.passed = self.stabilised = torch.zeros((), dtype=torch.float64)

    def backward(self, R: Tensor) -> tuple[Tensor | None, ...]:
        """:meth:`hand_back`, counted if the operation is watched."""
        handed = self.hand_back(R)
        if self.received is not None and self.passed is not None:
            self.received = self.received + total_of(R)
            self.passed = self.passed + sum(total_of(part) for part in handed if part is not None)
        return handed

    def quotient(self, R: Tensor, z: Tensor, epsilon: float, *, part: float = 1.0, nonnegative: bool = False) -> Tensor:
        """s = R / (z + ε·sign z), with sign 0 := 1.

        Args:
            R: relevance, of z's shape or one that broadcasts to it.
            z: what the relevance is divided by.
            epsilon: ε.
            part: the coefficient with which the rule uses s; only for the count.
            nonnegative: that z has no negative entries, which saves a pass over it.
        """
        s = divide(R, z, epsilon, nonnegative=nonnegative)
        if self.stabilised is not None:
            # Where z is infinite (a masked score, say) s is zero, and all of R is gone.
            self.stabilised = self.stabilised + part * (total_of(R) - total_of(times(s, z).masked_fill(z.isinf(), 0.0)))
        return s


def divide(R: Tensor, z: Tensor, epsilon: float, *, nonnegative: bool = False) -> Tensor:
    """R / (z + ε·sign z), with sign 0 := 1; 0 where z is, if ε is. Of complex numbers, each part by itself."""
    if z.is_complex():
        R_parts, z_parts = _parts(R, z)
        return torch.view_as_complex(divide(R_parts, z_parts, epsilon))
    if not epsilon:
        return R / z.masked_fill(z == 0, torch.inf)
    if nonnegative:
        return _over(R, z + epsilon)
    # Far faster than torch.where. The sign of zero does not matter: a sum of -0.0 is zero.
    return _over(R, torch.copysign(_scalar(epsilon, z.dtype), z).add_(z))


@lru_cache(maxsize=64)
def _scalar(value: float, dtype: torch.dtype) -> Tensor:
    return torch.tensor(value, dtype=dtype)


def _over(R: Tensor, denominator: Tensor) -> Tensor:
    # On a CPU, allocation costs more than the division.
    return torch.div(R, denominator, out=denominator) if R.shape == denominator.shape else R / denominator


def times(s: Tensor, x: Tensor) -> Tensor:
    """s · x; of complex numbers, each part by itself: a complex number is two values, and has two relevances."""
    if x.is_complex() or s.is_complex():
        return torch.view_as_complex(torch.mul(*_parts(s, x)))
    return s * x


def _parts(*tensors: Tensor) -> list[Tensor]:
    """The real and the imaginary parts of each, in a last dimension."""
    return [torch.view_as_real(tensor.resolve_conj().contiguous()) for tensor in tensors]


def total_of(values: Tensor) -> Tensor:
    """The sum of all values, in double precision."""
    if values.is_complex():
        values = torch.view_as_real(values.resolve_conj())
    return values.detach().sum(dtype=torch.float64).cpu()


def connect(node: RelevanceNode, z: Tensor, *inputs: Tensor) -> Tensor:
    """Make ``node`` the way back from ``z`` to ``inputs``.

    Args:
        node: hands the relevance of ``z`` back, to as many tensors as there are inputs.
        z: computed outside the graph; the node is put on it, so that it is no copy and may be overwritten later. Or the
            input itself, overwritten in place, if ``inputs`` is empty.
        *inputs: tensors in the graph.
    """
    if inputs and z._is_view() and not z.requires_grad:
        z = z.clone()  # made without a graph (by F.instance_norm, say): autograd will have no node on such a view
    connected: Tensor = _Node.apply(node, z, *inputs)
    return connected


class _Node(Function):
    @staticmethod
    def forward(ctx: Any, node: RelevanceNode, z: Tensor, *inputs: Tensor) -> Tensor:
        ctx.relevance_node = node
        ctx.mark_dirty(z)
        return z

    @staticmethod
    def backward(ctx: Any, R: Tensor) -> tuple[Tensor | None, ...]:
        handed = ctx.relevance_node.backward(R)
        return (None, *handed) if ctx.needs_input_grad[1] else (None, None, *handed)


class Pass(RelevanceNode):
    """Relevance passes unchanged, summed where the input was broadcast."""

    def __init__(self, shape: torch.Size | None = None) -> None:
        self._shape = shape

    def hand_back(self, R: Tensor) -> tuple[Tensor, ...]:
        """R, in the shape of the input."""
        return (R if self._shape is None or R.shape == self._shape else R.sum_to_size(self._shape),)


class Moved(RelevanceNode):
    """Values that only move: autograd hands back their relevance, and none to constants among them."""

    label = "move"

    def follow(self, results: Collection[Node], sources: Collection[Node]) -> None:
        """Count at the nodes of autograd that moved the values.

        Args:
            results: what autograd has for where the values are now.
            sources: for where they come from.
        """
        reached, seen = list(results), set(sources)
        while reached:
            node = reached.pop()
            if node in seen:
                continue
            seen.add(node)
            following = [before for before, _ in node.next_functions]
            hands_on = [before in sources or before in results for before in following]
            node.register_hook(partial(self._count, node in results, hands_on))
            reached += [before for before in following if before is not None]

    def count(self, R: Tensor, passed: Tensor) -> None:
        """Count the relevance ``R`` as received, and ``passed`` as handed on."""
        if self.received is not None and self.passed is not None:
            self.received, self.passed = self.received + total_of(R), self.passed + total_of(passed)

    def _count(
        self,
        is_result: bool,
        hands_on: Sequence[bool],
        handed: tuple[Tensor | None, ...],
        arrived: tuple[Tensor | None, ...],
    ) -> None:
        """A hook on autograd's node, called after each use."""
        if self.received is None or self.passed is None:
            return
        if is_result:
            self.received = self.received + sum(total_of(R) for R in arrived if R is not None)
        parts = zip(handed, hands_on, strict=False)
        self.passed = self.passed + sum(total_of(R) for R, counts in parts if counts and R is not None)

    @property
    def counts(self) -> bool:
        """Whether more came than went, beyond rounding."""
        assert self.received is not None and self.passed is not None
        return bool((self.received - self.passed).abs() > 1e-6 * self.received.abs().clamp(min=1e-12))


def nodes_of(tensors: Iterable[Tensor]) -> set[Node]:
    """The autograd nodes of these tensors and of their bases."""
    roots = [root for tensor in tensors for root in (tensor, tensor._base) if root is not None]
    return {root.grad_fn for root in roots if root.grad_fn is not None}


class Halves(RelevanceNode):
    """z = a · b, entry by entry: half of the relevance to each, summed where it was broadcast (AttnLRP, eq. 14)."""

    label = "halves"

    def __init__(self, shapes: Sequence[torch.Size]) -> None:
        self._shapes = shapes

    def hand_back(self, R: Tensor) -> tuple[Tensor, ...]:
        """R/2 to each."""
        half = R * 0.5
        return tuple(half.sum_to_size(shape) for shape in self._shapes)


class Elementwise(RelevanceNode):
    """An activation that hands back by a formula of its input, its output and the relevance."""

    def __init__(self, formula: Callable[[Tensor, Tensor, Tensor], Tensor], z: SavedTensor, label: str) -> None:
        self._formula, self._z, self.label = formula, z, label

    def set_output(self, a: Tensor) -> None:
        """Keep a."""
        self._a = SavedTensor(a)

    def hand_back(self, R: Tensor) -> tuple[Tensor, ...]:
        """By the formula."""
        return (self._formula(self._z.get(), self._a.get(), R),)


class AveragePool(RelevanceNode):
    """A max pool that hands back as an average pool: R_i = x_i · (the average pool's own way back of R / average)."""

    label = "average"

    def __init__(self, x: Tensor, pool: Callable[[Tensor], Tensor], epsilon: float) -> None:
        self._x, self._pool, self._epsilon = SavedTensor(x), pool, epsilon

    def hand_back(self, R: Tensor) -> tuple[Tensor, ...]:
        """In proportion to the entries of each window."""
        x = self._x.get().detach().requires_grad_()
        average = with_gradients(self._pool)(x)
        s = self.quotient(R, average.detach(), self._epsilon)
        (gradient,) = torch.autograd.grad(average, x, s)
        return (gradient.mul_(x.detach()),)


def average_pool(name: str, *args: Any, **kwargs: Any) -> Callable[[Tensor], Tensor]:
    """The average pool over the windows of a max pool.

    Args:
        name: the max pool's function.
        *args: what follows the input in its call.
        **kwargs: the same, by name.

    Raises:
        ValueError: the windows are dilated: there is no such average pool in torch.
    """
    average = getattr(F, name.removesuffix("_with_indices").replace("max", "avg"))
    if name.startswith("adaptive"):
        return partial(average, output_size=args[0] if args else kwargs["output_size"])
    given = dict(zip(("kernel_size", "stride", "padding", "dilation", "ceil_mode"), args, strict=False)) | kwargs
    dilation = given.pop("dilation", 1)
    if any(step != 1 for step in ((dilation,) if isinstance(dilation, int) else dilation)):
        raise ValueError(f"The rule Average has no average pool for a max pool with dilation {dilation}: use Winner.")
    given.pop("return_indices", None)
    return partial(average, **given, count_include_pad=False)


class Sum(RelevanceNode):
    """z = a + b: R_a = a R / (z + ε·sign z), and b's alike.

    Attributes:
        output: z, once it is connected; a ReLU in place may set its negative entries to zero.
        facts: what is known of z.
    """

    label = "proportion"

    def __init__(self, terms: Sequence[tuple[bool, SavedTensor]], epsilon: float) -> None:
        self._terms, self._epsilon = terms, epsilon

    def set_output(self, z: Tensor) -> None:
        """Keep z."""
        self.output, self.facts = SavedTensor(z), facts_of(z)
        self.facts.producer = self

    def hand_back(self, R: Tensor) -> tuple[Tensor, ...]:
        """To the terms that depend on the input of the network."""
        z = self.output.get()
        if self.output.rectified and not self.facts.vanishes_below():
            z = self._terms[0][1].get() + self._terms[1][1].get()
        s = self.quotient(R, z, self._epsilon)
        values = [kept.get() for wanted, kept in self._terms if wanted]
        return tuple((value * s).sum_to_size(value.shape) for value in values)

    def gradient(self, g: Tensor) -> tuple[Tensor, ...]:
        """The gradient of each term from that of the output."""
        return tuple(g.sum_to_size(kept.tensor.shape) for wanted, kept in self._terms if wanted)


class Softmax(RelevanceNode):
    """a = softmax(x): R_x = x (R − a Σ R), the first-order term at x (AttnLRP, eq. 13)."""

    label = "softmax"

    def __init__(self, x: SavedTensor, dim: int) -> None:
        self._x, self._dim = x, dim

    def set_output(self, a: Tensor) -> None:
        """Keep a."""
        self._a = SavedTensor(a)

    def hand_back(self, R: Tensor) -> tuple[Tensor, ...]:
        """Nothing to entries that a mask set to −∞."""
        x = self._x.get()
        R_x = (R - self._a.get() * R.sum(self._dim, keepdim=True)).mul_(x)
        return (R_x.masked_fill_(x.isinf(), 0.0),)
