"""Studies from end to end: fair, repeatable, and kept whatever comes."""

import warnings

import pytest
import torch

from altprop.experiment import InputError, Study, compare, train
from altprop.experiment.recipes import Recipe
from altprop.experiment.records.study import STUDY, WEIGHTS, cell_folder
from altprop.experiment.studies.reading import load_trained
from altprop.experiment.studies.study import run_study
from altprop.experiment.training.fit import fit
from altprop.experiment.training.watching import Watch
from tests.experiment.toys import Gambler, Hooked, StopsAt, models_of, own_data, poison, tiny, without_times


@pytest.fixture(autouse=True)
def _without_pictures(monkeypatch):
    """They take longer than all the rest, and have tests of their own."""
    monkeypatch.setattr("altprop.experiment.reports.study.pictures", lambda study, splits: [])


@pytest.mark.parametrize("data", ["circles", own_data()], ids=["a data set by name", "a user's data"])
def test_repeating_gives_the_same_results_bit_for_bit(data):
    flags = tiny(rules="lfp,lfp:epsilon=0", seeds=2, lr_grid="0.1,0.5", data=data)
    first, second = (compare(**flags) for _ in range(2))
    assert without_times(first) == without_times(second)
    assert first.trials == second.trials
    for key, model in models_of(first).items():
        for p, q in zip(model.parameters(), models_of(second)[key].parameters(), strict=True):
            assert torch.equal(p, q)


def test_compare_train_a_recipe_and_fit_give_the_same_history_bit_for_bit(tmp_path):
    """The same seed and settings, by each of the ways that there are."""
    compared = compare(**tiny(rules="lfp", seeds=2))
    trained = train(**tiny(rules="lfp", seeds=(1,)))
    sections = {
        "data": "circles",
        "model": "4",
        "rule": "lfp",
        "training": {"epochs": 2, "batch_size": 250, "seeds": 2},
    }
    track = {"metrics": ("bp_cosine", "sparsity", "weight_alignment"), "loggers": ()}
    by_recipe = run_study(Recipe(**sections, track=track), out=tmp_path)
    alone = fit(Recipe(**sections, track=track), seed=1)
    (expected,) = without_times(trained)
    assert [cell for cell in without_times(compared) if (cell.rule, cell.seed) == ("lfp", 1)] == [expected]
    assert without_times(by_recipe)[1] == expected
    assert without_times(by_recipe.model_copy(update={"cells": (alone,)})) == [expected]


def test_a_rule_does_not_depend_on_the_company(register):
    register("gambler", Gambler)
    among = compare(**tiny(rules="gambler,lfp", seeds=2))
    alone = train(**tiny(rules="lfp", seeds=(1,)))
    mine = [cell for cell in without_times(among) if (cell.rule, cell.seed) == ("lfp", 1)]
    assert mine == without_times(alone)


def test_every_rule_has_the_same_batches_and_weights_as_backprop(register):
    register("twin", lambda: Hooked(lambda model, name, g: g))
    cells = without_times(compare(**tiny(rules="twin", seeds=2, lr=0.1)))
    history = {(cell.rule, cell.seed): (cell.start, cell.history) for cell in cells}
    for seed in (0, 1):
        assert history["backprop", seed] == history["twin", seed]


def test_figures_before_the_first_step_are_those_of_the_initial_weights():
    study = compare(**tiny(rules="lfp"))
    starts = [cell.start for cell in study.cells]
    assert [(start.epoch, start.step, start.train_loss) for start in starts] == [(0, 0, None)] * 3
    assert len({start.test_score for start in starts}) == 1, "all rules start from the same weights"
    assert starts[0].tracked["bp_cosine"] == pytest.approx(1.0)


def test_the_global_random_state_and_thread_count_stay(register):
    register("gambler", Gambler)
    before, threads = torch.get_rng_state(), torch.get_num_threads()
    compare(**tiny(rules="gambler", lr_grid="0.1,0.2"))
    train(**tiny(rules="backprop", epochs=1, threads=threads + 1))
    assert torch.equal(torch.get_rng_state(), before)
    assert torch.get_num_threads() == threads


