"""Sweeps as people run them: real networks, files, workers that are killed."""

import csv
import html
import re
import subprocess

import pytest
import yaml

from altprop.experiment import InputError
from altprop.experiment.recipes import load_recipe
from altprop.experiment.recipes.shipped import shipped_recipes
from altprop.experiment.sweeps import (
    SweepInterrupted,
    SweepResults,
    SweepSettings,
    best_rates,
    remembered_rates,
    sweep,
    work,
)
from altprop.experiment.sweeps.rates import RATES, read_rates
from altprop.experiment.sweeps.space import Space
from altprop.experiment.training.fit import fit
from altprop.experiment.training.watching import Watch
from tests.experiment.toys import StopsAt, own_data
from tests.sweepers import (
    RECIPE,
    assert_each_once,
    finish,
    kill_with_a_trial_in_hand,
    queue_of,
    settings,
    start,
)

FEW = ("training.epochs=2", "model.norm=none", "training.clip=1", "search.space.optimizer.lr=[0.1, 0.5]")


@pytest.fixture(scope="module")
def done(tmp_path_factory):
    """A small sweep that has come to its end."""
    folder = tmp_path_factory.mktemp("sweep")
    asked = settings(folder, override=FEW, executions=2)
    return asked, sweep(asked)


def test_the_values_and_figures_are_those_that_training_by_the_recipe_gives_bit_for_bit(done):
    _, results = done
    assert len(results.trials) == 6
    assert {trial.state for trial in results.trials[:2]} == {"complete"}
    for trial in results.trials[:2]:
        recipe = results.recipe_of(trial)
        last = [fit(recipe, seed=seed).history[-1] for seed in (0, 1)]
        assert [one.value for one in trial.executions] == [1 - figures.val_score for figures in last]
        assert trial.value == pytest.approx(sum(one.value for one in trial.executions) / 2)
        assert [one.seed for one in trial.executions] == [0, 1]
        for one, figures in zip(trial.executions, last, strict=True):
            for name in ("train_loss", "train_score", "val_loss", "val_score", "test_score"):
                assert one.figures[name] == getattr(figures, name)


def test_a_fixed_value_is_not_searched(done):
    _, results = done
    assert list(results.plan.space.parts) == ["optimizer.lr", "model.activation"]
    assert results.plan.recipe.model.norm == "none"


def test_the_folder_holds_what_programs_and_people_want(done):
    _, results = done
    folder = results.folder
    assert SweepResults.load(folder) == results
    best = load_recipe(folder / "best.yaml")
    assert best == results.best_recipe
    assert (best.optimizer.lr, best.model.activation) == tuple(results.best.values.values())
    with (folder / "trials.csv").open() as lines:
        rows = list(csv.DictReader(lines))
    assert [row["trial"] for row in rows] == [str(n) for n in range(6)]
    assert float(rows[results.best.trial]["val_error"]) == results.best.value
    page = (folder / "report.html").read_text()
    assert f"{results.best.value:.4g}" in page
    for picture in ("history", "slice", "parallel", "epochs"):
        assert (folder / f"{picture}.svg").read_bytes().startswith(b"<?xml")
    assert not [file for file in folder.iterdir() if file.name.startswith(".")]


def test_a_notebook_shows_the_trials_best_first_and_a_data_frame_has_them_all(done):
    _, results = done
    shown = re.findall(r'<th scope="row">(\d+)</th>', results._repr_html_())
    assert sorted(map(int, shown)) == list(range(6))
    assert int(shown[0]) == results.best.trial
    frame = results.to_dataframe()
    assert frame["trial"].tolist() == list(range(6))
    assert frame["optimizer.lr"].tolist() == [trial.values["optimizer.lr"] for trial in results.trials]
    assert frame["val_error"].min() <= results.best.value


def test_pictures_of_a_sweep_say_what_the_best_is(done):
    _, results = done
    page = html.unescape((results.folder / "report.html").read_text())
    alts = re.findall('<img src="[^"]*" alt="([^"]*)"', page)
    assert f"{results.best.value:.4g} at best, by trial {results.best.trial};" in alts[0]
    values = ", ".join(f"{key} {value}" for key, value in results.best.values.items())
    assert [values in alt for alt in alts].count(True) == 2, "value by value, and trial by trial"


def test_the_best_learning_rate_of_each_setting_is_remembered(done):
    asked, results = done
    (rate,) = best_rates(results)
    assert rate.setting == ("circles", "8", "dfa", "sgd")
    assert (rate.lr, rate.value) == (results.best.values["optimizer.lr"], results.best.value)
    assert read_rates(results.folder / RATES) == [rate] == remembered_rates(asked.out)


def test_the_same_command_again_does_nothing_twice_and_another_recipe_is_refused(done):
    asked, results = done
    assert sweep(asked) == results
    with pytest.raises(InputError, match=r"'small' exists with another training.epochs: it has 2, and 3 was asked for"):
        sweep(asked.model_copy(update={"override": ("training.epochs=3", *FEW[1:])}))


@pytest.fixture
def no_pictures(monkeypatch):
    monkeypatch.setattr("altprop.experiment.sweeps.pictures.sweep_pictures", lambda *_: [])


