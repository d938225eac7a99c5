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
from twin import Frames, Twin

from majelpy.comm.world import World
from majelpy.data import minibatches as leaves
from majelpy.data.utterances import Utterances
from majelpy.decoding.best_path import greedy
from majelpy.decoding.metrics import Errors, errors
from majelpy.errors import RecipeError
from majelpy.memory import CPU
from majelpy.recipes import recipe as recipes
from majelpy.recipes.launch import Launch
from majelpy.recognition.evaluate import BATCH, evaluate
from majelpy.train.places import take_pool
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

    def __init__(self, recipe: recipes.Recipe, prepared: Prepared):
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
    """The twin, trained as PyTorch's users do: SGD or AdamW, clip_grad_norm_, ctc_loss."""

    def __init__(self, recipe: recipes.Recipe, prepared: Prepared):
        refuse(recipe)
        self._recipe, self._prepared = recipe, prepared
        self.twin = Twin(prepared.model)
        self.twin.start(recipe.seed)
        self._optimizer = optimizer(recipe.optimizer, self.twin)
        self._step = 0

    def epoch(self, number: int) -> float:
        steps = -(-len(self._prepared.train) // self._recipe.data.batch)
        return float(np.mean([self.advance(number, index) for index in range(steps)]))

    def advance(self, epoch: int, index: int) -> float:
        """Do the step of a minibatch of an epoch; return its loss."""
        settings, schedule = self._recipe.optimizer, self._recipe.schedule
        if index == 0:
            self.twin.train()
            data, lengths = self._recipe.data, self._prepared.train.lengths
            self._order = leaves.minibatches(
                lengths, data.batch, data.bin, seed=self._recipe.seed, epoch=epoch
            )
        rate = settings.rate * schedule.anneal ** max(0, epoch - schedule.hold)
        rate *= min(1.0, (self._step + 1) / max(1, schedule.warmup))
        self._optimizer.param_groups[0]["lr"] = rate
        self._optimizer.zero_grad()
        loss = mean_loss(
            self.twin, self._prepared.train, self._order[index], self._recipe.data.leaves
        )
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.twin.parameters(), settings.norm_limit)
        self._optimizer.step()
        self._step += 1
        return loss.item()

    def errors(self, data: Utterances) -> Errors:
        self.twin.eval()
        total, order = Errors(), np.argsort(data.lengths, kind="stable")
        for start in range(0, len(order), BATCH):
            members = order[start : start + BATCH]
            with torch.no_grad():
                log_probs, lengths = self.twin(*padded(data, members, 1))
            best = log_probs.argmax(-1).numpy()
            for n, index in enumerate(members):
                labels = greedy(best[: lengths[n], n])
                said = data.transcripts[index]
                total += errors(said, self._prepared.alphabet.decode(labels))
        return total


def optimizer(settings: recipes.Optimizer, twin: Twin) -> torch.optim.Optimizer:
    """PyTorch's optimizer of a recipe."""
    if settings.kind == "adam":
        return torch.optim.AdamW(
            twin.parameters(),
            lr=settings.rate,
            betas=(settings.own.beta1, settings.own.beta2),
            eps=settings.own.epsilon,
            weight_decay=settings.decay,
        )
    return torch.optim.SGD(
        twin.parameters(),
        lr=settings.rate,
        momentum=settings.own.momentum,
        nesterov=settings.own.momentum > 0,
        weight_decay=settings.decay,
    )


def refuse(recipe: recipes.Recipe) -> None:
    """Raise RecipeError if the twin cannot train by a recipe."""
    plain = recipes.Augment() == recipe.augment and not recipe.data.sort_first
    known = recipe.optimizer.kind in ("nesterov", "adam") and not recipe.optimizer.weight_noise
    if not (plain and known and recipe.schedule.kind == "hold" and recipe.model.parts == 1):
        raise RecipeError(
            "twin: trains by nesterov or adam on the hold schedule; "
            "without augmentation, weight noise, sort_first and parts"
        )


def padded(data: Utterances, members: np.ndarray, parts: int) -> tuple[torch.Tensor, Frames]:
    """Return features (T, N, F), zeros behind the ends, and which are real, by majelpy's leaf."""
    features = [torch.from_numpy(data.frames(int(i))) for i in members]
    cut = [leaf for leaf in leaves.cut(members, data.lengths, parts) if len(leaf)]
    leaf_of = {int(i): number for number, leaf in enumerate(cut) for i in leaf}
    numbers = torch.tensor([leaf_of[int(i)] for i in members])
    return pad_sequence(features), Frames(torch.tensor(data.lengths[members]), numbers)


def mean_loss(twin: Twin, data: Utterances, members: np.ndarray, parts: int) -> torch.Tensor:
    """Return the CTC loss of a minibatch in so many leaves, a mean over its utterances."""
    features, frames = padded(data, members, parts)
    log_probs, lengths = twin(features.to(next(twin.parameters()).dtype), frames)
    labels = [data.labels[i] for i in members]
    total = functional.ctc_loss(
        log_probs,
        torch.tensor([label for text in labels for label in text]),
        lengths,
        torch.tensor([len(text) for text in labels]),
        reduction="sum",
    )
    return total / len(members)
