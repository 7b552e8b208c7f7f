"""What LFP knows of the tensors of one forward pass: which are weights, and which still lack their deferred factor.

A tensor is an *activation* if it depends on the model's input, and a *weight* if it was computed from parameters alone,
whatever its place in a call. Every result of an answered operation carries its mark: an activation the ε of the factor
that it lacks, 0 if it lacks none; a weight :data:`WEIGHT`. The mark is an attribute of the tensor, where reading it is
cheap, and stands in the metadata of its autograd node, where it outlives the tensor object
(:mod:`altprop.ops.lfp.unseen`).
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable
from typing import Any
from weakref import ref

from torch import Tensor, nn
from torch.compiler import is_compiling
from torch.utils._pytree import tree_leaves

from altprop._switches import without_gradients
from altprop.ops.lfp.credit import SPIKES, apply_deferred_factor, layer_operands, scale_update
from altprop.ops.lfp.unseen import PARAMETER, WEIGHT, OutputFactor, found_again, write_mark
from altprop.ops.witness import sequence_number

MARK = "_altprop_mark"
"""The attribute of a tensor that holds its mark."""

_ORIGIN = "_altprop_origin"
_SAVERS = "_altprop_savers"

# Their results count as inputs: noise, or arrays made elsewhere.
_OF_CHANCE = {
    "rand", "randn", "randint", "randperm", "normal", "bernoulli", "poisson", "multinomial", "rand_like", "randn_like",
    "randint_like", "normal_", "uniform_", "bernoulli_", "exponential_", "random_", "from_numpy",
}  # fmt: skip

_passes = itertools.count(1)


def is_marked(value: Any) -> bool:
    """Whether ``value`` is a marked tensor."""
    return getattr(value, MARK, None) is not None


class LFPPass:
    """One forward pass under LFP: the settings, as :class:`altprop.LFP` explains them, and what is known of tensors.

    Args:
        epsilon: ε.
        minimum_scale: the least factor of an update.
        gamma: γ.
        arguments: the tensors that the model was called with.
        acted: called with each parameter that the rule scales; None if nobody listens.

    Attributes:
        pending: the tensors that lack their factor and were taken in by no operation yet, by their ids.
        start: the number of the pass's first autograd node.
        of_the_loss: parameters that what is taken for the loss uses.
        is_unusual: whether a mark that a tensor bears, or that its type suggests, might not be the last word.
    """

    def __init__(
        self,
        epsilon: float,
        minimum_scale: float = 0.0,
        gamma: float = 0.0,
        arguments: Iterable[Tensor] = (),
        acted: Callable[[Tensor], None] | None = None,
    ) -> None:
        self.epsilon = epsilon
        self.minimum_scale = minimum_scale
        self.gamma = gamma
        self.acted = acted
        compiling = is_compiling()
        self._arguments = list(arguments)
        self._takes_parameters = False
        self._ids: set[int] = set()
        self.pending: dict[int, Tensor] = {}
        self._applied_bases: list[Tensor] = []
        self.of_the_loss: list[Tensor] = []
        self._number = 0 if compiling else next(_passes)
        self.start = 0 if compiling else sequence_number()
        for argument in self._arguments:
            if type(argument) is not Tensor and isinstance(argument, nn.Parameter):
                self._takes_parameters = True
            if not compiling:
                self._ids.add(id(argument))
                if argument.grad_fn is not None:
                    write_mark(argument.grad_fn, argument.output_nr, 0.0, None)
        self.is_unusual = self._takes_parameters

    # ----------------------------------------------------------------------------------------------------------------
    # Weights and activations.

    def mark(self, value: Tensor) -> float:
        """The mark of a tensor that requires a gradient."""
        if type(value) is nn.Parameter and not self._takes_parameters:
            return PARAMETER  # the usual case, and the cheap one
        mark: float | None = getattr(value, MARK, None)
        if mark is None:
            return self._unmarked(value)
        if mark > 0 and self._applied_bases and any(value._base is base for base in self._applied_bases):
            return 0.0
        return mark

    def mark_at_sight(self, value: Any) -> float | None:
        """The mark of a tensor that bears one, 0 for one that was made from the input alone; None for all others.

        Unlike :meth:`mark` this costs next to nothing; it is right unless :attr:`is_unusual`.
        """
        mark: float | None = getattr(value, MARK, None)
        if mark is None and (id(value) in self._ids or getattr(value, _ORIGIN, None) == self._number):
            return 0.0
        return mark

    def is_activation(self, value: Any) -> bool:
        """Whether ``value`` depends on the input, so that credit flows on through it."""
        return isinstance(value, Tensor) and value.requires_grad and self.mark(value) >= SPIKES

    def depends_on_input(self, value: Tensor) -> bool:
        """Whether a tensor without gradient was made from the input; what is unknown counts if there is no other."""
        if self.is_argument(value):
            return True
        origin: int | None = getattr(value, _ORIGIN, None)
        if origin == self._number:
            return True
        return not self._arguments and origin != -self._number and not isinstance(value, nn.Parameter)

    def is_constant(self, value: Tensor) -> bool:
        """Whether a tensor without gradient is known to be made of constants."""
        return isinstance(value, nn.Parameter) or getattr(value, _ORIGIN, None) == -self._number

    def note_origin(self, value: Any, of_input: bool) -> None:
        """Remember of a result without gradient whether it was made from the input."""
        if isinstance(value, Tensor):
            if value.requires_grad:
                self.defer(value, 0.0 if of_input else WEIGHT)
            elif not self.is_argument(value) and not isinstance(value, nn.Parameter):
                setattr(value, _ORIGIN, self._number if of_input else -self._number)
        elif isinstance(value, tuple | list):
            for part in value:
                self.note_origin(part, of_input)

    def trace_origin(self, function: Any, result: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        """:meth:`note_origin` for the result of a function without a rule."""
        first = result[0] if isinstance(result, tuple | list) and result else result
        if not isinstance(first, Tensor) or first.requires_grad:
            return
        of_input = getattr(function, "__name__", "") in _OF_CHANCE or any(
            isinstance(value, Tensor) and (self.is_activation(value) or self.depends_on_input(value))
            for value in tree_leaves((args, kwargs))
        )
        self.note_origin(result, of_input)

    def is_argument(self, value: Tensor) -> bool:
        """Whether the model was called with ``value``."""
        if is_compiling():
            return any(value is argument for argument in self._arguments)
        return id(value) in self._ids

    def _unmarked(self, value: Tensor) -> float:
        if self.is_argument(value):
            return 0.0
        if isinstance(value, nn.Parameter) or value.is_leaf:
            return PARAMETER
        if is_compiling():
            return 0.0
        node: Any = value.grad_fn
        # Made before this pass, and no argument: what torch.func.functional_call puts in a parameter's place.
        return PARAMETER if node._sequence_nr() < self.start else found_again(self, value, node)

    # ----------------------------------------------------------------------------------------------------------------
    # The deferred factor.

    def defer(self, z: Any, epsilon: float) -> Any:
        """Mark ``z`` (a tensor or a sequence of them) as lacking its factor |z| / (|z| + ε), or none for ε = 0."""
        if isinstance(z, Tensor):
            if z.requires_grad:
                setattr(z, MARK, epsilon)
                node = None if is_compiling() else z.grad_fn
                if node is not None:
                    lacks = epsilon > 0 or epsilon == SPIKES
                    if lacks:
                        self.pending[id(z)] = z
                    write_mark(node, z.output_nr, epsilon, ref(z) if lacks else None)
        elif isinstance(z, tuple | list):
            for part in z:
                self.defer(part, epsilon)
        return z

    def leave(self, z: Tensor, epsilon: float) -> Tensor:
        """:meth:`defer` for the new and only result of an operation, which requires a gradient: the hot path."""
        setattr(z, MARK, epsilon)
        if epsilon > 0 or epsilon == SPIKES:
            self.pending[id(z)] = z
            write_mark(z.grad_fn, 0, epsilon, ref(z))
        else:
            write_mark(z.grad_fn, 0, epsilon, None)
        return z

    def complete(self, z: Any) -> None:
        """Mark results that their operation left unmarked: they lack no factor."""
        if isinstance(z, Tensor):
            if z.requires_grad and not is_marked(z):
                self.defer(z, 0.0)
        elif isinstance(z, tuple | list):
            for part in z:
                self.complete(part)

    def take(self, z: Tensor) -> float:
        """The ε of the factor that ``z`` lacks, 0 if none; the caller takes over applying it."""
        mark = self.mark(z)
        if mark == 0.0 or mark <= WEIGHT:
            return 0.0
        self.hand_over(z)
        return mark

    def hand_over(self, z: Tensor) -> None:
        """Hand the factor that ``z`` lacks over to the operation that takes it in."""
        self.pending.pop(id(z), None)

    def apply_factor(self, z: Tensor) -> Tensor:
        """``z`` with its deferred factor applied to the credit that comes back."""
        epsilon = self.take(z)
        return self._saved_by_node(z, apply_deferred_factor(z, epsilon)) if epsilon else z

    def apply_spike_factor(self, a: Tensor) -> Tensor:
        """:meth:`apply_factor` for spikes alone, where the operation itself handles the factor of a weighted sum."""
        return self.apply_factor(a) if self.mark(a) == SPIKES else a

    def operand(self, value: Any) -> Any:
        """``value`` as an operation takes it in: an activation's factor is applied, a parameter's update scaled."""
        if not isinstance(value, Tensor) or not value.requires_grad:
            return value
        mark = self.mark(value)
        if mark == PARAMETER:
            return self.scale_update(value)
        return value if mark in {0.0, WEIGHT} else self.apply_factor(value)

    def operands(self, values: Any) -> Any:
        """:meth:`operand` for every value of a sequence, and of sequences in it."""
        if type(values) in {list, tuple}:
            return type(values)(self.operands(value) for value in values)
        return self.operand(values)

    def take_in(self, value: Any) -> Any:
        """:meth:`operand` for code whose operations are intercepted one by one."""
        if not isinstance(value, Tensor) or not value.requires_grad:
            return value
        mark, taken = self.mark(value), self.operand(value)
        return taken if taken is value else self.defer(taken, WEIGHT if mark == PARAMETER else 0.0)

    def scale_update(self, parameter: Tensor) -> Tensor:
        """``parameter``, whose gradient will be multiplied by its magnitude."""
        if self.acted is not None:
            self.acted(parameter)
        return scale_update(parameter, self.minimum_scale)

    def layer_operands(self, a: Tensor, w: Tensor, b: Tensor | None) -> tuple[Tensor, Tensor, Tensor | None]:
        """:meth:`operand` for the input, the weight and the bias of a layer, in one node: the hot path.

        Args:
            a: the input.
            w: the weight, no activation.
            b: the bias.
        """
        epsilon, a_mark = 0.0, self.mark(a) if a.requires_grad else WEIGHT
        if a_mark == PARAMETER:
            a = self.scale_update(a)
        elif a_mark > 0.0 or a_mark == SPIKES:
            epsilon = a_mark
            self.hand_over(a)
        deferring = a if epsilon else None
        w_to_scale = self._to_scale(w)
        b_to_scale = None if b is None else self._to_scale(b)
        if deferring is None and w_to_scale is None and b_to_scale is None:
            return a, self.operand(w), self.operand(b)
        a_taken, w_scaled, b_scaled = layer_operands(deferring, w_to_scale, b_to_scale, epsilon, self.minimum_scale)
        if a_taken is not None and not w.requires_grad:  # torch's own node keeps a for the gradient of w
            self._saved_by_node(a, a_taken)
        return (
            a if a_taken is None else a_taken,
            self.operand(w) if w_scaled is None else w_scaled,
            self.operand(b) if b_scaled is None else b_scaled,
        )

    def _to_scale(self, value: Tensor) -> Tensor | None:
        if not value.requires_grad or self.mark(value) != PARAMETER:
            return None
        if self.acted is not None:
            self.acted(value)
        return value

    # ----------------------------------------------------------------------------------------------------------------
    # What is overwritten in place.

    def _saved_by_node(self, z: Tensor, taken: Tensor) -> Tensor:
        """Remember that ``taken``'s node saves ``z``, which torch's own nodes might not."""
        if not is_compiling():
            base = z._base
            owner = z if base is None else base
            savers = getattr(owner, _SAVERS, None)
            if savers is None:
                savers = []
                setattr(owner, _SAVERS, savers)
            savers.append(ref(taken.grad_fn))
        return taken

    def before_overwriting(self, x: Tensor) -> None:
        """Give the nodes that save ``x``, or the base of the view ``x``, a copy of their own."""
        base = None if is_compiling() else x._base
        owner = x if base is None else base
        for saver in getattr(owner, _SAVERS, None) or ():
            node = saver()
            if node is not None and node.kept is None:
                a, *others = node.saved_tensors
                node.kept = (a.detach().clone(), *others)

    def apply_base_factor(self, x: Tensor) -> None:
        """If ``x`` is a view of a tensor that lacks its factor, apply it in place: ``x`` is about to lack another."""
        base = None if is_compiling() else x._base
        if base is None or not base.requires_grad or base.is_leaf or not self.mark(base) > 0:
            return
        copy = self.defer(base.clone(), self.take(base))
        without_gradients(self.before_overwriting)(base)
        base.copy_(self.apply_factor(copy))
        self._applied_bases.append(base)
        self.is_unusual = True
        self.defer(base, 0.0)

    def apply_factor_in_place(self, x: Tensor) -> None:
        """Apply the factor of ``x``, in place: part of it will be overwritten by values that lack another, or none."""
        epsilon = self.take(x)
        if epsilon:
            copy = self.defer(x.clone(), epsilon)
            self.apply_base_factor(x)
            x.copy_(self.apply_factor(copy))
            self.defer(x, 0.0)

    # ----------------------------------------------------------------------------------------------------------------
    # What leaves the model.

    def apply_output_factor(self, z: Tensor) -> Tensor:
        """Like :meth:`apply_factor` for a tensor that leaves the model, which its user may overwrite in place.

        A view made inside an autograd node may not be overwritten, and a copy would cost memory; a hook does neither.
        It is set on ``z`` itself, or on a view of it if operations of the model have taken ``z`` in already.
        """
        epsilon = self.mark(z) if z.requires_grad else 0.0
        if not epsilon > 0:
            return z
        if is_compiling():
            return self.apply_factor(z)
        free = self.pending.pop(id(z), None) is not None
        output = z if free else z.view_as(z)
        self.defer(output, 0.0)
        output.register_hook(OutputFactor(z.detach(), epsilon))  # type: ignore[no-untyped-call]
        return output

    def apply_remaining_factors(self) -> None:
        """Apply the factors that are still lacking: those tensors leave the model in another way than its output."""
        while self.pending:
            _, z = self.pending.popitem()
            if self.mark(z) > 0:
                self.pending[id(z)] = z
                self.apply_output_factor(z)
