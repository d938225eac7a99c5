"""A training run: state, step, resume.

Policy. A step is: every rank computes its leaves in one batch, the leaf gradients are summed along
the tree, every rank makes the same update. What a rank does depends on the launch; what comes out
does not. Parameters, velocities, slots and activations lie on the rank's place; a step's loss and
norm, and what is written to disk, come to the host. Ranks compare digests of their parameters every
`DIGEST_STEPS` steps.
"""

from __future__ import annotations

from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np

from majelpy import ops
from majelpy.array import CPU, Array, Place, empty, zeros
from majelpy.array.manipulation import concat
from majelpy.comm.direct import place_of_sums, slots_for
from majelpy.comm.reduce import TreeReducer
from majelpy.comm.world import World
from majelpy.errors import CheckpointError, TrainingError, WorldError
from majelpy.nn.batch import Batch
from majelpy.nn.layer import Training
from majelpy.nn.model import Model
from majelpy.nn.norm import RUNNING_RATE
from majelpy.nn.parameters import digest
from majelpy.speech import leaves
from majelpy.train.checkpoint import Checkpoint
from majelpy.train.data import Utterances
from majelpy.train.launch import Launch
from majelpy.train.recipe import Recipe
from majelpy.train.team import ALONE, Mesh, Team
from majelpy.train.upload import Upload

DIGEST_STEPS = 10
"""Steps between digests of the parameters, in the ledger and among ranks."""


