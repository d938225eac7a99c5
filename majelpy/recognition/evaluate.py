"""Loss and error rates of a model on some utterances, shared among ranks.

Policy. Rows do not see one another, so every utterance has the same result on any rank and in any
batch; results are gathered in utterance order and summed there.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from majelpy import ops
from majelpy.array import Array
from majelpy.comm.world import World
from majelpy.data.utterances import Utterances
from majelpy.decoding.beam import Decoder, Hypothesis
from majelpy.decoding.best_path import greedy
from majelpy.decoding.metrics import Errors, errors
from majelpy.memory import CPU
from majelpy.nn.model import Forward, Model
from majelpy.speech.text import Alphabet
from majelpy.telling import Telling

BATCH = 32


@dataclass(frozen=True)
class Evaluation:
    """Result of an evaluation.

    Attributes
    ----------
    errors : Errors
        Against what was said, in which characters outside the alphabet count as errors.
    within : Errors
        Against the same without such characters: what a schedule goes by.
    loss : float32
        Mean CTC loss of an utterance, of the labels that the alphabet has.
    utterances : int
    lists : tuple of tuple of Hypothesis
        n-best lists of a decoder.
    """

    errors: Errors
    within: Errors
    loss: np.float32
    utterances: int
    lists: tuple[tuple[Hypothesis, ...], ...]


@dataclass(frozen=True)
class Recognised:
    """One utterance's text and loss, and the best texts of a decoder (() for the best path)."""

    index: int
    text: str
    loss: np.float32
    hypotheses: tuple[Hypothesis, ...]


def batches(data: Utterances, members: list[int]) -> list[np.ndarray]:
    """Return ``members`` in batches of similar length."""
    ordered = sorted(members, key=lambda i: (int(data.lengths[i]), i))
    starts = range(0, len(ordered), BATCH)
    return [np.array(ordered[start : start + BATCH], dtype=np.int64) for start in starts]


def heard(
    model: Model, parameters: Array, data: Utterances, members: list[int]
) -> Iterator[tuple[np.ndarray, Forward]]:
    """Yield some of ``members`` at a time, and the model's forward pass over them."""
    for chosen in batches(data, members):
        batch = data.batch([chosen], np.zeros(1, dtype=np.int32)).to_device(parameters.place)
        yield chosen, model.forward(batch, parameters)


def recognise(
    model: Model,
    parameters: Array,
    data: Utterances,
    alphabet: Alphabet,
    members: list[int],
    decoder: Decoder | None = None,
) -> Iterator[Recognised]:
    """Yield the result of each of ``members``, in batches of similar length.

    It is computed on the place of the parameters; without a decoder the text is the best path's.
    """
    for chosen, found in heard(model, parameters, data, members):
        losses = model.losses(found)[0].to_device(CPU).numpy()
        if decoder is not None:
            lists = decoder(found.log_probs.to_device(CPU), found.batch.offsets)
            for n, index in enumerate(chosen):
                yield Recognised(int(index), lists[n][0].text, losses[n], tuple(lists[n]))
            continue
        best, offsets = ops.argmax(found.log_probs), found.batch.offsets
        for n, index in enumerate(chosen):
            labels = greedy(best[offsets[n] : offsets[n + 1]])
            yield Recognised(int(index), alphabet.decode(labels), losses[n], ())


def evaluate(
    model: Model,
    parameters: Array,
    data: Utterances,
    alphabet: Alphabet,
    world: World,
    decoder: Decoder | None = None,
) -> Evaluation:
    """Return the evaluation of all utterances; all ranks call it and get the same.

    Notes
    -----
    Order: the canonical sum of the losses in utterance order.
    """
    members = list(range(world.rank, len(data), world.size))
    mine = []
    with Telling("evaluating", "utterance", len(members), shown=world.rank == 0) as telling:
        for r in recognise(model, parameters, data, alphabet, members, decoder):
            said, text = data.transcripts[r.index], data.texts[r.index]
            mine.append((r.index, errors(said, r.text), errors(text, r.text), r.loss, r.hypotheses))
            telling.done()
    everyone = sorted(
        (result for results in world.all_gather(mine) for result in results), key=lambda r: r[0]
    )
    total = within = Errors()
    for _, of_said, of_text, _, _ in everyone:
        total, within = total + of_said, within + of_text
    losses = np.array([loss for *_, loss, _ in everyone], dtype=np.float32).reshape(-1, 1)
    lists = tuple(hypotheses for *_, hypotheses in everyone)
    return Evaluation(total, within, mean(ops.sum_rows(losses), len(losses)), len(losses), lists)


def rehearse(
    model: Model, parameters: Array, data: Utterances, alphabet: Alphabet, world: World
) -> None:
    """Recognise this rank's largest batch and throw the results away."""
    mine = batches(data, list(range(world.rank, len(data), world.size)))
    if mine:
        largest = max(mine, key=lambda chosen: int(data.lengths[chosen].sum()))
        for _ in recognise(model, parameters, data, alphabet, largest.tolist()):
            pass


def mean(total: Array, count: int) -> np.float32:
    """Return total / count of a sum of shape (1,); 0 for no terms."""
    zero = np.zeros(1, dtype=np.float32)
    value: np.float32 = ops.mean_of(zero, total, max(count, 1)).numpy()[0]
    return value
