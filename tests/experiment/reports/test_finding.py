"""What a report takes from folders, and what it says of those that it cannot read."""

import json
from pathlib import Path

import pytest

from altprop.experiment.errors import InputError
from altprop.experiment.recipes import Recipe, dump_recipe
from altprop.experiment.records.facts import FACTS, RECIPE
from altprop.experiment.records.files import MARKER, mark_all, sealed_line
from altprop.experiment.records.kinds import RECORDS
from altprop.experiment.records.study import STUDY, cell_folder
from altprop.experiment.reports.finding import find
from altprop.experiment.sweeps.plan import Plan
from altprop.experiment.sweeps.results import SweepResults, SweepTrial
from tests.experiment.reports.toys import compared, figures, fit_of, put, recipe_run
from tests.experiment.stress.test_results import results_of as stressed
from tests.experiment.toys import run_of, study_of


def swept(folder, *values):
    """A sweep over learning rates, one for each value; None: the trial was pruned."""
    search = {"space": {"optimizer.lr": [0.1 * (n + 1) for n in range(len(values))]}}
    plan = Plan(recipe=Recipe(search=search), search="grid", trials=len(values), grace=60, created="", versions={})
    trials = [
        SweepTrial(
            trial=n,
            number=n,
            state="pruned" if value is None else "complete",
            value=value,
            values={"optimizer.lr": 0.1 * (n + 1)},
            executions=(),
            message="",
            attempts=(),
        )
        for n, value in enumerate(values)
    ]
    return put(folder, SweepResults(name="rates", storage="sqlite://", plan=plan, trials=trials), "sweep")


def begun(folder, *lines, seeds=2):
    """A study that is not over: its first network is in training."""
    put(folder, study_of(rules=("fa",), seeds=tuple(range(seeds)), cells=()))
    (folder / FACTS).write_text(json.dumps({"command": "x", "git": {"commit": "abc", "dirty": True}}))
    cell = cell_folder(folder, "fa", 0)
    cell.mkdir(parents=True)
    (cell / "history.jsonl").write_text("".join(lines))
    mark_all(folder, "study")
    return folder


def names(found):
    return [source.name for source in found.sources]


def test_runs_are_found_at_any_depth_each_once(tmp_path):
    one, two = compared(tmp_path / "a" / "b" / "one"), recipe_run(tmp_path / "two")
    compared(tmp_path / ".in-the-making")
    assert names(find([tmp_path])) == ["one", "two"]
    assert names(find([two, tmp_path, one, one / ".." / "one"])) == ["two", "one"]


def test_runs_of_the_same_name_are_called_by_their_paths(tmp_path):
    one, two = compared(tmp_path / "a" / "same"), recipe_run(tmp_path / "b" / "same")
    recipe_run(tmp_path / "other")
    found = find([tmp_path])
    assert names(found) == [str(one), str(two), "other"]
    assert {entry.run for entry in found.entries} == set(names(found))


def test_a_folder_that_is_named_by_a_dot_has_its_own_name(tmp_path, monkeypatch):
    monkeypatch.chdir(recipe_run(tmp_path / "mine"))
    assert names(find([Path()])) == ["mine"]


def test_a_comparison_is_read_whole(tmp_path):
    compared(tmp_path / "mine", run_of("lfp", 0, 0.5, 0.6, lr=0.3), run_of("lfp", 1, 0.9, diverged=True, lr=0.3))
    (entry,) = find([tmp_path]).entries
    assert (entry.rule, entry.lr, entry.task, entry.data, entry.seeds) == ("lfp", 0.3, "classification", "my own", 2)
    good, bad = entry.networks
    assert (good.figures.test, good.counts, good.seconds) == (0.6, True, 1.5)
    assert [point.tracked["bp_cosine_hidden"] for point in good.points] == [0.5, 0.5]
    assert bad.status == "diverged"
    assert not bad.counts
    assert "diverged at step 7" in bad.message
    assert (entry.test.mean, entry.test.deviation, entry.trouble) == (0.6, None, "1 of 2 diverged")


def test_validation_data_choose_the_epoch_of_a_recipe(tmp_path):
    history = (figures(1, test_score=0.5, val_score=0.9), figures(2, test_score=0.7, val_score=0.8))
    recipe_run(tmp_path / "mine", fit_of(3, history=history, best_epoch=1), rule="lfp:epsilon=0")
    (entry,) = find([tmp_path]).entries
    assert entry.rule == "lfp:epsilon=0"
    assert (entry.test.mean, entry.validation.mean) == (0.5, 0.9)


