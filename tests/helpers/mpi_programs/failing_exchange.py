"""`majel train` of which rank 1 ends in the middle of an exchange with those of its model.

failing_exchange.py {error,killed} ARGUMENTS
"""

from __future__ import annotations

import os
import signal
import sys
from typing import Any

from majelpy.cli import main
from majelpy.comm.neighbours import Neighbours
from majelpy.errors import PoolError

EXCHANGES = 5  # after the first step, or among its time steps


def end(how: str) -> None:
    """Let the exchange of that number fail before it sends."""
    exchange, left = Neighbours.exchange, EXCHANGES

    def failing(self: Neighbours, *arguments: Any) -> Any:
        nonlocal left
        left -= 1
        if self.index == 1 and not left:
            if how == "killed":
                os.kill(os.getpid(), signal.SIGKILL)
            raise PoolError("exchange: no memory is left")
        return exchange(self, *arguments)

    Neighbours.exchange = failing  # type: ignore[method-assign]


if __name__ == "__main__":
    end(sys.argv[1])
    sys.exit(main(sys.argv[2:]))
