"""Direct rules: the error or the target is projected to each hidden layer, and no credit passes between blocks."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Literal, get_args

import torch
from torch import Tensor, nn

from altprop._feedback_init import Init, Skew
from altprop._targets import class_targets
from altprop.rules._blocks import BlockPass, Cut, DirectRule, teach_now
from altprop.rules._layers import size_of_output
from altprop.rules._masks import share_of
from altprop.rules._outputs import Reached
from altprop.rules._projecting import (
    NOTHING,
    Projecting,
    When,
    check_choice,
    count_up,
    join_by_projection,
    signal_of,
)
from altprop.rules._projections import Layout, Spread

_CLASSES = "_altprop_direct_classes"


class Shallow(DirectRule):
    """Train the last block alone: the control that every other rule must beat.

    The hidden layers keep their initial values, so the network is a read-out of random features. A rule that does no
    better has taught the hidden layers nothing.

    Args:
        blocks: names of modules to cut at, as in :class:`DFA`. By default the last block is the last layer.
        output: the name of the module whose output is the network's, as in :class:`DFA`.
        strict: as in :class:`DFA`.
    """

    _teaches = False
    _keeps_hidden = False

    def _on_cut(self, run: BlockPass, cut: Cut, h: Tensor) -> None:
        """Teach nothing: the graph of the block is dropped."""

    def _join_output(self, run: BlockPass, outputs: list[Tensor], chosen: int, told: Reached | None) -> list[Tensor]:
        return outputs


class DFA(Projecting):
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
            several tensors, that called ``logits`` is taken, or the first; of a dict without logits none.
        batch_dim: the dimension of the outputs that is the batch: 1 for outputs of shape (steps, batch, classes). By
            default it is found from the shapes of the hidden layers, which have the batch first. With ``"sign"`` the
            first is taken where it makes no other difference.
        mask: the name of an argument of the model, or of a module within it, of shape (batch, positions), that is 1 at
            tokens and 0 at padding; or with ``~`` before it, that is True at padding. By default the arguments that are
            commonly called so: ``attention_mask``, ``src_key_padding_mask`` and the like. Where positions share a
            signal, padding has no part in it.
        strict: make each warning below an error.

    Raises:
        ValueError: an argument is none of those above. When the model runs: the shapes allow more than one reading, or
            none.
        RuntimeError: in ``backward()``: the loss does not reach the output.

    Warns:
        UserWarning: once, where the rule is not in force: layers run outside the attached model's forward pass, or
            weights are used without a call of their layer; or the loss reaches another output too.

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

    _needs_error = True

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
        batch_dim: int | None = None,
        mask: str | None = None,
        strict: bool = False,
    ) -> None:
        super().__init__(
            init=init, normalize=normalize, skew=skew, projection=projection, seed=seed, batch_dim=batch_dim, mask=mask,
            blocks=blocks, output=output, strict=strict,
        )  # fmt: skip
        check_choice(self, "signal", signal, ("error", "sign"))
        self.signal = signal

    def _on_cut(self, run: BlockPass, cut: Cut, h: Tensor) -> None:
        run.taught.append((cut, count_up(run, cut), h))

    def _join_output(
        self, run: BlockPass, outputs: list[Tensor], chosen: int, told: Reached | None
    ) -> Sequence[Tensor]:
        if not run.taught:
            return outputs
        model, source = run.attachment.model, outputs[chosen].shape
        hidden = [h for _, _, h in run.taught]
        if not source.numel():
            return join_by_projection(outputs, chosen, told, None, [0] * len(hidden), [NOTHING] * len(hidden), hidden)
        self._begin(run)
        axis, layouts, shapes = self._plan(model, source, run.taught)
        matrices = [
            self._projection(cut, index, h, source, shape)
            for (cut, index, h), shape in zip(run.taught, shapes, strict=True)
        ]
        shares = (
            [share_of(run, h.shape, layout, B.dtype) for h, layout, B in zip(hidden, layouts, matrices, strict=True)]
            if run.masks
            else []
        )
        sign = self.signal == "sign"
        axes = [axis] * len(hidden)
        return join_by_projection(outputs, chosen, told, None, axes, layouts, hidden, matrices, shares, sign=sign)


class DRTP(Projecting):
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
        batch_dim: as in :class:`DFA`; for targets of shape (batch,) it does not matter.
        mask: as in :class:`DFA`.
        strict: as in :class:`DFA`.

    Raises:
        ValueError: an argument is none of those above. When the model runs: there are no targets in scope, they are not
            classes, or the shapes allow more than one reading.

    Warns:
        UserWarning: on attaching, if the model has activations without an upper bound.

    Example:
        See :func:`altprop.targets`.

    Reference:
        Frenkel, Lefebvre and Bol, "Learning without feedback: fixed random learning signals allow for feedforward
        training of deep neural networks", Frontiers in Neuroscience 2021.
    """

    _source_is_targets = True

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
        batch_dim: int | None = None,
        mask: str | None = None,
        strict: bool = False,
    ) -> None:
        super().__init__(
            init=init, normalize=normalize, skew=skew, projection=projection, seed=seed, batch_dim=batch_dim, mask=mask,
            blocks=blocks, output=output, strict=strict,
        )  # fmt: skip
        check_choice(self, "when", when, get_args(When))
        self.classes = classes
        self.when = when

    def _prepare(self, model: nn.Module, cuts: list[tuple[str, nn.Module]]) -> None:
        super()._prepare(model, cuts)
        # Looked up once: in a small network a look-up takes as long as a layer.
        model.__dict__[_CLASSES] = self.classes or size_of_output(model)
        self._warn_of_unbounded_activations(model)

    def _clear(self, model: nn.Module) -> None:
        super()._clear(model)
        model.__dict__.pop(_CLASSES, None)

    def _warn_of_unbounded_activations(self, model: nn.Module) -> None:
        # nn.ReLU6 and nn.Hardtanh are bounded; neither is a subclass of one that is not.
        names = [name for name, module in model.named_modules() if isinstance(module, _UNBOUNDED)]
        if names:
            listed = ", ".join(names[:8]) + (f" and {len(names) - 8} more" if len(names) > 8 else "")
            self._tell(
                f"DRTP teaches by a signal that does not shrink with the error, so that unbounded activations tend to "
                f"grow without end: {listed}. Use tanh, sigmoid or another bounded activation.",
                stacklevel=5,
            )

    @property
    def _keeps_hidden(self) -> bool:  # type: ignore[override]
        return self.when == "backward"

    def _on_cut(self, run: BlockPass, cut: Cut, h: Tensor) -> None:
        if run.source is None:
            self._begin(run)
            run.source = self._source(cut.model.__dict__[_CLASSES], h)
        axis, layout, B, share = self._way_to(run, cut, h, run.source.shape)
        if self.when == "forward":
            teach_now(h, signal_of(run.source, B, h.shape, axis, layout, share, h.dtype))
        else:
            run.taught.append((h, axis, layout, B, share))

    def _way_to(
        self, run: BlockPass, cut: Cut, h: Tensor, source: torch.Size
    ) -> tuple[int, Layout, Tensor | None, Tensor | None]:
        index = count_up(run, cut)
        if not source.numel():
            return 0, NOTHING, None, None
        axis, (layout,), (shape,) = self._plan(cut.model, source, [(cut, index, h)])
        B = self._projection(cut, index, h, source, shape)
        return axis, layout, B, share_of(run, h.shape, layout, B.dtype) if run.masks else None

    def _source(self, classes: int, h: Tensor) -> Tensor:
        """y* / batch: one-hot targets of shape (batch, ..., classes)."""
        y, scale = class_targets(self)
        # A class out of range, such as cross_entropy's ignore_index, teaches nothing.
        is_class = y.unsqueeze(-1) == torch.arange(classes, device=y.device)
        return is_class.to(h.dtype) * (scale / max(y.numel(), 1))

    def _join_output(
        self, run: BlockPass, outputs: list[Tensor], chosen: int, told: Reached | None
    ) -> Sequence[Tensor]:
        if not run.taught:
            return outputs
        hidden, axes, layouts, matrices, shares = zip(*run.taught, strict=True)
        return join_by_projection(outputs, chosen, told, run.source, axes, layouts, hidden, matrices, shares)


_UNBOUNDED = (
    nn.ReLU, nn.LeakyReLU, nn.PReLU, nn.RReLU, nn.ELU, nn.CELU, nn.SELU, nn.GELU, nn.SiLU, nn.Mish, nn.Softplus, nn.GLU,
    nn.Hardswish, nn.Tanhshrink, nn.Hardshrink, nn.Softshrink, nn.LogSigmoid,
)  # fmt: skip
