"""`majel` on a machine whose `gpu:0` is the emulation; the arguments are the program's own.

``stepwise`` as the first argument takes the recurrent layer's kernels for weights that do not fit
on the chip.
"""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent))

from gpu_place import emulated_gpu

from majelpy.cli import main
from majelpy.gpu import sequences

if __name__ == "__main__":
    arguments = sys.argv[1:]
    if arguments[0] == "stepwise":
        arguments = arguments[1:]
        sequences.persistent_shape = lambda *_: None  # type: ignore[assignment]
    with emulated_gpu():
        sys.exit(main(arguments))
