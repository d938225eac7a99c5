"""The options of commands that read recordings."""

from __future__ import annotations

import argparse
from typing import Any


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add what to take of recordings."""
    parser.add_argument(
        "--channel",
        type=_channel,
        metavar="N|mix",
        help="of recordings with several channels, take number N, from 0, or the mean of all; "
        "without it channels that differ are refused",
    )
    parser.add_argument(
        "--longest",
        type=_seconds,
        metavar="SECONDS",
        help="refuse longer recordings, or pieces of them (default: 3600, an hour)",
    )


def given(options: argparse.Namespace) -> dict[str, Any]:
    """Return what was given, by the names of `majelpy.sound.audio.read_audio`."""
    found = {name: getattr(options, name) for name in ("channel", "longest")}
    return {name: value for name, value in found.items() if value is not None}


def _channel(text: str) -> Any:
    from majelpy.sound.channel import parse

    try:
        return parse(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def _seconds(text: str) -> float:
    try:
        found = float(text)
    except ValueError:
        found = 0.0
    if not found > 0:
        raise argparse.ArgumentTypeError(f"{text!r}; needs a number of seconds above 0")
    return found
