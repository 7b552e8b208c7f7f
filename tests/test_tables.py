"""Results in a notebook and as data frames."""

import sys
from html.parser import HTMLParser

import pytest
import torch
from torch import nn

import altprop
from altprop._tables import Table, as_html
from altprop.experiment.explaining.results import Explained, Explanations, Outcome
from altprop.experiment.explaining.settings import ExplainSettings
from altprop.experiment.reports.finding import find
from altprop.experiment.reports.records import Report
from tests.experiment.reports.toys import compared
from tests.experiment.stress.test_results import two_rules
from tests.experiment.toys import own_data, run_of, study_of

HOSTILE = "<script>alert('1')</script>"


class Cells(HTMLParser):
    """The text of each cell of a table, row by row, and all tags."""

    def __init__(self, text):
        super().__init__()
        self.rows, self.tags = [], []
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        self.tags.append(tag)
        if tag == "tr":
            self.rows.append([])
        elif tag in ("th", "td"):
            self.rows[-1].append("")

    def handle_data(self, data):
        if self.rows:
            self.rows[-1][-1] += data


def test_whatever_stands_in_a_table_is_text():
    cells = Cells(as_html(Table(HOSTILE, [HOSTILE], [[HOSTILE, HOSTILE]])))
    assert "script" not in cells.tags
    assert cells.rows == [[HOSTILE], [HOSTILE, HOSTILE]]


def test_numbers_are_short_and_what_is_missing_is_a_dash():
    assert Cells(as_html(Table("", ["a"], [[1, 2 / 3, None, True]]))).rows[1] == ["1", "0.6667", "–", "True"]


def test_an_inspection_is_shown_with_what_has_no_rule():
    model = nn.Sequential(nn.Linear(4, 3), nn.Tanh())
    found = altprop.inspect(model, torch.randn(2, 4), altprop.LFP())
    rows = Cells(found._repr_html_()).rows
    assert rows[0] == ["module", "operation", "rule", "what it does"]
    assert [row[:3] for row in rows[1:]] == [[o.module, o.name, o.rule] for o in found]
    frame = found.to_dataframe()
    assert list(frame.columns) == ["name", "module", "rule", "known", "summary"]
    assert frame["rule"].tolist() == [o.rule for o in found]


def test_a_study_is_shown_rule_by_rule_and_framed_epoch_by_epoch():
    data = own_data(name=HOSTILE)
    study = study_of(run_of("lfp", 0, 0.5, 0.75), run_of("lfp", 1, 0.5, 0.25), run_of("shallow", 0, 0.4), data=data)
    cells = Cells(study._repr_html_())
    assert "script" not in cells.tags
    assert [row[0] for row in cells.rows] == ["rule", "lfp", "shallow"]
    assert cells.rows[1][2] == study.summary("lfp").test.text()
    frame = study.to_dataframe()
    assert frame[["rule", "seed", "epoch"]].values.tolist() == [
        ["lfp", 0, 1], ["lfp", 0, 2], ["lfp", 1, 1], ["lfp", 1, 2], ["shallow", 0, 1],
    ]  # fmt: skip
    assert frame.groupby(["rule", "seed"])["test_score"].last().to_dict() == {
        ("lfp", 0): 0.75, ("lfp", 1): 0.25, ("shallow", 0): 0.4,
    }  # fmt: skip
    assert frame["sparsity"].tolist() == [0.25] * 5


def test_networks_under_stress_are_shown_curve_by_curve_and_framed_point_by_point():
    results = two_rules(kinds=("one", "two"))
    rows = Cells(results._repr_html_()).rows
    assert [tuple(row[:2]) for row in rows[1:]] == [
        (kind, rule) for kind in ("one", "two") for rule in ("backprop", "lfp")
    ]
    assert rows[1][2] == "1.000 ± 0.000"
    frame = results.to_dataframe()
    assert len(frame) == len(results.points)
    assert frame["score"].tolist() == [point.score for point in results.points]


def test_a_merged_report_is_shown_run_by_run_and_framed_network_by_network(tmp_path):
    compared(tmp_path / "mine", run_of("lfp", 0, 0.5), run_of("lfp", 1, 0.75), run_of("fa", 0, diverged=True))
    report = Report(folders=("runs",), created="", versions={}, found=find([tmp_path]))
    assert [row[:2] for row in Cells(report._repr_html_()).rows[1:]] == [["mine", "lfp"], ["mine", "fa"]]
    frame = report.to_dataframe()
    assert frame[["rule", "seed"]].values.tolist() == [["lfp", 0], ["lfp", 1], ["fa", 0]]
    assert frame["test"].tolist()[:2] == [0.5, 0.75]


def test_explanations_are_framed_rule_by_rule_and_input_by_input():
    inputs = tuple(
        Explained(name=n, true=None, predicted=0, predicted_name="0", score=1.0, target=0, target_name="0", output=1.0)
        for n in ("a", HOSTILE)
    )
    explanations = Explanations(
        settings=ExplainSettings(model="resnet18"),
        network="a network",
        data="two inputs",
        created="",
        versions={},
        inputs=inputs,
        outcomes=(Outcome(composite="epsilon", sums=(1.0, 3.0), deltas=(0.0, -2.0), seconds=0.5),),
        samples=torch.zeros(2, 1),
        relevance={},
    )
    cells = Cells(explanations._repr_html_())
    assert "script" not in cells.tags
    assert cells.rows[1] == ["epsilon", "1", "2", "0.5"]
    assert explanations.to_dataframe()[["rule", "name", "sum", "delta"]].values.tolist() == [
        ["epsilon", "a", 1.0, 0.0], ["epsilon", HOSTILE, 3.0, -2.0],
    ]  # fmt: skip


def test_without_pandas_the_message_says_what_to_do(monkeypatch):
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(ModuleNotFoundError, match=r"A data frame needs pandas.*pip install pandas"):
        study_of(run_of("lfp", 0, 0.5)).to_dataframe()