@pytest.mark.parametrize("rules", ["lfp", "backprop", "shallow", "shallow,lfp,backprop"])
def test_backprop_and_the_control_always_take_part(rules):
    study = compare(**tiny(rules=rules, seeds=2))
    ran = {(cell.rule, cell.seed) for cell in study.cells}
    assert {(rule, seed) for rule in ("backprop", "shallow", *rules.split(",")) for seed in (0, 1)} == ran
    assert len(study.cells) == len(ran)
    leads = {summary.rule: summary.over_control for summary in study.summaries}
    assert leads["shallow"] is None
    assert leads["backprop"].seeds == 2


def test_step_times_are_relative_to_backprop():
    times = compare(**tiny()).step_times
    assert list(times) == ["backprop", "lfp", "shallow"]
    assert (times["backprop"].ratio, times["backprop"].low, times["backprop"].high) == (1, 1, 1)
    assert all(0.2 < time.ratio < 10 for time in times.values())


def test_the_watch_hears_of_all_steps():
    class Listener(Watch):
        total, done, stages = None, 0, ()

        def begin(self, steps):
            self.total = steps

        def stage(self, text):
            self.stages += (text,)

        def advance(self):
            self.done += 1

    watch = Listener()
    compare(**tiny(seeds=2, lr_grid="0.1,0.2"), watch=watch)
    # A trial trains on four fifths of the samples: four batches, as on all of them, but smaller.
    assert watch.done == watch.total
    assert {"lfp, trying a learning rate of 0.2", "shallow, seed 1"} <= set(watch.stages)


def test_each_rule_gets_its_rate_from_the_grid_without_a_look_at_the_test_data():
    data = own_data()
    other = own_data(x_test=-3 * data.test.x, y_test=1 - data.test.y)
    flags = tiny(lr_grid="0.0001,0.3", epochs=5, batch_size=8)
    first, second = (compare(**flags | {"data": one}) for one in (data, other))
    assert first.trials == second.trials
    assert len(first.trials) == 6
    assert [cell.lr for cell in first.cells] == [cell.lr for cell in second.cells]
    assert {cell.lr for cell in first.cells} <= {0.0001, 0.3}
    for cell in first.cells:
        scores = {trial.lr: (trial.score, -trial.loss) for trial in first.trials if trial.rule == cell.rule}
        assert cell.lr == max(scores, key=scores.__getitem__)
    assert [cell.score for cell in first.cells] != [cell.score for cell in second.cells]


def test_after_the_choice_all_of_the_training_data_are_trained_on():
    study = compare(**tiny(lr_grid="0.1", data=own_data(), batch_size=40))
    fixed = compare(**tiny(lr=0.1, data=own_data(), batch_size=40))
    assert without_times(study) == without_times(fixed)


def test_a_rule_that_diverges_is_named_and_the_others_go_on(register, tmp_path):
    register("bad", poison("linear1.weight", 9))
    study = compare(**tiny(rules="bad,lfp", out=tmp_path, seeds=2))
    assert [cell.status for cell in study.cells_of("bad")] == ["diverged"] * 2
    for rule in ("backprop", "lfp", "shallow"):
        assert [cell.status for cell in study.cells_of(rule)] == ["finished"] * 2
        assert all(len(cell.history) == 2 for cell in study.cells_of(rule))
    for cell in study.cells_of("bad"):
        assert cell.diverged_at in range(5, 9), "in the second epoch"
        for word in ("bad", f"step {cell.diverged_at}", "linear1.weight", "learning rate below"):
            assert word in cell.message
        assert not (cell_folder(study.folder, cell.rule, cell.seed) / WEIGHTS).exists()
    page = (study.folder / "report.html").read_text()
    assert "in epoch 2: the update of linear1.weight is not finite" in page
    assert without_times(Study.load(study.folder)) == without_times(study)


def test_results_are_written_when_every_rule_diverges(tmp_path):
    study = compare(**tiny(lr=1e38, clip=0, out=tmp_path))
    assert {cell.status for cell in study.cells} == {"diverged"}
    assert (study.folder / "report.html").exists()
    assert all(summary.test.mean is None for summary in Study.load(study.folder).summaries)


STOPS = {
    "while steps are timed": ({"stage": "timing"}, []),
    "in the first epoch of the first cell": ({"steps": 2}, ["interrupted"]),
    "in the second epoch of the first cell": ({"steps": 6}, ["interrupted"]),
    "in the second epoch of the second cell": ({"steps": 14}, ["finished", "interrupted"]),
    "between cells": ({"stage": "shallow, seed 0"}, ["finished"] * 2),
}


