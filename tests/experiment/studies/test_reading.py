"""Networks that were kept: those that come back are those that were trained, and what cannot be read is named."""

import shutil

import pytest
import torch

from altprop.experiment import InputError, compare, load_data, train
from altprop.experiment.recipes import Recipe
from altprop.experiment.records.files import mark_all
from altprop.experiment.records.study import STUDY, WEIGHTS, cell_folder
from altprop.experiment.stress.pruning import prune
from altprop.experiment.stress.robustness import robustness
from altprop.experiment.stress.settings import PruneSettings, RobustnessSettings
from altprop.experiment.studies.reading import kept_networks, load_trained
from altprop.experiment.studies.study import run_study
from tests.experiment.toys import models_of, own_data, poison, tiny, without_report


def states(networks):
    return {key: {name: t.tolist() for name, t in one.state_dict().items()} for key, one in networks.items()}


def kept_run(tmp_path, run=compare, **changes):
    flags = {"out": tmp_path, "name": "mine", "rules": "lfp:epsilon=0,fa", "seeds": "1,4"}
    return without_report(run, tiny(**flags | changes))


@pytest.mark.parametrize("norm", ["none", "batch"])
def test_the_networks_of_a_comparison_come_back_bit_for_bit(tmp_path, norm):
    results = kept_run(tmp_path, norm=norm)
    kept = kept_networks(tmp_path / "mine")
    assert states(kept.networks) == states(models_of(results))
    assert kept.rules == ("backprop", "lfp:epsilon=0", "fa", "shallow")
    scores = {(cell.rule, cell.seed): cell.score for cell in results.cells}
    assert {key: kept.score(network) for key, network in kept.networks.items()} == scores
    assert not any(network.training for network in kept.networks.values())


@pytest.mark.parametrize("seeds", ["3,", "3,5"])
def test_the_networks_of_a_training_come_back(tmp_path, seeds):
    study = kept_run(tmp_path, train, rules="lfp", seeds=seeds)
    assert states(kept_networks(tmp_path / "mine").networks) == states(models_of(study))


def test_rules_that_differ_in_a_sign_have_folders_of_their_own(tmp_path):
    one, other = (cell_folder(tmp_path, f"lfp:gamma={value}", 0) for value in ("0.1", "-0.1"))
    assert one != other


def test_a_network_that_diverged_is_left_out(tmp_path, register):
    register("faulty", poison("linear2.weight", 7))
    kept_run(tmp_path, rules="lfp,faulty", seeds=1)
    kept = kept_networks(tmp_path / "mine")
    assert "faulty" not in kept.rules
    assert {rule for rule, _ in kept.networks} == {"backprop", "lfp", "shallow"}


def test_with_no_network_left_the_folder_is_refused(tmp_path, register):
    register("faulty", poison("linear2.weight", 5))
    kept_run(tmp_path, train, rules="faulty", seeds=1)
    with pytest.raises(InputError, match="holds no network whose training finished"):
        kept_networks(tmp_path / "mine")


def test_own_data_are_asked_for_and_have_to_fit(tmp_path):
    kept_run(tmp_path, data=own_data())
    with pytest.raises(InputError, match=r"'my own', which is no data set that altprop knows.*data="):
        kept_networks(tmp_path / "mine")
    assert kept_networks(tmp_path / "mine", data=own_data()).facts.name == "my own"
    with pytest.raises(InputError, match=r"its input_shape is \(2,\), but the networks were trained for \(3,\)"):
        kept_networks(tmp_path / "mine", data=load_data("circles"))


def test_an_autoencoder_comes_back_with_its_inputs_as_targets(tmp_path):
    kept_run(tmp_path, task="reconstruction")
    kept = kept_networks(tmp_path / "mine")
    x, y = next(kept.batches(kept.data.train, 7))
    assert torch.equal(y, x.flatten(1))
    assert kept.data.task == "reconstruction"


def test_batches_are_all_in_order_or_some_drawn_by_seed(tmp_path):
    kept_run(tmp_path)
    kept, data = kept_networks(tmp_path / "mine"), load_data("circles")
    whole = torch.cat([x for x, _ in kept.batches(kept.data.train, 300)])
    assert torch.equal(whole, data.train.x)
    drawn = [torch.cat([x for x, _ in kept.batches(kept.data.train, 8, limit=20, seed=seed)]) for seed in (0, 0, 1)]
    assert drawn[0].shape == (20, 2)
    assert torch.equal(drawn[0], drawn[1])
    assert not torch.equal(drawn[0], drawn[2])


