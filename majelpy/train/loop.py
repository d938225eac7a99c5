"""The life of a run: start or resume, train, watch, save, end.

Policy. Rank 0 alone writes. A checkpoint follows the ledger's sync, so the ledger always reaches
as far as the newest checkpoint. A signal to end (SIGTERM, Ctrl-C, SIGUSR1 from
slurm/train.sbatch) is honoured after the step at hand: rank 0 saves and ends the world; the other
ranks wait for that. What pools say of their fallback is one line of the lowest rank concerned, told
when ranks compare digests anyway.
"""

from __future__ import annotations

import math
import signal
import sys
import time
from contextlib import ExitStack, closing, suppress
from dataclasses import dataclass
from types import FrameType
from typing import Any

import numpy as np

from majelpy.comm.world import World
from majelpy.errors import CheckpointError, OutputError
from majelpy.mesh import choose_mesh
from majelpy.native import set_threads
from majelpy.recipes.launch import Launch, default_threads
from majelpy.recipes.recipe import Recipe
from majelpy.runs import checkpoint as checkpoints
from majelpy.runs import resume
from majelpy.runs.checkpoint import Checkpoint
from majelpy.runs.ledger import Ledger, hexadecimal, number, read
from majelpy.runs.run_folder import RunFolder
from majelpy.runs.timings import Timings
from majelpy.train import evaluate as evaluation
from majelpy.train import places
from majelpy.train.evaluate import Evaluation
from majelpy.train.nonfinite import NonFinite
from majelpy.train.progress import Progress
from majelpy.train.rehearsal import rehearse
from majelpy.train.setup import Prepared, check_agreement, prepare_run, require_room
from majelpy.train.trainer import DIGEST_STEPS, StepResult, Trainer
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


