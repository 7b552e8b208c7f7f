"""A network cut into blocks: where a direct rule meets the hidden layers, and lets no credit pass between them."""

from __future__ import annotations

import threading
from abc import abstractmethod
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_flatten, tree_leaves, tree_map_only, tree_unflatten

from altprop._class_swap import restore_class, swap_class
from altprop._preserve import pushed
from altprop.rule import Attachment, Rule

_HANDLES = "_altprop_direct_handles"
_READY = "_altprop_direct_ready"
_NORMALISATION = (nn.LayerNorm, nn.GroupNorm, nn.RMSNorm, nn.modules.batchnorm._NormBase)


class DirectRule(Rule):
    """A rule that cuts the network into blocks and teaches each by itself.

    By default the network is cut at the input of every layer that holds a weight matrix, so that a block is such a
    layer and what follows it; normalisation belongs to the block before. The first layer that runs begins the first
    block. The tensor at a cut is h_l, the output of the block before it. From the cut on it is a constant, also for a
    residual connection that uses it, and a tensor that enters several layers is taught once.

    Args:
        blocks: names of modules, as in ``named_modules()``: the network is cut at their inputs instead. Within a block,
            credit flows by backprop.
        output: the name of the module whose output is the network's; by default the model itself. For models that
            compute their own loss, such as ``"lm_head"`` in Hugging Face's.
    """

    _draws_on_first_batch = False
    _teaches = True

    def __init__(self, blocks: Iterable[str] | None = None, output: str | None = None) -> None:
        if isinstance(blocks, str):
            raise ValueError(f"{type(self).__name__}'s blocks are a list of module names, got the string {blocks!r}.")
        self.blocks = None if blocks is None else tuple(blocks)
        self.output = output

    @abstractmethod
    def _meet(self, run: Run, cut: Cut, h: Tensor) -> None:
        """Take ``h``, which is h_l with the graph of its block: remember it on ``run``, or teach it now."""

    @abstractmethod
    def _settle(self, run: Run, output: Tensor) -> Tensor:
        """Give back ``output`` as the one node from which ``backward()`` reaches what ``run`` remembers."""

    def _prepare(self, model: nn.Module, cuts: list[tuple[str, nn.Module]]) -> None:
        """Put what the rule owns on the model, as it is attached."""

    def _clear(self, model: nn.Module) -> None:
        """Undo :meth:`_prepare`, and take off what was drawn since."""

    def _install(self, model: nn.Module) -> None:
        last_layer(model)
        cuts = _cut_points(model, self.blocks)
        output = named_module(model, self.output, self) if self.output else model
        self._prepare(model, cuts)
        for name, module in cuts:
            handle = module.register_forward_pre_hook(Cut(model, name, self.blocks is None), with_kwargs=True)
            module.__dict__[_HANDLES] = [handle]
        if output is not model:
            output.__dict__.setdefault(_HANDLES, []).append(output.register_forward_hook(_Output(model)))
        swap_class(model, _Directed)

    def _uninstall(self, model: nn.Module) -> None:
        restore_class(model, _Directed)
        for module in model.modules():
            for handle in module.__dict__.pop(_HANDLES, ()):
                handle.remove()
        model.__dict__.pop(_READY, None)
        self._clear(model)


class Run:
    """One forward pass of an attached model.

    Attributes:
        attachment: of the model.
        given: the model's inputs: they are no block's output, so that a gradient may reach them.
        entered: whether a layer has run.
        settled: whether the output has been reached.
        taught: what the rule remembers until the output is reached.
        counts: by layer, how many hidden tensors it was given.
        cut_views: tensors that could not be cut in place, each with its constant.
        source: what is projected to every hidden layer, once the rule knows it.
    """

    def __init__(self, attachment: Attachment, given: list[Tensor]) -> None:
        self.attachment = attachment
        self.given = given
        self.entered = False
        self.settled = False
        self.taught: list[Any] = []
        self.counts: dict[str, int] = {}
        self.cut_views: list[tuple[Tensor, Tensor]] = []
        self.source: Tensor | None = None


