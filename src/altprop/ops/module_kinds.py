"""Which class of torch's modules corresponds to which function, and its kind of operation for LRP."""

from __future__ import annotations

from torch import nn

KINDS: dict[str, dict[str, type[nn.Module]]] = {
    "layer": {
        "linear": nn.Linear, "conv1d": nn.Conv1d, "conv2d": nn.Conv2d, "conv3d": nn.Conv3d,
        "conv_transpose1d": nn.ConvTranspose1d, "conv_transpose2d": nn.ConvTranspose2d,
        "conv_transpose3d": nn.ConvTranspose3d,
    },
    "activation": {
        "relu": nn.ReLU, "relu6": nn.ReLU6, "leaky_relu": nn.LeakyReLU, "elu": nn.ELU, "selu": nn.SELU,
        "celu": nn.CELU, "gelu": nn.GELU, "silu": nn.SiLU, "mish": nn.Mish, "hardswish": nn.Hardswish,
        "hardsigmoid": nn.Hardsigmoid, "hardtanh": nn.Hardtanh, "sigmoid": nn.Sigmoid, "tanh": nn.Tanh,
        "softplus": nn.Softplus, "prelu": nn.PReLU, "rrelu": nn.RReLU, "logsigmoid": nn.LogSigmoid,
        "softsign": nn.Softsign, "tanhshrink": nn.Tanhshrink, "hardshrink": nn.Hardshrink,
        "softshrink": nn.Softshrink, "threshold": nn.Threshold, "log_softmax": nn.LogSoftmax,
    },
    "sum": {
        "avg_pool1d": nn.AvgPool1d, "avg_pool2d": nn.AvgPool2d, "avg_pool3d": nn.AvgPool3d,
        "adaptive_avg_pool1d": nn.AdaptiveAvgPool1d, "adaptive_avg_pool2d": nn.AdaptiveAvgPool2d,
        "adaptive_avg_pool3d": nn.AdaptiveAvgPool3d, "lp_pool1d": nn.LPPool1d, "lp_pool2d": nn.LPPool2d,
        "lp_pool3d": nn.LPPool3d, "interpolate": nn.Upsample, "fold": nn.Fold,
    },
    "pool": {
        "max_pool1d": nn.MaxPool1d, "max_pool2d": nn.MaxPool2d, "max_pool3d": nn.MaxPool3d,
        "adaptive_max_pool1d": nn.AdaptiveMaxPool1d, "adaptive_max_pool2d": nn.AdaptiveMaxPool2d,
        "adaptive_max_pool3d": nn.AdaptiveMaxPool3d,
    },
    "normalisation": {
        "batch_norm": nn.modules.batchnorm._BatchNorm, "layer_norm": nn.LayerNorm, "group_norm": nn.GroupNorm,
        "instance_norm": nn.modules.instancenorm._InstanceNorm, "rms_norm": nn.RMSNorm,
        "local_response_norm": nn.LocalResponseNorm,
    },
    "softmax": {"softmax": nn.Softmax},
    "none": {
        "dropout": nn.modules.dropout._DropoutNd, "flatten": nn.Flatten, "unflatten": nn.Unflatten,
        "identity": nn.Identity, "embedding": nn.Embedding, "pixel_shuffle": nn.PixelShuffle,
        "pixel_unshuffle": nn.PixelUnshuffle, "channel_shuffle": nn.ChannelShuffle, "softmin": nn.Softmin,
        "unfold": nn.Unfold, "glu": nn.GLU, "cosine_similarity": nn.CosineSimilarity,
        "pairwise_distance": nn.PairwiseDistance, "pad": nn.modules.padding._ConstantPadNd,
    },
}  # fmt: skip
"""For each kind of operation that a composite can give a rule, and for those that it cannot: function and class."""

CONVOLUTIONS = (nn.Conv1d, nn.Conv2d, nn.Conv3d)
TRANSPOSED_CONVOLUTIONS = (nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d)

CLASSES = {function: cls for kind in KINDS.values() for function, cls in kind.items()}
"""The class of modules that does what a function does."""


def kind_of_class(cls: type) -> str | None:
    """The kind of operation that modules of a class are; ``"none"`` if no rule can be given to it, None if unknown."""
    return next((kind for kind, classes in KINDS.items() if issubclass(cls, tuple(classes.values()))), None)
