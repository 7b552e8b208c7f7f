"""Every kind of page in a real browser, on a wide and on a narrow screen, light and dark.

The screenshots lie in ``tests/pages/screenshots`` afterwards, to be looked at.
"""

import os
from itertools import product
from pathlib import Path

import pytest
from typer.testing import CliRunner

from altprop.cli import app
from tests.pages.browser import Browser

HERE = Path(__file__).parent
SHOTS = HERE / "screenshots"
MEASURE = (HERE / "measure.js").read_text(encoding="utf-8")
PAGES = ("digits", "plane", "numbers", "images", "pruned", "attacked", "explained", "searched", "merged", "demo")
SEARCH = """
data: {name: circles, validation: 0.2}
model: "8"
rule: dfa
training: {epochs: 2, batch_size: 250}
search:
  space:
    optimizer.lr: {low: 0.01, high: 1, log: true}
    model.activation: [tanh, relu]
    model.dropout: [0.0, 0.2]
"""


@pytest.fixture(scope="session")
def pages(tmp_path_factory):
    """The folder of a run of each kind, made as a user makes it."""
    runs = tmp_path_factory.mktemp("runs")
    (runs / "search.yaml").write_text(SEARCH, encoding="utf-8")
    compare = ("compare", "--threads", "1", "--seeds", "2", "--epochs")
    all_rules = "backprop,lfp,lfp:epsilon=0.1,fa,sign-symmetric,kp,dfa,drtp,local-loss,shallow"
    for name, words in {
        "digits": (*compare, "2", "--data", "digits", "--model", "32-32", "--activation", "tanh", "--rules", all_rules),
        "plane": (*compare, "2", "--data", "swirl", "--model", "8", "--rules", "lfp,dfa", "--lr-grid", "0.1,0.3"),
        "numbers": (*compare, "2", "--data", "sine", "--model", "8", "--rules", "fa"),
        "images": (*compare, "1", "--data", "digits", "--model", "16", "--rules", "fa", "--task", "reconstruction"),
        "pruned": ("prune", runs / "digits"),
        "attacked": ("robustness", runs / "digits", "--attacks", "fgsm"),
        "explained": ("explain", "--model", runs / "digits", "--index", "4,8"),
        "searched": ("sweep", runs / "search.yaml", "--search", "random", "--trials", "6"),
        "merged": ("report", runs),
        "demo": ("demo", "--seeds", "1", "--epochs", "1"),
    }.items():
        done = CliRunner().invoke(app, [*map(str, words), "--out", str(runs), "--name", name])
        assert done.exit_code == 0, done.output
    return runs


@pytest.fixture(scope="session")
def browser(tmp_path_factory):
    SHOTS.mkdir(exist_ok=True)
    with Browser(os.environ["ALTPROP_TEST_CHROMIUM"], tmp_path_factory.mktemp("profile")) as browser:
        yield browser
    print(f"\nScreenshots: {SHOTS}")


@pytest.fixture(
    scope="session",
    params=list(product(PAGES, (1280, 390), ("light", "dark"))),
    ids=lambda view: "-".join(map(str, view)),
)
def seen(request, browser, pages):
    """What is measured of a page, once."""
    page, width, scheme = request.param
    browser.open(pages / page / "report.html", width, scheme)
    measured = browser.evaluate(MEASURE)
    browser.screenshot(SHOTS / f"{page}-{width}-{scheme}.png")
    return measured | {"width": width, "scheme": scheme, "trouble": browser.trouble, "requests": browser.requests}


def test_nothing_is_wider_than_the_screen_but_what_scrolls(seen):
    assert seen["wide"] == []
    assert seen["page"] <= 0


def test_no_table_is_cut(seen):
    assert seen["tables"]
    assert seen["outside"] == seen["cut"] == seen["clipped"] == seen["unreachable"] == []
    if seen["width"] == 1280:
        assert seen["scrolled"] == [], "there is room for all of it"


def test_text_can_be_read(seen):
    assert seen["texts"] > 30
    assert seen["faint"] == []
    assert (seen["ground"] > 0.5) == (seen["scheme"] == "light")


def test_pictures_and_tables_say_what_they_are(seen):
    assert seen["images"]
    assert all(image["drawn"] and len(image["alt"]) > 30 for image in seen["images"])
    assert seen["scopes"] == seen["heads"] == []
    assert seen["captions"] == 0


def test_the_page_asks_for_nothing_and_the_console_is_silent(seen):
    assert seen["trouble"] == []
    assert len(seen["requests"]) == 1, "the page itself"


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_pictures_take_the_colours_of_the_page(browser, pages, scheme):
    browser.open(pages / "digits" / "report.html", 1280, scheme)
    text = browser.evaluate(_DARKEST_AND_LIGHTEST)
    light, dark = 0.2, 0.8  # the text is of 0.15 and of 0.92
    assert text["lightest"] > dark if scheme == "dark" else text["darkest"] < light


# Of the opaque pixels of the first picture, which are lines and text.
_DARKEST_AND_LIGHTEST = """
(async () => {
  const image = document.images[0], canvas = new OffscreenCanvas(900, 400), pen = canvas.getContext("2d");
  await image.decode();
  pen.drawImage(image, 0, 0, 900, 400);
  const data = pen.getImageData(0, 0, 900, 400).data, grey = [];
  for (let n = 0; n < data.length; n += 4)
    if (data[n + 3] > 250) grey.push((data[n] + data[n + 1] + data[n + 2]) / 765);
  return { darkest: Math.min(...grey), lightest: Math.max(...grey) };
})()
"""


def test_the_command_is_copied_by_its_button(browser, pages):
    browser.open(pages / "digits" / "report.html", 1280, "light")
    command = browser.evaluate("document.querySelector('pre.command').textContent")
    assert command.startswith("altprop compare ")
    browser.call("Browser.grantPermissions", permissions=["clipboardReadWrite", "clipboardSanitizedWrite"])
    browser.evaluate("document.querySelector('button').click(), new Promise(done => setTimeout(done, 200))")
    assert browser.evaluate("navigator.clipboard.readText()") == command
    assert browser.evaluate("document.querySelector('button').textContent") == "Copied"
