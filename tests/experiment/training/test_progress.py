"""How an experiment is seen to get on: in a terminal, in a log, in a notebook."""

import io
import sys
from types import ModuleType, SimpleNamespace

import pytest
from rich.console import Console

from altprop.experiment import compare, train
from altprop.experiment.training.progress import Bar, Lines, NotebookBar, watch_on
from altprop.experiment.training.showing import or_default
from altprop.experiment.training.watching import Watch
from tests.experiment.toys import tiny


def test_the_bar_shows_the_stage_the_share_that_is_done_and_the_time_left():
    console = Console(file=io.StringIO(), force_terminal=True, width=100)
    with Bar(console) as bar:
        bar.begin(40)
        bar.stage("lfp, seed 0")
        for _ in range(10):
            bar.advance()
        bar._progress.refresh()
        quarter = console.file.getvalue()
        bar.reach(40)
        bar._progress.refresh()
    assert "lfp, seed 0" in quarter
    assert "25%" in quarter
    assert "left:" in quarter
    assert "100%" not in quarter
    assert "100%" in console.file.getvalue()


def console(**changes):
    return Console(**{"file": io.StringIO(), "width": 60} | changes)


@pytest.mark.parametrize(
    ("changes", "kind"),
    [
        ({}, Lines),
        ({"force_terminal": True, "_environ": {"TERM": "xterm"}}, Bar),
        ({"force_terminal": True, "_environ": {"TERM": "dumb"}}, Lines),
    ],
)
def test_there_is_a_bar_in_a_terminal_and_lines_elsewhere(changes, kind):
    assert type(watch_on(console(**changes))) is kind


def test_a_log_has_a_line_for_each_network_and_epoch_with_its_figures_and_no_escape_codes():
    out = console()
    with watch_on(out) as watch:
        study = compare(**tiny(rules="lfp", seeds=2), watch=watch)
    lines = out.file.getvalue().splitlines()
    for cell in study.cells:
        for one in cell.history:
            assert (
                f"{cell.rule}, seed {cell.seed}, epoch {one.epoch}: training loss {one.train_loss:.4g}, "
                f"test accuracy {one.test_score:.4g}"
            ) in lines
    assert len([line for line in lines if ", epoch " in line]) == 3 * 2 * 2
    assert "\x1b" not in out.file.getvalue()


def test_a_log_does_not_repeat_itself():
    out = console()
    lines = Lines(out)
    for text in ("waiting", "waiting", "trial 1", "waiting"):
        lines.stage(text)
    assert out.file.getvalue().split("\n") == ["waiting", "trial 1", "waiting", ""]


@pytest.fixture
def notebook(monkeypatch):
    """What a kernel offers; the cell shows the last of ``shown``."""
    shown = []
    handle = SimpleNamespace(update=shown.append)
    ipython, display = ModuleType("IPython"), ModuleType("IPython.display")
    ipython.get_ipython = lambda: SimpleNamespace(kernel=object())
    display.HTML = str
    display.display = lambda text, display_id: (shown.append(text), handle)[1]
    monkeypatch.setitem(sys.modules, "IPython", ipython)
    monkeypatch.setitem(sys.modules, "IPython.display", display)
    return shown


def test_a_notebook_has_a_bar_without_being_asked(notebook):
    study = train(**tiny(rules="lfp"))
    last = study.cells[0].history[-1]
    assert 'value="0"' in notebook[0]
    assert "lfp, seed 0" in notebook[-1]
    assert f"epoch 2: training loss {last.train_loss:.4g}" in notebook[-1]
    assert "100%" in notebook[-1]


def test_a_notebook_is_shown_text_and_no_markup(notebook):
    NotebookBar().stage("<script>")
    assert "&lt;script&gt;" in notebook[-1]


def test_elsewhere_nothing_is_said_unless_asked():
    asked = Watch()
    assert or_default(asked) is asked
    assert type(or_default(None)) is Watch
