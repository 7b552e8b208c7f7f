"""Direct rules: the error or the target is projected to each hidden layer, and no credit passes between blocks."""

from __future__ import annotations

import warnings
from collections.abc import Iterable
from typing import Any, Literal, get_args

import torch
from torch import Tensor, nn
from torch.autograd import Function

from altprop._feedback_init import Init, Skew, check_init
from altprop._targets import class_targets
from altprop.rule import Rule
from altprop.rules._blocks import Cut, DirectRule, Run, size_of_output, teach_now
from altprop.rules._projections import Layout, Spread, draw, features_of, layout_of, outputs_of, project

When = Literal["backward", "forward"]

_SEED = "direct_seed"
_PROJECTION = "feedback_projection"
_CLASSES = "_altprop_direct_classes"


class Shallow(DirectRule):
    """Train the last block alone: the control that every other rule must beat.

    The hidden layers keep their initial values, so the network is a read-out of random features. A rule that does no
    better has taught the hidden layers nothing.

    Args:
        blocks: names of modules to cut at, as in :class:`DFA`. By default the last block is the last layer.
        output: the name of the module whose output is the network's, as in :class:`DFA`.
    """

    _teaches = False

    def _meet(self, run: Run, cut: Cut, h: Tensor) -> None:
        """Teach nothing: the graph of the block is dropped."""

    def _settle(self, run: Run, output: Tensor) -> Tensor:
        return output


class _Projecting(DirectRule):
    """A direct rule with a fixed random matrix for each hidden layer, drawn when the layer is first met.

    The matrices are buffers of the layer that h_l enters, and the seed of them all is a buffer of the model, so that
    DistributedDataParallel hands it to every process and a checkpoint holds it.
    """

    _draws_on_first_batch = True

    def __init__(
        self,
        *,
        init: Init,
        normalize: bool | None,
        skew: Skew | None,
        projection: Spread,
        seed: int | None,
        blocks: Iterable[str] | None,
        output: str | None,
    ) -> None:
        super().__init__(blocks, output)
        check_choice(self, "projection", projection, get_args(Spread))
        check_choice(self, "skew", skew, (None, *get_args(Skew)))
        check_init(init)
        self.init = init
        self.normalize = normalize
        self.skew = skew
        self.projection = projection
        self.seed = seed

    def _prepare(self, model: nn.Module, cuts: list[tuple[str, nn.Module]]) -> None:
        seed = int(torch.randint(2**62, ())) if self.seed is None else self.seed
        device = next(model.parameters()).device
        model.register_buffer(_SEED, torch.tensor(seed, device=device))
        for module in (model, *(module for _, module in cuts)):
            handle = module.register_load_state_dict_pre_hook(_adopt)  # type: ignore[no-untyped-call]
            module.__dict__.setdefault(_LOADING, []).append(handle)

    def _clear(self, model: nn.Module) -> None:
        for module in model.modules():
            for handle in module.__dict__.pop(_LOADING, ()):
                handle.remove()
            for name in _own_buffers(module):
                delattr(module, name)

    def _projection(self, run: Run, cut: Cut, index: int, h: Tensor, source: torch.Size) -> tuple[Tensor, Layout]:
        """B_l and how it is laid out; drawn if this is the first time."""
        layout = layout_of(h.shape, source, cut.channels_first, self.projection)
        shape = outputs_of(source, h.shape, layout), features_of(h.shape, layout)
        name, module = _PROJECTION + (f"_{index}" if index else ""), cut.module
        B = module._buffers.get(name)
        if B is None:
            B = self._draw(cut, name, shape, h)
            module.register_buffer(name, B)
        elif B.shape != shape:
            raise ValueError(
                f"{cut.name}.{name} projects {B.shape[0]} outputs to {B.shape[1]} features, but the hidden layer of "
                f"shape {tuple(h.shape)} and outputs of shape {tuple(source)} need {shape[0]} to {shape[1]}. For "
                f"inputs of changing size use projection='channel', or attach the rule anew."
            )
        return B, layout

    @torch.no_grad()
    def _draw(self, cut: Cut, name: str, shape: tuple[int, int], h: Tensor) -> Tensor:
        if torch.compiler.is_compiling():
            raise RuntimeError(
                f"{self!r} draws its projections on the first batch, which torch.compile cannot trace: run the model "
                f"once on such a batch before it is compiled."
            )
        # The fans do not count for these two: without 1/√n the signal would grow with the width of the layer.
        unscaled = self.init in ("normal", "uniform")
        normalize = unscaled if self.normalize is None else self.normalize
        seed = int(cut.model.get_buffer(_SEED))
        B = draw(shape, f"{cut.name}.{name}", seed, init=self.init, normalize=normalize, skew=self.skew)
        weight = next((p for p in cut.module.parameters() if p.is_floating_point()), h)
        return B.to(h.device, weight.dtype)


