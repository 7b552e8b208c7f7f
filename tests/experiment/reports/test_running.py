"""Reports that merge runs: their files, their page, their pictures, and what they refuse."""

import csv
import re
import shutil
from html.parser import HTMLParser
from urllib.parse import unquote

import pytest
from PIL import Image

from altprop.experiment.errors import InputError
from altprop.experiment.reports import boundaries
from altprop.experiment.reports.boundaries import draw_kept, kept_of
from altprop.experiment.reports.drawing import pictures_of
from altprop.experiment.reports.finding import find
from altprop.experiment.reports.records import Report
from altprop.experiment.reports.running import report
from altprop.experiment.reports.tables import groups_of
from altprop.experiment.reports.theme import LIGHT
from altprop.experiment.stress.pruning import prune
from altprop.experiment.stress.settings import PruneSettings
from tests.experiment.reports.toys import (
    CIRCLES,
    compared,
    figures,
    fit_of,
    really_compared,
    really_trained,
    recipe_run,
)


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """Real runs, on points in the plane and on numbers: two that keep their networks and one whose own were lost."""
    folder = tmp_path_factory.mktemp("all") / "runs"
    kept, lost = (really_compared(folder / name) for name in ("kept", "lost"))
    assert {kept.folder, lost.folder} == {folder / "kept", folder / "lost"}
    shutil.rmtree(folder / "lost" / "cells")
    Image.new("RGB", (4, 4)).save(folder / "lost" / "boundaries.png")
    really_trained(folder / "more" / "recipe")
    really_trained(folder / "more" / "sine", data={"name": "sine"})
    prune(PruneSettings(run=folder / "kept", by="magnitude", rates="0.5", out=folder, name="pruned"))
    return folder


@pytest.fixture(scope="module")
def made(runs):
    return report(runs, out=runs.parent / "reports", name="mine")


@pytest.fixture(scope="module")
def page(made):
    return (made.folder / "report.html").read_text(encoding="utf-8")


def test_the_folder_holds_the_page_the_tables_and_the_pictures(made, runs):
    assert made.folder == runs.parent / "reports" / "mine"
    assert sorted(file.name for file in made.folder.iterdir()) == [
        "altprop.json",
        "boundaries-circles.png",
        "boundaries-run-lost.png",
        "curves-circles.png",
        "curves-sine.png",
        "measured-circles.png",
        "measured-sine.png",
        "report.html",
        "report.json",
        "runs.csv",
        "table.csv",
        "table.md",
    ]
    for file in made.folder.glob("*.png"):
        Image.open(file).verify()


def test_the_csv_files_say_what_the_runs_reached(made, runs):
    with (made.folder / "runs.csv").open(encoding="utf-8", newline="") as file:
        lines = list(csv.DictReader(file))
    found = {(line["run"], line["rule"], int(line["seed"])): line for line in lines}
    assert len(found) == len(lines) == 3 + 3 + 2 + 2
    for entry in find([runs]).entries:
        for network in entry.networks:
            line = found[entry.run, entry.rule, network.seed]
            column = "test_accuracy" if entry.task == "classification" else "test_r2"
            assert float(line[column]) == network.points[-1].test
    with (made.folder / "table.csv").open(encoding="utf-8", newline="") as file:
        assert [(line["run"], line["rule"]) for line in csv.DictReader(file)][-1] == ("sine", "dfa")


def test_everything_but_the_pictures_survives_the_disk(made):
    assert Report.load(made.folder).model_copy(update={"folder": made.folder}) == made


class Parts(HTMLParser):
    """The links of a page, and how its elements are nested."""

    def __init__(self, text):
        super().__init__()
        self.links, self.open, self.wrong = [], [], []
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        given = dict(attributes)
        self.links += [value for name, value in given.items() if name in ("href", "src", "srcset")]
        if tag not in ("meta", "img", "source"):
            self.open.append(tag)

    def handle_endtag(self, tag):
        if self.open.pop() != tag:
            self.wrong.append(tag)


def test_the_page_is_whole_and_needs_no_other_file(page):
    parts = Parts(page)
    assert not parts.open
    assert not parts.wrong
    pictures = [link for link in parts.links if link.startswith("data:image/png;base64,")]
    assert len(pictures) == 2 * 6
    assert not [link for link in parts.links if "://" in link]
    titles = re.findall("<h2>(.*?)</h2>", page)
    assert {"Learning curves: circles", "Learning curves: sine", "Decision boundaries: lost", "Recipes"} <= set(titles)


