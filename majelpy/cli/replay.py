"""`majel replay`: does a step of a run come out the same again?"""

from __future__ import annotations

import argparse
from typing import Any

from majelpy.cli.code import add_run_code
from majelpy.cli.streams import answer
from majelpy.cli.together import at_work, ready
from majelpy.cli.train import add_launch, launch_of
from majelpy.comm.world import World


def add(commands: Any) -> None:
    """Add the command's parser."""
    parser = commands.add_parser(
        "replay",
        help="compute a step of a run again and hold it against the ledger",
        description="Compute a step again, from the nearest checkpoint before it (or from the "
        "recipe's seed), and hold loss, gradient norm, rate and, where they were kept, digest and "
        "checkpoint against what the run wrote. Works on any number of ranks; writes nothing. "
        "Exit code 0: the same bits; 1: different.",
        epilog="Example: mpirun -n 2 majel replay run --step 120",
    )
    parser.add_argument("run_folder", metavar="RUN", help="folder of 'majel train'")
    parser.add_argument("--step", type=int, metavar="N", required=True, help="step, from 1")
    parser.add_argument(
        "--set",
        metavar="KEY=VALUE",
        action="append",
        default=[],
        help="where a corpus is now, such as data.train=train.h5; may be repeated",
    )
    add_run_code(parser)
    add_launch(parser)


def run(options: argparse.Namespace) -> int:
    """Replay; rank 0 says what it found."""
    from majelpy.train.replay import Replay

    world = World.start()
    world.install_excepthook()
    with ready(world):
        replay = Replay(
            options.run_folder,
            options.step,
            options.set,
            launch_of(options),
            world,
            run_code=options.run_code,
        )
    with at_work(world, "replay"):
        said, same = replay.check()
    answer(world, said)
    return 0 if same else 1
