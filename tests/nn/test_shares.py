"""Ranks that share a model, as threads of this process, against one rank: the same bits.

The sizes are at the edges: units that parts do not divide, a last part that ends within a line,
halves without a frame, leaves and ranks without an utterance.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from queue import Queue
from typing import Any, TypeVar

import numpy as np
import pytest
from makers import level_data, same_bits
from mpi_launch import PATIENCE

from majelpy import ops, tree
from majelpy.array import Array, asarray, empty, zeros
from majelpy.errors import RecipeError
from majelpy.memory import CPU
from majelpy.mesh import Mesh
from majelpy.nn.batch import Batch
from majelpy.nn.layer import Training
from majelpy.nn.layers import read
from majelpy.nn.model import Architecture, Model
from majelpy.nn.networks import deep_speech_1
from majelpy.nn.parameters import Layout
from majelpy.nn.share import Share
from majelpy.nn.ways.shares import share_of
from majelpy.plan.communication import exchanges
from majelpy.plan.constants import Link
from majelpy.plan.workload import Utterance, Workload
from majelpy.train.team import models

TWO = Architecture(5, 6, deep_speech_1(2, (33, 48), 50, 40, dropout=0.25))
FOUR = Architecture(7, 5, deep_speech_1(1, (64, 90), 70, 113, dropout=0.25))
STRIDED = Architecture(
    19,
    6,
    read(
        [
            {"layer": "conv", "channels": 7, "kernel": [5, 4], "stride": [2, 2]},
            {"layer": "conv", "channels": 8, "kernel": [3, 3], "batch_norm": True},
            {"layer": "bigru", "units": 70, "batch_norm": True},
            {"layer": "dropout", "rate": 0.25},
            {"layer": "gru", "units": 65},
            {"layer": "bilstm", "units": 69},
            {"layer": "lstm", "units": 67},
            {"layer": "birnn", "units": 66, "batch_norm": True},
            {"layer": "rnn", "units": 65},
            {"layer": "row_conv", "future": 2},
            {"layer": "layer_norm"},
            {"layer": "dense", "units": 67, "batch_norm": True},
        ],
        "layers",
        "",
    ),
)
FIRST = Architecture(
    65, 5, read([{"layer": "batch_norm"}, {"layer": "rnn", "units": 64}], "layers", "")
)
"""Layers that look at frames beside each, of one direction, and on top of the features."""
THINNED = Architecture(
    19, 5, read([{"layer": "dropout", "rate": 0.25}, {"layer": "rnn", "units": 64}], "layers", "")
)
"""Fewer features than four parts have units."""


T = TypeVar("T")


class Threads:
    """Neighbours that are threads; a message is an entry of a queue."""

    def __init__(self, index: int, count: int, queues: dict[tuple[int, int], Queue[np.ndarray]]):
        self.index, self.count, self._queues = index, count, queues
        self.sent_bytes = self.messages = 0

    def exchange(
        self, sent: Sequence[tuple[int, Array]], shapes: Sequence[tuple[int, tuple[int, ...]]]
    ) -> list[Array]:
        for rank, x in sent:
            assert rank != self.index
            self.sent_bytes += 4 * x.size
            self.messages += 1
            if x.size:
                self._queues[self.index, rank].put(x.to_device(CPU).numpy().copy())
        found = []
        for rank, shape in shapes:
            x = empty(shape)
            if x.size:
                x.numpy()[...] = self._queues[rank, self.index].get(timeout=PATIENCE).reshape(shape)
            found.append(x)
        return found

    def others(self) -> list[int]:
        return [i for i in range(self.count) if i != self.index]


def together(way: str, parts: int, ranks: int, work: Callable[[int, Share], T]) -> list[T]:
    """Return what each of so many ranks makes of its share; no message may be left over."""
    queues: dict[tuple[int, int], Queue[np.ndarray]]
    queues = {(i, j): Queue() for i in range(ranks) for j in range(ranks)}
    shares = [share_of(way, parts, Threads(index, ranks, queues)) for index in range(ranks)]
    with ThreadPoolExecutor(ranks) as pool:
        found = list(pool.map(work, range(ranks), shares))
    assert all(queue.empty() for queue in queues.values())
    return found


def items_of(share: Share, leaves: int) -> list[tuple[int, int]]:
    """Items of the tree over leaves and their parts that a share has."""
    low, high = share.time_parts
    return [(leaf * share.parts + low, leaf * share.parts + high) for leaf in range(leaves)]


def batch_of(lengths: list[int], leaves: list[int], sizes: Architecture, share: Share) -> Batch:
    """Return utterances of these lengths, the n-th leaf holding leaves[n] of them."""
    offsets = np.cumsum([0, *lengths], dtype=np.int64)
    total = len(leaves) * share.parts
    labels = [[1 + (i * 3 + n) % (sizes.alphabet - 1) for i in range(-(-n // 4))] for n in lengths]
    return Batch(
        frames=asarray(level_data((int(offsets[-1]), sizes.features), 3)),
        offsets=offsets,
        labels=labels,
        names=[str(n) for n in range(len(lengths))],
        ids=np.arange(len(lengths), dtype=np.int64),
        leaf_utterances=np.cumsum([0, *leaves], dtype=np.int64),
        merges=np.array(tree.stack(total, items_of(share, len(leaves))).merges, dtype=np.int32),
        starts=np.zeros(len(lengths), np.int64),
        lengths=np.diff(offsets),
    )


def vector_of(layout: Layout, whole: Layout) -> Array:
    """Return parameters with biases that are not 0, so that no unit is dead throughout."""
    everything = whole.initial(4)
    for name, value in whole.items(everything):
        if name.endswith("bias"):
            value.numpy()[...] = level_data(value.shape, 5, 1.0) + np.float32(0.5)
    found = zeros(layout.size)
    for name, value in whole.items(everything):
        layout.put_whole(found, name, value.numpy())
    return found


def computed(
    sizes: Architecture, lengths: list[int], leaves: list[int], share: Share
) -> tuple[list[np.ndarray], np.ndarray]:
    """Return the maximal subtrees that a share leaves in its slots, and its log-probabilities."""
    model = Model(sizes, share)
    batch = batch_of(lengths, leaves, sizes, share)
    vector = vector_of(model.layout, Model(sizes).layout)
    program = tree.stack(len(leaves) * share.parts, items_of(share, len(leaves)))
    slots = zeros((program.depth, model.layout.gradient_size))
    model.train(batch, vector, slots, 0.125, Training(1, 0))
    log_probs = model.forward(batch, vector, Training(1, 0)).log_probs
    return list(slots.numpy()[: len(program.nodes)]), log_probs.numpy().copy()


UNEVEN = [9, 1, 2, 30, 3, 1, 12]
SHAPES: list[tuple[Architecture, int, list[int], list[int]]] = [
    # sizes, parts, frames of the utterances, utterances of the leaves
    (THINNED, 4, UNEVEN, [3, 0, 4]),
    (TWO, 2, UNEVEN, [2, 0, 3, 2]),
    (TWO, 2, [1, 1], [1, 1]),
    (TWO, 2, [], [0, 0, 0]),
    (FOUR, 4, UNEVEN, [3, 4]),
    (FOUR, 4, [3, 2, 1], [3]),
    (FOUR, 4, [], [0]),
    (STRIDED, 2, UNEVEN, [2, 0, 3, 2]),
    (STRIDED, 4, UNEVEN, [3, 4]),
    (STRIDED, 4, [1, 1, 2], [3]),
    (STRIDED, 2, [], [0, 0]),
    (FIRST, 4, UNEVEN, [3, 0, 4]),
    (replace(TWO, precision="bfloat16"), 2, UNEVEN, [2, 0, 3, 2]),
    (replace(STRIDED, precision="bfloat16"), 4, UNEVEN, [3, 4]),
]
KINDS = [(2, "time"), (2, "directions"), (2, "hidden"), (3, "hidden"), (4, "hidden")]
CASES = [
    pytest.param(
        *(*shape, *kind),
        id=f"{len(shape[0].layers)} layers in {shape[0].precision}, {shape[1]} parts, "
        f"{shape[2]}, {kind[1]} of {kind[0]}",
    )
    for shape in SHAPES
    for kind in KINDS
    if kind[0] <= shape[1]
]


@pytest.mark.parametrize(("sizes", "parts", "lengths", "leaves", "ranks", "way"), CASES)
def test_a_share_has_the_bits_of_the_whole(
    sizes: Architecture, parts: int, lengths: list[int], leaves: list[int], ranks: int, way: str
) -> None:
    alone = Share(parts)
    (expected,), log_probs = computed(sizes, lengths, leaves, alone)
    assert bool(lengths) == bool(expected.any())
    found = together(way, parts, ranks, lambda _, share: computed(sizes, lengths, leaves, share))
    if way == "time":
        counts = Model(sizes, alone).frames(np.array(lengths, np.int64)).tolist()
        starts = np.cumsum([0, *counts])
        halves = [n * (parts // 2) // parts for n in counts]
        rows = [log_probs[s : s + h] for s, h in zip(starts, halves, strict=False)]
        rest = [log_probs[s + h : s + n] for s, h, n in zip(starts, halves, counts, strict=False)]
        for (_, mine), wanted in zip(found, (rows, rest), strict=True):
            assert same_bits(mine, np.concatenate([log_probs[:0], *wanted]))
        total = len(leaves) * parts
        shares = together(way, parts, ranks, lambda _, share: share)
        nodes = [tree.stack(total, items_of(s, len(leaves))).nodes for s in shares]
        pieces = sorted(
            (node, rank, at) for rank, mine in enumerate(nodes) for at, node in enumerate(mine)
        )
        out = np.empty_like(expected)
        merges = tree.node_merges(total, [node for node, _, _ in pieces])
        ops.tree_sum([found[rank][0][at] for _, rank, at in pieces], merges, [out])
        assert same_bits(out, expected)
        return
    whole = Model(sizes, alone).layout

    def compare(rank: int, share: Share) -> None:
        (mine,), same = found[rank]
        assert same_bits(same, log_probs)
        layout = Model(sizes, share).layout
        assert same_bits(mine[layout.loss], expected[whole.loss])
        for name, value in layout.items(asarray(mine)):
            wanted = layout.of_whole(name, whole.view(asarray(expected), name).numpy())
            assert same_bits(value.numpy().reshape(wanted.shape), wanted.copy()), name

    together(way, parts, ranks, compare)


def test_parts_decide_the_bits() -> None:
    # Else the test above could not fail.
    one, two, four = (computed(FOUR, UNEVEN, [3, 4], Share(parts))[0][0] for parts in (1, 2, 4))
    assert not same_bits(one, two)
    assert not same_bits(two, four)


def test_the_precision_decides_the_bits() -> None:
    for sizes in (TWO, STRIDED):
        rounded = replace(sizes, precision="bfloat16")
        found = [computed(s, UNEVEN, [2, 0, 3, 2], Share(2))[0][0] for s in (sizes, rounded)]
        for name, value in Model(sizes, Share(2)).layout.items(asarray(found[0])):
            other = Model(sizes, Share(2)).layout.view(asarray(found[1]), name)
            assert not same_bits(value, other), name


@pytest.mark.parametrize(("ranks", "parts"), [(2, 2), (2, 4), (4, 4)])
def test_hidden_parts_divide_memory_by_the_ranks(ranks: int, parts: int) -> None:
    # All layers in parts of whole lines, so that parts are even. Only the logits' layer, whose
    # outputs are no units, is everywhere.
    sizes = Architecture(20, 29, deep_speech_1(2, (128, 256), 192, 64))
    whole = Model(sizes, Share(parts)).layout
    output = 29 * 64 + -(-29 // 16) * 16
    inputs, first, second, recurrent, last = 5 * 20, 128, 256, 192, 64
    units = first * (inputs + 1) + second * (first + 1) + last * (recurrent + 1)
    units += 2 * recurrent * (second + recurrent + 1)
    assert whole.size == units + output
    held = together("hidden", parts, ranks, lambda _, share: Model(sizes, share).layout)
    for layout in held:
        assert layout.size == units // ranks + output
        assert layout.gradient_size == layout.size + 16
        assert 4 * layout.size == layout.initial(3).numpy().nbytes


@pytest.mark.parametrize(("way", "ranks"), [("time", 2), ("directions", 2), ("hidden", 4)])
def test_ranks_send_what_the_document_says(way: str, ranks: int) -> None:
    # docs/parallelism.md; all layers as wide as the recurrent one, some frames in each half.
    units, lengths, symbols = 64, [8, 20, 4], 6
    sizes = Architecture(5, symbols, deep_speech_1(1, (units,) * 3, units, units))
    frames, utterances = sum(lengths), len(lengths)

    def sent(_: int, share: Share) -> tuple[int, int]:
        model = Model(sizes, share)
        batch = batch_of(lengths, [3], sizes, share)
        vector = vector_of(model.layout, Model(sizes).layout)
        model.train(batch, vector, zeros((3, model.layout.gradient_size)), 1.0, Training(1, 0))
        neighbours = share._neighbours  # type: ignore[attr-defined]
        return neighbours.sent_bytes, neighbours.messages // (ranks - 1)

    expected = {
        "time": (4 * (utterances * (2 * units + 5) + frames // 2 * symbols), 4),
        "directions": (4 * frames * 2 * units, 2),
        # The states of an utterance's last step are not needed in a next one; nor the gradients.
        "hidden": (
            4 * (16 * frames - 4 * utterances) * units * (ranks - 1) // ranks,
            3 * max(lengths) + 9,
        ),
    }
    assert together(way, 4, ranks, sent) == [expected[way]] * ranks


LAYERS: dict[str, list[dict[str, Any]]] = {
    "Deep Speech 1": list(deep_speech_1(2, (64, 128), 64, 128, dropout=0.25)),
    "dense": [{"layer": "dense", "units": 64}, {"layer": "dense", "units": 128}],
    "one direction": [{"layer": "rnn", "units": 128}, {"layer": "rnn", "units": 64}],
    "two of both": [
        {"layer": "birnn", "units": 64},
        {"layer": "dropout", "rate": 0.5},
        {"layer": "birnn", "units": 128},
    ],
    "gates": [
        {"layer": "bigru", "units": 64, "batch_norm": True},
        {"layer": "bilstm", "units": 128},
    ],
    "norms": [
        {"layer": "dense", "units": 64, "batch_norm": True},
        {"layer": "layer_norm"},
        {"layer": "dense", "units": 64},
        {"layer": "batch_norm"},
        {"layer": "birnn", "units": 64},
    ],
    "convolution": [
        {"layer": "conv", "channels": 64, "kernel": [3, 3], "batch_norm": True},
        {"layer": "conv", "channels": 64, "kernel": [5, 3], "stride": [1, 2]},
        {"layer": "dense", "units": 64},
    ],
}


@pytest.mark.parametrize(("way", "ranks"), [("time", 2), ("directions", 2), ("hidden", 4)])
@pytest.mark.parametrize("layers", LAYERS.values(), ids=LAYERS)
def test_ranks_send_what_is_planned(layers: list[dict[str, object]], way: str, ranks: int) -> None:
    lengths = [8, 20, 4]  # both halves are as long
    sizes = Architecture(5, 6, read(layers, "a test", ""))

    def sent(_: int, share: Share) -> int:
        model = Model(sizes, share)
        batch = batch_of(lengths, [3], sizes, share)
        vector = vector_of(model.layout, Model(sizes).layout)
        model.train(batch, vector, zeros((3, model.layout.gradient_size)), 1.0, Training(1, 0))
        return share._neighbours.sent_bytes  # type: ignore[attr-defined]

    leaf = tuple(Utterance(frames, 2) for frames in lengths)
    work = Workload(sizes, 1, 4, 4, ((leaf,),), "a test")
    gigabyte_a_second = Link(0.0, 1.0)
    planned = exchanges(work, Mesh(1, ranks, way), (leaf,), gigabyte_a_second) * 1e9
    # The norm is the trainer's. Of one direction a rank sends the states in one pass, and waits for
    # them in the other.
    waits = 4 * len(lengths) * sum(int(x["units"]) for x in layers if x["layer"] == "rnn")
    unsent = {"time": waits, "directions": 0, "hidden": 8}[way]
    assert together(way, 4, ranks, sent) == [pytest.approx(planned - unsent)] * ranks


def test_directions_divide_the_recurrent_layer_alone() -> None:
    whole = Model(TWO, Share(2)).layout
    for layout in together("directions", 2, 2, lambda _, share: Model(TWO, share).layout):
        for name in (p.name for p in whole.parameters):
            held, full = (x.place(name)[1].size for x in (layout, whole))
            assert held * (2 if name.startswith("birnn") else 1) == full


@pytest.mark.parametrize("ranks", [2, 3, 4])
def test_blocks_of_the_norm_are_those_of_the_whole(ranks: int) -> None:
    whole = Model(FOUR, Share(4)).layout
    numbers = asarray(level_data(whole.size, 6))
    expected = {number: numbers.numpy()[at : at + size] for number, at, size in whole.blocks()}
    assert sorted(expected) == list(range(len(expected)))

    def blocks(rank: int, share: Share) -> dict[int, np.ndarray]:
        layout = Model(FOUR, share).layout
        mine = zeros(layout.size)
        for name, value in whole.items(numbers):
            layout.put_whole(mine, name, value.numpy())
        return {n: mine.numpy()[at : at + size].copy() for n, at, size in layout.blocks()}

    ways = ["hidden", *(["directions", "time"] if ranks == 2 else [])]
    for way in ways:
        seen: set[int] = set()
        for held in together(way, 4, ranks, blocks):
            for number, block in held.items():
                assert same_bits(block, expected[number].copy())
            seen |= set(held)
        assert seen == set(expected)


def test_models_follow_hosts_and_ascend() -> None:
    assert models(((0, 1), (2, 3)), 2) == [[0, 1], [2, 3]]
    # mpirun --map-by node deals ranks out; the second model has a rank on each host.
    assert models(((0, 2, 4), (1, 3, 5)), 2) == [[0, 2], [1, 4], [3, 5]]
    assert models(((0, 3), (1, 2)), 4) == [[0, 1, 2, 3]]


@pytest.mark.parametrize("parts", [2, 4, 8])
def test_layers_need_a_line_for_each_part(parts: int) -> None:
    def model(recurrent: int) -> Model:
        layers = deep_speech_1(0, (16 * parts,), recurrent, 16 * parts)
        return Model(Architecture(1, 2, layers), Share(parts))

    model(16 * parts)
    model(16 * parts - 15)
    with pytest.raises(RecipeError) as raised:
        model(16 * parts - 16)
    assert str(raised.value) == (
        f"model.layers[2] (birnn) on top of model.layers[1] (dense): {16 * parts - 16} units in "
        f"{parts} parts (model.parts); each needs 16, so {16 * parts} units"
    )
