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
from contextlib import ExitStack, closing
from types import FrameType
from typing import Any

from majelpy.comm.world import World
from majelpy.errors import CheckpointError
from majelpy.mesh import choose_mesh
from majelpy.native import set_threads
from majelpy.recipes.launch import Launch, default_threads
from majelpy.recipes.recipe import Recipe
from majelpy.runs import checkpoint as checkpoints
from majelpy.runs.checkpoint import Checkpoint
from majelpy.runs.ledger import Ledger, hexadecimal, number
from majelpy.runs.run_folder import RunFolder
from majelpy.train import evaluate as evaluation
from majelpy.train import places
from majelpy.train.evaluate import Evaluation
from majelpy.train.nonfinite import NonFinite
from majelpy.train.progress import Progress
from majelpy.train.rehearsal import rehearse
from majelpy.train.setup import Prepared, check_agreement, prepare_run, require_room
from majelpy.train.trainer import DIGEST_STEPS, StepResult, Trainer


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

    def train(self, stop_at: int | None) -> str:
        """Train to the end, or to step ``stop_at``; return the fingerprint.

        Raises
        ------
        MajelError
            On a rank that fails; the caller ends the world.
        """
        self.begin()
        trainer = self._trainer
        self._restore()
        last = min(trainer.steps, stop_at if stop_at is not None else trainer.steps)
        last = max(last, trainer.step)
        self._catch_signals()
        losses: list[float] = []
        with (
            ExitStack() as files,
            Progress(shown=self._writes, steps=last, done=trainer.step) as progress,
        ):
            begun = trainer.checkpoint() if trainer.step == 0 else None
            timings = None
            if self._writes:
                files.callback(self._folder.close)
                self._prepared.train.warn_outside()
                if self._prepared.dev is not None:
                    self._prepared.dev.warn_outside()
                if begun is not None:  # not after a first epoch
                    more = (self._prepared.dev is not None) + self._recipe.schedule.average
                    checkpoints.check_room(self._folder.checkpoints, begun, more)
                self._ledger = files.enter_context(
                    closing(Ledger(self._folder.ledger, trainer.step))
                )
                timings = files.enter_context(closing(Ledger(self._folder.timings, trainer.step)))
                self._saved_at = time.monotonic()
            del begun  # a whole model, of which a rank may train a share only
            self._greet(progress, last)
            if trainer.step < last:
                largest = rehearse(trainer, self._pool, self._world, self._rehearse_watch)
                progress.say(str(largest))
            warned, first = False, trainer.step + 1
            while trainer.step < last:
                start = time.perf_counter()
                result, entry, watched = self._advance(progress)
                progress.step(result)
                if not result.skipped:
                    losses.append(float(result.loss))
                if trainer.step % trainer.steps_per_epoch == 0:
                    mean_loss = sum(losses) / len(losses) if losses else math.nan
                    progress.epoch(result, mean_loss, watched)
                    losses.clear()
                    if trainer.schedule.ended:
                        last = trainer.step
                        progress.say(trainer.schedule.why())
                if self._ledger is not None and timings is not None:
                    self._ledger.append(entry)
                    timings.append(self._timing(result, time.perf_counter() - start))
                self._save_or_end(last)
                if not warned and (trainer.step in (first, last) or compared(result)):
                    warned = self._tell(progress, "".join(self._warnings))
            self._tell(progress, self._pool.fallback_cost())
            fingerprint = trainer.digest()
            if self._writes and trainer.step == trainer.steps:
                self._folder.write_fingerprint(fingerprint)
        trainer.close()
        return fingerprint

    def _restore(self) -> None:
        """Continue from the newest good checkpoint; rank 0 reads and the others are told."""
        found = None
        if self._writes:
            found, problems = checkpoints.newest(self._folder.checkpoints, set_aside=True)
            for problem in problems:
                print(f"majel train: passed over {problem}", file=sys.stderr)
            if problems and found is None:
                print("majel train: no good checkpoint is left; starting over", file=sys.stderr)
        found = self._world.broadcast(found)
        error: CheckpointError | None = None
        if found is not None:
            try:
                self._trainer.restore(found)
            except CheckpointError as unfit:
                error = unfit
        self._world.agree(error)

    def _greet(self, progress: Progress, last: int) -> None:
        trainer, world = self._trainer, self._world
        hosts, size = len(world.hosts), self._prepared.model.layout.size
        progress.say(
            f"{'resuming after' if trainer.step else 'training from'} step {trainer.step} of "
            f"{last}: {len(trainer.data)} utterances, {size} parameters, "
            f"{world.size} rank{'s' if world.size > 1 else ''} on {hosts} "
            f"host{'s' if hosts > 1 else ''}{f', mesh {self._mesh}' if self._mesh.way else ''}"
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
            wrong = watched.errors.wrong_characters if watched else None
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
