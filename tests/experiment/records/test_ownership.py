"""What is not altprop's is never touched, whatever it is called and whatever it looks like."""

import json
import os

import pytest

from altprop.experiment import InputError
from altprop.experiment.records.files import MARKER
from altprop.experiment.records.folder import Folder, plain_name
from tests.experiment.records.toys import RESULTS, begin, write


@pytest.mark.parametrize(
    "what",
    [
        "notes.txt",
        "seed-0/notes.txt",
        "seed-0/last/mine.safetensors",
        "photos/a.jpg",
        ".hidden",
        "tensorboard/a",
        "empty/",
    ],
)
@pytest.mark.parametrize("make", [begin, lambda out, **options: write(out, kind="training", **options)])
def test_a_foreign_file_in_a_run_is_named_and_stays(tmp_path, make, what):
    make(tmp_path)
    path = tmp_path / "run" / what
    path.parent.mkdir(parents=True, exist_ok=True)
    path.mkdir() if what.endswith("/") else path.write_text("precious")
    before = tree(tmp_path)
    with pytest.raises(InputError, match=f"holds '{what.rstrip('/')}', which altprop did not write"):
        make(tmp_path, overwrite=True)
    assert tree(tmp_path) == before


# What must not be touched: each makes something at a path, and is a name for what it makes.


def thesis(path):
    path.mkdir()
    for name in ("recipe.yaml", "thesis.tex", "facts.json", RESULTS, "training.json", "study.json", "storage.txt"):
        (path / name).write_text("precious")


def sweep(path):
    with Folder.open(path.parent, path.name, kind="sweep", resumable=True) as folder:
        (folder.path / "sweep.db").write_bytes(b"SQLite format 3\0")


def wrong_marker(text):
    def make(path):
        thesis(path)
        (path / MARKER).write_text(text)

    return make


def another_kind(path):
    write(path.parent, path.name, kind="report")


def changed_marker(path):
    begin(path.parent, path.name)
    facts = json.loads((path / MARKER).read_text())
    (path / MARKER).write_text(json.dumps(facts | {"kind": "training", "files": {"thesis.tex": []}}))
    (path / "thesis.tex").write_text("precious")


def linked_marker(path):
    thesis(path)
    begin(path.parent, "other")
    (path / MARKER).symlink_to(path.parent / "other" / MARKER)


def link(make):
    def linked(path):
        make(path.parent / "target")
        path.symlink_to(path.parent / "target", target_is_directory=True)

    return linked


def read_only(path):
    begin(path.parent, path.name)
    path.chmod(0o555)


def of_another_user(path):
    begin(path.parent, path.name)
    if os.geteuid():
        pytest.skip("only root can give a folder away")
    os.chown(path, 12345, 12345)


def link_within(path):
    begin(path.parent, path.name)
    thesis(path.parent / "target")
    (path / "seed-0" / "best").symlink_to(path.parent / "target", target_is_directory=True)


def link_for_a_record(path):
    begin(path.parent, path.name)
    (path.parent / "target").write_text("precious")
    (path / "recipe.yaml").unlink()
    (path / "recipe.yaml").symlink_to(path.parent / "target")


KEPT = {
    "a thesis": thesis,
    "a sweep": sweep,
    "a report": another_kind,
    "a file": lambda path: path.write_text("precious"),
    "a link to a file": link(lambda path: path.write_text("precious")),
    "a link to a folder": link(thesis),
    "a link to a run": link(lambda path: begin(path.parent, path.name)),
    "a link to nothing": lambda path: path.symlink_to(path.parent / "nothing"),
    "a pipe": os.mkfifo,
    "a marker that is no JSON": wrong_marker("{"),
    "a marker that is empty": wrong_marker(""),
    "a marker that is a list": wrong_marker("[1]"),
    "a marker without a sum": wrong_marker('{"kind": "training", "format": 1, "files": {}}'),
    "a marker nested deeply": wrong_marker("[" * 100_000),
    "a marker that was changed": changed_marker,
    "a marker that is a link": linked_marker,
    "a folder that is read-only": read_only,
    "a folder of another user": of_another_user,
    "a run that holds a link to a folder": link_within,
    "a run with a link for a record": link_for_a_record,
}


