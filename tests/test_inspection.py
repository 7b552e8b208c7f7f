"""altprop.inspect lists what will happen, and changes nothing."""

import re

import pytest
import torch
from torch import nn
from torch.nn import functional as F

import altprop
from altprop.explain.rules import RelevanceRule
from altprop.ops.lfp.neurons import NEURON_RULES
from altprop.ops.lfp.table import LFP_TABLE, MODULE_RULES
from altprop.ops.lfp.updates import gamma_sum, hebbian_sum, oja_sum
from altprop.ops.lrp.in_place import fallback
from altprop.ops.lrp.table import LRP_TABLE


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.convolution, self.norm = nn.Conv2d(1, 3, 3), nn.BatchNorm2d(3)
        self.block = nn.Sequential(nn.Dropout(0.5), nn.Flatten(), nn.Linear(48, 4))
        nn.init.normal_(self.norm.bias)

    def forward(self, x, *, scale=1.0):
        x = F.relu(self.norm(self.convolution(x)))
        return torch.atan2(torch.tanh(self.block(x) * scale), torch.ones(()))


def short(inspection):
    return [(o.module, o.name.rsplit(".", 1)[-1], o.rule, o.known) for o in inspection]


def test_every_operation_is_listed_with_its_module_and_rule():
    found = altprop.inspect(Net(), torch.randn(2, 1, 6, 6), altprop.LFP())
    assert short(found) == [
        ("convolution", "conv2d", "weighted_sum", True),
        ("norm", "batch_norm", "normalisation", True),
        ("", "relu", "move", True),
        ("block.0", "dropout", "dropout", True),
        ("block.1", "flatten", "move", True),
        ("block.2", "linear", "weighted_sum", True),
        ("", "mul", "elementwise_product", True),
        ("", "tanh", "activation", True),
        ("", "atan2", "gradient", False),
    ]
    assert [operation.name for operation in found.unknown] == ["torch.atan2"]
    text = str(found)
    assert "! gradient" in text
    assert "1 of 9 operations have no rule" in text


@pytest.mark.parametrize("rule", [altprop.LFP(strict=True), altprop.Backprop(), altprop.Shallow()], ids=repr)
@pytest.mark.parametrize("inputs", [(torch.randn(2, 1, 6, 6),), {"x": torch.randn(2, 1, 6, 6), "scale": 2.0}], ids=type)
def test_inspecting_leaves_the_model_and_the_random_state_alone(rule, inputs):
    model = Net()
    before = {key: value.clone() for key, value in model.state_dict().items()}
    random_state = torch.get_rng_state()
    found = altprop.inspect(model, inputs, rule)
    assert len(found) == 9
    assert type(model) is Net
    assert altprop.Attachment.of(model) is None
    assert torch.equal(torch.get_rng_state(), random_state)
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in model.modules())


def test_a_rule_without_a_table_lists_plain_gradients():
    found = altprop.inspect(Net(), torch.randn(2, 1, 6, 6), altprop.Backprop())
    assert {operation.rule for operation in found} == {"gradient"}
    assert not found.unknown


def test_an_attached_model_can_be_inspected_for_its_own_rule_only():
    model = Net()
    with altprop.LFP().attach(model) as attachment:
        assert len(altprop.inspect(model, torch.randn(2, 1, 6, 6), altprop.LFP())) == 9
        assert attachment.active
        assert attachment.observer is None
        with pytest.raises(ValueError, match=r"LFP\(\) is attached"):
            altprop.inspect(model, torch.randn(2, 1, 6, 6), altprop.Backprop())


def test_lrp_shows_the_rule_of_each_layer_and_what_has_none():
    model = nn.Sequential(nn.Conv2d(1, 2, 3), nn.ReLU(), nn.Flatten(), nn.Linear(8, 2), _Angle())
    lrp = altprop.LRP(model, "epsilon_plus_flat")
    found = altprop.inspect(model, torch.randn(1, 1, 4, 4), lrp)
    named = [(o.module, o.name.rpartition(".")[2], o.rule.partition("(")[0], o.known) for o in found]
    assert named == [
        ("0", "conv2d", "Flat", True),
        ("1", "relu", "pass", True),
        ("2", "flatten", "move", True),
        ("3", "linear", "Epsilon", True),
        ("4", "atan2", "gradient", False),
    ]
    assert all(o.summary for o in found)


RULES_OF_OPERATIONS = {
    *LFP_TABLE.values(), *MODULE_RULES.values(), *NEURON_RULES.values(), *LRP_TABLE.values(), fallback,
    gamma_sum, hebbian_sum, oja_sum,
}  # fmt: skip
RULES_OF_LAYERS = {
    rule for rule in vars(altprop.explain).values() if isinstance(rule, type) and issubclass(rule, RelevanceRule)
}


def test_what_a_rule_does_is_a_plain_sentence():
    """inspect prints the first line of a rule's docstring: a sentence, without the markup of documentation pages."""
    summaries = {str(rule.__doc__).partition("\n")[0] for rule in RULES_OF_OPERATIONS | RULES_OF_LAYERS}
    assert not {line for line in summaries if not line.endswith(".") or re.search(r":\w+:`|``|\*reward\*", line)}


def test_the_lrp_of_another_model_is_refused():
    with pytest.raises(ValueError, match="another model"):
        altprop.inspect(nn.Linear(2, 2), torch.randn(1, 2), altprop.LRP(nn.Linear(2, 2)))


class _Angle(nn.Module):
    def forward(self, x):
        return torch.atan2(x, torch.ones(()))