class DFA(_Projecting):
    """Direct feedback alignment: the error of the outputs is projected to every hidden layer, past all the others.

    With e = ∂L/∂output, block l is taught, as if it were the gradient at its output h_l,

        B_l e                              B_l fixed and random; B_l sign(e) / batch with signal="sign"

    and the last block e itself; within a block credit flows by backprop. Nothing flows between blocks, so that the
    blocks' input gradients are never computed: a step costs less than backprop's.

    Args:
        signal: project the ``"error"`` or its ``"sign"``. The sign forgets how large the loss is, and so any factor on
            it (gradient accumulation, ``GradScaler``).
        init: the distribution of B_l: ``"normal"``, N(0, 1), or ``"uniform"``, U(-1, 1); ``"kaiming_…"``,
            ``"xavier_…"``, ``"lecun_…"`` with ``normal`` or ``uniform``, where fan-in is the number of outputs;
            ``"orthogonal"``; or a function that fills a tensor of shape (outputs, size of h_l) in place.
        normalize: scale B_l by 1/√n, n the size of h_l; by default for ``"normal"`` and ``"uniform"``, the inits
            without a scale of their own. Without it the signal grows with the width of the layer.
        skew: ``"positive"`` or ``"negative"``: shift B_l so that none of its entries has the other sign.
        projection: for h_l = (batch, channels, positions...) that enters a convolution: ``"dense"`` gives B_l a column
            for each entry; ``"channel"`` one for each channel, the signal spread evenly over the positions: B_l is
            smaller by the number of positions, and images may be of any size; the norm of the signal is the same. For
            h_l = (batch, positions, features) it is always one for each feature: if the outputs have those positions
            too, (batch, positions, outputs), each position is taught by its own error, and else by all of it, evenly.
        seed: of the projections; by default it is drawn from torch's generator on attaching.
        blocks: names of modules, as in ``named_modules()``: the network is cut at their inputs, instead of at the input
            of every layer with a weight matrix. For networks with residual streams, name the residual blocks: a stream
            that no cut lies on carries credit past the layers.
        output: the name of the module whose output is the network's; by default the model itself. If the model returns
            several tensors, the first is taken.

    Raises:
        ValueError: an argument is none of those above.

    Example:
        >>> import altprop, torch
        >>> from torch.nn import functional as F
        >>> model = torch.nn.Sequential(torch.nn.Linear(4, 8), torch.nn.Tanh(), torch.nn.Linear(8, 3))
        >>> attachment = altprop.DFA(seed=0).attach(model)
        >>> F.cross_entropy(model(torch.randn(5, 4)), torch.tensor([0, 1, 2, 0, 1])).backward()
        >>> model[2].feedback_projection.shape
        torch.Size([3, 8])

    Reference:
        Nøkland, "Direct feedback alignment provides learning in deep neural networks", NeurIPS 2016, eq. 7; Launay et
        al., "Direct feedback alignment scales to modern deep learning tasks and architectures", NeurIPS 2020.
    """

    def __init__(
        self,
        *,
        signal: Literal["error", "sign"] = "error",
        init: Init = "normal",
        normalize: bool | None = None,
        skew: Skew | None = None,
        projection: Spread = "dense",
        seed: int | None = None,
        blocks: Iterable[str] | None = None,
        output: str | None = None,
    ) -> None:
        super().__init__(
            init=init, normalize=normalize, skew=skew, projection=projection, seed=seed, blocks=blocks, output=output
        )
        check_choice(self, "signal", signal, ("error", "sign"))
        self.signal = signal

    def _meet(self, run: Run, cut: Cut, h: Tensor) -> None:
        run.taught.append((cut, count_up(run, cut), h))

    def _settle(self, run: Run, output: Tensor) -> Tensor:
        if not run.taught:
            return output
        found = [self._projection(run, cut, index, h, output.shape) for cut, index, h in run.taught]
        layouts = tuple(layout for _, layout in found)
        hidden = [h for _, _, h in run.taught]
        sign = self.signal == "sign"
        taught: Tensor = _Projection.apply(output, None, sign, layouts, *hidden, *(B for B, _ in found))
        return taught


