"""What the compiler made of the kernels: registers and spills, by the toolkit's assembler."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import needs
import pytest

from majelpy.gpu import build, gemm, nvrtc

SPILLS = {
    **{f"mj_gemm_{tile.name}_chunks_kernel": 64 for tile in gemm.TILES},
    "mj_conv_rows_kernel": 64,
}
"""Most bytes of spill stores, outside the inner loops; none where not named."""


@pytest.fixture
def ptxas() -> str:
    """Return the path of the assembler."""
    toolkit = Path("/usr/local/cuda/bin/ptxas")
    found = shutil.which("ptxas") or (str(toolkit) if toolkit.exists() else None)
    if found is None or nvrtc.find() is None:
        needs.lacking("ptxas", "needs ptxas of the CUDA toolkit, and NVRTC")
    return found


@pytest.mark.parametrize("program", build.PROGRAMS)
def test_kernels_keep_to_their_registers(program: str, ptxas: str, tmp_path: Path) -> None:
    source = tmp_path / "kernels.ptx"
    source.write_text(build.ptx(program, 90))
    command = [ptxas, "-v", "-arch=sm_90", "-o", str(tmp_path / "cubin"), str(source)]
    done = subprocess.run(command, capture_output=True, text=True)
    if "Unsupported .version" in done.stderr:
        needs.lacking("ptxas", "it is older than NVRTC")
    assert done.returncode == 0, done.stderr
    report = re.findall(
        r"Function properties for (\w+)\n.*?(\d+) bytes spill stores.*?\n.*?Used (\d+) registers",
        done.stderr,
    )
    assert {name for name, _, _ in report} == set(build.kernel_names(program))
    limits = {"mj_ctc_lattice_kernel": 64}  # up to 1024 threads of a block share 65536
    for name, spilled, registers in report:
        assert int(spilled) <= SPILLS.get(name, 0), f"{name}: {spilled} bytes of spills"
        assert int(registers) <= limits.get(name, 255), name
