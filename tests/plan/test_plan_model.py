"""Costs of a step: cases computed by hand with given constants, and facts that must hold."""

from __future__ import annotations

import json
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import pytest
from training import Inside, write_corpus, write_recipe

from majelpy import tree
from majelpy.errors import WorldError
from majelpy.mesh import ALONE, Mesh
from majelpy.nn.layers import read
from majelpy.nn.model import Architecture
from majelpy.nn.networks import deep_speech_1
from majelpy.plan.communication import exchanges, exposed, gradient_sum, most_nodes
from majelpy.plan.compute import Clock, parameters, step
from majelpy.plan.constants import Cluster, CtcRates, GemmRates, Link, Links, Rates, RecurrentRates
from majelpy.plan.memory import block, memory
from majelpy.plan.model import Planner
from majelpy.plan.spread import Spread
from majelpy.plan.workload import Utterance, Workload, workload
from majelpy.recipes.recipe import load

pytest_plugins = ["training"]

FREE = 1e30
"""A rate at which something costs nothing."""

MODEL = Architecture(3, 5, deep_speech_1(1, (32, 64), 48, 32))
DROPPED = Architecture(3, 5, deep_speech_1(1, (32, 64), 48, 32, dropout=0.5))
WIDE = deep_speech_1(1, (32, 32, 200), 16, 16)
LEAVES = 8
MINIBATCH = tuple((Utterance(10 + i, 2), Utterance(6, 1)) for i in range(LEAVES))


def rates(**given: float) -> Rates:
    """Rates at which only what is given costs anything; units as in the cluster file."""
    return Rates(
        gemm=GemmRates((1,), (1,), (1,), (given.get("gemm", FREE),)),
        recurrent=RecurrentRates((1,), (1,), (given.get("recurrent", FREE),)),
        ctc=CtcRates((1,), (given.get("ctc", FREE),)),
        elementwise_gb_s=given.get("elementwise", FREE),
        optimizer_gb_s=given.get("optimizer", FREE),
        digest_gb_s=given.get("digest", FREE),
        softmax_mega_per_s=given.get("softmax", FREE),
        dropout_mega_per_s=given.get("dropout", FREE),
        call_us=given.get("call", 0.0),
    )


def cluster(hosts: int = 1, local: int = 8, sockets: int = 1, **given: float) -> Cluster:
    links = Links(socket=Link(1.0, 10.0), host=Link(2.0, 5.0), fabric=Link(4.0, 2.0))
    return Cluster(links, rates(**given), hosts, sockets, local, local)


def work(parts: int = 2, dropout: bool = False, transport_bytes: int = 4) -> Workload:
    model = DROPPED if dropout else MODEL
    return Workload(model, LEAVES, parts, transport_bytes, (MINIBATCH,), "a test")


FRAMES = sum(u.frames for leaf in MINIBATCH for u in leaf)
PRODUCTS = 9 * 32 + 32 * 64 + 64 * 96 + 48 * 32 + 32 * 5
"""Weights of the dense layers and of the recurrent layer's input."""


def compute(mesh: Mesh, leaves: int = LEAVES, dropout: bool = False, **given: float) -> float:
    return step(work(dropout=dropout), mesh, 0, MINIBATCH[:leaves], Clock(rates(**given))).total


# --- computing ------------------------------------------------------------------------------


def test_products_by_hand() -> None:
    # Forward, by the input (not of the first layer) and by the weights, 2 operations each; the
    # recurrent weights have gradients of their own, by all frames.
    operations = 2 * FRAMES * (3 * PRODUCTS - 9 * 32 + 2 * 48 * 48)
    assert compute(ALONE, gemm=1.0) == pytest.approx(operations * 1e-9)


def test_the_recurrence_by_hand() -> None:
    clock = Clock(rates(recurrent=1.0))
    # Frames 5, 3, 3: three steps of 3 utterances and two of 1, and none of 2.
    assert clock.recurrence([3, 5, 3], 10) == pytest.approx((3 * 3 + 2 * 1) * 2 * 100 * 1e-9)
    both_passes = 2 * 2 * FRAMES * 2 * 48 * 48 * 1e-9
    assert compute(ALONE, recurrent=1.0) == pytest.approx(both_passes)


