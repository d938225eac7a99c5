"""Every GPU driver and its launch, on emulated blocks and threads, against the CPU: equal bits."""

from __future__ import annotations

import inspect
import json
import random
import re
from typing import Any

import gpu_cases
import numpy as np
import one_case
import pytest
from emulation import Emulation, Memory
from extras import extra
from gpu_cases import all_cases, elsewhere, program, tree_sums
from makers import digest, level_data, same_bits, touchy_data
from one_case import Case, Out, on_cpu, on_device
from paths import GOLDEN

from majelpy import native
from majelpy.errors import BuildError
from majelpy.gpu import build, gemm, rnn
from majelpy.gpu.launches import FAMILIES, LAUNCHES, PLAIN, QUADS, plain
from majelpy.gpu.rnn_shape import Shape, Sums, shapes
from majelpy.memory.numbering import BINARY, CLASSES, COMPARISONS, UNARY

CASES = all_cases()
EVERY_PLACE = GOLDEN / "every_place.json"


def check(case: Case, on: Emulation) -> None:
    one_case.check(case, on, LAUNCHES[case.entry])


def test_golden_digests() -> None:
    assert json.loads(EVERY_PLACE.read_text()) == {c.name: digest(*on_cpu(c)) for c in CASES}


@pytest.mark.parametrize("case", CASES, ids=lambda c: c.name)
def test_equal_bits(case: Case) -> None:
    check(case, Emulation())


def test_equal_bits_wherever_arrays_lie() -> None:
    on = Emulation()
    for case, lying in elsewhere():
        one_case.check(case, on, LAUNCHES[case.entry], **lying)
    assert {f"{entry}_kernel" for entry in QUADS} <= {*on.launched}


EXCHANGING = {"gemm", "rnn", "log", "ctc", "square", "spectrogram", "layer", "conv"}
# Kernels whose threads exchange numbers, once more in other orders of the threads.
MEETING = [
    case
    for case in CASES
    if case.entry.split("_")[1] in EXCHANGING
    or (case.entry in ("mj_reduce", "mj_cumulate") and case.name.startswith(("sum", "cumulative")))
]


@pytest.mark.parametrize("order", [1, *extra(20)])
@pytest.mark.parametrize("case", MEETING, ids=lambda c: c.name)
def test_threads_in_any_order(case: Case, order: int) -> None:
    check(case, Emulation(order=order))


PRODUCTS = [c for c in CASES if c.entry in ("mj_gemm", "mj_gemm_leaves")]


@pytest.mark.parametrize("way", gemm.WAYS, ids=lambda w: w.name)
@pytest.mark.parametrize("case", PRODUCTS[::3], ids=lambda c: c.name)
def test_every_way_of_a_product(case: Case, way: gemm.Way, monkeypatch: Any) -> None:
    monkeypatch.setattr(gemm, "choose", gpu_cases.only(way))
    on = Emulation()
    check(case, on)
    launched = {k for k in on.launched if k.startswith("mj_gemm")}
    kinds = (f"mj_gemm_{way.tile.name}_kernel", f"mj_gemm_{way.tile.name}_chunks_kernel")
    assert launched <= set(kinds[: 1 + way.by_chunks])


