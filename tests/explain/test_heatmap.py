"""Pictures of relevance: their pixels are those of a plain reference, and what cannot be drawn is refused."""

import re
import subprocess
import sys

import matplotlib as mpl
import numpy as np
import pytest
import torch
from matplotlib.figure import Figure
from PIL import Image

from altprop.explain import heatmap
from tests.test_house import HOUSE, python_blocks, run

SIGNED = torch.tensor([[[0.5, -1.0, 0.0], [2.0, 0.1, -4.0]], [[0.5, 0.0, 0.0], [-1.0, 0.2, 2.0]]])


def reference(relevance, cmap, limit):
    """The colours, pixel by pixel."""
    height, width = relevance.shape
    painted = np.zeros((height, width, 3), dtype=np.uint8)
    for row in range(height):
        for column in range(width):
            part = max(-1.0, min(1.0, float(relevance[row, column]) / limit))
            painted[row, column] = mpl.colormaps[cmap]((part + 1) / 2, bytes=True)[:3]
    return painted


@pytest.mark.parametrize("cmap", ["RdBu_r", "seismic", "bwr", "coolwarm"])
def test_channels_are_summed_and_the_largest_absolute_value_has_the_full_colour(cmap):
    painted = heatmap.colors(SIGNED, cmap=cmap)
    total = SIGNED[0].double() + SIGNED[1].double()
    assert np.array_equal(painted, reference(total, cmap, limit=2.0))
    assert tuple(painted[1, 2]) == mpl.colormaps[cmap](0.0, bytes=True)[:3], "-2 is the largest"


def test_a_colour_map_itself_is_taken_wherever_its_name_is():
    cmap, image = mpl.colormaps["seismic"], torch.rand(1, 1, 2, 3)
    made = mpl.colors.LinearSegmentedColormap.from_list("own", ["blue", "white", "red"])
    assert np.array_equal(heatmap.colors(SIGNED, cmap=cmap), heatmap.colors(SIGNED, cmap="seismic"))
    assert np.array_equal(heatmap.colors(SIGNED, cmap=made)[1, 2], [0, 0, 255])
    for draw in (heatmap.image, lambda R, **look: heatmap.overlay(R, image[0], **look)):
        assert np.array_equal(np.asarray(draw(SIGNED, cmap=cmap)), np.asarray(draw(SIGNED, cmap="seismic")))
    assert heatmap.grid(image, {"rule": SIGNED[None]}, cmap=cmap).axes
    with pytest.raises(TypeError, match="cmap is a colour map of matplotlib, or the name of one, got int"):
        heatmap.colors(SIGNED, cmap=3)


def test_the_default_map_is_symmetric_about_zero():
    assert np.array_equal(heatmap.colors(SIGNED), heatmap.colors(SIGNED, cmap="RdBu_r"))
    middle = mpl.colormaps["RdBu_r"](0.5, bytes=True)[:3]
    assert tuple(heatmap.colors(torch.tensor([[0.0, 7.0]]))[0, 0]) == middle


def test_channels_can_be_kept_side_by_side():
    painted = heatmap.colors(SIGNED, channels="keep")
    assert np.array_equal(painted, heatmap.colors(torch.cat([SIGNED[0], SIGNED[1]], dim=1)))


@pytest.mark.parametrize(
    "given",
    [
        SIGNED[0].requires_grad_(),
        SIGNED[0].to(torch.bfloat16).float().double(),
        SIGNED[0].numpy(),
        np.flip(np.flip(SIGNED[0].numpy())),
        SIGNED[0].tolist(),
        SIGNED[0][None],
    ],
    ids=["tensor", "double", "array", "view that runs backwards", "lists", "one channel"],
)
def test_relevance_may_come_in_any_form(given):
    assert np.abs(heatmap.colors(given).astype(int) - heatmap.colors(SIGNED[0]).astype(int)).max() <= 2


