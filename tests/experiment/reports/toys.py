"""Runs as they lie on a disk: made by hand where that will do."""

from altprop.experiment.comparison import compare
from altprop.experiment.data.facts import DataFacts
from altprop.experiment.recipes import Recipe
from altprop.experiment.records.files import mark_all
from altprop.experiment.records.kinds import RECORDS
from altprop.experiment.records.study import Cell, Epoch, Study
from altprop.experiment.studies.study import run_study
from tests.experiment.toys import run_of, study_of, tiny, without_report

CIRCLES = DataFacts(
    name="circles", task="classification", input_shape=(3,), outputs=2, classes=(), train=40, validation=0, test=20
)


def put(folder, results, kind="study"):
    """Write results as a command does, without its pictures."""
    folder.mkdir(parents=True)
    (folder / RECORDS[kind]).write_text(results.model_dump_json(), encoding="utf-8")
    mark_all(folder, kind)
    return folder


def compared(folder, *runs, **changes):
    """A comparison; by default of two rules, from two seeds."""
    default = [run_of("lfp", 0, 0.5, 0.6), run_of("lfp", 1, 0.5, 0.8), run_of("fa", 0, 0.4), run_of("fa", 1, 0.4)]
    return put(folder, study_of(*(runs or default), **changes))


def figures(epoch, **changes):
    return Epoch(**({"epoch": epoch, "step": epoch, "lr": 0.1, "train_loss": 0.5, "train_score": 0.9} | changes))


def fit_of(seed, *scores, **changes):
    """A network with the given test scores, one for each epoch."""
    history = tuple(figures(n, test_score=score) for n, score in enumerate(scores, 1))
    return Cell(
        **(
            {"rule": "backprop", "seed": seed, "lr": 0.1, "status": "finished", "history": history, "seconds": 2.0}
            | changes
        )
    )


def recipe_run(folder, *fits, data=CIRCLES, **sections):
    """A training by a recipe; by default of one network."""
    fits = fits or (fit_of(0, 0.5, 0.75),)
    sections = {"data": {"name": data.name}, "training": {"seeds": [fit.seed for fit in fits]}} | sections
    recipe = Recipe(**sections)
    cells = tuple(fit.model_copy(update={"rule": recipe.single_rule.label}) for fit in fits)
    return put(folder, Study(recipe=recipe, data=data, objective="cross-entropy", cells=cells))


def really_compared(folder, **changes):
    """A comparison on points in the plane, of four steps, without its own report."""
    settings = tiny(epochs=1, threads=1, out=folder.parent, name=folder.name, **changes)
    return without_report(compare, settings)


def really_trained(folder, **sections):
    """A training by a recipe, of four steps for each network."""
    training = {"epochs": 1, "batch_size": 250, "seeds": 2} | sections.pop("training", {})
    track = {"metrics": ["bp_cosine"], "loggers": []}
    parts = {"data": {"name": "circles"}, "model": {"name": "4"}, "rule": "dfa", "track": track} | sections
    return run_study(Recipe(training=training, **parts), out=folder.parent, name=folder.name)
