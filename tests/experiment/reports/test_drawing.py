"""The curves of pages: their numbers, what tells rules apart, and what is said to those who do not see them."""

from statistics import mean, stdev

import numpy as np
import pytest

from altprop.experiment.reports.curves import draw_curves, draw_measured
from altprop.experiment.reports.drawing import Bars, Curve, Curves, side_by_side
from altprop.experiment.reports.finding import find
from altprop.experiment.reports.tables import groups_of
from altprop.experiment.reports.theme import DIFFERENT, looks_of
from tests.experiment.reports.toys import compared, figures, fit_of, recipe_run
from tests.experiment.toys import run_of


def group(folder):
    return groups_of(find([folder]).entries)[0]


def panels(drawn):
    return {axes.get_title(): axes for axes in drawn.figure.axes}


def test_lines_are_means_over_seeds_and_bands_one_deviation(tmp_path):
    compared(tmp_path / "mine", run_of("lfp", 0, 0.5, 0.6), run_of("lfp", 1, 0.7, 0.9), run_of("fa", 0, 0.1, 0.2))
    axes = panels(draw_curves(group(tmp_path)))["Test accuracy"]
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
    assert set(panels(draw_curves(group(tmp_path)))) == {"Test accuracy", "Training loss"}
    measured = panels(draw_measured(group(tmp_path)))
    cosine = "Cosine with backprop's updates"
    assert set(measured) == {f"{cosine}, hidden layers", f"{cosine}, all layers", "Zeros in the updates"}
    np.testing.assert_allclose(measured["Zeros in the updates"].get_lines()[0].get_ydata(), 0.25)


def test_what_is_tracked_by_a_recipe_is_drawn_but_for_single_layers(tmp_path):
    history = tuple(
        figures(n, val_score=n / 4, tracked={"bp_cosine": n / 8, "bp_cosine/linear1": 1.0, "top_3": None})
        for n in (1, 2)
    )
    recipe_run(tmp_path / "mine", fit_of(0, history=history))
    assert set(panels(draw_curves(group(tmp_path)))) == {"Validation accuracy", "Training loss"}
    ((title, axes),) = panels(draw_measured(group(tmp_path))).items()
    assert title == "Cosine with backprop's updates, all layers"
    np.testing.assert_allclose(axes.get_lines()[0].get_ydata(), [0.125, 0.25])


def test_without_an_epoch_there_is_no_picture(tmp_path):
    recipe_run(tmp_path / "mine", fit_of(0, status="diverged"))
    assert draw_curves(group(tmp_path)) is None
    assert draw_measured(group(tmp_path)) is None


def test_legend_names_every_line_that_any_panel_has(tmp_path):
    compared(tmp_path / "mine", *(run_of(rule, 0, 0.5) for rule in ("backprop", "lfp", "fa", "dfa", "shallow")))
    (legend,) = draw_curves(group(tmp_path)).figure.legends
    assert [text.get_text() for text in legend.get_texts()] == ["backprop", "lfp", "fa", "dfa", "shallow"]
    assert not any(axes.get_legend() for axes in draw_curves(group(tmp_path)).figure.axes), "it lies on no curve"


def test_the_text_in_place_of_a_picture_names_the_best_rule_and_where_each_ends(tmp_path):
    compared(tmp_path / "mine", run_of("lfp", 0, 0.5, 0.6), run_of("lfp", 1, 0.7, 0.9), run_of("fa", 0, 0.1, 0.2))
    alt = draw_curves(group(tmp_path)).alt
    assert alt.startswith("Test accuracy, at epoch 1 to 2. At the end, best first: lfp 0.75, fa 0.2.")
    assert alt.endswith("Training loss, at epoch 1 to 2. At the end, best first: lfp 0.5, fa 0.5.")


def test_the_best_error_is_the_lowest():
    curves = {"lfp": Curve((1, 2), (0.9, 0.3), (0, 0)), "fa": Curve((1,), (0.1,), (0,)), "dfa": Curve((), (), ())}
    assert Curves("Error", curves, better="low").seen() == (
        "Error, at epoch 1 to 2. At the end, best first: fa 0.1, lfp 0.3."
    )


def test_rules_differ_in_marker_and_dash_and_not_in_colour_alone():
    looks = looks_of(["backprop", "shallow", *(f"rule{n}" for n in range(DIFFERENT))])
    assert len({(look.marker, look.dash) for look in looks.values()}) == DIFFERENT + 2


def test_markers_of_lines_that_lie_on_each_other_do_not():
    same = {f"rule{n}": Curve(tuple(range(40)), (0.5,) * 40, (0,) * 40) for n in range(5)}
    (axes,) = side_by_side([Curves("Test accuracy", same)], list(same)).figure.axes
    places = [range(*line.get_markevery()[:1], 40, line.get_markevery()[1]) for line in axes.get_lines()]
    assert len(set().union(*places)) == sum(map(len, places))


@pytest.mark.parametrize("epochs", [1, 2, 40])
def test_there_is_no_epoch_between_two(epochs):
    curve = Curve(tuple(range(1, epochs + 1)), (0.5,) * epochs, (0,) * epochs)
    (axes,) = side_by_side([Curves("Test accuracy", {"lfp": curve})], ["lfp"]).figure.axes
    assert all(tick == round(tick) for tick in axes.get_xticks())


def test_bars_have_the_hatch_and_the_colour_of_their_rule_and_are_said():
    bars = Bars("Each layer", {"lfp": {"one": 30.0, "two": None}, "fa": {"one": 90.0}})
    drawn = side_by_side([bars], ["lfp", "fa"])
    (axes,), looks = drawn.figure.axes, looks_of(["lfp", "fa"])
    assert [bar.get_height() for bar in axes.patches] == [30, 0, 90, 0]
    assert [bar.get_hatch() for bar in axes.patches] == [looks[rule].hatch for rule in ("lfp", "lfp", "fa", "fa")]
    assert drawn.alt == "Each layer: lfp one 30; fa one 90."
