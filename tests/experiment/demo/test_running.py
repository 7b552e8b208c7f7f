"""The demo, with one seed, one epoch and a few images: what it writes, and that it says what was seen."""

import re
from dataclasses import replace

import pytest
import torch
from torch.nn import functional as F
from typer.testing import CliRunner

from altprop.cli import app
from altprop.experiment import InputError, Splits, Study, load_data
from altprop.experiment.demo.running import DemoSettings, demonstrate
from altprop.experiment.demo.seen import headline
from altprop.experiment.records.files import MARKER, marker_of
from altprop.experiment.records.ownership import foreign
from altprop.experiment.registry import RULES
from altprop.experiment.reports.finding import find
from tests.experiment.toys import StopsAt, run_of, study_of


def few_digits():
    """Images of 16×16, the least that LeNet takes."""
    data = load_data("digits")
    (x, y), (x_test, y_test) = ((F.interpolate(part.x, size=16), part.y) for part in (data.train, data.test))
    return Splits.of_tensors("few", (x[:256], y[:256]), (x_test[:120], y_test[:120]))


def settings(folder, **changes):
    return DemoSettings(**{"epochs": 1, "seeds": 1, "out": folder, "name": "it"} | changes)


@pytest.fixture(scope="module")
def demo(tmp_path_factory):
    return demonstrate(settings(tmp_path_factory.mktemp("runs")), data=few_digits())


def page(demo):
    return (demo.folder / "report.html").read_text(encoding="utf-8")


def text(demo):
    return " ".join(re.sub(r"<[^>]+>", " ", page(demo)).split())


def test_every_rule_takes_part_and_none_that_cannot_work(demo):
    assert demo.rules.rules == tuple(RULES), "tanh is fit for all of them"
    assert demo.steps.rules == ("backprop", "lfp:epsilon=0.3", "shallow")
    assert not any("left out" in message or "unbounded" in message for message in demo.messages)


def test_the_folder_holds_each_part_as_its_command_writes_it(demo):
    assert {path.name for path in demo.folder.iterdir()} == {"report.html", "rules", "steps", "explanations", MARKER}
    for part, study in (("rules", demo.rules), ("steps", demo.steps)):
        assert Study.load(demo.folder / part).summaries == study.summaries
        assert (demo.folder / part / "report.html").is_file()
    assert (demo.folder / "explanations/report.html").is_file()
    assert marker_of(demo.folder)["kind"] == "demo"
    assert list(foreign(demo.folder)) == []


def test_a_report_takes_its_comparisons_and_passes_over_the_rest(demo):
    found = find([demo.folder.parent])
    assert [(one.name, one.folder.parent) for one in found.sources] == [("rules", demo.folder), ("steps", demo.folder)]


def test_the_page_shows_all_three_parts_and_where_they_lie(demo):
    shown = text(demo)
    for study in (demo.rules, demo.steps):
        for summary in study.summaries:
            assert summary.rule in shown
            assert summary.test.text() in shown
    assert page(demo).count("<img ") == 3
    links = re.findall(r'href="([^"]+)"', page(demo))
    assert links == [f"{part}/report.html" for part in ("rules", "steps", "explanations")]
    assert all((demo.folder / link).is_file() for link in links)
    assert "altprop demo" in shown
    assert not re.search(r"/\.it-", page(demo)), "it names the place where it is, not where it was made"
    assert f"{demo.folder}/rules" in (demo.folder / "explanations/report.html").read_text(encoding="utf-8")


def test_backprop_cannot_train_through_steps(demo):
    scores = {(cell.rule, cell.seed): cell.score for cell in demo.steps.cells}
    assert scores["backprop", 0] == scores["shallow", 0]
    assert "to the last digit" in headline(demo)[1]


def test_the_sample_that_is_shown_as_misread_is_misread_and_the_first(demo):
    splits, network = few_digits(), demo.rules.models()["lfp"]
    with torch.no_grad():
        wrong = (network(splits.test.x).argmax(1) != splits.test.y).nonzero().flatten()
    first = demo.explanations.settings.index[0]
    assert first == int(wrong[0])
    assert demo.misread.true == str(int(splits.test.y[first]))
    assert demo.misread.predicted_name != demo.misread.true
    others = demo.explanations.inputs[1:]
    assert all(one.true == one.predicted_name for one in others)
    assert len({one.true for one in demo.explanations.inputs}) == 1 + len(others) == 4
    assert f"test sample {first}, a {demo.misread.true}, for a {demo.misread.predicted_name}" in headline(demo)[2]


def test_where_none_is_misread_it_says_so(demo):
    assert headline(replace(demo, misread=None))[2] == "The network that lfp trained misreads no test sample."


def test_the_headline_counts_by_the_test():
    """Of the rules one is ahead of the control in every seed, one in none; backprop is not counted."""
    scores = {"backprop": (0.9, 0.9), "lfp": (0.8, 0.7), "dfa": (0.5, 0.6), "shallow": (0.6, 0.5)}
    rules = study_of(*(run_of(rule, seed, score) for rule, own in scores.items() for seed, score in enumerate(own)))
    from altprop.experiment.demo.seen import _of_rules  # noqa: PLC0415

    said = _of_rules(rules)
    assert "backprop reaches 0.900 ± 0.000, and 1 of 2 other rules beat shallow" in said
    assert "(0.750 against 0.550 ± 0.071; paired t-test over 2 seeds, level 0.05). Those that do not: dfa." in said


def test_an_earlier_demo_is_replaced_only_if_asked_and_nothing_else_ever(demo, tmp_path):
    with pytest.raises(InputError, match="exists"):
        demonstrate(settings(demo.folder.parent), data=few_digits())
    (tmp_path / "it").mkdir()
    (tmp_path / "it" / "letter.txt").write_text("dear")
    with pytest.raises(InputError, match="not replaced"):
        demonstrate(settings(tmp_path, overwrite=True), data=few_digits())
    assert [path.name for path in (tmp_path / "it").iterdir()] == ["letter.txt"]
    (demo.folder / "steps" / "mine.txt").write_text("mine")
    try:
        with pytest.raises(InputError, match=r"steps/mine\.txt"):
            demonstrate(settings(demo.folder.parent, overwrite=True), data=few_digits())
    finally:
        (demo.folder / "steps" / "mine.txt").unlink()


def test_ctrl_c_leaves_nothing(tmp_path):
    with pytest.raises(KeyboardInterrupt):
        demonstrate(settings(tmp_path / "runs"), data=few_digits(), watch=StopsAt(stage="dfa, seed 0"))
    assert not (tmp_path / "runs").exists()


def test_the_command_line_prints_the_tables_and_what_was_seen(demo, monkeypatch, tmp_path):
    monkeypatch.setattr("altprop.experiment.demo.running.demonstrate", lambda settings, watch: demo)
    result = CliRunner().invoke(app, ["demo", "--seeds", "1", "--epochs", "1", "--out", str(tmp_path)])
    assert result.exit_code == 0, result.output
    shown = " ".join(result.output.split())
    assert all(sentence in shown for sentence in headline(demo))
    assert "report.html" in shown
