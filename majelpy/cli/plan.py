"""`majel plan`: predict time and memory of a training on a cluster, or measure the machine."""

from __future__ import annotations

import argparse
import json
import os
import sys
from typing import Any

from majelpy.cli import results
from majelpy.cli.code import add_run_code
from majelpy.errors import RecipeError
from majelpy.recipes import shipped
from majelpy.wording import counted

_DESCRIPTION = """\
Predict the time of a step, its share of communication, efficiency and memory of each mesh of ranks
that can train a recipe on a cluster; or measure the machine at hand (alone, or under mpirun with as
many ranks as a host is to have).
"""

_EPILOG = """\
example:
  mpirun -n 2 majel plan --measure -o cluster.toml     # this machine; half a minute
  majel plan sentences --cluster cluster.toml --set model.parts=2
"""

_PREDICTING = (
    *("recipe", "cluster", "ranks", "set", "frames", "features", "no_overlap", "json", "plot"),
)
_MEASURING = ("output", "threads")


def add(commands: Any) -> None:
    """Add the command's parser."""
    parser = commands.add_parser(
        "plan",
        help="predict time and memory of a training on a cluster",
        description=_DESCRIPTION,
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "recipe",
        metavar="RECIPE",
        nargs="?",
        help=f"a recipe file (.toml), or one of {', '.join(shipped())}",
    )
    parser.add_argument(
        "--cluster", metavar="FILE.toml", help="hosts, links and rates (see --measure)"
    )
    parser.add_argument(
        "--ranks",
        metavar="LIST",
        help="numbers of ranks, such as 1,2,6 or 1,2,...,64 (doubling); by default all powers of "
        "two that recipe and cluster allow",
    )
    parser.add_argument(
        "--set",
        metavar="KEY=VALUE",
        action="append",
        default=[],
        help="change a setting of the recipe, such as data.leaves=16; may be repeated",
    )
    add_run_code(parser)
    parser.add_argument(
        "--frames",
        type=int,
        metavar="N",
        help="mean frames of an utterance, in place of the corpus's lengths",
    )
    parser.add_argument(
        "--features", type=int, metavar="N", help="features of a frame, where no corpus is read"
    )
    parser.add_argument(
        "--no-overlap",
        action="store_true",
        help="gradients leave a host after the backward pass, not during it",
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument(
        "--plot",
        metavar="FILE.png",
        help="write a picture too, a new file without --force (needs matplotlib)",
    )
    results.add_force(parser)
    measuring = parser.add_argument_group("measuring")
    measuring.add_argument(
        "--measure", action="store_true", help="write the constants of this machine; no RECIPE"
    )
    measuring.add_argument(
        "-o",
        "--output",
        metavar="FILE.toml",
        help="where to, a new file without --force (default: standard output)",
    )
    measuring.add_argument("--threads", type=int, metavar="N", help="threads of a rank (default 1)")


def run(options: argparse.Namespace) -> int:
    """Predict, on one rank alone, or measure."""
    from majelpy.comm.launched import launched_first

    if options.measure:
        return _measure(options)
    return _predict(options) if launched_first(os.environ) else 0


def _say(text: str) -> None:
    print(f"plan: {text}", file=sys.stderr, flush=True)


def _measure(options: argparse.Namespace) -> int:
    from pathlib import Path

    from majelpy.cli.together import ready
    from majelpy.comm.world import World
    from majelpy.plan.measure import measure
    from majelpy.plan.text import toml

    world = World.start()
    world.install_excepthook()
    with ready(world):
        _check_measuring(options)
        if options.output and world.rank == 0:
            results.require_room([options.output], options.force)
    cluster, remarks = measure(world, options.threads or 1, _say)
    if world.rank > 0:
        return 0
    for remark in remarks:
        _say(remark)
    text = toml(cluster, remarks)
    if options.output:
        Path(options.output).write_text(text, "utf-8")
    else:
        print(text, end="")
    return 0


def _check_measuring(options: argparse.Namespace) -> None:
    _check_absent(options, "--measure", _PREDICTING)
    _at_least_one("threads", options.threads, most=1024)


def _predict(options: argparse.Namespace) -> int:
    from majelpy.plan import table
    from majelpy.plan.constants import load as load_cluster
    from majelpy.plan.layers import unknown
    from majelpy.plan.model import Planner
    from majelpy.plan.ranks import listed, powers
    from majelpy.plan.workload import workload
    from majelpy.recipes.launch import Launch
    from majelpy.recipes.recipe import load

    if options.recipe is None:
        raise RecipeError("plan: no recipe; needs RECIPE, or --measure")
    if options.cluster is None:
        raise RecipeError(
            "plan: no cluster; needs --cluster FILE.toml "
            "('majel plan --measure -o FILE.toml' writes that of this machine)"
        )
    _check_absent(options, "a prediction", _MEASURING)
    _at_least_one("frames", options.frames)
    _at_least_one("features", options.features)
    wanted = None if options.ranks is None else listed(options.ranks)
    if options.plot:
        results.require_room([options.plot], options.force)
    recipe = load(options.recipe, options.set, run_code=options.run_code)
    cluster = load_cluster(options.cluster)
    work = workload(recipe, options.frames, options.features)
    _say(f"{options.recipe}: {work.source}")
    own = unknown(work.architecture)
    if own:
        _say(f"{options.recipe}: of {', '.join(own)} only parameters and columns are counted")
    threads, cores = cluster.ranks_per_host * cluster.rates.threads, cluster.sockets * cluster.cores
    if threads > cores:
        _say(
            f"{options.cluster}: {counted(threads, 'thread')} of a host's ranks share "
            f"{counted(cores, 'core')}"
        )
    planner = Planner(
        work, cluster, bucket_bytes=Launch().bucket_bytes, overlap=not options.no_overlap
    )
    found = planner.predict(wanted or powers(min(cluster.ranks, work.leaves * work.parts)))
    if options.plot:
        table.plot(found, options.plot, f"{options.recipe} on {options.cluster}")
        _say(f"wrote {options.plot}")
    if options.json:
        named = {"recipe": options.recipe, "cluster": options.cluster, "workload": work.source}
        print(json.dumps({**named, "meshes": table.objects(found)}))
    else:
        print("\n".join(table.lines(found)))
    return 0


def _check_absent(options: argparse.Namespace, who: str, names: tuple[str, ...]) -> None:
    """Raise RecipeError if one of these options was given, which would be passed over."""
    for name in names:
        value = getattr(options, name)
        if value is not None and value is not False and value != []:
            option = name if name == "recipe" else f"--{name.replace('_', '-')}"
            raise RecipeError(f"plan: {who} takes no {option}; leave it out")


def _at_least_one(name: str, value: int | None, most: int = 1 << 20) -> None:
    if value is not None and not 1 <= value <= most:
        raise RecipeError(f"plan: --{name} is {value}; needs 1 to {most}")
