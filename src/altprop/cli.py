"""The command line: it reads the options, calls one function of :mod:`altprop.experiment`, and prints."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from importlib.metadata import version
from inspect import Parameter, Signature, signature
from pathlib import Path
from textwrap import dedent
from typing import Annotated, Any, Never

try:
    import typer
    from pydantic import ValidationError
    from rich.console import Console
    from rich.table import Table

    from altprop.experiment import (
        DATA,
        MODELS,
        RULES,
        ExplainSettings,
        Explanations,
        InputError,
        Interrupted,
        Results,
        Settings,
        compare,
        explain,
        train,
    )
    from altprop.experiment.explain_table import terminal_tables
    from altprop.experiment.objectives import LOSSES, tasks_of
    from altprop.experiment.options import Options, as_text
    from altprop.experiment.progress import Bar
    from altprop.experiment.spiking import SPIKING_MODELS
    from altprop.experiment.table import terminal_table
    from altprop.explain import COMPOSITES
    from altprop.rewards import REWARDS, SPIKE_REWARDS
except ModuleNotFoundError as error:
    raise SystemExit(
        f"The command line needs {error.name}, which is not installed. Install it with: "
        f"pip install 'altprop[experiments]'"
    ) from None

_FLAGS = {
    "rules": ["--rules", "--rule", "-r"],
    "composites": ["--composites", "--rules", "--rule", "-r"],
    "out": ["--out", "-o"],
}

app = typer.Typer(
    name="altprop",
    help="Train any PyTorch network by any rule for sending credit backward, and explain it.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    rich_markup_mode="rich",
)


def main() -> None:
    """Run the command that ``sys.argv`` gives."""
    app()


def _show_version(asked: bool) -> None:
    if asked:
        typer.echo(f"altprop {version('altprop')}")
        raise typer.Exit


_VERSION = typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version and exit.")


@app.callback()
def _altprop(_version: Annotated[bool, _VERSION] = False) -> None:
    pass


def _command(
    run: Callable[..., Any],
    options: type[Options],
    show: Callable[[Any], None],
    help: str,  # noqa: A002
    examples: str,
    **defaults: str,
) -> None:
    """Add a command with an option for every field of a class of options, which describes it and checks it.

    Args:
        run: what the command calls, with the options and a watch; it has the command's name.
        options: the class.
        show: prints what comes out; it may end the command with an error code.
        help: what the command does.
        examples: command lines, one on each line.
        **defaults: where the command's defaults are not those of the class.
    """

    def command(context: typer.Context, **values: str | bool | None) -> None:
        # Defaults are shown, and not passed on: the model that is chosen may have others.
        given: dict[str, Any] = defaults | {name: value for name, value in values.items() if _is_given(context, name)}
        with _errors_for_the_reader():
            results = _watched(run, options(**given))
        show(results)

    parameters = [_option(options, name, defaults.get(name)) for name in options.model_fields]
    # Typer reads the options from the signature.
    itself = Parameter("context", Parameter.KEYWORD_ONLY, annotation=typer.Context)
    command.__signature__ = Signature([itself, *parameters])  # type: ignore[attr-defined]
    command.__annotations__ = {parameter.name: parameter.annotation for parameter in (itself, *parameters)}
    epilog = "\n\n".join(["[bold]Examples[/]", *(f"[cyan]{line}[/]" for line in dedent(examples).strip().splitlines())])
    app.command(run.__name__, help=help, epilog=epilog)(command)


def _is_given(context: typer.Context, name: str) -> bool:
    source = context.get_parameter_source(name)
    return source is not None and source.name != "DEFAULT"


def _option(options: type[Options], name: str, default: str | None) -> Parameter:
    field = options.model_fields[name]
    if name in options.positional:
        path = typer.Argument(help=field.description, metavar=name.upper(), show_default=False)
        return Parameter(name, Parameter.KEYWORD_ONLY, default=None, annotation=Annotated[str | None, path])
    flags = _FLAGS.get(name, [f"--{name.replace('_', '-')}"])
    if field.annotation is bool:
        switch = typer.Option(*flags, help=field.description)
        return Parameter(name, Parameter.KEYWORD_ONLY, default=field.default, annotation=Annotated[bool, switch])
    text = typer.Option(*flags, help=field.description, metavar="TEXT")
    default = default or (None if field.default in (None, ()) else as_text(name, field.default))
    return Parameter(name, Parameter.KEYWORD_ONLY, default=default, annotation=Annotated[str | None, text])


def _watched(run: Callable[..., Any], settings: Options) -> Any:
    with Bar(Console(stderr=True)) as bar:
        return run(settings, watch=bar)


@contextmanager
def _errors_for_the_reader() -> Iterator[None]:
    try:
        yield
    except ValidationError as error:
        _fail("\n".join(_explain(dict(detail)) for detail in error.errors()))
    except InputError as error:
        _fail(str(error))
    except Interrupted as interrupted:
        _print_results(interrupted.results)
        _fail("Interrupted: the results so far were kept.", code=130)
    except KeyboardInterrupt:
        _fail("Interrupted before there were results: nothing was written.", code=130)


def _explain(detail: dict[str, Any]) -> str:
    """One complaint of pydantic, for someone who gave an option."""
    if isinstance(detail.get("ctx", {}).get("error"), InputError):
        message = str(detail["ctx"]["error"])
    else:
        message = f"{detail['msg']}, got {detail['input']!r}."
    setting = next((str(part) for part in detail["loc"]), "")
    return f"--{setting.replace('_', '-')}: {message}" if setting else message


def _fail(message: str, code: int = 2) -> Never:
    Console(stderr=True, highlight=False, soft_wrap=True).print(f"altprop: {message}", markup=False)
    raise typer.Exit(code)


def _print_results(results: Results) -> None:
    messages = (run.message() for run in results.runs if run.divergence)
    _print([terminal_table(results)], [*messages, *results.notes], results.folder)


def _print_training(results: Results) -> None:
    _print_results(results)
    if any(run.divergence for run in results.runs):
        raise typer.Exit(1)


def _print_explanations(explanations: Explanations) -> None:
    _print(terminal_tables(explanations), explanations.notes, explanations.folder)


def _print(tables: Iterable[Table], notes: Iterable[str], folder: Path | None) -> None:
    console = Console()
    for table in tables:
        console.print(table)
    for note in notes:
        console.print(f"note: {note}", markup=False, highlight=False, soft_wrap=True)
    if folder:
        console.print(f"Report: {folder / 'report.html'}", markup=False, highlight=False, soft_wrap=True)


_command(
    compare,
    Settings,
    _print_results,
    "Train one network by several rules side by side, from the same weights and on the same batches.\n\n"
    "Backprop and shallow, the control whose hidden layers learn nothing, always take part. The results go to a folder "
    "in runs/: a report to open in a browser, its pictures, and tables in CSV and JSON.",
    """
    altprop compare --data digits --model 256-256
    altprop compare --data mnist-5k --model lenet --epochs 30 --lr-grid 0.3,0.1,0.03,0.01
    altprop compare --rules lfp:epsilon=0.1 --activation step --optimizer adam --lr backprop=1e-3,lfp=3e-3
    altprop compare --data swirl --model 32-32 --epochs 200 --name swirl
    """,
)
_command(
    train,
    Settings,
    _print_training,
    "Train one network by one rule, and keep its weights: as compare, and model.pt.",
    """
    altprop train --rule lfp --data digits
    altprop train --rule lfp:epsilon=0 --data sine --model 64-64 --objective regression --optimizer adam
    """,
    rules="lfp",
)
_command(
    explain,
    ExplainSettings,
    _print_explanations,
    "Explain a network's outputs by layer-wise relevance propagation, by several composites of rules side by side.\n\n"
    "The inputs are an image file, a folder of images, or test samples of a data set. The results go to a folder in "
    "runs/: pictures, a report to open in a browser, the relevance as tensors, and tables in JSON.",
    """
    altprop explain cat.jpg --model torchvision:vgg16:DEFAULT
    altprop explain photos --model torchvision:resnet18 --weights mine.pt --target tabby --rules epsilon_plus_flat
    altprop explain --model runs/train-lfp-digits-256-256 --index 0,3,5
    altprop explain --model runs/mine --data digits --index 3 --rules epsilon:epsilon=0.1,gradient --target 7
    """,
)


def _list(title: str, columns: Iterable[str], rows: Iterable[Iterable[str]]) -> None:
    table = Table(*columns, title=title)
    for row in rows:
        table.add_row(*row)
    Console().print(table)


@app.command()
def data() -> None:
    """List the data sets."""
    rows = ([name, entry.task, entry.size, entry.summary] for name, entry in DATA.items())
    _list("Data sets", ["--data", "task", "size", ""], rows)


@app.command()
def models() -> None:
    """List the networks."""
    widths = ["256-256", "anything", "Fully connected, with hidden layers of these widths."]
    rows = ([name, entry.inputs, entry.summary] for name, entry in (MODELS | SPIKING_MODELS).items())
    _list("Networks", ["--model", "inputs", ""], [widths, *rows])


@app.command()
def rules() -> None:
    """List the learning rules and their arguments."""
    rows = (
        [name, ", ".join(signature(entry.make).parameters), *(f"{rate:g}" for rate in entry.lr.values()), entry.summary]
        for name, entry in RULES.items()
    )
    _list("Learning rules", ["--rules", "arguments", "lr, sgd", "lr, adam", ""], rows)


@app.command()
def composites() -> None:
    """List the composites of rules by which a network can be explained, and their arguments."""
    rows = (
        [name, ", ".join(signature(make).parameters), str(make.__doc__).partition("\n")[0].replace(":class:", "")]
        for name, make in COMPOSITES.items()
    )
    _list("Composites", ["--composites", "arguments", ""], rows)


@app.command()
def objectives() -> None:
    """List the losses and rewards that a network can be trained for."""
    kinds = {"loss": list(LOSSES), "reward": list(REWARDS), "reward of spikes": list(SPIKE_REWARDS)}
    rows = ([name, ", ".join(tasks_of(name)), kind] for kind, names in kinds.items() for name in names)
    _list("Objectives", ["--objective", "for", ""], rows)
