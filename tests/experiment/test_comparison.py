"""Experiments from end to end: fair, repeatable, and kept whatever comes."""

import warnings

import pytest
import torch

from altprop.experiment import (
    InputError,
    Interrupted,
    Results,
    build_model,
    compare,
    comparison,
    figures,
    load_data,
    train,
)
from altprop.experiment.metrics import score
from altprop.experiment.records.folder import RESULTS
from altprop.experiment.training.watching import Watch
from tests.experiment.toys import Gambler, Hooked, StopsAt, own_data, poison, tiny, without_times


@pytest.fixture(autouse=True)
def _without_pictures(monkeypatch):
    """They take longer than all the rest, and have tests of their own."""
    monkeypatch.setattr(figures, "pictures", lambda results, data: [])


@pytest.mark.parametrize("data", [None, own_data()], ids=["a data set by name", "a user's data set"])
def test_repeating_gives_the_same_results_bit_for_bit(data):
    settings = tiny(rules="lfp,lfp:epsilon=0", seeds=2, lr_grid="0.1,0.5")
    first, second = (compare(settings, data=data) for _ in range(2))
    assert without_times(first) == without_times(second)
    assert first.trials == second.trials
    assert first.models.keys() == second.models.keys() != set()
    for key, model in first.models.items():
        for p, q in zip(model.parameters(), second.models[key].parameters(), strict=True):
            assert torch.equal(p, q)


def test_a_run_does_not_depend_on_the_company(register):
    register("gambler", Gambler)
    among = compare(tiny(rules="gambler,lfp", seeds=2))
    alone = train(tiny(rules="lfp", seeds=(1,)))
    mine = [run for run in without_times(among) if (run.rule, run.seed) == ("lfp", 1)]
    assert mine == without_times(alone)


def test_every_rule_has_the_same_batches_and_weights_as_backprop(register):
    register("twin", lambda: Hooked(lambda model, name, g: g))
    results = compare(tiny(rules="twin", seeds=2, lr=0.1))
    for seed in (0, 1):
        assert results.runs_of("backprop")[seed].epochs == results.runs_of("twin")[seed].epochs


def test_the_global_random_state_and_thread_count_stay(register):
    register("gambler", Gambler)
    before, threads = torch.get_rng_state(), torch.get_num_threads()
    compare(tiny(rules="gambler", lr_grid="0.1,0.2"))
    train(tiny(rules="backprop", epochs=1, threads=threads + 1))
    assert torch.equal(torch.get_rng_state(), before)
    assert torch.get_num_threads() == threads


@pytest.mark.parametrize("rules", ["lfp", "backprop", "shallow", "shallow,lfp,backprop"])
def test_backprop_and_the_control_always_take_part(rules):
    results = compare(tiny(rules=rules, seeds=2))
    ran = {(run.rule, run.seed) for run in results.runs}
    assert {(rule, seed) for rule in ("backprop", "shallow", *rules.split(",")) for seed in (0, 1)} == ran
    assert len(results.runs) == len(ran)
    verdicts = {summary.rule: summary.beats_control for summary in results.summaries}
    assert verdicts["shallow"] == "control"
    assert verdicts["backprop"] in ("yes", "no", "unclear")


def test_step_times_are_relative_to_backprop():
    ratios = compare(tiny()).step_ratios
    assert list(ratios) == ["backprop", "lfp", "shallow"]
    assert ratios["backprop"] == 1
    assert train(tiny(rules="backprop")).step_ratios == {"backprop": 1}
    assert all(0.2 < ratio < 10 for ratio in [*ratios.values(), *train(tiny(rules="lfp")).step_ratios.values()])


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
    compare(tiny(seeds=2, lr_grid="0.1,0.2"), watch=watch)
    assert watch.done == watch.total
    assert {"lfp, trying a learning rate of 0.2", "shallow, seed 1"} <= set(watch.stages)


