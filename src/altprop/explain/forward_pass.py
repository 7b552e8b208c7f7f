"""The forward pass of a model that is explained, and the relevance pass back through it."""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, is_dataclass
from itertools import count
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.graph import GradientEdge, get_gradient_edge

from altprop._preserve import in_evaluation_mode
from altprop._switches import recording
from altprop.explain.preactivation import Start
from altprop.explain.targets import output_of
from altprop.ops.interceptor import Interceptor, Observer
from altprop.ops.lrp.basics import depends
from altprop.ops.lrp.facts import ANYWHERE, PROPORTIONAL, TensorFacts, facts_of, set_facts
from altprop.ops.lrp.in_place import fallback
from altprop.ops.lrp.nodes import Pass, connect
from altprop.ops.lrp.pass_ import LRPPass
from altprop.ops.lrp.products import followed
from altprop.ops.lrp.table import LRP_TABLE
from altprop.ops.tokens import TokenInterceptor
from altprop.ops.whole_modules import kind_of
from altprop.rule import Attachment

Inputs = Tensor | Sequence[Tensor] | Mapping[str, Any]


@dataclass
class Recorded:
    """The output of a module: its place in the graph, and its value if that was asked for."""

    edge: GradientEdge | None
    like: Tensor
    value: Tensor | None


@dataclass
class ForwardPass:
    """A model's forward pass, with the graph through which relevance flows back.

    Attributes:
        lrp: what its operations share.
        output: (batch, ...), what is explained.
        entries: each input with the tensors at which its relevance arrives.
        recorded: the outputs of modules that were asked for, in the order in which they ran.
    """

    lrp: LRPPass
    output: Tensor
    entries: list[tuple[Tensor, list[Tensor]]] = field(default_factory=list)
    recorded: dict[str, Recorded] = field(default_factory=dict)

    def hand_back(self, start: Start, to: Sequence[Tensor | GradientEdge]) -> tuple[Tensor | None, ...]:
        """The relevance at ``to`` of an explanation that starts at ``start``; None where none arrives."""
        if not to:
            return ()
        sources = [(source, R) for source, R in start.ends if R is not None]
        if not sources:
            return (None,) * len(to)
        arrived: tuple[Tensor | None, ...] = torch.autograd.grad(
            [source for source, _ in sources],  # type: ignore[arg-type]
            list(to),  # type: ignore[arg-type]
            [R for _, R in sources],
            allow_unused=True,
            retain_graph=bool(start.operations),
        )
        return tuple(R if before is None else before for R, before in zip(arrived, start.within(to), strict=True))

    def explained_as_given(self) -> None:
        """Note that the starting relevance may be nonzero where the output is zero."""
        facts_of(self.output).consumers.append(ANYWHERE)

    def relevance_of_inputs(self, arrived: Sequence[Tensor | None]) -> list[Tensor | None]:
        """The relevance of each input from that at all :attr:`entries`; for tokens, summed over their vectors."""
        parts, number = iter(arrived), count()
        return [self._of_input(value, number, [next(parts) for _ in places]) for value, places in self.entries]

    def _of_input(self, value: Tensor, number: Iterator[int], arrived: list[Tensor | None]) -> Tensor | None:
        if not value.is_floating_point():
            return self.lrp.tokens.relevance(next(number), arrived)
        return torch.zeros_like(value) if arrived[0] is None else arrived[0]


