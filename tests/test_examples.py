"""The examples run as a user runs them, each with the argument that shortens it."""

import importlib
import re
import sys
from pathlib import Path

import pytest

from tests.commands import Command

EXAMPLES = Path(__file__).parent.parent / "examples"
SHORT = {
    "char_gpt.py": (["--steps", "20"], r"LFP\(minimum_scale=0\.001\): validation loss [23]\."),  # untrained: 4.6
    "flax_digits.py": (["--epochs", "3"], r"feedback propagation +accuracy 0\.9"),
    "spiking_digits.py": (["--epochs", "2"], r"LFP\(\) +epoch  2: accuracy 0\.9"),
    "token_relevance.py": (["--steps", "20"], r"'The import statem' expects '.+'; most relevant: '.+'"),
    "vit_digits.py": (["--epochs", "4"], r"LFP\(minimum_scale=0\.001\): test accuracy 0\.[6-9]"),
}


def test_every_example_is_run():
    assert {path.name for path in EXAMPLES.glob("*.py")} == set(SHORT)


@pytest.mark.parametrize("name", SHORT)
def test_the_example_runs_and_says_what_it_should(name, tmp_path):
    arguments, expected = SHORT[name]
    example = Command(*arguments, script=EXAMPLES / name, folder=tmp_path)
    assert example.wait(170) == 0, example.told()
    assert re.search(expected, example.told()), example.told()


def test_the_gpt_has_a_text_where_pythons_topics_are_left_out(monkeypatch):
    monkeypatch.syspath_prepend(EXAMPLES)
    char_gpt = importlib.import_module("char_gpt")
    monkeypatch.setattr(char_gpt, "topics", None)
    characters, training, validation = char_gpt.read_text()
    assert "def " in "".join(characters[i] for i in training[:20_000].tolist())
    assert len(training) > 100_000
    assert len(validation) > char_gpt.CONTEXT


def test_a_saved_gpt_is_explained_on_a_page(monkeypatch, tmp_path, capsys):
    monkeypatch.syspath_prepend(EXAMPLES)
    monkeypatch.chdir(tmp_path)
    for program, arguments in (
        ("char_gpt", ["--steps", "2", "--save", "gpt.pt"]),
        ("token_relevance", ["--model", "gpt.pt", "--output", "page.html", "a text"]),
    ):
        monkeypatch.setattr(sys, "argv", [program, *arguments])
        importlib.import_module(program).main()
    page = (tmp_path / "page.html").read_text()
    assert page.count("title=") == len("a text")  # every character shows its relevance
    assert "'a text' expects" in capsys.readouterr().out
