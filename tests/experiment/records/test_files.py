"""What is read back is what was written: bits that flip, disks that are full."""

import errno
import json
import os
import random
import resource
import shutil
from pathlib import Path

import pytest

from altprop.experiment import InputError
from altprop.experiment.records import files
from altprop.experiment.records.facts import FACTS, RECIPE
from altprop.experiment.records.files import (
    MARKER,
    DamagedError,
    mark_all,
    read_checked,
    seal,
    sealed_line,
    unseal,
    unsealed_lines,
    write_whole,
)
from altprop.experiment.records.study import STUDY, Study
from altprop.experiment.reports.finding import find
from altprop.experiment.studies.reading import load_trained
from altprop.experiment.studies.study import run_study
from altprop.experiment.training import checkpoints
from altprop.experiment.training.checkpoints import find_checkpoint
from tests.commands import Command
from tests.experiment.training.toys import toy, without_times

FLIPS = 50


RESUMED = toy(training={"epochs": 2, "seeds": 1}, checkpoints={"every_steps": 3}, track={"loggers": ()})


@pytest.fixture(autouse=True, scope="module")
def _without_pictures():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("altprop.experiment.reports.study.pictures", lambda study, splits: [])
        yield


@pytest.fixture(scope="module")
def recipe():
    return RESUMED


@pytest.fixture(scope="module")
def trained(recipe, tmp_path_factory):
    return run_study(recipe, out=tmp_path_factory.mktemp("runs"), name="it")


def flipped(file, seed):
    """Flip a bit of a file."""
    data, moments = bytearray(file.read_bytes()), random.Random(seed)
    data[moments.randrange(len(data))] ^= 1 << moments.randrange(8)
    file.write_bytes(data)


def report(folder):
    find([folder])


def begun(folder):
    """A study that is not over: its record does not have the network yet."""
    (folder / STUDY).write_text(Study.load(folder).model_copy(update={"cells": ()}).as_json())
    mark_all(folder, "study")
    return folder


READERS = {
    RECIPE: lambda folder: run_study(RESUMED, out=folder.parent, name=folder.name, resume=True),
    FACTS: report,
    STUDY: Study.load,
    MARKER: Study.load,
    "cells/backprop-seed-0/model.safetensors": lambda folder: load_trained(folder, which="final"),
    "cells/backprop-seed-0/history.jsonl": lambda folder: report(begun(folder)),
    **{
        f"cells/backprop-seed-0/last/{name}": lambda folder: load_trained(folder, which="last")
        for name in ("model.safetensors", "state.safetensors", "state.json", "manifest.json")
    },
}


@pytest.mark.parametrize("name", READERS)
def test_no_flipped_bit_is_used_silently(trained, tmp_path, name):
    for seed in range(FLIPS):
        folder = tmp_path / str(seed)
        shutil.copytree(trained.folder, folder)
        flipped(folder / name, seed)
        with pytest.raises(InputError) as said:
            READERS[name](folder)
        assert Path(name).name in str(said.value)
        assert "damaged" in str(said.value)
        assert "\n" not in str(said.value)


@pytest.mark.parametrize("bit", range(8))
def test_a_flip_in_the_last_line_break_is_damage_and_a_line_being_written_is_not(tmp_path, bit):
    lines = (sealed_line({"epoch": 1}) + sealed_line({"epoch": 2})).encode()
    file = tmp_path / "history.jsonl"
    file.write_bytes(lines[:-1] + bytes([lines[-1] ^ (1 << bit)]))
    with pytest.raises(DamagedError, match="damaged in line 2"):
        unsealed_lines(file)
    for cut in (1, 2, 10):
        file.write_bytes(lines[:-cut])
        assert unsealed_lines(file) == [{"epoch": 1}]


@pytest.mark.parametrize("name", ["model.safetensors", "state.safetensors", "state.json", "manifest.json"])
def test_from_a_damaged_checkpoint_one_goes_back_to_the_one_before(trained, tmp_path, name):
    shutil.copytree(trained.folder / "cells/backprop-seed-0", folder := tmp_path / "cells/backprop-seed-0")
    (before, _) = find_checkpoint(folder)
    for seed in range(FLIPS):
        shutil.copy(trained.folder / "cells/backprop-seed-0" / "last" / name, folder / "last" / name)
        flipped(folder / "last" / name, seed)
        snapshot, notes = find_checkpoint(folder)
        assert snapshot.facts["step"] < before.facts["step"]
        assert str(folder / "last" / name) in notes[0]
        assert str(folder / "last-previous") in notes[1]


@pytest.mark.parametrize(
    "text", ["", "{", "[]", "null", "{}", '{"files": {}}', '{"format": 1, "files": []}', "[" * 99_999]
)
def test_a_manifest_that_says_something_else_is_named(trained, tmp_path, text):
    shutil.copytree(trained.folder / "cells/backprop-seed-0", folder := tmp_path / "cells/backprop-seed-0")
    (folder / "last" / "manifest.json").write_text(text)
    _, notes = find_checkpoint(folder)
    assert "manifest.json is missing or damaged" in notes[0]


