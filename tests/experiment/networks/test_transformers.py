"""The transformers by name: they compute what they say, learn by every rule, and say what they cannot take."""

import pytest
import torch
from torch.nn import functional as F

import altprop
from altprop.experiment import InputError, build_model, load_data
from altprop.experiment.networks.names import Shape
from altprop.experiment.networks.transformers import TRANSFORMERS
from altprop.experiment.registry import RULES
from tests.rules.test_lfp import attach_quietly

IMAGE, TEXT = Shape((1, 8, 8), 10), Shape((12,), 96)
TAKES = {"vit-tiny": IMAGE, "gpt-tiny": TEXT}


def inputs(name, size=6):
    torch.manual_seed(0)
    shape = TAKES[name]
    return torch.randn(size, *shape.input) if name == "vit-tiny" else torch.randint(96, (size, *shape.input)).float()


def test_every_transformer_is_tested():
    assert set(TAKES) == set(TRANSFORMERS)


@pytest.mark.parametrize("name", TAKES)
def test_initial_weights_depend_on_the_seed_alone(name):
    torch.manual_seed(1)
    first, before = build_model(name, TAKES[name], activation="gelu", seed=3), torch.get_rng_state()
    torch.manual_seed(2)
    again, other = (build_model(name, TAKES[name], activation="gelu", seed=seed) for seed in (3, 4))
    same = lambda model: all(torch.equal(p, q) for p, q in zip(first.parameters(), model.parameters(), strict=True))  # noqa: E731
    assert same(again)
    assert not same(other)
    torch.manual_seed(1)
    assert torch.equal(torch.get_rng_state(), before)


def test_the_gpt_sees_what_came_before_alone():
    model, text = build_model("gpt-tiny", TEXT), inputs("gpt-tiny")
    changed = text.clone()
    changed[:, 5:] = (changed[:, 5:] + 1) % 96
    with torch.no_grad():
        before, after = (model[:-3](each) for each in (text, changed))
        torch.testing.assert_close(before[:, :5], after[:, :5])
        assert not torch.allclose(before[:, 5:], after[:, 5:])
        assert model(text).shape == (6, 96)


# DRTP would want bounded activations.
@pytest.mark.parametrize("rule", [rule for rule in RULES if rule != "drtp"])
@pytest.mark.parametrize("name", TAKES)
def test_it_learns_by_every_rule(name, rule):
    model, x, y = build_model(name, TAKES[name], activation="gelu"), inputs(name), torch.arange(6)
    attach_quietly(RULES[rule].make(), model)
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
    losses = []
    for _ in range(20):
        optimizer.zero_grad()
        with altprop.targets(y):
            loss = F.cross_entropy(model(x), y)
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < losses[0] - 0.1


@pytest.mark.parametrize("name", TAKES)
def test_every_operation_has_a_rule(name):
    model, rule = build_model(name, TAKES[name]), altprop.LFP(strict=True)
    with attach_quietly(rule, model):
        operations = altprop.inspect(model, inputs(name), rule)
    assert "scaled_dot_product_attention" in {operation.name.split(".")[-1] for operation in operations}
    assert not operations.unknown


@pytest.mark.parametrize(
    ("name", "shape", "message"),
    [
        ("vit-tiny", (40,), "'vit-tiny' takes images of at least 4×4 pixels, .* shape 40"),
        ("vit-tiny", (1, 8, 2), "shape 1×8×2"),
        ("gpt-tiny", (1, 8, 8), "'gpt-tiny' reads text, .* data set 'python-text'"),
    ],
)
def test_what_does_not_fit_is_refused_with_a_remedy(name, shape, message):
    with pytest.raises(InputError, match=message):
        build_model(name, Shape(shape, 10))


def test_batch_norm_is_refused():
    with pytest.raises(InputError, match="'vit-tiny' has layer norms of its own"):
        build_model("vit-tiny", IMAGE, norm="batch")


def test_the_text_is_that_of_pythons_help():
    from pydoc_data.topics import topics  # noqa: PLC0415

    data = load_data("python-text")
    assert data.x_train.shape == (4000, 32)
    assert data.x_test.shape == (1000, 32)
    kinds = [chr(code) for code in range(32, 127)] + ["\n"]
    pages = [topics[name].encode("ascii", "ignore").decode() for name in sorted(topics)]
    for part, x, y in (((0, 1, 2, 3), data.x_train, data.y_train), ((4,), data.x_test, data.y_test)):
        text = "\n\n".join(page for number, page in enumerate(pages) if number % 5 in part)
        for window, following in zip(x[:20].int().tolist(), y[:20].tolist(), strict=True):
            assert "".join(kinds[number] for number in [*window, following]) in text
