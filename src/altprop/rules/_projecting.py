"""What DFA and DRTP have in common: matrices, how they are laid out, and the node that applies them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Literal, get_args

import torch
from torch import Tensor, nn
from torch.autograd import Function

from altprop._feedback_init import Init, Skew, check_init
from altprop.rule import Rule
from altprop.rules import _matrices
from altprop.rules._batch import Hidden, batch_axis
from altprop.rules._blocks import BlockPass, Cut, DirectRule
from altprop.rules._outputs import Reached, tracks_who_is_reached
from altprop.rules._projections import Layout, Spread, draw, features_of, layout_of, outputs_of, project

When = Literal["backward", "forward"]

_PLANS = "_altprop_direct_plans"
_MOST_PLANS = 64
NOTHING: Layout = "nothing"

Plan = tuple[int, tuple[Layout, ...], tuple[tuple[int, int], ...]]


class Projecting(DirectRule):
    """A direct rule with a fixed random matrix for each hidden layer, drawn when the layer is first met.

    The matrices are attributes of the layer that h_l enters, and the seed of them all is a buffer of the model.
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
        batch_dim: int | None,
        mask: str | None,
        blocks: Iterable[str] | None,
        output: str | None,
        strict: bool,
    ) -> None:
        super().__init__(blocks, output, strict=strict)
        check_batch_dim(self, batch_dim)
        check_choice(self, "projection", projection, get_args(Spread))
        check_choice(self, "skew", skew, (None, *get_args(Skew)))
        check_init(init)
        self.init = init
        self.normalize = normalize
        self.skew = skew
        self.projection = projection
        self.seed = seed
        self.batch_dim = batch_dim
        self.mask = mask

    def _prepare(self, model: nn.Module, cuts: list[tuple[str, nn.Module]]) -> None:
        # Of a size that an average of weights, which takes it for a float, leaves as it is.
        seed = int(torch.randint(2**24, ())) if self.seed is None else self.seed
        _matrices.prepare(model, cuts, seed, self)

    def _clear(self, model: nn.Module) -> None:
        _matrices.clear(model)
        model.__dict__.pop(_PLANS, None)

    def _begin(self, run: BlockPass) -> None:
        """Before a pass uses the matrices, redraw them if the seed has changed."""
        if not torch.compiler.is_compiling():
            _matrices.seed_of(run.attachment.model)

    @property
    def _repeats(self) -> bool:
        """Whether a seed reproduces the matrices, which a callable ``init`` need not."""
        return not callable(self.init)

    def _drawn(self, shape: tuple[int, int], key: str, seed: int) -> Tensor:
        # The fans do not count for these two: without 1/√n the signal would grow with the width of the layer.
        unscaled = self.init in ("normal", "uniform")
        normalize = unscaled if self.normalize is None else self.normalize
        return draw(shape, key, seed, init=self.init, normalize=normalize, skew=self.skew)

    def _plan(self, model: nn.Module, source: torch.Size, hidden: list[tuple[Cut, int, Tensor]]) -> Plan:
        """The batch's axis in what is projected, each B_l's layout and its shape; kept for shapes met before."""
        if torch.compiler.is_compiling():
            return self._new_plan(model, source, hidden)
        plans: dict[Any, Plan] = model.__dict__.setdefault(_PLANS, {})
        key: list[Any] = [source]
        for cut, _, h in hidden:
            key += cut.name, h.shape
        plan = plans.get(found := tuple(key))
        if plan is None:
            if len(plans) > _MOST_PLANS:
                plans.clear()
            plans[found] = plan = self._new_plan(model, source, hidden)
        return plan

    def _new_plan(self, model: nn.Module, source: torch.Size, hidden: list[tuple[Cut, int, Tensor]]) -> Plan:
        met = [Hidden(cut.name, h.shape, cut.dims, cut.channels_first) for cut, _, h in hidden]
        axis = batch_axis(model, self, source, met, self.projection)
        found = [layout_of(h.shape, source, axis, h.channels_first, self.projection) for h in met]
        layouts = tuple(layout for layout in found if layout)
        shapes = [
            (outputs_of(source, h.shape, axis, layout), features_of(h.shape, layout))
            for h, layout in zip(met, layouts, strict=True)
        ]
        return axis, layouts, tuple(shapes)

    def _projection(self, cut: Cut, index: int, h: Tensor, source: torch.Size, shape: tuple[int, int]) -> Tensor:
        """B_l; drawn if this is the first time."""
        name = _matrices.PROJECTION + (f"_{index}" if index else "")
        B = _matrices.matrix(cut.module, name, h)
        if B is None:
            if torch.compiler.is_compiling():
                raise RuntimeError(
                    f"{self!r} draws its projections on the first batch, which torch.compile cannot trace: run the "
                    f"model once on such a batch before it is compiled."
                )
            return _matrices.draw_matrix(cut.model, cut.module, name, shape, h)
        if B.shape != shape:
            raise ValueError(
                f"{cut.name}.{name} projects {B.shape[0]} outputs to {B.shape[1]} features, but the hidden layer of "
                f"shape {tuple(h.shape)} and outputs of shape {tuple(source)} need {shape[0]} to {shape[1]}. For "
                f"inputs of changing size use projection='channel', or attach the rule anew."
            )
        return B


