"""Folders that are there whole or not at all, and folders that are never touched."""

import json
import os
import shutil
import subprocess
import sys
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from altprop.experiment import InputError
from altprop.experiment.records import folder as module
from altprop.experiment.records.files import MARKER, mark_all, read_checked
from altprop.experiment.records.folder import Folder, foreign, name_of, plain_name

RESULTS = "results.json"


def write(out, name="run", text="new", kind="report", **options):
    with Folder.open(out, name, kind=kind, **options) as folder:
        (folder.path / RESULTS).write_text(text)
        return folder.publish()


def begin(out, name="run", text="recipe", kind="training", **options):
    """A run that can be gone on with, and its first record."""
    with Folder.open(out, name, kind=kind, resumable=True, **options) as folder:
        folder.write("recipe.yaml", text)
        (folder.path / "seed-0" / "last").mkdir(parents=True, exist_ok=True)
        (folder.path / "seed-0" / "last" / "state.json").write_text(text)
        return folder


def contents(out):
    """All files but the markers, which hold sums."""
    files = (path for path in out.rglob("*") if path.is_file() and path.name != MARKER)
    return {path.relative_to(out).as_posix(): path.read_text() for path in files}


def names(out):
    return sorted(path.name for path in out.iterdir())


def test_a_folder_has_its_name_and_is_whole_when_it_appears(tmp_path):
    with Folder.open(tmp_path / "a" / "b", "run", kind="report") as folder:
        (folder.path / RESULTS).write_text("x")
        assert not (tmp_path / "a" / "b" / "run").exists()
        assert folder.publish() == tmp_path / "a" / "b" / "run"
    assert contents(tmp_path) == {f"a/b/run/{RESULTS}": "x"}
    assert names(tmp_path / "a" / "b") == ["run"]
    assert read_checked(tmp_path / "a" / "b" / "run" / RESULTS) == b"x"


@pytest.mark.parametrize("error", [ZeroDivisionError, KeyboardInterrupt])
def test_nothing_remains_of_a_folder_that_was_not_finished(tmp_path, error):
    write(tmp_path, text="old")
    with pytest.raises(error), Folder.open(tmp_path, "run", kind="report", overwrite=True) as folder:
        (folder.path / RESULTS).write_text("half")
        raise error
    assert contents(tmp_path) == {f"run/{RESULTS}": "old"}
    assert names(tmp_path) == ["run"]


def test_earlier_results_are_not_overwritten_unasked(tmp_path):
    write(tmp_path, text="old")
    with pytest.raises(InputError, match=r"run exists\. Choose another name .*--overwrite"):
        write(tmp_path)
    begin(tmp_path, "training")
    with pytest.raises(InputError, match=r"training exists\. .*--overwrite.*--resume"):
        begin(tmp_path, "training")
    assert contents(tmp_path / "run") == {RESULTS: "old"}


def test_earlier_results_are_replaced_on_demand(tmp_path):
    write(tmp_path, text="old")
    assert write(tmp_path, overwrite=True) == tmp_path / "run"
    assert contents(tmp_path) == {f"run/{RESULTS}": "new"}
    assert names(tmp_path) == ["run"]


def test_an_empty_folder_may_be_taken_on_demand(tmp_path):
    (tmp_path / "run").mkdir()
    assert write(tmp_path, overwrite=True) == tmp_path / "run"
    (tmp_path / "other").mkdir()
    assert begin(tmp_path, "other", resume=True).path == tmp_path / "other"


def test_numbered_folders_are_counted_on(tmp_path):
    assert [write(tmp_path, numbered=True).name for _ in range(3)] == ["run", "run-2", "run-3"]
    assert write(tmp_path, numbered=True, overwrite=True).name == "run"


def test_writers_at_once_get_numbers_or_are_told_who_writes(tmp_path):
    with Folder.open(tmp_path, "run", kind="report") as folder:
        assert write(tmp_path, text="quick", numbered=True).name == "run-2"
        with pytest.raises(
            InputError, match=rf"run is being written by process {os.getpid()} on .*Wait for it"
        ) as said:
            write(tmp_path)
        assert "\n" not in str(said.value)
        (folder.path / RESULTS).write_text("slow")
        folder.publish()
    assert contents(tmp_path) == {f"run-2/{RESULTS}": "quick", f"run/{RESULTS}": "slow"}
    assert names(tmp_path) == ["run", "run-2"]