def tree(path):
    """All that is below a folder: contents, links, modes."""
    found = {}
    for one in sorted(path.rglob("*")):
        facts = one.lstat()
        held = one.readlink() if one.is_symlink() else one.read_bytes() if one.is_file() else ""
        found[str(one)] = held, facts.st_mode, facts.st_uid, facts.st_ino
    return found


@pytest.mark.parametrize("resumable", [True, False])
@pytest.mark.parametrize("what", KEPT)
def test_what_is_not_ours_is_never_touched(tmp_path, what, resumable):
    KEPT[what](tmp_path / "it")
    before = tree(tmp_path)
    open_it = begin if resumable else lambda out, name, **options: write(out, name, kind="training", **options)
    for options in ({}, {"overwrite": True}, *([{"resume": True}] if resumable else [])):
        if "resume" in options and what in (
            "a folder that is read-only",
            "a folder of another user",
            "a run that holds a link to a folder",
            "a run with a link for a record",
        ):
            continue  # a run is gone on with: nothing is deleted
        with pytest.raises(InputError) as said:
            open_it(tmp_path, "it", **options)
        assert "\n" not in str(said.value) and "it" in str(said.value)
        assert tree(tmp_path) == before


def test_a_record_that_is_a_link_is_replaced_and_not_followed(tmp_path):
    link_for_a_record(tmp_path / "it")
    begin(tmp_path, "it", text="again", resume=True)
    assert (tmp_path / "target").read_text() == "precious"
    assert (tmp_path / "it" / "recipe.yaml").read_text() == "again"


@pytest.mark.parametrize("where", ["working directory", "above it", "home", "above home"])
def test_where_people_live_is_not_replaced(tmp_path, where, monkeypatch):
    begin(tmp_path, "it")
    place = tmp_path / "it" / ("seed-0" if "above" in where else "")
    if "home" in where:
        monkeypatch.setenv("HOME", str(place))
    else:
        monkeypatch.chdir(place)
    before = tree(tmp_path)
    with pytest.raises(InputError, match="is or holds the working directory or your home"):
        begin(tmp_path, "it", overwrite=True)
    assert tree(tmp_path) == before


HOSTILE = [
    *("", ".", "..", "../x", "a/../../x", "/etc/x", "a/b", "a\\b", "~", "~root", ".hidden", "-rf", "a b", " a"),
    *(
        "a\nb",
        "a\x1b[31mb",
        "a\0b",
        "a\tb",
        "a\x7f",
        "nul",
        "COM1.txt",
        "a.",
        "x" * 121,
        "é" * 61,
        "a*",
        "$HOME",
        "a:b",
    ),
    *(
        "\uff0e\uff0e\uff0fx",
        "a\u2215b",
        "\u202etxt",
        "ｔｈｅｓｉｓ",
        "e\u0301",
        "a\u200bb",
        "\N{PILE OF POO}",
        "a%2fb",
    ),
]


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_names_are_refused_in_a_line_that_says_what_is_allowed(tmp_path, name):
    thesis(tmp_path / "x")
    (tmp_path / "runs").mkdir()
    before = tree(tmp_path)
    for options in ({}, {"overwrite": True}, {"resume": True}):
        with pytest.raises(InputError, match=r"A name (is made of letters, digits|has at most)") as said:
            begin(tmp_path / "runs", name, **options)
        assert str(said.value).isprintable() or "…" in str(said.value)
    assert tree(tmp_path) == before


@pytest.mark.parametrize("name", ["mine", "2", "lfp_1.0+dfa-3", "é", "обучение", "x" * 120, "null", "a.b"])
def test_other_names_are_taken(tmp_path, name):
    assert begin(tmp_path, name).path == tmp_path / name


@pytest.mark.parametrize(
    ("text", "name"), [("train-lfp:epsilon=0-digits", "train-lfp-epsilon-0-digits"), ("../my data/é", "my-data-é")]
)
def test_any_text_becomes_a_name_without_a_path(text, name):
    assert plain_name(text) == name


def test_a_name_that_was_made_is_cut(tmp_path):
    assert len(write(tmp_path, "x" * 300, numbered=True).name) == 80
