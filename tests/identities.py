"""Identities of every form: where one is put changes nothing but what an interceptor gets to see."""

import copy
import warnings
from dataclasses import dataclass

import torch
from torch import Tensor, nn


class Same(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        return x.view_as(x)

    @staticmethod
    def backward(ctx, g):
        return g


class Copy(Same):
    @staticmethod
    def forward(ctx, x):
        return x.clone()


class Hooked(nn.Module):
    """Has a backward hook that does nothing."""

    def __init__(self):
        super().__init__()
        self.register_full_backward_hook(lambda *_: None)

    def forward(self, x):
        return x


@dataclass
class Held:
    value: Tensor


class Apply(nn.Module):
    """A function, or another module, as a module; hooks are its own."""

    def __init__(self, function):
        super().__init__()
        self.function = copy.deepcopy(function) if isinstance(function, nn.Module) else function

    def forward(self, x):
        return self.function(x)


class HeldInside(nn.Module):
    """Its inner module returns a dataclass."""

    def __init__(self):
        super().__init__()
        self.inner = Apply(Held)

    def forward(self, x):
        return self.inner(x).value


def script(function):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        return torch.jit.script(function)


@script
def script_of_a_view(x: Tensor) -> Tensor:
    return x.view(x.shape)


def scripted_view(x):
    return script_of_a_view(x)


def with_tensor_hook(x):
    if x.requires_grad:
        x.register_hook(lambda g: None)
    return x


IDENTITIES = {
    "function": Same.apply,
    "copying function": Copy.apply,
    "function twice": lambda x: Same.apply(Same.apply(x)),
    "hook": Hooked(),
    "hook within hook": nn.Sequential(Hooked(), Hooked()),
    "tensor hook": with_tensor_hook,
    "view_as": lambda x: x.view_as(x),
    "x + 0": lambda x: x + 0,
    "0 + x": lambda x: sum([x]),
    "x - 0.0": lambda x: x - 0.0,
    "x * 1": lambda x: x * 1,
    "x / 1": lambda x: x / 1.0,
    "x ** 1": lambda x: x**1,
    "copy += 0": lambda x: x.clone().add_(0),
    "in place copy": lambda x: torch.empty_like(x).copy_(x),
    "dataclass": lambda x: Held(x).value,
    "dataclass of a module": HeldInside(),
    "chunks": lambda x: torch.cat(x.chunk(2, -1), -1),
    "stack": lambda x: torch.stack([x])[0],
    "script": scripted_view,
    "2 x / 2": lambda x: (2 * x) / 2,
}