@pytest.mark.parametrize(
    ("prepare", "complaint"),
    [
        (lambda folder: None, "There is no folder"),
        (lambda folder: folder.mkdir(), r"has no study.json: it is no folder of compare or train. Train some first"),
        (
            lambda folder: (folder.mkdir(), (folder / "results.json").write_text("{}")),
            "mine is of altprop 0.1.0, whose folders this version does not read",
        ),
    ],
)
def test_a_folder_that_is_none_of_ours_is_named(tmp_path, prepare, complaint):
    folder = tmp_path / "mine"
    prepare(folder)
    with pytest.raises(InputError, match=complaint):
        kept_networks(folder)


def test_without_a_folder_one_is_asked_for():
    with pytest.raises(InputError, match=r"Give the folder of the networks. Train some first"):
        kept_networks(None)


def test_a_file_of_weights_that_is_gone_is_named(tmp_path):
    kept_run(tmp_path, rules="lfp", seeds=1)
    (cell_folder(tmp_path / "mine", "lfp", 0) / WEIGHTS).unlink()
    with pytest.raises(InputError, match=r"lfp-seed-0/model\.safetensors cannot be read: No such file"):
        kept_networks(tmp_path / "mine")


RECIPE = Recipe.model_validate(
    {
        "data": {"name": "circles", "validation": 0.2},
        "model": {"name": "5"},
        "rule": {"name": "lfp", "epsilon": 0.5},
        "training": {"seeds": [2, 3], "batch_size": 100, "epochs": 2},
        "track": {"loggers": []},
    }
)


@pytest.fixture(scope="module")
def by_recipe(tmp_path_factory):
    return run_study(RECIPE, out=tmp_path_factory.mktemp("runs"), name="mine")


@pytest.mark.parametrize("which", ["final", "best", "last"])
def test_the_networks_of_a_recipe_come_back_bit_for_bit(by_recipe, which):
    kept = kept_networks(by_recipe.folder, which=which)
    expected = {
        ("lfp:epsilon=0.5", seed): load_trained(by_recipe.folder, seed, which)[0] for seed in RECIPE.training.seeds
    }
    assert states(kept.networks) == states(expected)
    assert (kept.rules, kept.model, kept.batch_size) == (("lfp:epsilon=0.5",), "5", 100)
    assert (len(kept.data.train), len(kept.data.test)) == (800, 500)
    assert not any(network.training for network in kept.networks.values())


def test_at_the_end_they_have_the_scores_of_the_training(by_recipe):
    kept = kept_networks(by_recipe.folder)
    for cell in by_recipe.cells:
        network = kept.networks["lfp:epsilon=0.5", cell.seed]
        assert kept.score(network) == pytest.approx(cell.history[-1].test_score, abs=1e-6)


@pytest.fixture
def with_training(by_recipe, tmp_path):
    """A copy of the training, whose ``study.json`` is changed."""

    def make(change):
        shutil.copytree(by_recipe.folder, folder := tmp_path / "copy")
        file = folder / STUDY
        text = change(file.read_text())
        file.write_text(text)
        mark_all(folder, "study")
        return folder

    return make


@pytest.mark.parametrize("status", ["diverged", "interrupted"])
def test_networks_of_a_recipe_that_were_broken_off_are_left_out(with_training, status):
    folder = with_training(lambda text: text.replace('"finished"', f'"{status}"'))
    with pytest.raises(InputError, match="holds no network whose training finished"):
        kept_networks(folder)


@pytest.mark.parametrize("text", ["", "{", "[]", '{"kind": "study", "recipe": {"dta": {}}}'])
def test_a_broken_record_is_named(with_training, text):
    with pytest.raises(InputError, match=r"study\.json is damaged"):
        kept_networks(with_training(lambda _: text))


def test_the_networks_of_a_recipe_are_pruned_and_attacked(by_recipe):
    pruned = prune(PruneSettings(run=by_recipe.folder, rates="0.5", samples=50, which="best", out=None))
    attacked = robustness(RobustnessSettings(run=by_recipe.folder, epsilons="0.1", out=None))
    for results in (pruned, attacked):
        assert {(point.rule, point.seed) for point in results.points} == {
            ("lfp:epsilon=0.5", 2),
            ("lfp:epsilon=0.5", 3),
        }
