"""Patterns, the input directions that neurons respond to, fitted on data for PatternNet and PatternAttribution.

A neuron's weights do not show what it answers to: they also cancel what disturbs it. The pattern is the direction in
which the input varies with the neuron's output.

Reference:
    Kindermans et al., "Learning how to explain neural networks: PatternNet and PatternAttribution", ICLR 2018.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from importlib import import_module
from importlib.util import find_spec
from itertools import islice
from os import PathLike
from typing import Any

import torch
from torch import Tensor, nn

from altprop._preserve import in_evaluation_mode, preserved
from altprop._switches import without_gradients
from altprop.explain._pattern_sums import PatternSums, has_patterns

Progress = Callable[[Iterable[Any]], Iterable[Any]]


class Patterns(Mapping[str, Tensor]):
    """The patterns of a model's layers: a mapping from a layer's name, as in ``named_modules()``, to its patterns.

    Args:
        patterns: by the name of the layer, tensors of the shape of its weight.
        dead: by the name of the layer, how many of its neurons have no pattern: theirs is zero.

    Attributes:
        dead: see above; only the layers that have such neurons.
    """

    def __init__(self, patterns: Mapping[str, Tensor], dead: Mapping[str, int] | None = None) -> None:
        self._patterns = dict(patterns)
        self.dead = {name: count for name, count in (dead or {}).items() if count}

    def __getitem__(self, name: str) -> Tensor:
        return self._patterns[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._patterns)

    def __len__(self) -> int:
        return len(self._patterns)

    def __repr__(self) -> str:
        shapes = ", ".join(f"{name}: {tuple(pattern.shape)}" for name, pattern in self.items())
        return f"Patterns({shapes}; {sum(self.dead.values())} dead neurons)"

    def to(self, device: torch.device | str) -> Patterns:
        """The same patterns on ``device``."""
        return Patterns({name: pattern.to(device) for name, pattern in self.items()}, self.dead)

    def save(self, path: str | PathLike[str]) -> None:
        """Write the patterns to a file, for :meth:`load`."""
        torch.save({"patterns": self._patterns, "dead": self.dead}, path)

    @classmethod
    def load(cls, path: str | PathLike[str], device: torch.device | str = "cpu") -> Patterns:
        """Read what :meth:`save` wrote, onto ``device``. The file is read as data: no code in it is run."""
        kept = torch.load(path, map_location=device, weights_only=True)
        return cls(kept["patterns"], kept["dead"])


@without_gradients
def fit_patterns(
    model: nn.Module,
    loader: Iterable[Any],
    positive: bool = False,
    *,
    modules: Iterable[str] | None = None,
    max_batches: int | None = None,
    forward: Callable[[nn.Module, Any], Any] | None = None,
    progress: Progress | None = None,
) -> Patterns:
    """Fit the patterns of every linear, convolution and transposed convolution layer of a model, in one pass over data.

    With x a neuron's input at one position of one example, y its output there, w its weights, E the mean over all
    examples and positions, and E₊ the mean over those with y > 0, a neuron's pattern is

        a = cov(x, y) / (wᵀ cov(x, y))                                               (the linear estimator)
        a = (E₊[x y] − E₊[x] E[y]) / (wᵀE₊[x y] − wᵀE₊[x] E[y])    with ``positive``  (the two-component estimator)

    The sums are taken in float64, so that neither the order nor the size of the batches matters. The model runs in
    evaluation mode and without gradients; afterwards it is bit for bit what it was.

    Args:
        model: any module. A layer that is used several times gets one pattern for all its uses. The projections
            within ``nn.MultiheadAttention`` are not called as layers, and get none.
        loader: batches, on any device: a tensor; a tuple or list that begins with the inputs, ``(x, y)``; or a dict of
            keyword inputs.
        positive: the two-component estimator, for layers that a ReLU follows: it looks at the examples where the
            neuron fires.
        modules: the names of the layers to fit, as in ``named_modules()``. Default: all of the kinds above.
        max_batches: stop after so many batches.
        forward: ``forward(model, batch)`` runs the model on one batch, where its batches are of another form than the
            above; the batch comes as the loader gives it.
        progress: wraps the loader to show how far it is, as ``tqdm.tqdm`` does; ``iter`` shows nothing. Default: a bar
            where rich is installed and stderr is a terminal.

    Returns:
        The patterns, each of the shape, dtype and device of its layer's weight. A neuron that never fires (with
        ``positive``) or whose output is constant up to rounding has none: its pattern is zero, and it is counted in
        :attr:`Patterns.dead`.

    Raises:
        ValueError: the loader is empty, a batch does not fit the model, a layer never ran or met NaN, the model has no
            such layer, or a parameter is lazy.

    Example:
        >>> import altprop, torch
        >>> from altprop.explain.patterns import fit_patterns
        >>> model = torch.nn.Sequential(torch.nn.Linear(2, 1, bias=False))
        >>> signal, distractor = torch.randn(2, 1000, 1, generator=torch.Generator().manual_seed(0))
        >>> x = signal * torch.tensor([1.0, 0.0]) + distractor * torch.tensor([1.0, 1.0])
        >>> _ = model[0].weight.data.copy_(torch.tensor([1.0, -1.0]))     # takes the distractor out: y is the signal
        >>> patterns = fit_patterns(model, x.split(100))
        >>> pattern = patterns["0"]                                       # and (1, 0) is where the signal lies
        >>> torch.allclose(pattern, torch.tensor([[1.0, 0.0]]), atol=0.1)
        True
    """
    sums = {name: PatternSums(layer, positive) for name, layer in _layers(model, modules).items()}
    run, count = forward or _run, 0
    # Iterate over the loader itself if possible: a progress bar asks for its length.
    batches = loader if max_batches is None else islice(loader, max_batches)
    with preserved(model), in_evaluation_mode(model), _recorded(model, sums):
        for count, batch in enumerate((progress or _bar)(batches), start=1):
            _run_batch(run, model, batch, count)
    if not count:
        raise ValueError("The loader is empty: patterns are fitted on data. A generator can be used only once.")
    _check_all_ran(sums)
    return _estimate(sums)


def _layers(model: nn.Module, names: Iterable[str] | None) -> dict[str, nn.Module]:
    every = dict(model.named_modules())
    inside = {
        id(part) for module in every.values() if isinstance(module, nn.MultiheadAttention) for part in module.modules()
    }
    fitted = {name: module for name, module in every.items() if has_patterns(module) and id(module) not in inside}
    chosen = list(fitted) if names is None else list(names)
    unknown = [name for name in chosen if name not in fitted]
    if unknown:
        raise ValueError(
            f"modules: {', '.join(map(repr, unknown))} of {type(model).__name__} is no linear, convolution or "
            f"transposed convolution layer. Those are: {', '.join(fitted) or 'none'}."
        )
    if not chosen:
        raise ValueError(f"{type(model).__name__} has no linear, convolution or transposed convolution layer to fit.")
    return {name: fitted[name] for name in chosen}


def _bar(batches: Iterable[Any]) -> Iterable[Any]:
    # By its name, since the package does without rich.
    if find_spec("rich") is None or not sys.stderr.isatty():
        return batches
    console = import_module("rich.console").Console(stderr=True)
    track = import_module("rich.progress").track
    tracked: Iterable[Any] = track(batches, "fitting patterns", console=console, transient=True)
    return tracked


@contextmanager
def _recorded(model: nn.Module, sums: Mapping[str, PatternSums]) -> Iterator[None]:
    """Add each layer's inputs and outputs to its sums within the block."""
    modules = dict(model.named_modules())
    handles = [modules[name].register_forward_hook(partial(_add, own), with_kwargs=True) for name, own in sums.items()]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def _add(sums: PatternSums, layer: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], output: Tensor) -> None:
    sums.add(args[0] if args else kwargs["input"], output)


