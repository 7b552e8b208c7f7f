"""One forward pass of a model that is to be explained, and the way back through it."""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.graph import GradientEdge, get_gradient_edge

from altprop._preserve import in_evaluation_mode
from altprop.explain.targets import output_of
from altprop.ops.interceptor import Interceptor, Observer
from altprop.ops.lrp_common import depends
from altprop.ops.lrp_in_place import fallback
from altprop.ops.lrp_rules import LRP_TABLE
from altprop.ops.lrp_run import Run
from altprop.ops.relevance import Call, Pass, connect
from altprop.ops.relevance_flow import OTHER, PROPORTIONAL, Flow, flow_of, set_flow
from altprop.ops.whole_modules import kind_of
from altprop.rule import Attachment

Inputs = Tensor | Sequence[Tensor] | Mapping[str, Any]


@dataclass
class Recorded:
    """What a module returned: where in the graph, and its value if that is asked for."""

    edge: GradientEdge | None
    like: Tensor
    value: Tensor | None


@dataclass
class ForwardPass:
    """A model's forward pass, with the graph through which relevance flows back.

    Attributes:
        run: what its operations share.
        output: (batch, ...), what is explained.
        entries: each input with the tensors at which its relevance arrives.
        recorded: the outputs of modules that were asked for, in the order in which they ran.
        first: the activation at whose input the explanation starts, if it does not start at what is explained.
    """

    run: Run
    output: Tensor
    entries: list[tuple[Tensor, list[Tensor]]] = field(default_factory=list)
    recorded: dict[str, Recorded] = field(default_factory=dict)
    first: Call | None = None

    def hand_back(
        self, source: Tensor | GradientEdge, seed: Tensor, to: Sequence[Tensor | GradientEdge]
    ) -> tuple[Tensor | None, ...]:
        """The relevance at ``to`` when ``source`` has the relevance ``seed``; None where nothing arrives."""
        if not to:
            return ()
        arrived: tuple[Tensor | None, ...] = torch.autograd.grad([source], list(to), [seed], allow_unused=True)  # type: ignore[arg-type]
        return arrived

    def start_before_activations(self, source: Tensor | GradientEdge) -> bool:
        """Let the explanation start before the activations at the model's end that do not keep the sign.

        A probability is positive also where its logit is not; passed on unchanged, its relevance would say the
        opposite. With :attr:`Call.starts` set, what is handed back from ``source`` is one for each output that is
        explained, and the relevance is that of the logit.

        Args:
            source: what is explained: a tensor, or its place in the graph.

        Returns:
            Whether there is such an activation.
        """
        node = source.grad_fn if isinstance(source, Tensor) else source.node
        found: list[Call] = []
        while node is not None:
            call = getattr(node, "call", None)
            if call is not None and call.before is None:
                break
            if call is not None:
                found.append(call)
            following = [before for before, _ in node.next_functions if before is not None]
            node = following[0] if len(following) == 1 else None  # values that only move, or are picked
        for call in found:
            call.starts = "before"
        if found:
            found[-1].starts = "here"
            self.first = found[-1]
        return bool(found)

    def explained(self, seed: Tensor) -> Tensor:
        """The relevance that the explanation started with, once it was handed back, whose seed was ``seed``."""
        return seed if self.first is None or self.first.started is None else self.first.started

    def explained_as_given(self) -> None:
        """The explanation starts with any relevance, which need not vanish where the output does."""
        flow_of(self.output).uses.append(OTHER)

    def relevance_of_inputs(self, arrived: Sequence[Tensor | None]) -> list[Tensor | None]:
        """From the relevance at all :attr:`entries`, that of each input: for tokens, summed over their vectors."""
        parts = iter(arrived)
        return [self._of_input(value, [next(parts) for _ in places]) for value, places in self.entries]

    def _of_input(self, value: Tensor, arrived: list[Tensor | None]) -> Tensor | None:
        if value.is_floating_point():
            return torch.zeros_like(value) if arrived[0] is None else arrived[0]
        if not arrived:
            return None
        tokens = [R.sum(-1).view(value.shape) for R in arrived if R is not None]
        return torch.stack(tokens).sum(0) if tokens else torch.zeros(value.shape, device=value.device)