def test_each_image_of_a_batch_has_its_own_scale_unless_all_share_one():
    batch = torch.stack([SIGNED, 10 * SIGNED])
    own, shared = heatmap.colors(batch), heatmap.colors(batch, scale="all")
    assert np.array_equal(own[0], own[1])
    assert np.array_equal(own[0], heatmap.colors(SIGNED))
    assert np.array_equal(shared[1], own[1])
    assert np.array_equal(shared[0], reference(SIGNED.double().sum(0), "RdBu_r", limit=20.0))


def test_a_percentile_clips_what_lies_above_it():
    values = torch.linspace(-1, 1, 201).reshape(1, 201) ** 3
    limit = np.quantile(values.abs().double().numpy(), 0.9, method="inverted_cdf")
    assert limit < 0.8
    assert np.array_equal(heatmap.colors(values, percentile=90), reference(values.double(), "RdBu_r", limit))


def test_a_percentile_that_is_zero_leaves_what_there_is_to_see():
    values = torch.zeros(10, 10)
    values[0, 0], values[0, 1] = 4.0, 2.0
    assert np.array_equal(heatmap.colors(values, percentile=50), heatmap.colors(values))


def test_relevance_that_is_not_negative_begins_with_the_maps_first_colour():
    values = torch.tensor([[0.0, 1.0, 2.0]])
    painted = heatmap.colors(values, symmetric=False, cmap="hot")
    expected = [mpl.colormaps["hot"](part, bytes=True)[:3] for part in (0.0, 0.5, 1.0)]
    assert [tuple(pixel) for pixel in painted[0]] == expected
    reds = mpl.colormaps["Reds"](1.0, bytes=True)[:3]
    assert tuple(heatmap.colors(values, symmetric=False)[0, 2]) == reds


@pytest.mark.parametrize(("symmetric", "zero"), [(True, 0.5), (False, 0.0)])
def test_relevance_that_is_zero_everywhere_is_neutral(symmetric, zero):
    painted = heatmap.colors(torch.zeros(2, 3, 4, 5), symmetric=symmetric, cmap="coolwarm")
    assert painted.shape == (2, 4, 5, 3)
    assert (painted == np.array(mpl.colormaps["coolwarm"](zero, bytes=True)[:3])).all()


@pytest.mark.parametrize("size", [1e-300, 1e300])
def test_extreme_sizes_are_drawn_like_others(size):
    values = SIGNED[0].double()
    assert np.array_equal(heatmap.colors(values * size), heatmap.colors(values))


def test_an_image_has_a_pixel_for_each_and_can_be_zoomed():
    picture = heatmap.image(SIGNED)
    assert (picture.mode, picture.size) == ("RGB", (3, 2))
    assert np.array_equal(np.asarray(picture), heatmap.colors(SIGNED))
    large = np.asarray(heatmap.image(SIGNED, zoom=4))
    assert large.shape == (8, 12, 3)
    assert np.array_equal(large[1::4, 3::4], np.asarray(picture))


def test_a_batch_gives_a_list_of_images():
    pictures = heatmap.image(torch.stack([SIGNED, -SIGNED]))
    assert [picture.size for picture in pictures] == [(3, 2), (3, 2)]
    assert np.array_equal(np.asarray(pictures[1]), heatmap.colors(-SIGNED))


BROKEN = {
    "NaN": ({"relevance": torch.tensor([[0.0, float("nan")]])}, "holds 1 of 2 values that are NaN or infinite"),
    "infinite": ({"relevance": np.array([[np.inf, -np.inf]])}, "holds 2 of 2 values"),
    "vector": ({"relevance": torch.zeros(5)}, r"\(height, width\), .* got \(5,\)"),
    "five dimensions": ({"relevance": torch.zeros(1, 1, 1, 2, 2)}, r"got \(1, 1, 1, 2, 2\)"),
    "nothing": ({"relevance": torch.zeros(0, 3, 2, 2)}, r"got \(0, 3, 2, 2\)"),
    "colour map": ({"cmap": "seismik"}, "no colour map 'seismik'. Did you mean 'seismic'"),
    "percentile 0": ({"percentile": 0}, "above 0 and at most 100, got 0"),
    "percentile 101": ({"percentile": 101}, "above 0 and at most 100, got 101"),
    "percentile NaN": ({"percentile": float("nan")}, "above 0 and at most 100, got nan"),
    "negative": ({"symmetric": False}, "must not be negative, but its smallest value is -2"),
    "scale": ({"scale": "rule"}, "scale is 'image' or 'all', got 'rule'"),
    "channels": ({"channels": "mean"}, "channels is 'sum' or 'keep', got 'mean'"),
    "zoom": ({"zoom": 0}, "zoom is a whole number from 1, got 0"),
}