class Cut:
    """A forward pre-hook: cuts the network at the input of ``name``, while ``model`` runs under its rule.

    Attributes:
        model: the attached model.
        name: of the module that the hook is on.
        module: the module itself.
        by_layer: the model is cut at each layer, so that the first one to run begins the first block.
        channels_first: what enters the module has its channels in dimension 1, as for a convolution.
    """

    def __init__(self, model: nn.Module, name: str, by_layer: bool) -> None:
        self.model = model
        self.name = name
        self.by_layer = by_layer
        self.module = model.get_submodule(name)
        self.channels_first = isinstance(first_layer(self.module), nn.modules.conv._ConvNd)

    def __call__(self, module: nn.Module, args: Any, kwargs: Any) -> Any:
        run = _current_run(self.model)
        if run is None or run.settled:
            return None
        first, run.entered = self.by_layer and not run.entered, True
        if first:
            return None
        if len(args) == 1 and isinstance(args[0], Tensor) and not kwargs:
            return (self._cut(run, args[0]),), kwargs  # as below: most layers, and trees take their time
        return tree_map_only(Tensor, lambda h: self._cut(run, h), (args, kwargs))

    def _cut(self, run: Run, h: Tensor) -> Tensor:
        if not h.requires_grad or any(h is x for x in run.given):
            return h
        for known, constant in run.cut_views:
            if h is known:
                return constant
        rule: Any = run.attachment.rule
        if h._base is not None or h.is_leaf:
            constant = h.detach()
            rule._meet(run, self, h)
            if rule._teaches:
                run.cut_views.append((h, constant))
            return constant
        live = h.view_as(h)
        # In place, so that no one who holds this tensor, such as a residual connection, carries credit past the cut.
        h.detach_()
        rule._meet(run, self, live)
        return h


class _Output:
    """A forward hook on the module whose output is the network's."""

    def __init__(self, model: nn.Module) -> None:
        self.model = model

    def __call__(self, module: nn.Module, args: Any, output: Any) -> Any:
        run = _current_run(self.model)
        return output if run is None or run.settled else _settled(run, output)


def teach_now(root: Tensor, signal: Tensor | None = None) -> None:
    """Run the backward pass of one block, from its output or local loss, while the network still runs forward."""
    if torch.compiler.is_compiling():
        raise RuntimeError(
            "when='forward' runs backward passes inside the forward pass, which torch.compile cannot trace."
        )
    if nn.parallel.DistributedDataParallel._get_active_ddp_module() is not None:  # type: ignore[no-untyped-call]
        raise RuntimeError(
            "when='forward' leaves gradients before DistributedDataParallel is ready to average them. Use "
            "when='backward'."
        )
    try:
        with torch.autocast(root.device.type, enabled=False):
            torch.autograd.backward(root, signal)
    except RuntimeError as error:
        if "backward through the graph a second time" not in str(error):
            raise
        raise RuntimeError(
            "when='forward' met a block that an earlier cut has taught and freed: a residual stream that no cut lies "
            "on joins them. Name the residual blocks with blocks=[...], or use when='backward'."
        ) from error


class _Directed:
    """Laid over the class of an attached model: while it runs, its layers meet the rule."""

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        model: Any = self
        attachment = Attachment.of(model)
        if attachment is None or not attachment.active or not torch.is_grad_enabled():
            return super().__call__(*args, **kwargs)  # type: ignore[misc]
        rule: Any = attachment.rule
        if torch.compiler.is_compiling() and rule._draws_on_first_batch and not model.__dict__.get(_READY):
            # Imported here, for it loads the compiler: `import altprop` does not.
            from altprop.rules._first_batch import run_eagerly  # noqa: PLC0415

            return run_eagerly(self, args, kwargs)
        run = Run(attachment, [x for x in tree_leaves((args, kwargs)) if isinstance(x, Tensor)])
        with pushed(_runs.current, (model, run)):
            output = super().__call__(*args, **kwargs)  # type: ignore[misc]
        if not model.__dict__.get(_READY) and not torch.compiler.is_compiling():
            model.__dict__[_READY] = True
        return output if run.settled else _settled(run, output)