def test_each_rule_gets_its_rate_from_the_grid_without_a_look_at_the_test_data():
    data = own_data()
    other = own_data(x_test=-3 * data.x_test, y_test=1 - data.y_test)
    first, second = (compare(tiny(lr_grid="0.0001,0.3", epochs=5, batch_size=8), data=d) for d in (data, other))
    assert first.trials == second.trials
    assert len(first.trials) == 6
    assert [run.lr for run in first.runs] == [run.lr for run in second.runs]
    assert {run.lr for run in first.runs} <= {0.0001, 0.3}
    for run in first.runs:
        scores = {trial.lr: (trial.score, -trial.loss) for trial in first.trials if trial.rule == run.rule}
        assert run.lr == max(scores, key=scores.__getitem__)
    assert [run.epochs[-1].score for run in first.runs] != [run.epochs[-1].score for run in second.runs]


def test_a_rule_that_diverges_is_named_and_the_others_go_on(register, tmp_path):
    register("bad", poison("linear1.weight", 7))
    results = compare(tiny(rules="bad,lfp", out=tmp_path, seeds=2))
    assert [run.status for run in results.runs_of("bad")] == ["diverged"] * 2
    for rule in ("backprop", "lfp", "shallow"):
        assert [run.status for run in results.runs_of(rule)] == ["finished"] * 2
        assert all(len(run.epochs) == 2 for run in results.runs_of(rule))
    for run in results.runs_of("bad"):
        assert run.divergence.step == 5
        for word in ("bad", "step 5", "linear1.weight", "learning rate below"):
            assert word in run.message()
    page = (results.folder / "report.html").read_text()
    assert "diverged at step 5, in epoch 2: the update of linear1.weight is not finite" in page
    assert Results.load(results.folder).runs == results.runs


def test_results_are_written_when_every_rule_diverges(tmp_path):
    results = compare(tiny(lr=1e38, clip=0, out=tmp_path))
    assert {run.status for run in results.runs} == {"diverged"}
    assert (results.folder / "report.html").exists()
    assert all(summary.score is None for summary in Results.load(results.folder).summaries)


STOPS = {
    "in the second epoch of the first run": ({"steps": 6}, ["interrupted"]),
    "in the first epoch of the second run": ({"steps": 11}, ["finished"]),
    "in the second epoch of the second run": ({"steps": 14}, ["finished", "interrupted"]),
    "between runs": ({"stage": "shallow, seed 0"}, ["finished"] * 2),
    "while the report is written": ({"stage": "writing"}, ["finished"] * 3),
}


@pytest.mark.parametrize("case", STOPS)
def test_ctrl_c_keeps_what_there_is_and_hands_it_over(case, tmp_path):
    when, statuses = STOPS[case]
    with pytest.raises(Interrupted) as stopped:
        compare(tiny(out=tmp_path), watch=StopsAt(**when))
    results = stopped.value.results
    assert isinstance(stopped.value, KeyboardInterrupt)
    assert [run.status for run in results.runs] == statuses
    assert results.interrupted
    assert [path.name for path in tmp_path.iterdir()] == [results.folder.name]
    loaded = Results.load(results.folder)
    assert (loaded.runs, loaded.interrupted) == (results.runs, True)
    assert "was interrupted" in (results.folder / "report.html").read_text()


def test_ctrl_c_while_rates_are_tried_keeps_the_trials(tmp_path):
    with pytest.raises(Interrupted) as stopped:
        compare(tiny(out=tmp_path, lr_grid="0.1,0.2"), watch=StopsAt(stage="rate of 0.2"))
    assert len(stopped.value.results.trials) == 1
    assert Results.load(stopped.value.results.folder).trials == stopped.value.results.trials


@pytest.mark.parametrize("watch", [StopsAt(steps=2), StopsAt(stage="timing")], ids=["in the first epoch", "timing"])
def test_ctrl_c_before_there_is_anything_leaves_nothing(watch, tmp_path):
    with pytest.raises(KeyboardInterrupt) as stopped:
        compare(tiny(out=tmp_path), watch=watch)
    assert not isinstance(stopped.value, Interrupted)
    assert list(tmp_path.iterdir()) == []


def test_nothing_is_left_of_an_experiment_that_fails(tmp_path, monkeypatch):
    def fail(*args):
        raise ZeroDivisionError

    monkeypatch.setattr(comparison, "step_times", fail)
    with pytest.raises(ZeroDivisionError):
        compare(tiny(out=tmp_path))
    assert list(tmp_path.iterdir()) == []


