"""Layers that a user can build models with."""

from altprop.nn.activations import Sign, Step

__all__ = ["Sign", "Step"]
