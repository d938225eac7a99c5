"""Every kernel on a GPU: the CPU's bits, and the golden digests."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import gpu_cases
import numpy as np
import one_case
import pytest
from gpu_cases import all_cases
from makers import digest, touchy_data
from one_case import Case, on_device

from majelpy.array.memory import Pool
from majelpy.array.place import Place
from majelpy.gpu import dense, sequences
from majelpy.gpu.device import PLANS

pytestmark = pytest.mark.gpu

GPU = Place("gpu", 0)
GOLDEN = Path(__file__).parent / "golden" / "every_place.json"


@pytest.fixture(scope="module")
def on() -> Any:
    pytest.importorskip("cupy")
    from majelpy.errors import PoolError
    from majelpy.gpu.device import device

    try:
        return device(GPU)
    except PoolError as error:
        pytest.skip(str(error))


@pytest.mark.parametrize("case", all_cases(), ids=lambda c: c.name)
def test_equal_bits(case: Case, on: Any) -> None:
    one_case.check(case, on, PLANS[case.entry])
    golden = json.loads(GOLDEN.read_text())
    assert digest(*on_device(case, on, PLANS[case.entry])) == golden[case.name]


@pytest.mark.parametrize("tile", [dense.LARGE, dense.SMALL], ids=lambda t: t[0])
@pytest.mark.parametrize("case", list(gpu_cases.products()), ids=lambda c: c.name)
def test_both_tiles(case: Case, tile: Any, on: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dense, "LARGE", tile)
    monkeypatch.setattr(dense, "SMALL", tile)
    one_case.check(case, on, PLANS[case.entry])


@pytest.mark.parametrize("case", list(gpu_cases.recurrences()), ids=lambda c: c.name)
def test_layers_step_by_step(case: Case, on: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sequences, "persistent_shape", lambda *_: None)
    one_case.check(case, on, PLANS[case.entry])


def test_the_pool_and_its_fallback_hold_the_same_numbers(on: Any) -> None:
    pool = Pool(1 << 20, GPU, poison=True)
    numbers = touchy_data(1000, 1)
    for held in (pool.allocate(4000), pool.allocate(2 << 20)):
        raw = np.empty(4000, np.uint8)
        on.download(held.pointer, raw)
        assert (raw == 0xFF).all()
        source = on.upload(numbers)
        PLANS["mj_add_arrays"](on, 1000, source.pointer, source.pointer, held.pointer)
        out = np.empty(1000, np.float32)
        on.download(held.pointer, out)
        assert (out == numbers + numbers).all()
    assert pool.statistics.fallbacks == 1
    del held
    assert pool.leaks() == ""