def test_a_damaged_record_is_written_again_by_going_on(recipe, trained, tmp_path):
    shutil.copytree(trained.folder, folder := tmp_path / "it")
    for name in (STUDY, "cells/backprop-seed-0/model.safetensors"):
        flipped(folder / name, 0)
    again = run_study(recipe, out=tmp_path, name="it", resume=True)
    assert without_times(again.cells[0].history) == without_times(trained.cells[0].history)
    assert Study.load(folder).recipe == recipe
    flipped(folder / RECIPE, 0)
    with pytest.raises(DamagedError, match=r"recipe\.yaml is damaged.* Remove it and go on with the run"):
        run_study(recipe, out=tmp_path, name="it", resume=True)
    (folder / RECIPE).unlink()
    assert run_study(recipe, out=tmp_path, name="it", resume=True)


def test_what_has_no_sum_is_not_read(tmp_path):
    (tmp_path / "a").write_text("x")
    with pytest.raises(DamagedError, match="this version of altprop did not write it"):
        read_checked(tmp_path / "a")
    mark_all(tmp_path, "report")
    assert read_checked(tmp_path / "a") == b"x"
    (tmp_path / "b").write_text("x")
    with pytest.raises(DamagedError, match="is not among what altprop wrote"):
        read_checked(tmp_path / "b")
    (tmp_path / "a").unlink()
    with pytest.raises(DamagedError, match="a cannot be read: No such file"):
        read_checked(tmp_path / "a")


@pytest.mark.parametrize("facts", [{}, {"a": [1.5, None, "é"], "b": {"c": 1e-300}}, {"n": float("inf")}])
def test_what_is_sealed_comes_back(tmp_path, facts):
    (tmp_path / "it").write_bytes(seal(facts))
    assert unseal(tmp_path / "it") == facts
    (tmp_path / "lines").write_text(2 * sealed_line(facts) + sealed_line(facts)[:-5])
    assert unsealed_lines(tmp_path / "lines") == [facts, facts]


# Disks that are full.


@pytest.fixture
def room(monkeypatch):
    """Let there be room for so many more bytes on the disk."""

    def limit(count):
        left = [count]

        def write_through(file, data):
            with file.open("wb") as out:
                out.write(data[: left[0]])
            left[0] -= len(data)
            if left[0] < 0:
                left[0] = 0
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(file))

        for user in (files, checkpoints):
            monkeypatch.setattr(user, "write_through", write_through)

    return limit


def test_a_file_that_does_not_fit_is_not_there_and_the_old_one_is(tmp_path, room):
    write_whole(tmp_path / "it", "old")
    room(5)
    with pytest.raises(OSError, match="No space left"):
        write_whole(tmp_path / "it", "123456789")
    assert [path.name for path in tmp_path.iterdir()] == ["it"]
    assert (tmp_path / "it").read_text() == "old"


@pytest.mark.parametrize("size", [0, 1, 100, 700, 1500, 3000, 6000, 9000, 15_000, 30_000])
def test_a_full_disk_is_a_line_and_the_training_goes_on_when_there_is_room(recipe, trained, tmp_path, room, size):
    room(size)
    with pytest.raises(InputError, match="No space left on device") as said:
        run_study(recipe, out=tmp_path, name="it")
    assert "\n" not in str(said.value)
    assert ("What was done is kept in" in str(said.value)) == (tmp_path / "it").exists()
    for file in tmp_path.rglob("*.json"):  # whole or not there
        json.loads(file.read_text())
    room(10**9)
    again = run_study(recipe, out=tmp_path, name="it", resume=True)
    assert without_times(again.cells[0].history) == without_times(trained.cells[0].history)


def test_a_command_whose_files_cannot_grow_says_what_is_kept_and_goes_on(tmp_path):
    (tmp_path / "it.yaml").write_text("data: circles\nmodel: 64-64\ntraining: {epochs: 3}\ntrack: {loggers: []}\n")
    words = ["train", "it.yaml", "--name", "it", "--resume"]

    def run(largest):
        command = Command(*words, folder=tmp_path, largest=largest)
        return command.wait(240), command.told()

    status, told = run(15_000)  # a checkpoint is larger
    assert status == 2
    lines = [line for line in told.splitlines() if line.startswith("altprop: ")]
    assert "File too large. What was done is kept in runs/it" in lines[0]
    assert "--resume --name it" in lines[0]
    assert "Traceback" not in told
    assert run(resource.RLIM_INFINITY)[0] == 0
    assert json.loads((tmp_path / "runs" / "it" / STUDY).read_text())["cells"][0]["status"] == "finished"