@contextmanager
def forward_pass(
    model: nn.Module,
    lrp: LRPPass,
    inputs: Inputs,
    additional_forward_args: Any = None,
    *,
    record: Collection[str] | Callable[[str], bool] = (),
    values_of: str | None = None,
    masks: Mapping[str, Callable[[Tensor], Tensor]] | None = None,
    observer: Observer | None = None,
) -> Iterator[ForwardPass]:
    """Run ``model`` in evaluation mode with LRP's nodes on its operations, and leave it unchanged.

    Args:
        model: any module.
        lrp: new, for this pass alone.
        inputs: one input, several, or keyword inputs.
        additional_forward_args: further arguments, which are not explained.
        record: the names of modules whose outputs are recorded, or a predicate of names.
        values_of: the module whose output is kept too, because the explanation starts there.
        masks: for modules by name, what the relevance of their output is changed by.
        observer: told of every operation.
    """
    wanted = record if callable(record) else set(record).__contains__
    recorded: dict[str, Recorded] = {}

    def note(name: str, output: Any) -> None:
        tensor = _first_tensor(output)
        if tensor is None:
            return
        if masks and name in masks and tensor.requires_grad:
            tensor.register_hook(masks[name])  # type: ignore[no-untyped-call]
        if not wanted(name) and name != values_of:
            return
        if name == values_of:
            facts_of(tensor).consumers.append(ANYWHERE)
        key = _unused(name, recorded)
        edge = get_gradient_edge(tensor) if depends(tensor) else None
        like = torch.empty_like(tensor, device="meta")
        recorded[key] = Recorded(edge, like, tensor.detach().clone() if name == values_of else None)

    stack = ExitStack()
    try:
        for _ in range(2):  # an interrupt may come in the middle of the first time
            stack.callback(lrp.close)
            stack.callback(_detach_buffers, model)
        stack.enter_context(in_evaluation_mode(model))
        for module in model.modules():
            attachment = Attachment.of(module)
            if attachment is not None:
                stack.enter_context(attachment.suspended())
        recording(stack, _device_type(model))
        args, kwargs, entries = _traced_inputs(lrp, inputs, additional_forward_args)
        # No warning where an observer lists the operations without a rule.
        unknown = (lambda name: None) if lrp.gradients or observer is not None else lrp.unknown
        intercepting = TokenInterceptor if lrp.tokens else Interceptor
        interceptor = intercepting(LRP_TABLE, lrp, unknown, observer, None if lrp.gradients else fallback, kind="lrp")
        with _followed(model, lrp, interceptor, note):
            output = output_of(interceptor.run(model, tuple(args), kwargs))
        output = output if lrp.gradients else followed(lrp, output, model)
        _check_depends(lrp, output)
        for name in interceptor.witness.escapes([output], lrp.seen if observer is None else {}):
            if observer is None:
                lrp.unseen(name)
            else:
                observer(name, None)
        lrp.assign_rules()
        lrp.check_pairs(model)
        facts_of(output).consumers.append(PROPORTIONAL)
        of_tokens = [places for value, places in entries if not value.is_floating_point()]
        for number, arriving in enumerate(of_tokens):
            arriving.extend(lrp.tokens.vectors_of(number))
        yield ForwardPass(lrp, output, entries, recorded)
        stack.close()
    except BaseException:
        # Not a with block: an interrupt at its exit would leave the model changed.
        stack.close()
        raise


def like_inputs(inputs: Inputs, relevances: list[Tensor | None], lrp: LRPPass) -> Any:
    """The relevances in the structure of the inputs.

    Raises:
        ValueError: one of several inputs can have none.
    """
    if isinstance(inputs, Mapping):
        names = [name for name, value in inputs.items() if isinstance(value, Tensor)]
        return {name: R for name, R in zip(names, relevances, strict=True) if R is not None}
    if any(R is None for R in relevances):
        told = lrp.tokens.account()
        raise ValueError(
            f"No relevance can reach an integer input: {told}. Give it in additional_forward_args, or as floats if it "
            f"is a number."
        )
    return relevances[0] if isinstance(inputs, Tensor) else tuple(relevances)


def _detach_buffers(model: nn.Module) -> None:
    """Detach buffers that the model wrote activations into: the graph ends with this pass."""
    for buffer in model.buffers():
        if buffer.requires_grad and not buffer.is_leaf:
            buffer.detach_()


def _unused(name: str, taken: Mapping[str, Any]) -> str:
    """The name itself for a module's first call, ``name#2`` for its second."""
    if name not in taken:
        return name
    calls = 2
    while f"{name}#{calls}" in taken:
        calls += 1
    return f"{name}#{calls}"


def _device_type(model: nn.Module) -> str:
    parameter = next(model.parameters(), None)
    return "cpu" if parameter is None else parameter.device.type