@pytest.mark.parametrize("case", BROKEN)
def test_what_cannot_be_drawn_is_refused(case):
    given, message = BROKEN[case]
    with pytest.raises(ValueError, match=message):
        heatmap.image(**{"relevance": SIGNED} | given)


@pytest.mark.parametrize("relevance", ["text", None, torch.zeros(2, 2, dtype=torch.complex64)])
def test_what_is_no_number_is_refused(relevance):
    with pytest.raises(TypeError, match="The relevance must be"):
        heatmap.image(relevance)


def test_an_overlay_shows_the_input_where_there_is_no_relevance():
    inputs = torch.tensor([[0.0, 1.0, 2.0], [4.0, 3.0, 2.0]])
    relevance = torch.tensor([[0.0, 0.0, 0.0], [0.0, 1.0, -0.25]])
    painted = np.asarray(heatmap.overlay(relevance, inputs, alpha=0.8, cmap="bwr"))
    grey = [[0, 0.25, 0.5], [1, 0.75, 0.5]]
    heat = heatmap.colors(relevance, cmap="bwr")
    for row, column, strength in [(0, 0, 0), (0, 1, 0), (0, 2, 0), (1, 0, 0), (1, 1, 1), (1, 2, 0.25)]:
        opacity = 0.8 * strength**0.5
        expected = (1 - opacity) * 255 * grey[row][column] + opacity * heat[row, column]
        assert np.abs(painted[row, column] - expected).max() <= 0.5


def test_an_overlay_of_a_batch_gives_a_list_and_averages_the_inputs_channels():
    relevance, inputs = torch.zeros(2, 3, 4, 4), torch.rand(2, 3, 4, 4)
    first, second = heatmap.overlay(relevance, inputs, zoom=2)
    assert first.size == second.size == (8, 8)
    grey = inputs[1].mean(0)
    expected = 255 * (grey - grey.min()) / (grey.max() - grey.min())
    assert np.abs(np.asarray(second)[::2, ::2, 0] - expected.numpy()).max() <= 0.51


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"inputs": torch.zeros(4, 4)}, r"\(4, 4\) has images of 4×4, \(2, 2, 3\) has images of 2×3"),
        ({"inputs": torch.full((2, 3), float("nan"))}, "The input holds 6 of 6 values that are NaN"),
        ({"inputs": torch.zeros(3)}, "An input to be drawn has the shape"),
        ({"alpha": 1.5}, "alpha is from 0 to 1, got 1.5"),
        ({"channels": "keep"}, "leave out channels="),
    ],
)
def test_an_overlay_that_does_not_fit_is_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        heatmap.overlay(**{"relevance": SIGNED, "inputs": torch.zeros(2, 3)} | changes)


def panels_of(figure):
    """The pictures of a grid, by (row, column)."""
    count = len({axes.get_subplotspec().colspan.start for axes in figure.axes})
    return {divmod(number, count): axes for number, axes in enumerate(figure.axes)}