class DRTP(_Projecting):
    """Direct random target projection: every hidden layer is taught by the target itself, with no error at all.

    With y* the one-hot target, block l is taught, as if it were the gradient at its output h_l,

        B_l y* / batch                     B_l fixed and random

    and the last block, whose error is at hand, e = ∂L/∂output. The projection does not shrink as the error does, so
    the activations have to be bounded. The model runs within ``altprop.targets(y)``.

    Args:
        init: as in :class:`DFA`.
        normalize: as in :class:`DFA`.
        skew: as in :class:`DFA`.
        projection: as in :class:`DFA`; the targets take the place of the outputs there.
        classes: the number of classes; by default the size of the last layer.
        when: ``"backward"``: all is taught in ``backward()``. ``"forward"``: each hidden block is taught during the
            forward pass, as soon as its output is there, and its activations are freed: peak memory does not grow with
            depth. Call ``zero_grad()`` before the forward pass. Not for ``torch.compile``, ``DistributedDataParallel``
            or ``GradScaler``.
        seed: as in :class:`DFA`.
        blocks: as in :class:`DFA`.
        output: as in :class:`DFA`.

    Raises:
        ValueError: an argument is none of those above. When the model runs: there are no targets in scope, or they are
            not classes.

    Warns:
        UserWarning: on attaching, if the model has activations without an upper bound.

    Example:
        See :func:`altprop.targets`.

    Reference:
        Frenkel, Lefebvre and Bol, "Learning without feedback: fixed random learning signals allow for feedforward
        training of deep neural networks", Frontiers in Neuroscience 2021.
    """

    def __init__(
        self,
        *,
        init: Init = "normal",
        normalize: bool | None = None,
        skew: Skew | None = None,
        projection: Spread = "dense",
        classes: int | None = None,
        when: When = "backward",
        seed: int | None = None,
        blocks: Iterable[str] | None = None,
        output: str | None = None,
    ) -> None:
        super().__init__(
            init=init, normalize=normalize, skew=skew, projection=projection, seed=seed, blocks=blocks, output=output
        )
        check_choice(self, "when", when, get_args(When))
        self.classes = classes
        self.when = when

    def _prepare(self, model: nn.Module, cuts: list[tuple[str, nn.Module]]) -> None:
        super()._prepare(model, cuts)
        # Looked up once: in a small network it takes as long as a layer.
        model.__dict__[_CLASSES] = self.classes or size_of_output(model)
        _warn_of_unbounded_activations(model)

    def _clear(self, model: nn.Module) -> None:
        super()._clear(model)
        model.__dict__.pop(_CLASSES, None)

    def _meet(self, run: Run, cut: Cut, h: Tensor) -> None:
        if run.source is None:
            run.source = self._source(cut.model.__dict__[_CLASSES], h)
        B, layout = self._projection(run, cut, count_up(run, cut), h, run.source.shape)
        if self.when == "forward":
            teach_now(h, project(run.source, B, h.shape, layout).to(h.dtype))
        else:
            run.taught.append((h, B, layout))

    def _source(self, classes: int, h: Tensor) -> Tensor:
        """y* / batch: one-hot targets of shape (batch, ..., classes)."""
        y, scale = class_targets(self)
        # A class that is out of range, as cross_entropy's ignore_index, teaches nothing.
        is_class = y.unsqueeze(-1) == torch.arange(classes, device=y.device)
        return is_class.to(h.dtype) * (scale / y.numel())

    def _settle(self, run: Run, output: Tensor) -> Tensor:
        if not run.taught:
            return output
        hidden, matrices, layouts = zip(*run.taught, strict=True)
        taught: Tensor = _Projection.apply(output, run.source, False, layouts, *hidden, *matrices)
        return taught


