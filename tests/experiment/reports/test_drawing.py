"""The curves of a report."""

from statistics import mean, stdev

import numpy as np
import pytest

from altprop.experiment.reports.drawing import draw_curves, draw_measured
from altprop.experiment.reports.finding import find
from altprop.experiment.reports.tables import groups_of
from altprop.experiment.reports.theme import LIGHT
from tests.experiment.reports.toys import compared, figures, fit_of, recipe_run
from tests.experiment.toys import run_of


def group(folder):
    return groups_of(find([folder]).entries)[0]


def panels(figure):
    return {axes.get_title(): axes for axes in figure.axes}


def test_lines_are_means_over_seeds_and_bands_one_deviation(tmp_path):
    compared(tmp_path / "mine", run_of("lfp", 0, 0.5, 0.6), run_of("lfp", 1, 0.7, 0.9), run_of("fa", 0, 0.1, 0.2))
    axes = panels(draw_curves(group(tmp_path), LIGHT))["Test accuracy"]
    lfp, fa = axes.get_lines()
    assert (lfp.get_label(), fa.get_label()) == ("lfp", "fa")
    np.testing.assert_allclose(lfp.get_xdata(), [1, 2])
    np.testing.assert_allclose(lfp.get_ydata(), [mean((0.5, 0.7)), mean((0.6, 0.9))])
    np.testing.assert_allclose(fa.get_ydata(), [0.1, 0.2])
    corners = axes.collections[0].get_paths()[0].vertices
    first = corners[corners[:, 0] == 1][:, 1]
    assert (first.min(), first.max()) == pytest.approx((0.6 - stdev((0.5, 0.7)), 0.6 + stdev((0.5, 0.7))))


def test_there_is_a_panel_for_what_there_is(tmp_path):
    compared(tmp_path / "mine")
    assert set(panels(draw_curves(group(tmp_path), LIGHT))) == {"Test accuracy", "Training loss"}
    measured = panels(draw_measured(group(tmp_path), LIGHT))
    cosine = "Cosine with backprop's updates"
    assert set(measured) == {f"{cosine}, hidden layers", f"{cosine}, all layers", "Zeros in the updates"}
    np.testing.assert_allclose(measured["Zeros in the updates"].get_lines()[0].get_ydata(), 0.25)


def test_what_is_tracked_by_a_recipe_is_drawn_but_for_single_layers(tmp_path):
    history = tuple(
        figures(n, val_score=n / 4, tracked={"bp_cosine": n / 8, "bp_cosine/linear1": 1.0, "top_3": None})
        for n in (1, 2)
    )
    recipe_run(tmp_path / "mine", fit_of(0, history=history))
    assert set(panels(draw_curves(group(tmp_path), LIGHT))) == {"Validation accuracy", "Training loss"}
    ((title, axes),) = panels(draw_measured(group(tmp_path), LIGHT)).items()
    assert title == "Cosine with backprop's updates, all layers"
    np.testing.assert_allclose(axes.get_lines()[0].get_ydata(), [0.125, 0.25])


def test_without_an_epoch_there_is_no_picture(tmp_path):
    recipe_run(tmp_path / "mine", fit_of(0, status="diverged"))
    assert draw_curves(group(tmp_path), LIGHT) is None
    assert draw_measured(group(tmp_path), LIGHT) is None


def test_legend_names_every_line_that_any_panel_has(tmp_path):
    compared(tmp_path / "mine", *(run_of(rule, 0, 0.5) for rule in ("backprop", "lfp", "fa", "dfa", "shallow")))
    (legend,) = draw_curves(group(tmp_path), LIGHT).legends
    assert [text.get_text() for text in legend.get_texts()] == ["backprop", "lfp", "fa", "dfa", "shallow"]