def test_a_training_that_is_not_over_is_shown_but_does_not_count(tmp_path):
    start, line = (sealed_line(figures(n, test_score=n / 2).model_dump()) for n in (0, 1))
    begun(tmp_path / "mine", start, line, line[:20])
    found = find([tmp_path])
    (source,), (entry,) = found.sources, found.entries
    assert [point.test for point in entry.networks[0].points] == [0.5]
    assert entry.test.mean is None
    assert entry.trouble == "1 of 2 not over, 1 of 2 not begun"
    assert "not over" in source.notes[0]
    assert source.git == "abc, and files that differ from it"


def test_a_study_in_jax_is_a_row_as_the_others(tmp_path):
    study = study_of(run_of("fa", 0, 0.4)).model_copy(update={"framework": "jax"})
    put(tmp_path / "mine", study)
    recipe_run(tmp_path / "other")
    mine, other = find([tmp_path]).sources
    assert [source.kind for source in (mine, other)] == ["jax", "train"]
    assert [source.entries[0].settings["framework"] for source in (mine, other)] == ["jax", "torch"]


def test_a_sweep_shows_its_best_trials_first(tmp_path):
    swept(tmp_path / "mine", 0.3, None, 0.2)
    (sweep,) = find([tmp_path]).sweeps
    assert [row[:2] for row in sweep.rows] == [("2", "0.2"), ("0", "0.3"), ("1", "– (pruned)")]
    assert "3 of 3 trials" in sweep.summary


def test_pruning_and_robustness_are_named(tmp_path):
    put(tmp_path / "mine", stressed({"lfp": {0: {0.0: 0.9, 1.0: 0.1}}}, kinds=("fgsm", "pgd")), "robustness")
    (stress,) = find([tmp_path]).stresses
    assert stress.summary == "8 on my own, lfp: fgsm, pgd"


def test_explanations_and_earlier_reports_are_passed_over(tmp_path):
    recipe_run(tmp_path / "mine")
    for kind in ("explanation", "report"):
        put(tmp_path / kind, study_of(), kind)
    assert names(find([tmp_path])) == ["mine"]


def test_a_run_that_has_not_written_its_record_is_nothing_yet(tmp_path):
    recipe_run(tmp_path / "mine")
    (tmp_path / "begun").mkdir()
    mark_all(tmp_path / "begun", "study")
    assert names(find([tmp_path])) == ["mine"]


def truncated(path):
    path.write_text(path.read_text()[:-20])


def without(path, key):
    fields = json.loads(path.read_text())
    del fields[key]
    path.write_text(json.dumps(fields))


TOY = {"lfp": {0: {0.0: 0.9, 1.0: 0.1}}}
BROKEN = {
    "a study": lambda at: truncated(compared(at) / STUDY),
    "a study without its data": lambda at: without(compared(at) / STUDY, "data"),
    "a folder of another kind": lambda at: (at.mkdir(), mark_all(at, "JAX training")),
    "a marker": lambda at: truncated(compared(at) / MARKER),
    **{
        f"{name} of 0.1.0": lambda at, name=name: (at.mkdir(), (at / name).write_text("{}"))
        for name in ("results.json", "training.json", "sweep.json")
    },
    "facts": lambda at: (recipe_run(at) / FACTS).write_text("[1]"),
    "a line of the history": lambda at: begun(at, '{"epoch": 1}\n'),
    "a sweep": lambda at: truncated(swept(at, 0.5) / "sweep.json"),
    "pruning": lambda at: without(put(at, stressed(TOY), "pruning") / RECORDS["pruning"], "rules"),
    "pruning without its rules": lambda at: put(at, study_of(), "pruning"),
}


@pytest.mark.parametrize("broken", BROKEN.values(), ids=BROKEN.keys())
def test_what_is_damaged_is_named_alone_and_among_others(tmp_path, broken):
    compared(tmp_path / "good")
    broken(tmp_path / "bad")
    for asked in (tmp_path / "bad", tmp_path):
        with pytest.raises(InputError, match=r"bad\b.*(damaged|does not read).*Leave out") as error:
            find([asked])
        assert "\n" not in str(error.value)
        assert "good" not in str(error.value)


def test_all_that_is_wrong_is_named_at_once(tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError) as error:
        find([tmp_path / "empty", tmp_path / "missing"])
    assert f"{tmp_path / 'empty'} holds no run" in str(error.value)
    assert f"There is no folder {tmp_path / 'missing'}" in str(error.value)


def test_a_recipe_alone_is_no_run(tmp_path):
    (tmp_path / RECIPE).write_text(dump_recipe(Recipe()))
    with pytest.raises(InputError, match="holds no run"):
        find([tmp_path])