class _Projection(Function):
    """The identity on the output; backward hands each hidden tensor the projected source, or without one the error."""

    @staticmethod
    def forward(
        ctx: Any, output: Tensor, source: Tensor | None, sign: bool, layouts: tuple[Layout, ...], *tensors: Tensor
    ) -> Tensor:
        hidden, matrices = tensors[: len(layouts)], tensors[len(layouts) :]
        ctx.save_for_backward(source, *matrices)
        ctx.sign, ctx.layouts = sign, layouts
        ctx.shapes, ctx.dtypes = [h.shape for h in hidden], [h.dtype for h in hidden]
        # Detached and not a view, so that the user may change the output in place.
        return output.detach()

    @staticmethod
    def backward(ctx: Any, e: Tensor) -> Any:
        source, *matrices = ctx.saved_tensors
        if source is None:
            source = e.sign() / e.shape[0] if ctx.sign else e
        signals = [
            project(source, B, shape, layout).to(dtype)
            for B, shape, layout, dtype in zip(matrices, ctx.shapes, ctx.layouts, ctx.dtypes, strict=True)
        ]
        return e, None, None, None, *signals, *[None] * len(signals)


def count_up(run: Run, cut: Cut) -> int:
    """How many hidden tensors have met this cut in this pass, before this one."""
    index = run.counts.get(cut.name, 0)
    run.counts[cut.name] = index + 1
    return index


def check_choice(rule: Rule, name: str, value: object, choices: tuple[object, ...]) -> None:
    """Check an argument of a rule.

    Raises:
        ValueError: it is none of the ``choices``.
    """
    if value not in choices:
        raise ValueError(
            f"{type(rule).__name__}'s {name} must be one of {', '.join(map(repr, choices))}, got {value!r}."
        )


_UNBOUNDED = (
    nn.ReLU, nn.LeakyReLU, nn.PReLU, nn.RReLU, nn.ELU, nn.CELU, nn.SELU, nn.GELU, nn.SiLU, nn.Mish, nn.Softplus, nn.GLU,
    nn.Hardswish, nn.Tanhshrink, nn.Hardshrink, nn.Softshrink, nn.LogSigmoid,
)  # fmt: skip


def _warn_of_unbounded_activations(model: nn.Module) -> None:
    # nn.ReLU6 and nn.Hardtanh are bounded; neither is a subclass of one that is not.
    names = [name for name, module in model.named_modules() if isinstance(module, _UNBOUNDED)]
    if names:
        listed = ", ".join(names[:8]) + (f" and {len(names) - 8} more" if len(names) > 8 else "")
        warnings.warn(
            f"DRTP teaches by a signal that does not shrink with the error, so that unbounded activations tend to grow "
            f"without end: {listed}. Use tanh, sigmoid or another bounded activation.",
            stacklevel=5,
        )


_LOADING = "_altprop_loading_handles"


def _own_buffers(module: nn.Module) -> list[str]:
    return [name for name in module._buffers if name == _SEED or name.startswith(_PROJECTION)]


def _adopt(module: nn.Module, state_dict: dict[str, Any], prefix: str, *_: Any) -> None:
    """Before a state dict is loaded: make room for projections not drawn yet, and keep those that it does not have."""
    start = prefix + _PROJECTION
    device = next(module.parameters()).device
    for key, value in state_dict.items():
        name = key.removeprefix(prefix)
        if key.startswith(start) and name not in module._buffers:
            module.register_buffer(name, torch.empty_like(value, device=device))
    for name in _own_buffers(module):
        state_dict.setdefault(prefix + name, module._buffers[name])