def test_ctc_softmax_dropout_and_update_by_hand() -> None:
    lattice = sum(u.frames * (2 * u.labels + 1) for leaf in MINIBATCH for u in leaf)
    alone = ALONE
    assert compute(alone, ctc=1.0) == pytest.approx(lattice * 1e-6)
    assert compute(alone, softmax=1.0) == pytest.approx(FRAMES * 5 * 1e-6)
    assert compute(alone, dropout=False) == pytest.approx(0)
    dropped = step(work(dropout=True), alone, 0, MINIBATCH, Clock(rates(dropout=1.0)))
    assert dropped.total == pytest.approx(2 * FRAMES * (32 + 64 + 32) * 1e-6)
    count = parameters(work(), alone)
    assert compute(alone, optimizer=1.0) == pytest.approx(24 * count * 1e-9)
    two = step(
        replace(work(), optimizer_states=2), alone, 0, MINIBATCH, Clock(rates(optimizer=1.0))
    )
    assert two.total == pytest.approx(32 * count * 1e-9)
    assert compute(alone, digest=1.0) == pytest.approx(0.4 * count * 1e-9)


def test_parameters_are_those_of_the_model() -> None:
    model = work().model(ALONE)
    count = sum(p.size for p in model.layout.parameters)
    assert parameters(work(), Mesh(4)) == parameters(work(), Mesh(4, 2, "time")) == count
    floats = [n for _, n in step(work(), ALONE, 0, MINIBATCH, Clock(rates())).backward]
    assert sum(floats) == count
    direction = 48 * (64 + 48 + 1)
    assert parameters(work(), Mesh(4, 2, "directions")) == count - direction


def test_a_hidden_rank_has_the_largest_share_in_whole_lines() -> None:
    # Parts of whole lines: 16 of 32 units, 32 of 48 and of 64; all of the logits.
    dense = 16 * (9 + 1) + 32 * (32 + 1) + 16 * (48 + 1) + 5 * (32 + 1)
    assert parameters(work(), Mesh(1, 2, "hidden")) == dense + 2 * 32 * (64 + 48 + 1)


