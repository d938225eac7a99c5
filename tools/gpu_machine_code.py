"""What the compiler made of the GPU's kernels: a table read off the machine code.

    python tools/gpu_machine_code.py [ARCHITECTURE ...]        # 80 90 100

For each kernel with a loop of multiply-adds: its hottest loop (of the innermost ones that with most
FFMA), along its longest way, and what bounds it by a model that a measurement can prove wrong: a
multiprocessor issues 4 instructions a cycle, an FFMA is one of them (sm_80 takes one every other
cycle), and shared memory moves 128 bytes a cycle to or from all four schedulers, as if no two
threads read the same. The bound is the share of the FMA peak that this leaves; latency, bank
conflicts and what is outside the loop come on top. Warps are those that a multiprocessor's
registers hold. Needs NVRTC, and nvdisasm (pip's nvidia-cuda-nvdisasm).
"""

from __future__ import annotations

import re
import sys
from dataclasses import dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import gpu_cubin

from majelpy.gpu import build

SLOW = {80: 2}
"""Cycles of a scheduler's FFMA, where it is not 1."""

FEWEST = 8
"""FFMA of a loop that is worth a row."""

JUMP = re.compile(r"\*/\s*(@!?U?P\d+\s+)?BRA(?:\.\w+)*\s.*`\((\.L\w+)\)")


@dataclass(frozen=True)
class Loop:
    """Instructions of a loop."""

    instructions: int
    multiply_adds: int
    shared_bytes: int
    """That a thread moves to and from shared memory."""
    loads: int
    """From global memory, asynchronous copies with them."""

    def bound(self, architecture: int) -> float:
        """The largest share of the FMA peak that issue and shared memory allow."""
        issue = self.instructions / 4
        shared = self.shared_bytes * 32 / 128
        peak = self.multiply_adds * SLOW.get(architecture, 1) / 4
        return peak / max(peak, issue, shared)


def innermost(lines: list[str]) -> list[list[str]]:
    """Return the bodies of the loops that have no loop in them."""
    at = {line[:-1]: i for i, line in enumerate(lines) if line.startswith(".L")}
    jumps = ((end, JUMP.search(line)) for end, line in enumerate(lines))
    loops = [(at.get(j[2], end), end) for end, j in jumps if j]
    loops = [(start, end) for start, end in loops if start < end]

    def holds_another(loop: tuple[int, int]) -> bool:
        return any(o != loop and loop[0] <= o[0] and o[1] <= loop[1] for o in loops)

    return [lines[start : end + 1] for start, end in loops if not holds_another((start, end))]


def longest_way(body: list[str]) -> list[str]:
    """Return the instructions of the longest way through a loop's body."""
    at = {line[:-1]: i for i, line in enumerate(body) if line.startswith(".L")}
    ways: list[tuple[int, int]] = [(0, 0)] * len(body)  # instructions to the end, and what follows
    for i in range(len(body) - 1, -1, -1):
        jump = JUMP.search(body[i])
        following = [i + 1] if jump is None or jump[1] else []
        if jump and at.get(jump[2], -1) > i:
            following.append(at[jump[2]])
        best = max((f for f in following if f < len(body)), key=lambda f: ways[f][0], default=0)
        length = ways[best][0] if best else 0
        ways[i] = (length + (not body[i].startswith(".L")), best)
    taken, i = [], 0
    while True:
        if not body[i].startswith(".L"):
            taken.append(body[i])
        i = ways[i][1]
        if i == 0:
            return taken


def hottest(lines: list[str]) -> Loop | None:
    """Return the innermost loop with most multiply-adds, if it has enough."""
    loops = [_count(longest_way(body)) for body in innermost(lines)]
    worthy = [loop for loop in loops if loop.multiply_adds >= FEWEST]
    return max(worthy, key=lambda loop: loop.multiply_adds, default=None)


def _count(code: list[str]) -> Loop:
    moves = [
        re.search(r"\b(?:LDS|STS|LDGSTS)(?:\.[A-Z]\w*)*?(?:\.(64|128))?(?:\.\w+)*\s", line)
        for line in code
        if "@!PT" not in line
    ]
    return Loop(
        len(code),
        sum(bool(re.search(r"\bFFMA\b", line)) for line in code),
        sum(int(move[1] or 32) // 8 for move in moves if move),
        sum("LDG" in line for line in code),
    )


def loops(architecture: int) -> list[tuple[gpu_cubin.Kernel, Loop]]:
    """Return the kernels with a hottest loop, compiled for an architecture."""
    found = []
    for program in build.PROGRAMS:
        for kernel in gpu_cubin.read(build.code(program, architecture)):
            if loop := hottest(kernel.code):
                found.append((kernel, loop))
    return found


def main() -> None:
    """Print a table an architecture."""
    for architecture in map(int, sys.argv[1:] or ("80", "90", "100")):
        print(f"sm_{architecture}\n")
        print("| kernel | loop | FFMA | shared bytes an FFMA | LDG ", end="")
        print("| registers | stack | warps | bound |\n|---|---|---|---|---|---|---|---|---|")
        for kernel, loop in loops(architecture):
            shared = loop.shared_bytes / loop.multiply_adds
            share = 100 * loop.multiply_adds / loop.instructions
            print(
                f"| `{kernel.name.removesuffix('_kernel')}` | {loop.instructions} "
                f"| {loop.multiply_adds} ({share:.0f}%) | {shared:.2f} | {loop.loads} "
                f"| {kernel.registers} | {kernel.stack} | {kernel.warps} "
                f"| {100 * loop.bound(architecture):.0f}% |"
            )
        print()


if __name__ == "__main__":
    main()
