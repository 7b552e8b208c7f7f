"""Commands with an option for every field of a class, which describes it and checks it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from inspect import Parameter, Signature
from textwrap import dedent
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperCommand

from altprop.cli.completing import choices_in, offer_recipes, offered
from altprop.cli.output import errors_for_the_reader, watched

if TYPE_CHECKING:
    from altprop.experiment.options import Options

_FLAGS = {
    "composites": ["--composites", "--rules", "--rule", "-r"],
}


class Later(TyperCommand):
    """A command that is made when it is called: until then, its name and its help are enough.

    The function that is registered with it returns the function that runs, with the options in its signature.
    """

    def make_context(self, info_name: str | None, args: list[str], parent: Any = None, **extra: Any) -> Any:
        """The context of the command that is made now."""
        assert self.callback is not None
        alone = typer.Typer(add_completion=False, pretty_exceptions_enable=False, rich_markup_mode="rich")
        with errors_for_the_reader():  # it imports what takes its time
            made = self.callback()
        alone.command(self.name, help=self.help, epilog=self.epilog)(made)
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
        given: dict[str, Any] = defaults | given_values(context, values)
        with errors_for_the_reader():
            results = watched(run, options(**given))
        show(results)

    declare(command, [option_of(options, name, defaults.get(name)) for name in options.model_fields])
    return command


def declare(command: Callable[..., None], parameters: list[Parameter]) -> None:
    """Say what parameters a command has, besides its context: Typer reads them from the signature."""
    parameters = [Parameter("context", Parameter.KEYWORD_ONLY, annotation=typer.Context), *parameters]
    command.__signature__ = Signature(parameters)  # type: ignore[attr-defined]
    command.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}


def parameter(name: str, kind: Any, info: Any, default: Any = None) -> Parameter:
    """A parameter of a command.

    Args:
        name: of the function's parameter.
        kind: its type.
        info: what ``typer.Option`` or ``typer.Argument`` gave.
        default: its value where none is given.
    """
    return Parameter(name, Parameter.KEYWORD_ONLY, default=default, annotation=Annotated[kind, info])


def given_values(context: typer.Context, values: Mapping[str, Any]) -> dict[str, Any]:
    """Those of the values that were given on the command line: the others are defaults, which are shown alone."""
    return {name: value for name, value in values.items() if _is_given(context, name)}


def _is_given(context: typer.Context, name: str) -> bool:
    source = context.get_parameter_source(name)
    return source is not None and source.name != "DEFAULT"


def option_of(
    options: type[Options], name: str, default: str | None = None, *, flags: list[str] | None = None, panel: str = ""
) -> Parameter:
    """The parameter for a field of a class of options.

    Args:
        options: the class.
        name: of the field.
        default: where it is not that of the class.
        flags: unset: the field's name.
        panel: the part of the help that it is shown in; unset: the first.
    """
    from altprop.experiment.options import as_text

    field = options.model_fields[name]
    if name in options.positional:
        return parameter(
            name,
            str | None,
            typer.Argument(
                help=field.description,
                metavar=name.upper(),
                show_default=False,
                autocompletion=offer_recipes if name == "recipe" else None,
            ),
        )
    flags = flags or _FLAGS.get(name, [f"--{name.replace('_', '-')}"])
    if field.annotation is bool:
        switch = typer.Option(*flags, help=field.description, rich_help_panel=panel or None)
        return parameter(name, bool, switch, field.default)
    offer = offered(name, choices_in(field.annotation))
    text = typer.Option(
        *flags, help=field.description, metavar="TEXT", rich_help_panel=panel or None, autocompletion=offer
    )
    return parameter(
        name, str | None, text, default or (None if field.default in (None, ()) else as_text(name, field.default))
    )
