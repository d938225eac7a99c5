"""One side of a comparison, in a process of its own; started by `harness.Side`.

    python benchmarks/side.py majelpy|torch|numpy THREADS CASE SIZES

Says in one JSON line what runs; then, for each line "SECONDS" that it reads, calls the case for at
least so long and answers with seconds a call and the cores that it used meanwhile.
"""

from __future__ import annotations

import importlib
import json
import sys
import time
from collections.abc import Callable


def measured(call: Callable[[], object], least: float) -> dict[str, float]:
    """Return seconds of a call and cores used, over at least so many seconds."""
    calls, start, cpu = 0, time.perf_counter(), time.process_time()
    while (elapsed := time.perf_counter() - start) < least:
        call()
        calls += 1
    return {"seconds": elapsed / calls, "cores": (time.process_time() - cpu) / elapsed}


def main() -> None:
    """Answer until standard input ends."""
    library, threads, case, sizes = sys.argv[1:]
    side = importlib.import_module(f"sides.with_{library}")
    side.set_threads(int(threads))
    call = side.CASES[case](**json.loads(sizes))
    call()
    print(json.dumps(side.verify()), flush=True)
    for line in sys.stdin:
        print(json.dumps(measured(call, float(line))), flush=True)


if __name__ == "__main__":
    main()
