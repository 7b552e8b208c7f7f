"""The tables of a report: what is compared with what, and what stands in the rows."""

from statistics import mean, stdev

import pytest

from altprop.experiment.data.facts import DataFacts
from altprop.experiment.reports.finding import find
from altprop.experiment.reports.tables import as_markdown, entry_rows, groups_of, header, network_rows, rows, shared
from tests.experiment.reports.toys import CIRCLES, compared, fit_of, recipe_run
from tests.experiment.toys import own_data, run_of, tiny


def groups(folder):
    return groups_of(find([folder]).entries)


def test_means_and_deviations_are_over_the_seeds_that_finished(tmp_path):
    runs = [run_of("lfp", seed, 0.1, score) for seed, score in enumerate((0.5, 0.75, 0.85))]
    compared(tmp_path / "mine", *runs, run_of("lfp", 3, 0.9, diverged=True))
    (row,) = entry_rows(groups(tmp_path))
    assert row["test_accuracy_mean"] == pytest.approx(mean((0.5, 0.75, 0.85)))
    assert row["test_accuracy_sd"] == pytest.approx(stdev((0.5, 0.75, 0.85)))
    assert (row["seeds"], row["seeds_asked"], row["left_out"]) == (3, 4, "1 of 4 diverged")
    assert [line["test_accuracy"] for line in network_rows(groups(tmp_path))] == [0.5, 0.75, 0.85, 0.9]
    assert [line["counts"] for line in network_rows(groups(tmp_path))] == [True, True, True, False]


def test_scores_of_different_kinds_never_share_a_table_or_a_column(tmp_path):
    compared(tmp_path / "a", data=own_data())
    recipe_run(
        tmp_path / "b", fit_of(0, 0.1), data=CIRCLES.model_copy(update={"name": "my own", "task": "reconstruction"})
    )
    recipe_run(tmp_path / "c", fit_of(0, 0.2), data=CIRCLES.model_copy(update={"name": "my own", "task": "regression"}))
    found = groups(tmp_path)
    assert [group.metric for group in found] == ["accuracy", "squared error", "R²"]
    assert [group.title for group in found] == ["my own", "my own, reconstruction", "my own"]
    assert [f"test {group.metric}" in header(group) for group in found] == [True] * 3
    filled = [{key for key, value in row.items() if key.startswith("test_") and value} for row in entry_rows(found)]
    assert filled[1:] == [{"test_accuracy_mean"}, {"test_squared_error_mean"}, {"test_r2_mean"}]


def test_columns_are_what_differs_and_the_rest_is_said_once(tmp_path):
    recipe_run(tmp_path / "small", model={"name": "8"}, training={"seeds": 1, "batch_size": 5})
    recipe_run(tmp_path / "large", model={"name": "512"}, training={"seeds": 1, "batch_size": 5})
    (group,) = groups(tmp_path)
    assert header(group) == ["run", "rule", "model", "lr", "test accuracy", "seeds", "epochs", "time"]
    assert rows(group)[0] == ["large", "backprop", "512", "0.1", "0.750", "1", "2", "2.0 s"]
    assert shared(group) == "activation relu, optimizer sgd, objective cross-entropy, batch size 5"


def test_runs_by_flags_and_by_a_recipe_that_say_the_same_do_not_differ(tmp_path):
    recipe = {"model": {"name": "4"}, "rule": "lfp", "training": {"seeds": 1, "batch_size": 250}}
    recipe_run(tmp_path / "recipe", **recipe, data=CIRCLES)
    settings = tiny(rules=("lfp",), seeds=(0,))
    facts = DataFacts.of(own_data()).model_copy(update={"name": "circles"})
    compared(tmp_path / "flags", run_of("lfp", 0, 0.5, 0.5), settings=settings)
    (mine, other) = groups(tmp_path)
    assert mine.entries[0].settings == other.entries[0].settings
    assert facts.test == CIRCLES.test


def test_a_table_has_columns_for_what_there_is(tmp_path):
    compared(tmp_path / "mine", run_of("lfp", 0, 0.5), run_of("lfp", 1, interrupted=True))
    (group,) = groups(tmp_path)
    assert header(group)[-1] == "left out"
    assert rows(group)[0][-1] == "1 of 2 interrupted"
    assert not any("validation" in name for name in header(group))


def test_markdown_is_a_table_for_each_group(tmp_path):
    compared(tmp_path / "mine")
    assert as_markdown(groups(tmp_path)) == (
        "## my own\n\n"
        "| run | rule | lr | test accuracy | seeds | epochs | time |\n"
        "| --- | --- | ---: | ---: | ---: | ---: | ---: |\n"
        "| mine | lfp | 0.1 | 0.700 ± 0.141 | 2 | 2 | 1.5 s |\n"
        "| mine | fa | 0.1 | 0.400 ± 0.000 | 2 | 1 | 1.5 s |\n\n"
        "Mean ± standard deviation over seeds. In all rows: model 4, activation relu, optimizer sgd, objective "
        "cross-entropy, batch size 250.\n"
    )


@pytest.mark.parametrize(
    ("one", "two", "labels"),
    [
        (("lfp", "fa"), (), ["lfp", "fa"]),
        (("lfp",), ("fa",), ["lfp", "fa"]),
        (("lfp",), ("lfp",), ["one", "two"]),
        (("lfp", "fa"), ("lfp",), ["lfp, one", "fa, one", "lfp, two"]),
    ],
)
def test_lines_are_called_as_briefly_as_tells_them_apart(tmp_path, one, two, labels):
    for name, rules in (("one", one), ("two", two)):
        if rules:
            compared(tmp_path / name, *(run_of(rule, 0, 0.5) for rule in rules))
    assert groups(tmp_path)[0].labels() == labels