@pytest.mark.parametrize("case", STOPS)
def test_ctrl_c_keeps_what_there_is_and_resume_goes_on_bit_for_bit(case, tmp_path):
    when, statuses = STOPS[case]
    whole = compare(**tiny())
    stopped = compare(**tiny(out=tmp_path, name="mine"), watch=StopsAt(**when))
    assert [cell.status for cell in stopped.cells] == statuses
    assert stopped.interrupted
    loaded = Study.load(stopped.folder)
    assert (without_times(loaded), loaded.interrupted) == (without_times(stopped), True)
    assert "was interrupted" in (stopped.folder / "report.html").read_text()
    resumed = compare(**tiny(out=tmp_path, name="mine"), resume=True)
    assert not resumed.interrupted
    assert without_times(resumed) == without_times(whole)
    for key, model in models_of(whole).items():
        for p, q in zip(model.parameters(), models_of(resumed)[key].parameters(), strict=True):
            assert torch.equal(p, q)


def test_ctrl_c_while_the_report_is_written_costs_nothing(tmp_path):
    study = compare(**tiny(out=tmp_path), watch=StopsAt(stage="writing"))
    assert not Study.load(study.folder).interrupted
    assert (study.folder / "report.html").exists()


def test_ctrl_c_while_rates_are_tried_keeps_the_trials(tmp_path):
    flags = tiny(out=tmp_path, name="mine", lr_grid="0.1,0.2")
    stopped = compare(**flags, watch=StopsAt(stage="rate of 0.2"))
    assert len(stopped.trials) == 1
    assert Study.load(stopped.folder).trials == stopped.trials
    tried = []

    class Listener(Watch):
        def stage(self, text):
            tried.extend([text] if "trying" in text else [])

    resumed = compare(**flags, resume=True, watch=Listener())
    assert len(tried) == 5, "each trial once"
    assert resumed.trials == compare(**tiny(lr_grid="0.1,0.2")).trials


def test_ctrl_c_in_memory_before_there_is_anything_is_ctrl_c():
    with pytest.raises(KeyboardInterrupt):
        compare(**tiny(), watch=StopsAt(stage="timing"))


def test_an_existing_folder_is_refused_before_anything_is_trained(tmp_path):
    flags = tiny(out=tmp_path, name="mine")
    first = compare(**flags)
    before = (first.folder / STUDY).read_bytes()
    with pytest.raises(InputError, match=r"mine exists\..*--overwrite"):
        compare(**flags, watch=StopsAt(steps=1))
    assert (first.folder / STUDY).read_bytes() == before
    again = compare(**flags | {"overwrite": True, "seeds": 2})
    assert again.folder == first.folder
    assert len(Study.load(first.folder).cells) == 6


def test_folders_without_a_name_are_numbered(tmp_path):
    names = [train(**tiny(rules="lfp:epsilon=0", epochs=1, out=tmp_path)).folder.name for _ in range(2)]
    assert names == ["train-lfp-epsilon-0-circles-4", "train-lfp-epsilon-0-circles-4-2"]
    assert compare(**tiny(epochs=1, out=tmp_path, data=own_data())).folder.name == "compare-my-own-4"


def test_a_study_of_own_data_goes_on(tmp_path):
    flags = tiny(out=tmp_path, name="mine", data=own_data(), batch_size=8)
    stopped = compare(**flags, watch=StopsAt(steps=6))
    resumed = compare(**flags, resume=True)
    assert stopped.interrupted
    assert without_times(resumed) == without_times(compare(**flags | {"out": None}))


