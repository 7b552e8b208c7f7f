"""Local losses: each block learns from the loss of a classifier of its own."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Literal, get_args

import torch
from torch import Tensor, nn
from torch.autograd import Function
from torch.nn import functional as F
from torch.nn.parameter import is_lazy

from altprop._feedback_init import Init, check_init
from altprop._targets import needed_targets
from altprop.rule import modules_of
from altprop.rules._batch import Hidden, batch_axis
from altprop.rules._blocks import BlockPass, Cut, DirectRule, teach_now
from altprop.rules._hooks import remove_hooks
from altprop.rules._layers import first_layer, size_of_output
from altprop.rules._masks import share_of
from altprop.rules._outputs import Reached, tracks_who_is_reached
from altprop.rules._projecting import When, check_batch_dim, check_choice
from altprop.rules._projections import draw

_CLASSIFIER = "local_classifier"


class LocalLoss(DirectRule):
    """Local losses: each hidden block learns to make its own output readable by a linear classifier.

    Block l is taught the gradient at its output h_l of a loss of its own,

        L_l = loss(P_l h_l, y)

    and the last block the gradient of the network's loss. P_l is fixed and random, or trained with L_l. The model runs
    within ``altprop.targets(y)``.

    Args:
        classifier: ``"fixed"`` P_l are buffers. ``"trained"`` P_l are parameters of the model: make the optimizer
            after attaching. Both are called ``local_classifier``, on the layer that h_l enters.
        loss: ``"cross_entropy"`` or ``"mse"``; by default cross-entropy for class indices and the mean squared error
            for targets that are values, such as the inputs of an autoencoder. Class probabilities, such as one-hot rows
            or those of mixup, may be either: say which. The mean over the batch is taken.
        outputs: the number of classes, or of target values per sample; by default the size of the last layer.
        grid: where h_l enters a convolution, P_l sees its averages over a grid of so many places along each dimension.
            For h_l = (batch, positions, features) it sees the average over positions, or if the targets are classes of
            shape (batch, positions), each position by itself.
        init: the distribution of P_l, as in :class:`altprop.DFA`, fan-in being the number of P_l's inputs.
        when: as in :class:`altprop.DRTP`.
        seed: of the P_l; by default it is drawn from torch's generator on attaching.
        blocks: as in :class:`altprop.DFA`.
        output: as in :class:`altprop.DFA`.
        batch_dim: any number, once it is told, says that hidden layers have the batch first, where there are as many
            positions as samples.
        mask: as in :class:`altprop.DFA`: what is averaged over positions leaves out padding.
        strict: as in :class:`altprop.DFA`.

    Raises:
        ValueError: an argument is none of those above; the input size of a layer is not known; when the model runs,
            there are no targets in scope or they do not fit, or they are probabilities and no loss is named.

    Example:
        >>> import altprop, torch
        >>> from torch.nn import functional as F
        >>> model = torch.nn.Sequential(torch.nn.Linear(4, 8), torch.nn.ReLU(), torch.nn.Linear(8, 3))
        >>> attachment = altprop.LocalLoss(classifier="trained", seed=0).attach(model)
        >>> y = torch.tensor([0, 1, 2, 0, 1])
        >>> with altprop.targets(y):
        ...     F.cross_entropy(model(torch.randn(5, 4)), y).backward()
        >>> model[2].local_classifier.grad.shape
        torch.Size([3, 8])

    Reference:
        Mostafa, Ramesh and Cauwenberghs, "Deep supervised learning using local errors", Frontiers in Neuroscience 2018.
    """

    _source_is_targets = True

    def __init__(
        self,
        *,
        classifier: Literal["fixed", "trained"] = "fixed",
        loss: Literal["cross_entropy", "mse"] | None = None,
        outputs: int | None = None,
        grid: int = 4,
        init: Init = "lecun_normal",
        when: When = "backward",
        seed: int | None = None,
        blocks: Iterable[str] | None = None,
        output: str | None = None,
        batch_dim: int | None = None,
        mask: str | None = None,
        strict: bool = False,
    ) -> None:
        super().__init__(blocks, output, strict=strict)
        check_batch_dim(self, batch_dim)
        check_choice(self, "classifier", classifier, ("fixed", "trained"))
        check_choice(self, "loss", loss, (None, "cross_entropy", "mse"))
        check_init(init)
        check_choice(self, "when", when, get_args(When))
        self.classifier = classifier
        self.loss = loss
        self.outputs = outputs
        self.grid = grid
        self.init = init
        self.when = when
        self.seed = seed
        self.batch_dim = batch_dim
        self.mask = mask

    @property
    def _keeps_hidden(self) -> bool:  # type: ignore[override]
        return self.when == "backward"

    def _prepare(self, model: nn.Module, cuts: list[tuple[str, nn.Module]]) -> None:
        seed = int(torch.randint(2**62, ())) if self.seed is None else self.seed
        outputs = self.outputs or size_of_output(model)
        begins = first_layer(model) if self.blocks is None else None
        # An embedding's input is indices, which cannot be taught.
        taught = [(n, m) for n, m in cuts if m is not begins and not isinstance(m, nn.Embedding | nn.EmbeddingBag)]
        sizes = [self._features(name, module) for name, module in taught]
        for (name, module), features in zip(taught, sizes, strict=True):
            weight = next(p for p in (*module.parameters(), *model.parameters()) if p.is_floating_point())
            # Drawn as a matrix from P_l's inputs to its outputs, so that fan-in is P_l's own.
            P = draw((features, outputs), name, seed, init=self.init, normalize=False, skew=None).t().contiguous()
            P = P.to(weight.device, weight.dtype)
            if self.classifier == "trained":
                module.register_parameter(_CLASSIFIER, nn.Parameter(P))
            else:
                module.register_buffer(_CLASSIFIER, P)
            module.register_load_state_dict_pre_hook(_keep)  # type: ignore[no-untyped-call]

    def _clear(self, model: nn.Module) -> None:
        model.__dict__.pop(_NO_PROBABILITIES, None)
        for module in modules_of(model):
            remove_hooks(module, lambda hook: hook is _keep)
            for table in (module._parameters, module._buffers):
                table.pop(_CLASSIFIER, None)

    def _features(self, name: str, module: nn.Module) -> int:
        layer = first_layer(module)
        if layer is not None and any(is_lazy(parameter) for parameter in layer.parameters()):
            raise ValueError(
                f"{self!r} does not know how many features enter {name!r}: its shapes come with the first batch. Call "
                f"the model on one batch before attaching."
            )
        if isinstance(layer, nn.modules.conv._ConvNd):
            return int(layer.in_channels * self.grid ** len(layer.kernel_size))
        for attribute in ("in_features", "embed_dim", "input_size"):  # Linear; MultiheadAttention; LSTM and the like
            if isinstance(size := getattr(layer, attribute, None), int):
                return size
        raise ValueError(
            f"{self!r} does not know how many features enter {name!r}, a {type(module).__name__}. Cut elsewhere: name "
            f"the modules to cut at with blocks=[...]."
        )

    def _on_cut(self, run: BlockPass, cut: Cut, h: Tensor) -> None:
        loss = self._local_loss(run, cut, h)
        if self.when == "forward":
            teach_now(loss)
        else:
            run.taught.append(loss)

    def _join_output(
        self, run: BlockPass, outputs: list[Tensor], chosen: int, told: Reached | None
    ) -> Sequence[Tensor]:
        if not run.taught:
            return outputs
        joined = _WithLosses.apply(len(outputs), *outputs, *run.taught)
        return (joined,) if isinstance(joined, Tensor) else joined

    def _local_loss(self, run: BlockPass, cut: Cut, h: Tensor) -> Tensor:
        y, scale = needed_targets(self)
        P = getattr(cut.module, _CLASSIFIER, None)
        if P is None:
            raise ValueError(
                f"{self!r} has no local classifier for {cut.name!r}, the first layer by the order of the modules, but "
                f"not the first to run. Name the modules to cut at with blocks=[...], in the order in which they run."
            )
        indices = not y.is_floating_point()
        kind = self.loss or ("cross_entropy" if indices else self._loss_of_values(cut.model, y, P.shape[0]))
        labelled = y.shape if indices else y.shape[:-1] if kind == "cross_entropy" else y.shape[:1]
        readout = F.linear(self._pooled(run, cut, h, labelled), P)
        if indices or kind == "cross_entropy":
            readout = readout.flatten(0, -2)
        if indices:
            target = F.one_hot(y.flatten(), P.shape[0]).to(readout) if kind == "mse" else y.flatten()
        else:
            y = y.unsqueeze(1) if y.dim() == 1 else y
            target = (y.flatten(0, -2) if kind == "cross_entropy" else y.flatten(1)).to(readout)
        if target.shape[0] != readout.shape[0] or (target.dim() > 1 and target.shape != readout.shape):
            raise ValueError(
                f"{self!r} reads {P.shape[0]} values out of {cut.name!r} for each of {len(readout)} samples, but the "
                f"targets have the shape {tuple(y.shape)}. Pass outputs=, the number of values per sample."
            )
        if not target.shape[0]:  # an empty batch: a mean over nothing is no number
            return readout.sum()
        return scale * (F.mse_loss(readout, target) if kind == "mse" else F.cross_entropy(readout, target))

    def _loss_of_values(self, model: nn.Module, y: Tensor, outputs: int) -> str:
        """The loss of floating-point targets, unless the first that are met may be probabilities."""
        if y.dim() > 1 and y.shape[-1] == outputs > 1 and not model.__dict__.get(_NO_PROBABILITIES):
            if torch.compiler.is_compiling():
                raise ValueError(
                    f"{self!r} cannot tell values from class probabilities in what is compiled: say loss='mse' or "
                    f"loss='cross_entropy', or run the model once before it is compiled."
                )
            rows = y.detach().reshape(-1, outputs).double()
            off = (rows.sum(1) - 1).abs()
            if len(rows) and bool(((rows >= 0).all(1) & (off < 1e-2)).all()):
                raise ValueError(
                    f"The targets of shape {tuple(y.shape)} look like class probabilities (one-hot rows, mixup), and "
                    f"{self!r} would take their squared error. Say loss='cross_entropy', or loss='mse' if that is what "
                    f"you want."
                )
            model.__dict__[_NO_PROBABILITIES] = bool(len(rows))
        return "mse"

    def _pooled(self, run: BlockPass, cut: Cut, h: Tensor, labelled: torch.Size) -> Tensor:
        """The classifier's input from h_l: (batch, features), or (batch, positions, features)."""
        if h.dim() < 3:
            return h
        if cut.channels_first:
            pool = (F.adaptive_avg_pool1d, F.adaptive_avg_pool2d, F.adaptive_avg_pool3d)[h.dim() - 3]
            pooled: Tensor = pool(h, self.grid)
            return pooled.flatten(1)
        if labelled == h.shape[:-1]:
            return h
        hidden = Hidden(cut.name, h.shape, cut.dims, cut.channels_first)
        batch_axis(cut.model, self, torch.Size((*labelled, 1)), [hidden], "dense")
        share = share_of(run, h.shape, "shared", h.dtype)
        if share is None:
            return h.flatten(1, -2).mean(1)
        # The square of 1/√tokens is the mean's 1/tokens.
        return (h * (share * share).unsqueeze(-1)).sum(1)


class _WithLosses(Function):
    """The identity on the outputs, whose backward also starts the local losses."""

    @staticmethod
    def forward(ctx: Any, outputs: int, *tensors: Tensor) -> Any:
        ctx.losses = [(loss.dtype, loss.device) for loss in tensors[outputs:]]
        if tracks_who_is_reached(outputs):
            ctx.set_materialize_grads(False)
        return tensors[0].detach() if outputs == 1 else tuple(output.detach() for output in tensors[:outputs])

    @staticmethod
    def backward(ctx: Any, *gradients: Any) -> Any:
        return None, *gradients, *(torch.ones((), dtype=dtype, device=device) for dtype, device in ctx.losses)


_NO_PROBABILITIES = "_altprop_direct_values"


def _keep(module: nn.Module, state_dict: dict[str, Any], prefix: str, *_: Any) -> None:
    """Before a state dict is loaded, keep the current classifier if it has none, like the plain model's."""
    state_dict.setdefault(prefix + _CLASSIFIER, getattr(module, _CLASSIFIER))
