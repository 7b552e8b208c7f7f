"""The folder of results: its tables agree with the results, and its page needs nothing else."""

import csv
import json
import re
from base64 import b64encode
from hashlib import sha256
from html.parser import HTMLParser

import pytest

from altprop.experiment import Study, compare, train
from altprop.experiment.recipes import load_recipe
from altprop.experiment.reports.study import write_report
from tests.experiment.toys import own_data, run_of, study_of, tiny, without_times


class Links(HTMLParser):
    """Everything in a page that makes a browser fetch something, and the text that is shown."""

    def __init__(self, page):
        super().__init__()
        self.targets, self.tags, self.text = [], [], ""
        self.feed(page)

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        fetching = {"src", "href", "srcset", "data", "action", "poster", "background", "xlink:href", "formaction"}
        self.targets += [value for name, value in attrs if name in fetching]

    def handle_data(self, data):
        self.text += data


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    return compare(**tiny(out=tmp_path_factory.mktemp("runs"), seeds=2, lr_grid="0.1,0.3"))


def read(results, name):
    return (results.folder / name).read_text(encoding="utf-8")


def table(results, name):
    return list(csv.DictReader(read(results, name).splitlines()))


def number(cell):
    return float(cell) if cell else None


def test_the_folder_holds_what_it_should_and_no_more(results):
    names = {path.name for path in results.folder.iterdir()}
    assert names == {
        *(
            "results.csv",
            "curves.csv",
            "study.json",
            "recipe.yaml",
            "facts.json",
            "report.html",
            "cells",
            "altprop.json",
        ),
        *("curves.svg", "alignment.svg", "boundaries.svg"),
    }


def test_the_json_gives_the_results_back(results):
    loaded = Study.load(results.folder)
    assert (loaded.trials, loaded.recipe, loaded.step_times) == (results.trials, results.recipe, results.step_times)
    assert loaded.summaries == results.summaries


def test_the_json_is_strict(results):
    def refuse(constant):
        raise AssertionError(constant)

    for name in ("study.json", "facts.json"):
        json.loads(read(results, name), parse_constant=refuse)


def test_the_recipe_repeats_the_study(results):
    again = compare(load_recipe(results.folder / "recipe.yaml"), out=None)
    assert without_times(again) == without_times(results)


def test_the_csv_has_a_line_for_each_run(results):
    rows = table(results, "results.csv")
    assert [(row["rule"], int(row["seed"])) for row in rows] == [(run.rule, run.seed) for run in results.cells]
    for row, run in zip(rows, results.cells, strict=True):
        assert number(row["test_accuracy"]) == run.score
        assert number(row["lr"]) == run.lr
        assert number(row["cosine_hidden"]) == run.tracked("bp_cosine_hidden")
        assert number(row["step_time_ratio"]) == results.step_ratio(run.rule)
        assert (row["status"], row["message"]) == ("finished", "")


def test_the_curves_have_a_line_for_each_epoch(results):
    rows = table(results, "curves.csv")
    epochs = [(run, epoch) for run in results.cells for epoch in run.epochs]
    assert len(rows) == len(epochs) == 6 * 3
    for row, (run, epoch) in zip(rows, epochs, strict=True):
        assert (row["rule"], int(row["seed"]), int(row["epoch"])) == (run.rule, run.seed, epoch.epoch)
        assert number(row["test_accuracy"]) == epoch.test_score
        assert number(row["train_loss"]) == epoch.train_loss
        assert number(row["cosine_linear1"]) == epoch.tracked["bp_cosine/linear1"]


def test_the_report_fetches_nothing(results):
    page = read(results, "report.html")
    links = Links(page)
    assert links.targets, "there are pictures"
    assert all(target.startswith("data:image/svg+xml;base64,") for target in links.targets)
    assert not {"link", "iframe", "object", "embed", "base", "form"} & set(links.tags)
    assert links.tags.count("script") == 1, "that of the button to copy"
    assert "default-src 'none'; img-src data:;" in page, "and the browser is told so"
    assert not re.search(r"https?:|@import|url\(|(?<![\w/+])//\w", re.sub(r"base64,[\w+/=]+", "", page))


