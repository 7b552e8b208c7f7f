"""Networks of spiking neurons that run over time: made of snntorch's neurons, which this file does not import."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from altprop._targets import repeated_targets
from altprop.nn.encoders import ENCODERS, Encoder, repeat


class SpikingSequential(nn.Sequential):
    """Layers and spiking neurons one after another, run over all steps of time at each call.

    The neurons are snntorch's (``Leaky``, ``Synaptic``, …; the extra ``altprop[snn]``), with ``init_hidden=True`` or
    without. Their states are reset before each run and after it, so that nothing of one batch is left for the next. All
    other layers see the steps of time as so many samples, (steps · batch, ...): a weighted sum is computed once, not
    once for each step, and batch norm takes its statistics over time. A module of your own that holds neurons is called
    step by step instead.

    Args:
        *layers: modules, or one ordered dict of them, as for ``nn.Sequential``. Sums of two branches are
            :class:`SpikingResidual`.
        steps: how many steps of time.
        encoder: how an input of shape (batch, ...) becomes one of shape (steps, batch, ...): ``"repeat"``, ``"rate"``,
            ``"latency"`` (see :mod:`altprop.nn.encoders`), a function of input and steps, or None if inputs come with
            their steps, (steps, batch, ...).

    Raises:
        ValueError: ``steps`` or ``encoder`` is none of those above.
        TypeError: a layer is a neuron that runs over time by itself.

    Example:
        >>> import altprop, torch
        >>> from snntorch import Leaky
        >>> from torch import nn
        >>> net = altprop.nn.SpikingSequential(
        ...     nn.Linear(4, 8), Leaky(beta=0.9), nn.Linear(8, 3), Leaky(beta=0.9), steps=15
        ... )
        >>> attachment = altprop.LFP().attach(net)
        >>> spikes = net(torch.randn(5, 4))
        >>> spikes.shape
        torch.Size([15, 5, 3])
        >>> altprop.rewards.SpikeRate()(spikes, torch.tensor([0, 1, 2, 0, 1])).backward()
    """

    def __init__(self, *layers: Any, steps: int = 15, encoder: str | Encoder | None = "repeat") -> None:
        super().__init__(*layers)
        if steps < 1:
            raise ValueError(f"A spiking network runs for 1 step or more, got steps={steps!r}.")
        if isinstance(encoder, str) and encoder not in ENCODERS:
            raise ValueError(f"An encoder is one of {', '.join(ENCODERS)}, a function or None; got {encoder!r}.")
        for name, module in self.named_modules():
            if _runs_by_itself(module):
                raise TypeError(
                    f"The layer {name!r} is a snntorch.{type(module).__name__}, which runs over time by itself. Use a "
                    f"neuron that takes one step at a time, such as snntorch.Leaky."
                )
        self.steps = steps
        self.encoder = ENCODERS[encoder] if isinstance(encoder, str) else encoder

    _batch_dim = 1  # of the outputs, for the rules that project them

    def forward(self, x: Tensor) -> Tensor:
        """Run over all steps of time.

        Args:
            x: (batch, ...); without an encoder (steps, batch, ...), with any number of steps.

        Returns:
            What the last layer gave at each step, (steps, batch, ...): spikes, if it is a neuron.
        """
        steps = self.steps if self.encoder is not None else len(x)
        reset_states(self)
        try:
            with repeated_targets(steps):
                if self.encoder is repeat:
                    over_time = _Signal(x, steps, constant=True)
                else:
                    encoded = x if self.encoder is None else self.encoder(x, steps)
                    over_time = _Signal(encoded.flatten(0, 1), steps)
                given = _run(list(self), over_time).everywhere()
                return given.reshape(steps, len(given) // steps, *given.shape[1:])
        finally:
            reset_states(self)

    def extra_repr(self) -> str:
        """The settings, for ``print(network)``."""
        encoder = None if self.encoder is None else getattr(self.encoder, "__name__", self.encoder)
        return f"steps={self.steps}, encoder={encoder}"


class SpikingResidual(nn.Module):
    """The sum of two branches within a :class:`SpikingSequential`: the input current of the neuron that follows.

    Args:
        body: a module; an ``nn.Sequential`` may hold neurons.
        shortcut: the other branch; by default the input itself.
    """

    def __init__(self, body: nn.Module, shortcut: nn.Module | None = None) -> None:
        super().__init__()
        self.body = body
        self.shortcut = nn.Identity() if shortcut is None else shortcut

    def forward(self, x: Tensor) -> Tensor:
        """One step of time: body(x) + shortcut(x)."""
        total: Tensor = self.body(x) + self.shortcut(x)
        return total


class _Signal:
    """A tensor over time.

    Attributes:
        values: (steps · batch, ...), the steps one after another; or (batch, ...) if it is the same at each step.
        steps: how many.
        constant: whether it is the same at each step: then what follows has to be computed once.
    """

    def __init__(self, values: Tensor, steps: int, *, constant: bool = False) -> None:
        self.values = values
        self.steps = steps
        self.constant = constant

    def everywhere(self) -> Tensor:
        """(steps · batch, ...)."""
        return repeat(self.values, self.steps).flatten(0, 1) if self.constant else self.values

    def each(self) -> list[Tensor]:
        """(batch, ...) of each step."""
        if self.constant:
            return [self.values] * self.steps
        return list(self.values.chunk(self.steps)) if len(self.values) else [self.values] * self.steps


def _run(layers: list[nn.Module], signal: _Signal) -> _Signal:
    for layer in layers:
        signal = _apply(layer, signal)
    return signal


def _apply(layer: nn.Module, signal: _Signal) -> _Signal:
    if isinstance(layer, SpikingResidual):
        body, shortcut = _apply(layer.body, signal), _apply(layer.shortcut, signal)
        if body.constant and shortcut.constant:
            return _Signal(body.values + shortcut.values, signal.steps, constant=True)
        return _Signal(body.everywhere() + shortcut.everywhere(), signal.steps)
    if not any(_is_neuron(module) for module in layer.modules()):
        if signal.constant and isinstance(layer, _DETERMINED):
            return _Signal(layer(signal.values), signal.steps, constant=True)
        return _Signal(layer(signal.everywhere()), signal.steps)
    if isinstance(layer, nn.Sequential):
        return _run(list(layer), signal)
    given = [layer(x) for x in signal.each()]
    # Not torch.stack, of which (steps · batch, ...) would be a view: direct rules cut what is no view in place.
    return _Signal(torch.cat([g[0] if isinstance(g, tuple) else g for g in given]), signal.steps)


# Modules that give equal outputs for equal inputs, so that one step stands for all. Dropout does not.
_DETERMINED = (
    nn.Linear,
    nn.modules.conv._ConvNd,
    nn.modules.batchnorm._BatchNorm,
    nn.modules.pooling._MaxPoolNd,
    nn.modules.pooling._AvgPoolNd,
    nn.Flatten,
    nn.Identity,
)


def reset_states(model: nn.Module) -> None:
    """Reset the states of all neurons in ``model`` to empty, as when they were made."""
    for module in model.modules():
        if _is_neuron(module):
            for name in module._non_persistent_buffers_set:
                setattr(module, name, getattr(module, name).detach().new_zeros(0))
            module.__dict__.pop("reset", None)


def _is_neuron(module: nn.Module) -> bool:
    """Whether a module keeps a membrane from step to step, as all of snntorch's neurons do."""
    return hasattr(module, "mem") and hasattr(module, "reset_mem")


def _runs_by_itself(module: nn.Module) -> bool:
    return type(module).__module__.startswith("snntorch._neurons") and type(module).__name__ == "LeakyParallel"
