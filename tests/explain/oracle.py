"""LRP's rules once more, slowly: from a layer's dense matrix, contribution by contribution, in double precision."""

import copy

import torch

from altprop.explain import AlphaBeta, Epsilon, Flat, Gamma, Norm, PatternAttribution, PatternNet, WSquare, ZBox, ZPlus


def dense(layer, weight, sizes):
    """The matrix (outputs, inputs) of a layer with another weight and no bias: what it makes of unit vectors."""
    twin = copy.deepcopy(layer)
    twin.weight.data = weight.detach().clone()
    twin.bias = None
    units = torch.eye(int(torch.Size(sizes).numel()), dtype=torch.float64)
    with torch.no_grad():
        return twin(units.view(-1, *sizes)).flatten(1).T


def stabilised(z, epsilon):
    return z + epsilon * torch.where(z < 0, -1.0, 1.0)


def relevance(rule, layer, x, R):
    """What ``rule`` hands back to the inputs ``x`` (batch, ...) of ``layer`` from its outputs' relevance ``R``."""
    return _Oracle(rule, layer, x, R).relevance().view_as(x)


class _Oracle:
    def __init__(self, rule, layer, x, R):
        self.rule, self.layer, self.R = rule, layer, R.flatten(1)
        self.sizes = x.shape[1:]
        self.x = x.flatten(1)
        self.w = layer.weight.detach()
        with torch.no_grad():
            zero = layer(torch.zeros_like(x))[:1].flatten(1)
        self.has_bias = layer.bias is not None and getattr(rule, "bias", "absorb") != "ignore"
        self.b = zero if self.has_bias else torch.zeros_like(zero)
        # How many of a neuron's connections lead to each input: several where a circular padding shows it twice.
        self.connections = self.dense(torch.ones_like(self.w))
        self.z = layer(x).detach().flatten(1)

    def dense(self, weight):
        return dense(self.layer, weight, self.sizes)

    def relevance(self):
        rule = self.rule
        if isinstance(rule, Epsilon | Norm):
            return self.shared(self.contributions(), self.b)
        if isinstance(rule, ZPlus):
            return self.shared(self.contributions("+"), self.b.clamp(min=0))
        if isinstance(rule, AlphaBeta):
            plus = self.shared(self.contributions("+"), self.b.clamp(min=0))
            minus = self.shared(self.contributions("-"), self.b.clamp(max=0))
            return rule.alpha * plus - rule.beta * minus
        if isinstance(rule, Gamma):
            return self.gamma("+", self.z > 0) + self.gamma("-", self.z < 0)
        if isinstance(rule, ZBox):
            return self.box()
        if isinstance(rule, WSquare):
            shares = self.dense(self.w**2)[None]
            return self.shared(shares, self.layer(torch.zeros(1, *self.sizes).double()).detach().flatten(1) ** 2)
        if isinstance(rule, Flat):
            return self.shared(self.connections[None], torch.zeros_like(self.b))
        if isinstance(rule, PatternNet):
            return self.R @ self.dense(rule.patterns["layer"])
        assert isinstance(rule, PatternAttribution)
        return self.R @ self.dense(self.w * rule.patterns["layer"])

    def contributions(self, sign=""):
        """(batch, outputs, inputs): x_i w_ij, or their positive or negative parts."""
        x, w = self.x[:, None], self.w
        if not sign:
            return x * self.dense(w)
        same, other = (w.clamp(min=0), w.clamp(max=0)) if sign == "+" else (w.clamp(max=0), w.clamp(min=0))
        return x.clamp(min=0) * self.dense(same) + x.clamp(max=0) * self.dense(other)

    def shared(self, shares, bias, R=None):
        """R_i = Σ_j share_ij / (Σ_i share_ij + bias_j) R_j, and what the rule says of the bias's own share."""
        R = self.R if R is None else R
        s = R / stabilised(shares.sum(2) + bias, self.rule.epsilon)
        if getattr(self.rule, "bias", "absorb") == "redistribute":
            fan_in = self.connections.sum(1).clamp(min=1)
            shares = shares + bias[..., None] * self.connections / fan_in[:, None]
        return (shares * s[..., None]).sum(1)

    def gamma(self, sign, where):
        gamma, b = self.rule.gamma, self.b
        part = b.clamp(min=0) if sign == "+" else b.clamp(max=0)
        return self.shared(self.contributions() + gamma * self.contributions(sign), b + gamma * part, self.R * where)

    def box(self):
        low, high = (
            torch.as_tensor(bound, dtype=torch.float64).expand(1, *self.sizes).flatten(1)[:, None]
            for bound in (self.rule.low, self.rule.high)
        )
        plus, minus = self.dense(self.w.clamp(min=0)), self.dense(self.w.clamp(max=0))
        return self.shared(self.contributions() - low * plus - high * minus, torch.zeros_like(self.b))
