"""The layers that can hand the error back through feedback weights, and the forward pass of each kind with them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import Tensor, nn
from torch.nn import functional as F

from altprop.ops.feedback import convolution, linear
from altprop.ops.linear_maps import named_padding
from altprop.ops.module_kinds import CONVOLUTIONS, TRANSPOSED_CONVOLUTIONS
from altprop.ops.multi_head_attention import attend

Operation = Callable[..., Any]
"""``operation(layer, *args, **kwargs)`` does what ``layer.forward(*args, **kwargs)`` does, and hands the error back
through ``layer.feedback_for(name, input)`` in place of the weight called ``name``, unless that is None."""


def _linear(layer: Any, input: Tensor) -> Any:  # noqa: A002 - torch's own name
    feedback = layer.feedback_for("weight", input)
    if feedback is None:
        return layer.plain_forward(input)
    return linear(input, layer.weight, layer.bias, feedback)


def _conv1d_of_gpt(layer: Any, x: Tensor) -> Any:
    # Hugging Face's Conv1D is a linear layer that keeps its weight as (in, out).
    feedback = layer.feedback_for("weight", x)
    if feedback is None:
        return layer.plain_forward(x)
    return linear(x, layer.weight.t(), layer.bias, feedback.t())


def _convolution(layer: Any, input: Tensor) -> Any:  # noqa: A002
    feedback = layer.feedback_for("weight", input)
    if feedback is None:
        return layer.plain_forward(input)
    a, padding = input, layer.padding
    if layer.padding_mode != "zeros":
        a = F.pad(input, layer._reversed_padding_repeated_twice, mode=layer.padding_mode)
        padding = (0,) * len(layer.stride)
    elif isinstance(padding, str):
        padding, uneven = named_padding(padding, layer.weight, layer.dilation)
        a = F.pad(input, uneven) if uneven else input
    geometry = (layer.stride, padding, layer.dilation, False, (0,) * len(layer.stride), layer.groups)
    return convolution(a, layer.weight, layer.bias, feedback, *geometry)


def _transposed_convolution(layer: Any, input: Tensor, output_size: list[int] | None = None) -> Any:  # noqa: A002
    feedback = layer.feedback_for("weight", input)
    if feedback is None:
        return layer.plain_forward(input, output_size)
    size = (layer.stride, layer.padding, layer.kernel_size)
    output_padding = layer._output_padding(input, output_size, *size, len(layer.stride), layer.dilation)
    geometry = (layer.stride, layer.padding, layer.dilation, True, tuple(output_padding), layer.groups)
    return convolution(input, layer.weight, layer.bias, feedback, *geometry)


def _attention(
    layer: Any,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    key_padding_mask: Tensor | None = None,
    need_weights: bool = True,
    attn_mask: Tensor | None = None,
    average_attn_weights: bool = True,
    is_causal: bool = False,
) -> tuple[Tensor, Tensor | None]:
    if is_causal and attn_mask is None:
        raise ValueError("nn.MultiheadAttention needs attn_mask too where is_causal=True.")
    unbatched = query.dim() == 2
    if unbatched:
        key_padding_mask = None if key_padding_mask is None else key_padding_mask.unsqueeze(0)
    batch_dim = 1 if unbatched or not layer.batch_first else 0
    # (length, batch, width), whatever the layer's own convention.
    inputs = [t.unsqueeze(1) if unbatched else t.transpose(0, 1 - batch_dim) for t in (query, key, value)]
    q, k, v = _projected(layer, inputs)
    attended, weights = attend(
        q, k, v, layer.bias_k, layer.bias_v, layer.add_zero_attn, layer.num_heads,
        layer.dropout if layer.training else 0.0, key_padding_mask, need_weights, attn_mask, average_attn_weights,
        is_causal,
    )  # fmt: skip
    output = layer.out_proj(attended)
    if unbatched:
        return output.squeeze(1), None if weights is None else weights.squeeze(0)
    return output.transpose(0, 1 - batch_dim), weights


def _projected(layer: Any, inputs: list[Tensor]) -> list[Tensor]:
    """Queries, keys and values."""
    if layer.in_proj_weight is None:
        names = ["q_proj_weight", "k_proj_weight", "v_proj_weight"]
        weights = [getattr(layer, name) for name in names]
        feedbacks = [layer.feedback_for(name, a) for name, a in zip(names, inputs, strict=True)]
    else:
        weights = list(layer.in_proj_weight.chunk(3))
        needed = next((a for a in inputs if a.requires_grad), inputs[0])
        packed = layer.feedback_for("in_proj_weight", needed)
        feedbacks = [None] * 3 if packed is None else list(packed.chunk(3))
    biases = [None] * 3 if layer.in_proj_bias is None else list(layer.in_proj_bias.chunk(3))
    parts = zip(inputs, weights, biases, feedbacks, strict=True)
    return [F.linear(a, w, b) if B is None else linear(a, w, b, B) for a, w, b, B in parts]


_OPERATIONS: dict[type[nn.Module], Operation] = {
    nn.Linear: _linear,
    nn.MultiheadAttention: _attention,
    **dict.fromkeys(CONVOLUTIONS, _convolution),
    **dict.fromkeys(TRANSPOSED_CONVOLUTIONS, _transposed_convolution),
}
_CONV1D_OF_GPT = ("transformers.pytorch_utils", "Conv1D")


def operation_of(cls: type) -> Operation | None:
    """The operation that may stand for ``cls.forward``.

    Args:
        cls: a class of modules.

    Returns:
        None for a class of another kind, and for one that changes the forward pass of the kind it is of: what it does
        there is not known.
    """
    if (cls.__module__, cls.__name__) == _CONV1D_OF_GPT:
        return _conv1d_of_gpt
    for kind, operation in _OPERATIONS.items():
        if issubclass(cls, kind):
            methods = ("forward", "_conv_forward")
            same = all(getattr(cls, name, None) is getattr(kind, name, None) for name in methods)
            return operation if same else None
    return None


def weight_names(layer: nn.Module) -> list[str]:
    """The weight matrices of a layer that :func:`operation_of` knows, each with feedback weights of its own."""
    names = ("weight", "in_proj_weight", "q_proj_weight", "k_proj_weight", "v_proj_weight")
    return [name for name in names if getattr(layer, name, None) is not None]


def fans(layer: nn.Module, weight: Tensor) -> tuple[int, int]:
    """The layer's fan-in and fan-out: as ``torch.nn.init`` counts them, but for weights that are kept transposed."""
    field = weight[0, 0].numel()
    rows, columns = weight.shape[0] * field, weight.shape[1] * field
    if isinstance(layer, TRANSPOSED_CONVOLUTIONS):
        return rows // layer.groups, columns
    return (rows, columns) if type(layer).__name__ == _CONV1D_OF_GPT[1] else (columns, rows)
