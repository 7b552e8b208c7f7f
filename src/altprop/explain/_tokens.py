"""Text over its relevance as background colour, as HTML."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from html import escape
from typing import Any

from torch import Tensor

from altprop.explain._colors import finite, scaled

# Half-transparent, so that a page's text is legible on them whether it is dark on light or light on dark.
_FOR, _AGAINST, _STRONGEST = "222,45,38", "33,113,205", 0.6
# How tokenizers write a space before a token: that of GPT-2, and SentencePiece.
_SPACES = ("Ġ", "▁")
_NEWLINE = "Ċ"
_CONTINUES = "##"  # WordPiece: this token goes on with the word before it


def tokens_html(
    tokens: Sequence[str] | Sequence[Sequence[str]],
    relevance: Any,
    *,
    titles: Sequence[str] = (),
    percentile: float = 100.0,
) -> str:
    """Show text with a background for each token: red speaks for the explained output, blue against it.

    Spaces, line breaks and words are put together again from the marks of GPT-2's tokenizers (``Ġ``, ``Ċ``), of
    SentencePiece (``▁``) and of WordPiece (``##``). Tokens without any marks are taken for words.

    Args:
        tokens: of a text; or a list of them for several texts.
        relevance: a number for each token, or a vector, which is summed: of shape (tokens,) or (tokens, features), as a
            tensor or an array; for several texts a list of them, or one with a batch dimension in front.
        titles: a heading for each text.
        percentile: the percentage of a text's tokens that are not clipped; see :func:`altprop.explain.heatmap.colors`.

    Returns:
        HTML that needs nothing else and may be part of any page, light or dark. It is pure ASCII. Each text has a
        scale of its own; a token's value is shown when the pointer rests on it.

    Raises:
        TypeError: the relevance is not made of real numbers.
        ValueError: there is not one value for each token, or some are NaN; or the titles do not fit the texts.

    Example:
        >>> print(tokens_html(["a", "b"], [1.0, 0.0]))  # doctest: +ELLIPSIS
        <div class="altprop-tokens" ...><span style="..." title="1">a</span> <span title="0">b</span></p></div>
    """
    one = not tokens or isinstance(tokens[0], str)
    texts, values = ([tokens], [relevance]) if one else (list(tokens), list(relevance))
    if len(values) != len(texts):
        raise ValueError(f"Each text needs its relevance: got {len(texts)} texts and the relevance of {len(values)}.")
    if titles and len(titles) != len(texts):
        raise ValueError(f"Each text needs a title, got {len(texts)} texts and {len(titles)} titles.")
    headings = [f"<b>{escape(title)}</b><br>" for title in titles] or [""] * len(texts)
    paragraphs = "".join(
        f'<p style="margin:0 0 0.8em">{heading}{_text(text, part, percentile)}</p>'  # type: ignore[arg-type]
        for heading, text, part in zip(headings, texts, values, strict=True)
    )
    style = "white-space:pre-wrap;overflow-wrap:anywhere;line-height:1.7"
    page = f'<div class="altprop-tokens" style="{style}">{paragraphs}</div>'
    return page.encode("ascii", "xmlcharrefreplace").decode()


def _text(tokens: Sequence[str], relevance: Any, percentile: float) -> str:
    values = finite(relevance)
    if values.dim() not in (1, 2) or len(values) != len(tokens):
        raise ValueError(
            f"A text of {len(tokens)} tokens needs relevance of shape ({len(tokens)},) or ({len(tokens)}, features), "
            f"got {tuple(values.shape)}. Leave out padding from both."
        )
    values = values.flatten(1).sum(1) if values.dim() == 2 else values
    parts = scaled(values, percentile=percentile, together=True)
    return "".join(
        space + _span(word, value, part)
        for (space, word), value, part in zip(_words(tokens), values, parts, strict=True)
    )


def _span(word: str, value: Tensor, part: Tensor) -> str:
    opacity = round(_STRONGEST * abs(float(part)), 3)
    color = f"rgba({_FOR if part > 0 else _AGAINST},{opacity:g})"
    style = f' style="background:{color};border-radius:3px"' if opacity else ""
    return f'<span{style} title="{float(value):.4g}">{word}</span>'


def _words(tokens: Sequence[str]) -> Iterator[tuple[str, str]]:
    """For each token the space before it, and its text in HTML."""
    marked = any(token.startswith((*_SPACES, _NEWLINE)) or token != token.strip() for token in tokens)
    for number, token in enumerate(tokens):
        if marked:
            begins = token.startswith(_SPACES)
            yield (" " if begins and number else ""), _visible(token[begins:])
        else:
            goes_on = token.startswith(_CONTINUES) and token != _CONTINUES
            yield ("" if goes_on or not number else " "), _visible(token[2 * goes_on :])


def _visible(word: str) -> str:
    """The text of a token with whitespace and control characters made visible."""
    for space in _SPACES:
        word = word.replace(space, " ")
    word = word.replace(_NEWLINE, "\n").replace("\r\n", "\n")
    if not word.strip(" "):
        return "␣" * max(1, len(word))
    return escape(word).replace("\n", "↵\n").replace("\t", "⇥\t")
