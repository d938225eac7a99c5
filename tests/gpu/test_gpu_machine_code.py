"""Right: what is read off cubins and their machine code, and the model that is built on it."""

from __future__ import annotations

import shutil
from importlib.util import find_spec

import gpu_cubin
import gpu_machine_code as machine_code
import gpu_model
import needs
import pytest

from majelpy.gpu import build, nvrtc

LISTING = """
.L_x_1:
/*0010*/ LDS.128 R4, [R2] ;
/*0020*/ FFMA R0, R4, R5, R0 ;
/*0030*/ @P0 BRA `(.L_x_2) ;
/*0040*/ FFMA R1, R4, R5, R1 ;
/*0050*/ LDGSTS.E [R3], desc[UR4][R8.64] ;
/*0060*/ @!PT LDS RZ, [RZ] ;
/*0070*/ BRA `(.L_x_3) ;
.L_x_2:
/*0080*/ STS [R3], R4 ;
.L_x_3:
/*0090*/ @P1 BRA `(.L_x_1) ;
/*00a0*/ FFMA R0, R4, R5, R0 ;
/*00b0*/ @P2 BRA `(.L_x_4) ;
.L_x_4:
/*00c0*/ EXIT ;
""".strip().splitlines()


def test_a_loop_is_counted_along_its_longest_way() -> None:
    (body,) = machine_code.innermost(LISTING)
    assert body == LISTING[:12]
    way = machine_code.longest_way(body)
    assert [line[:8] for line in way] == [f"/*00{i}0*/" for i in (1, 2, 3, 4, 5, 6, 7, 9)]
    loop = machine_code._count(way)
    assert loop == machine_code.Loop(8, 2, 20, 1)
    assert loop.bound(90) == 2 / 4 / (20 * 32 / 128)
    assert machine_code.hottest(LISTING) is None  # too few multiply-adds


def test_a_loop_in_a_loop_is_the_innermost() -> None:
    outer = [".L_x_0:", *LISTING[:12], "/*0100*/ @P3 BRA `(.L_x_0) ;"]
    assert machine_code.innermost(outer) == [LISTING[:12]]


def test_a_cubin_tells_registers_and_threads() -> None:
    if nvrtc.find() is None or 90 not in nvrtc.architectures():
        needs.lacking("nvrtc", "needs an NVRTC that compiles for sm_90")
    if find_spec("nvidia.cu13") is None and shutil.which("nvdisasm") is None:
        needs.lacking("dev", "needs nvdisasm, pip's nvidia-cuda-nvdisasm")
    found = {kernel.name: kernel for kernel in gpu_cubin.read(build.code("training", 90))}
    assert set(found) == set(build.kernel_names("training"))
    large = found["mj_gemm_128x128_kernel"]
    assert large.threads == 128 and 128 < large.registers <= 255 and large.warps == 8
    loop = machine_code.hottest(large.code)
    assert loop is not None and loop.multiply_adds == 1024 and loop.bound(90) > 0.8


@pytest.mark.parametrize("gpu", gpu_model.GPUS, ids=lambda gpu: gpu.name)
def test_the_model_stays_below_the_peak(gpu: gpu_model.Gpu) -> None:
    for of_step in (gpu_model.deep_speech_1, gpu_model.deep_speech_2):
        parts = of_step(gpu_model.Model(gpu, 32, 100))
        assert all(part.work <= part.seconds * gpu.peak for part in parts)
        longer = of_step(gpu_model.Model(gpu, 32, 200))
        assert sum(part.seconds for part in longer) > sum(part.seconds for part in parts)


def test_the_model_prints_a_table(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.argv", ["gpu_model.py", "--frames", "100"])
    gpu_model.main()
    told = capsys.readouterr().out
    assert "Deep Speech 1, 32 utterances of 100 frames" in told and "| H200 (sm_90) |" in told
