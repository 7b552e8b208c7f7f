"""Which output is explained: every way to say it, and the errors for those who say it wrong."""

import pytest
import torch
from torch import nn

import altprop
from altprop.explain.targets import relevance_at


class Outputs(nn.Module):
    """Returns what it makes of a model's output."""

    def __init__(self, change, features=12):
        super().__init__()
        torch.manual_seed(0)
        self.linear, self.change = nn.Linear(3, features, bias=False), change

    def forward(self, x):
        return self.change(self.linear(x))


CLASSES = Outputs(lambda z: z)
TOKENS = Outputs(lambda z: z.view(-1, 4, 3))
SINGLE = Outputs(lambda z: z.sum(1))
COLUMN = Outputs(lambda z: z.sum(1, keepdim=True))
ROWS = Outputs(lambda z: z.unsqueeze(2))
TRANSPOSED = Outputs(lambda z: z.view(-1, 4, 3).transpose(1, 2))
X = torch.randn(3, 3, generator=torch.Generator().manual_seed(1))

WANTED = {
    "int": (CLASSES, 5, [5, 5, 5]),
    "tensor": (CLASSES, torch.tensor([1, 2, 3]), [1, 2, 3]),
    "tensor of one number": (CLASSES, torch.tensor(4), [4, 4, 4]),
    "small integers": (CLASSES, torch.tensor([1, 2, 3], dtype=torch.uint8), [1, 2, 3]),
    "column": (CLASSES, torch.tensor([[1], [2], [3]]), [1, 2, 3]),
    "list": (CLASSES, [1, 2, 3], [1, 2, 3]),
    "tuple, one for each": (CLASSES, (1, 2, 3), [1, 2, 3]),
    "tuple, one index": (CLASSES, (7,), [7, 7, 7]),
    "list of tuples of one": (CLASSES, [(1,), (2,), (3,)], [1, 2, 3]),
    "indices": (TOKENS, (2, 1), [7, 7, 7]),
    "indices for each": (TOKENS, [(0, 1), (3, 2), (1, 0)], [1, 11, 3]),
    "tensor of indices": (TOKENS, torch.tensor([[0, 1], [3, 2], [1, 0]]), [1, 11, 3]),
    "transposed output": (TRANSPOSED, (1, 2), [6, 6, 6]),
    "one output": (COLUMN, 0, [0, 0, 0]),
}


@pytest.mark.parametrize("model, target, positions", WANTED.values(), ids=WANTED)
def test_targets_name_an_output_of_each_example(model, target, positions):
    output = model(X)
    seed = relevance_at(output, target, "value")
    rows = torch.arange(3)
    assert seed.count_nonzero() == 3
    torch.testing.assert_close(seed.reshape(3, -1)[rows, positions], output.reshape(3, -1)[rows, positions])
    assert relevance_at(output, target, "one").equal((seed != 0).float())
    R, delta = altprop.LRP(model, "epsilon").attribute(X, target, return_convergence_delta=True)
    torch.testing.assert_close(R.sum(1) + delta, output.reshape(3, -1)[rows, positions])


@pytest.mark.parametrize("model", [CLASSES, TOKENS, TRANSPOSED, COLUMN, SINGLE])
def test_without_a_target_the_largest_output_is_explained(model):
    output = model(X).detach().reshape(3, -1)
    seed = relevance_at(model(X), None, "value").reshape(3, -1)
    torch.testing.assert_close(seed.sum(1), output.max(1).values)
    R, delta = altprop.LRP(model, "epsilon").attribute(X, return_convergence_delta=True)
    assert delta.shape == (3,)
    torch.testing.assert_close(R.sum(1) + delta, output.max(1).values)


@pytest.mark.parametrize("model", [CLASSES, TOKENS, TRANSPOSED, COLUMN, SINGLE])
def test_floats_of_the_outputs_shape_are_the_relevance_to_start_with(model):
    R = torch.randn_like(model(X)).detach()
    assert relevance_at(model(X), R.double(), "value").equal(R)
    one, other = (altprop.LRP(model, "epsilon").attribute(X, part) for part in (R, 2 * R))
    torch.testing.assert_close(2 * one, other)


