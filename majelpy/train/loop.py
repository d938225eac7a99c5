"""The life of a run: start or resume, train, watch, save, end.

Policy. Rank 0 alone writes; when and what says majelpy/train/saving.py. A signal to end (SIGTERM,
Ctrl-C, SIGHUP, SIGUSR1 from slurm/train.sbatch) lets rank 0 save and end the world; the other ranks
wait for that. What pools say of their fallback is one line of the lowest rank concerned, told
when ranks compare digests anyway.
"""

from __future__ import annotations

import math
import os
import sys
import time
from contextlib import AbstractContextManager, ExitStack, closing
from dataclasses import dataclass
from typing import Any

import numpy as np

from majelpy import arguments
from majelpy.comm.world import World
from majelpy.errors import CheckpointError
from majelpy.memory.pool import pool, set_pool
from majelpy.native import set_threads, threads
from majelpy.recipes.launch import Launch
from majelpy.recipes.recipe import Recipe
from majelpy.runs import checkpoint as checkpoints
from majelpy.runs import ledger as ledgers
from majelpy.runs import resume
from majelpy.runs.ledger import Ledger
from majelpy.runs.timings import Timings
from majelpy.train.nonfinite import NonFinite
from majelpy.train.progress import Progress
from majelpy.train.rehearsal import rehearse
from majelpy.train.saving import Saver
from majelpy.train.session import Session, compared
from majelpy.train.signals import Interrupted, Watch
from majelpy.train.step import StepResult
from majelpy.wording import counted


@dataclass(frozen=True)
class Ending:
    """Where a training ended: the step, how many its recipe has, the digest of the parameters."""

    step: int
    steps: int
    digest: str

    @property
    def finished(self) -> bool:
        """Whether it is the end of the run, and the digest its fingerprint."""
        return self.step == self.steps

    def __str__(self) -> str:
        if self.finished:
            return f"fingerprint: {self.digest}"
        return f"digest after step {self.step} of {self.steps}: {self.digest}"


