"""Every GPU driver and its plan, on emulated blocks and threads, against the CPU: equal bits."""

from __future__ import annotations

import inspect
from typing import Any

import numpy as np
import pytest
from emulation import Emulation, Memory
from gpu_cases import Case, HostOut, Out, all_cases, program, tree_sums
from makers import level_data, same_bits, touchy_data

from majelpy import native
from majelpy.gpu import build, dense, sequences, sums

PLANS = {
    name: plan
    for module in (dense, sums, sequences)
    for name, plan in vars(module).items()
    if name.startswith("mj_")
}

CASES = all_cases()


def on_cpu(case: Case) -> list[np.ndarray]:
    """Return the outputs of the CPU's kernel."""
    held, outputs, values = [], [], []
    for argument in case.arguments:
        if isinstance(argument, Out | HostOut):
            out = (
                argument.fresh()
                if isinstance(argument, Out)
                else np.zeros(argument.shape, argument.dtype)
            )
            outputs.append(out[: argument.rows] if isinstance(argument, Out) else out)
            held.append(out)
            values.append(out.ctypes.data)
        elif isinstance(argument, np.ndarray):
            held.append(np.ascontiguousarray(argument))
            values.append(held[-1].ctypes.data)
        else:
            values.append(argument)
    getattr(native.library(), case.entry)(*values)
    return outputs


def emulated(case: Case, on: Emulation) -> list[np.ndarray]:
    """Return the outputs of the GPU's plan on the emulation."""
    held: list[Any] = []
    outputs, values = [], []
    for argument in case.arguments:
        if isinstance(argument, Out):
            memory = on.upload(argument.fresh())
            outputs.append(memory.array(argument.shape)[: argument.rows])
        elif isinstance(argument, np.ndarray) and argument.dtype == np.float32:
            memory = on.upload(np.ascontiguousarray(argument))
        elif isinstance(argument, HostOut):
            outputs.append(np.zeros(argument.shape, argument.dtype))
            values.append(outputs[-1].ctypes.data)
            continue
        elif isinstance(argument, np.ndarray):
            values.append(argument.ctypes.data)
            continue
        else:
            values.append(argument)
            continue
        held.append(memory)
        values.append(memory.pointer)
    PLANS[case.entry](on, *values)
    answers = [np.array(out) for out in outputs]
    del held
    return answers


def check(case: Case, on: Emulation) -> None:
    for expected, found in zip(on_cpu(case), emulated(case, on), strict=True):
        if expected.dtype == np.float32:
            where = np.flatnonzero(expected.view(np.uint32) != found.view(np.uint32))
            assert not len(where), (
                f"{case.name}: {len(where)} of {expected.size} differ, first {where[0]}: "
                f"{expected.flat[where[0]]} on the CPU, {found.flat[where[0]]}"
            )
        assert same_bits(expected, found)


@pytest.mark.parametrize("case", CASES, ids=lambda c: c.name)
def test_equal_bits(case: Case) -> None:
    check(case, Emulation())


# Kernels whose threads exchange numbers, once more in other orders of the threads.
MEETING = [
    case
    for case in CASES
    if case.entry.split("_")[1] in ("gemm", "rnn", "log", "ctc", "square", "spectrogram")
]


@pytest.mark.parametrize("order", [1, 20])
@pytest.mark.parametrize("case", MEETING, ids=lambda c: c.name)
def test_threads_in_any_order(case: Case, order: int) -> None:
    check(case, Emulation(order=order))


PRODUCTS = [c for c in CASES if c.entry in ("mj_gemm", "mj_gemm_leaves")]


@pytest.mark.parametrize("tile", [dense.LARGE, dense.SMALL], ids=lambda t: t[0])
@pytest.mark.parametrize("case", PRODUCTS[::3], ids=lambda c: c.name)
def test_both_tiles(case: Case, tile: tuple[str, int, int, int], monkeypatch: Any) -> None:
    monkeypatch.setattr(dense, "LARGE", tile)
    monkeypatch.setattr(dense, "SMALL", tile)
    on = Emulation()
    check(case, on)
    assert set(on.launched) <= {tile[0]}


