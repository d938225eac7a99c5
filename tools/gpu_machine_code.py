"""What the compiler made of the GPU's kernels: a table read off the disassembly.

    python tools/gpu_machine_code.py [ARCHITECTURE ...]        # 80 90 100

For each kernel with a loop of multiply-adds: its hottest loop (the innermost with most FFMA), and
what bounds it by a model that a measurement can prove wrong: a multiprocessor issues 4 instructions
a cycle, an FFMA is one of them, and shared memory gives 128 bytes a cycle to all four, as if no two
threads read the same. The bound is the share of the FMA peak that this leaves; latency, bank
conflicts and what is outside the loop come on top. Needs NVRTC and nvdisasm (pip's
nvidia-cuda-nvdisasm).
"""

from __future__ import annotations

import importlib.util
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from majelpy.gpu import build

FEWEST = 8
"""FFMA of a loop that is worth a row."""


@dataclass(frozen=True)
class Loop:
    """Instructions of a loop."""

    instructions: int
    multiply_adds: int
    shared_bytes: int
    global_loads: int

    @property
    def bound(self) -> float:
        """The largest share of the FMA peak that issue and shared memory allow."""
        issue = self.instructions / 4
        shared = self.shared_bytes * 32 / 128
        return self.multiply_adds / 4 / max(issue, shared)


def disassembler() -> str:
    """Return the path of nvdisasm."""
    wheel = importlib.util.find_spec("nvidia")
    for base in wheel.submodule_search_locations or () if wheel else ():
        for path in Path(base).glob("*/bin/nvdisasm"):
            return str(path)
    found = shutil.which("nvdisasm")
    if found is None:
        raise SystemExit("gpu_machine_code: no nvdisasm; pip install nvidia-cuda-nvdisasm")
    return found


def kernels(text: str) -> dict[str, list[str]]:
    """Return the lines of code of each kernel: instructions and labels."""
    found: dict[str, list[str]] = {}
    current: list[str] | None = None
    for line in text.splitlines():
        if start := re.match(r"\s*\.text\.(\w+):", line):
            current = found.setdefault(start[1], [])
        elif current is not None and re.match(r"\s*(\.L\w+:|/\*[0-9a-f]{4,}\*/)", line):
            current.append(line.strip())
        elif line.startswith("\t.section"):
            current = None
    return found


def hottest(lines: list[str]) -> Loop | None:
    """Return the innermost loop with most multiply-adds an instruction, if it has enough."""
    at = {line[:-1]: i for i, line in enumerate(lines) if line.startswith(".L")}
    loops = []
    for end, line in enumerate(lines):
        jump = re.search(r"\bBRA\b.*`\((\.L\w+)\)", line)
        if jump and at.get(jump[1], end) < end:
            loops.append(_count(lines[at[jump[1]] : end + 1]))
    worthy = [loop for loop in loops if loop.multiply_adds >= FEWEST]
    return max(worthy, key=lambda loop: loop.multiply_adds / loop.instructions, default=None)


def _count(lines: list[str]) -> Loop:
    code = [line for line in lines if not line.startswith(".L")]
    loads = [re.search(r"\bLDS(?:\.U)?(?:\.(\d+))?", line) for line in code]
    return Loop(
        len(code),
        sum(bool(re.search(r"\bFFMA\b", line)) for line in code),
        sum(int(load[1] or 32) // 8 for load in loads if load),
        sum("LDG" in line for line in code),
    )


def main() -> None:
    """Print a table an architecture."""
    program = disassembler()
    for architecture in map(int, sys.argv[1:] or ("80", "90", "100")):
        print(f"sm_{architecture}\n\n| kernel | loop | FFMA | shared bytes an FFMA | LDG | bound |")
        print("|---|---|---|---|---|---|")
        for name in build.PROGRAMS:
            path = build.code(name, architecture)
            text = subprocess.run(
                [program, "-c", str(path)], capture_output=True, text=True, check=True
            ).stdout
            for kernel, lines in sorted(kernels(text).items()):
                loop = hottest(lines)
                if loop is None:
                    continue
                shared = loop.shared_bytes / loop.multiply_adds
                share = 100 * loop.multiply_adds / loop.instructions
                print(
                    f"| `{kernel.removesuffix('_kernel')}` | {loop.instructions} "
                    f"| {loop.multiply_adds} ({share:.0f}%) | {shared:.1f} | {loop.global_loads} "
                    f"| {100 * loop.bound:.0f}% |"
                )
        print()


if __name__ == "__main__":
    main()
