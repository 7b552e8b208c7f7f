"""Where a sweep is kept: a database that all of its workers share, SQLite or PostgreSQL."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import optuna
from optuna.exceptions import ExperimentalWarning
from optuna.storages import RDBStorage
from sqlalchemy import Engine, event, inspect, make_url
from sqlalchemy.exc import ArgumentError, SQLAlchemyError

from altprop.experiment.errors import InputError

DATABASE = "sweep.db"
"""The SQLite file in a sweep's folder."""

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
        return f"sqlite:///{Path(text) / DATABASE}"
    try:
        url = make_url(text)
    except ArgumentError as error:
        raise InputError(f"--storage: {text!r} is no URL of a database; write postgresql://user@host/db.") from error
    url = url.set(drivername=_DRIVERS.get(url.drivername, url.drivername))
    if url.get_backend_name() not in ("postgresql", "sqlite"):
        raise InputError(f"--storage: sweeps are kept by postgresql:// or sqlite:///, got {url.drivername}://.")
    return url.render_as_string(hide_password=False)


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


def open_storage(url: str, *, grace: int, create: bool) -> RDBStorage:
    """Open the database.

    Args:
        url: from :func:`storage_url`.
        grace: seconds without a sign of life after which a worker is taken for dead.
        create: whether to make the tables, if they are not there.

    Raises:
        InputError: it cannot be reached, or there are no tables and none are to be made.
    """
    backend, interval = make_url(url).get_backend_name(), max(1, grace // 5)
    file = make_url(url).database
    if backend == "sqlite" and not create and not Path(file or "").is_file():
        raise InputError(f"There is no sweep in {file}. Start one with `altprop sweep`, or name its folder.")
    # A connection that the server has closed is opened again, rather than an error.
    options: dict[str, Any] = {"connect_args": {"timeout": _BUSY_SECONDS}} if backend == "sqlite" else {}
    options |= {"pool_pre_ping": backend == "postgresql"}
    try:
        with _quietly():
            storage = RDBStorage(
                url, options, heartbeat_interval=interval, grace_period=grace, skip_table_creation=not create
            )
    except ImportError as error:
        raise InputError("PostgreSQL needs a package: pip install 'altprop[postgres]'.") from error
    except (SQLAlchemyError, optuna.exceptions.OptunaError) as error:
        raise InputError(f"The storage {without_password(url)} {_trouble(error, create)}") from error
    if backend == "sqlite":
        _lock_from_the_start(storage.engine)
    return storage


def _trouble(error: Exception, create: bool) -> str:
    cause = error.__cause__ or error
    missing = "does not exist" in str(cause) and "relation" in str(cause)
    if missing and not create:
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
def _quietly() -> Iterator[None]:
    """Without Optuna's notes that heartbeats may change: the tests hold what we need of them."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ExperimentalWarning)
        yield


def fail_the_dead(study: optuna.Study) -> None:
    """Mark the trials as failed whose workers have given no sign of life."""
    with _quietly():
        optuna.storages.fail_stale_trials(study)


def has_tables(storage: RDBStorage) -> bool:
    """Whether there may be sweeps in it."""
    return inspect(storage.engine).has_table("studies")
