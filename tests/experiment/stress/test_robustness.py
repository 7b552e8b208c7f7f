"""Attacks on the networks of an experiment, from its folder to its report."""

import pytest
import torch
from pydantic import ValidationError

from altprop.experiment import InputError, compare
from altprop.experiment.stress.attacks import ATTACKS, Ball, attacked
from altprop.experiment.stress.robustness import robustness
from altprop.experiment.stress.robustness_results import RobustnessResults
from altprop.experiment.stress.settings import RobustnessSettings
from altprop.experiment.studies.reading import kept_networks
from tests.experiment.toys import StopsAt, own_data, tiny, without_report


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    out = tmp_path_factory.mktemp("runs")
    without_report(compare, tiny(model="8-6", rules="lfp,dfa", seeds=2, out=out, name="mine"))
    return out / "mine"


def settings(folder, **changes):
    return RobustnessSettings(**{"run": folder, "epsilons": "0.05,0.2", "steps": 5, "out": None} | changes)


def test_the_scores_are_those_of_attacks_by_hand_in_units_of_the_range(folder):
    results, kept = robustness(settings(folder)), kept_networks(folder)
    x, y = kept.data.test.x, kept.data.test.y
    low, high = float(kept.data.train.x.min()), float(kept.data.train.x.max())
    assert (results.low, results.high) == (low, high)
    assert len(results.points) == len(ATTACKS) * 4 * 2 * 3
    for point in results.points:
        network = kept.networks[point.rule, point.seed]
        ball = Ball(point.level * (high - low), low, high)
        changed = attacked(point.kind, network, x, y, ball, steps=5)
        with torch.no_grad():
            right = (network(changed).argmax(1) == y).float().mean()
        assert point.score == pytest.approx(float(right), abs=1e-6)
        if point.level == 0:
            assert point.score == kept.score(network)


def test_results_are_written_and_read_again(folder, tmp_path):
    results = robustness(settings(folder, out=tmp_path, name="attacks"))
    assert RobustnessResults.load(tmp_path / "attacks").points == results.points
    page = (tmp_path / "attacks" / "report.html").read_text()
    assert "altprop robustness" in page
    assert "fgsm, pgd; pgd in 5 steps" in page


def test_an_interruption_keeps_the_networks_that_were_done(folder, tmp_path):
    results = robustness(settings(folder, attacks="fgsm,pgd", out=tmp_path, name="mine"), watch=StopsAt(2 * 3 + 2))
    whole = robustness(settings(folder, attacks="fgsm,pgd"))
    assert results.interrupted
    assert not whole.interrupted
    assert results.points == whole.points[: 2 * 3]
    assert results.notes[0].startswith("Interrupted: 2 of 16 passes were done")
    assert RobustnessResults.load(tmp_path / "mine").interrupted
    assert results.notes[0] in (tmp_path / "mine" / "report.html").read_text()


def test_an_interruption_before_any_was_done_leaves_nothing(folder, tmp_path):
    for watch in (StopsAt(1), StopsAt(stage="loading"), StopsAt(stage="writing")):
        with pytest.raises(KeyboardInterrupt):
            robustness(settings(folder, out=tmp_path), watch=watch)
        assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("activation", ["step", "sign"])
def test_networks_without_a_gradient_are_refused(tmp_path, activation):
    options = {"rules": "lfp:epsilon=0.1", "activation": activation, "epochs": 1}
    without_report(compare, tiny(**options, out=tmp_path, name="mine"))
    with pytest.raises(InputError, match=f"mine cannot be attacked: the activation '{activation}' has no gradient"):
        robustness(settings(tmp_path / "mine", out=tmp_path))
    assert [path.name for path in tmp_path.iterdir()] == ["mine"]


def test_spiking_networks_are_refused(tmp_path):
    pytest.importorskip("snntorch")
    options = {"epochs": 1, "model": "lif-4", "rules": "lfp"}
    without_report(compare, tiny(**options, out=tmp_path, name="mine"))
    with pytest.raises(InputError, match="cannot be attacked: a spike has no gradient to follow"):
        robustness(settings(tmp_path / "mine"))


def test_attacks_are_on_classifiers(tmp_path):
    without_report(compare, tiny(data="sine", rules="lfp", out=tmp_path, name="mine"))
    with pytest.raises(InputError, match="mislead about classes, but the task is regression"):
        robustness(settings(tmp_path / "mine"))


def test_own_data_can_be_given(tmp_path):
    without_report(compare, tiny(rules="lfp", out=tmp_path, name="mine", data=own_data()))
    assert robustness(settings(tmp_path / "mine"), data=own_data()).data.name == "my own"


def test_no_attack_is_always_among_the_sizes():
    assert RobustnessSettings(epsilons="0.2,0.1,0.2").epsilons == (0, 0.1, 0.2)


@pytest.mark.parametrize(
    ("option", "complaint"),
    [
        ({"attacks": "fgms"}, "no attack 'fgms'. Did you mean 'fgsm'"),
        ({"attacks": ""}, "At least one is needed"),
        ({"epsilons": "-0.1"}, "greater than or equal to 0"),
        ({"steps": 0}, "greater than or equal to 1"),
        ({"epsilon": 0.5}, "no setting 'epsilon'. Did you mean 'epsilons'"),
    ],
)
def test_what_cannot_be_attacked_with_is_named(option, complaint):
    with pytest.raises(ValidationError, match=complaint):
        RobustnessSettings(**option)
