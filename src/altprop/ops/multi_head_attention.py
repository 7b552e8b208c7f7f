"""``nn.MultiheadAttention`` written out in torch functions, so that an interceptor sees each of its parts."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional as F


def multi_head_attention_parts(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    embed_dim_to_check: int,
    num_heads: int,
    in_proj_weight: Tensor | None,
    in_proj_bias: Tensor | None,
    bias_k: Tensor | None,
    bias_v: Tensor | None,
    add_zero_attn: bool,
    dropout_p: float,
    out_proj_weight: Tensor,
    out_proj_bias: Tensor | None,
    training: bool = True,
    key_padding_mask: Tensor | None = None,
    need_weights: bool = True,
    attn_mask: Tensor | None = None,
    use_separate_proj_weight: bool = False,
    q_proj_weight: Tensor | None = None,
    k_proj_weight: Tensor | None = None,
    v_proj_weight: Tensor | None = None,
    static_k: Tensor | None = None,
    static_v: Tensor | None = None,
    average_attn_weights: bool = True,
    is_causal: bool = False,
) -> tuple[Tensor, Tensor | None]:
    """What ``torch.nn.functional.multi_head_attention_forward`` computes, with its signature and shapes.

    Raises:
        ValueError: ``static_k`` or ``static_v`` is given (no module of torch does), or ``query`` has another width
            than ``embed_dim_to_check``.
    """
    if static_k is not None or static_v is not None:
        raise ValueError("static_k and static_v of multi_head_attention_forward are not supported under a rule.")
    if query.shape[-1] != embed_dim_to_check:
        raise ValueError(f"The query has width {query.shape[-1]}, the layer was made for {embed_dim_to_check}.")
    unbatched = query.dim() == 2
    if unbatched:
        query, key, value = query.unsqueeze(1), key.unsqueeze(1), value.unsqueeze(1)
        key_padding_mask = None if key_padding_mask is None else key_padding_mask.unsqueeze(0)

    if in_proj_weight is None or use_separate_proj_weight:
        weights = [q_proj_weight, k_proj_weight, v_proj_weight]
    else:
        weights = list(in_proj_weight.chunk(3))
    biases = [None] * 3 if in_proj_bias is None else list(in_proj_bias.chunk(3))
    q, k, v = (
        F.linear(tensor, weight, bias)  # type: ignore[arg-type]
        for tensor, weight, bias in zip((query, key, value), weights, biases, strict=True)
    )
    attended, weights_out = attend(
        q, k, v, bias_k, bias_v, add_zero_attn, num_heads, dropout_p if training else 0.0, key_padding_mask,
        need_weights, attn_mask, average_attn_weights, is_causal,
    )  # fmt: skip
    output = F.linear(attended, out_proj_weight, out_proj_bias)
    if unbatched:
        return output.squeeze(1), None if weights_out is None else weights_out.squeeze(0)
    return output, weights_out


def attend(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    bias_k: Tensor | None,
    bias_v: Tensor | None,
    add_zero_attn: bool,
    num_heads: int,
    dropout_p: float,
    key_padding_mask: Tensor | None,
    need_weights: bool,
    attn_mask: Tensor | None,
    average_attn_weights: bool,
    is_causal: bool,
) -> tuple[Tensor, Tensor | None]:
    """The part between the input and the output projections; the arguments are those of the whole.

    ``q`` is (target, batch, width), ``k`` and ``v`` are (source, batch, width), all projected; ``dropout_p`` is the
    probability that holds now: 0 in evaluation. Returned are the heads' values side by side, (target, batch, width),
    and the attention's weights if they are needed.
    """
    if is_causal and key_padding_mask is None and not need_weights:
        attn_mask = None  # as torch does: the hint stands for the mask, and hides the keys that are added below
    batch = q.shape[1]
    added = 0
    if bias_k is not None and bias_v is not None:
        k, v = torch.cat([k, bias_k.expand(1, batch, -1)]), torch.cat([v, bias_v.expand(1, batch, -1)])
        added += 1
    if add_zero_attn:
        k, v = torch.cat([k, k.new_zeros(1, *k.shape[1:])]), torch.cat([v, v.new_zeros(1, *v.shape[1:])])
        added += 1
    mask = _mask(attn_mask, key_padding_mask, added, batch, num_heads, q.dtype)

    # (length, batch, width) -> (batch, heads, length, width of a head)
    q, k, v = (tensor.view(*tensor.shape[:2], num_heads, -1).permute(1, 2, 0, 3) for tensor in (q, k, v))
    weights_out: Tensor | None = None
    if need_weights:
        scores = torch.matmul(q / math.sqrt(q.shape[-1]), k.transpose(-2, -1))
        weights_out = F.softmax(scores if mask is None else scores + mask, dim=-1)
        weights_out = F.dropout(weights_out, dropout_p) if dropout_p else weights_out
        attended = torch.matmul(weights_out, v)
        weights_out = weights_out.mean(dim=1) if average_attn_weights else weights_out
    else:
        attended = F.scaled_dot_product_attention(
            q, k, v, attn_mask=mask, dropout_p=dropout_p, is_causal=is_causal and mask is None
        )
    return attended.permute(2, 0, 1, 3).flatten(2), weights_out


def _mask(
    attention: Tensor | None, padding: Tensor | None, added: int, batch: int, heads: int, dtype: torch.dtype
) -> Tensor | None:
    """Both masks as one tensor to add to the scores, which broadcasts to (batch, heads, target, source)."""
    if attention is not None:
        attention = F.pad(_additive(attention, dtype), (0, added))
        attention = attention.view(batch, heads, *attention.shape[1:]) if attention.dim() == 3 else attention
    if padding is not None:
        padding = F.pad(_additive(padding, dtype), (0, added))[:, None, None, :]
    if attention is None or padding is None:
        return padding if attention is None else attention
    return attention + padding


def _additive(mask: Tensor, dtype: torch.dtype) -> Tensor:
    if mask.dtype == torch.bool:
        return torch.zeros_like(mask, dtype=dtype).masked_fill(mask, float("-inf"))
    return mask.to(dtype)