@pytest.mark.parametrize("options", [{"resume": True}, {"overwrite": True}])
def test_two_do_not_go_on_at_once(tmp_path, options):
    begin(tmp_path)
    first = Folder.open(tmp_path, "run", kind="training", resumable=True, resume=True)
    with first, pytest.raises(InputError, match=r"run is being written by process \d+"):
        begin(tmp_path, **options)
    assert begin(tmp_path, **options)


@pytest.mark.parametrize("overwrite", [False, True])
def test_what_comes_there_meanwhile_is_not_replaced(tmp_path, overwrite):
    with Folder.open(tmp_path, "run", kind="report", overwrite=overwrite) as folder:
        (folder.path / RESULTS).write_text("slow")
        (tmp_path / "run").mkdir()
        (tmp_path / "run" / "thesis").write_text("quick")
        assert folder.publish().name == "run-2"
    assert contents(tmp_path) == {"run/thesis": "quick", f"run-2/{RESULTS}": "slow"}


def test_old_results_come_back_if_the_new_ones_cannot_be_moved(tmp_path):
    write(tmp_path, text="old")
    opened = Folder.open(tmp_path, "run", kind="report", overwrite=True)
    with pytest.raises(InputError, match="as it was before"), opened as folder:
        shutil.rmtree(folder.path)
        folder._swap()
    assert contents(tmp_path) == {f"run/{RESULTS}": "old"}


def test_where_nothing_can_be_written_is_said(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match=r"cannot be written to .*file: .*Choose another folder \(--out\)"):
        write(tmp_path / "file")


def test_a_folder_of_all_results_that_was_made_for_nothing_does_not_stay(tmp_path):
    with pytest.raises(RuntimeError), Folder.open(tmp_path / "runs", "one", kind="report"):
        raise RuntimeError("stopped")
    assert not (tmp_path / "runs").exists()
    (tmp_path / "mine").mkdir()
    with pytest.raises(RuntimeError), Folder.open(tmp_path / "mine", "one", kind="report"):
        raise RuntimeError("stopped")
    assert (tmp_path / "mine").exists()


def test_the_old_run_stays_until_the_new_one_is_whole(tmp_path):
    begin(tmp_path, text="old")
    new = begin(tmp_path, text="half", overwrite=True)
    assert new.path != tmp_path / "run" and name_of(new.path) == "run"
    assert contents(tmp_path / "run")["recipe.yaml"] == "old"
    with pytest.raises(InputError, match="exists"):
        begin(tmp_path)
    with Folder.open(tmp_path, "run", kind="training", resumable=True, resume=True) as folder:
        assert folder.resumed and folder.path == new.path
        assert folder.publish() == tmp_path / "run"
    assert contents(tmp_path) == {"run/recipe.yaml": "half", "run/seed-0/last/state.json": "half"}
    assert names(tmp_path) == ["run"]


def test_files_of_a_page_come_to_their_place_together(tmp_path):
    begin(tmp_path)
    with Folder.open(tmp_path, "run", kind="training", resumable=True, resume=True) as folder:
        with pytest.raises(ZeroDivisionError), folder.files() as place:
            (place / "half.png").write_text("x")
            raise ZeroDivisionError
        with folder.files() as place:
            (place / "pictures").mkdir()
            (place / "pictures" / "a.png").write_text("x")
    assert set(contents(tmp_path / "run")) == {"recipe.yaml", "seed-0/last/state.json", "pictures/a.png"}
    assert list(foreign(tmp_path / "run")) == []
    assert begin(tmp_path, overwrite=True)


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


# Kills. Each write, rename and removal is a place where a process may end.


class Killed(BaseException):
    pass


