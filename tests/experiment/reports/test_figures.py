"""The pictures: which there are for which data, and that each is whole."""

import io

import matplotlib as mpl
import numpy as np
import pytest
import torch
from matplotlib.image import imread

from altprop.experiment import compare, load_data, train
from altprop.experiment.reports import figures
from altprop.experiment.reports.figures import pictures
from tests.experiment.toys import Hooked, own_data, run_of, study_of, tiny

IMAGES = {part: torch.rand(size, 1, 16, 16) for part, size in (("x_train", 40), ("x_test", 20))}
DRAWN = {
    "points": (load_data("circles"), "4", ["curves", "alignment", "boundaries"]),
    "a line": (load_data("sine"), "4", ["curves", "alignment", "predictions"]),
    "vectors of numbers": (load_data("teacher-student"), "4", ["curves", "alignment", "predictions"]),
    "images": (own_data(**IMAGES), "3", ["curves", "alignment", "weights"]),
    "images of images": (
        own_data(**IMAGES).reconstruction(),
        "3",
        ["curves", "alignment", "reconstructions", "weights"],
    ),
    "images through convolutions": (own_data(**IMAGES), "lenet", ["curves", "alignment", "weights"]),
    "vectors": (own_data(), "4", ["curves", "alignment"]),
}


def pixels(image):
    return imread(io.BytesIO(image), format="png")


@pytest.mark.parametrize("kind", DRAWN)
def test_each_kind_of_data_has_its_pictures_in_a_light_and_a_dark_version(kind):
    data, model, expected = DRAWN[kind]
    drawn = pictures(compare(**tiny(model=model, epochs=1, data=data)), data)
    assert [picture.name for picture in drawn] == expected
    for picture in drawn:
        assert picture.title
        assert picture.caption
        light, dark = pixels(picture.light), pixels(picture.dark)
        assert light.shape == dark.shape
        assert light[0, 0, :3].min() > 0.9
        assert dark[0, 0, :3].max() < 0.2
        assert light[..., :3].std() > 0.01, "there is something to see"


def test_pictures_repeat_bit_for_bit():
    results, data = train(**tiny(rules="lfp", epochs=1)), load_data("circles")
    assert pictures(results, data) == pictures(results, data)


def test_the_style_of_the_users_own_figures_is_left_alone():
    before = dict(mpl.rcParams)
    pictures(train(**tiny(rules="lfp", epochs=1)), load_data("circles"))
    assert dict(mpl.rcParams) == before


def test_the_boundary_is_that_of_the_network():
    data = load_data("circles")
    results = train(**tiny(rules="backprop", epochs=1))
    network = results.cells[0].model
    for p in network.parameters():
        p.data.zero_()
    images = []
    for winner in (0, 1):
        network.linear2.bias.data = torch.eye(2)[winner]
        picture = next(p for p in pictures(results, data) if p.name == "boundaries")
        images.append(pixels(picture.light))
    assert np.abs(images[0] - images[1]).mean() > 0.05


@pytest.mark.parametrize(
    "runs",
    [
        [],
        [run_of("lfp", 0, diverged=True)],
        [run_of("lfp", 0, 0.5, interrupted=True)],
        [run_of("lfp", 0, 0.5, cosine=None), run_of("backprop", 0, 0.5)],
        [run_of("lfp", 0, 0.5, 0.6), run_of("lfp", 1, 0.5, diverged=True), run_of("shallow", 0, 0.4)],
    ],
    ids=["nothing", "diverged at once", "interrupted", "no angles", "one diverged late"],
)
def test_results_that_are_not_whole_are_drawn_as_far_as_they_go(runs):
    names = {picture.name for picture in pictures(study_of(*runs), own_data())}
    assert ("curves" in names) == any(run.history for run in runs)
    assert names <= {"curves", "alignment"}


def test_many_rules_have_a_panel_each(register, monkeypatch):
    monkeypatch.setattr(figures, "_PICTURES", {"boundaries": figures._PICTURES["boundaries"]})
    for number in range(5):
        register(f"rule{number}", lambda: Hooked(lambda model, name, g: g))
    results = compare(**tiny(rules=tuple(f"rule{number}" for number in range(5)), epochs=1))
    few = compare(**tiny(rules="lfp", epochs=1))
    heights = [
        next(pixels(p.light).shape[0] for p in pictures(r, load_data("circles")) if p.name == "boundaries")
        for r in (few, results)
    ]
    assert heights[1] == pytest.approx(2 * heights[0], rel=0.02), "seven rules take two rows of four"