class Run(Session):
    """A run on one rank; all ranks make the same calls.

    Making one and `open` are local; `train` is where ranks wait for one another.
    """

    def __init__(
        self, recipe: Recipe, launch: Launch, world: World, folder: str | os.PathLike[str]
    ):
        super().__init__(recipe, launch, world, folder)
        self._saver: Saver | None = None

    def open(self) -> None:
        """Make the run folder, or enter an existing one, and lock it."""
        if self._writes:
            self._folder.open_for_training(self._recipe, self._prepared.content)

    def train(self, stop_at: int | None = None) -> Ending:
        """Train to the end, or to step ``stop_at``; return where it ended.

        Threads, pool and handlers of signals are then what they were before.

        Raises
        ------
        MajelError
            On a rank that fails; the caller ends the world.
        Interrupted
            In a world of one, for a signal; a larger world ends.
        """
        if stop_at is not None:
            arguments.whole(stop_at, "stop_at")
        threads_before, pool_before = threads(), pool(self._place)
        try:
            with closing(self._folder):
                self.begin()
                self._restore()
                return self._train(stop_at)
        except Interrupted as end:
            if self._world.size > 1:
                self._world.abort(str(end), 130)
            raise
        finally:
            set_threads(threads_before)
            set_pool(pool_before)

    def _train(self, stop_at: int | None) -> Ending:
        trainer = self._trainer
        last = min(trainer.steps, stop_at if stop_at is not None else trainer.steps)
        last = max(last, trainer.step)
        losses: list[float] = []
        with (
            ExitStack() as files,
            Progress(
                shown=self._writes,
                steps=last,
                done=trainer.step,
                labels=self._prepared.alphabet.size,
            ) as progress,
        ):
            if self._world.size == 1:
                files.callback(trainer.close)
            begun = trainer.checkpoint() if trainer.step == 0 else None
            ledger = timings = None
            if self._writes:
                self._prepared.train.warn_outside("are dropped")
                if self._prepared.dev is not None:
                    self._prepared.dev.warn_outside("count as errors")
                if begun is not None:  # not after a first epoch
                    more = (self._prepared.dev is not None) + self._recipe.schedule.average
                    checkpoints.check_room(self._folder.checkpoints, begun, more)
                ledger = files.enter_context(closing(Ledger(self._folder.ledger, trainer.step)))
                timings = Timings(self._folder.timings, trainer.step, progress.say)
                files.callback(timings.close)
                losses += self._losses_of_epoch()
            del begun  # a whole model, of which a rank may train a share only
            seconds, statistics = self._launch.checkpoint_seconds, self._prepared.statistics
            saver = Saver(trainer, self._world, self._folder, ledger, statistics, seconds)
            self._saver = saver
            files.enter_context(Watch(saver.serve, self._force))
            self._greet(progress, last)
            if trainer.schedule.ended:
                progress.say(trainer.schedule.why())
            warned, first, rehearsed = False, trainer.step + 1, trainer.step
            progress.begin()
            while trainer.step < last:
                if trainer.step == rehearsed:
                    largest = rehearse(trainer, self._pool, self._world, self._rehearse_watch)
                    progress.say(str(largest))
                    rehearsed = largest.until
                start = time.perf_counter()
                with saver.step(evaluated=self._evaluates(trainer.step + 1)) as change:
                    result, entry, watched = self._advance(progress, change)
                    saver.note(entry)
                ends_epoch = trainer.step % trainer.steps_per_epoch == 0
                progress.step(result, ends_epoch=ends_epoch)
                if not result.skipped:
                    losses.append(float(result.loss))
                if ends_epoch:
                    mean_loss = sum(losses) / len(losses) if losses else math.nan
                    progress.epoch(result, mean_loss, watched)
                    losses.clear()
                    if trainer.schedule.ended:
                        last = trainer.step
                        progress.say(trainer.schedule.why())
                if timings is not None:
                    timings.append(self._timing(result, time.perf_counter() - start))
                saver.after_step(last)
                if not warned and (trainer.step in (first, last) or compared(result)):
                    warned = self._tell(progress, "".join(self._warnings))
            self._tell(progress, self._pool.fallback_cost())
            ending = Ending(trainer.step, trainer.steps, trainer.digest())
            if self._writes and ending.finished:
                self._folder.write_fingerprint(ending.digest)
        if self._world.size > 1:  # together; it is not reached if a rank fails
            trainer.close()
        return ending

    def _restore(self) -> None:
        """Continue from the newest checkpoint that counts; rank 0 reads and the others are told."""
        found, error = None, None
        if self._writes:
            start = resume.look(self._folder)
            self._say_of_folder(start.said)
            found, error = start.checkpoint, self._too_few(start.proved)
        found = self._world.broadcast(found)
        if found is not None and error is None:
            try:
                self._trainer.restore(found)
            except CheckpointError as unfit:
                error = unfit
        self._world.agree(error)
        if self._writes:
            content = self._prepared.content  # said while the checkpoints are there to say it
            self._say_of_folder(self._folder.go_on(self._recipe, content, self._trainer.step))
            self._say_of_folder(resume.settle(self._folder, start))
            best = self._trainer.schedule.state.best_step
            if best > 0:
                self._say_of_folder(checkpoints.mend_best(self._folder.checkpoints, best))

    def _too_few(self, trained: int) -> CheckpointError | None:
        """The error if the recipe has fewer epochs than were trained."""
        steps, each = self._trainer.steps, self._trainer.steps_per_epoch
        if trained <= steps:
            return None
        return CheckpointError(
            f"train: {counted(trained, 'step')} trained, and schedule.epochs = "
            f"{self._recipe.schedule.epochs} makes {steps}; needs schedule.epochs of at least "
            f"{-(-trained // each)}, or another --out"
        )

    def _say_of_folder(self, lines: list[str]) -> None:
        for line in lines:
            print(f"majel train: {line}", file=sys.stderr)

    def _losses_of_epoch(self) -> list[float]:
        """Losses of the steps of this epoch that were done before, as the ledger has them."""
        epoch = self._trainer.step // self._trainer.steps_per_epoch
        return [
            float(np.float32(entry["loss"]))
            for entry in ledgers.read(self._folder.ledger).entries.values()
            if entry.get("epoch") == epoch
            and isinstance(entry.get("loss"), float)
            and not entry.get("skipped")
        ]

    def _greet(self, progress: Progress, last: int) -> None:
        trainer, world = self._trainer, self._world
        progress.say(
            f"{'resuming after' if trainer.step else 'training from'} step {trainer.step} of "
            f"{last}: {counted(len(trainer.data), 'utterance')}, "
            f"{counted(self._prepared.model.layout.size, 'parameter')}, "
            f"{counted(world.size, 'rank')} on {counted(len(world.hosts), 'host')}"
            f"{f', mesh {self._mesh}' if self._mesh.way else ''}"
            f"{f' ({self._why})' if self._why else ''}"
        )

    def _keep(self, found: NonFinite, progress: Progress) -> None:
        """Save what such a step began with and what is known of it; raise or return.

        Raises
        ------
        TrainingError
            If the recipe wants an end, now or after so many skipped steps.
        """
        if self._saver is not None:
            self._saver.keep()
        if self._writes:
            self._folder.write_failed(found.result.step, found.record())
        error = found.error(self._recipe.optimizer, self._trainer.skipped)
        self._world.agree(error)
        progress.say(f"skipped {found}")

    def _evaluating(self) -> AbstractContextManager[None]:
        return super()._evaluating() if self._saver is None else self._saver.evaluation()

    def _force(self) -> BaseException:
        """End at once, for a second Ctrl-C; a world ends with this rank."""
        if self._world.size > 1:
            os._exit(130)
        return Interrupted("interrupted again; ended at once")

    def _tell(self, progress: Progress, text: str) -> bool:
        """Say the text of the lowest rank that has one; return whether any has."""
        texts = self._world.all_gather(text)
        rank, found = next(((r, t) for r, t in enumerate(texts) if t), (0, ""))
        if found:
            progress.say(f"rank {rank}: {found}" if len(texts) > 1 else found)
        return bool(found)

    def _timing(self, result: StepResult, seconds: float) -> dict[str, Any]:
        """The timing log's line of a step; memory is this rank's, counts are since the start."""
        stats = self._pool.statistics
        exposed, whole = self._trainer.reduce_seconds
        return {
            "step": result.step,
            "seconds": round(seconds, 6),
            "frames_per_second": round(result.frames / seconds),
            "waited_seconds": round(self._trainer.waited_seconds, 6),
            "ranks": self._world.size,
            "reduce_seconds": round(whole, 6),
            "reduce_exposed_seconds": round(exposed, 6),
            "pool_in_use_bytes": stats.in_use,
            "pool_peak_bytes": stats.peak,
            "pool_largest_free_bytes": self._pool.largest_free,
            "pool_fragmentation": round(self._pool.fragmentation, 4),
            "fallback_in_use_bytes": stats.fallback_in_use,
            "fallback_peak_bytes": stats.fallback_peak,
            "allocations": stats.allocations,
            "fallbacks": stats.fallbacks,
            "system_allocations": stats.system_allocations,
        }
