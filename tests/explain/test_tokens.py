"""Coloured text: escaped, put together again, legible on any page."""

import re
from html.parser import HTMLParser

import pytest
import torch

from altprop.explain.heatmap import tokens_html


class Page(HTMLParser):
    """The tags of a page, its text, and its tokens: (text, colour, opacity, value)."""

    def __init__(self, page):
        super().__init__()
        self.tags, self.text, self.tokens, self._attributes = [], "", [], None
        self.feed(page)

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self._attributes = dict(attrs) if tag == "span" else None

    def handle_endtag(self, tag):
        self._attributes = None

    def handle_data(self, data):
        self.text += data
        if self._attributes is not None:
            found = re.search(r"rgba\((\d+),\d+,(\d+),([\d.]+)\)", self._attributes.get("style", ""))
            red, blue, opacity = map(float, found.groups()) if found else (0, 0, 0)
            sign = 0 if not found else 1 if red > blue else -1
            self.tokens.append((data, sign * opacity, float(self._attributes["title"])))


def test_the_colour_shows_sign_and_size():
    tokens = Page(tokens_html(["for", "against", "neither"], torch.tensor([2.0, -1.0, 0.0]))).tokens
    assert tokens == [("for", 0.6, 2.0), ("against", -0.3, -1.0), ("neither", 0.0, 0.0)]


@pytest.mark.parametrize(
    ("tokens", "text"),
    [
        (["The", "Ġcat", "Ġs", "at", "."], "The cat sat."),
        (["▁The", "▁cat", "▁s", "at", "."], "The cat sat."),
        (["the", "cat", "un", "##believ", "##able"], "the cat unbelievable"),
        (["the", "cat"], "the cat"),
        (["a", " b", "c"], "a bc"),
        (["#", "##", "##x"], "# ##x"),
        (["one", "Ċ", "two", "\n", "three"], "one↵\ntwo↵\nthree"),
        (["a", "Ġ", " ", "Ġb"], "a ␣␣ b"),
        (["if", "\tx", "\r\n"], "if⇥\tx↵\n"),
        (["", "a"], "␣ a"),
        (["naïve", "日本", "🙂"], "naïve 日本 🙂"),
    ],
    ids=lambda value: repr(value)[:20],
)
def test_text_is_put_together_again_and_nothing_is_invisible(tokens, text):
    assert Page(tokens_html(tokens, torch.ones(len(tokens)))).text == text


def test_text_is_escaped():
    tokens = ["<script>", "a&b", '"quoted"', "</span>", "'"]
    page = tokens_html(tokens, torch.arange(5.0), titles=["<b>title</b>"])
    parsed = Page(page)
    assert parsed.text == "<b>title</b>" + " ".join(tokens)
    assert set(parsed.tags) == {"div", "p", "b", "br", "span"}
    assert [text for text, *_ in parsed.tokens] == tokens


def test_the_page_needs_no_encoding_and_fetches_nothing():
    page = tokens_html(["naïve", "日本"], [1.0, -1.0])
    assert page.isascii()
    assert not re.search(r"https?:|url\(|src=|href=|script", page)


def contrast(first, second):
    """The contrast ratio of two sRGB colours, as WCAG 2 defines it."""

    def luminance(color):
        linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in (part / 255 for part in color)]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    low, high = sorted(map(luminance, (first, second)))
    return (high + 0.05) / (low + 0.05)


@pytest.mark.parametrize("text", [(0, 0, 0), (255, 255, 255)], ids=["light page", "dark page"])
@pytest.mark.parametrize("value", [1.0, -1.0])
def test_the_strongest_colour_is_legible_on_light_and_dark_pages(text, value):
    style = tokens_html(["word"], [value])
    *color, opacity = map(float, re.search(r"rgba\((\d+),(\d+),(\d+),([\d.]+)\)", style).groups())
    assert " color:" not in style, "the page's own text colour is kept"
    page = [255 - part for part in text]
    behind = [opacity * c + (1 - opacity) * p for c, p in zip(color, page, strict=True)]
    assert contrast(text, behind) >= 4.5


def test_several_texts_have_scales_and_titles_of_their_own():
    page = Page(tokens_html([["a", "b"], ["c"]], [torch.tensor([1.0, 2.0]), torch.tensor([0.1])], titles=["A", "B"]))
    assert page.tokens == [("a", 0.3, 1.0), ("b", 0.6, 2.0), ("c", 0.6, 0.1)]
    assert page.text == "Aa bBc"
    assert page.tags.count("p") == 2


def test_a_batch_and_relevance_of_embeddings_are_taken():
    relevance = torch.tensor([[[1.0, 1.0], [3.0, -2.0]], [[0.0, 0.0], [-4.0, 1.0]]])
    page = Page(tokens_html([["a", "b"], ["c", "d"]], relevance))
    assert [value for *_, value in page.tokens] == [2.0, 1.0, 0.0, -3.0]


def test_relevance_that_is_zero_everywhere_is_not_coloured():
    page = tokens_html(["a", "b"], torch.zeros(2))
    assert "rgba" not in page
    assert tokens_html([], torch.zeros(0)).count("<span") == 0


def test_a_percentile_clips_the_largest():
    tokens = Page(tokens_html(list("abcd"), torch.tensor([1.0, 2.0, 2.0, 100.0]), percentile=75)).tokens
    assert [opacity for _, opacity, _ in tokens] == [0.3, 0.6, 0.6, 0.6]


@pytest.mark.parametrize(
    ("tokens", "relevance", "changes", "message"),
    [
        (["a"], torch.zeros(2), {}, r"1 tokens needs relevance of shape \(1,\) or \(1, features\), got \(2,\)"),
        (["a"], torch.zeros(1, 1, 1), {}, r"got \(1, 1, 1\)"),
        ([["a"], ["b"]], torch.zeros(1, 1), {}, "got 2 texts and the relevance of 1"),
        (["a"], [float("nan")], {}, "holds 1 of 1 values that are NaN"),
        (["a"], [1.0], {"titles": ["A", "B"]}, "got 1 texts and 2 titles"),
        (["a"], [1.0], {"percentile": -1}, "above 0 and at most 100, got -1"),
    ],
)
def test_what_does_not_fit_is_refused(tokens, relevance, changes, message):
    with pytest.raises(ValueError, match=message):
        tokens_html(tokens, relevance, **changes)