def _settled(run: Run, output: Any) -> Any:
    run.settled = True
    rule: Any = run.attachment.rule
    if isinstance(output, Tensor):
        return rule._settle(run, _checked(output, rule))
    leaves, structure = tree_flatten(output)
    tensors = [leaf for leaf in leaves if isinstance(leaf, Tensor) and leaf.is_floating_point()]
    if not tensors:
        raise ValueError(f"{rule!r} finds no floating-point tensor in the output of the model, a {type(output)}.")
    first = _checked(tensors[0], rule)
    settled = rule._settle(run, first)
    return tree_unflatten([settled if leaf is first else leaf for leaf in leaves], structure)


def _checked(output: Tensor, rule: Rule) -> Tensor:
    if output.dim() == 0:
        raise ValueError(
            f"The output of the model is a single number, as if it returned its loss, so {rule!r} does not see the "
            f"error of each output. Name the module whose output is the network's: {type(rule).__name__}(output=...)."
        )
    return output


@contextmanager
def hidden_gradients(model: nn.Module) -> Iterator[dict[str, Tensor]]:
    """Within the block, keep the gradient at each tensor that enters a cut: by the name of the module it enters."""
    found: dict[str, Tensor] = {}
    handles = []
    for name, module in model.named_modules():
        if _HANDLES in module.__dict__:
            probe = _probe(name, found)
            handles.append(module.register_forward_pre_hook(probe, with_kwargs=True, prepend=True))
    try:
        yield found
    finally:
        for handle in handles:
            handle.remove()


def _probe(name: str, found: dict[str, Tensor]) -> Any:
    def keep(g: Tensor) -> None:
        found.setdefault(name, g.detach())

    def watch(module: nn.Module, args: Any, kwargs: Any) -> None:
        for h in tree_leaves((args, kwargs)):
            if isinstance(h, Tensor) and h.requires_grad:
                h.register_hook(keep)  # type: ignore[no-untyped-call]

    return watch


def is_layer(module: nn.Module) -> bool:
    """Whether a module holds a weight matrix of its own, and is no normalisation."""
    if isinstance(module, _NORMALISATION):
        return False
    return any(parameter.dim() >= 2 for parameter in module.parameters(recurse=False))


def last_layer(model: nn.Module) -> nn.Module:
    """The last module, in the order of ``model.modules()``, that holds a weight matrix.

    Raises:
        ValueError: there is none.
    """
    for module in reversed(list(model.modules())):
        if is_layer(module):
            return module
    raise ValueError(f"{type(model).__name__} has no layer with a weight matrix: there is nothing to train.")


def size_of_output(model: nn.Module) -> int:
    """The number of outputs (for a convolution: of channels) of the last layer."""
    layer = last_layer(model)
    if isinstance(layer, nn.modules.conv._ConvNd):
        return layer.out_channels
    return next(parameter.shape[0] for parameter in layer.parameters(recurse=False) if parameter.dim() >= 2)


def first_layer(module: nn.Module) -> nn.Module | None:
    """The first module in ``module``, itself included, that holds a weight matrix."""
    return next((inner for inner in module.modules() if is_layer(inner)), None)


def _cut_points(model: nn.Module, blocks: tuple[str, ...] | None) -> list[tuple[str, nn.Module]]:
    if blocks is None:
        return [(name, module) for name, module in model.named_modules() if is_layer(module) and module is not model]
    return [(name, named_module(model, name, None)) for name in blocks]


def named_module(model: nn.Module, name: str, rule: Rule | None) -> nn.Module:
    """The submodule of that name.

    Raises:
        ValueError: there is none; the message names ``output=`` if a rule is given, ``blocks=`` if not.
    """
    modules: dict[str, nn.Module] = dict(model.named_modules())
    if not name or name not in modules:
        raise ValueError(
            f"{type(model).__name__} has no submodule {name!r}, which "
            f"{'output=' if rule else 'blocks='} names. It has: {', '.join(list(modules)[1:12])}."
        )
    return modules[name]


class _Runs(threading.local):
    def __init__(self) -> None:
        self.current: list[tuple[nn.Module, Run]] = []


_runs = _Runs()


def _current_run(model: nn.Module) -> Run | None:
    """The innermost forward pass of ``model`` on this thread."""
    for other, run in reversed(_runs.current):
        if other is model:
            return run
    return None