def test_targets_of_hugging_face_and_of_tuples_are_their_logits():
    class Named(dict):
        pass

    x = torch.randn(2, 3)
    plain = altprop.LRP(CLASSES, "epsilon").attribute(x, target=1)
    for wrap in (
        lambda z: (z, "more"),
        lambda z: [z],
        lambda z: {"loss": None, "logits": z},
        lambda z: Named(logits=z),
    ):
        assert altprop.LRP(Outputs(wrap), "epsilon").attribute(x, target=1).equal(plain)


EQUAL = {
    "the last class": (CLASSES, -1, 11),
    "one for each example": (CLASSES, [-1, 0, -12], [11, 0, 0]),
    "a tensor of them": (CLASSES, torch.tensor([-1, 0, -12]), [11, 0, 0]),
    "the last position": (TOKENS, (-1, 1), (3, 1)),
    "the last of both": (TOKENS, (-1, -1), (3, 2)),
    "a list of tuples": (TOKENS, [(-1, 0), (0, -1), (1, 1)], [(3, 0), (0, 2), (1, 1)]),
    "one element left": (ROWS, -1, (11, 0)),
    "one element left, for each example": (ROWS, [-1, 2, 0], [(11, 0), (2, 0), (0, 0)]),
    "one element left of a tuple": (ROWS, (3,), (3, 0)),
}


@pytest.mark.parametrize("model, target, same", EQUAL.values(), ids=EQUAL)
def test_indices_count_from_the_end_and_may_leave_one_element(model, target, same):
    output = model(X)
    assert relevance_at(output, target, "value").equal(relevance_at(output, same, "value"))
    found, right = (altprop.LRP(model, "epsilon").attribute(X, given) for given in (target, same))
    assert found.equal(right)


MISTAKEN = {
    "out of range": (CLASSES, 12, "target 12 is out of range: the model has 12 outputs, numbered from 0"),
    "negative": (CLASSES, -20, "target -20 is out of range"),
    "out of range in one example": (CLASSES, [1, 99, 2], "target 99 is out of range"),
    "out of range in a dimension": (TOKENS, (1, 3), "target 3 is out of range: the model has 3 outputs in dimension 2"),
    "too few": (CLASSES, [1, 2], "does not fit an output of shape .3, 12.: give one index, or one for each of the 3"),
    "too many": (CLASSES, torch.zeros(4, dtype=torch.long), "does not fit an output of shape"),
    "one index of two": (TOKENS, 1, "each a tuple of 2 indices"),
    "three indices of two": (TOKENS, (1, 1, 1), "each a tuple of 2 indices"),
    "floats of another shape": (CLASSES, torch.zeros(3), "at the output, of its shape .3, 12.; got .3,."),
    "a list of floats": (CLASSES, [1.0, 2.0, 3.0], "is no index: class indices are integers"),
    "booleans": (CLASSES, torch.tensor([True, False, True]), "class indices are integers"),
    "a word": (CLASSES, "cat", "neither an index nor a list or tensor of them"),
    "an index where there is one output": (SINGLE, 0, "one number for each example: it is explained with target=None"),
}


@pytest.mark.parametrize("model, target, message", MISTAKEN.values(), ids=MISTAKEN)
def test_targets_that_do_not_fit_are_explained(model, target, message):
    with pytest.raises(ValueError, match=message):
        altprop.LRP(model, "epsilon").attribute(X, target)


@pytest.mark.parametrize(
    "wrong", [lambda z: "text", lambda z: (), lambda z: z.sum(), lambda z: z.argmax(1), lambda z: {}]
)
def test_outputs_that_cannot_be_explained_are_an_error(wrong):
    with pytest.raises(TypeError, match="LRP explains a model that returns a float tensor of shape"):
        altprop.LRP(Outputs(wrong), "epsilon").attribute(X)
