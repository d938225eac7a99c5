"""Right: what the launcher asks of CUDA, where CuPy's own ways go wrong (cuda_stand_in.py)."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from cuda_stand_in import ILLEGAL_ADDRESS, Cuda
from emulation import Emulation

from majelpy.errors import BuildError, DeviceError
from majelpy.gpu import build, device, gemm, nvrtc, rnn
from majelpy.gpu.device import Device
from majelpy.gpu.leaves import Leaves
from majelpy.gpu.uploads import Uploads
from majelpy.memory.place import Place

SECOND = Place("gpu", 1)
KERNEL = "mj_add_arrays_kernel"


@pytest.fixture
def cuda(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Cuda:
    """A machine with two GPUs."""
    made = Cuda()
    monkeypatch.setitem(sys.modules, "cupy", made.cupy)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setenv("CUDA_MPS_PIPE_DIRECTORY", str(tmp_path / "none"))
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    return made


@pytest.fixture
def on(cuda: Cuda) -> Device:
    return Device(SECOND)


@pytest.fixture
def compiled(monkeypatch: pytest.MonkeyPatch) -> list[bytes]:
    """What compiling gives, one after another; it is not done here."""
    given = [b"first", b"second", b"third"]
    monkeypatch.setattr(nvrtc, "compile_source", lambda *_, **__: given.pop(0))
    monkeypatch.setattr(nvrtc, "target", lambda architecture: (architecture, False))
    monkeypatch.setattr(build, "key", lambda program, target: f"{program}-{target}")
    return given


def test_a_rank_on_another_gpu_leaves_nothing_on_the_first(
    cuda: Cuda, on: Device, compiled: list[bytes]
) -> None:
    there, host = cuda.memory(64), np.arange(16, dtype=np.float32)
    on.copy_in(host, there)
    on.download(there, np.empty(16, np.float32))
    on.wait(on.copy_out(there, host))
    on.copy_in_beside(host, there, on.point())
    on.launch(KERNEL, (1,), (1,), (1, there, there, there))
    on.finish_copies()
    on.synchronize()
    assert on.free_bytes == 1001
    assert cuda.contexts == {1} and cuda.current == 1
    with cuda.cupy.cuda.Device(1):  # so the stand-in would show it
        pass
    cuda.current = 0
    with cuda.cupy.cuda.Device(1):
        pass
    assert cuda.contexts == {0, 1}


def test_a_failed_gpu_ends_the_wait(cuda: Cuda, on: Device) -> None:
    mark = on.point()
    assert on.passed(mark)
    cuda.waiting.append(lambda: None)
    assert not on.passed(mark)
    cuda.status = ILLEGAL_ADDRESS
    with pytest.raises(DeviceError, match=r"^gpu:1: work on the GPU: cudaError 700$"):
        on.passed(mark)
    for call in (on.synchronize, on.point, on.finish_copies, lambda: on.free_bytes):
        with pytest.raises(DeviceError, match=r"^gpu:1: .*cudaError 700$"):
            call()


def test_a_gpu_that_does_not_answer_ends_the_wait(
    cuda: Cuda, on: Device, monkeypatch: pytest.MonkeyPatch
) -> None:
    mark = on.point()
    cuda.waiting.append(lambda: None)
    assert not on.passed(mark)
    monkeypatch.setattr(device, "PATIENCE", -1.0)
    with pytest.raises(DeviceError, match=r"^gpu:1: work on the GPU: not done in -1 s$"):
        on.passed(mark)
    cuda.finish()
    assert on.passed(mark)


def test_what_went_up_may_be_changed_at_once(cuda: Cuda, on: Device) -> None:
    cuda.slow = True
    first, second = cuda.memory(400), cuda.memory(400)
    host = np.arange(100, dtype=np.float32)
    expected = host.tobytes()
    on.copy_in(host, first)
    host[:] = -1
    on.begin_copy(host.ctypes.data, second, 400)  # whose source has to stay as it is
    host[:] = -2
    cuda.finish()
    assert cuda.bytes_at(first, 400) == expected
    assert cuda.bytes_at(second, 400) == np.full(100, -2, np.float32).tobytes()


def test_sections_are_used_again_when_their_copies_are_done(cuda: Cuda) -> None:
    class Copier:
        stream = 0
        waits = 0

        def begin_copy(self, source: int, pointer: int, nbytes: int) -> None:
            cuda.copy(pointer, source, nbytes, 4, self.stream)

        def point(self, stream: int | None = None) -> int:
            return len(cuda.waiting)

        def wait(self, mark: int) -> None:
            self.waits += 1
            for _ in range(min(mark, len(cuda.waiting))):
                cuda.waiting.pop(0)()

    cuda.slow, copier = True, Copier()
    ring = np.zeros(4 * 256, np.uint8)
    uploads = Uploads(ring.ctypes.data, ring.nbytes, 4, copier)
    sizes = [1, 64, 65, 200, 256, 0, 700, 3] * 5
    there = [cuda.memory(size or 1) for size in sizes]
    random = np.random.default_rng(1)
    sent = []
    for pointer, size in zip(there, sizes, strict=True):
        data = random.integers(0, 256, size, dtype=np.uint8)
        sent.append(data.tobytes())
        uploads.copy(data.ctypes.data, pointer, size)
        data[:] = 0
    assert copier.waits > 3
    cuda.finish()
    for pointer, size, data in zip(there, sizes, sent, strict=True):
        assert cuda.bytes_at(pointer, size) == data
    before, copier.stream = copier.waits, 5
    uploads.copy(ring.ctypes.data, there[0], 1)
    assert copier.waits > before and not cuda.waiting


def test_bools_are_arguments_of_eight_bytes(cuda: Cuda, on: Device, compiled: list[bytes]) -> None:
    on.launch(KERNEL, (1,), (1,), (True, np.float32(2), 3))
    ((_, _, values),) = cuda.launched
    assert [type(value) for value in values] == [int, np.float32, int]


def test_blocks_that_wait_are_counted_before(
    cuda: Cuda, compiled: list[bytes], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert Device(SECOND).resident(KERNEL, 512, 100 << 10) == 4
    cuda.blocks = 0
    assert Device(SECOND).resident(KERNEL, 512, 100 << 10) == 0
    cuda.blocks, cuda.attributes["CooperativeLaunch"] = 2, 0
    assert Device(SECOND).resident(KERNEL, 512, 0) == 0
    cuda.attributes["CooperativeLaunch"] = 1
    assert Device(SECOND).resident(KERNEL, 512, 0) == 8
    (tmp_path / "control").touch()  # a server that launches for several processes
    monkeypatch.setenv("CUDA_MPS_PIPE_DIRECTORY", str(tmp_path))
    assert Device(SECOND).resident(KERNEL, 512, 0) == 0


class Watched(Emulation):
    """An emulation that remembers what is launched, with so many blocks at a time."""

    def __init__(self, together: int):
        super().__init__()
        self.together, self.names = together, set[str]()

    def resident(self, kernel: str, threads: int, shared: int) -> int:
        return self.together

    def launch(self, kernel: str, *arguments: Any, **options: Any) -> None:
        self.names.add(kernel)
        super().launch(kernel, *arguments, **options)


@pytest.mark.parametrize("together", [4, 1])
def test_layers_whose_blocks_may_not_be_there_together_go_step_by_step(together: int) -> None:
    on, offsets = Watched(together), np.array([0, 2, 5], np.int64)
    memory = [on.upload(np.zeros(4096, np.float32)) for _ in range(4)]
    x, weight, h, last = (held.pointer for held in memory)
    states = (None, None, h, None, last)
    rnn.mj_rnn_forward_rows(on, 0, 0, 2, 2, offsets.ctypes.data, 16, 1, 0, x, weight, *states)
    assert ("mj_rnn_forward_persistent_kernel" in on.names) == (together == 4)
    assert ("mj_rnn_forward_step_kernel" in on.names) == (together == 1)


def test_gpus_are_told_apart_by_what_they_are(
    cuda: Cuda, on: Device, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert on.identity == "01" * 16 != Device(Place("gpu", 0)).identity
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "MIG-a,MIG-b")
    assert on.identity == "MIG-b"


def test_code_that_cannot_be_loaded_is_compiled_again_once(
    cuda: Cuda, on: Device, compiled: list[bytes]
) -> None:
    cuda.refused.add("first")
    on.launch(KERNEL, (1,), (1,), ())
    assert len(cuda.loaded) == 2 and compiled == [b"third"]
    assert build.code("training", 90).read_bytes() == b"second"
    cuda.refused |= {"second", "third"}
    compiled.append(b"third")
    with pytest.raises(
        BuildError, match=r"^gpu:1: the driver does not load .* needs a newer driver"
    ):
        Device(SECOND).launch(KERNEL, (1,), (1,), ())


@pytest.mark.parametrize(
    ("known", "gpu", "target"),
    [
        ([70, 80, 90], 90, (90, False)),
        ([70, 80, 90], 86, (80, False)),
        ([70, 80, 86, 90], 89, (86, False)),
        ([70, 80, 90], 100, (90, True)),
        ([80, 90], 75, None),
    ],
)
def test_a_gpu_newer_than_the_compiler_is_served(
    known: list[int], gpu: int, target: tuple[int, bool] | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(nvrtc, "architectures", lambda: known)
    monkeypatch.setattr(nvrtc, "version", lambda: (13, 0))
    if target:
        assert nvrtc.target(gpu) == target
        return
    with pytest.raises(BuildError, match=r"^nvrtc: sm_75 asked; NVRTC 13\.0 has sm_80, sm_90$"):
        nvrtc.target(gpu)


def test_a_product_of_very_many_columns_has_a_grid_that_fits() -> None:
    grids = []

    class Seen(Emulation):
        def launch(self, kernel: str, grid: Any, block: Any, arguments: Any, **_: Any) -> None:
            grids.append(grid)

    on = Seen()
    leaf = Leaves(on, np.array([0, 1]))
    gemm.product(on, leaf, 5, 9_000_000, (8, 1, 1), (8, 1, 1), (8, 1, 0), 0)
    ((tiles,),) = grids
    assert 65535 < tiles < 2**31