def test_the_browser_is_told_of_the_one_script_that_may_run(results):
    page = read(results, "report.html")
    (script,) = re.findall(r"<script>(.*?)</script>", page, re.DOTALL)
    assert f"'sha256-{b64encode(sha256(script.encode()).digest()).decode()}'" in page


def test_tables_can_be_scrolled_by_the_keyboard_and_say_what_they_are(results):
    page = read(results, "report.html")
    tables = re.findall(r"<table>(.*?)</table>", page, re.DOTALL)
    assert len(tables) == 3
    for text in tables:
        (caption,) = re.findall("<caption>(.*?)</caption>", text)
        assert f'<div class="scroll" tabindex="0" role="region" aria-label="{caption}"><table>' in page
        assert len(re.findall("<th ", text)) == text.count('scope="col"') + text.count('scope="row"')
        head, *lines = re.findall(r"<tr>(.*?)</tr>", text, re.DOTALL)
        assert "<td" not in head
        assert lines
        assert all(line.split(">")[0].strip() == '<th scope="row"' for line in lines)


def test_pictures_say_what_is_seen(results):
    alts = re.findall('<img src="[^"]*" alt="([^"]*)"', read(results, "report.html"))
    assert alts
    best = max(results.summaries, key=lambda summary: summary.test.mean)
    assert f"best first: {best.rule} " in alts[0]
    for summary in results.summaries:
        assert f"{summary.rule} {summary.test.mean:.3g}" in alts[0]


def test_the_report_holds_the_table_the_settings_and_the_way_to_repeat_it(results):
    text = Links(read(results, "report.html")).text
    for summary in results.summaries:
        assert summary.test.text() in text
    for word in ("lfp", "shallow", "circles", "cross-entropy", "Learning rates tried", "test data had no part"):
        assert word in text
    assert "altprop compare --data circles --model 4 --rules backprop,lfp,shallow --lr-grid 0.1,0.3 --epochs 2" in text
    assert "altprop.LFP(" in text


def test_the_report_shows_no_result_without_the_control(results):
    text = Links(read(results, "report.html")).text
    assert "beats shallow" in text
    assert "does not beat shallow, the control, has taught the hidden layers nothing" in text


def test_names_are_escaped_in_the_report(tmp_path):
    data = own_data(name="<script>alert(1)</script>")
    results = train(**tiny(rules="lfp", epochs=1, out=tmp_path, data=data))
    page = read(results, "report.html")
    assert Links(page).tags.count("script") == 1
    assert "<script>alert(1)</script>" in Links(page).text


def test_the_report_says_how_to_repeat_a_run_on_own_data(tmp_path):
    page = read(train(**tiny(rules="lfp", epochs=1, out=tmp_path, data=own_data(name="mine"))), "report.html")
    assert "altprop.experiment.train(Recipe(" in Links(page).text
    assert "data=...)  # of mine" in Links(page).text
    assert "altprop train" not in Links(page).text


@pytest.mark.parametrize(
    "runs",
    [
        [run_of("lfp", 0, diverged=True), run_of("shallow", 0, 0.5)],
        [run_of("lfp", 0, 0.5, interrupted=True)],
        [],
    ],
    ids=["diverged", "interrupted", "nothing"],
)
def test_results_that_are_not_whole_are_written_too(runs, tmp_path):
    study = study_of(*runs, folder=tmp_path)
    write_report(study, own_data(), tmp_path)
    page = (tmp_path / "report.html").read_text(encoding="utf-8")
    for run in runs:
        assert run.message in page
    with (tmp_path / "results.csv").open(newline="", encoding="utf-8") as file:
        assert [row["message"] for row in csv.DictReader(file)] == [run.message for run in runs]
