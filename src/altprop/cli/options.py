"""Commands with an option for every field of a class, which describes it and checks it."""

from __future__ import annotations

from collections.abc import Callable
from inspect import Parameter, Signature
from textwrap import dedent
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperCommand

from altprop.cli.output import errors_for_the_reader, watched

if TYPE_CHECKING:
    from altprop.experiment.options import Options

_FLAGS = {
    "rules": ["--rules", "--rule", "-r"],
    "composites": ["--composites", "--rules", "--rule", "-r"],
    "out": ["--out", "-o"],
}


class Later(TyperCommand):
    """A command that is made when it is called: until then, its name and its help are enough.

    The function that is registered with it returns the function that runs, with the options in its signature.
    """

    def make_context(self, info_name: str | None, args: list[str], parent: Any = None, **extra: Any) -> Any:
        """The context of the command that is made now."""
        assert self.callback is not None
        alone = typer.Typer(add_completion=False, pretty_exceptions_enable=False, rich_markup_mode="rich")
        alone.command(self.name, help=self.help, epilog=self.epilog)(self.callback())
        return typer.main.get_command(alone).make_context(info_name, args, parent, **extra)


def as_epilog(examples: str) -> str:
    """The examples of a command, one on each line, as its help shows them."""
    lines = dedent(examples).strip().splitlines()
    return "\n\n".join(["[bold]Examples[/]", *(f"[cyan]{line}[/]" for line in lines)])


def with_options(
    run: Callable[..., Any], options: type[Options], show: Callable[[Any], None], **defaults: str
) -> Callable[..., None]:
    """Make the function of a command from a class of options.

    Args:
        run: what the command calls, with the options and a watch.
        options: the class.
        show: prints what comes out; it may end the command with an error code.
        **defaults: where the command's defaults are not those of the class.
    """

    def command(context: typer.Context, **values: str | bool | None) -> None:
        # Defaults are shown, and not passed on: the model that is chosen may have others.
        given: dict[str, Any] = defaults | {name: value for name, value in values.items() if _is_given(context, name)}
        with errors_for_the_reader():
            results = watched(run, options(**given))
        show(results)

    parameters = [_option(options, name, defaults.get(name)) for name in options.model_fields]
    # Typer reads the options from the signature.
    itself = Parameter("context", Parameter.KEYWORD_ONLY, annotation=typer.Context)
    command.__signature__ = Signature([itself, *parameters])  # type: ignore[attr-defined]
    command.__annotations__ = {parameter.name: parameter.annotation for parameter in (itself, *parameters)}
    return command


def _is_given(context: typer.Context, name: str) -> bool:
    source = context.get_parameter_source(name)
    return source is not None and source.name != "DEFAULT"


def _option(options: type[Options], name: str, default: str | None) -> Parameter:
    from altprop.experiment.options import as_text

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
