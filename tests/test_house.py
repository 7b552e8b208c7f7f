"""The order of the house: the names it shows, which way its imports point, and that its front page runs."""

import ast
import graphlib
import re
import subprocess
import sys
from pathlib import Path

import altprop

HOUSE = Path(__file__).parent.parent
PACKAGE = HOUSE / "src" / "altprop"
EXTRAS = {"experiment", "lab", "flax", "cli"}  # what is not needed to use a rule
# Modules of the core that need the extra "explain", and what of it; nothing that ``import altprop`` loads imports them.
EXPLAIN = {
    "explain/_colors.py": {"matplotlib", "numpy"},
    "explain/_grid.py": {"matplotlib", "numpy"},
    "explain/attributors.py": {"captum"},
    "explain/heatmap.py": {"matplotlib", "numpy", "PIL"},
}


# Who imports whom among the folders and files of experiment/: each only what stands to its left.
FLOORS = [
    {"errors"}, {"options"}, {"labels", "seeding", "sections"}, {"data"},
    {"metrics", "registry", "objectives", "composites"}, {"networks"}, {"recipes"}, {"records"}, {"training"},
    {"studies"}, {"reports"}, {"explaining", "stress", "sweeps"}, {"comparison", "demo"},
]  # fmt: skip
# Imports that go up, all of them late, and why.
UP = {
    ("experiment.studies.study", "experiment.reports.study"): "a study ends with its page",
    ("experiment.reports.finding", "experiment.sweeps.results"): "a page of many runs shows sweeps too",
    ("experiment.reports.finding", "experiment.sweeps.table"): "a page of many runs shows sweeps too",
}

SOURCES = {path.relative_to(PACKAGE).as_posix(): path for path in sorted(PACKAGE.rglob("*.py"))}


def names_imported_by(node):
    """The dotted names that code imports, at any depth but for types alone; ``from a import b`` is both a and a.b."""
    for inner in ast.iter_child_nodes(node):
        if isinstance(inner, ast.If) and ast.unparse(inner.test) == "TYPE_CHECKING":
            continue
        if isinstance(inner, ast.Import):
            yield from (alias.name for alias in inner.names)
        elif isinstance(inner, ast.ImportFrom):
            assert not inner.level, f"line {inner.lineno}: imports within the package name the whole path"
            yield from (inner.module, *(f"{inner.module}.{alias.name}" for alias in inner.names))
        yield from names_imported_by(inner)


IMPORTED = {place: set(names_imported_by(ast.parse(path.read_text()))) for place, path in SOURCES.items()}


def modules():
    """For each module of the package, by its name without ``altprop.``, the modules of the package that it imports."""
    names = {place.removesuffix(".py").removesuffix("/__init__").replace("/", "."): place for place in SOURCES}
    within = {name: {one.removeprefix("altprop.") for one in IMPORTED[place]} for name, place in names.items()}
    return {name: imported & names.keys() - {name} for name, imported in within.items()}


def test_the_documentation_lists_the_public_names():
    documented = re.findall(r"^\* `altprop\.(\w+)`", (HOUSE / "docs" / "api.md").read_text(), re.MULTILINE)
    assert sorted(documented) == sorted(altprop.__all__)


def test_every_public_name_is_there_and_explained():
    for name in altprop.__all__:
        assert getattr(altprop, name).__doc__, f"altprop.{name} has no docstring"


def test_imports_point_inward():
    wrong = []
    for place, imported in IMPORTED.items():
        packages = {name.partition(".")[0] for name in imported}
        parts = {name.split(".")[1] for name in imported if name.startswith("altprop.")}
        room = place.partition("/")[0].removesuffix(".py")
        if room != "cli" and "cli" in parts:
            wrong.append(f"{place}: nothing imports the command line")
        if room in EXTRAS:
            continue
        if parts & EXTRAS:
            wrong.append(f"{place}: the core does without the extras")
        if packages - sys.stdlib_module_names - {"torch", "altprop"} - EXPLAIN.get(place, set()):
            wrong.append(f"{place}: the core needs torch alone")
    assert not wrong, "\n".join(wrong)


def test_the_folders_of_experiments_are_floors_of_which_each_stands_on_those_below():
    floor_of = {room: number for number, floor in enumerate(FLOORS) for room in floor}
    rooms = {place.split("/")[1].removesuffix(".py") for place in SOURCES if place.startswith("experiment/")}
    assert rooms - {"__init__"} == floor_of.keys()
    up = {
        (one, other)
        for one, imported in modules().items()
        for other in imported
        if one.startswith("experiment.") and other.startswith("experiment.")
        and one.split(".")[1] != other.split(".")[1]
        and floor_of[one.split(".")[1]] <= floor_of[other.split(".")[1]]
    }  # fmt: skip
    assert up == UP.keys()


def test_no_module_imports_itself_by_way_of_others():
    graphlib.TopologicalSorter(modules()).prepare()  # names the circle, if there is one


def test_files_and_folders_are_of_a_size_to_read():
    long = {place for place, path in SOURCES.items() if len(path.read_text().splitlines()) > 400}
    assert not long
    files = [place for place in SOURCES if re.fullmatch(r"experiment/(?!__init__)\w+\.py", place)]
    assert len(files) <= 10


def test_the_core_needs_torch_alone():
    """Of all that is installed here, altprop loads nothing that ``import torch`` has not loaded, to train with it."""
    program = (
        "import sys, torch; before = {name.partition('.')[0] for name in sys.modules}; import altprop; "
        "[getattr(altprop, name) for name in set(altprop.__all__) - {'LRP', 'explain', 'fit_patterns'}]; "
        "print(*{name.partition('.')[0] for name in sys.modules} - before - sys.stdlib_module_names)"
    )
    assert run(program).strip() == "altprop"


def test_torch_and_explaining_are_imported_at_their_first_use():
    there = "print(*[name for name in ('torch', 'altprop.explain') if name in sys.modules])"
    program = f"import sys, altprop; {there}; altprop.LFP; {there}; altprop.LRP; {there}"
    assert run(program).splitlines() == ["", "torch", "torch altprop.explain"]


def test_a_name_that_is_imported_later_can_be_used_in_what_is_compiled():
    run(
        "import torch, altprop\n"
        "def loss(x, y):\n    with altprop.targets(y): return x.sum()\n"
        "torch.compile(loss, backend='eager', fullgraph=True)(torch.ones(2), torch.ones(2))"
    )


def test_the_readmes_programs_run(tmp_path):
    """All python blocks of the README, as one program: a block may use what an earlier one made."""
    program = python_blocks(HOUSE / "README.md")
    assert program.strip(), "the README shows no program"
    run(program, tmp_path)


def python_blocks(path):
    """The lines within python fences, each at its own line number so that a traceback names the line of the page."""
    lines, inside = [], False
    for line in path.read_text().splitlines():
        fence = line.startswith("```")
        lines.append(line if inside and not fence else "")
        inside = line == "```python" if fence else inside
    return "\n".join(lines)


def run(program, folder=None):
    finished = subprocess.run(
        [sys.executable, "-c", program], cwd=folder, capture_output=True, text=True, check=False, timeout=120
    )
    assert finished.returncode == 0, finished.stderr
    return finished.stdout
