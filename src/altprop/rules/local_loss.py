"""Local losses: each block has a classifier of its own, and learns from that classifier's loss."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Literal, get_args

import torch
from torch import Tensor, nn
from torch.autograd import Function
from torch.nn import functional as F

from altprop._feedback_init import Init, check_init
from altprop._targets import needed_targets
from altprop.rules._blocks import Cut, DirectRule, Run, first_layer, size_of_output, teach_now
from altprop.rules._projections import draw
from altprop.rules.direct import When, check_choice

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
            for targets that are values, such as the inputs of an autoencoder. The mean over the batch is taken.
        outputs: the number of classes, or of target values per sample; by default the size of the last layer.
        grid: where h_l enters a convolution, P_l sees its averages over a grid of so many places along each dimension.
            For h_l = (batch, positions, features) it sees the average over positions, or if the targets are classes of
            shape (batch, positions), each position by itself.
        init: the distribution of P_l, as in :class:`altprop.DFA`, fan-in being the number of P_l's inputs.
        when: as in :class:`altprop.DRTP`.
        seed: of the P_l; by default it is drawn from torch's generator on attaching.
        blocks: as in :class:`altprop.DFA`.
        output: as in :class:`altprop.DFA`.

    Raises:
        ValueError: an argument is none of those above; the input size of a layer is not known; when the model runs,
            there are no targets in scope or they do not fit.

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
    ) -> None:
        super().__init__(blocks, output)
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

    def _prepare(self, model: nn.Module, cuts: list[tuple[str, nn.Module]]) -> None:
        seed = int(torch.randint(2**62, ())) if self.seed is None else self.seed
        outputs = self.outputs or size_of_output(model)
        begins = first_layer(model) if self.blocks is None else None
        for name, module in cuts:
            # Indices enter an embedding, and indices learn nothing.
            if module is not begins and not isinstance(module, nn.Embedding | nn.EmbeddingBag):
                weight = next(p for p in module.parameters() if p.is_floating_point())
                features = self._features(name, module)
                # Drawn as a matrix from P_l's inputs to its outputs, so that fan-in is what it says.
                P = draw((features, outputs), name, seed, init=self.init, normalize=False, skew=None).t().contiguous()
                P = P.to(weight.device, weight.dtype)
                if self.classifier == "trained":
                    module.register_parameter(_CLASSIFIER, nn.Parameter(P))
                else:
                    module.register_buffer(_CLASSIFIER, P)
                module.__dict__[_LOADING] = module.register_load_state_dict_pre_hook(_keep)  # type: ignore[no-untyped-call]

    def _clear(self, model: nn.Module) -> None:
        for module in model.modules():
            if _LOADING in module.__dict__:
                module.__dict__.pop(_LOADING).remove()
                delattr(module, _CLASSIFIER)

    def _features(self, name: str, module: nn.Module) -> int:
        layer = first_layer(module)
        if isinstance(layer, nn.modules.conv._ConvNd):
            return int(layer.in_channels * self.grid ** len(layer.kernel_size))
        for attribute in ("in_features", "embed_dim", "input_size"):  # Linear; MultiheadAttention; LSTM and its kin
            if isinstance(size := getattr(layer, attribute, None), int):
                return size
        raise ValueError(
            f"{self!r} does not know how many features enter {name!r}, a {type(module).__name__}. Cut elsewhere: name "
            f"the modules to cut at with blocks=[...]."
        )

    def _meet(self, run: Run, cut: Cut, h: Tensor) -> None:
        loss = self._local_loss(cut, h)
        if self.when == "forward":
            teach_now(loss)
        else:
            run.taught.append(loss)

    def _settle(self, run: Run, output: Tensor) -> Tensor:
        if not run.taught:
            return output
        taught: Tensor = _WithLosses.apply(output, *run.taught)
        return taught

    def _local_loss(self, cut: Cut, h: Tensor) -> Tensor:
        y, scale = needed_targets(self)
        P = getattr(cut.module, _CLASSIFIER, None)
        if P is None:
            raise ValueError(
                f"{self!r} has no local classifier for {cut.name!r}, the first layer by the order of the modules, but "
                f"not the first to run. Name the modules to cut at with blocks=[...], in the order in which they run."
            )
        classes = not y.is_floating_point()
        readout = F.linear(self._pooled(cut, h, y), P)
        kind = self.loss or ("cross_entropy" if classes else "mse")
        if classes:
            readout, y = readout.flatten(0, -2), y.flatten()
            target = F.one_hot(y, P.shape[0]).to(readout) if kind == "mse" else y
        else:
            target = y.flatten(1).to(readout)
        if len(target) != len(readout) or (target.dim() > 1 and target.shape != readout.shape):
            raise ValueError(
                f"{self!r} reads {P.shape[0]} values out of {cut.name!r} for each of {len(readout)} samples, but the "
                f"targets have the shape {tuple(y.shape)}. Pass outputs=, the number of values per sample."
            )
        return scale * (F.mse_loss(readout, target) if kind == "mse" else F.cross_entropy(readout, target))

    def _pooled(self, cut: Cut, h: Tensor, y: Tensor) -> Tensor:
        """What the classifier sees of h_l: of shape (batch, features), or (batch, positions, features)."""
        if h.dim() < 3:
            return h
        if cut.channels_first:
            pool = (F.adaptive_avg_pool1d, F.adaptive_avg_pool2d, F.adaptive_avg_pool3d)[h.dim() - 3]
            pooled: Tensor = pool(h, self.grid)
            return pooled.flatten(1)
        by_position = not y.is_floating_point() and y.shape == h.shape[:-1]
        return h if by_position else h.flatten(1, -2).mean(1)


class _WithLosses(Function):
    """The identity on the output; backward starts the local losses too."""

    @staticmethod
    def forward(ctx: Any, output: Tensor, *losses: Tensor) -> Tensor:
        ctx.dtypes = [loss.dtype for loss in losses]
        return output.detach()

    @staticmethod
    def backward(ctx: Any, e: Tensor) -> Any:
        return e, *(torch.ones((), dtype=dtype, device=e.device) for dtype in ctx.dtypes)


_LOADING = "_altprop_loading_handle"


def _keep(module: nn.Module, state_dict: dict[str, Any], prefix: str, *_: Any) -> None:
    """Before a state dict is loaded: keep the classifier if it has none, as that of the plain model."""
    state_dict.setdefault(prefix + _CLASSIFIER, getattr(module, _CLASSIFIER))
