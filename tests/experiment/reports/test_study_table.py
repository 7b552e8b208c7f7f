"""The table: its numbers, and how it looks in a terminal."""

import io

import pytest
from rich.console import Console

from altprop.experiment.records.summary import StepTime
from altprop.experiment.reports.study_table import header, row, terminal_table, verdict_of
from tests.experiment.toys import own_data, run_of, study_of

RUNS = [
    run_of("backprop", 0, 0.9, cosine=1.0),
    run_of("backprop", 1, 0.8, cosine=1.0),
    run_of("lfp", 0, 0.8, lr=0.3),
    run_of("lfp", 1, 0.7, lr=0.3),
    run_of("shallow", 0, 0.4),
    run_of("shallow", 1, 0.6),
]


def show(results, width=160):
    console = Console(file=io.StringIO(), width=width)
    console.print(terminal_table(results))
    return console.file.getvalue()


def test_a_row_holds_the_numbers_of_its_rule():
    times = {"backprop": (1.0, 1.0), "lfp": (1.2, 1.3), "shallow": (0.2, 1.3)}
    times = {rule: StepTime(ratio=1.256, low=low, high=high, rounds=60) for rule, (low, high) in times.items()}
    results = study_of(*RUNS, step_times=times)
    assert header(results)[2:5] == ["test accuracy", "step time", "cosine (hidden)"]
    rows = {summary.rule: row(results, summary) for summary in results.summaries}
    # Of the differences 0.5 and 0.2: mean 0.35, standard error 0.15. Backprop is given no verdict.
    assert rows["backprop"] == ["backprop", "0.1", "0.850 ± 0.071", "1.26×", "1.00", "25%", "+0.350 ± 0.150"]
    assert rows["lfp"][:6] == ["lfp", "0.3", "0.750 ± 0.071", "1.26×", "0.50", "25%"]
    assert rows["lfp"][-1] == "+0.250 ± 0.150 (p = 0.34)"
    assert rows["shallow"][2:4] == ["0.500 ± 0.141", "–"]
    assert rows["shallow"][-1] == "–"


def test_a_verdict_is_never_without_its_figures_nor_beside_backprop():
    runs = [run_of(rule, seed, score) for rule, score in SCORES.items() for seed in range(3)]
    results = study_of(*runs)
    rows = {summary.rule: row(results, summary)[-1] for summary in results.summaries}
    assert rows == {
        "backprop": "+0.400 ± 0.000", "lfp": "yes: +0.100 ± 0.000", "dfa": "no: −0.100 ± 0.000", "shallow": "–",
    }  # fmt: skip
    assert [verdict_of(summary) for summary in results.summaries] == ["", "yes", "no", ""]


SCORES = {"backprop": 0.75, "lfp": 0.45, "dfa": 0.25, "shallow": 0.35}


def test_what_is_missing_or_went_wrong_is_shown_in_place_of_numbers():
    runs = [run_of("lfp", 0, diverged=True), run_of("backprop", 0, 0.5), run_of("backprop", 1, 0.1, diverged=True)]
    results = study_of(*runs)
    lfp, backprop = (row(results, summary) for summary in results.summaries)
    assert lfp == ["lfp", "0.1", "diverged at step 7 (1 of 2 seeds)", "–", "–"]
    assert backprop[2] == "0.500\ndiverged at step 7 (1 of 2 seeds)"


@pytest.mark.parametrize("width", [80, 160])
def test_the_terminal_shows_every_rule_and_the_note_on_the_control(width):
    text = show(study_of(*RUNS), width)
    for word in ("backprop", "lfp", "shallow", "0.850", "±", "my own"):
        assert word in text
    assert "taught" in text


def test_training_alone_is_compared_with_no_control():
    results = study_of(run_of("lfp", 0, 0.8))
    assert "beats shallow" not in header(results)
    assert len(row(results, results.summaries[0])) == len(header(results))
    assert "taught" not in show(results)


def test_regression_shows_r2():
    numbers = own_data().train.y.float()[:, None].expand(-1, 2)
    data = own_data(task="regression", y_train=numbers, y_test=numbers[:20])
    assert "test R²" in header(study_of(run_of("lfp", 0, 0.8), data=data))