@pytest.mark.usefixtures("no_pictures")
def test_a_hopeless_trial_is_stopped_early(tmp_path):
    space = "search.space={optimizer.lr: [0.5, 0.4, 0.6, 0.45, 0.55, 1e-9]}"
    results = sweep(settings(tmp_path, override=(space, "training.epochs=4")))
    last = results.trials[-1]
    assert last.state == "pruned"
    assert len(last.executions) == 1
    assert last.executions[0].status == "pruned"
    assert last.message.startswith("stopped after epoch ")
    assert {trial.state for trial in results.trials[:5]} == {"complete"}


@pytest.mark.usefixtures("no_pictures")
def test_test_data_choose_nothing(tmp_path, monkeypatch):
    data = own_data()
    other = own_data(y_test=1 - data.test.y)
    chosen = []
    for number, splits in enumerate((data, other)):
        monkeypatch.setattr("altprop.experiment.sweeps.working.open_data", lambda section, splits=splits: splits)
        monkeypatch.setattr("altprop.experiment.sweeps.sweeping.open_data", lambda section, splits=splits: splits)
        asked = settings(tmp_path, name=f"s{number}", override=(*FEW, "search.tune_on=error"))
        chosen.append([(trial.state, trial.value) for trial in sweep(asked).trials])
    assert chosen[0] == chosen[1]


def test_the_recipes_that_come_with_the_package_can_be_searched():
    read = {name: yaml.safe_load(path.read_text()) for name, path in shipped_recipes().items()}
    searched = {name: recipe["search"]["space"] for name, recipe in read.items() if "search" in recipe}
    for space in searched.values():
        points = Space(space).grid()
        assert list(dict.fromkeys(point["optimizer.lr"] for point in points)) == [1e-4, 1e-3, 1e-2, 1e-1]
    plan = SweepSettings(recipe="search-digits", search="grid").plan()
    assert plan.trials == len(Space(searched["search-digits"]).grid()) == 48


@pytest.mark.parametrize(
    ("override", "options", "message"),
    [
        (["data.validation=0"], {}, "val_error needs validation data"),
        (
            ["search.tune_on=loss", "search.space={model.dropout: [0.0, 0.5]}"],
            {},
            "model.dropout: dropout always harms 'loss'",
        ),
        ([], {"search": "random"}, "A search by random needs a number of trials: give --trials, or search.trials"),
        (["search.space={model.nrom: [none]}"], {}, "no such key of a recipe. Did you mean 'model.norm'"),
        (["optimizer.lr=0.1", "model={name: '8'}", "training={epochs: 1}"], {}, "there is nothing to search"),
        ([], {"storage": "mysql://host/db"}, "sweeps are kept by postgresql"),
    ],
)
def test_what_cannot_be_swept_is_named_and_leaves_nothing_behind(tmp_path, override, options, message):
    with pytest.raises(InputError, match=message):
        sweep(settings(tmp_path, override=tuple(override), **options))
    assert not (tmp_path / "runs").exists()


def test_a_recipe_without_a_search_is_refused(tmp_path):
    asked = settings(tmp_path)
    asked.recipe.write_text(RECIPE.partition("search:")[0])
    with pytest.raises(InputError, match=r"small.yaml: there is no section search"):
        sweep(asked)


def test_a_folder_of_something_else_is_left_alone(tmp_path):
    (tmp_path / "runs" / "small").mkdir(parents=True)
    (tmp_path / "runs" / "small" / "thesis.tex").touch()
    with pytest.raises(InputError, match=r"holds no sweep by this version of altprop .* Choose another name"):
        sweep(settings(tmp_path))


@pytest.mark.usefixtures("no_pictures")
def test_ctrl_c_keeps_what_there_is_and_the_same_command_goes_on(tmp_path):
    asked = settings(tmp_path, override=FEW)
    with pytest.raises(SweepInterrupted) as caught:
        sweep(asked, watch=StopsAt(stage="trial 3 of"))
    assert caught.value.results.left == 3
    assert (tmp_path / "runs" / "small" / "report.html").exists()
    assert sweep(asked).left == 0


@pytest.mark.usefixtures("no_pictures")
def test_the_slurm_script_starts_workers_and_holds_no_password(tmp_path):
    script = tmp_path / "workers.sh"
    results = sweep(settings(tmp_path, override=FEW, slurm=script))
    assert results.left == 6, "the script starts the workers, not we"
    text = script.read_text()
    subprocess.run(["bash", "-n", script], check=True)
    assert "#SBATCH --array=0-3" in text
    assert f"worker {tmp_path / 'runs' / 'small'}" in text
    assert work(str(tmp_path / "runs" / "small"), "small", watch=Watch()) == 6


@pytest.mark.usefixtures("no_pictures")
def test_workers_on_sqlite_of_which_one_is_killed(tmp_path):
    folder = tmp_path / "runs" / "small"
    asked = settings(tmp_path, override=("model.norm=none",), workers=0)
    sweep(asked)
    workers = [start(folder, tmp_path) for _ in range(2)]
    with queue_of(folder) as queue:
        kill_with_a_trial_in_hand(queue, workers[0])
        finish(workers[1:])
        assert len(assert_each_once(queue, 24)) == 1
    assert sweep(asked.model_copy(update={"workers": 1})).left == 0
