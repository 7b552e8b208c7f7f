"""Folders that are there whole or not at all, and folders that are never touched."""

import os
import shutil
import subprocess
import sys
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from altprop.experiment import InputError
from altprop.experiment.records import folder as module
from altprop.experiment.records.files import read_checked
from altprop.experiment.records.folder import Folder, name_of
from altprop.experiment.records.ownership import foreign
from tests.experiment.records.toys import RESULTS, begin, contents, names, write


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


def interrupt(*_, **__):
    raise KeyboardInterrupt


@pytest.mark.parametrize("make", [write, begin])
def test_nothing_remains_of_a_folder_whose_making_is_interrupted(tmp_path, monkeypatch, make):
    monkeypatch.setattr("altprop.experiment.records.folder.mark", interrupt)
    with pytest.raises(KeyboardInterrupt):
        make(tmp_path)
    assert not names(tmp_path)


def test_what_has_come_to_its_place_stays_if_an_interruption_comes_then(tmp_path, monkeypatch):
    write(tmp_path, text="old")
    monkeypatch.setattr("altprop.experiment.records.folder.flush_folder", interrupt)
    with pytest.raises(KeyboardInterrupt):
        write(tmp_path, overwrite=True)
    monkeypatch.undo()
    assert contents(tmp_path / "run") == {RESULTS: "new"}
    write(tmp_path, overwrite=True)  # who comes next clears up
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
