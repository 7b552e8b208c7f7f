"""What a study says: against statistics by hand, and after a journey to the disk."""

import json

import pytest

from altprop.experiment import InputError
from altprop.experiment.records.files import mark_all
from altprop.experiment.records.study import STUDY, Study, Trial
from altprop.experiment.records.summary import StepTime, Summary
from tests.experiment.toys import own_data, run_of, study_of


def summary_of(results, rule) -> Summary:
    return next(summary for summary in results.summaries if summary.rule == rule)


def test_mean_and_deviation_are_those_of_the_last_scores():
    results = study_of(run_of("lfp", 0, 0.1, 0.5), run_of("lfp", 1, 0.9, 0.7), run_of("lfp", 2, 0.2, 0.9))
    summary = summary_of(results, "lfp")
    assert summary.test.mean == pytest.approx((0.5 + 0.7 + 0.9) / 3)
    assert summary.test.deviation == pytest.approx(((0.2**2 + 0 + 0.2**2) / 2) ** 0.5)
    assert summary.seeds == 3
    assert summary_of(study_of(run_of("lfp", 0, 0.5)), "lfp").test.deviation is None


def test_measurements_are_averaged_over_epochs_and_then_over_runs():
    results = study_of(run_of("lfp", 0, 0.1, 0.5, cosine=0.2), run_of("lfp", 1, 0.9, 0.7, cosine=0.6))
    summary = summary_of(results, "lfp")
    assert summary.cosine == pytest.approx(0.4)
    assert summary.layer_cosines == {"linear1": pytest.approx(0.4)}
    assert summary.sparsity == 0.25
    undefined = summary_of(study_of(run_of("lfp", 0, 0.5, cosine=None)), "lfp")
    assert undefined.cosine is None
    assert undefined.layer_cosines == {"linear1": None}


def test_runs_that_did_not_finish_are_not_averaged_but_named():
    runs = [run_of("lfp", 0, 0.5), run_of("lfp", 1, 0.1, diverged=True), run_of("lfp", 2, diverged=True)]
    summary = summary_of(study_of(*runs), "lfp")
    assert (summary.seeds, summary.test.mean) == (1, 0.5)
    assert summary.trouble == "diverged at step 7 (2 of 3 seeds)"
    alone = summary_of(study_of(run_of("lfp", 0, diverged=True)), "lfp")
    assert (alone.test.mean, alone.seeds, alone.trouble) == (None, 0, "diverged at step 7")


def test_an_interrupted_run_is_named_with_its_score_so_far():
    runs = [run_of("lfp", 0, 0.5), run_of("lfp", 1, 0.25, interrupted=True)]
    summary = summary_of(study_of(*runs), "lfp")
    assert (summary.test.mean, summary.trouble) == (0.5, "interrupted after epoch 1, at 0.250 (seed 1)")


def test_runs_that_are_missing_are_counted():
    results = study_of(run_of("lfp", 0, 0.5), rules=("lfp", "backprop"), seeds=(0, 1, 2))
    assert summary_of(results, "lfp").trouble == "1 of 3 seeds run"
    missing = summary_of(results, "backprop")
    assert (missing.test.mean, missing.lr, missing.trouble) == (None, None, "0 of 3 seeds run")


def test_the_lead_over_the_control_is_paired_by_seed():
    mine, control = (0.2, 0.6, 0.91), (0.1, 0.5, 0.8)
    runs = [run_of("lfp", seed, score) for seed, score in enumerate(mine)]
    runs += [run_of("shallow", seed, score) for seed, score in enumerate(control)]
    lead = summary_of(study_of(*runs), "lfp").over_control
    # The differences are 0.1, 0.1 and 0.11, though the seeds themselves differ widely.
    assert (lead.gain, lead.seeds, lead.verdict) == (pytest.approx(0.31 / 3), 3, "yes")
    assert lead.error == pytest.approx((2 * 0.01**2 / 3 / 2 / 3) ** 0.5)
    assert summary_of(study_of(*runs), "shallow").over_control is None


def test_an_error_that_is_lower_is_a_lead():
    numbers = own_data().train.y.float()[:, None].expand(-1, 3)
    data = own_data(task="reconstruction", outputs=3, y_train=numbers, y_test=numbers[:20])
    runs = [run_of("lfp", seed, 0.1) for seed in (0, 1)] + [run_of("shallow", seed, 0.3) for seed in (0, 1)]
    assert summary_of(study_of(*runs, data=data), "lfp").over_control.gain == pytest.approx(0.2)


def test_only_seeds_that_both_finished_are_compared_with_the_control():
    runs = [run_of("lfp", 0, 0.9), run_of("lfp", 1, 0.1), run_of("shallow", 0, 0.5), run_of("lfp", 2, diverged=True)]
    runs += [run_of("shallow", 1, 0.99, diverged=True), run_of("shallow", 2, 0.5)]
    lead = summary_of(study_of(*runs), "lfp").over_control
    assert (lead.gain, lead.seeds, lead.verdict) == (pytest.approx(0.4), 1, None)
    assert summary_of(study_of(run_of("lfp", 0, 0.9)), "lfp").over_control is None
    nothing = [run_of("lfp", 0, diverged=True), run_of("shallow", 0, 0.5)]
    assert summary_of(study_of(*nothing), "lfp").over_control is None


def test_a_step_time_that_wavers_is_named_and_not_shown():
    times = {
        "backprop": StepTime(ratio=1.0, low=1.0, high=1.0, rounds=60),
        "lfp": StepTime(ratio=1.3, low=0.4, high=1.6, rounds=60),
    }
    results = study_of(run_of("lfp", 0, 0.5), run_of("backprop", 0, 0.5), step_times=times)
    assert [summary_of(results, rule).step_ratio for rule in ("backprop", "lfp")] == [1.0, None]
    (message,) = results.messages
    assert "step time of lfp is not shown" in message
    assert "between 0.40 and 1.60" in message


def test_everything_but_the_networks_survives_the_disk(tmp_path):
    results = study_of(
        run_of("lfp", 0, 0.5, 0.6, cosine=None),
        run_of("lfp", 1, diverged=True),
        run_of("shallow", 0, 0.4, interrupted=True),
        trials=(Trial(rule="lfp", lr=0.1, score=None, loss=None),),
        step_times={"lfp": StepTime(ratio=1.2, low=1.1, high=1.3, rounds=60)},
        notes=("a warning",),
        rules=("lfp", "shallow"),
        seeds=(0, 1),
        folder=tmp_path,
    )
    (tmp_path / STUDY).write_text(results.as_json())
    mark_all(tmp_path, "study")
    loaded = Study.load(tmp_path)
    assert loaded == results
    assert loaded.summaries == results.summaries
    assert loaded.interrupted


@pytest.mark.parametrize("text", ["", "{", "[]", '{"kind": "sweep"}', '{"kind": "study", "recipe": {"dta": {}}}'])
def test_a_record_that_is_none_is_named(text, tmp_path):
    (tmp_path / STUDY).write_text(text)
    mark_all(tmp_path, "study")
    with pytest.raises(InputError, match=r"study\.json is damaged"):
        Study.load(tmp_path)


def test_the_record_is_json_for_any_program():
    told = json.loads(study_of(run_of("lfp", 0, 0.5)).model_dump_json())
    assert (told["kind"], told["format"]) == ("study", 1)
    assert told["cells"][0]["history"][0]["test_score"] == 0.5
    assert not {"folder", "model"} & {*told, *told["cells"][0]}
