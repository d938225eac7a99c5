"""A step of a run, computed again and held against what the run wrote of it.

Policy. Start from the newest checkpoint before the step, or from the recipe's seed, and compute as
the run did; each step on the way is held against the ledger too. Nothing is written. A step that
ended the run has no line in the ledger, so it is held against what was kept of it in ``failed``.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence
from typing import Any

from majelpy.comm.world import World
from majelpy.errors import CheckpointError, RecipeError
from majelpy.files import read_plain
from majelpy.parsing import parse_json
from majelpy.recipes.content import SAVED, differences, few, past
from majelpy.recipes.launch import Launch
from majelpy.recipes.recipe import load
from majelpy.runs import checkpoint as checkpoints
from majelpy.runs import ledger
from majelpy.runs.compare import first_difference
from majelpy.runs.run_folder import RunFolder
from majelpy.train.nonfinite import NonFinite
from majelpy.train.progress import Progress
from majelpy.train.session import Session
from majelpy.wording import counted

_FIRST = ("loss_hex", "norm_hex", "rate", "rate_hex")


class Replay(Session):
    """A step to be computed again; all ranks make the same calls.

    Making one is local; `check` is where ranks wait for one another.

    Parameters
    ----------
    folder : str
        The run folder, with its recipe.
    step : int
    assignments : sequence of str
        Settings to change: the paths of corpora that were moved.
    launch : Launch
    world : World
    run_code : bool
        Whether Python files of the run, with layers of its model, may be run.

    Raises
    ------
    CheckpointError
        If the folder has no ledger, or nothing of that step, or the recipe has other content now.
    RecipeError
        If its recipe cannot be read, or there is no such step.
    """

    def __init__(
        self,
        folder: str,
        step: int,
        assignments: Sequence[str],
        launch: Launch,
        world: World,
        *,
        run_code: bool = False,
    ):
        files = RunFolder(folder)
        lines = ledger.require(files.ledger)
        self._lines = lines.entries
        for fault in ledger.faults(files.ledger, lines) if world.rank == 0 else []:
            print(f"majel replay: {fault}", file=sys.stderr)
        self._wanted = step
        self._kept = _failed(files, step)
        if step < 1:
            raise RecipeError(f"replay: --step is {step}; needs at least 1")
        if step not in self._lines and self._kept is None:
            have = f"it ends at step {lines.last}" if self._lines else "it has no line"
            raise CheckpointError(f"replay: {files.ledger} has nothing of step {step}; {have}")
        recipe = load(str(files.path / "recipe.toml"), assignments, run_code=run_code)
        super().__init__(recipe, launch, world, folder)
        saved = files.content()
        if saved is None:
            raise CheckpointError(f"replay: {folder}: nothing says what trained it")
        changed = differences(past(saved), past(self._prepared.content), SAVED)
        if changed:
            raise CheckpointError(
                f"replay: {folder} was trained from something else: {few(changed)}"
            )
        self._found: NonFinite | None = None

    def check(self) -> tuple[str, bool]:
        """Return a line that says what was found, and whether all bits are the same."""
        self.begin()
        start = self._newest_before()
        if start is not None:
            self._trainer.restore(start)
        begun, wanted = self._trainer.step, self._wanted
        origin = f"the checkpoint of step {begun}" if begun else "the recipe's seed"
        labels = self._prepared.alphabet.size
        with Progress(shown=self._writes, steps=wanted, done=begun, labels=labels) as progress:
            progress.say(f"replaying {counted(wanted - begun, 'step')} from {origin}")
            while self._trainer.step < wanted:
                self._found = None
                result, entry, _ = self._advance(progress)
                progress.step(result)
                difference = self._difference(entry)
                if difference:
                    break
                if self._trainer.step % self._trainer.steps_per_epoch == 0:
                    progress.say(f"replayed step {self._trainer.step} of {wanted}")
        compared = ["loss", "norm", "rate"]
        if not difference:
            compared += ["digest"] if "digest" in self._lines.get(wanted, {}) else []
            difference, of_file = self._tensors()
            compared += of_file
        self._trainer.close()
        if difference:
            return f"replay: step {self._trainer.step} differs: {difference}", False
        held = [step for step in range(begun + 1, wanted + 1) if step in self._lines]
        lacking = wanted - begun - len(held)
        return (
            f"replay: step {wanted} has the same bits ({', '.join(compared)}), "
            f"{counted(wanted - begun, 'step')} from {origin}"
            f"{f', {lacking} of them without a line in the ledger' if lacking else ''}"
        ), True

    def _newest_before(self) -> checkpoints.Checkpoint | None:
        """The newest good checkpoint before the step; rank 0 reads and the others are told."""
        found = None
        if self._writes:
            steps = checkpoints.steps(self._folder.checkpoints)
            found = self._first_good(step for step in steps if step < self._wanted)
        return self._world.broadcast(found)

    def _first_good(self, steps: Iterable[int]) -> checkpoints.Checkpoint | None:
        for step in steps:
            try:
                return checkpoints.read(checkpoints.path_of(self._folder.checkpoints, step))
            except CheckpointError as error:
                print(f"majel replay: passed over {error}", file=sys.stderr)
        return None

    def _keep(self, found: NonFinite, progress: Progress) -> None:
        self._found = found

    def _difference(self, entry: dict[str, Any]) -> str:
        """What differs first between the step just done and what the run wrote; "" if nothing."""
        line = self._lines.get(entry["step"])
        if line is not None:
            difference = _first(line, entry, "the ledger")
            if difference:
                return difference
        if entry["step"] != self._wanted or self._kept is None:
            return ""
        if self._found is None:
            return "it was not finite then, and is finite now"
        return _first(self._kept, self._found.record(), "failed")

    def _tensors(self) -> tuple[str, list[str]]:
        """What differs from the checkpoint of the step itself, if there is one; all together."""
        state = self._trainer.checkpoint()
        path = checkpoints.path_of(self._folder.checkpoints, state.step)
        answer: tuple[str, list[str]] = ("", [])
        if self._writes and path.exists():
            state.tensors.update(self._prepared.statistics)
            answer = first_difference(checkpoints.read(path), state) or "", ["its checkpoint"]
        return self._world.broadcast(answer)


def _failed(files: RunFolder, step: int) -> dict[str, Any] | None:
    """What was kept of a step that was not finite."""
    path = files.failed_step(step)
    if not path.exists():
        return None
    try:
        kept = parse_json(read_plain(path))
    except ValueError:
        kept = None
    if not isinstance(kept, dict):
        raise CheckpointError(f"replay: {path}: damaged")
    return kept


def _first(then: dict[str, Any], now: dict[str, Any], place: str) -> str:
    """Words for the first value that differs, bits before all else; "" if none does."""
    keys = [*_FIRST, *(key for key in (*then, *now) if key not in _FIRST)]
    for key in keys:
        a, b = then.get(key), now.get(key)
        if isinstance(a, list) and isinstance(b, list) and len(a) == len(b):
            a, b = next(((x, y) for x, y in zip(a, b, strict=True) if x != y), (None, None))
        if a != b:
            return f"{key} is {_shown(a)} in {place} and {_shown(b)} now"
    return ""


def _shown(value: Any) -> str:
    return value.hex() if isinstance(value, float) else str(value)
