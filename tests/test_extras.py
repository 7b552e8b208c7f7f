"""The command that a missing package is answered with."""

import json
import shlex
from importlib.metadata import PackageNotFoundError
from pathlib import Path
from types import SimpleNamespace

import pytest

from altprop import _extras
from altprop._extras import how_to_install


def installed_from(monkeypatch, origin):
    text = None if origin is None else json.dumps(origin)
    monkeypatch.setattr(_extras, "distribution", lambda name: SimpleNamespace(read_text=lambda file: text))


@pytest.mark.parametrize(
    ("origin", "words"),
    [
        (
            {"url": "file:///home/me/my%20clone", "dir_info": {"editable": True}},
            ["pip", "install", "-e", "/home/me/my clone[snn]"],
        ),
        ({"url": "file:///home/me/clone", "dir_info": {}}, ["pip", "install", "/home/me/clone[snn]"]),
        (
            {"url": "https://host/altprop.git", "vcs_info": {"vcs": "git", "commit_id": "4f2a"}},
            ["pip", "install", "altprop[snn] @ git+https://host/altprop.git@4f2a"],
        ),
        (
            {"url": "https://host/altprop.zip", "archive_info": {}},
            ["pip", "install", "altprop[snn] @ https://host/altprop.zip"],
        ),
    ],
    ids=["editable", "folder", "git", "archive"],
)
def test_the_command_takes_the_extra_from_where_altprop_came_from(monkeypatch, origin, words):
    installed_from(monkeypatch, origin)
    assert shlex.split(how_to_install("snn")) == words


def test_without_a_trace_of_an_installation_it_takes_a_clone(monkeypatch):
    def missing(name):
        raise PackageNotFoundError(name)

    installed_from(monkeypatch, None)
    assert how_to_install("snn") == "pip install -e '.[snn]' in a clone of altprop"
    monkeypatch.setattr(_extras, "distribution", missing)
    assert how_to_install("snn") == "pip install -e '.[snn]' in a clone of altprop"


def test_no_message_names_a_package_index():
    for path in (Path(__file__).parent.parent / "src").rglob("*.py"):
        if path.name != "_extras.py":
            assert "pip install '" not in path.read_text(encoding="utf-8"), path
