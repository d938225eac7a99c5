"""`majel train`: train a recipe, alone or under mpirun or srun."""

from __future__ import annotations

import argparse
import sys
from dataclasses import fields
from typing import TYPE_CHECKING, Any

from majelpy.cli.code import add_run_code
from majelpy.cli.streams import answer
from majelpy.cli.together import at_work, ready
from majelpy.comm.world import World
from majelpy.errors import RecipeError
from majelpy.mesh import WAYS
from majelpy.recipes import shipped
from majelpy.wording import read_byte_size

PLACE_HELP = "where to compute: cpu (default), gpu (the ranks of a host take turns) or gpu:N"

if TYPE_CHECKING:
    from majelpy.recipes.launch import Launch


def add(commands: Any) -> None:
    """Add the command's parser."""
    parser = commands.add_parser(
        "train",
        help="train a recipe; alone or under mpirun or srun",
        description="Train a recipe. The result is the same on any number of ranks, threads and "
        "hosts. If RUN exists and is unfinished, training resumes where it stood; with more epochs "
        "(schedule.epochs) a finished one goes on.",
        epilog="Example: mpirun -n 2 majel train digits --out run --set data.train=train.h5",
    )
    parser.add_argument(
        "recipe", metavar="RECIPE", help=f"a recipe file (.toml), or one of {', '.join(shipped())}"
    )
    parser.add_argument("--out", metavar="RUN", required=True, help="folder of the run")
    parser.add_argument(
        "--set",
        metavar="KEY=VALUE",
        action="append",
        default=[],
        help="change a setting of the recipe, such as optimizer.rate=0.01; may be repeated",
    )
    add_run_code(parser)
    parser.add_argument(
        "--steps",
        type=int,
        metavar="N",
        help="stop after step N; the same command without --steps goes on",
    )
    add_launch(parser)
    parser.add_argument(
        "--checkpoint-seconds",
        type=float,
        metavar="S",
        help="least time between checkpoints (default 60; 0: after each step)",
    )


def add_launch(parser: argparse.ArgumentParser) -> None:
    """Add the options that say how to execute."""
    place = parser.add_argument_group("launch (how to execute; never changes the result)")
    place.add_argument("--place", metavar="PLACE", help=PLACE_HELP)
    place.add_argument(
        "--threads", type=int, metavar="N", help="threads of a rank (default 0: its cores)"
    )
    place.add_argument(
        "--no-shared-memory",
        dest="shared_memory",
        action="store_false",
        default=None,
        help="sum by messages even within a host",
    )
    place.add_argument(
        "--mesh",
        metavar="data=D,model=M",
        help="ranks that share the leaves times ranks that share a model (default: M is as small "
        "as the leaves allow)",
    )
    place.add_argument(
        "--model-parallel",
        choices=("auto", *WAYS),
        help="how ranks share a model: halves of the frames, directions, or parts of the units",
    )
    place.add_argument(
        "--bucket-bytes",
        type=_bytes,
        metavar="N",
        help="bytes of gradients summed at a time (default 4MiB)",
    )
    place.add_argument(
        "--no-overlap",
        dest="overlap",
        action="store_false",
        default=None,
        help="sum only when the backward pass is done",
    )
    place.add_argument(
        "--pool-bytes",
        type=_bytes,
        metavar="N",
        help="size of the memory pool, such as 8GiB (default: the rank's share of 90%% of what is "
        "free)",
    )
    place.add_argument(
        "--cache-bytes",
        type=_bytes,
        metavar="N",
        help="features or samples kept in memory (default 1GiB)",
    )
    ahead = place.add_mutually_exclusive_group()
    ahead.add_argument(
        "--prefetch",
        type=int,
        metavar="N",
        help="minibatches read ahead, each by a thread of its own (default 2)",
    )
    ahead.add_argument(
        "--no-prefetch",
        dest="prefetch",
        action="store_const",
        const=0,
        help="read each minibatch when it is needed",
    )


def _bytes(text: str) -> int:
    try:
        return read_byte_size(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def launch_of(options: argparse.Namespace) -> Launch:
    """The launch settings among the options."""
    # Imported here and below, so that 'majel --help' loads neither NumPy nor h5py.
    from majelpy.recipes.launch import Launch

    given = {f.name: getattr(options, f.name, None) for f in fields(Launch)}
    return Launch(**{name: value for name, value in given.items() if value is not None})


def run(options: argparse.Namespace) -> int:
    """Train; rank 0 prints the fingerprint, or the digest of a step that --steps stopped at."""
    from majelpy.recipes.recipe import load
    from majelpy.runs.run_folder import of_a_run
    from majelpy.train.loop import Run

    world = World.start()
    world.install_excepthook()
    with ready(world):
        if options.steps is not None and options.steps < 1:
            raise RecipeError(f"--steps is {options.steps}; needs at least 1")
        # A recipe of one's own says which code is wanted; that of a run may be somebody else's.
        run_code = options.run_code or not of_a_run(options.recipe)
        recipe = load(options.recipe, options.set, run_code=run_code)
        training = Run(recipe, launch_of(options), world, options.out)
        training.open()
    with at_work(world, "train"):
        ending = training.train(options.steps)
    answer(world, str(ending))
    if world.rank == 0 and not ending.finished:
        print("unfinished: the same command without --steps goes on", file=sys.stderr)
    return 0
