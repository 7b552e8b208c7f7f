"""The pictures: which there are for which data, and that each is whole."""

import re
from xml.etree import ElementTree

import matplotlib as mpl
import pytest
import torch

from altprop.experiment import compare, load_data, train
from altprop.experiment.reports import figures
from altprop.experiment.reports.figures import pictures
from altprop.experiment.reports.theme import DARK, FAINT, MUTED, TEXT
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


def root(picture):
    return ElementTree.fromstring(picture.svg)


@pytest.mark.parametrize("kind", DRAWN)
def test_each_kind_of_data_has_its_pictures(kind):
    data, model, expected = DRAWN[kind]
    drawn = pictures(compare(**tiny(model=model, epochs=1, data=data)), data)
    assert [picture.name for picture in drawn] == expected
    for picture in drawn:
        assert picture.title
        assert picture.caption
        assert re.search(r"\d", picture.alt), "it says numbers"
        assert "lfp" in picture.alt
        assert len(list(root(picture).iter())) > 50, "there is something to see"


def test_a_picture_is_drawn_once_with_a_ground_that_shows_the_page_and_colours_for_both():
    runs = [
        run_of("backprop", 0, 0.9, 0.95),
        run_of("lfp", 0, 0.7, 0.8),
        run_of("fa", 0, 0.6),
        run_of("shallow", 0, 0.5),
    ]
    drawn = pictures(study_of(*runs), own_data())
    assert [picture.name for picture in drawn] == ["curves", "alignment"]
    for picture in drawn:
        text = picture.svg.decode().partition("<pattern")[0]  # hatches, which are white
        assert not re.search(r"fill: #(?i:fff)", text), "nothing is painted white"
        colors = set(re.findall(r"(?:fill|stroke): (#[0-9a-f]{6})", text.split("</style>", 1)[1]))
        assert colors <= DARK.keys(), "each colour has one for dark pages"
        for light, dark in DARK.items():
            assert f'[style*="stroke: {light}"] {{ stroke: {dark} !important }}' in text


@pytest.mark.parametrize(("scheme", "card"), [("light", "#ffffff"), ("dark", "#171a21")])
def test_colours_can_be_told_from_the_page(scheme, card):
    for light, dark in DARK.items():
        color = {"light": light, "dark": dark}[scheme]
        least = {TEXT: 7.0, MUTED: 4.5, FAINT: 1.0}.get(light, 2.7)
        assert contrast(color, card) >= least, color


def contrast(one, other):
    """The ratio of WCAG 2.2, by its formula."""
    low, high = sorted(map(luminance, (one, other)))
    return (high + 0.05) / (low + 0.05)


def luminance(color):
    parts = [int(color[n : n + 2], 16) / 255 for n in (1, 3, 5)]
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return sum(weight * part for weight, part in zip((0.2126, 0.7152, 0.0722), linear, strict=True))


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
        images.append(next(p for p in pictures(results, data) if p.name == "boundaries"))
    assert images[0].svg != images[1].svg
    shares = [(data.test.y == winner).double().mean() for winner in (0, 1)]
    for image, share in zip(images, shares, strict=True):
        assert image.alt == f"The plane in the colours of 2 classes. Right on the test data: backprop {share:.1%}."


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
    sizes = [
        float(next(root(p).get("height") for p in pictures(r, load_data("circles"))).removesuffix("pt"))
        for r in (few, results)
    ]
    assert sizes[1] == pytest.approx(2 * sizes[0], rel=0.02), "seven rules take two rows of four"
