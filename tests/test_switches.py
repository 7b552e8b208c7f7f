"""An interrupt at any line leaves none of torch's switches as altprop set it for a time."""

import warnings

import pytest
import torch
from torch import nn
from torch.nn import functional as F

import altprop
from altprop import _switches
from altprop.explain.attributors import IntegratedGradients, Occlusion
from altprop.explain.evaluation import pixel_flipping
from tests.failures import interrupts_of


def switches():
    depth = torch.autocast_increment_nesting() - 1
    torch.autocast_decrement_nesting()
    return {
        "gradients": torch.is_grad_enabled(),
        "inference": torch.is_inference_mode_enabled(),
        "autocast": torch.is_autocast_enabled("cpu"),
        "depth of autocast": depth,
        "modes": torch._C._len_torch_function_stack(),
        "functions": torch._C._is_torch_function_enabled(),
        "warnings": list(warnings.filters),
    }


def net():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(4, 6), nn.ReLU(), nn.Linear(6, 3))


def batches():
    return [(torch.ones(2, 4), torch.arange(2))]


def compared(model):
    with altprop.DFA(seed=0).attach(model):
        altprop.measure.compare_with_backprop(model, F.cross_entropy, batches())


X = torch.linspace(-1, 1, 8).view(2, 4)
UNDER_GRADIENTS = {
    "patterns": lambda model: altprop.fit_patterns(model, batches(), positive=True, progress=iter),
    "flipping": lambda model: pixel_flipping(model, X, altprop.LRP(model), steps=2),
    "flipping, function": lambda model: pixel_flipping(model, X, lambda x, target: x * x.requires_grad_(), steps=2),
    "occlusion": lambda model: Occlusion(model).attribute(X),
    "integrated gradients": lambda model: IntegratedGradients(model).attribute(X, n_steps=2),
    "reward": lambda model: altprop.rewards.Softmax()(model(X), torch.arange(2)).backward(),
}
UNDER_NO_GRAD = {
    "attribute": lambda model: altprop.LRP(model).attribute(X),
    "inspect": lambda model: altprop.inspect(model, X, altprop.LFP()),
    "compared": compared,
}


@pytest.mark.parametrize(
    ("use", "on"),
    [(use, True) for use in UNDER_GRADIENTS.values()] + [(use, False) for use in UNDER_NO_GRAD.values()],
    ids=[*UNDER_GRADIENTS, *UNDER_NO_GRAD],
)
def test_an_interrupt_leaves_every_switch_as_it_was(use, on):
    use(net())  # what happens only once is not looked at
    count = 0
    with torch.set_grad_enabled(on):
        before = switches()
        for _, place in interrupts_of(net, use):
            assert switches() == before, place
            count += 1
    assert count > 10


def test_a_decorated_function_runs_under_its_switch_and_hands_back_the_old_one():
    for on in (True, False):
        with torch.set_grad_enabled(on):
            assert not _switches.without_gradients(torch.is_grad_enabled)()
            assert _switches.with_gradients(torch.is_grad_enabled)()
            assert torch.is_grad_enabled() is on
    with torch.autocast("cpu"):
        assert not _switches.without_autocast("cpu", torch.is_autocast_enabled)("cpu")
        assert torch.is_autocast_enabled("cpu")


def test_seeded_draws_are_those_of_the_seed_and_leave_the_generator_alone():
    torch.manual_seed(7)
    expected = torch.rand(3)
    torch.manual_seed(1)
    state = torch.get_rng_state()
    assert torch.equal(_switches.seeded(7, torch.rand)(3), expected)
    assert torch.equal(torch.get_rng_state(), state)
