"""The relevance of weights and channels over a data set."""

import pytest
import torch
from torch import nn

import altprop
from altprop.explain import composites, rank_channels, rank_weights


def network():
    torch.manual_seed(0)
    layers = [nn.Conv2d(2, 4, 3, stride=2, padding=1), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(36, 3)]
    model = nn.Sequential(*layers).double().eval()
    model[1].running_mean.normal_()
    model[1].running_var.uniform_(0.5, 2.0)
    return model


def data(batches=(4, 3)):
    torch.manual_seed(1)
    return [(torch.randn(n, 2, 5, 5, dtype=torch.float64), torch.arange(n) % 3) for n in batches]


def test_a_weights_relevance_is_its_share_of_each_output():
    """R_w = Σ x_i w_ij R_j / z_j, as a loop over examples, outputs and inputs of the last layer."""
    model, ((x, y),) = network(), data((4,))
    lrp = altprop.LRP(model, "epsilon")
    found = lrp.weight_relevance(x, y)["4.weight"]
    hidden, weight = model[:4](x).detach(), model[4].weight.detach()
    expected = torch.zeros_like(weight)
    for a, target, output in zip(hidden, y, model(x).detach(), strict=True):
        for i in range(36):
            z = output[target]
            expected[target, i] += a[i] * weight[target, i] * z / (z + 1e-6 * z.sign())
    torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-12)


def test_weights_and_biases_share_all_that_their_layer_receives():
    """With the batch norm folded in, which has a bias of its own."""
    model, ((x, y),) = network(), data((4,))
    lrp = altprop.LRP(model, composites.epsilon(1e-12))
    of_weights = lrp.weight_relevance(x, y)
    books = {record.module: record for record in lrp.conservation(x, y)}
    for name in ("0", "4"):
        shared = float(of_weights[f"{name}.weight"].sum()) + books[name].biases
        assert shared == pytest.approx(books[name].received, rel=1e-5)


def test_layers_used_twice_add_up():
    torch.manual_seed(0)
    shared = nn.Linear(4, 4, bias=False).double()
    model = nn.Sequential(shared, nn.ReLU(), shared, nn.ReLU(), nn.Linear(4, 2, bias=False).double())
    x = torch.randn(3, 4, dtype=torch.float64)
    lrp = altprop.LRP(model, composites.epsilon(1e-12, stabiliser=1e-12))
    explained = model(x).detach()[:, 1].sum()
    assert float(lrp.weight_relevance(x, 1)["0.weight"].sum()) == pytest.approx(2 * float(explained), rel=1e-5)


def test_ranking_is_the_mean_over_examples_in_any_batches():
    lrp = altprop.LRP(network(), "epsilon_plus")
    batches = data()
    everything = [(torch.cat([x for x, _ in batches]), torch.cat([y for _, y in batches]))]
    for rank in (rank_weights, rank_channels):
        split, whole = rank(lrp, batches), rank(lrp, everything)
        assert split.keys() == whole.keys() == ({"0.weight", "4.weight"} if rank is rank_weights else {"0", "4"})
        for name in split:
            torch.testing.assert_close(split[name], whole[name], rtol=1e-9, atol=1e-12)


def test_channels_have_the_relevance_of_the_trace():
    lrp = altprop.LRP(network(), "epsilon_plus")
    batches = data((4,))
    traced = lrp.trace(*batches[0])
    ranked = rank_channels(lrp, batches)
    torch.testing.assert_close(ranked["0"], traced["0"].sum((0, 2, 3)) / 4)
    torch.testing.assert_close(ranked["4"], traced["4"].sum(0) / 4)


def test_pruning_by_it_harms_less_than_pruning_what_matters_most():
    """On a network of which half of the hidden neurons do nothing that matters."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 2)).double()
    with torch.no_grad():
        model[2].weight[:, 4:] *= 1e-3
    x = torch.randn(50, 6, dtype=torch.float64)
    relevance = rank_channels(altprop.LRP(model, "epsilon"), [(x, model(x).argmax(1))])["0"].abs()
    assert set(relevance.argsort()[:4].tolist()) == {4, 5, 6, 7}


def test_nothing_to_rank_by_is_an_error():
    with pytest.raises(ValueError, match="gave no batch"):
        rank_weights(altprop.LRP(network(), "epsilon"), [])


def test_gradients_are_no_relevance():
    with pytest.raises(ValueError, match="hands gradients back"):
        altprop.LRP(network(), "gradient").weight_relevance(data()[0][0])
