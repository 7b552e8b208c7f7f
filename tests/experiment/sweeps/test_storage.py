"""Where sweeps are kept: URLs, and errors that say what to do."""

import sqlite3

import pytest
from optuna.exceptions import StorageInternalError
from sqlalchemy.exc import OperationalError

from altprop.experiment import InputError
from altprop.experiment.sweeps.storage import (
    open_storage,
    said_in_a_line,
    split_target,
    storage_url,
    without_password,
)


@pytest.mark.parametrize(
    ("given", "url"),
    [
        ("postgresql://ada:pw@host:5433/db", "postgresql+psycopg://ada:pw@host:5433/db"),
        ("postgres://host/db", "postgresql+psycopg://host/db"),
        ("postgresql://a@/db?host=/tmp/x", "postgresql+psycopg://a@/db?host=%2Ftmp%2Fx"),
        ("postgresql+psycopg://host/db", "postgresql+psycopg://host/db"),
        ("sqlite:///some/file.db", "sqlite:///some/file.db"),
        ("runs/mine", "sqlite:///runs/mine/sweep.db"),
    ],
)
def test_urls_are_taken_as_people_write_them(given, url):
    assert storage_url(given) == url


def test_a_folder_stands_for_the_database_that_it_names(tmp_path):
    (tmp_path / "storage.txt").write_text("postgresql://ada@host/db\n")
    assert storage_url(str(tmp_path)) == "postgresql+psycopg://ada@host/db"


def test_a_password_is_not_shown():
    assert without_password(storage_url("postgresql://ada:pw@host:5433/db")) == "postgresql://ada@host:5433/db"


@pytest.mark.parametrize("given", ["mysql://host/db", "redis://host"])
def test_other_databases_are_refused(given):
    with pytest.raises(InputError, match=r"--storage: sweeps are kept by postgresql:// or sqlite:///, got"):
        storage_url(given)


@pytest.mark.parametrize("given", ["postgresql://host", "postgresql://host/db/", "no/such/folder"])
def test_a_target_without_a_sweep_is_refused(given):
    with pytest.raises(InputError, match=r"postgresql://user@host/db/NAME"):
        split_target(given)


def test_a_file_that_is_not_there_is_not_made(tmp_path):
    with pytest.raises(InputError, match=r"There is no sweep in .*none.db. Start one with `altprop sweep`"):
        open_storage(f"sqlite:///{tmp_path}/none.db", create=False)
    assert not list(tmp_path.iterdir())


def test_a_server_that_does_not_answer_is_named_without_its_password(tmp_path):
    url = storage_url(f"postgresql://ada:secret@/db?host={tmp_path}")
    with pytest.raises(InputError, match=r"cannot be used: .*Is the server up, and does the database exist?") as caught:
        open_storage(url, create=False)
    assert "secret" not in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_file_that_is_no_database_is_named(tmp_path):
    (tmp_path / "sweep.db").write_text("These are notes of a summer long ago, and no database at all.")
    with pytest.raises(InputError, match=r"cannot be used: file is not a database"):
        open_storage(f"sqlite:///{tmp_path}/sweep.db", create=False)


def test_a_disk_that_fills_up_is_a_line_that_says_how_to_go_on():
    full = OperationalError("INSERT", {}, sqlite3.OperationalError("database or disk is full"))
    said = pytest.raises(InputError, match=r"database or disk is full\. .*the same command goes on")
    with said as error, said_in_a_line("postgresql://ada:secret@host/db"):
        raise StorageInternalError("...") from full
    assert "secret" not in str(error.value)
    assert "\n" not in str(error.value)