class Run:
    """A run on one rank; all ranks make the same calls.

    Making one and `open` are local; `begin` and `train` are where ranks wait for one another.

    Parameters
    ----------
    recipe : Recipe
    launch : Launch
    world : World
    folder : str
        The run folder.
    """

    def __init__(self, recipe: Recipe, launch: Launch, world: World, folder: str):
        self._world, self._launch = world, launch
        self._recipe = recipe
        self._writes = world.rank == 0
        self._folder = RunFolder(folder)
        self._signal: int | None = None
        self._mesh, self._why = choose_mesh(
            *(world.size, recipe.data.leaves, recipe.model.parts),
            *(launch.mesh, launch.model_parallel),
        )
        self._place = places.choose(launch.place, world.local_rank)
        set_threads(launch.threads or default_threads(world.local_size))
        self._prepared: Prepared = prepare_run(recipe, launch)
        require_room(self._prepared.model)
        self._ledger: Ledger | None = None

    def open(self) -> None:
        """Make the run folder, or enter an existing one, and lock it."""
        if self._writes:
            self._folder.open_for_training(self._recipe, self._prepared.content)

    def begin(self) -> None:
        """Hold the ranks against one another, take the pool and make the trainer."""
        world, prepared, launch = self._world, self._prepared, self._launch
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

    def train(self, stop_at: int | None) -> Ending:
        """Train to the end, or to step ``stop_at``; return where it ended.

        Raises
        ------
        MajelError
            On a rank that fails; the caller ends the world.
        """
        with closing(self._folder):
            return self._train(stop_at)

    def _train(self, stop_at: int | None) -> Ending:
        self.begin()
        self._restore()
        trainer = self._trainer
        last = min(trainer.steps, stop_at if stop_at is not None else trainer.steps)
        last = max(last, trainer.step)
        self._catch_signals()
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
            begun = trainer.checkpoint() if trainer.step == 0 else None
            timings = None
            if self._writes:
                self._prepared.train.warn_outside("are dropped")
                if self._prepared.dev is not None:
                    self._prepared.dev.warn_outside("count as errors")
                if begun is not None:  # not after a first epoch
                    more = (self._prepared.dev is not None) + self._recipe.schedule.average
                    checkpoints.check_room(self._folder.checkpoints, begun, more)
                self._ledger = files.enter_context(
                    closing(Ledger(self._folder.ledger, trainer.step))
                )
                timings = Timings(self._folder.timings, trainer.step, progress.say)
                files.callback(timings.close)
                losses += self._losses_of_epoch()
                self._saved_at = time.monotonic()
            del begun  # a whole model, of which a rank may train a share only
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
                result, entry, watched = self._advance(progress)
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
                if self._ledger is not None and timings is not None:
                    self._note(self._ledger, entry)
                    timings.append(self._timing(result, time.perf_counter() - start))
                self._save_or_end(last)
                if not warned and (trainer.step in (first, last) or compared(result)):
                    warned = self._tell(progress, "".join(self._warnings))
            self._tell(progress, self._pool.fallback_cost())
            ending = Ending(trainer.step, trainer.steps, trainer.digest())
            if self._writes and ending.finished:
                self._folder.write_fingerprint(ending.digest)
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
        if self._writes and best > 0:
            said = checkpoints.mend_best(self._folder.checkpoints, best)
            if said:
                print(f"majel train: {said}", file=sys.stderr)

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
            for entry in read(self._folder.ledger).entries.values()
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

    def _advance(self, progress: Progress) -> tuple[StepResult, dict[str, Any], Evaluation | None]:
        """Do one step: its result, its line of the ledger, and at an epoch's end its evaluation."""
        trainer = self._trainer
        try:
            result = trainer.advance()
        except NonFinite as found:
            self._keep(found, progress)
            result = trainer.skip(found.result)
        entry, watched = self._entry(result), None
        if trainer.step % trainer.steps_per_epoch == 0:
            watched = self._watch(entry)
            wrong = watched.within.wrong_characters if watched else None
            trainer.schedule.end_epoch(result.epoch + 1, trainer.step, wrong)
        return result, entry, watched

    def _keep(self, found: NonFinite, progress: Progress) -> None:
        """Save what a step that is not finite began with and what is known of it; raise or return.

        Raises
        ------
        TrainingError
            If the recipe wants an end, now or after so many skipped steps.
        """
        state = self._trainer.checkpoint()
        if self._ledger is not None:
            if not checkpoints.path_of(self._folder.checkpoints, state.step).exists():
                self._save(self._ledger, state)
            self._folder.write_failed(found.result.step, found.record())
        error = found.error(self._recipe.optimizer, self._trainer.skipped)
        self._world.agree(error)
        progress.say(f"skipped {found}")

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

    def _watch(self, entry: dict[str, Any]) -> Evaluation | None:
        """Evaluate on the dev utterances, all ranks together, and note it in the entry."""
        dev = self._prepared.dev
        if dev is None:
            return None
        found = evaluation.evaluate(
            self._prepared.model,
            self._trainer.whole_parameters(),
            *(dev, self._prepared.alphabet, self._world),
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
                *(self._prepared.dev, self._prepared.alphabet, self._world),
            )

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

    def _save_or_end(self, last: int) -> None:
        """Save if it is time, or a signal wants the end; in that case end the world."""
        step, received, save = self._trainer.step, self._signal, False
        schedule = self._trainer.schedule.state
        best = schedule.best_step == step
        if self._writes:
            due = time.monotonic() - self._saved_at >= self._launch.checkpoint_seconds
            save = due or step == last or step in schedule.ends or received is not None
        if not self._mesh.whole_everywhere:
            save = self._world.broadcast(save)  # all bring their share
        elif not self._writes:
            return
        state = self._trainer.checkpoint() if save or best else None
        if self._ledger is None:
            return
        if state is not None:
            self._save(self._ledger, state, best=best, of_step=save)
        if received is not None:
            name = signal.Signals(received).name
            self._world.abort(f"{name}: saved after step {step}; the same command resumes", 130)

    def _note(self, ledger: Ledger, entry: dict[str, Any]) -> None:
        """Add a line to the ledger.

        Raises
        ------
        OutputError
            If there is no room for it; it says so if the step is saved nevertheless.
        """
        try:
            ledger.append(entry)
        except OutputError as error:
            raise self._rescued(ledger, entry, error) from None

    def _rescued(self, ledger: Ledger, entry: dict[str, Any], error: OutputError) -> OutputError:
        """Save a step whose line had no room, in place of older ones; return what is to be said."""
        schedule = self._trainer.schedule.state
        if not self._mesh.whole_everywhere:
            return error  # other ranks have their share of the state
        state, noted = self._trainer.checkpoint(), False
        while checkpoints.make_room(self._folder.checkpoints, schedule.ends):
            with suppress(OutputError):
                if not noted:
                    ledger.append(entry)
                noted = True
                self._save(ledger, state, best=schedule.best_step == state.step)
                return OutputError(f"{error}; saved after step {state.step}")
        return error

    def _save(
        self, ledger: Ledger, state: Checkpoint, *, best: bool = False, of_step: bool = True
    ) -> None:
        """Write a checkpoint, when the ledger that reaches as far is on the disk."""
        folder = self._folder.checkpoints
        ledger.sync()
        state.tensors.update(self._prepared.statistics)
        if best:  # first, so that no other checkpoint names a best one that is not there
            checkpoints.write_as(checkpoints.best_path(folder), state)
        if of_step:
            checkpoints.write(folder, state, self._trainer.schedule.state.ends)
            self._saved_at = time.monotonic()  # a run does not resume from the best one

    def _catch_signals(self) -> None:
        def note(received: int, frame: FrameType | None) -> None:
            self._signal = received

        for wanted in (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1):
            signal.signal(wanted, note)


def compared(result: StepResult) -> bool:
    """Whether the ranks compare digests after this step."""
    return result.step % DIGEST_STEPS == 0