def test_by_time_ranks_halve_the_frames_but_not_ctc() -> None:
    half = sum(-(-u.frames // 2) for leaf in MINIBATCH for u in leaf) / FRAMES
    for name in ("gemm", "recurrent", "softmax"):
        whole = compute(ALONE, **{name: 1.0})
        assert compute(Mesh(1, 2, "time"), **{name: 1.0}) == pytest.approx(whole * half), name
    assert compute(Mesh(1, 2, "time"), ctc=1.0) == compute(ALONE, ctc=1.0)


def test_by_directions_ranks_halve_the_recurrence() -> None:
    whole = compute(ALONE, recurrent=1.0)
    assert compute(Mesh(1, 2, "directions"), recurrent=1.0) == pytest.approx(whole / 2)
    operations = 2 * FRAMES * (3 * (PRODUCTS - 64 * 48) - 9 * 32 + 48 * 48)
    assert compute(Mesh(1, 2, "directions"), gemm=1.0) == pytest.approx(operations * 1e-9)


LISTS: dict[str, list[dict[str, object]]] = {
    "dense": [{"layer": "dense", "units": 32}, {"layer": "dense", "units": 48}],
    "one direction": [{"layer": "rnn", "units": 64}, {"layer": "rnn", "units": 64}],
    "two of both": [
        {"layer": "context", "frames": 2},
        {"layer": "birnn", "units": 32},
        {"layer": "dropout", "rate": 0.5},
        {"layer": "birnn", "units": 64},
    ],
    "convolution": [
        {"layer": "conv", "channels": 16, "kernel": [5, 3], "stride": [2, 2], "batch_norm": True},
        {"layer": "conv", "channels": 16, "kernel": [3, 3]},
        {"layer": "birnn", "units": 48, "batch_norm": True},
    ],
    "gates": [
        {"layer": "gru", "units": 32},
        {"layer": "bilstm", "units": 48},
        {"layer": "lstm", "units": 32, "batch_norm": True},
    ],
    "norms": [
        {"layer": "dense", "units": 64, "batch_norm": True},
        {"layer": "layer_norm"},
        {"layer": "rnn", "units": 64},
        {"layer": "batch_norm"},
        {"layer": "row_conv", "future": 4},
    ],
}


def of_layers(layers: list[dict[str, object]], features: int = 3) -> Workload:
    architecture = Architecture(features, 5, read(layers, "a test", ""))
    return Workload(architecture, LEAVES, 2, 4, (MINIBATCH,), "a test")


def seconds(layers: list[dict[str, object]], mesh: Mesh, **given: float) -> float:
    return step(of_layers(layers), mesh, 0, MINIBATCH, Clock(rates(**given))).total


@pytest.mark.parametrize("layers", LISTS.values(), ids=LISTS)
def test_parameters_of_any_list_are_those_of_the_model(layers: list[dict[str, object]]) -> None:
    found = of_layers(layers)
    count = sum(p.size for p in found.model(ALONE).layout.parameters)
    alone = ALONE
    assert parameters(found, alone) == parameters(found, Mesh(1, 2, "time")) == count
    backward = step(found, alone, 0, MINIBATCH, Clock(rates())).backward
    assert sum(floats for _, floats in backward) == count


def test_products_of_any_list_by_hand() -> None:
    # Forward, by the weights, and by the input of all but the first; 2 operations each.
    dense = 3 * (3 * 32 + 32 * 48 + 48 * 5) - 3 * 32
    alone = ALONE
    found = seconds(LISTS["dense"], alone, gemm=1.0)
    assert found == pytest.approx(2e-9 * FRAMES * dense)
    # The recurrent weights have gradients alone; their steps have a rate of their own.
    rnn = 3 * (3 * 64 + 64 * 64 + 64 * 5) - 3 * 64 + 2 * 64 * 64
    found = seconds(LISTS["one direction"], alone, gemm=1.0)
    assert found == pytest.approx(2e-9 * FRAMES * rnn)
    found = seconds(LISTS["one direction"], alone, recurrent=1.0)
    assert found == pytest.approx(2 * 2 * 2e-9 * FRAMES * 64 * 64)


def test_a_convolution_by_hand() -> None:
    # 3 features are 2 places, 5 x 3 inputs each; then 2 places of 3 x 3 x 16. A frame of two.
    frames = sum(-(-u.frames // 2) for leaf in MINIBATCH for u in leaf)
    weights = 2 * 16 * 15 + 2 * 16 * 144 + 96 * (2 * 16) + 48 * 5
    operations = 2 * frames * (3 * weights - 2 * 16 * 15 + 2 * 48 * 48)
    alone, layers = ALONE, LISTS["convolution"]
    assert seconds(layers, alone, gemm=1.0) == pytest.approx(operations * 1e-9)
    lattice = sum(-(-u.frames // 2) * (2 * u.labels + 1) for leaf in MINIBATCH for u in leaf)
    assert seconds(layers, alone, ctc=1.0) == pytest.approx(lattice * 1e-6)
    recurrence = 2 * 2 * frames * 2 * 48 * 48 * 1e-9
    assert seconds(layers, alone, recurrent=1.0) == pytest.approx(recurrence)


def test_gates_by_hand() -> None:
    # A step of a gate costs what one of a plain recurrent layer costs.
    alone, layers = ALONE, LISTS["gates"]
    steps = 3 * 32 * 32 + 2 * 4 * 48 * 48 + 4 * 32 * 32
    found = seconds(layers, alone, recurrent=1.0)
    assert found == pytest.approx(2e-9 * FRAMES * 2 * steps)
    inputs = 3 * 32 * 3 + 2 * 4 * 48 * 32 + 4 * 32 * 48 + 5 * 32
    found = seconds(layers, alone, gemm=1.0)
    assert found == pytest.approx(2e-9 * FRAMES * (3 * inputs - 3 * 32 * 3 + steps))
    halves = seconds(layers, Mesh(1, 2, "directions"), recurrent=1.0)
    assert halves == pytest.approx(2e-9 * FRAMES * 2 * (steps - 4 * 48 * 48))


def test_normalisation_and_row_convolution_by_hand() -> None:
    # Forward, then backward, floats a unit: product with normalisation and rectifier, layer norm,
    # recurrent layer with its bias, batch norm, row convolution of 5 frames; then the logits.
    passes = 64 * (4 + 0 + 2 + 4 + 6) + 2 * 5
    passes += 64 * ((5 + 3) + 2 + (2 + 1) + 5 + 2 * 6) + 5
    alone, layers = ALONE, LISTS["norms"]
    leaves = 3 * sum(tree.merges(LEAVES, 0, LEAVES)) * (64 * (3 + 64 + 64) + 64 * 5)
    expected = 4e-9 * (FRAMES * passes + leaves)
    assert seconds(layers, alone, elementwise=1.0) == pytest.approx(expected)
    rows = FRAMES * (2 * 64 + 5) * 1e-6
    assert seconds(layers, alone, softmax=1.0) == pytest.approx(rows)


def test_one_direction_keeps_the_other_half_of_the_frames_waiting() -> None:
    alone, halves = ALONE, Mesh(1, 2, "time")
    one = LISTS["one direction"]
    assert seconds(one, halves, recurrent=1.0) == seconds(one, alone, recurrent=1.0)
    assert seconds(one, halves, gemm=1.0) < seconds(one, alone, gemm=1.0)
    both = LISTS["two of both"]
    assert seconds(both, halves, recurrent=1.0) < seconds(both, alone, recurrent=1.0)


def test_directions_divide_layers_that_have_two() -> None:
    alone, directions = ALONE, Mesh(1, 2, "directions")
    one, both = LISTS["one direction"], LISTS["two of both"]
    whole = seconds(both, alone, recurrent=1.0)
    assert seconds(both, directions, recurrent=1.0) == pytest.approx(whole / 2)
    assert seconds(one, directions, recurrent=1.0) == seconds(one, alone, recurrent=1.0)
    held = [parameters(of_layers(layers), directions) for layers in (one, both)]
    halves = 32 * (5 * 3 + 32 + 1) + 64 * (32 + 64 + 1)
    assert held[0] == parameters(of_layers(one), alone)
    assert held[1] == parameters(of_layers(both), alone) - halves


# --- communication --------------------------------------------------------------------------


def test_one_rank_sends_nothing() -> None:
    total = gradient_sum(
        Spread(cluster(elementwise=1.0), ALONE), LEAVES, 1000, Clock(rates()), 4096
    )
    assert (total.adds, total.messages, total.sent_bytes) == (0, 0, 0)


def test_the_sum_within_a_host_by_hand() -> None:
    # 4 ranks: each adds a quarter of the vector, reading its own node and 3 foreign ones.
    place = Spread(cluster(), Mesh(4))
    total = gradient_sum(place, LEAVES, 4000, Clock(rates(elementwise=1.0)), 4096)
    own, foreign, barriers = 4 * (1000 + 1000) / 1e9, 4 * 3000 / 10e9, 2 * 2 * 1e-6
    assert total.adds == pytest.approx(own + foreign + barriers)
    assert (total.messages, total.sent_bytes) == (0, 0)


def test_the_sum_between_hosts_by_hand() -> None:
    # 2 hosts of 2 ranks, a vector of 16,000 bytes in 4 buckets: 2 S (H-1)/H bytes a host; for each
    # bucket a rank sends a node for one foreign chunk, and its result.
    place = Spread(cluster(hosts=2, local=2), Mesh(4))
    total = gradient_sum(place, LEAVES, 4000, Clock(rates()), 4096)
    assert total.sent_bytes == 16_000
    assert total.messages == pytest.approx(16_000 / 2e9 + 4 * 2 * 4e-6)


def test_gradients_of_16_bits_halve_the_bytes_between_hosts() -> None:
    machine = cluster(hosts=2, local=2)
    both = [
        Planner(work(transport_bytes=size), machine, bucket_bytes=4096).of(Mesh(4))
        for size in (2, 4)
    ]
    assert 2 * both[0].sent_bytes == both[1].sent_bytes > 0
    assert both[0].compute == both[1].compute


def test_nodes_where_leaves_do_not_divide() -> None:
    # 8 leaves on 3 ranks: 01 | 23 4 | 5 67; a host of two ranks adds up to 0123 and 4.
    assert most_nodes(8, 3, 1) == (2, 2)
    assert most_nodes(8, 3, 2) == (3, 2)
    assert most_nodes(8, 8, 4) == (4, 1)


def test_messages_hide_behind_the_layers_that_follow() -> None:
    backward = [(1.0, 10), (1.0, 10), (2.0, 20)]
    assert exposed(backward, 0.0) == 0
    # Ready at 1, 2, 4: a quarter, a quarter and a half of 2 seconds.
    assert exposed(backward, 2.0) == pytest.approx(1.0)
    # A quarter from 1 to 3, a quarter to 5, a half to 9.
    assert exposed(backward, 8.0) == pytest.approx(5.0)


LINK = Link(1.0, 1.0)
TWO = MINIBATCH[:1]  # utterances of 10 and 6 frames


def test_exchanges_of_any_list_by_hand() -> None:
    def found(name: str, way: str) -> float:
        return exchanges(of_layers(LISTS[name]), Mesh(1, 2, way), TWO, LINK)

    logits = 1e-6 + 4 * 16 * 5 / 2 / 1e9
    assert found("dense", "directions") == found("one direction", "directions") == 0
    assert found("dense", "time") == pytest.approx(logits)
    states = 4 * 1e-6 + 4 * 2 * (64 + 64 + 64 + 64) / 1e9
    assert found("one direction", "time") == pytest.approx(logits + states)
    # Beside the middle: 2 frames of 3 features; 1 of 32 columns forward and backward. Of 1 leaf
    # 4 sums of a column for each layer with normalisation, in 3 messages. States.
    beside = 3 * 1e-6 + 4 * 2 * (2 * 3 + 32 + 32) / 1e9
    sums = 2 * 3 * 1e-6 + 4 * 4 * (32 + 96) / 1e9
    states = 2 * 1e-6 + 4 * 2 * 2 * 48 / 1e9
    half = 1e-6 + 4 * 8 * 5 / 2 / 1e9
    assert found("convolution", "time") == pytest.approx(beside + sums + states + half)
    # GRU: h forward, 3 gates' gradients and that of h backward; LSTM: h and c, 4 and that of c.
    states = 6 * 1e-6 + 4 * 2 * (5 * 32 + 7 * 48 + 7 * 32) / 1e9
    sums = 3 * 1e-6 + 4 * 4 * (4 * 32) / 1e9
    assert found("gates", "time") == pytest.approx(logits + states + sums)
    # States of both layers, and the gradient by the second one's input.
    both = 3 * 1e-6 + 4 * 16 * (32 + 64 + 32) / 1e9
    assert found("two of both", "directions") == pytest.approx(both)


def test_exchanges_of_directions_by_hand() -> None:
    by_hand = 2 * 1e-6 + 4 * 16 * (48 + 64) / 1e9
    assert exchanges(work(), Mesh(1, 2, "directions"), TWO, LINK) == pytest.approx(by_hand)


def test_exchanges_of_time_by_hand() -> None:
    # States of both passes, half of the log-probabilities, a frame of 3 features of either half.
    by_hand = 4 * 1e-6 + 4 * (2 * 2 * 48 + 16 * 5 / 2 + 2 * 3) / 1e9
    assert exchanges(work(), Mesh(1, 2, "time"), TWO, LINK) == pytest.approx(by_hand)


def test_exchanges_of_hidden_by_hand() -> None:
    # Half of each: all-gathers of 4 inputs and of both directions' states, reduce-scatters of 3
    # gradients, one of them by each direction; 9 time steps, forward of both directions at once,
    # of 2 utterances for 5 of them; and the norm.
    layers = (32 + 64 + 48 + 32) + 2 * 48 + (32 + 2 * 64 + 48)
    states = 2 * (5 * 2 + 4 * 1) * 2 * 48
    messages = 6 + 4 + 3 * 9 + 1
    by_hand = messages * 1e-6 + 4 * (16 * layers + states) / 2 / 1e9 + 8 / 1e9
    assert exchanges(work(), Mesh(1, 2, "hidden"), TWO, LINK) == pytest.approx(by_hand)
    assert exchanges(work(), Mesh(2), TWO, LINK) == 0


# --- where ranks lie ------------------------------------------------------------------------


def test_more_ranks_than_the_cluster_has_are_refused_by_name() -> None:
    with pytest.raises(WorldError, match=r"plan: 16 ranks for hosts x ranks_per_host = 1 x 8; "):
        Planner(work(), cluster(), bucket_bytes=4096).predict([16])


@pytest.mark.parametrize(
    ("hosts", "local", "sockets", "mesh", "link"),
    [
        (1, 8, 1, Mesh(2, 4, "hidden"), Link(1.0, 10.0)),
        (1, 8, 2, Mesh(2, 4, "hidden"), Link(1.0, 10.0)),
        (1, 8, 2, Mesh(1, 8, "hidden"), Link(2.0, 5.0)),
        (1, 8, 4, Mesh(2, 4, "hidden"), Link(2.0, 5.0)),
        (2, 4, 1, Mesh(1, 8, "hidden"), Link(4.0, 0.5)),  # 4 ranks share the host's way out
        (2, 3, 1, Mesh(3, 2, "hidden"), Link(4.0, 2 / 3)),  # one pair lies on both hosts
    ],
)
def test_the_link_of_a_model_axis(
    hosts: int, local: int, sockets: int, mesh: Mesh, link: Link
) -> None:
    place = Spread(cluster(hosts, local, sockets), mesh)
    assert place.model_link() == link


# --- whole predictions ----------------------------------------------------------------------

ALL = {
    "gemm": 50.0, "recurrent": 50.0, "ctc": 100.0, "elementwise": 10.0, "optimizer": 10.0,
    "digest": 1.0, "softmax": 200.0, "dropout": 400.0, "call": 1.0,
}  # fmt: skip


def planner(hosts: int = 4, overlap: bool = True, **changed: float) -> Planner:
    machine = cluster(hosts, 8, 2, **{**ALL, **changed})
    return Planner(work(), machine, bucket_bytes=4096, overlap=overlap)


RANKS = [1, 2, 4, 6, 8, 16, 32]


def test_each_count_has_one_fastest_mesh_and_rows_ascend() -> None:
    found = planner().predict([8, 1, 2, 2])
    assert [row.mesh.ranks for row in found] == [1, 2, 2, 2, 2, *[8] * 4]
    for ranks in (1, 2, 8):
        rows = [row for row in found if row.mesh.ranks == ranks]
        (best,) = [row for row in rows if row.best]
        assert best.step == min(row.step for row in rows)
    assert found[0].efficiency == 1 and found[0].exposed == found[0].hidden == 0


def test_computing_shrinks_with_data_ranks_and_never_below_its_share() -> None:
    rows = [planner().of(Mesh(ranks)) for ranks in (1, 2, 3, 4, 6, 8)]
    assert all(a.compute >= b.compute for a, b in pairwise(rows))
    assert all(row.step * row.mesh.ranks >= rows[0].step for row in rows)
    assert all(a.memory.pool >= b.memory.pool for a, b in pairwise(rows))


def test_uneven_leaves_show_as_imbalance() -> None:
    even, uneven = (planner().of(Mesh(ranks)) for ranks in (4, 6))
    assert 1 <= even.imbalance < 1.2 < uneven.imbalance < 2


@pytest.mark.parametrize("row", range(len(planner().predict([16]))))
def test_better_constants_never_slow_a_mesh(row: int) -> None:
    base = planner().predict([16])[row]
    for name, value in ALL.items():
        better = value / 2 if name == "call" else value * 2
        assert planner(**{name: better}).predict([16])[row].step < base.step or name == "dropout"
    assert planner(overlap=False).predict([16])[row].step >= base.step
    fast = planner()
    links = fast.cluster.links
    fast.cluster = replace(fast.cluster, links=replace(links, fabric=Link(1.0, 20.0)))
    assert fast.predict([16])[row].step < base.step


def test_a_latency_bound_link_is_worst_for_hidden() -> None:
    found = {row.mesh.way: row for row in planner().predict([2])}
    slow = planner()
    slow.cluster = replace(slow.cluster, links=Links(*[Link(1000.0, 10.0)] * 3))
    grown = {r.mesh.way: r.step - found[r.mesh.way].step for r in slow.predict([2])}
    # Two messages a time step, against three or less a pass.
    assert grown["hidden"] > 5 * max(grown["time"], grown["directions"], grown[""])


# --- memory and workloads -------------------------------------------------------------------


def test_blocks_are_those_of_the_pool() -> None:
    assert [block(n) for n in (0, 1, 64, 65, 1000)] == [0, 256, 256, 512, 4096]


def test_hidden_ranks_keep_less_and_others_the_same() -> None:
    whole = memory(work(), ALONE, MINIBATCH)
    hidden = memory(work(), Mesh(1, 2, "hidden"), MINIBATCH)
    time = memory(work(), Mesh(1, 2, "time"), MINIBATCH)
    vector = work().model(ALONE).layout.gradient_size
    assert whole.slots == 4 * vector * 5  # 8 leaves of 2 parts: a stack of 5
    assert hidden.slots < whole.slots
    assert time.slots == 4 * vector * (8 + 1)  # a half of each leaf, and the result
    assert time.pool < whole.pool


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"model__layers": list(WIDE), "data__leaves": 1},
        *({"model__layers": layers} for layers in LISTS.values()),
        {"model__layers": LISTS["two of both"], "model__parts": 2},
    ],
    ids=["dropout", "wide", *LISTS, "parts"],
)
def test_the_pool_of_a_real_training_is_predicted_within_a_twentieth(
    changes: dict[str, object], tmp_path: Path, inside: Inside
) -> None:
    write_corpus(tmp_path / "train.h5")
    recipe = write_recipe(tmp_path / "recipe.toml", tmp_path / "train.h5", **changes)
    said = inside("train", recipe, "--out", tmp_path / "run", "--steps", "5")
    assert said.code == 0, said.err
    lines = (tmp_path / "run" / "timings.jsonl").read_text().splitlines()
    measured = max(json.loads(line)["pool_peak_bytes"] for line in lines)
    found = workload(load(str(recipe)))
    alone = ALONE
    predicted = max(memory(found, alone, minibatch).pool for minibatch in found.minibatches)
    assert predicted == pytest.approx(measured, rel=0.05)


def test_a_corpus_gives_the_minibatches_of_its_first_epoch(tmp_path: Path) -> None:
    write_corpus(tmp_path / "train.h5")
    recipe = load(str(write_recipe(tmp_path / "r.toml", tmp_path / "train.h5")))
    found = workload(recipe)
    assert len(found.minibatches) == 5  # 32 utterances, 7 at a time
    utterances = [u for minibatch in found.minibatches for leaf in minibatch for u in leaf]
    assert len(utterances) == 32 and all(len(minibatch) == 8 for minibatch in found.minibatches)
    assert (found.architecture.features, found.architecture.alphabet) == (12, 6)
    assert all(0 < u.labels < u.frames for u in utterances)
    # A dev corpus that is not here changes nothing but that nobody is held out.
    elsewhere = replace(recipe, data=replace(recipe.data, dev="/elsewhere.h5"))
    counts = [sum(map(len, minibatch)) for minibatch in workload(elsewhere).minibatches]
    assert sum(counts) == 40


def test_without_a_corpus_utterances_are_of_one_length() -> None:
    recipe = load("digits")
    found = workload(recipe, frames=70, features=20)
    (minibatch,) = found.minibatches
    assert [len(leaf) for leaf in minibatch] == [4] * 8
    assert {u for leaf in minibatch for u in leaf} == {Utterance(70, 10)}
    assert (found.architecture.features, found.architecture.alphabet) == (20, 29)
    assert "70 frames" in found.source and "no corpus" in found.source