def test_the_page_links_what_lies_beside_it(made, page, runs):
    links = [link for link in Parts(page).links if not link.startswith("data:")]
    there = {runs / name / "report.html" for name in ("pruned", "more/recipe", "more/sine")}
    assert {(made.folder / unquote(link)).resolve() for link in links} == {file.resolve() for file in there}
    assert all(file.is_file() for file in there)


def test_the_page_shows_each_recipe_with_what_it_ran_on(page):
    shown = re.findall(r"<details>(.*?)</details>", page, re.DOTALL)
    assert len(shown) == 4
    recipe = next(part for part in shown if "<summary>recipe " in part)
    assert "name: dfa" in recipe
    assert "<dt>torch</dt>" in recipe
    assert "<dt>git</dt>" in recipe
    assert "altprop compare --data circles" in next(part for part in shown if "<summary>kept " in part)


def test_boundaries_are_of_every_network_that_was_kept(runs):
    found = find([runs])
    group, _ = groups_of(found.entries)
    notes = []
    kept = kept_of(group, found.sources, notes)
    figure = draw_kept(kept, LIGHT)
    assert [axes.get_title() for axes in figure.axes] == [
        "backprop, kept",
        "lfp, kept",
        "shallow, kept",
        "dfa, recipe",
    ]
    (note,) = notes
    assert note.startswith("lost: its decision boundaries are not drawn.")


@pytest.mark.parametrize(("validation", "which"), [(0.0, "final"), (0.5, "best")])
def test_boundaries_are_of_the_epoch_whose_score_counts(tmp_path, monkeypatch, validation, which):
    scores = {"val_score": 0.5} if validation else {}
    data = CIRCLES.model_copy(update={"input_shape": (2,)})
    recipe_run(tmp_path / "mine", fit_of(0, history=(figures(1, test_score=0.5, **scores),), best_epoch=1), data=data)
    found, asked = find([tmp_path]), []
    monkeypatch.setattr(boundaries, "kept_networks", lambda folder, which: asked.append((folder.name, which)))
    kept_of(groups_of(found.entries)[0], found.sources, [])
    assert asked == [("mine", which)]


def test_networks_that_cannot_be_read_are_noted(tmp_path):
    really_trained(tmp_path / "mine", training={"seeds": 1})
    (tmp_path / "mine" / "cells" / "dfa-seed-0" / "model.safetensors").write_bytes(b"")
    found, notes = find([tmp_path]), []
    drawn = pictures_of(groups_of(found.entries)[0], found.sources, notes)
    assert [picture.name for picture in drawn] == ["curves-circles", "measured-circles", "boundaries-run-mine"]
    assert re.match(r"mine: its decision boundaries are not drawn\. .*model\.safetensors", notes[0])


def test_what_went_wrong_in_runs_is_said_on_the_page(tmp_path):
    compared(tmp_path / "runs" / "mine", notes=("Something <odd>.",))
    made = report(tmp_path / "runs", out=tmp_path / "out")
    assert made.notes == ("mine: Something <odd>.",)
    assert "mine: Something &lt;odd&gt;." in (made.folder / "report.html").read_text(encoding="utf-8")


@pytest.mark.parametrize("asked", [[], ["missing"], ["runs", "missing"], ["runs/empty"]])
def test_what_cannot_be_reported_leaves_nothing_behind(tmp_path, monkeypatch, asked):
    monkeypatch.chdir(tmp_path)
    recipe_run(tmp_path / "runs" / "good")
    (tmp_path / "runs" / "empty").mkdir()
    with pytest.raises(InputError):
        report(asked, out="out")
    assert not (tmp_path / "out").exists()


def test_reports_are_numbered_replaced_if_asked_and_passed_over(tmp_path, monkeypatch):
    monkeypatch.setattr("altprop.experiment.reports.output.pictures_of", lambda *_: [])
    recipe_run(tmp_path / "good")
    first, second = (report(tmp_path, out=tmp_path) for _ in range(2))
    assert [one.folder.name for one in (first, second)] == ["report", "report-2"]
    assert second.found == first.found
    with pytest.raises(InputError, match="exists"):
        report(tmp_path, out=tmp_path, name="report")
    assert report([tmp_path / "good"], out=tmp_path, name="report", overwrite=True).folder == first.folder
    with pytest.raises(InputError, match="A name is made of"):
        report(tmp_path, out=tmp_path, name="../up")
