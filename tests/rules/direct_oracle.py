"""Direct rules straight from their definition: every block in a loop, in float64, each with a graph of its own.

A network is a list of blocks, functions from the tensor before to the tensor after. Block l is run on a constant copy
of what it is given, and taught at its output h_l; the last block is taught the error e = ∂L/∂output.
"""

import math

import torch
from torch.nn import functional as F


def updates(model, blocks, x, y, teach):
    """The update of every parameter: ``teach(l, h_l, e)`` is the teaching signal at h_l, the output of block l."""
    model.zero_grad()
    hidden, h = [], x
    for block in blocks:
        live = block(h)
        hidden.append(live)
        h = live.detach()
    output = hidden.pop()
    (e,) = torch.autograd.grad(F.cross_entropy(output, y), output, retain_graph=True)
    output.backward(e)
    for number, h in enumerate(hidden):
        signal = teach(number, h.detach(), e)
        if signal is not None:
            h.backward(signal)
    return {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}


def dense(B, source, h):
    """Entry by entry: the sum over outputs of B[k, i] · source[k]."""
    signal = torch.zeros(h[0].numel(), len(h), dtype=h.dtype)
    for i in range(signal.shape[0]):
        for k in range(B.shape[0]):
            signal[i] += B[k, i] * source.flatten(1)[:, k]
    return signal.t().reshape(h.shape)


def channel(B, source, h):
    """Each channel's share of the signal at each of its positions."""
    signal = torch.zeros_like(h)
    positions = h[0, 0].numel()
    for c in range(h.shape[1]):
        for k in range(B.shape[0]):
            share = B[k, c] * source[:, k] / math.sqrt(positions)
            signal[:, c] += share.view(-1, *[1] * (h.dim() - 2))
    return signal


def one_hot(y, classes):
    rows = torch.zeros(len(y), classes, dtype=torch.float64)
    for row, label in enumerate(y):
        rows[row, label] = 1
    return rows


def local_gradient(P, h, y, *, loss, grid=None):
    """The gradient at h of the loss of a linear readout, written out: (softmax − y*)/N or 2(Ph − y*)/(N·K), times P."""
    h = h.clone().requires_grad_()
    seen = h if grid is None else F.adaptive_avg_pool2d(h, grid).flatten(1)
    readout, target = seen @ P.t(), one_hot(y, len(P)) if not y.is_floating_point() else y.flatten(1)
    if loss == "cross_entropy":
        error = (readout.softmax(1) - target) / len(target)
    else:
        error = 2 * (readout - target) / target.numel()
    (signal,) = torch.autograd.grad(seen, h, error.detach() @ P.detach())
    classifier = error.detach().t() @ seen.detach()
    return signal, classifier
