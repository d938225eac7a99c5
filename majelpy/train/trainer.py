"""The trainer: parameters and optimizer of a rank, a step over its leaves, resuming.

Policy. A step is: every rank computes its leaves in one batch, the leaf gradients are summed along
the tree, every rank makes the same update. What a rank does depends on the launch; what comes out
does not. Parameters, the optimizer's states, slots and activations lie on the rank's place; a
step's loss and norm, and what is written to disk, come to the host. Ranks compare digests of their
parameters every `DIGEST_STEPS` steps.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import numpy as np

from majelpy import ops
from majelpy.array import Array, empty, zeros
from majelpy.comm.gradients import GradientSum
from majelpy.comm.world import World
from majelpy.data import minibatches as batching
from majelpy.data.loader import ReadAhead
from majelpy.data.upload import Upload
from majelpy.data.utterances import Utterances
from majelpy.errors import CheckpointError, WorldError
from majelpy.memory import CPU, Place
from majelpy.mesh import ALONE, Mesh
from majelpy.nn.batch import Batch
from majelpy.nn.layer import Training
from majelpy.nn.model import Model
from majelpy.nn.norm import RUNNING_RATE
from majelpy.nn.parameters import digest
from majelpy.optimizers import OPTIMIZERS
from majelpy.optimizers.weight_noise import WeightNoise
from majelpy.recipes.content import SAVED, differences, few, past
from majelpy.recipes.launch import Launch
from majelpy.recipes.recipe import Recipe
from majelpy.runs.checkpoint import Checkpoint
from majelpy.runs.description import describe
from majelpy.runs.tensors import load_tensors
from majelpy.standard.manipulation import concat
from majelpy.train.nonfinite import NonFinite
from majelpy.train.schedule import Schedule
from majelpy.train.step import StepResult
from majelpy.train.team import Team

DIGEST_STEPS = 10
"""Steps between digests of the parameters, in the ledger and among ranks."""


class Trainer:
    """State of a run on one rank; all ranks make the same calls.

    Parameters
    ----------
    recipe : Recipe
    launch : Launch
    world : World
    model : Model
    data : Utterances
        To train on.
    description : dict
        JSON values stored in every checkpoint.
    place : Place
        Where this rank computes.
    mesh : Mesh
        How the ranks divide the work.

    Attributes
    ----------
    read_until : int
        The step (from 0) before which reading ahead ends.
    """

    def __init__(
        self,
        recipe: Recipe,
        launch: Launch,
        world: World,
        model: Model,
        data: Utterances,
        description: dict[str, Any],
        place: Place = CPU,
        mesh: Mesh = ALONE,
    ):
        self.recipe, self.world, self.whole_model, self.data = recipe, world, model, data
        self.description, self.place = description, place
        self.step = self.skipped = 0  # steps done, and how many of the last were skipped
        self.team = Team(world, recipe, mesh)
        self.model = Model(model.architecture, self.team.share)
        layout = self.model.layout
        self._blocks = layout.blocks()
        self._rounded = recipe.data.transport == "bfloat16"
        self._sum = GradientSum(
            self.team.reducers,
            recipe.data.leaves * recipe.model.parts,
            layout.gradient_size,
            place=place,
            bucket_bytes=launch.bucket_bytes,
            shared_memory=launch.shared_memory,
            overlap=launch.overlap,
            ranges=self.team.ranges,
            rounded=layout.trained if self._rounded else 0,
        )
        self.parameters = layout.initial(recipe.seed).to_device(place)
        settings = recipe.optimizer
        self.optimizer = OPTIMIZERS[settings.kind](settings, layout.size, place)
        self._noise = WeightNoise(settings.weight_noise, recipe.seed, layout, place)
        self.schedule = Schedule(recipe)
        self._zero = zeros(1, device=place)
        self._epoch_batches: dict[int, list[np.ndarray]] = {}
        self._prefetch = launch.prefetch
        self._ahead = ReadAhead(self._begin, launch.prefetch)
        self.read_until = self.steps

    @property
    def steps_per_epoch(self) -> int:
        return -(-len(self.data) // self.recipe.data.batch)

    @property
    def steps(self) -> int:
        """Steps of the whole run, which its schedule may end early."""
        if self.schedule.ended:
            return self.step
        return self.steps_per_epoch * self.recipe.schedule.epochs

    @property
    def reduce_seconds(self) -> tuple[float, float]:
        """Of the last step: what summing gradients took after the backward pass, and in all."""
        return self._sum.seconds

    @property
    def gradient_bytes(self) -> int:
        """Bytes of this rank's part of shared memory: its slots, and on one rank the result."""
        return self._sum.nbytes

    def members(self, step: int) -> np.ndarray:
        """Utterances of the minibatch of a step (from 0)."""
        epoch, index = divmod(step, self.steps_per_epoch)
        if epoch not in self._epoch_batches:
            settings, now = self.recipe.data, self.step // self.steps_per_epoch
            for other in [e for e in self._epoch_batches if not now <= e <= now + 1]:
                del self._epoch_batches[other]
            batches = batching.minibatches(
                self.data.lengths,
                settings.batch,
                settings.bin,
                seed=self.recipe.seed,
                epoch=epoch,
                sort_first=settings.sort_first,
            )
            self._epoch_batches[epoch] = batches
        return self._epoch_batches[epoch][index]

    def _mine(self, step: int) -> list[np.ndarray]:
        """This rank's leaves of the minibatch of a step."""
        cut = batching.cut(self.members(step), self.data.lengths, self.recipe.data.leaves)
        return cut[slice(*self.team.leaves)]

    def _begin(self, step: int) -> Callable[[], Batch]:
        """Make room for this rank's share of a minibatch; return what reads and uploads it."""
        data, epoch, mine = self.data, step // self.steps_per_epoch, self._mine(step)
        frames = sum(int(data.lengths_in(epoch, leaf).sum()) for leaf in mine)
        upload = Upload((frames, data.features), self.place)

        def read() -> Batch:
            batch = data.batch(mine, self._sum.merges, epoch, upload.host())
            return batch.with_frames(upload.fill(batch.frames))

        return read

    def _batch(self, step: int) -> Batch:
        """This rank's share of a minibatch; the next ones are read and uploaded meanwhile."""
        return self._ahead.take(step, min(self.steps, self.read_until))

    @property
    def waited_seconds(self) -> float:
        """What the last step waited for its minibatch."""
        return self._ahead.waited_seconds

    def advance(self, change: Callable[[], object] = lambda: None) -> StepResult:
        """Do one step; ``change`` is called when only what changes the state is left to do.

        Raises
        ------
        NonFinite
            On all ranks alike, if the loss or the gradient is not finite; the state is that before
            the step.
        """
        epoch, members = self.step // self.steps_per_epoch, self.members(self.step)
        frames = int(self.data.lengths_in(epoch, members).sum())
        batch = self._batch(self.step)
        total, factor, norm, loss = self._gradient(batch, epoch, len(members))
        rate = self.schedule.rate(self.step, epoch)
        result = StepResult(self.step + 1, epoch, loss, norm, rate.numpy()[0], len(members), frames)
        if not (np.isfinite(norm) and np.isfinite(loss)):  # all ranks have the same sums
            raise NonFinite(result, self._losses(batch, epoch))
        change()
        self.optimizer.update(
            self.parameters,
            total[: self.model.layout.trained],
            result.step,
            factor=factor,
            rate=rate.to_device(self.place),
        )
        self._follow(total)
        self.step, self.skipped = result.step, 0
        return result

    def rehearse(self, step: int) -> None:
        """Compute the gradient of a step (from 0) with every utterance at its lowest speed and of
        zeros, and throw it away. All ranks call it together, each with a step of its own.
        """
        batch = self.data.longest_batch(self._mine(step), self._sum.merges, self.place)
        self._gradient(batch, step // self.steps_per_epoch, len(self.members(step)))

    @contextmanager
    def reading_ahead(self, step: int) -> Iterator[None]:
        """Hold memory as if the minibatches to come were as large as that of a step (from 0)."""
        shape = (self.frames(step), self.data.features)
        held = [empty(shape, device=self.place) for _ in range(self._prefetch)]
        yield
        del held

    def frames(self, step: int) -> int:
        """Frames of this rank's leaves of the minibatch of a step (from 0), at most."""
        return sum(int(self.data.longest[leaf].sum()) for leaf in self._mine(step))

    def skip(self, result: StepResult) -> StepResult:
        """Count a step that was not finite, and leave all else as it was."""
        self.step, self.skipped = result.step, self.skipped + 1
        return replace(result, skipped=True)

    def _gradient(
        self, batch: Batch, epoch: int, utterances: int
    ) -> tuple[Array, Array, np.float32, np.float32]:
        """The minibatch's sums of all slots, the factor that limits the gradient's norm, the norm,
        and the mean loss."""
        layout, training = self.model.layout, Training(self.recipe.seed, epoch)
        one = np.ones(1, dtype=np.float32)
        scale = float(ops.mean_of(zeros(1), one, utterances).numpy()[0])
        slots, pushed = self._sum.slots, self._sum.pushed
        weights = self._noise.weights(self.parameters, self.step + 1)
        self.model.train(batch, weights, slots, scale, training, pushed, self._rounded)
        total = self._sum.reduce()
        numbers = empty(3, device=self.place)
        squares = self._square_sum(total[: layout.trained])
        _, factor = ops.factor_of(squares, self.recipe.optimizer.norm_limit, out=numbers[:2])
        loss_sum = total[layout.loss : layout.loss + 1]
        ops.mean_of(self._zero, loss_sum, utterances, out=numbers[2:])
        norm, _, loss = numbers.to_device(CPU).numpy()  # the one wait for the place
        return total, factor, norm, loss

    def _losses(self, batch: Batch, epoch: int) -> list[tuple[str, np.float32]]:
        """Name and loss of each utterance of the minibatch, in the data's order; all together."""
        weights = self._noise.weights(self.parameters, self.step + 1)
        found = self.model.forward(batch, weights, Training(self.recipe.seed, epoch))
        losses = self.model.losses(found)[0].to_device(CPU).numpy()
        mine = zip(batch.ids.tolist(), zip(batch.names, losses, strict=True), strict=True)
        everywhere = dict(item for found in self.world.all_gather(list(mine)) for item in found)
        return [everywhere[number] for number in sorted(everywhere)]

    def _follow(self, total: Array) -> None:
        """Let the tracked parameters follow the mean of the leaves' statistics."""
        first, last = self.model.layout.trained, self.model.layout.size
        if first == last:
            return
        leaves_of = batching.cut(
            self.members(self.step), self.data.lengths, self.recipe.data.leaves
        )
        filled = sum(bool(len(leaf)) for leaf in leaves_of)
        ops.running(self.parameters[first:last], total[first:last], filled, RUNNING_RATE)

    def _square_sum(self, gradient: Array) -> Array:
        """The sum of squares of the gradient of all parameters, (1,).

        Notes
        -----
        Order: the canonical sum of each block's squares (Layout.blocks), then that of the blocks'.
        """
        if self.recipe.model.parts == 1:
            return ops.square_sum(gradient)
        sums = concat([ops.square_sum(gradient[at : at + size]) for _, at, size in self._blocks])
        found = zip(self._blocks, sums.to_device(CPU).numpy(), strict=True)
        everywhere = self.team.gather_blocks({number: value for (number, *_), value in found})
        return ops.sum_rows(everywhere.reshape(-1, 1)).to_device(self.place)

    def digest(self) -> str:
        """Digest of the parameters: the run's fingerprint at this step. All ranks together."""
        return digest(self.team.whole(self.model, self.parameters))

    def whole_parameters(self) -> Array:
        """Parameters of the whole model, on this rank's place. All ranks together."""
        return self.team.whole_vector(self.model, self.parameters, self.whole_model)

    def check_ranks(self, digest: str) -> None:
        """Hold the ranks' digests against one another.

        Raises
        ------
        WorldError
            If a rank has other bits: memory or a processor of it is at fault.
        """
        digests = self.world.all_gather(digest)
        odd = [rank for rank, other in enumerate(digests) if other != digests[0]]
        if odd:
            error = WorldError(
                f"train: after step {self.step} the parameters of ranks {odd} differ from rank "
                f"0's; a processor or memory there is at fault"
            )
            self.world.agree(error)

    def checkpoint(self) -> Checkpoint:
        """The state, to be written. All ranks together."""
        vectors = {"parameters": self.parameters, **self.optimizer.states}
        tensors = {
            f"{kind}/{name}": x
            for kind, vector in vectors.items()
            for name, x in self.team.whole(self.model, vector).items()
        }
        description = self.description | {"schedule": self.schedule.content()}
        return Checkpoint(self.step, description | {"skipped": self.skipped}, tensors)

    def restore(self, checkpoint: Checkpoint) -> None:
        """Continue from a checkpoint.

        Raises
        ------
        CheckpointError
            If it is of another recipe, its description has a value that cannot be, or it lacks a
            tensor or has one of another shape.
        """
        described = describe(checkpoint)
        changed = differences(past(described.content), past(self.description["content"]), SAVED)
        if changed:
            raise CheckpointError(
                f"checkpoint of step {checkpoint.step}: it belongs to another recipe: "
                f"{few(changed)}; give another --out"
            )
        self.parameters, *states = (
            load_tensors(self.model, checkpoint, kind).to_device(self.place)
            for kind in ("parameters", *self.optimizer.states)
        )
        self.optimizer.states = dict(zip(self.optimizer.states, states, strict=True))
        self.schedule.restore(described.schedule)
        self.step, self.skipped = checkpoint.step, described.skipped

    def close(self) -> None:
        """End the reading thread and give the reduction's memory back; all ranks together."""
        self._ahead.close()
        self._sum.close()
