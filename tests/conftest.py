"""What all tests share: no silent skips (`needs`), slow tests last, every instruction set."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import nullcontext
from typing import Any

import needs
import pytest
from gpu_place import GPU, emulated_gpu

from majelpy import native
from majelpy.array import kernels
from majelpy.memory import CPU, Place
from majelpy.memory import pool as memory


def pytest_configure(config: pytest.Config) -> None:
    unknown = [word for word in needs.required() if word not in needs.WORDS]
    if unknown:
        raise pytest.UsageError(
            f"MAJELPY_REQUIRE={unknown[0]}: needs some of {', '.join(needs.WORDS)}"
        )
    # nohup and shells' background jobs let these be ignored, and what tests start inherits that.
    signal.signal(signal.SIGHUP, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    items.sort(key=lambda item: item.get_closest_marker("slow") is not None)


@pytest.fixture(params=native.available_isas())
def each_isa(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """Run the test once on every instruction set of this machine."""

    def forget() -> None:
        native.isa.cache_clear()
        native.library.cache_clear()

    forget()
    monkeypatch.setenv("MAJELPY_ISA", request.param)
    yield request.param
    monkeypatch.undo()
    forget()


def _gpus() -> list[Any]:
    """The emulated GPU, and this machine's if it has one or must have one."""
    true = pytest.param("GPU", marks=pytest.mark.gpu)
    return ["emulated", *([true] if GPU in kernels.gpus() or "gpu" in needs.required() else [])]


@pytest.fixture(params=["cpu", *_gpus()])
def each_place(request: pytest.FixtureRequest) -> Iterator[Place]:
    """Run the test once on every place."""
    with emulated_gpu() if request.param == "emulated" else nullcontext():
        yield CPU if request.param == "cpu" else GPU


@pytest.fixture(params=_gpus())
def gpu(request: pytest.FixtureRequest) -> Iterator[Place]:
    """Run the test once on every GPU place."""
    with emulated_gpu() if request.param == "emulated" else nullcontext():
        yield GPU


@pytest.fixture
def threads() -> Iterator[None]:
    """Put the number of kernel threads back to what it was."""
    before = native.threads()
    yield
    native.set_threads(before)


@pytest.fixture
def own_pool() -> Iterator[memory.Pool]:
    """Give the test a pool of its own, of 1 MiB."""
    pool = memory.Pool(1 << 20)
    before = memory.set_pool(pool)
    yield pool
    memory.set_pool(before)
