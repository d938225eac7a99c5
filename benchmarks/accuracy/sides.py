"""Both sides of the comparison: majelpy and its twin, trained an epoch at a time.

Policy. Both have the same utterances (majelpy's `Utterances`: same file, same normalisation, same
labels), minibatches, learning rates, and number of threads, and no thread reads ahead. What they
differ in is how numbers are made: starting weights and dropout come from each one's own generator,
and sums have each one's own order.
"""

from __future__ import annotations

from typing import Protocol

import numpy as np
import torch
from torch.nn import functional
from torch.nn.utils.rnn import pad_sequence
from twin import Twin

from majelpy.array import CPU
from majelpy.comm.world import World
from majelpy.speech import leaves
from majelpy.speech.decode import greedy
from majelpy.speech.metrics import Errors, errors
from majelpy.train.data import Utterances
from majelpy.train.evaluate import BATCH, evaluate
from majelpy.train.launch import Launch
from majelpy.train.places import take_pool
from majelpy.train.recipe import Recipe
from majelpy.train.setup import Prepared
from majelpy.train.trainer import Trainer


class Side(Protocol):
    """What is trained and compared."""

    def epoch(self, number: int) -> float:
        """Train one epoch (from 0); return the mean loss of its steps."""

    def errors(self, data: Utterances) -> Errors:
        """Errors of the best path on some utterances."""


class Ours:
    """majelpy's trainer."""

    def __init__(self, recipe: Recipe, prepared: Prepared):
        self._world, self._prepared = World.start(), prepared
        take_pool(CPU, self._world)
        self._trainer = Trainer(
            recipe,
            Launch(prefetch=False),
            self._world,
            prepared.model,
            prepared.train,
            prepared.description,
        )

    def epoch(self, number: int) -> float:
        steps = self._trainer.steps_per_epoch
        return float(np.mean([self._trainer.advance().loss for _ in range(steps)]))

    def errors(self, data: Utterances) -> Errors:
        model, alphabet = self._prepared.model, self._prepared.alphabet
        return evaluate(model, self._trainer.parameters, data, alphabet, self._world).errors


class Theirs:
    """The twin, trained as PyTorch's users do: SGD, clip_grad_norm_, ctc_loss."""

    def __init__(self, recipe: Recipe, prepared: Prepared):
        self._recipe, self._prepared = recipe, prepared
        self.twin = Twin(prepared.model)
        self.twin.start(recipe.seed)
        settings = recipe.optimizer
        self._optimizer = torch.optim.SGD(
            self.twin.parameters(),
            lr=settings.rate,
            momentum=settings.momentum,
            nesterov=settings.momentum > 0,
            weight_decay=settings.decay,
        )
        self._step = 0

    def epoch(self, number: int) -> float:
        steps = -(-len(self._prepared.train) // self._recipe.data.batch)
        return float(np.mean([self.advance(number, index) for index in range(steps)]))

    def advance(self, epoch: int, index: int) -> float:
        """Do the step of a minibatch of an epoch; return its loss."""
        optimizer, schedule = self._recipe.optimizer, self._recipe.schedule
        if index == 0:
            self.twin.train()
            settings, lengths = self._recipe.data, self._prepared.train.lengths
            self._order = leaves.minibatches(
                lengths, settings.batch, settings.bin, seed=self._recipe.seed, epoch=epoch
            )
        rate = optimizer.rate * schedule.anneal ** max(0, epoch - schedule.hold)
        rate *= min(1.0, (self._step + 1) / max(1, schedule.warmup))
        self._optimizer.param_groups[0]["lr"] = rate
        self._optimizer.zero_grad()
        loss = mean_loss(self.twin, self._prepared.train, self._order[index])
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.twin.parameters(), optimizer.norm_limit)
        self._optimizer.step()
        self._step += 1
        return loss.item()

    def errors(self, data: Utterances) -> Errors:
        self.twin.eval()
        total, order = Errors(), np.argsort(data.lengths, kind="stable")
        for start in range(0, len(order), BATCH):
            members = order[start : start + BATCH]
            with torch.no_grad():
                best = self.twin(*padded(data, members)).argmax(-1).numpy()
            for n, index in enumerate(members):
                labels = greedy(best[: data.lengths[index], n])
                said = data.texts[index]
                total += errors(said, self._prepared.alphabet.decode(labels))
        return total


def padded(data: Utterances, members: np.ndarray) -> tuple[torch.Tensor, torch.Tensor]:
    """Return frames (T, N, F) with zeros behind the ends, and their lengths."""
    frames = [torch.from_numpy(data.frames(int(i))) for i in members]
    return pad_sequence(frames), torch.tensor(data.lengths[members])


def mean_loss(twin: Twin, data: Utterances, members: np.ndarray) -> torch.Tensor:
    """Return the CTC loss of a minibatch, a mean over its utterances."""
    frames, lengths = padded(data, members)
    log_probs = twin(frames.to(next(twin.parameters()).dtype), lengths)
    labels = [data.labels[i] for i in members]
    total = functional.ctc_loss(
        log_probs,
        torch.tensor([label for text in labels for label in text]),
        lengths,
        torch.tensor([len(text) for text in labels]),
        reduction="sum",
    )
    return total / len(members)
