"""Pruning the networks of an experiment, from its folder to its report."""

import warnings

import pytest
from pydantic import ValidationError

from altprop.experiment import InputError, compare
from altprop.experiment.stress.criteria import CRITERIA
from altprop.experiment.stress.masks import layers_of, prune_by
from altprop.experiment.stress.pruning import prune
from altprop.experiment.stress.pruning_results import PruneResults
from altprop.experiment.stress.settings import PruneSettings
from altprop.experiment.studies.reading import kept_networks
from tests.experiment.toys import StopsAt, own_data, tiny, without_report


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    out = tmp_path_factory.mktemp("runs")
    without_report(compare, tiny(model="8-6", rules="lfp,kp", seeds=2, out=out, name="mine"))
    return out / "mine"


def settings(folder, **changes):
    return PruneSettings(**{"run": folder, "rates": "0.5,1", "samples": 50, "out": None} | changes)


@pytest.mark.parametrize("structured", [False, True])
@pytest.mark.parametrize("per_layer", [False, True])
def test_every_network_is_pruned_at_every_rate_by_every_ranking(folder, structured, per_layer):
    results = prune(settings(folder, by=tuple(CRITERIA), structured=structured, per_layer=per_layer))
    asked = {
        (by, rule, seed, rate)
        for by in CRITERIA
        for rule in ("backprop", "lfp", "kp", "shallow")
        for seed in (0, 1)
        for rate in (0, 0.5, 1)
    }
    assert {(p.kind, p.rule, p.seed, p.level) for p in results.points} == asked
    assert len(results.points) == len(asked)
    if not structured:
        assert all(p.sparsity == pytest.approx(p.level, abs=0.01) for p in results.points)


def test_the_scores_are_those_of_the_networks_pruned_by_hand(folder):
    kept, results = kept_networks(folder), prune(settings(folder, by="magnitude"))
    for point in results.points:
        network = kept.networks[point.rule, point.seed]
        scores = {name: layer.weight.detach().abs() for name, layer in layers_of(network).items()}
        assert point.score == kept.score(prune_by(network, scores, point.level))
    whole = [point for point in results.points if point.level == 0]
    assert all(point.score == kept.score(kept.networks[point.rule, point.seed]) for point in whole)


def test_results_repeat_and_are_read_again(folder, tmp_path):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        first, again = (prune(settings(folder, by=tuple(CRITERIA), out=tmp_path, name=name)) for name in ("one", "two"))
    assert first.points == again.points
    assert PruneResults.load(tmp_path / "one").points == first.points
    assert "altprop prune" in (tmp_path / "one" / "report.html").read_text()
    assert first.folder == tmp_path / "one"


def test_an_interruption_keeps_the_networks_that_were_done(folder, tmp_path):
    results = prune(settings(folder, by="magnitude,random", out=tmp_path, name="mine"), watch=StopsAt(2 * 3 + 2))
    whole = prune(settings(folder, by="magnitude,random"))
    assert results.interrupted
    assert not whole.interrupted
    assert results.points == whole.points[: 2 * 3]
    assert results.notes[0].startswith("Interrupted: 2 of 16 passes were done")
    assert PruneResults.load(tmp_path / "mine").interrupted
    assert results.notes[0] in (tmp_path / "mine" / "report.html").read_text()


def test_an_interruption_before_any_was_done_leaves_nothing(folder, tmp_path):
    for watch in (StopsAt(1), StopsAt(stage="loading"), StopsAt(stage="writing")):
        with pytest.raises(KeyboardInterrupt):
            prune(settings(folder, out=tmp_path), watch=watch)
        assert not list(tmp_path.iterdir())


def test_autoencoders_are_pruned_by_all_but_relevance(tmp_path):
    without_report(compare, tiny(task="reconstruction", rules="lfp", out=tmp_path, name="mine"))
    with pytest.raises(InputError, match="Relevance is of classes, but the task is reconstruction"):
        prune(settings(tmp_path / "mine", out=tmp_path))
    results = prune(settings(tmp_path / "mine", by="magnitude,updates,random"))
    assert results.metric == "squared error"
    assert {path.name for path in tmp_path.iterdir()} == {"mine"}


def test_spiking_networks_are_pruned_by_magnitude(tmp_path):
    pytest.importorskip("snntorch")
    options = {"epochs": 1, "model": "lif-4", "rules": "lfp"}
    without_report(
        compare, tiny(**options, out=tmp_path, name="mine", activation="atan", optimizer="adam", objective="spike-rate")
    )
    with pytest.raises(InputError, match="LRP has no rules for the neurons of the spiking network 'lif-4'"):
        prune(settings(tmp_path / "mine"))
    assert prune(settings(tmp_path / "mine", by="magnitude,updates")).points


def test_own_data_can_be_given(tmp_path):
    without_report(compare, tiny(rules="lfp", out=tmp_path, name="mine", data=own_data()))
    assert prune(settings(tmp_path / "mine"), data=own_data()).data.name == "my own"


def test_the_whole_network_is_always_among_the_rates():
    assert PruneSettings(rates="0.9,0.5,0.9").rates == (0, 0.5, 0.9)


@pytest.mark.parametrize(
    ("option", "complaint"),
    [
        ({"by": "magnitud"}, "no criterion 'magnitud'. Did you mean 'magnitude'"),
        ({"by": ""}, "At least one is needed"),
        ({"rates": "0.5,1.2"}, "less than or equal to 1"),
        ({"composite": "epsilom"}, "Did you mean 'epsilon'"),
        ({"rate": 0.5}, "no setting 'rate'. Did you mean 'rates'"),
        ({"tolerance": 0}, "greater than 0"),
    ],
)
def test_what_cannot_be_pruned_by_is_named(option, complaint):
    with pytest.raises(ValidationError, match=complaint):
        PruneSettings(**option)
