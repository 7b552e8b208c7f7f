"""Every module in torch's own database: the same values, and handed back what the law of its operations says."""

import itertools

import pytest
import torch
from torch.testing._internal.common_modules import module_db

from tests.ops import operators
from tests.ops.test_operator_database import tried

MODULES = {info.name: info for info in module_db}

# Torch's samples call what torch itself warns of.
pytestmark = pytest.mark.filterwarnings("ignore")


def samples(info):
    """The first two calls of a module in evaluation mode, of which the first tensor is explained."""
    torch.manual_seed(0)
    try:
        inputs = info.module_inputs_func(info, device="cpu", dtype=torch.float64, requires_grad=True, training=False)
    except (NotImplementedError, RuntimeError):
        return
    for made in itertools.islice(inputs, 3):
        module = info.module_cls(*made.constructor_input.args, **made.constructor_input.kwargs).double().eval()
        given = made.forward_input
        if given is not None and (sample := operators.from_call(module, given.args, given.kwargs, first=True)):
            yield sample


@pytest.mark.parametrize("rule", ["lrp", "lfp"])
def test_each_module_obeys_the_law_of_its_operations_or_names_what_has_no_rule(rule):
    faults, count = [], 0
    for name, info in MODULES.items():
        for sample in samples(info):
            count += 1
            try:
                fault, _ = tried(sample, rule, None)
            except Exception as error:  # plain torch has run it
                fault = f"{type(error).__name__}: {error}"[:200]
            if fault:
                faults.append(f"{name}: {fault}")
    assert not faults, "\n".join(faults)
    assert count > 150