@contextmanager
def forward_pass(
    model: nn.Module,
    run: Run,
    inputs: Inputs,
    additional_forward_args: Any = None,
    *,
    record: Collection[str] | Callable[[str], bool] = (),
    values_of: str | None = None,
    masks: Mapping[str, Callable[[Tensor], Tensor]] | None = None,
    observer: Observer | None = None,
) -> Iterator[ForwardPass]:
    """Run ``model`` in evaluation mode, with LRP's nodes on its operations; the model is left as it was.

    Args:
        model: any module.
        run: new, for this pass alone.
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
            flow_of(tensor).uses.append(OTHER)
        key = _unused(name, recorded)
        edge = get_gradient_edge(tensor) if depends(tensor) else None
        like = torch.empty_like(tensor, device="meta")
        recorded[key] = Recorded(edge, like, tensor.detach().clone() if name == values_of else None)

    with ExitStack() as stack:
        stack.callback(run.close)
        stack.callback(_detach_buffers, model)
        stack.enter_context(in_evaluation_mode(model))
        for module in model.modules():
            attachment = Attachment.of(module)
            if attachment is not None:
                stack.enter_context(attachment.suspended())
        stack.enter_context(torch.inference_mode(False))
        stack.enter_context(torch.enable_grad())
        stack.enter_context(torch.autocast(_device_type(model), enabled=False))
        args, kwargs, entries = _entered(run, inputs, additional_forward_args)
        # An observer lists what has no rule, so that there is no need for a warning.
        unknown = (lambda name: None) if run.gradients or observer is not None else run.unknown
        interceptor = Interceptor(LRP_TABLE, run, unknown, observer, None if run.gradients else fallback)
        with _followed(model, run, interceptor, note):
            output = output_of(interceptor.run(model, tuple(args), kwargs))
        _check_depends(output)
        for name in interceptor.witness.escapes([output], run.seen if observer is None else {}):
            if observer is None:
                run.unseen(name)
            else:
                observer(name, None)
        run.finish()
        run.check_pairs(model)
        flow_of(output).uses.append(PROPORTIONAL)
        for value, places in entries:
            places += [vectors for tokens, vectors in run.embedded if tokens is value]
        yield ForwardPass(run, output, entries, recorded)


def _detach_buffers(model: nn.Module) -> None:
    """Buffers that the model writes activations into are no part of a graph once it is over."""
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
    values = output.values() if isinstance(output, Mapping) else output if isinstance(output, tuple | list) else ()
    return next((value for value in values if isinstance(value, Tensor)), None)


def _check_depends(output: Tensor) -> None:
    if not output.requires_grad:
        raise ValueError(
            "The model's output does not depend on the inputs in a way that can be followed: it may compute under "
            "torch.no_grad(), detach its activations, or look tokens up otherwise than with "
            "torch.nn.functional.embedding."
        )


def _entered(
    run: Run, inputs: Inputs, additional: Any
) -> tuple[list[Any], dict[str, Any], list[tuple[Tensor, list[Tensor]]]]:
    """The model's arguments, and each input with the tensors at which its relevance arrives."""
    entries: list[tuple[Tensor, list[Tensor]]] = []

    def enter(value: Any) -> Any:
        if not isinstance(value, Tensor):
            return value
        if not value.is_floating_point():
            run.tokens.append(value)
            entries.append((value, []))
            return value
        leaf = (value.clone() if value.is_inference() else value.detach()).requires_grad_()
        # A copy, so that a model that works in place on its input does not work on the caller's.
        entry = leaf.clone()
        set_flow(entry, Flow(beyond_first=False))
        entries.append((value, [leaf]))
        return entry

    if isinstance(inputs, Mapping):
        kwargs = {name: enter(value) for name, value in inputs.items()}
        extra = dict(additional or {}) if isinstance(additional, Mapping | None) else None
        if extra is None:
            raise TypeError("With keyword inputs, additional_forward_args is a mapping of keyword arguments too.")
        return [], kwargs | extra, entries
    given = (inputs,) if isinstance(inputs, Tensor) else tuple(inputs)
    for value in given:
        if not isinstance(value, Tensor):
            raise TypeError(f"LRP explains tensors, got {type(value).__name__} among the inputs.")
    more = additional if isinstance(additional, tuple) else () if additional is None else (additional,)
    return [*(enter(value) for value in given), *more], {}, entries


@contextmanager
def _followed(model: nn.Module, run: Run, interceptor: Interceptor, note: Callable[[str, Any], None]) -> Iterator[None]:
    """Know which module is running, and take modules that are one activation or normalisation for one operation."""
    thread = threading.get_ident()
    handles = []

    def follow(name: str, module: nn.Module) -> None:
        whole = kind_of(module) is not None and not run.gradients

        def enter(module: nn.Module, args: Any) -> None:
            if threading.get_ident() == thread:
                run.inside.append((name, module))
                if whole:
                    interceptor.silence()

        def leave(module: nn.Module, args: Any, output: Any) -> Any:
            if threading.get_ident() != thread:
                return None
            if whole:
                interceptor.resume()
                output = _passed(run, module, args, output)
            run.inside.pop()
            note(name, output)
            return output if whole else None

        handles.append(module.register_forward_pre_hook(enter, prepend=True))
        handles.append(module.register_forward_hook(leave))

    try:
        for name, module in model.named_modules():
            follow(name, module)
        yield
    finally:
        for handle in handles:
            handle.remove()


def _passed(run: Run, module: nn.Module, args: Any, output: Any) -> Any:
    """The output of a module that is one operation: relevance passes through it unchanged."""
    z: Tensor | None = args[0] if args else None
    if z is None or not depends(z) or not isinstance(output, Tensor):
        return output
    call = Pass()
    flow_of(z).uses.append(OTHER)
    connected = connect(call, output.detach().clone(), z)
    set_flow(connected, Flow(beyond_first=flow_of(z).beyond_first))
    run.add(run.layer(type(module)), call)
    return connected