@dataclass(frozen=True)
class StepResult:
    """What a step gives: its number from 1, epoch from 0, mean loss, gradient norm, rate."""

    step: int
    epoch: int
    loss: np.float32
    norm: np.float32
    rate: np.float32
    utterances: int
    frames: int


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
        self.step = 0
        self.team = Team(world, recipe, mesh)
        self.model = Model(model.architecture, self.team.share)
        layout = self.model.layout
        self._blocks = layout.blocks()
        self._rounded = recipe.data.transport == "bfloat16"
        self._reducer = TreeReducer(
            self.team.reducers,
            recipe.data.leaves * recipe.model.parts,
            layout.gradient_size,
            bucket_bytes=launch.bucket_bytes,
            shared_memory=launch.shared_memory,
            overlap=launch.overlap,
            ranges=self.team.ranges,
            place=place_of_sums(self.team.reducers, place),
            rounded=layout.trained if self._rounded else 0,
        )
        self._staging = slots_for(self._reducer, place)
        self.parameters = layout.initial(recipe.seed).to_device(place)
        self.velocities = zeros(layout.size, device=place)
        self._zero = zeros(1, device=place)
        self._epoch_batches: tuple[int, list[np.ndarray]] = (-1, [])
        self._reader = ThreadPoolExecutor(1) if launch.prefetch else None
        self._next: tuple[int, Future[Batch]] | None = None

    @property
    def steps_per_epoch(self) -> int:
        return -(-len(self.data) // self.recipe.data.batch)

    @property
    def steps(self) -> int:
        """Steps of the whole run."""
        return self.steps_per_epoch * self.recipe.schedule.epochs

    @property
    def reduce_seconds(self) -> tuple[float, float]:
        """Of the last step: what summing gradients took after the backward pass, and in all."""
        return self._reducer.exposed_seconds, self._reducer.exchange_seconds

    @property
    def gradient_bytes(self) -> int:
        """Bytes of this rank's part of shared memory: its slots, and on one rank the result."""
        return self._reducer.touched[0].nbytes

    def _members(self, step: int) -> np.ndarray:
        """Utterances of the minibatch of a step (from 0)."""
        epoch, index = divmod(step, self.steps_per_epoch)
        if self._epoch_batches[0] != epoch:
            settings = self.recipe.data
            batches = leaves.minibatches(
                self.data.lengths, settings.batch, settings.bin, seed=self.recipe.seed, epoch=epoch
            )
            self._epoch_batches = (epoch, batches)
        return self._epoch_batches[1][index]

    def _mine(self, step: int) -> list[np.ndarray]:
        """This rank's leaves of the minibatch of a step."""
        cut = leaves.cut(self._members(step), self.data.lengths, self.recipe.data.leaves)
        return cut[slice(*self.team.leaves)]

    def _read(self, mine: list[np.ndarray], upload: Upload) -> Batch:
        batch = self.data.batch(mine, self._reducer.merges)
        return batch.with_frames(upload.fill(batch.frames))

    def _upload(self, mine: list[np.ndarray]) -> Upload:
        frames = sum(int(self.data.lengths[leaf].sum()) for leaf in mine)
        return Upload((frames, self.data.features), self.place)

    def _batch(self, step: int) -> Batch:
        """This rank's share of a minibatch; the next one is read and uploaded meanwhile."""
        if self._next is not None and self._next[0] == step:
            batch = self._next[1].result()
        else:
            mine = self._mine(step)
            batch = self._read(mine, self._upload(mine))
        if self._reader is not None and step + 1 < self.steps:
            mine = self._mine(step + 1)
            self._next = (step + 1, self._reader.submit(self._read, mine, self._upload(mine)))
        return batch

    def advance(self) -> StepResult:
        """Do one step.

        Raises
        ------
        TrainingError
            If the gradient is not finite; the state is that before the step.
        """
        layout, optimizer = self.model.layout, self.recipe.optimizer
        utterances = len(self._members(self.step))
        frames = int(self.data.lengths[self._members(self.step)].sum())
        batch = self._batch(self.step)
        epoch = self.step // self.steps_per_epoch
        training = Training(self.recipe.seed, epoch)
        one = np.ones(1, dtype=np.float32)
        scale = float(ops.mean_of(zeros(1), one, utterances).numpy()[0])
        slots, pushed = self._staging.slots, self._staging.pushed
        self.model.train(batch, self.parameters, slots, scale, training, pushed, self._rounded)
        total = self._staging.reduce()
        gradient = total[: layout.trained]
        numbers = empty(3, device=self.place)
        squares = self._square_sum(gradient)
        _, factor = ops.factor_of(squares, optimizer.norm_limit, out=numbers[:2])
        loss_sum = total[layout.loss : layout.loss + 1]
        ops.mean_of(self._zero, loss_sum, utterances, out=numbers[2:])
        norm, _, loss = numbers.to_device(CPU).numpy()  # the one wait for the place
        if not (np.isfinite(norm) and np.isfinite(loss)):
            error = TrainingError(
                f"train: step {self.step + 1} has loss {loss} and gradient norm "
                f"{norm}; needs finite values (lower optimizer.rate, or look at the "
                f"utterances of this minibatch: {', '.join(batch.names[:3])}, ...)"
            )
            self.world.agree(error)  # all ranks see the same sums; one of them speaks
        schedule = self.recipe.schedule
        rate = ops.learning_rate(
            optimizer.rate,
            anneal=schedule.anneal,
            epoch=epoch,
            hold=schedule.hold,
            step=self.step,
            warmup=schedule.warmup,
        )
        ops.nesterov(
            self.parameters[: layout.trained],
            self.velocities[: layout.trained],
            gradient,
            factor=factor,
            rate=rate.to_device(self.place),
            momentum=optimizer.momentum,
            decay=optimizer.decay,
        )
        self._follow(total)
        self.step += 1
        return StepResult(self.step, epoch, loss, norm, rate.numpy()[0], utterances, frames)

    def _follow(self, total: Array) -> None:
        """Let the tracked parameters follow the mean of the leaves' statistics."""
        first, last = self.model.layout.trained, self.model.layout.size
        if first == last:
            return
        leaves_of = leaves.cut(self._members(self.step), self.data.lengths, self.recipe.data.leaves)
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
        tensors = {
            f"{kind}/{name}": x
            for kind, vector in (("parameters", self.parameters), ("velocities", self.velocities))
            for name, x in self.team.whole(self.model, vector).items()
        }
        return Checkpoint(self.step, self.description, tensors)

    def restore(self, checkpoint: Checkpoint) -> None:
        """Continue from a checkpoint.

        Raises
        ------
        CheckpointError
            If it is of another recipe, lacks a tensor or has one of another shape.
        """
        if checkpoint.description.get("recipe") != self.description["recipe"]:
            raise CheckpointError(
                f"checkpoint of step {checkpoint.step}: it belongs to another recipe; "
                "give another --out"
            )
        self.parameters, self.velocities = (
            load_tensors(self.model, checkpoint, kind).to_device(self.place)
            for kind in ("parameters", "velocities")
        )
        self.step = checkpoint.step

    def close(self) -> None:
        """End the reading thread and give the reduction's memory back; all ranks together."""
        if self._reader is not None:
            self._reader.shutdown(cancel_futures=True)
        self._staging.close()
        self._reducer.close()


def load_tensors(model: Model, checkpoint: Checkpoint, kind: str) -> Array:
    """Return a model's share of a checkpoint's tensors of that kind, as a flat vector.

    Raises
    ------
    CheckpointError
        If one is missing or has another shape.
    """
    vector = zeros(model.layout.size)
    for parameter in model.layout.parameters:
        name, shape = parameter.name, model.layout.whole_shape(parameter.name)
        tensor = checkpoint.tensors.get(f"{kind}/{name}")
        if tensor is None or tensor.shape != shape:
            found = "missing" if tensor is None else f"of shape {tensor.shape}"
            raise CheckpointError(
                f"checkpoint of step {checkpoint.step}: {kind}/{name} is {found}; "
                f"the recipe needs {shape}"
            )
        model.layout.put_whole(vector, name, tensor)
    return vector
