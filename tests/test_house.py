"""The order of the house: the names it shows, which way its imports point, and that its front page runs."""

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

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


def modules_imported_by(path):
    """The dotted names that a file imports, wherever in it; ``from a import b`` counts as both a and a.b."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, f"line {node.lineno}: imports within the package name the whole path"
            found |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
    return found


def sources():
    return [pytest.param(path, id=str(path.relative_to(PACKAGE))) for path in sorted(PACKAGE.rglob("*.py"))]


def test_the_documentation_lists_the_public_names():
    documented = re.findall(r"^\* `altprop\.(\w+)`", (HOUSE / "docs" / "api.md").read_text(), re.MULTILINE)
    assert sorted(documented) == sorted(altprop.__all__)


def test_every_public_name_is_there_and_explained():
    for name in altprop.__all__:
        assert getattr(altprop, name).__doc__, f"altprop.{name} has no docstring"


@pytest.mark.parametrize("path", sources())
def test_imports_point_inward(path):
    imported = modules_imported_by(path)
    packages = {name.partition(".")[0] for name in imported}
    parts = {name.split(".")[1] for name in imported if name.startswith("altprop.")}
    place = path.relative_to(PACKAGE)
    assert place.parts[0] == "cli" or "cli" not in parts, "nothing imports the command line"
    if place.parts[0].removesuffix(".py") not in EXTRAS:
        assert not parts & EXTRAS, "the core does without the extras"
        extra = EXPLAIN.get(place.as_posix(), set())
        assert packages <= sys.stdlib_module_names | {"torch", "altprop"} | extra, "the core needs torch alone"


def test_the_core_needs_torch_alone():
    """Of all that is installed here, altprop loads nothing that ``import torch`` has not loaded, to train with it."""
    program = (
        "import sys, torch; before = {name.partition('.')[0] for name in sys.modules}; import altprop; "
        "[getattr(altprop, name) for name in set(altprop.__all__) - {'LRP', 'explain', 'fit_patterns'}]; "
        "print(*{name.partition('.')[0] for name in sys.modules} - before - sys.stdlib_module_names)"
    )
    assert run(program) == "altprop"


def test_torch_is_imported_at_its_first_use():
    assert run("import sys, altprop; print('torch' in sys.modules); altprop.LFP; print('torch' in sys.modules)") == (
        "False\nTrue"
    )


def test_a_name_that_is_imported_later_can_be_used_in_what_is_compiled():
    run(
        "import torch, altprop\n"
        "def loss(x, y):\n    with altprop.targets(y): return x.sum()\n"
        "torch.compile(loss, backend='eager', fullgraph=True)(torch.ones(2), torch.ones(2))"
    )


def test_explaining_is_imported_at_its_first_use():
    there = "print('altprop.explain' in sys.modules)"
    program = f"import sys, altprop; {there}; altprop.LRP; {there}"
    assert run(program).split() == ["False", "True"]


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
    return finished.stdout.strip()
