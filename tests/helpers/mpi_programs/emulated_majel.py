"""`majel` on a machine whose `gpu:0` is the emulation; the arguments are the program's own.

``stepwise`` as the first argument takes the recurrent layer's kernels for weights that do not fit
on the chip. With ``aware`` the MPI library says that it sends from GPUs, as it can from emulated
ones; else it says that it does not, whatever library it is. An aware program's sums are done as
late as a GPU may do them, and its last line on standard error says how many sums of ranks ran on
the GPU, and how many copies to the host there were.
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
from majelpy.gpu import rnn


def delay_sums(on: EmulatedDevice) -> None:
    """Let what sums have to write wait until somebody waits for it, or gives the GPU other work."""
    waiting: list[Callable[[], None]] = []
    launch = on.launch

    def do() -> None:
        while waiting:
            waiting.pop()()

    def after_that(call: Callable[..., Any]) -> Callable[..., Any]:
        def late(*arguments: Any) -> Any:
            do()
            return call(*arguments)

        return late

    def launch_late(kernel: str, *arguments: Any, **options: Any) -> None:
        do()
        waiting.append(lambda: launch(kernel, *arguments, **options))
        if not kernel.startswith(("mj_gemm", "mj_sum", "mj_tree_sum")):
            do()

    def passed_late(mark: Mark) -> bool:
        found = passed(mark)
        if found:
            do()
        return found

    passed = on.passed
    on.launch, on.passed = launch_late, passed_late  # type: ignore[method-assign]
    for name in ("copy_in", "copy_out", "download", "synchronize", "view"):
        setattr(on, name, after_that(getattr(on, name)))


if __name__ == "__main__":
    arguments = sys.argv[1:]
    kind = arguments.pop(0) if arguments[0] in ("stepwise", "aware") else ""
    if kind == "stepwise":
        rnn.persistent_shape = lambda *_: None  # type: ignore[assignment]
    World.sends_from_gpu = lambda _: kind == "aware"  # type: ignore[method-assign]
    with emulated_gpu() as on:
        if kind == "aware":
            delay_sums(on)
        try:
            sys.exit(main(arguments))
        finally:
            if kind == "aware":
                sums = on.launched.count("mj_tree_sum_kernel")
                sys.stderr.write(f"{sums} sums on the GPU, {on.copied_out} copies to the host\n")