IMAGES = {"x_train": torch.zeros(40, 1, 8, 8), "x_test": torch.zeros(20, 1, 8, 8)}
ONE = torch.ones(1, 3)
MISFITS = {
    "a small image": ({"model": "lenet", "data": own_data(**IMAGES)}, "'lenet' takes images of at least 16×16.*1×8×8"),
    "a vector": ({"model": "vgg-like"}, "'vgg-like' takes images.*hidden widths instead"),
    "layer norm": ({"model": "vgg-like", "norm": "layer", "data": own_data(**IMAGES)}, "knows no layer norm"),
    "another task": ({"data": "sine", "objective": "softmax"}, "'softmax' is for classification, not for regression"),
    "another task of own data": (
        {"data": own_data(), "task": "reconstruction", "objective": "softmax"},
        "'softmax' is not for reconstruction",
    ),
    "a device that is not there": ({"device": "mps"}, "The device 'mps' cannot be used"),
    "no device": ({"device": "gpu"}, "device: .*got 'gpu'"),
    "one sample": (
        {"norm": "batch", "data": own_data(x_train=ONE, y_train=ONE[0, :1].long())},
        "my own has 1 training samples: at least 2",
    ),
    "two rules": ({"rules": "lfp,backprop"}, "To train takes one rule, got lfp, backprop. Use compare"),
    "all rules": ({"rules": "all"}, "To train takes one rule, got all"),
    "no such flag": ({"epoch": 3}, "no setting 'epoch'. Did you mean 'epochs'"),
    "a path as a name": ({"name": "../elsewhere"}, "A name is made of letters"),
}


@pytest.mark.parametrize("case", MISFITS)
def test_what_does_not_fit_is_refused_before_the_first_step(case, tmp_path):
    changes, message = MISFITS[case]
    if changes.get("device") == "mps" and torch.backends.mps.is_available():
        pytest.skip("it is there")
    with pytest.raises(InputError, match=message):
        train(**tiny(out=tmp_path, **changes), watch=StopsAt(steps=1))
    assert list(tmp_path.iterdir()) == []


def test_warnings_of_a_rule_are_kept_once_among_the_notes(register):
    def hook(model, name, g):
        warnings.warn("mind the gap", UserWarning, stacklevel=1)

    register("loud", lambda: Hooked(hook))
    assert compare(**tiny(rules="loud", seeds=2)).notes == ("mind the gap",)


def test_trained_weights_are_kept_and_reproduce_the_score(tmp_path):
    study = train(**tiny(rules="lfp", norm="batch", activation="tanh", seeds=2, out=tmp_path))
    for cell in study.cells:
        model, splits, _ = load_trained(study.folder, cell.seed, "final")
        right = model(splits.test.x).argmax(1) == splits.test.y
        assert float(right.double().mean()) == cell.score


def test_without_a_folder_nothing_is_written(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert compare(**tiny()).folder is None
    assert list(tmp_path.iterdir()) == []


def test_any_data_can_be_reconstructed():
    study = compare(**tiny(task="reconstruction", model="8"))
    assert (study.data.task, study.data.outputs, study.metric) == ("reconstruction", 2, "squared error")
    assert all(0 < summary.test.mean < 2 for summary in study.summaries)


def test_a_recipe_may_be_an_object_a_file_or_a_name(tmp_path):
    made = Recipe(data="circles", model="4", rule=["lfp", "dfa"], training={"epochs": 1, "batch_size": 250})
    by_object = compare(made, out=None)
    assert by_object.rules == ("backprop", "lfp", "dfa", "shallow")
    file = tmp_path / "mine.yaml"
    file.write_text("data: circles\nmodel: 4\nrule: [lfp, dfa]\ntraining: {epochs: 1, batch_size: 250}\n")
    assert without_times(compare(file, out=None)) == without_times(by_object)


def test_a_picture_that_fails_loses_no_results(tmp_path, monkeypatch):
    def broken(study, splits):
        raise OSError("no space left on device")

    monkeypatch.setattr("altprop.experiment.reports.study.pictures", broken)
    with pytest.raises(InputError, match=r"no space left on device\. What was done is kept"):
        train(**tiny(rules="lfp", epochs=1, out=tmp_path, name="kept", data=own_data()))
    assert Study.load(tmp_path / "kept").cells
    assert (cell_folder(tmp_path / "kept", "lfp", 0) / WEIGHTS).exists()


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs CUDA")
def test_cuda_trains_as_the_cpu_does():
    cpu, cuda = (compare(**tiny(device=device, lr=0.01)) for device in ("cpu", "cuda"))
    for one, other in zip(cpu.cells, cuda.cells, strict=True):
        assert one.history[-1].train_loss == pytest.approx(other.history[-1].train_loss, rel=1e-3)