def _first_tensor(output: Any) -> Tensor | None:
    if isinstance(output, Tensor):
        return output
    if is_dataclass(output) and not isinstance(output, Mapping):
        output = vars(output) if hasattr(output, "__dict__") else {}
    values = output.values() if isinstance(output, Mapping) else output if isinstance(output, tuple | list) else ()
    return next((value for value in values if isinstance(value, Tensor)), None)


def _check_depends(lrp: LRPPass, output: Tensor) -> None:
    if not output.requires_grad:
        why = lrp.tokens.account() or "it may compute under torch.no_grad(), or detach its activations"
        raise ValueError(f"The model's output does not depend on the inputs in a way that can be followed: {why}.")


def _traced_inputs(
    lrp: LRPPass, inputs: Inputs, additional: Any
) -> tuple[list[Any], dict[str, Any], list[tuple[Tensor, list[Tensor]]]]:
    """The model's arguments, and each input with the tensors at which its relevance arrives."""
    entries: list[tuple[Tensor, list[Tensor]]] = []

    def entry_of(value: Any) -> Any:
        if not isinstance(value, Tensor):
            return value
        if not value.is_floating_point():
            entries.append((value, []))
            return lrp.tokens.enter(value)
        leaf = (value.clone() if value.is_inference() else value.detach()).requires_grad_()
        # A copy, so that a model that overwrites its input does not overwrite the caller's.
        entry = leaf.clone()
        set_facts(entry, TensorFacts(beyond_first=False))
        entries.append((value, [leaf]))
        return entry

    if isinstance(inputs, Mapping):
        kwargs = {name: entry_of(value) for name, value in inputs.items()}
        extra = dict(additional or {}) if isinstance(additional, Mapping | None) else None
        if extra is None:
            raise TypeError("With keyword inputs, additional_forward_args is a mapping of keyword arguments too.")
        return [], kwargs | extra, entries
    given = (inputs,) if isinstance(inputs, Tensor) else tuple(inputs)
    for value in given:
        if not isinstance(value, Tensor):
            raise TypeError(f"LRP explains tensors, got {type(value).__name__} among the inputs.")
    more = additional if isinstance(additional, tuple) else () if additional is None else (additional,)
    return [*(entry_of(value) for value in given), *more], {}, entries


@contextmanager
def _followed(
    model: nn.Module, lrp: LRPPass, interceptor: Interceptor, note: Callable[[str, Any], None]
) -> Iterator[None]:
    """Track which module is running, and treat modules that are one activation or normalisation as one operation."""
    thread = threading.get_ident()
    modules = dict(model.named_modules())
    ours: set[int] = set()

    def follow(name: str, module: nn.Module) -> None:
        whole = kind_of(module) is not None and not lrp.gradients

        def on_enter(module: nn.Module, args: Any) -> None:
            if threading.get_ident() == thread:
                lrp.inside.append((name, module))
                if whole:
                    interceptor.silence()

        def on_leave(module: nn.Module, args: Any, output: Any) -> Any:
            if threading.get_ident() != thread:
                return None
            if whole:
                interceptor.resume()
                output = _passed(lrp, module, args, output)
            lrp.inside.pop()
            note(name, output)
            return output if whole else None

        ours.update((id(on_enter), id(on_leave)))
        module.register_forward_pre_hook(on_enter, prepend=True)
        module.register_forward_hook(on_leave)

    def unfollow() -> None:
        for module in modules.values():
            for hooks in (module._forward_pre_hooks, module._forward_hooks):
                for key in [key for key, hook in hooks.items() if id(hook) in ours]:
                    del hooks[key]

    try:
        for name, module in modules.items():
            follow(name, module)
        yield
        unfollow()
    except BaseException:
        unfollow()
        raise


def _passed(lrp: LRPPass, module: nn.Module, args: Any, output: Any) -> Any:
    """The output of a module that is one operation: relevance passes through it unchanged."""
    z: Tensor | None = args[0] if args else None
    if z is None or not depends(z) or not isinstance(output, Tensor):
        return output
    node = Pass()
    facts_of(z).consumers.append(ANYWHERE)
    connected = connect(node, output.detach().clone(), z)
    set_facts(connected, TensorFacts(beyond_first=facts_of(z).beyond_first))
    lrp.add(lrp.layer(type(module)), node)
    return connected
