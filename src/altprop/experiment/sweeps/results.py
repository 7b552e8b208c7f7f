"""What came out of a sweep."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from optuna.trial import FrozenTrial, TrialState
from pydantic import BaseModel, ConfigDict, Field

from altprop.experiment.recipes.schema import Recipe
from altprop.experiment.records.kinds import read_record
from altprop.experiment.sweeps.objective import EXECUTIONS, Execution
from altprop.experiment.sweeps.plan import Plan
from altprop.experiment.sweeps.queue import DOUBLE, ERROR, FATE, HANDED_BACK, RETRY_OF, Queue, held_values, is_given_up
from altprop.experiment.sweeps.space import with_values
from altprop.experiment.sweeps.storage import without_password

State = Literal["complete", "pruned", "failed", "given up", "running", "waiting"]
_STATES: dict[TrialState, State] = {
    TrialState.COMPLETE: "complete",
    TrialState.PRUNED: "pruned",
    TrialState.RUNNING: "running",
    TrialState.WAITING: "waiting",
}


class _Record(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Attempt(_Record):
    """A try at a trial that did not get to its end.

    Attributes:
        number: of Optuna.
        reason: what happened.
        retried_by: the number of the try that took its place; None if there was none.
    """

    number: int
    reason: str
    retried_by: int | None


class SweepTrial(_Record):
    """One trial, done once.

    Attributes:
        trial: its number in the sweep, from 0.
        number: of Optuna, which counts attempts.
        state: how it ended: ``"complete"``; ``"pruned"``: stopped early, or diverged; ``"failed"``: these values
            cannot be trained; ``"given up"``: too many workers died of it. Or ``"running"`` or ``"waiting"``.
        value: what was optimised, the mean over its networks; of a pruned trial, where it was stopped. Lower is better.
        values: what was tried, by dotted key of the recipe.
        executions: its networks.
        message: why it did not come to its end; empty if it did.
        attempts: the tries before.
    """

    trial: int
    number: int
    state: State
    value: float | None
    values: dict[str, Any]
    executions: tuple[Execution, ...]
    message: str
    attempts: tuple[Attempt, ...]

    @property
    def has_ended(self) -> bool:
        """Whether nothing more happens to it."""
        return self.state not in ("running", "waiting")


class SweepResults(_Record):
    """All that came out of a sweep.

    Attributes:
        name: of the sweep.
        storage: the database, as a URL without a password.
        plan: what was searched, and how.
        trials: every trial.
        folder: where its files are; not saved with them.
    """

    name: str
    storage: str
    plan: Plan
    trials: tuple[SweepTrial, ...]
    folder: Path | None = Field(default=None, exclude=True)

    @classmethod
    def load(cls, folder: Path | str) -> SweepResults:
        """Read the results of an earlier sweep.

        Args:
            folder: what ``results.folder`` was.
        """
        results = cls.model_validate_json(read_record(Path(folder), "sweep"))
        return results.model_copy(update={"folder": Path(folder)})

    @classmethod
    def of(cls, queue: Queue, url: str, folder: Path | None = None) -> SweepResults:
        """The results as they are now.

        Args:
            queue: of the sweep.
            url: of its storage.
            folder: where its files are.
        """
        trials = tuple(_trial(queue.plan, place, tries) for place, tries in sorted(queue.places().items()))
        name = queue.study.study_name
        return cls(name=name, storage=without_password(url), plan=queue.plan, trials=trials, folder=folder)

    @property
    def best(self) -> SweepTrial | None:
        """The best of the complete trials; None if there is none."""
        complete = [trial for trial in self.trials if trial.state == "complete" and trial.value is not None]
        return min(complete, key=lambda trial: trial.value or 0.0, default=None)

    @property
    def best_recipe(self) -> Recipe | None:
        """The recipe of the best trial, ready to train; None if there is none."""
        return self.recipe_of(self.best).model_copy(update={"search": None}) if self.best else None

    @property
    def left(self) -> int:
        """How many trials have not ended."""
        return sum(not trial.has_ended for trial in self.trials)

    def recipe_of(self, trial: SweepTrial) -> Recipe:
        """The recipe of a trial."""
        return with_values(self.plan.recipe, trial.values)


def _trial(plan: Plan, place: int, tries: list[FrozenTrial]) -> SweepTrial:
    tries = [one for one in tries if one.user_attrs.get(FATE) != DOUBLE]
    final = next((one for one in tries if _is_final(one)), tries[-1])
    return SweepTrial(
        trial=place,
        number=final.number,
        state=_state(final, tries),
        value=final.value,
        values=plan.space.values(held_values(final)),
        executions=tuple(Execution.model_validate(one) for one in final.user_attrs.get(EXECUTIONS, ())),
        message=final.user_attrs.get("message", ""),
        attempts=tuple(_attempt(one, tries) for one in tries if one.number != final.number),
    )


def _is_final(trial: FrozenTrial) -> bool:
    return trial.state in (TrialState.COMPLETE, TrialState.PRUNED) or trial.user_attrs.get(FATE) == ERROR


def _state(final: FrozenTrial, tries: list[FrozenTrial]) -> State:
    if final.state in _STATES:
        return _STATES[final.state]
    if final.user_attrs.get(FATE) == ERROR:
        return "failed"
    # A failed try that has no successor yet will have one, unless there were too many.
    return "given up" if is_given_up(tries) else "waiting"


def _attempt(trial: FrozenTrial, tries: list[FrozenTrial]) -> Attempt:
    reason = "handed back" if trial.user_attrs.get(FATE) == HANDED_BACK else "its worker died"
    later = (one.number for one in tries if one.user_attrs.get(RETRY_OF) == trial.number)
    return Attempt(number=trial.number, reason=reason, retried_by=next(later, None))