@contextmanager
def killed_at(monkeypatch, moment):
    """Let the process end at its file operation of this number; what follows in ``finally`` does not run."""
    count, dead = iter(range(10_000)), []

    def guarded(operation):
        def call(*arguments, **options):
            if dead or next(count) == moment:
                dead.append(1)
                raise Killed
            return operation(*arguments, **options)

        return call

    with monkeypatch.context() as patch:
        for holder, name in (
            *((os, one) for one in ("mkdir", "rename", "replace", "unlink", "rmdir", "fsync")),
            (shutil, "rmtree"),
        ):
            patch.setattr(holder, name, guarded(getattr(holder, name)))
        with suppress(Killed):
            yield dead


@pytest.mark.parametrize("options", [{}, {"overwrite": True}, {"resume": True}])
def test_a_kill_at_any_moment_leaves_a_folder_that_can_be_gone_on_with_or_replaced(tmp_path, monkeypatch, options):
    for then in ({"resume": True}, {"overwrite": True}):
        for moment in range(200):
            out = tmp_path / f"{next(iter(then))}-{moment}"
            out.mkdir()
            if options:
                begin(out, text="old").publish()
            opened = Folder.open(out, "run", kind="training", resumable=True, **options)
            with killed_at(monkeypatch, moment) as dead, opened as folder:
                folder.write("recipe.yaml", "new")
                with folder.files() as place:
                    (place / "report.html").write_text("new")
                folder.publish()
            texts = {path.read_text() for path in out.rglob("recipe.yaml")}
            assert not options or texts & {"old", "new"}, moment
            with Folder.open(out, "run", kind="training", resumable=True, **then) as folder:
                if folder.resumed and (folder.path / "recipe.yaml").exists():
                    assert read_checked(folder.path / "recipe.yaml") in (b"old", b"new")
                folder.write("recipe.yaml", "third")
                folder.publish()
            assert read_checked(out / "run" / "recipe.yaml") == b"third"
            assert names(out) == ["run"], moment
            if not dead:
                break
        assert 10 < moment < 199


def test_a_kill_at_any_moment_of_results_that_are_published_whole_loses_nothing(tmp_path, monkeypatch):
    for moment in range(200):
        out = tmp_path / str(moment)
        write(out, text="old")
        with killed_at(monkeypatch, moment) as dead:
            write(out, overwrite=True)
        there = {path.read_text() for path in out.rglob(RESULTS)}
        assert there & {"old", "new"}, moment
        write(out, "other")  # another command clears what the dead one left, but for the old results
        kept = {path.read_text() for path in [*out.rglob(f"run/{RESULTS}"), *out.rglob(f".run.old/{RESULTS}")]}
        assert kept & {"old", "new"}, moment
        assert write(out, overwrite=True) == out / "run"
        assert names(out) == ["other", "run"], moment
        if not dead:
            break
    assert 10 < moment < 199


SLEEPER = """
import sys, time
from pathlib import Path
from altprop.experiment.records.folder import Folder
with Folder.open(Path(sys.argv[1]), "slow", kind="report") as folder:
    (folder.path / "half").write_text("x")
    print("ready", flush=True)
    time.sleep(60)
"""


def test_hidden_folders_are_cleared_when_their_process_is_dead_and_not_before(tmp_path):
    (tmp_path / ".mine-01234567").mkdir()
    (tmp_path / ".mine-01234567" / "letter").write_text("precious")
    (tmp_path / ".slow.lock.lock").write_text("mine")
    sources = Path(module.__file__).parents[3]
    process = subprocess.Popen(
        [sys.executable, "-c", SLEEPER, tmp_path],
        stdout=subprocess.PIPE,
        env=os.environ | {"PYTHONPATH": str(sources)},
    )
    with process:
        assert process.stdout.readline() == b"ready\n"
        write(tmp_path, "one")
        assert len(list(tmp_path.glob(".slow-*/half"))) == 1
        with pytest.raises(InputError, match=f"slow is being written by process {process.pid} on "):
            write(tmp_path, "slow")
        process.kill()
    write(tmp_path, "two")
    assert names(tmp_path) == [".mine-01234567", ".slow.lock.lock", "one", "two"]
    assert (tmp_path / ".mine-01234567" / "letter").exists()


def test_files_of_a_folder_made_by_hand_are_summed(tmp_path):
    (tmp_path / "a").write_text("x")
    mark_all(tmp_path, "report")
    assert read_checked(tmp_path / "a") == b"x"
