"""The command line as a whole: what it can do with the core alone, and what shells are told of it."""

import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from typer.main import get_command
from typer.testing import CliRunner

import altprop
from altprop import cli
from altprop._extras import how_to_install
from altprop.cli.completing import choices_in
from altprop.experiment import DATA_SETS, RULES
from altprop.experiment.recipes import shipped_recipes
from altprop.experiment.recipes.describing import all_keys
from altprop.explain import COMPOSITES

PROJECT = Path(__file__).parents[2] / "pyproject.toml"


def test_the_version_is_that_of_the_package(run):
    outcome = run("--version")
    assert (outcome.exit_code, outcome.stdout) == (0, f"altprop {altprop.__version__}\n")
    project = tomllib.loads(PROJECT.read_text(encoding="utf-8"))["project"]
    assert project["version"] == altprop.__version__
    assert project["scripts"] == {"altprop": "altprop.cli:main"}


@pytest.fixture
def without_typer(monkeypatch, capsys):
    """Call ``altprop`` where typer is not installed; gives the status, and what was printed."""

    def call(*words):
        monkeypatch.setattr(sys, "argv", ["altprop", *words])
        monkeypatch.setattr(cli, "_missing", "typer")
        with pytest.raises(SystemExit) as ended:
            cli.main()
        return ended.value.code, *capsys.readouterr()

    return call


def test_version_and_help_need_the_core_alone(without_typer):
    assert without_typer("--version") == (0, f"altprop {altprop.__version__}\n", "")
    for words in ((), ("--help",), ("compare", "--help")):
        status, out, err = without_typer(*words)
        assert (status, err) == (0, "")
        assert ", ".join(cli.COMMANDS) in out
        assert how_to_install("experiments") in out


def test_a_command_without_its_packages_is_one_line_that_names_the_way(without_typer):
    status, out, err = without_typer("compare", "--data", "digits")
    assert (status, out) == (1, "")
    assert err == (
        f"altprop: The commands need typer, which is not installed. Install it with: {how_to_install('experiments')}\n"
    )


def test_the_commands_that_are_named_without_typer_are_those_that_there_are():
    assert set(cli.COMMANDS) == set(get_command(cli.app).commands)


def without(package, *words):
    """The command in a process of its own, in which a package cannot be imported."""
    program = f"import sys; sys.modules[{package!r}] = None; sys.argv = ['altprop', *{words!r}]"
    program += "; from altprop.cli import main; main()"
    return subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False, timeout=60)


def test_it_starts_without_typer():
    ended = without("typer", "--version")
    assert (ended.returncode, ended.stdout, ended.stderr) == (0, f"altprop {altprop.__version__}\n", "")


def test_what_else_is_missing_is_said_by_the_command_and_not_by_its_help():
    assert "compare" in without("jinja2", "--help").stdout
    ended = without("jinja2", "rules")
    assert (ended.returncode, ended.stdout) == (1, "")
    assert ended.stderr == (
        "altprop: Experiments need packages that are not installed (jinja2). Install them with: "
        f"{how_to_install('experiments')}\n"
    )


def complete(*words):
    """What bash is offered for the last of some words; it asks through the environment."""
    asked = {"COMP_WORDS": " ".join(["altprop", *words]), "COMP_CWORD": str(len(words))}
    outcome = CliRunner().invoke(cli.app, env={"_ALTPROP_COMPLETE": "complete_bash", **asked}, prog_name="altprop")
    assert outcome.exit_code == 0, outcome.output
    return outcome.stdout.split()


@pytest.mark.parametrize(
    ("words", "offered"),
    [
        (("tr",), ["train"]),
        (("train", "--da"), ["--data"]),
        (("train", "--data", "di"), [name for name in DATA_SETS if name.startswith("di")]),
        (("compare", "--rules", ""), list(RULES)),
        (("compare", "--rules", "lfp,d"), ["lfp,dfa", "lfp,drtp"]),
        (("compare", "--rules", "dfa,d"), ["dfa,drtp"]),
        (("compare", "--optimizer", "ad"), ["adam", "adamw"]),
        (("compare", "--track", "norms,sp"), ["norms,sparsity"]),
        (("train", "lfp-d"), [name for name in shipped_recipes() if name.startswith("lfp-d")]),
        (("train", "-o", "optimizer.l"), [f"{key}=" for key in all_keys() if key.startswith("optimizer.l")]),
        (("explain", "--rules", "epsilon_p"), [name for name in COMPOSITES if name.startswith("epsilon_p")]),
        (("prune", "--composite", "grad"), [name for name in COMPOSITES if name.startswith("grad")]),
        (("prune", "--which", ""), ["final", "best", "last"]),
        (("train", "--seeds", ""), []),
    ],
    ids=" ".join,
)
def test_shells_complete_commands_flags_and_names(words, offered):
    assert complete(*words) == offered


def test_choices_are_found_wherever_they_are_in_a_type():
    assert choices_in(int | None) == []


def test_shells_can_be_told(run):
    assert "--install-completion" in run("--help").stdout
