"""The schedule of a run: the learning rate, when the run ends early, which checkpoints stay.

Policy. What a schedule remembers is a few whole numbers, a function of the wrong characters at the
ends of epochs; they lie in every checkpoint, so a resumed run goes on with the same bits.
"""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from majelpy import ops
from majelpy.array import Array
from majelpy.errors import RecipeError
from majelpy.recipes.recipe import Recipe
from majelpy.runs.description import ScheduleState
from majelpy.wording import counted


class Schedule:
    """A recipe's schedule and its state; all ranks make the same calls.

    Parameters
    ----------
    recipe : Recipe

    Attributes
    ----------
    state : ScheduleState
    """

    def __init__(self, recipe: Recipe):
        self._settings, self._rate = recipe.schedule, recipe.optimizer.rate
        self.state = ScheduleState()

    def rate(self, step: int, epoch: int) -> Array:
        """Return the learning rate of a step, from 0, in an epoch, from 0; (1,) on the CPU."""
        settings = self._settings
        plateau = settings.kind == "plateau"
        return ops.learning_rate(
            self._rate,
            anneal=settings.anneal,
            epoch=self.state.annealed if plateau else epoch,
            hold=0 if plateau else settings.hold,
            step=step,
            warmup=settings.warmup,
        )

    def end_epoch(self, epochs: int, step: int, wrong: int | None) -> None:
        """Take note of the end of that many epochs and steps, with so many wrong dev characters.

        The first ``schedule.hold`` epochs do not count as epochs without improvement: at first CTC
        teaches a network to say nothing, which has more wrong characters than babble has.
        """
        state, settings = self.state, self._settings
        if settings.average:
            state.ends = (*state.ends, step)[-settings.average :]
        if wrong is None:
            return
        if state.best < 0 or wrong < state.best:
            state.best_step, state.best, state.waited, state.level = step, wrong, 0, 0
            return
        if epochs <= settings.hold:
            return
        state.waited += 1
        state.level += 1
        if settings.kind == "plateau" and state.level == settings.own.patience:
            state.annealed += 1
            state.level = 0

    @property
    def ended(self) -> bool:
        """Whether the run ends here, for no epoch of the last ones was better."""
        return 0 < self._settings.early_stop <= self.state.waited

    def why(self) -> str:
        """Return a line that says why the run ended."""
        state = self.state
        return (
            f"stopped: {counted(state.waited, 'epoch')} without fewer wrong dev characters than "
            f"the {state.best} after step {state.best_step} (schedule.early_stop)"
        )

    def content(self) -> dict[str, Any]:
        """Return the state as JSON values, for a checkpoint."""
        return asdict(self.state)

    def restore(self, state: ScheduleState) -> None:
        """Go on from the state that a checkpoint holds."""
        self.state = state


def check_watched(recipe: Recipe, watched: bool) -> None:
    """Raise RecipeError if a schedule needs a dev set and there is none."""
    settings = recipe.schedule
    needs = {
        "kind": settings.kind == "plateau",
        "early_stop": settings.early_stop > 0,
        "result": settings.result == "best",
    }
    for name in (name for name, needed in needs.items() if needed and not watched):
        raise RecipeError(
            f"schedule.{name} is {getattr(settings, name)!r} and there are no dev utterances; "
            "needs data.dev, or data.holdout of at least 1"
        )
