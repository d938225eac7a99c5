"""What training and replay share: a recipe on this rank, and its steps.

Policy. A step ends with its line of the ledger, and at an epoch's end with an evaluation, whoever
asked for it; so a replay comes to the same line.
"""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Any

from majelpy import arguments
from majelpy.comm.world import World
from majelpy.mesh import choose_mesh
from majelpy.native import set_threads
from majelpy.optimizers import OPTIMIZERS
from majelpy.recipes.launch import Launch, default_threads
from majelpy.recipes.recipe import Recipe
from majelpy.recognition import evaluate as evaluation
from majelpy.recognition.evaluate import Evaluation
from majelpy.runs.ledger import hexadecimal, number
from majelpy.runs.run_folder import RunFolder
from majelpy.train import places
from majelpy.train.nonfinite import NonFinite
from majelpy.train.progress import Progress
from majelpy.train.setup import Prepared, check_agreement, prepare_run, require_room
from majelpy.train.trainer import DIGEST_STEPS, StepResult, Trainer


class Session(ABC):
    """A recipe on one rank; all ranks make the same calls.

    Making one is local; `begin` is where ranks wait for one another first.

    Parameters
    ----------
    recipe : Recipe
    launch : Launch
    world : World
    folder : str or path
        The run folder.
    """

    def __init__(
        self, recipe: Recipe, launch: Launch, world: World, folder: str | os.PathLike[str]
    ):
        arguments.require(recipe, Recipe, "recipe", "a Recipe (majelpy.recipes.recipe.load)")
        arguments.require(launch, Launch, "launch", "a Launch (majelpy.recipes.launch)")
        arguments.require(world, World, "world", "a World (majelpy.comm.world.World.start)")
        self._world, self._launch = world, launch
        self._recipe = recipe
        self._writes = world.rank == 0
        self._folder = RunFolder(folder)
        self._mesh, self._why = choose_mesh(
            world.size,
            recipe.data.leaves,
            recipe.model.parts,
            launch.mesh,
            launch.model_parallel,
        )
        self._place = places.choose(launch.place, world.local_rank)
        self._prepared: Prepared = prepare_run(recipe, launch)
        states = len(OPTIMIZERS[recipe.optimizer.kind].STATES)
        require_room(self._prepared.model, states)

    def begin(self) -> None:
        """Hold the ranks against one another, take the pool and make the trainer."""
        world, prepared, launch = self._world, self._prepared, self._launch
        set_threads(launch.threads or default_threads(world.local_size))
        alike = {
            "mesh": self._mesh,
            "--bucket-bytes": launch.bucket_bytes,
            "--shared-memory": launch.shared_memory,
            "--overlap": launch.overlap,
        }
        check_agreement(world, prepared.content, {name: str(x) for name, x in alike.items()})
        self._warnings: list[str] = []
        self._pool = places.take_pool(self._place, world, launch.pool_bytes, self._warnings.append)
        self._trainer = Trainer(
            self._recipe,
            launch,
            world,
            prepared.model,
            prepared.train,
            prepared.description,
            self._place,
            self._mesh,
        )

    def _advance(
        self, progress: Progress, change: Callable[[], object] = lambda: None
    ) -> tuple[StepResult, dict[str, Any], Evaluation | None]:
        """Do one step: its result, its line of the ledger, and at an epoch's end its evaluation.

        ``change`` is called before the state changes.
        """
        trainer = self._trainer
        try:
            result = trainer.advance(change)
        except NonFinite as found:
            self._keep(found, progress)
            change()
            result = trainer.skip(found.result)
        entry, watched = self._entry(result), None
        if trainer.step % trainer.steps_per_epoch == 0:
            watched = self._watch(entry)
            wrong = watched.within.wrong_characters if watched else None
            trainer.schedule.end_epoch(result.epoch + 1, trainer.step, wrong)
        return result, entry, watched

    @abstractmethod
    def _keep(self, found: NonFinite, progress: Progress) -> None:
        """Take note of a step that is not finite; raise, or return if it is to be skipped."""

    def _evaluating(self) -> AbstractContextManager[None]:
        """What an evaluation runs within."""
        return nullcontext()

    def _entry(self, result: StepResult) -> dict[str, Any]:
        """The ledger's line of a step; every `DIGEST_STEPS` steps ranks are compared."""
        entry: dict[str, Any] = {
            "step": result.step,
            "epoch": result.epoch,
            "loss": number(result.loss),
            "loss_hex": hexadecimal(result.loss),
            "norm_hex": hexadecimal(result.norm),
            "rate": number(result.rate),
        }
        if result.skipped:
            entry["skipped"] = True
        if compared(result):
            entry["digest"] = self._trainer.digest()
            self._trainer.check_ranks(entry["digest"])
        return entry

    def _evaluates(self, step: int) -> bool:
        """Whether an evaluation follows a step."""
        return self._prepared.dev is not None and step % self._trainer.steps_per_epoch == 0

    def _watch(self, entry: dict[str, Any]) -> Evaluation | None:
        """Evaluate on the dev utterances, all ranks together, and note it in the entry."""
        dev = self._prepared.dev
        if dev is None:
            return None
        with self._evaluating():
            found = evaluation.evaluate(
                self._prepared.model,
                self._trainer.whole_parameters(),
                dev,
                self._prepared.alphabet,
                self._world,
            )
        entry["dev_loss_hex"] = hexadecimal(found.loss)
        entry["dev_wrong_characters"] = found.errors.wrong_characters
        entry["dev_characters"] = found.errors.characters
        entry["dev_wrong_words"] = found.errors.wrong_words
        entry["dev_words"] = found.errors.words
        if dev.outside:  # what the schedule goes by; no other ledger has a word of it
            entry["dev_wrong_within_alphabet"] = found.within.wrong_characters
        return found

    def _rehearse_watch(self) -> None:
        if self._prepared.dev is not None:
            evaluation.rehearse(
                self._prepared.model,
                self._trainer.whole_parameters(),
                self._prepared.dev,
                self._prepared.alphabet,
                self._world,
            )


def compared(result: StepResult) -> bool:
    """Whether the ranks compare digests after this step."""
    return result.step % DIGEST_STEPS == 0
