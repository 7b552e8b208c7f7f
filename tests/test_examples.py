"""The examples run as a user runs them, each with the argument that shortens it."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parent.parent / "examples"
SHORT = {
    "spiking_digits.py": (["--epochs", "2"], r"LFP\(\) +epoch  2: accuracy 0\.9"),
}


def test_every_example_is_run():
    assert {path.name for path in EXAMPLES.glob("*.py")} == set(SHORT)


@pytest.mark.parametrize("name", SHORT)
def test_the_example_runs_and_says_what_it_should(name, tmp_path):
    arguments, expected = SHORT[name]
    finished = subprocess.run(
        [sys.executable, EXAMPLES / name, *arguments],
        cwd=tmp_path, capture_output=True, text=True, check=False, timeout=170,
    )  # fmt: skip
    assert finished.returncode == 0, finished.stderr
    assert re.search(expected, finished.stdout), finished.stdout
