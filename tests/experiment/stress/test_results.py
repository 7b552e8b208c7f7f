"""Networks under stress: what they withstand, who withstands more, and the files and tables that say so."""

import csv

import pytest
from rich.console import Console

from altprop.experiment.data.facts import DataFacts
from altprop.experiment.stress.output import Words, rows, terminal_tables, write_stress
from altprop.experiment.stress.results import Point, StressResults, until_interrupted, withstands
from tests.experiment.toys import own_data

WORDS = Words(
    title="A title",
    subtitle="a subtitle",
    kind="taken by",
    level="taken",
    unit="{:.0%}",
    finer="{:.1%}",
    picture="What is left",
    caption="A caption.",
    withstands="withstands",
    note="A note.",
    facts={"taken": "weights"},
    command="altprop take",
)


def results_of(curves, kinds=("one",), **changes):
    """Results from {rule: {seed: {level: score}}}, the same for each kind."""
    points = tuple(
        Point(kind=kind, rule=rule, seed=seed, level=level, score=score)
        for kind in kinds
        for rule, seeds in curves.items()
        for seed, scores in seeds.items()
        for level, score in scores.items()
    )
    parts = {
        "source": "runs/mine",
        "network": "8",
        "rules": tuple(curves),
        "data": DataFacts.of(own_data()),
        "tolerance": 0.1,
        "created": "2030-01-02T03:04:05+00:00",
        "versions": {"altprop": "1"},
    }
    return StressResults(points=points, **parts | changes)


@pytest.mark.parametrize(
    ("losses", "level"),
    [
        ({0: 0, 0.5: 0.05, 1: 0.1}, 1),
        ({0: 0, 0.5: 0.2, 1: 0.3}, 0.25),
        ({0: 0, 0.5: 0.1, 1: 0.3}, 0.5),
        ({0: 0, 0.5: 0.3, 1: 0.0}, 0.5 / 3),
        ({0: 0, 0.5: -0.1, 1: 0.3}, 0.75),
        ({0: 0}, 0),
    ],
)
def test_what_is_withstood_is_where_the_loss_first_crosses_the_tolerance(losses, level):
    assert withstands(losses, tolerance=0.1) == pytest.approx(level)


def lost_at(level):
    """Scores that have lost 0.1 at this level."""
    return {0.0: 0.9, 1.0: 0.9 - 0.1 / level}


@pytest.mark.parametrize(
    ("mine", "lead"),
    [
        ((0.7, 0.72, 0.71), "yes"),
        ((0.1, 0.12, 0.11), "no"),
        ((0.1, 0.7, 0.4), None),
        ((0.4, 0.5, 0.45), None),  # the same, seed by seed: no lead
        ((0.5, 0.7, 0.75), None),  # differences of 0.1, 0.2 and 0.3: 3.5 standard errors, but of three seeds
    ],
)
def test_a_lead_over_backprop_is_paired_by_seed_and_tested(mine, lead):
    backprop = (0.4, 0.5, 0.45)
    runs = {
        "backprop": {seed: lost_at(level) for seed, level in enumerate(backprop)},
        "lfp": {seed: lost_at(level) for seed, level in enumerate(mine)},
    }
    curves = {curve.rule: curve for curve in results_of(runs).curves}
    assert curves["lfp"].lead.verdict == lead
    assert curves["lfp"].lead.gain == pytest.approx(sum(mine) / 3 - 0.45)
    assert curves["backprop"].lead is None
    assert curves["lfp"].withstands.mean == pytest.approx(sum(mine) / 3)


def test_without_backprop_there_is_no_lead():
    assert results_of({"lfp": {0: lost_at(0.5)}}).curves[0].lead is None


def test_for_an_error_more_is_worse():
    facts = DataFacts.of(own_data()).model_copy(update={"task": "reconstruction"})
    results = results_of({"lfp": {0: {0.0: 0.2, 0.5: 0.1, 1.0: 0.5}}}, data=facts)
    assert results.curves[0].withstands.mean == pytest.approx(0.75)
    assert results.metric == "squared error"


def test_a_curve_has_the_mean_and_deviation_over_seeds_at_each_level():
    results = results_of({"lfp": {0: {0.0: 0.8, 1.0: 0.2}, 1: {0.0: 0.6, 1.0: 0.4}}})
    (curve,) = results.curves_of("one")
    assert curve.levels == (0, 1)
    assert [spread.mean for spread in curve.scores] == pytest.approx([0.7, 0.3])
    assert [spread.deviation for spread in curve.scores] == pytest.approx([0.02**0.5, 0.02**0.5])


def interrupted(*passes):
    yield from passes
    raise KeyboardInterrupt


def test_an_interruption_keeps_the_passes_that_were_done():
    one, two = ([Point(kind="one", rule="lfp", seed=seed, level=0, score=0.5)] for seed in (0, 1))
    assert until_interrupted([one, two], 2) == ((*one, *two), "")
    points, said = until_interrupted(interrupted(one), 2)
    assert points == tuple(one)
    assert "1 of 2 passes" in said
    with pytest.raises(KeyboardInterrupt):
        until_interrupted(interrupted(), 2)


def test_what_was_not_done_has_no_curve_and_is_in_no_table():
    scores = {0: {0.0: 0.9, 1.0: 0.5}}
    whole = results_of({"backprop": scores, "lfp": scores}, kinds=("one", "two"))
    results = whole.model_copy(update={"points": whole.points[:-2]})  # lfp under two was not done
    assert [(curve.kind, curve.rule) for curve in results.curves] == [
        ("one", "backprop"), ("one", "lfp"), ("two", "backprop"),
    ]  # fmt: skip
    assert [table.row_count for table in terminal_tables(results, WORDS)] == [2, 1]


def two_rules(kinds=("one", "two", "three")):
    scores = {seed: {level / 6: 1 - level / 10 for level in range(7)} for seed in range(2)}
    return results_of({"backprop": scores, "lfp": scores}, kinds)


def test_the_files_hold_it_all_and_are_read_again(tmp_path):
    results = two_rules()
    write_stress(results, WORDS, tmp_path)
    names = {"results.csv", "curves.csv", "curves.png", "curves-dark.png", "report.html", "stress.json"}
    assert {file.name for file in tmp_path.iterdir()} == names
    assert StressResults.model_validate_json(results.model_dump_json(exclude={"curves"})) == results
    with (tmp_path / "results.csv").open() as file:
        assert len(list(csv.DictReader(file))) == len(results.points) == 3 * 2 * 2 * 7
    with (tmp_path / "curves.csv").open() as file:
        first = next(csv.DictReader(file))
    assert first == {
        "kind": "one", "rule": "backprop", "level": "0.0", "mean": "1.0", "deviation": "0.0", "seeds": "2",
    }  # fmt: skip
    page = (tmp_path / "report.html").read_text()
    for cell in {"A title", "A note.", "altprop take", *(cell for line in rows(results, WORDS) for cell in line)}:
        assert cell in page


def test_the_terminal_shows_a_table_for_each_kind_with_few_levels():
    console = Console(width=100, record=True)
    for table in terminal_tables(two_rules(), WORDS):
        console.print(table)
    text = console.export_text()
    assert [text.count(f"taken by {kind}") for kind in ("one", "two", "three")] == [1, 1, 1]
    assert text.count("A note.") == 1
    assert "100%" in text
    assert "0.400" in text