def join_by_projection(
    outputs: Sequence[Tensor],
    chosen: int,
    told: Reached | None,
    source: Tensor | None,
    axes: Sequence[int],
    layouts: Sequence[Layout],
    hidden: Sequence[Tensor],
    matrices: Sequence[Tensor | None] = (),
    shares: Sequence[Tensor | None] = (),
    *,
    sign: bool = False,
) -> Sequence[Tensor]:
    """The outputs, as those of the node that teaches the hidden tensors."""
    if all(share is None for share in shares):
        shares = ()
    counts = len(outputs), chosen, sign
    joined = _Projection.apply(counts, told, source, tuple(axes), tuple(layouts), *outputs, *hidden, *matrices, *shares)
    return (joined,) if isinstance(joined, Tensor) else joined


class _Projection(Function):
    """The identity on the outputs; backward hands each hidden tensor the projected source, or without one the error."""

    @staticmethod
    def forward(
        ctx: Any,
        counts: tuple[int, int, bool],
        told: Reached | None,
        source: Tensor | None,
        axes: tuple[int, ...],
        layouts: tuple[Layout, ...],
        *tensors: Tensor,
    ) -> Any:
        outputs, n = tensors[: counts[0]], len(layouts)
        hidden, rest = tensors[counts[0] : counts[0] + n], tensors[counts[0] + n :]
        ctx.save_for_backward(source, *rest)
        ctx.counts, ctx.told, ctx.axes, ctx.layouts = counts, told, axes, layouts
        ctx.shapes, ctx.dtypes = [h.shape for h in hidden], [h.dtype for h in hidden]
        if tracks_who_is_reached(len(outputs)):
            ctx.set_materialize_grads(False)
        # Detached and no view, so that the user may change the output in place.
        return outputs[0].detach() if len(outputs) == 1 else tuple(output.detach() for output in outputs)

    @staticmethod
    def backward(ctx: Any, *gradients: Any) -> Any:
        source, *rest = ctx.saved_tensors
        _, chosen, sign = ctx.counts
        n = len(ctx.shapes)
        if ctx.told is not None:
            ctx.told([place for place, g in enumerate(gradients) if g is not None])
        if source is None:
            e = gradients[chosen]
            source = e.sign() / max(e.shape[ctx.axes[0]], 1) if sign and e is not None else e
        signals = [
            None if source is None else signal_of(source, B, shape, axis, layout, share, dtype)
            for B, share, shape, axis, layout, dtype in zip(
                rest[:n] or [None] * n, rest[n:] or [None] * n, ctx.shapes, ctx.axes, ctx.layouts, ctx.dtypes,
                strict=True,
            )
        ]  # fmt: skip
        return None, None, None, None, None, *gradients, *signals, *[None] * len(rest)


def signal_of(
    source: Tensor,
    B: Tensor | None,
    h: torch.Size,
    axis: int,
    layout: Layout,
    share: Tensor | None,
    dtype: torch.dtype,
) -> Tensor:
    """What teaches a hidden tensor of shape ``h``: B·source, or zeros without a B, as in an empty batch."""
    if B is None:
        return torch.zeros(h, dtype=dtype, device=source.device)
    return project(source, B, h, axis, layout, share).to(dtype)


def count_up(run: BlockPass, cut: Cut) -> int:
    """Count a hidden tensor at this cut in this pass, and return how many came before it."""
    index = run.counts.get(cut.name, 0)
    run.counts[cut.name] = index + 1
    return index


def check_batch_dim(rule: Rule, batch_dim: int | None) -> None:
    """Check an argument of a rule.

    Raises:
        ValueError: it is neither None nor the number of a dimension, from 0.
    """
    if batch_dim is not None and (not isinstance(batch_dim, int) or batch_dim < 0):
        raise ValueError(f"{type(rule).__name__}'s batch_dim must be None, 0, 1, ..., got {batch_dim!r}.")


def check_choice(rule: Rule, name: str, value: object, choices: tuple[object, ...]) -> None:
    """Check an argument of a rule.

    Raises:
        ValueError: it is none of the ``choices``.
    """
    if value not in choices:
        raise ValueError(
            f"{type(rule).__name__}'s {name} must be one of {', '.join(map(repr, choices))}, got {value!r}."
        )
