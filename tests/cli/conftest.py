"""What the tests of commands share."""

import pytest
from typer.testing import CliRunner

import altprop.cli


@pytest.fixture
def run(monkeypatch, without_pictures):
    monkeypatch.setenv("COLUMNS", "120")
    return lambda *words: CliRunner().invoke(altprop.cli.app, [str(word) for word in words])
