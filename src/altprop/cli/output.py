"""What all commands say in the same way: errors, tables, notes, where the report is."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Never

import typer

if TYPE_CHECKING:
    from rich.table import Table


def watched(run: Callable[..., Any], *arguments: Any, **options: Any) -> Any:
    """Call a function of the library with ``watch=``, a progress bar on the terminal."""
    from rich.console import Console

    from altprop.experiment.training.progress import Bar

    with Bar(Console(stderr=True)) as bar:
        return run(*arguments, **options, watch=bar)


@contextmanager
def errors_for_the_reader() -> Iterator[None]:
    """End the command with a line for each thing that is wrong with what was asked for, and status 2.

    Within it SIGTERM and SIGHUP do what Ctrl-C does; the status says which of them it was.
    """
    from pydantic import ValidationError

    from altprop.experiment.errors import InputError
    from altprop.experiment.training.stopping import exit_status, interruptible

    try:
        with interruptible():
            yield
    except ValidationError as error:
        fail("\n".join(_explain(dict(detail)) for detail in error.errors()))
    except InputError as error:
        fail(str(error))
    except BrokenPipeError:
        raise
    except OSError as error:
        fail(f"{error.filename}: {error.strerror}." if error.filename else f"{error.strerror or error}.", code=1)
    except KeyboardInterrupt:
        fail("Interrupted before there were results: nothing was written.", code=exit_status())


def _explain(detail: dict[str, Any]) -> str:
    """One complaint of pydantic, for someone who gave an option."""
    from altprop.experiment.errors import InputError

    if isinstance(detail.get("ctx", {}).get("error"), InputError):
        message = str(detail["ctx"]["error"])
    else:
        message = f"{detail['msg']}, got {detail['input']!r}."
    setting = next((str(part) for part in detail["loc"]), "")
    return f"--{setting.replace('_', '-')}: {message}" if setting else message


def fail(message: str, code: int = 2) -> Never:
    """End the command with a message and a status."""
    from rich.console import Console

    Console(stderr=True, highlight=False, soft_wrap=True).print(f"altprop: {message}", markup=False)
    raise typer.Exit(code)


def end_if_interrupted(interrupted: bool) -> None:
    """End the command as one that was interrupted, if it was."""
    from altprop.experiment.training.stopping import exit_status

    if interrupted:
        fail("Interrupted: what was done is kept, and the report says what is missing.", code=exit_status())


def print_list(title: str, columns: Iterable[str], rows: Iterable[Iterable[str]], whole: int = 1) -> None:
    """Print a table whose first columns, names that the reader types, are not broken into lines."""
    from rich.console import Console
    from rich.table import Column, Table

    shown = (Column(name, no_wrap=place < whole, overflow="fold") for place, name in enumerate(columns))
    table = Table(*shown, title=title)
    for row in rows:
        table.add_row(*row)
    Console().print(table)


def print_outcome(
    tables: Iterable[Table], notes: Iterable[str], folder: Path | None, *, headline: Iterable[str] = ()
) -> None:
    """Print what a run gave, what is to be seen in it, and where its report is."""
    from rich.console import Console

    console = Console()
    for table in tables:
        console.print(table)
    for note in notes:
        console.print(f"note: {note}", markup=False, highlight=False, soft_wrap=True)
    for sentence in headline:
        console.print(sentence, style="bold", markup=False, highlight=False)
    if folder:
        console.print(f"Report: {folder / 'report.html'}", markup=False, highlight=False, soft_wrap=True)
