"""Attributors that use a composite's gradient: at several inputs, or multiplied by the input.

Where the classical method takes the gradient, these take what the composite hands back, the *modified gradient*:
:meth:`altprop.LRP.attribute`. With the composite ``"gradient"``, the default, they are the classical methods, and with
``"guided_backprop"`` and the like those with a changed gradient. What most other composites hand back is relevance,
which has the input in it already; what that means for a method, its own docstring says. The modified gradient alone is
``altprop.LRP(model, composite).attribute(x)``.

All of them explain in evaluation mode, and ``target=None`` means the arg max for the input as it is, at all the other
inputs that they look at too. They need captum, which the extra ``explain`` brings.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from altprop._extras import how_to_install
from altprop._preserve import in_evaluation_mode
from altprop._switches import without_gradients
from altprop.explain._outputs import picked, resolve_target
from altprop.explain._regions import Baseline, baseline_of
from altprop.explain.lrp import LRP

try:
    from captum import attr
except ModuleNotFoundError as error:
    raise ModuleNotFoundError(
        f"The attributors need {error.name}, which is not installed. Install it with: {how_to_install('explain')}"
    ) from None

Inputs = Tensor | tuple[Tensor, ...]

# For each quadrature rule, the position of its point if there is only one; the trapezoid rule needs both ends.
_ONE_PLACE = {
    "gausslegendre": 0.5, "riemann_right": 1.0, "riemann_left": 0.0, "riemann_middle": 0.5, "riemann_trapezoid": None,
}  # fmt: skip


class _Attributor:
    """What the attributors around composites have in common.

    Args:
        model: any module.
        composite: as for :class:`altprop.LRP`.
        strict: as for :class:`altprop.LRP`.
    """

    def __init__(self, model: nn.Module, composite: Any = "gradient", strict: bool = False) -> None:
        self.model = model
        self.lrp = LRP(model, composite, strict=strict)

    def _modified_gradient(self, inputs: tuple[Tensor, ...], target: Any, extra: tuple[Any, ...]) -> tuple[Tensor, ...]:
        found: tuple[Tensor, ...] = self.lrp.attribute(inputs, target, extra or None)
        return tuple(part.detach() for part in found)


class InputXGradient(_Attributor):
    """The input times the modified gradient: x ⊙ g.

    Of use with composites that hand back gradients: ``"gradient"``, ``"guided_backprop"``, ``"deconvnet"``. Relevance
    has the input in it already.

    Reference:
        Shrikumar et al., "Not just a black box: learning important features through propagating activation
        differences", 2016.
    """

    def attribute(self, inputs: Inputs, target: Any = None, additional_forward_args: Any = None) -> Inputs:
        """Explain the model's output for the target.

        Args:
            inputs: a tensor, or a tuple of tensors for a model of several inputs; floating point, (batch, ...).
            target: as for :meth:`altprop.LRP.attribute`.
            additional_forward_args: what the model is called with after the inputs, and is not explained.

        Returns:
            A tensor of the inputs' shape for each of them.

        Example:
            >>> import torch
            >>> from altprop.explain.attributors import InputXGradient
            >>> model, x = torch.nn.Linear(4, 3, bias=False), torch.randn(2, 4)
            >>> contributions = InputXGradient(model).attribute(x, target=1)
            >>> torch.allclose(contributions.sum(1), model(x)[:, 1])
            True
        """
        parts, extra = _checked(inputs), _as_tuple(additional_forward_args)
        gradients = self._modified_gradient(parts, target, extra)
        return _like(inputs, tuple(x.detach() * g for x, g in zip(parts, gradients, strict=True)))


class SmoothGrad(_Attributor):
    """The mean of the modified gradient over inputs with noise: 1/n Σ_k g(x + ε_k).

    ε_k is normal noise whose deviation is ``noise`` times the range, from lowest to highest value, of each example. For
    one deviation for all, in the inputs' own unit, and for squares and variances, put :class:`altprop.LRP` into
    ``captum.attr.NoiseTunnel``. zennit's SmoothGrad counts the input without noise as one of the n; here all have
    noise.

    With relevance for g, it is the mean relevance of the noisy inputs.

    Reference:
        Smilkov et al., "SmoothGrad: removing noise by adding noise", 2017.
    """

    def attribute(
        self,
        inputs: Inputs,
        target: Any = None,
        additional_forward_args: Any = None,
        *,
        n_samples: int = 20,
        noise: float = 0.1,
        seed: int = 0,
    ) -> Inputs:
        """Explain the model's output for the target.

        Args:
            inputs: a tensor, or a tuple of tensors for a model of several inputs; floating point, (batch, ...).
            target: as for :meth:`altprop.LRP.attribute`.
            additional_forward_args: what the model is called with after the inputs, and is not explained.
            n_samples: n, how many times noise is drawn.
            noise: the deviation, as a part of each example's range; 0.1 to 0.2 is usual.
            seed: draws the noise. Torch's own random state is left alone.

        Returns:
            A tensor of the inputs' shape for each of them.

        Example:
            >>> import torch
            >>> from altprop.explain.attributors import SmoothGrad
            >>> model = torch.nn.Sequential(torch.nn.Linear(4, 8), torch.nn.ReLU(), torch.nn.Linear(8, 3))
            >>> smooth = SmoothGrad(model, composite="epsilon")
            >>> smooth.attribute(torch.randn(2, 4), target=1, n_samples=10, noise=0.1).shape
            torch.Size([2, 4])
        """
        if n_samples < 1 or noise < 0:
            raise ValueError(f"n_samples must be at least 1 and noise at least 0, got {n_samples} and {noise}.")
        parts, extra = _checked(inputs), _as_tuple(additional_forward_args)
        target = _resolved_target(self.model, parts, target, extra)
        generator = torch.Generator(parts[0].device).manual_seed(seed)
        deviations = [noise * _range_of_each_example(x) for x in parts]
        total = tuple(torch.zeros_like(x) for x in parts)
        for _ in range(n_samples):
            noisy = tuple(x + s * _normal(x, generator) for x, s in zip(parts, deviations, strict=True))
            gradients = self._modified_gradient(noisy, target, extra)
            total = tuple(so_far + g / n_samples for so_far, g in zip(total, gradients, strict=True))
        return _like(inputs, total)


class IntegratedGradients(_Attributor):
    """The modified gradient averaged along the straight line from a baseline x' to the input, times their difference.

        (x − x') ⊙ Σ_k v_k g(x' + α_k (x − x'))

    α_k and v_k are the places and weights of a rule of quadrature on [0, 1], Σ v_k = 1. captum computes it. At each
    place g is what the composite hands back there, for the output there. With relevance for g, it is relevance that is
    averaged, and times x − x' it has the unit of the output times that of the input, as in zennit.
    ``multiply_by_inputs=False`` leaves the factor out: what remains is the mean relevance along the line, of the
    output's unit.

    Args:
        model: any module.
        composite: as for :class:`altprop.LRP`.
        strict: as for :class:`altprop.LRP`.
        multiply_by_inputs: whether the factor x − x' is there.

    Reference:
        Sundararajan et al., "Axiomatic attribution for deep networks", ICML 2017.
    """

    def __init__(
        self, model: nn.Module, composite: Any = "gradient", strict: bool = False, multiply_by_inputs: bool = True
    ) -> None:
        super().__init__(model, composite, strict)
        self.multiply_by_inputs = multiply_by_inputs

    def attribute(
        self,
        inputs: Inputs,
        target: Any = None,
        additional_forward_args: Any = None,
        *,
        baselines: Any = None,
        n_steps: int = 50,
        method: str = "gausslegendre",
        batch_size: int | None = None,
    ) -> Inputs:
        """Explain the model's output for the target.

        Args:
            inputs: a tensor, or a tuple of tensors for a model of several inputs; floating point, (batch, ...).
            target: as for :meth:`altprop.LRP.attribute`.
            additional_forward_args: what the model is called with after the inputs, and is not explained. Tensors have
                the batch first.
            baselines: x', a number or a tensor for each of the inputs. Default: zero.
            n_steps: how many places there are. With one the gradient is that at the input (``"riemann_right"``), at
                the baseline (``"riemann_left"``) or half way between them.
            method: the rule: ``"gausslegendre"``, ``"riemann_right"`` (as in zennit), ``"riemann_left"``,
                ``"riemann_middle"`` or ``"riemann_trapezoid"``, which needs two places.
            batch_size: how many inputs run at a time. Default: all, ``n_steps`` times the batch.

        Returns:
            A tensor of the inputs' shape for each of them.

        Raises:
            ValueError: there is no such method, or ``n_steps`` is too small for it.

        Example:
            >>> import torch
            >>> from altprop.explain.attributors import IntegratedGradients
            >>> model = torch.nn.Sequential(torch.nn.Linear(4, 8), torch.nn.Tanh(), torch.nn.Linear(8, 3))
            >>> x = torch.randn(2, 4)
            >>> shares = IntegratedGradients(model).attribute(x, target=1)
            >>> torch.allclose(shares.sum(1), (model(x) - model(0 * x))[:, 1], atol=1e-4)     # complete
            True
        """
        _check_steps(n_steps, method)
        parts, extra = _checked(inputs), _as_tuple(additional_forward_args)
        place = _ONE_PLACE[method]
        if n_steps == 1 and place is not None:
            return _like(inputs, self._at_one_place(place, parts, baselines, target, extra))
        wanted = _as_tensor(_resolved_target(self.model, parts, target, extra), parts[0])

        def gradient(forward_fn: Any, inputs: Any, target_ind: Any, additional_forward_args: Any) -> Any:
            return self._modified_gradient(inputs, _as_target(additional_forward_args[0]), additional_forward_args[1:])

        integral = attr.IntegratedGradients(self.model, self.multiply_by_inputs)
        integral.gradient_func = gradient
        # Pass the target as an argument: captum repeats arguments of any form for each step.
        found = integral.attribute(
            tuple(x.detach() for x in parts),
            baselines,
            additional_forward_args=(wanted, *extra),
            n_steps=n_steps,
            method=method,
            internal_batch_size=batch_size,
        )
        return _like(inputs, tuple(part.detach() for part in found))

    def _at_one_place(
        self, place: float, parts: tuple[Tensor, ...], baselines: Any, target: Any, extra: tuple[Any, ...]
    ) -> tuple[Tensor, ...]:
        """Quadrature with one point, the gradient at x' + α (x − x'), which captum does not offer."""
        target = _resolved_target(self.model, parts, target, extra)
        given = baselines if isinstance(baselines, tuple) else (baselines,) * len(parts)
        starts = [torch.as_tensor(0.0 if start is None else start).to(x) for start, x in zip(given, parts, strict=True)]
        ways = [x.detach() - start for x, start in zip(parts, starts, strict=True)]
        points = tuple(start + place * way for start, way in zip(starts, ways, strict=True))
        gradients = self._modified_gradient(points, target, extra)
        if not self.multiply_by_inputs:
            return gradients
        return tuple(g * way for g, way in zip(gradients, ways, strict=True))


class Occlusion:
    """How much the output falls when a window of the input is covered: f(x) − f(x with the window covered).

    A position gets the mean over the windows that it lies in. No gradient is taken, so there is no composite. captum
    computes it. zennit's Occlusion is another: it adds up f of the window alone, all else covered.

    Args:
        model: any module.

    Reference:
        Zeiler and Fergus, "Visualizing and Understanding Convolutional Networks", 2014.
    """

    def __init__(self, model: nn.Module) -> None:
        self.model = model

    def attribute(
        self,
        inputs: Tensor,
        target: Any = None,
        additional_forward_args: Any = None,
        *,
        window: int | tuple[int, ...] = 8,
        stride: int | tuple[int, ...] | None = None,
        baseline: Baseline = "zero",
        seed: int = 0,
    ) -> Tensor:
        """Explain the model's output for the target.

        Args:
            inputs: floating point, of shape (batch, features) or (batch, channels, *positions).
            target: as for :meth:`altprop.LRP.attribute`.
            additional_forward_args: what the model is called with after the inputs.
            window: the window's size in each dimension of positions, or one number for all, cut to the input's size.
                All channels are covered.
            stride: how far the window moves on. Default: by its size, so that windows do not overlap.
            baseline: what covers, as in :func:`altprop.explain.evaluation.pixel_flipping`.
            seed: draws the noise of the baseline ``"uniform"``.

        Returns:
            Of the inputs' shape; the same for all channels.

        Example:
            >>> import torch
            >>> from altprop.explain.attributors import Occlusion
            >>> model = torch.nn.Linear(4, 1, bias=False)
            >>> _ = model.weight.data.copy_(torch.tensor([[1.0, 2.0, 3.0, 4.0]]))
            >>> Occlusion(model).attribute(torch.ones(1, 4), target=0, window=2).tolist()
            [[3.0, 3.0, 7.0, 7.0]]
        """
        (x,), extra = _checked(inputs), _as_tuple(additional_forward_args)
        x = x.unsqueeze(1) if inputs.dim() == 2 else x
        sizes = _per_dimension(window, x.shape[2:], "window")
        strides = sizes if stride is None else _per_dimension(stride, x.shape[2:], "stride")
        covered = baseline_of(x, baseline, torch.Generator().manual_seed(seed))

        def output(x: Tensor) -> Tensor:
            return picked(self.model(x.squeeze(1) if inputs.dim() == 2 else x, *extra), wanted)

        wanted = _resolved_target(self.model, (inputs,), target, extra)
        with in_evaluation_mode(self.model):
            found: Tensor = without_gradients(attr.Occlusion(output).attribute)(
                x, (x.shape[1], *sizes), (x.shape[1], *strides), covered.contiguous()
            )
        # captum returns float32 whatever the dtype of the inputs.
        return found.view_as(inputs).to(inputs.dtype)


def _check_steps(n_steps: int, method: str) -> None:
    if method not in _ONE_PLACE:
        raise ValueError(f"There is no method {method!r}. There are: {', '.join(_ONE_PLACE)}.")
    least = 1 if _ONE_PLACE[method] is not None else 2
    if isinstance(n_steps, bool) or not isinstance(n_steps, int) or n_steps < least:
        raise ValueError(f"n_steps is a whole number from {least} for {method!r}, got {n_steps!r}.")


def _resolved_target(model: nn.Module, inputs: tuple[Tensor, ...], target: Any, extra: tuple[Any, ...]) -> Any:
    if target is not None:
        return target
    with in_evaluation_mode(model):
        return resolve_target(without_gradients(model)(*inputs, *extra), None)


def _checked(inputs: Any) -> tuple[Tensor, ...]:
    parts = inputs if isinstance(inputs, tuple) else (inputs,)
    wrong = [part for part in parts if not isinstance(part, Tensor) or not part.is_floating_point()]
    if wrong:
        got = wrong[0].dtype if isinstance(wrong[0], Tensor) else type(wrong[0]).__name__
        raise TypeError(
            f"The inputs must be a tensor or a tuple of tensors, of floating point, for they are changed bit by bit; "
            f"got {got}. For tokens, explain a model that takes their embeddings."
        )
    return parts


def _as_tuple(value: Any) -> tuple[Any, ...]:
    return () if value is None else value if isinstance(value, tuple) else (value,)


def _like(inputs: Inputs, parts: tuple[Tensor, ...]) -> Inputs:
    return parts if isinstance(inputs, tuple) else parts[0]


def _normal(x: Tensor, generator: torch.Generator) -> Tensor:
    return torch.randn(x.shape, generator=generator, dtype=x.dtype, device=x.device)


def _range_of_each_example(x: Tensor) -> Tensor:
    flat = x.detach().flatten(1)
    return (flat.amax(1) - flat.amin(1)).view(-1, *[1] * (x.dim() - 1))


def _as_tensor(target: Any, x: Tensor) -> Tensor | None:
    """A target as a tensor with the batch first, which :func:`_as_target` reads."""
    if target is None or (isinstance(target, Tensor) and len(target.shape) and len(target) == len(x)):
        return target
    if isinstance(target, list) or (isinstance(target, Tensor) and target.dim()):
        places = torch.as_tensor(target, device=x.device)
        return places.expand(len(x), *places.shape[1:]) if len(places) == 1 else places
    place = torch.as_tensor(target, device=x.device)
    return place.expand(len(x), *place.shape)


def _as_target(places: Tensor | None) -> Any:
    if places is None or places.is_floating_point() or places.dim() == 1:
        return places
    return [tuple(place) for place in places.tolist()]


def _per_dimension(value: int | tuple[int, ...], positions: torch.Size, name: str) -> tuple[int, ...]:
    sizes = (value,) * len(positions) if isinstance(value, int) else value
    if len(sizes) != len(positions) or min(sizes) < 1:
        raise ValueError(
            f"{name} must be at least 1, one number or one for each dimension of positions, which are "
            f"{tuple(positions)}; got {value}."
        )
    return tuple(min(size, length) for size, length in zip(sizes, positions, strict=True))