RECURRENT = [c for c in CASES if c.entry in ("mj_rnn_forward_rows", "mj_rnn_backward_rows")]


@pytest.mark.parametrize("case", RECURRENT, ids=lambda c: c.name)
@pytest.mark.parametrize("multiprocessors", [1, 7, 24])
def test_persistent_layers_on_any_number_of_blocks(case: Case, multiprocessors: int) -> None:
    on = Emulation(multiprocessors=multiprocessors, shared_bytes=1 << 21)
    check(case, on)
    assert all("persistent" in kernel for kernel in on.launched)


@pytest.mark.parametrize("case", RECURRENT, ids=lambda c: c.name)
def test_layers_step_by_step(case: Case, monkeypatch: Any) -> None:
    monkeypatch.setattr(sequences, "persistent_shape", lambda *_: None)
    on = Emulation()
    check(case, on)
    assert not any("persistent" in kernel for kernel in on.launched)


def test_recurrent_layers_take_every_way() -> None:
    assert sequences.persistent_shape(132, 227 * 1024, 2, 32, 1760) == (27, 1, 2)
    assert sequences.persistent_shape(132, 227 * 1024, 2, 32, 2048) == (16, 1, 1)
    assert sequences.persistent_shape(132, 227 * 1024, 2, 32, 128) == (8, 4, 2)
    assert sequences.persistent_shape(132, 227 * 1024, 2, 32, 4096) is None


@pytest.mark.parametrize(("leaves", "count"), list(tree_sums()))
def test_tree_sum(leaves: int, count: int) -> None:
    merges = program(leaves)
    open_nodes = leaves - int(merges.sum())
    vectors = [touchy_data(count, seed) for seed in range(leaves)]
    expected = [np.zeros(count, np.float32) for _ in range(open_nodes)]
    sources = np.array([v.ctypes.data for v in vectors], dtype=np.int64)
    targets = np.array([v.ctypes.data for v in expected], dtype=np.int64)

    def arguments(a: np.ndarray, b: np.ndarray) -> tuple[int, ...]:
        return (leaves, a.ctypes.data, merges.ctypes.data, open_nodes, b.ctypes.data, count)

    native.library().mj_tree_sum(*arguments(sources, targets))
    on = Emulation()
    inputs = [on.upload(v) for v in vectors]
    outputs = [Memory(4 * count) for _ in expected]
    sources = np.array([m.pointer for m in inputs], dtype=np.int64)
    targets = np.array([m.pointer for m in outputs], dtype=np.int64)
    sums.mj_tree_sum(on, *arguments(sources, targets))
    assert all(same_bits(e, m.array(count)) for e, m in zip(expected, outputs, strict=True))


def test_spectrogram_with_a_window_beyond_shared_memory() -> None:
    samples = level_data(900, 1, 1.0)
    case = Case("wide", "mj_spectrogram", (3, 700, 100, samples, Out((3, 351))))
    check(case, Emulation(shared_bytes=8000))


def test_every_kernel_and_every_entry_point_has_a_case() -> None:
    text = "".join(inspect.getsource(module) for module in (dense, sums, sequences))
    text = text.replace("{name}", "forward") + text.replace("{name}", "backward")
    assert [name for name in build.kernel_names() if f'"{name}"' not in text] == []
    assert set(PLANS) - {case.entry for case in CASES} == {"mj_tree_sum"}
    header = native._prototypes((build.folder() / "entry_points.h").read_text())
    assert set(PLANS) <= set(header)
    for name, plan in PLANS.items():
        assert len(inspect.signature(plan).parameters) == len(header[name]) + 1, name


def test_the_comparison_sees_another_order() -> None:
    case = next(c for c in CASES if c.name == "sum rows 1000x7")
    rows, columns, x, out = case.arguments
    turned = Case("turned", case.entry, (rows, columns, x[::-1].copy(), out))
    assert not same_bits(on_cpu(case)[0], emulated(turned, Emulation())[0])