def test_products_are_done_in_the_way_that_costs_least() -> None:
    h200 = (132, 227 << 10)

    def chosen(m: int, n: int, k: int, chunk: int = 256) -> str:
        return gemm.choose(*h200, m, n, k, -(-k // chunk), gemm.WAYS).name

    assert chosen(16_384, 2048, 2048) == "128x128"
    assert chosen(1024, 1024, 1024) == "128x128 by chunks"
    assert chosen(20_000, 29, 2048) == "128x32 by chunks"
    assert chosen(200_000, 29, 2048) == "128x32"
    assert chosen(32, 5280, 1760) == "32x128 by chunks"
    assert chosen(2048, 2048, 20_000) == "128x128"
    assert chosen(1760, 1760, 20_000) == "128x32"  # large tiles would fill 1.5 rounds of 2
    turing = gemm.choose(40, 64 << 10, 16_384, 2048, 2048, 8, gemm.WHOLE)
    assert turing.name != "128x128"  # its totals do not fit


RECURRENT = [c for c in CASES if c.entry in ("mj_rnn_forward_rows", "mj_rnn_backward_rows")]


@pytest.mark.parametrize("case", RECURRENT, ids=lambda c: c.name)
@pytest.mark.parametrize("multiprocessors", [7, *extra(1, 24)])
def test_persistent_layers_on_any_number_of_blocks(case: Case, multiprocessors: int) -> None:
    on = Emulation(multiprocessors=multiprocessors, shared_bytes=1 << 21)
    check(case, on)
    assert all("persistent" in k or k == "mj_rnn_carried_kernel" for k in on.launched)


@pytest.mark.parametrize("case", RECURRENT, ids=lambda c: c.name)
def test_layers_step_by_step(case: Case, monkeypatch: Any) -> None:
    monkeypatch.setattr(rnn, "persistent_shape", lambda *_: None)
    on = Emulation()
    check(case, on)
    assert not any("persistent" in kernel for kernel in on.launched)


# Each case once, and with the other seeds by --all.
ONCE = [(case, i % 6) for i, case in enumerate(RECURRENT)]
REST = [(case, (i + j) % 6) for i, case in enumerate(RECURRENT) for j in range(1, 6)]


@pytest.mark.parametrize(
    ("case", "seed"), [*ONCE, *extra(*REST)], ids=lambda x: x.name if isinstance(x, Case) else x
)
def test_persistent_layers_cut_in_any_way(case: Case, seed: int, monkeypatch: Any) -> None:
    """Shapes that no estimate would choose: rounds, short rings, all tiles."""
    rng = random.Random(f"{case.name} {seed}")
    monkeypatch.setattr(rnn, "persistent_shape", lambda *sizes: rng.choice(cuts(*sizes)))
    multiprocessors = (3, 7, 24)[seed % 3]
    on = Emulation(seed, multiprocessors, shared_bytes=1 << 22)
    check(case, on)
    assert all("persistent" in k or k == "mj_rnn_carried_kernel" for k in on.launched)


def cuts(
    multiprocessors: int, shared_bytes: int, directions: int, utterances: int, *sizes: int
) -> list[Shape]:
    """Return ways to cut a layer, as many that have rounds as that have none."""
    sums = Sums.of(*sizes)
    at_once = directions if directions <= multiprocessors else 1
    found = list(shapes(sums, multiprocessors, shared_bytes, utterances, at_once))
    several = [shape for shape in found if shape.rounds > 1]
    return [*found, *several * (len(found) // max(1, len(several)))]


def test_recurrent_layers_take_every_way() -> None:
    def shape(hidden: int, gates: int = 1, states: int = 1, parts: int = 1) -> Any:
        found = rnn.persistent_shape(132, 227 * 1024, 2, 32, hidden, parts, gates, states)
        if found is None:
            return None
        assert found.shared <= 227 * 1024 and 2 <= found.ring <= 8 and found.rounds == 1
        assert found.blocks * found.groups * found.at_once <= 132
        return found.columns, found.groups, found.at_once, found.thread_rows, found.tile

    assert shape(1760) == (27, 1, 2, 4, 7)
    assert shape(1024) == (32, 2, 2, 2, 4)
    assert shape(512) == (64, 8, 2, 1, 2)
    assert shape(2048) == (16, 1, 1, 4, 4)
    assert shape(4096) is None
    assert [shape(1024, 3, states) for states in (1, 3)] == [(16, 1, 2, 4, 4)] * 2
    assert [shape(512, 4, states) for states in (1, 4)] == [(16, 2, 2, 2, 4)] * 2
    assert [shape(1280, 4, states) for states in (1, 4)] == [(10, 1, 1, 8, 4), (10, 1, 1, 8, 2)]
    assert [shape(1760, gates, gates) for gates in (3, 4)] == [None, None]
    assert shape(1760, parts=64) is None


def test_many_utterances_do_not_fit_on_the_chip() -> None:
    assert rnn.persistent_shape(4, 64 * 1024, 1, 4_000, 64, 1, 1, 1) is not None
    assert rnn.persistent_shape(4, 64 * 1024, 1, 100_000, 64, 1, 1, 1) is None


@pytest.mark.parametrize("rounded", [0, 1])
@pytest.mark.parametrize(("leaves", "count"), list(tree_sums()))
def test_tree_sum(leaves: int, count: int, rounded: int) -> None:
    merges = program(leaves)
    open_nodes = leaves - int(merges.sum())
    vectors = [touchy_data(count, seed) for seed in range(leaves)]
    expected = [np.zeros(count, np.float32) for _ in range(open_nodes)]
    sources = np.array([v.ctypes.data for v in vectors], dtype=np.int64)
    targets = np.array([v.ctypes.data for v in expected], dtype=np.int64)

    def arguments(a: np.ndarray, b: np.ndarray) -> tuple[int, ...]:
        outputs = (open_nodes, b.ctypes.data, count, rounded)
        return (leaves, a.ctypes.data, merges.ctypes.data, *outputs)

    native.library().mj_tree_sum(*arguments(sources, targets))
    on = Emulation()
    inputs = [on.upload(v) for v in vectors]
    outputs = [Memory(4 * count) for _ in expected]
    sources = np.array([m.pointer for m in inputs], dtype=np.int64)
    targets = np.array([m.pointer for m in outputs], dtype=np.int64)
    LAUNCHES["mj_tree_sum"](on, *arguments(sources, targets))
    assert all(same_bits(e, m.array(count)) for e, m in zip(expected, outputs, strict=True))


def test_spectrogram_with_a_window_beyond_shared_memory() -> None:
    samples = level_data(900, 1, 1.0)
    case = Case("wide", "mj_spectrogram", (3, 700, 100, samples, Out((3, 351))))
    check(case, Emulation(shared_bytes=8000))


FUNCTIONS = {"unary": UNARY, "binary": BINARY, "compare": COMPARISONS, "classify": CLASSES}
"""Functions of the array library that have a kernel each."""


def test_every_kernel_and_every_entry_point_has_a_case() -> None:
    text = "".join(inspect.getsource(module) for module in FAMILIES)
    ways = [way.name for way in (*rnn.FORWARD, *rnn.BACKWARD)]
    text = "".join(text.replace("self.way", "way").replace("{way.name}", way) for way in ways)
    text = "".join(text.replace("{tile.name}", tile.name) for tile in gemm.TILES)
    named = {*re.findall(r'"(mj_\w+_kernel)"', text), *(f"{entry}_kernel" for entry in PLAIN)}
    for kind, names in FUNCTIONS.items():
        named |= {f"mj_{kind}_{name}_kernel" for name in names}
    assert named == set(build.programs())
    assert set(LAUNCHES) - {case.entry for case in CASES} == {"mj_tree_sum"}
    header = native.parameters_of((build.folder() / "entry_points.h").read_text())
    assert set(LAUNCHES) <= set(header)
    for name, launch in LAUNCHES.items():
        if name not in PLAIN:
            assert len(inspect.signature(launch).parameters) == len(header[name]) + 1, name


def test_an_entry_point_has_one_launch() -> None:
    written = [name for family in FAMILIES for name in vars(family) if name.startswith("mj_")]
    assert len({*written}) == len(written) and not {*written} & {*PLAIN}
    with pytest.raises(ValueError, match="number"):
        plain("mj_add_arrays", ("number",))


def test_constants_are_those_of_the_kernels() -> None:
    assert build.constant("MJ_CHUNK") == 256
    with pytest.raises(BuildError, match=r"MJ_LANES: .* define it 3 times; needs once$"):
        build.constant("MJ_LANES")


def test_the_comparison_sees_another_order() -> None:
    case = next(c for c in CASES if c.name == "sum rows 1000x7")
    rows, columns, x, out = case.arguments
    turned = Case("turned", case.entry, (rows, columns, x[::-1].copy(), out))
    assert not same_bits(on_cpu(case)[0], on_device(turned, Emulation(), LAUNCHES[case.entry])[0])