def _run_batch(run: Callable[[nn.Module, Any], Any], model: nn.Module, batch: Any, number: int) -> None:
    try:
        run(model, batch)
    except torch.OutOfMemoryError:
        raise
    except (RuntimeError, TypeError, ValueError, IndexError, KeyError) as error:
        raise ValueError(
            f"{type(model).__name__} could not run batch {number} of the loader, {_describe(batch)}: {error} A batch "
            f"is a tensor, a tuple or list that begins with the inputs, or a dict of keyword inputs; for another form "
            f"pass forward=lambda model, batch: ..."
        ) from error


def _run(model: nn.Module, batch: Any) -> None:
    parameter = next(model.parameters())
    if isinstance(batch, Mapping):
        model(
            **{
                name: value.to(parameter.device) if isinstance(value, Tensor) else value
                for name, value in batch.items()
            }
        )
        return
    inputs = batch[0] if isinstance(batch, tuple | list) else batch
    if not isinstance(inputs, Tensor):
        raise TypeError(f"The inputs must be a tensor, got {type(inputs).__name__}.")
    model(inputs.to(parameter.device))


def _describe(batch: Any) -> str:
    if isinstance(batch, Tensor):
        return f"{str(batch.dtype).removeprefix('torch.')} of shape {tuple(batch.shape)}"
    if isinstance(batch, Mapping):
        return "{" + ", ".join(f"{name}: {_describe(value)}" for name, value in batch.items()) + "}"
    if isinstance(batch, tuple | list):
        return f"({', '.join(map(_describe, batch))})"
    return type(batch).__name__


def _check_all_ran(sums: Mapping[str, PatternSums]) -> None:
    idle = [name for name, own in sums.items() if not own.seen]
    if idle:
        raise ValueError(
            f"These layers never ran in evaluation mode, and have nothing to be fitted on: {', '.join(idle)}. Leave "
            f"them out: fit_patterns(..., modules=[...]) names the layers to fit."
        )


def _estimate(sums: Mapping[str, PatternSums]) -> Patterns:
    patterns, dead = {}, {}
    for name, own in sums.items():
        try:
            patterns[name], dead[name] = own.pattern()
        except ValueError as error:
            raise ValueError(
                f"Layer {name!r} has no patterns: {error}, in the loader's data or in the model's weights."
            ) from None
    return Patterns(patterns, dead)
