"""Every rule on transformers as they are: they learn, come off without a trace, and explain afterwards."""

import pytest
import torch
from torch.nn import functional as F

import altprop
from tests.rules.test_lfp import attach_quietly
from tests.tiny_transformers import LANGUAGE, VISION, batch, logits_of, make

MODELS = [*VISION, "gpt2", "llama", "llama-tied"]
RULES = {
    "lfp": altprop.LFP(),
    "fa": altprop.FeedbackAlignment(seed=0),
    "sign-symmetric": altprop.SignSymmetric(seed=0),
    "dfa": altprop.DFA(seed=0),
}


def fresh(name):
    """A model with the initial weights of its package's layers, and eight examples to learn by heart."""
    model, inputs = make(name), batch(name, 8)
    torch.manual_seed(0)
    for module in model.modules():
        if hasattr(module, "reset_parameters"):
            module.reset_parameters()
    return model, inputs


def loss_of(model, inputs):
    logits = logits_of(model(**inputs))
    if "input_ids" not in inputs:
        return F.cross_entropy(logits, torch.arange(8))
    return F.cross_entropy(logits[:, :-1].flatten(0, 1), inputs["input_ids"][:, 1:].flatten())


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("name", MODELS)
def test_the_model_learns_by_the_rule(name, rule):
    model, inputs = fresh(name)
    with attach_quietly(RULES[rule], model):
        optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
        losses = []
        for _ in range(60):
            optimizer.zero_grad()
            loss = loss_of(model, inputs)
            loss.backward()
            optimizer.step()
            losses.append(loss.item())
    assert losses[-1] < losses[0] - 0.1


@pytest.mark.parametrize("rule", ["fa", "sign-symmetric", "dfa"])
@pytest.mark.parametrize("name", MODELS)
def test_remove_restores_the_model_bit_for_bit(name, rule):
    model, inputs = make(name).eval(), batch(name, 8)
    classes = [type(module) for module in model.modules()]
    before = {key: value.clone() for key, value in model.state_dict().items()}
    with torch.no_grad():
        output = logits_of(model(**inputs))
    with RULES[rule].attach(model):
        loss_of(model, inputs).backward()
        with torch.no_grad():
            assert torch.equal(logits_of(model(**inputs)), output)
    assert [type(module) for module in model.modules()] == classes
    with torch.no_grad():
        assert torch.equal(logits_of(model(**inputs)), output)
    assert before.keys() == model.state_dict().keys()
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())


@pytest.mark.parametrize("name", ["gpt2", "llama"])
def test_dfa_finds_the_output_of_a_model_that_computes_its_own_loss(name):
    model, inputs = make(name), batch(name)
    inputs["labels"] = inputs["input_ids"]
    with altprop.DFA(seed=0).attach(model), pytest.raises(ValueError, match="Name the module"):
        model(**inputs)
    with altprop.DFA(seed=0, output="lm_head").attach(model):
        model(**inputs).loss.backward()
    assert all(parameter.grad is not None for parameter in model.parameters())


@pytest.mark.parametrize("name", LANGUAGE)
def test_lrp_gives_a_relevance_to_every_token(name):
    """By AttnLRP, for a model on which a rule is attached too: LRP explains the plain model."""
    model, inputs = make(name), batch(name)
    explanation = altprop.LRP(model, "attn_lrp", strict=True)
    relevance = explanation.attribute(inputs, target=(3, 5))["input_ids"]
    assert relevance.shape == inputs["input_ids"].shape
    assert relevance[:, :4].any()
    assert not relevance[:, 4:].any(), "what comes later has no part in it"
    with attach_quietly(altprop.LFP(), model):
        torch.testing.assert_close(explanation.attribute(inputs, target=(3, 5))["input_ids"], relevance)


@pytest.mark.parametrize("name", VISION)
def test_lrp_gives_a_relevance_to_every_pixel(name):
    model, (image,) = make(name), batch(name).values()
    relevance = altprop.LRP(model, "attn_lrp", strict=True).attribute(image, target=2)
    assert relevance.shape == image.shape
    assert relevance.isfinite().all()
    assert relevance.any()
