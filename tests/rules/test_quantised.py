"""Layers whose weights are codes are refused when a rule is attached, by every rule but backprop."""

import pytest
import torch
from torch import nn

import altprop
from altprop._quantised import quantised_layers

RULES = [
    altprop.LFP(),
    altprop.FeedbackAlignment(),
    altprop.SignSymmetric(),
    altprop.KolenPollack(),
    altprop.DFA(),
    altprop.DRTP(),
    altprop.LocalLoss(),
    altprop.Shallow(),
]


class Codes(nn.Module):
    """A linear layer as a package for quantisation has it: a weight of codes, under the name that it uses."""

    def __init__(self, name, codes):
        super().__init__()
        self.bias = nn.Parameter(torch.zeros(3))
        if isinstance(codes, nn.Parameter):
            self.register_parameter(name, codes)
        else:
            self.register_buffer(name, codes)


def with_state():
    """As bitsandbytes has them until they are moved to a GPU: still of floats, but about to become codes."""
    weight = nn.Parameter(torch.zeros(3, 2))
    weight.quant_state = None
    return weight


LAYERS = {
    "int8-parameter": Codes("weight", nn.Parameter(torch.zeros(3, 2, dtype=torch.int8), requires_grad=False)),
    "packed-4-bit": Codes("weight", nn.Parameter(torch.zeros(3, dtype=torch.uint8), requires_grad=False)),
    "packed-int32": Codes("qweight", torch.zeros(3, dtype=torch.int32)),
    "float8": Codes("weight", torch.zeros(3, 2).to(torch.float8_e4m3fn)),
    "quantisation-state": Codes("weight", with_state()),
    "torch.ao": type("Linear", (nn.Module,), {"__module__": "torch.ao.nn.quantized.dynamic.modules.linear"})(),
}


@pytest.mark.parametrize("layer", LAYERS.values(), ids=LAYERS)
@pytest.mark.parametrize("rule", RULES, ids=lambda rule: type(rule).__name__)
def test_quantised_layers_are_refused_by_name(rule, layer):
    model = nn.Sequential(nn.Linear(2, 2), layer, nn.Linear(3, 2))
    with pytest.raises(ValueError, match=rf"1 \({type(layer).__name__}\) is quantised.*bfloat16"):
        rule.attach(model)
    assert altprop.Attachment.of(model) is None
    assert type(model[0]) is nn.Linear


def test_what_torch_quantises_is_refused():
    """The real thing: its layers hold neither a parameter nor a buffer for the weight."""
    pytest.importorskip("torch.ao.nn.quantized.dynamic")
    if "fbgemm" not in torch.backends.quantized.supported_engines:
        pytest.skip("this build of torch cannot quantise")
    import warnings  # noqa: PLC0415

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = torch.ao.quantization.quantize_dynamic(nn.Sequential(nn.Linear(2, 3), nn.Linear(3, 2)))
    with pytest.raises(ValueError, match=r"0 .* is quantised, and 1 more of its layers"):
        altprop.LFP().attach(model)


def test_backprop_takes_them():
    with altprop.Backprop().attach(nn.Sequential(LAYERS["int8-parameter"])) as attachment:
        assert attachment.active


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16, torch.float16, torch.complex64])
def test_numbers_are_not_codes(dtype):
    assert not quantised_layers(nn.Sequential(nn.Linear(2, 2, dtype=dtype), nn.Embedding(3, 2, dtype=dtype)))
