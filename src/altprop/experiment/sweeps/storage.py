"""Where a sweep is kept: a database that all of its workers share, SQLite or PostgreSQL."""

from __future__ import annotations

import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import optuna
from optuna.exceptions import ExperimentalWarning
from optuna.storages import RDBStorage
from sqlalchemy import Engine, event, make_url
from sqlalchemy.exc import ArgumentError, SQLAlchemyError
from sqlalchemy.pool import NullPool

from altprop._extras import how_to_install
from altprop.experiment.errors import InputError

DATABASE = "sweep.db"
"""The SQLite file in a sweep's folder."""

STORAGE = "storage.txt"
"""The file of a sweep's folder that says where its database is."""

_BUSY_SECONDS = 120  # SQLite has one writer at a time; the others wait for so long
_DRIVERS = {"postgresql": "postgresql+psycopg", "postgres": "postgresql+psycopg"}


def storage_url(text: str) -> str:
    """The URL of a storage, as SQLAlchemy wants it.

    Args:
        text: a URL, ``postgresql://user@host/database`` or ``sqlite:///file.db``; or the path of a sweep's folder.

    Raises:
        InputError: it is neither.

    Example:
        >>> storage_url("postgresql://ada@server/sweeps")
        'postgresql+psycopg://ada@server/sweeps'
    """
    if "://" not in text:
        known = Path(text) / STORAGE
        if (Path(text) / DATABASE).exists() or not known.exists():
            return f"sqlite:///{Path(text) / DATABASE}"
        text = known.read_text(encoding="utf-8").strip()
    try:
        url = make_url(text)
    except ArgumentError as error:
        raise InputError(f"--storage: {text!r} is no URL of a database; write postgresql://user@host/db.") from error
    url = url.set(drivername=_DRIVERS.get(url.drivername, url.drivername))
    if url.get_backend_name() not in ("postgresql", "sqlite"):
        raise InputError(f"--storage: sweeps are kept by postgresql:// or sqlite:///, got {url.drivername}://.")
    return url.render_as_string(hide_password=False)


def split_target(target: str) -> tuple[str, str]:
    """Where a sweep is and what it is called, of one text.

    Args:
        target: ``postgresql://user@host/database/NAME``, ``sqlite:///file.db/NAME``, or the folder of a sweep.

    Raises:
        InputError: it is neither.

    Example:
        >>> split_target("postgresql://ada@server/sweeps/lenet")
        ('postgresql://ada@server/sweeps', 'lenet')
    """
    if "://" not in target:
        if not ((Path(target) / DATABASE).is_file() or (Path(target) / STORAGE).is_file()):
            raise InputError(
                f"{target} is not the folder of a sweep. Name one, or write postgresql://user@host/db/NAME."
            )
        return target, Path(target).resolve().name
    storage, _, name = target.rpartition("/")
    if storage.endswith("/") or not name:
        raise InputError(f"{target} names no sweep: write postgresql://user@host/db/NAME.")
    return storage, name


def without_password(url: str) -> str:
    """The URL as it may be shown, and written to files.

    Example:
        >>> without_password("postgresql+psycopg://ada:secret@server/sweeps")
        'postgresql://ada@server/sweeps'
    """
    parsed = make_url(url)
    if parsed.get_backend_name() == "postgresql":
        parsed = parsed.set(drivername="postgresql")
    # URL.set cannot unset; a password of None is left out.
    return parsed._replace(password=None).render_as_string(hide_password=False)


def open_storage(url: str, *, create: bool) -> RDBStorage:
    """Open the database.

    Args:
        url: from :func:`storage_url`.
        create: whether to make the tables, if they are not there.

    Raises:
        InputError: it cannot be reached, or there are no tables and none are to be made.
    """
    parsed = make_url(url)
    lite = parsed.get_backend_name() == "sqlite"
    if lite and not create and not Path(parsed.database or "").is_file():
        raise InputError(f"There is no sweep in {parsed.database}. Start one with `altprop sweep`, or name its folder.")
    # A connection that a server has closed is opened again, rather than an error.
    options: dict[str, Any] = {"connect_args": {"timeout": _BUSY_SECONDS}} if lite else {"pool_pre_ping": True}
    # What may go wrong goes wrong here, without a pool: a pool would be left behind with its connections open.
    _open(url, options | {"poolclass": NullPool}, create)
    storage = _open(url, options, create=False)
    if lite:
        _lock_from_the_start(storage.engine)
    return storage


def _open(url: str, options: dict[str, Any], create: bool) -> RDBStorage:
    for tries_left in (2, 1, 0):
        try:
            return RDBStorage(url, options, skip_table_creation=not create)
        except ImportError as error:
            raise InputError(f"PostgreSQL needs a package: {how_to_install('postgres')}.") from error
        except (SQLAlchemyError, optuna.exceptions.OptunaError) as error:
            # Two sweeps may make the tables of a new database at the same time: for the second they are there.
            if not (create and tries_left and _is_race(error)):
                raise InputError(f"The storage {without_password(url)} {_trouble(error)}") from error
            time.sleep(1)
    raise AssertionError("the last try returns or raises")


def _is_race(error: Exception) -> bool:
    words = str(error.__cause__ or error).lower()
    return "already exists" in words or "duplicate key" in words


def _trouble(error: Exception) -> str:
    cause = error.__cause__ or error
    if "relation" in str(cause) and "does not exist" in str(cause):
        return "holds no sweeps. Start one with `altprop sweep`."
    line = str(getattr(cause, "orig", cause)).strip().splitlines() or [type(cause).__name__]
    return f"cannot be used: {line[0]}. Is the server up, and does the database exist?"


def _lock_from_the_start(engine: Engine) -> None:
    """Let each transaction of SQLite take its lock when it begins.

    Optuna reads a trial's state, then changes it. SQLite knows no SELECT FOR UPDATE, and Python's driver begins a
    transaction at the first change only: two workers could read the same state and both take the trial.
    """
    engine.dispose()  # connections from before this

    @event.listens_for(engine, "connect")
    def _leave_transactions_alone(connection: Any, _: Any) -> None:
        connection.isolation_level = None

    @event.listens_for(engine, "begin")
    def _begin(connection: Any) -> None:
        connection.exec_driver_sql("BEGIN IMMEDIATE")


@contextmanager
def said_in_a_line(url: str) -> Iterator[None]:
    """Let what goes wrong with the database within this block be said as what is wrong with the disk is.

    Raises:
        InputError: it went wrong.
    """
    try:
        yield
    except (SQLAlchemyError, optuna.exceptions.OptunaError) as error:
        cause = error.__cause__ or error
        line = str(getattr(cause, "orig", cause)).strip().partition("\n")[0] or type(cause).__name__
        raise InputError(
            f"The storage {without_password(url)} does not answer any more: {line}. The trials that have ended are "
            f"kept: mend that, and the same command goes on with the sweep."
        ) from error


def fail_the_dead(study: optuna.Study) -> None:
    """Mark the trials as failed whose workers have given no sign of life."""
    with warnings.catch_warnings():
        # Optuna says that this may change; the tests hold what we need of it.
        warnings.simplefilter("ignore", ExperimentalWarning)
        optuna.storages.fail_stale_trials(study)
