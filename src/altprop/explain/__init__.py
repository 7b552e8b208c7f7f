"""Layer-wise relevance propagation: rules, composites of rules, and the analysis of relevances.

All that is imported here needs torch alone. Pictures (``altprop.explain.heatmap``) and attributors
(``altprop.explain.attributors``) are modules of their own, with the extra ``altprop[explain]``.
"""

from altprop.explain import composites
from altprop.explain.composites import COMPOSITES, CONVOLUTIONS, LAYERS, Composite, both, first, last
from altprop.explain.conservation import Conservation, LayerConservation
from altprop.explain.evaluation import FlippingCurves, pixel_flipping, quantus_explain_func
from altprop.explain.gradient_rules import BetaSmooth, DeconvNet, GuidedBackprop, PatternAttribution, PatternNet
from altprop.explain.input_rules import Flat, WSquare, ZBox
from altprop.explain.lrp import LRP
from altprop.explain.patterns import Patterns, fit_patterns
from altprop.explain.ranking import rank_channels, rank_weights
from altprop.explain.rules import (
    ActivationRule,
    AlphaBeta,
    Average,
    Epsilon,
    Gamma,
    LayerRule,
    Norm,
    Pass,
    RelevanceRule,
    Winner,
    ZPlus,
)
from altprop.ops.lrp.layer import Layer

__all__ = [
    "COMPOSITES",
    "CONVOLUTIONS",
    "LAYERS",
    "LRP",
    "ActivationRule",
    "AlphaBeta",
    "Average",
    "BetaSmooth",
    "Composite",
    "Conservation",
    "DeconvNet",
    "Epsilon",
    "Flat",
    "FlippingCurves",
    "Gamma",
    "GuidedBackprop",
    "Layer",
    "LayerConservation",
    "LayerRule",
    "Norm",
    "Pass",
    "PatternAttribution",
    "PatternNet",
    "Patterns",
    "RelevanceRule",
    "WSquare",
    "Winner",
    "ZBox",
    "ZPlus",
    "both",
    "composites",
    "first",
    "fit_patterns",
    "last",
    "pixel_flipping",
    "quantus_explain_func",
    "rank_channels",
    "rank_weights",
]
