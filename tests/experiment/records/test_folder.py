"""Folders that are there whole or not at all, and earlier results that are safe."""

import pytest

from altprop.experiment import InputError
from altprop.experiment.records.folder import RESULTS, Folder, new_folder, plain_name


def write(out, name="run", text="new", **options):
    with new_folder(out, name, **options) as folder:
        (folder.path / RESULTS).write_text(text)
        return folder.publish()


def contents(out):
    return {str(path.relative_to(out)): path.read_text() for path in out.rglob("*") if path.is_file()}


def test_a_folder_has_its_name_and_is_whole_when_it_appears(tmp_path):
    with new_folder(tmp_path / "a" / "b", "run") as folder:
        (folder.path / RESULTS).write_text("x")
        assert not (tmp_path / "a" / "b" / "run").exists()
        assert folder.publish() == tmp_path / "a" / "b" / "run"
    assert contents(tmp_path) == {f"a/b/run/{RESULTS}": "x"}
    assert [path.name for path in (tmp_path / "a" / "b").iterdir()] == ["run"]


@pytest.mark.parametrize("error", [ZeroDivisionError, KeyboardInterrupt])
def test_nothing_remains_of_a_folder_that_was_not_finished(tmp_path, error):
    write(tmp_path, text="old")
    with pytest.raises(error), new_folder(tmp_path, "run", overwrite=True) as folder:
        (folder.path / RESULTS).write_text("half")
        raise error
    assert contents(tmp_path) == {f"run/{RESULTS}": "old"}
    assert [path.name for path in tmp_path.iterdir()] == ["run"]


def test_earlier_results_are_not_overwritten_unasked(tmp_path):
    write(tmp_path, text="old")
    with pytest.raises(InputError, match=r"run exists\. Choose another name .*--overwrite"):
        write(tmp_path)
    assert contents(tmp_path) == {f"run/{RESULTS}": "old"}


def test_earlier_results_are_replaced_on_demand(tmp_path):
    (write(tmp_path, text="old") / "more").write_text("old")
    assert write(tmp_path, overwrite=True) == tmp_path / "run"
    assert contents(tmp_path) == {f"run/{RESULTS}": "new"}
    assert [path.name for path in tmp_path.iterdir()] == ["run"]


@pytest.mark.parametrize("what", ["a file", "a folder"])
def test_what_holds_no_results_is_never_replaced(tmp_path, what):
    target = tmp_path / "run"
    if what == "a folder":
        target.mkdir()
        target /= "thesis.txt"
    target.write_text("precious")
    before = contents(tmp_path)
    with pytest.raises(InputError, match="does not hold results of an experiment"):
        write(tmp_path, overwrite=True)
    assert contents(tmp_path) == before


def test_an_empty_folder_may_be_taken_on_demand(tmp_path):
    (tmp_path / "run").mkdir()
    assert write(tmp_path, overwrite=True) == tmp_path / "run"


def test_numbered_folders_are_counted_on(tmp_path):
    names = [write(tmp_path, numbered=True).name for _ in range(3)]
    assert names == ["run", "run-2", "run-3"]
    assert write(tmp_path, numbered=True, overwrite=True).name == "run"


def test_a_name_that_is_taken_meanwhile_loses_nobody_results(tmp_path):
    with new_folder(tmp_path, "run") as folder:
        (folder.path / RESULTS).write_text("slow")
        write(tmp_path, text="quick")
        assert folder.publish().name == "run-2"
    assert contents(tmp_path) == {f"run/{RESULTS}": "quick", f"run-2/{RESULTS}": "slow"}


def test_old_results_come_back_if_the_new_ones_cannot_be_moved(tmp_path):
    write(tmp_path, text="old")
    folder = Folder(tmp_path, "run", numbered=False, overwrite=True)  # never made, so it cannot be moved
    with pytest.raises(FileNotFoundError):
        folder.publish()
    assert contents(tmp_path) == {f"run/{RESULTS}": "old"}


def test_where_nothing_can_be_written_is_said(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match=r"cannot be written to .*file: .*Choose another folder \(--out\)"):
        write(tmp_path / "file")


@pytest.mark.parametrize(
    ("text", "name"), [("train-lfp:epsilon=0-digits", "train-lfp-epsilon-0-digits"), ("../my data/é", "..-my-data-é")]
)
def test_any_text_becomes_a_name_without_a_path(text, name):
    assert plain_name(text) == name


def test_a_folder_of_all_results_that_was_made_for_nothing_does_not_stay(tmp_path):
    with pytest.raises(RuntimeError), new_folder(tmp_path / "runs", "one"):
        raise RuntimeError("stopped")
    assert not (tmp_path / "runs").exists()
    (tmp_path / "mine").mkdir()
    with pytest.raises(RuntimeError), new_folder(tmp_path / "mine", "one"):
        raise RuntimeError("stopped")
    assert (tmp_path / "mine").exists()
