"""A training run: state, step, resume.

Policy. A step is: every rank computes its leaves in one batch, the leaf gradients are summed along
the tree, every rank makes the same update. What a rank does depends on the launch; what comes out
does not. Ranks compare digests of their parameters every `DIGEST_STEPS` steps.
"""

from __future__ import annotations

from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np

from majelpy import ops
from majelpy.array import Array, asarray, zeros
from majelpy.comm.reduce import TreeReducer
from majelpy.comm.world import World
from majelpy.errors import CheckpointError, TrainingError, WorldError
from majelpy.nn.batch import Batch
from majelpy.nn.model import Model
from majelpy.nn.parameters import Gradients
from majelpy.speech import leaves
from majelpy.train.checkpoint import Checkpoint
from majelpy.train.data import Utterances
from majelpy.train.evaluate import mean
from majelpy.train.launch import Launch
from majelpy.train.recipe import Recipe

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
    """

    def __init__(
        self,
        recipe: Recipe,
        launch: Launch,
        world: World,
        model: Model,
        data: Utterances,
        description: dict[str, Any],
    ):
        self.recipe, self.world, self.model, self.data = recipe, world, model, data
        self.description = description
        self.step = 0
        layout = model.layout
        self._reducer = TreeReducer(
            world,
            recipe.data.leaves,
            layout.gradient_size,
            bucket_bytes=launch.bucket_bytes,
            shared_memory=launch.shared_memory,
        )
        self.parameters = layout.initial(recipe.seed)
        self.velocities = zeros(layout.size)
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

    def _read(self, members: np.ndarray) -> Batch:
        reducer = self._reducer
        cut = leaves.cut(members, self.data.lengths, self.recipe.data.leaves)
        return self.data.batch(cut[reducer.first : reducer.last], reducer.merges)

    def _batch(self, step: int) -> Batch:
        """This rank's share of a minibatch; the next one is read meanwhile."""
        if self._reader is None:
            return self._read(self._members(step))
        if self._next is not None and self._next[0] == step:
            batch = self._next[1].result()
        else:
            batch = self._read(self._members(step))
        if step + 1 < self.steps:
            self._next = (step + 1, self._reader.submit(self._read, self._members(step + 1)))
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
        share = self.recipe.model.dropout
        dropout = (
            ops.Dropout(share, self.recipe.seed, epoch, batch.offsets, batch.ids) if share else None
        )
        self.model.train(
            batch,
            self.parameters,
            Gradients(layout, self._reducer.slots, batch.frame_leaves()),
            float(mean(asarray(np.ones(1, dtype=np.float32)), utterances)),
            dropout,
        )
        total = self._reducer.reduce()
        gradient = total[: layout.size]
        norm, factor = ops.norm_and_factor(gradient, optimizer.norm_limit)
        loss = mean(asarray(total[layout.loss : layout.loss + 1]), utterances)
        if not (np.isfinite(norm.numpy()[0]) and np.isfinite(loss)):
            error = TrainingError(
                f"train: step {self.step + 1} has loss {loss} and gradient norm "
                f"{norm.numpy()[0]}; needs finite values (lower optimizer.rate, or look at the "
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
            self.parameters,
            self.velocities,
            gradient,
            factor=factor,
            rate=rate,
            momentum=optimizer.momentum,
            decay=optimizer.decay,
        )
        self.step += 1
        return StepResult(
            self.step, epoch, loss, norm.numpy()[0], rate.numpy()[0], utterances, frames
        )

    def digest(self) -> str:
        """Digest of the parameters: the run's fingerprint at this step."""
        return self.model.layout.digest(self.parameters)

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
        """The state, to be written."""
        layout = self.model.layout
        tensors = {f"parameters/{name}": x.numpy() for name, x in layout.items(self.parameters)}
        tensors |= {f"velocities/{name}": x.numpy() for name, x in layout.items(self.velocities)}
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
        for kind, vector in (("parameters", self.parameters), ("velocities", self.velocities)):
            load_tensors(self.model, checkpoint, kind, vector)
        self.step = checkpoint.step

    def close(self) -> None:
        """End the reading thread and give the reduction's memory back; all ranks together."""
        if self._reader is not None:
            self._reader.shutdown(cancel_futures=True)
        self._reducer.close()


def load_tensors(model: Model, checkpoint: Checkpoint, kind: str, vector: Array) -> None:
    """Copy a checkpoint's tensors of that kind into a flat vector; raises CheckpointError."""
    for name, view in model.layout.items(vector):
        tensor = checkpoint.tensors.get(f"{kind}/{name}")
        if tensor is None or tensor.shape != view.shape:
            found = "missing" if tensor is None else f"of shape {tensor.shape}"
            raise CheckpointError(
                f"checkpoint of step {checkpoint.step}: {kind}/{name} is {found}; "
                f"the recipe needs {view.shape}"
            )
        view.numpy()[...] = tensor
