"""`majel` on a machine whose `gpu:0` is the emulation; the arguments are the program's own.

``stepwise`` as the first argument takes the recurrent layer's kernels for weights that do not fit
on the chip. With ``aware`` the MPI library says that it sends from GPUs, as it can from emulated
ones; sums of ranks are then done as late as a GPU may do them, and the last line on standard error
says how many copies to the host there were.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent.parent))

from gpu_place import EmulatedDevice, Mark, emulated_gpu

from majelpy.cli import main
from majelpy.comm.world import World
from majelpy.gpu import sequences


def delay_sums(on: EmulatedDevice) -> None:
    """Let sums of ranks wait until somebody has waited for them, or another kernel comes."""
    waiting: list[Callable[[], None]] = []
    launch, passed, synchronize, download = on.launch, on.passed, on.synchronize, on.download

    def do() -> None:
        while waiting:
            waiting.pop(0)()

    def launch_late(kernel: str, *arguments: Any, **options: Any) -> None:
        if kernel == "mj_tree_sum_kernel":
            waiting.append(lambda: launch(kernel, *arguments, **options))
            return
        do()
        launch(kernel, *arguments, **options)

    def passed_late(mark: Mark) -> bool:
        found = passed(mark)
        if found:
            do()
        return found

    on.launch = launch_late  # type: ignore[method-assign]
    on.passed = passed_late  # type: ignore[method-assign]
    on.synchronize = lambda: (do(), synchronize())[1]  # type: ignore[method-assign]
    on.download = lambda *a: (do(), download(*a))[1]  # type: ignore[method-assign]


if __name__ == "__main__":
    arguments = sys.argv[1:]
    kind = arguments.pop(0) if arguments[0] in ("stepwise", "aware") else ""
    if kind == "stepwise":
        sequences.persistent_shape = lambda *_: None  # type: ignore[assignment]
    with emulated_gpu() as on:
        if kind == "aware":
            World.sends_from_gpu = lambda self: self.size > 1  # type: ignore[method-assign]
            delay_sums(on)
        try:
            sys.exit(main(arguments))
        finally:
            if kind == "aware":
                sums = on.launched.count("mj_tree_sum_kernel")
                sys.stderr.write(f"{sums} sums on the GPU, {on.copied_out} copies to the host\n")