def test_a_grid_has_a_row_for_each_input_and_a_column_for_each_rule():
    inputs = torch.rand(2, 1, 4, 4)
    rules = {"epsilon": torch.randn(2, 1, 4, 4), "epsilon_alpha2_beta1_flat": torch.randn(2, 1, 4, 4)}
    figure = heatmap.grid(inputs, rules, labels=["three", "four"])
    assert isinstance(figure, Figure)
    panels = panels_of(figure)
    assert panels.keys() == {(row, column) for row in range(2) for column in range(3)}
    titles = [panels[0, column].get_title().replace("\n", "") for column in range(3)]
    assert titles == ["input", *rules]
    assert max(map(len, panels[0, 2].get_title().split("\n"))) <= 14, "long names are broken"
    assert [panels[row, 0].get_ylabel() for row in range(2)] == ["three", "four"]
    for column, relevance in enumerate(rules.values(), 1):
        for row in range(2):
            drawn = panels[row, column].images[0].get_array()
            assert np.array_equal(drawn, heatmap.colors(relevance[row]))


@pytest.mark.parametrize(("across", "blocks"), [(None, [5]), (5, [5]), (4, [3, 2]), (2, [2, 2, 1]), (1, [1] * 5)])
def test_rules_that_do_not_fit_side_by_side_go_below(across, blocks):
    inputs = torch.rand(2, 1, 3, 3)
    rules = {name: torch.randn(2, 1, 3, 3) for name in ("input", "b", "c", "d", "e")}
    figure = heatmap.grid(inputs, rules, labels=["x", "y"], across=across)
    titles = [axes.get_title() for axes in figure.axes if axes.get_title()]
    names = iter(rules)
    assert titles == [title for block in blocks for title in ("input", *(next(names) for _ in range(block)))]
    assert [axes.get_ylabel() for axes in figure.axes if axes.get_ylabel()] == ["x", "y"] * len(blocks)
    expected = [heatmap.colors(relevance[0]) for relevance in rules.values()]
    drawn = [axes.images[0].get_array() for axes in figure.axes if axes.get_title()]
    firsts = {sum(block + 1 for block in blocks[:number]) for number in range(len(blocks))}
    shown = [picture for place, picture in enumerate(drawn) if place not in firsts]
    assert all(np.array_equal(*pair) for pair in zip(shown, expected, strict=True))


def test_a_grid_can_have_one_scale():
    relevance = torch.randn(1, 1, 3, 3)
    figure = heatmap.grid(relevance, {"small": relevance, "large": 2 * relevance}, scale="all", cmap="bwr")
    drawn = [axes.images[0].get_array() for axes in figure.axes]
    assert np.array_equal(drawn[2], heatmap.colors(relevance, cmap="bwr")[0])
    assert np.array_equal(
        drawn[1], reference(relevance[0, 0].double(), "bwr", float(2 * relevance.double().abs().max()))
    )


def test_a_grid_shows_inputs_in_colour_or_grey():
    colour, grey = torch.rand(1, 3, 4, 4), torch.rand(1, 1, 4, 4)
    for inputs in (colour, grey):
        drawn = heatmap.grid(inputs, {"rule": inputs}).axes[0].images[0].get_array()
        spread = (inputs - inputs.min()) / (inputs.max() - inputs.min())
        expected = spread.expand(1, 3, 4, 4)[0].permute(1, 2, 0) * 255
        assert np.abs(drawn - expected.numpy()).max() <= 0.51


def test_strips_are_drawn_high_enough_to_be_seen(tmp_path):
    figure = heatmap.grid(torch.rand(1, 1, 1, 40), {"rule": torch.rand(1, 1, 1, 40)})
    heatmap.save(figure, tmp_path / "strips.png")
    box = figure.axes[1].get_window_extent()
    assert box.height > 0.2 * box.width


def test_a_grid_leaves_no_global_state():
    program = (
        "import sys, torch; from altprop.explain import heatmap; "
        "heatmap.grid(torch.rand(1, 1, 2, 2), {'rule': torch.rand(1, 1, 2, 2)}); "
        "assert 'matplotlib.pyplot' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", program], check=True)


