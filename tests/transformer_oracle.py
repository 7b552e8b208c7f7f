"""LFP through one transformer block as the paper states it: reward by reward, in float64; nothing of altprop is used.

A :class:`Tape` computes a block operation by operation and remembers how each hands its reward back; ``walk`` then goes
through them backward. Contributions to a sum are c_i = a_i · ∂z/∂a_i, and R_i = Σ_j c_ij R_j / (z_j + ε·sign z_j).
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from tests.lfp_oracle import sign


class Tape:
    """Values, the rewards that arrive at them, and the updates of parameters, by the identity of the tensor."""

    def __init__(self, epsilon: float) -> None:
        self.epsilon = epsilon
        self.rewards: dict[int, Tensor] = {}
        self.updates: dict[int, Tensor] = {}
        self.aliases: dict[int, Tensor] = {}  # for a weight that is stored transposed, the stored one
        self.backs = []
        self.kept = []

    def reward(self, value: Tensor) -> Tensor:
        return self.rewards.get(id(value), torch.zeros_like(value))

    def give(self, value: Tensor, reward: Tensor) -> None:
        self.kept.append(value)
        if isinstance(value, nn.Parameter):
            # A weight's own share, by definition: |w| · ∂z/∂w · R/(z + ε·sign z). Its contribution is w · ∂z/∂w.
            self.updates[id(value)] = self.updates.get(id(value), 0) + reward
        else:
            self.rewards[id(value)] = self.reward(value) + reward

    def update_of(self, parameter: nn.Parameter) -> Tensor:
        if id(parameter) in self.updates:
            return self.updates[id(parameter)]
        (transposed,) = (key for key, stored in self.aliases.items() if stored is parameter)
        return self.updates[transposed].t()

    def then(self, output: Tensor, back) -> Tensor:
        """Remember how ``output`` hands its reward back; nothing arrives at values that nobody uses."""
        self.kept.append(output)
        self.backs.append(lambda: back(self.reward(output)))
        return output

    def walk(self) -> None:
        for back in reversed(self.backs):
            back()

    def normed(self, z: Tensor, reward: Tensor) -> Tensor:
        return reward / (z + self.epsilon * sign(z))

    def linear(self, a: Tensor, w: Tensor, b: Tensor | None = None) -> Tensor:
        """z_j = Σ_i a_i w_ji + b_j over the last dimension, position by position."""
        z = torch.einsum("...i,ji->...j", a, w) + (0 if b is None else b)
        z = z.detach()

        def back(reward):
            normed = self.normed(z, reward)
            self.give(a, a * torch.einsum("...j,ji->...i", normed, w.detach()))
            self.give(w, w.detach().abs() * torch.einsum("...j,...i->ji", normed, a))
            if b is not None:
                self.give(b, b.detach().abs() * normed.reshape(-1, len(b)).sum(0))

        return self.then(z, back)

    def mixture(self, function, *inputs: Tensor) -> Tensor:
        """Any function that mixes values, by its Jacobian."""
        detached = tuple(value.detach() for value in inputs)
        z = function(*detached)

        def back(reward):
            normed, outer = self.normed(z, reward), tuple(range(z.dim()))
            jacobians = torch.autograd.functional.jacobian(function, detached)
            for value, plain, jacobian in zip(inputs, detached, jacobians, strict=True):
                share = torch.tensordot(normed, jacobian, (outer, outer))
                self.give(value, (plain.abs() if isinstance(value, nn.Parameter) else plain) * share)

        return self.then(z, back)

    def add(self, a: Tensor, b: Tensor) -> Tensor:
        z = (a + b).detach()

        def back(reward):
            self.give(a, a * self.normed(z, reward))
            self.give(b, b * self.normed(z, reward))

        return self.then(z, back)

    def activation(self, function, z: Tensor) -> Tensor:
        return self.then(function(z).detach(), lambda reward: self.give(z, reward))

    def times(self, a: Tensor, constant: Tensor) -> Tensor:
        return self.then(a * constant, lambda reward: self.give(a, reward))

    def product(self, a: Tensor, b: Tensor) -> Tensor:
        def back(reward):
            self.give(a, reward / 2)
            self.give(b, reward / 2)

        return self.then(a * b, back)

    def moved(self, function, *inputs: Tensor) -> Tensor:
        """Values are moved and copied; a value's rewards at all its places add up."""

        def back(reward):
            leaves = [value.clone().requires_grad_() for value in inputs]
            for value, arrived in zip(inputs, torch.autograd.grad(function(*leaves), leaves, reward), strict=True):
                self.give(value, arrived)

        return self.then(function(*inputs), back)

    def attention(self, q: Tensor, k: Tensor, v: Tensor, causal: bool) -> Tensor:
        """softmax(q kᵀ / √d) v, query by query. (heads, positions, d); q, k and v have as many heads.

        A fused kernel does not show its scores, so that they are not stabilised; its output is.
        """
        z = torch.zeros_like(q)
        steps = []
        for head in range(q.shape[0]):
            for i in range(q.shape[1]):
                seen = slice(0, i + 1) if causal else slice(None)
                parts = k[head, seen] * q[head, i] / q.shape[-1] ** 0.5
                a = parts.sum(-1).softmax(0)
                z[head, i] = a @ v[head, seen]
                steps.append((head, i, seen, parts, a))

        def back(reward):
            to_q, to_k, to_v = torch.zeros_like(q), torch.zeros_like(k), torch.zeros_like(v)
            for head, i, seen, parts, a in steps:
                normed = self.normed(z[head, i], reward[head, i])
                shares = a[:, None] * v[head, seen] * normed  # of each position and feature in the sum
                to_v[head, seen] += shares / 2
                at_a = shares.sum(-1) / 2
                scores = parts.sum(-1)
                at_scores = scores * (at_a - a * at_a.sum())  # R_x = x · Σ_j ∂a_j/∂x · R_j / a_j
                per_part = parts / scores[:, None] * at_scores[:, None]
                to_q[head, i] += per_part.sum(0) / 2
                to_k[head, seen] += per_part / 2
            for value, share in ((q, to_q), (k, to_k), (v, to_v)):
                self.give(value, share)

        return self.then(z, back)


def heads(tape: Tape, a: Tensor, count: int) -> Tensor:
    return tape.moved(lambda a: a.unflatten(-1, (count, -1)).transpose(0, 1), a)


def joined(tape: Tape, a: Tensor) -> Tensor:
    return tape.moved(lambda a: a.transpose(0, 1).flatten(1), a)


def layer_norm(tape: Tape, a: Tensor, norm: nn.LayerNorm) -> Tensor:
    return tape.mixture(lambda a, w, b: nn.functional.layer_norm(a, w.shape, w, b, norm.eps), a, norm.weight, norm.bias)


def rms_norm(tape: Tape, a: Tensor, w: Tensor, eps: float) -> Tensor:
    return tape.mixture(lambda a, w: w * a * (a.square().mean(-1, keepdim=True) + eps).rsqrt(), a, w)


def rotated(tape: Tape, a: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    half = a.shape[-1] // 2
    turned = torch.cat([-a[..., half:], a[..., :half]], -1)  # moved, and some with the other sign: the reward stays

    def back(reward):
        tape.give(a, torch.cat([reward[..., half:], reward[..., :half]], -1))

    tape.then(turned, back)
    return tape.add(tape.times(a, cos), tape.times(turned, sin))
