"""Folders of runs that are made in a moment."""

from altprop.experiment.records.files import MARKER
from altprop.experiment.records.folder import Folder

RESULTS = "results.json"


def write(out, name="run", text="new", kind="report", **options):
    with Folder.open(out, name, kind=kind, **options) as folder:
        (folder.path / RESULTS).write_text(text)
        return folder.publish()


def begin(out, name="run", text="recipe", kind="training", **options):
    """A run that can be gone on with, and its first record."""
    with Folder.open(out, name, kind=kind, resumable=True, **options) as folder:
        folder.write("recipe.yaml", text)
        (folder.path / "seed-0" / "last").mkdir(parents=True, exist_ok=True)
        (folder.path / "seed-0" / "last" / "state.json").write_text(text)
        return folder


def contents(out):
    """All files but the markers, which hold sums."""
    files = (path for path in out.rglob("*") if path.is_file() and path.name != MARKER)
    return {path.relative_to(out).as_posix(): path.read_text() for path in files}


def names(out):
    return sorted(path.name for path in out.iterdir())