def test_an_existing_folder_is_refused_before_anything_is_trained(tmp_path):
    settings = tiny(out=tmp_path, name="mine")
    first = compare(settings)
    before = (first.folder / RESULTS).read_bytes()
    with pytest.raises(InputError, match=r"mine exists\..*--overwrite"):
        compare(settings, watch=StopsAt(steps=1))
    assert (first.folder / RESULTS).read_bytes() == before
    again = compare(tiny(out=tmp_path, name="mine", overwrite=True, seeds=2))
    assert again.folder == first.folder
    assert len(Results.load(first.folder).runs) == 6


def test_folders_without_a_name_are_numbered(tmp_path):
    names = [train(tiny(rules="lfp:epsilon=0", epochs=1, out=tmp_path)).folder.name for _ in range(2)]
    assert names == ["train-lfp-epsilon-0-circles-4", "train-lfp-epsilon-0-circles-4-2"]
    assert compare(tiny(epochs=1, out=tmp_path), data=own_data()).folder.name == "compare-my-own-4"


IMAGES = {"x_train": torch.zeros(40, 1, 8, 8), "x_test": torch.zeros(20, 1, 8, 8)}
ONE = torch.ones(1, 3)
MISFITS = {
    "a small image": ({"model": "lenet"}, own_data(**IMAGES), "'lenet' takes images of at least 16×16.*1×8×8"),
    "a vector": ({"model": "vgg-like"}, None, "'vgg-like' takes images.*hidden widths instead"),
    "layer norm": ({"model": "vgg-like", "norm": "layer"}, own_data(**IMAGES), "knows no layer norm"),
    "another task": ({"data": "sine", "objective": "softmax"}, None, "'softmax' is not for regression. For regr.*mse"),
    "a device that is not there": ({"device": "cuda:77"}, None, "device 'cuda:77' cannot be used"),
    "no device": ({"device": "gpu"}, None, "device 'gpu' cannot be used"),
    "one sample": ({"norm": "batch"}, own_data(x_train=ONE, y_train=ONE[0, :1].long()), "Cannot train.* '4' on my own"),
    "two rules": ({"rules": "lfp,backprop"}, None, "To train takes one rule, got lfp, backprop. Use compare"),
}


@pytest.mark.parametrize("case", MISFITS)
def test_what_does_not_fit_is_refused_before_the_first_step(case, tmp_path):
    changes, data, message = MISFITS[case]
    with pytest.raises(InputError, match=message):
        train(tiny(**changes, out=tmp_path), data=data, watch=StopsAt(steps=1))
    assert list(tmp_path.iterdir()) == []


def test_warnings_of_a_rule_are_kept_once_among_the_notes(register):
    def hook(model, name, g):
        warnings.warn("mind the gap", UserWarning, stacklevel=1)

    register("loud", lambda: Hooked(hook))
    assert compare(tiny(rules="loud", seeds=2)).notes == ("mind the gap",)


@pytest.mark.parametrize("seeds", [1, 2])
def test_trained_weights_are_kept_and_reproduce_the_score(seeds, tmp_path):
    settings = tiny(rules="lfp", norm="batch", activation="tanh", seeds=seeds, out=tmp_path)
    results, data = train(settings), load_data("circles")
    files = ["model.pt"] if seeds == 1 else ["model-seed-0.pt", "model-seed-1.pt"]
    assert sorted(path.name for path in results.folder.glob("*.pt")) == files
    for run, file in zip(results.runs, files, strict=True):
        model = build_model("4", results.data.shape, activation="tanh", norm="batch", seed=99)
        model.load_state_dict(torch.load(results.folder / file, weights_only=True))
        with torch.no_grad():
            assert score("classification", model.eval()(data.x_test), data.y_test) == run.score


def test_without_a_folder_nothing_is_written(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert compare(tiny()).folder is None
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs CUDA")
def test_cuda_trains_as_the_cpu_does():
    cpu, cuda = (compare(tiny(device=device, lr=0.01)) for device in ("cpu", "cuda"))
    for one, other in zip(cpu.runs, cuda.runs, strict=True):
        assert one.epochs[-1].train_loss == pytest.approx(other.epochs[-1].train_loss, rel=1e-3)


def test_any_data_can_be_reconstructed():
    results = compare(tiny(task="reconstruction", model="8"))
    assert (results.data.task, results.data.outputs, results.metric) == ("reconstruction", 2, "squared error")
    assert all(0 < summary.score < 2 for summary in results.summaries)