@pytest.mark.parametrize(
    ("inputs", "rules", "labels", "message"),
    [
        (torch.zeros(2, 3), {"a": torch.zeros(2, 3)}, (), r"\(batch, channels, height, width\), got \(2, 3\)"),
        (torch.zeros(1, 1, 2, 2), {}, (), "at least one rule, got none"),
        (torch.zeros(1, 1, 2, 2), {"a": torch.zeros(1, 1, 2, 3)}, (), "by 'a' does not fit .* 1 images of 2×2"),
        (torch.zeros(1, 1, 2, 2), {"a": torch.zeros(2, 1, 2, 2)}, (), "by 'a' does not fit"),
        (torch.zeros(1, 1, 1, 1), {"a": torch.full((1, 1, 1, 1), float("nan"))}, (), "by 'a' holds 1 of 1 .* NaN"),
        (torch.zeros(1, 1, 2, 2), {"a": torch.zeros(1, 1, 2, 2)}, ["x", "y"], "each of 1 inputs, got 2 labels"),
    ],
)
def test_a_grid_that_does_not_fit_is_refused(inputs, rules, labels, message):
    with pytest.raises(ValueError, match=message):
        heatmap.grid(inputs, rules, labels=labels)


@pytest.mark.parametrize("kind", ["relevance", "image", "figure"])
def test_a_saved_picture_is_the_picture(kind, tmp_path):
    picture = {
        "relevance": SIGNED,
        "image": heatmap.image(SIGNED),
        "figure": heatmap.grid(SIGNED[None], {"rule": SIGNED[None]}),
    }[kind]
    file = heatmap.save(picture, tmp_path / "picture.png")
    assert [path.name for path in tmp_path.iterdir()] == ["picture.png"], "nothing else is left"
    with Image.open(file) as read:
        assert read.format == "PNG"
        if kind != "figure":
            assert np.array_equal(np.asarray(read), heatmap.colors(SIGNED))


def test_a_picture_is_written_whole_or_not_at_all(tmp_path, monkeypatch):
    file = heatmap.save(SIGNED, tmp_path / "kept.png")
    before = file.read_bytes()

    def full(path, content):
        with path.open("wb") as part:
            part.write(content[:10])
        raise OSError("no space left on device")

    monkeypatch.setattr("pathlib.Path.write_bytes", full)
    with pytest.raises(OSError, match="no space"):
        heatmap.save(-SIGNED, file, zoom=3)
    assert file.read_bytes() == before
    assert [path.name for path in tmp_path.iterdir()] == ["kept.png"]


def test_an_earlier_picture_is_replaced(tmp_path):
    heatmap.save(SIGNED, tmp_path / "a.png")
    with Image.open(heatmap.save(SIGNED, tmp_path / "a.png", zoom=2)) as read:
        assert read.size == (6, 4)


@pytest.mark.parametrize(
    ("picture", "name", "options", "message"),
    [
        (SIGNED, "a.jpg", {}, "ends in .png, got 'a.jpg'"),
        (torch.stack([SIGNED, SIGNED]), "a.png", {}, "one picture, got the relevance of 2 images"),
        (heatmap.image(SIGNED), "a.png", {"zoom": 2}, "drawn already: zoom"),
        (SIGNED * float("nan"), "a.png", {}, "NaN"),
    ],
)
def test_what_cannot_be_saved_leaves_no_file(picture, name, options, message, tmp_path):
    with pytest.raises(ValueError, match=message):
        heatmap.save(picture, tmp_path / name, **options)
    assert not list(tmp_path.iterdir())


def test_the_documentations_programs_run(tmp_path):
    program = python_blocks(HOUSE / "docs" / "pictures.md")
    assert "heatmap.grid" in program
    run(program, tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {"relevance.png", "grid.png"}


def test_a_missing_package_names_the_extra_that_brings_it():
    program = "import sys; sys.modules['matplotlib'] = None; import altprop.explain.heatmap"
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert ended.returncode != 0
    assert re.search(r"Pictures need matplotlib.*pip install .*\[explain\]", ended.stderr)


def test_a_grid_with_room_for_no_rule_is_refused():
    with pytest.raises(ValueError, match="room for one rule or more side by side, got across=0"):
        heatmap.grid(torch.rand(1, 1, 2, 2), {"a": torch.rand(1, 1, 2, 2)}, across=0)
