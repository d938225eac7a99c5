"""What a line of a manifest says of its recording, beside its path and its text.

Policy. Each name means the same in every kind of manifest. A name that would change what is read,
and that is not read here, is refused: nobody should train on another piece or another channel than
the manifest means. Names that change nothing (a speaker, a language) are passed over.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation

from majelpy.errors import ManifestError
from majelpy.sound.channel import Channel, parse

READ = ("start", "end", "offset", "duration", "channel", "sampling_rate")
"""Names that are read: the piece as `start` and `end`, or as NeMo's `offset` and `duration`."""

_DECIDES = ("start", "end", "offset", "channel")
_OTHERS = {
    **dict.fromkeys(("begin", "start_time", "begin_time", "segment_start"), "start"),
    **dict.fromkeys(("stop", "end_time", "stop_time", "segment_end"), "end"),
    "channel_selector": "channel",
    "_skipme": "",
}
"""Names that others use for such a thing, and what they would have to be called here."""

_LONGEST = 10**7  # seconds; a number of a million digits would stop the program


@dataclass(frozen=True)
class Piece:
    """Which part of a recording is meant, and what it should be.

    Attributes
    ----------
    start, end : Decimal or None
        Seconds between which the utterance lies; both are None for the whole, the end for the rest.
    duration : Decimal or None
        Seconds that it should last.
    channel : int, 'mix' or None
        The channel that is meant, from 0; None if the line has none.
    sampling_rate : int or None
        Hz that the recording should have.
    """

    start: Decimal | None = None
    end: Decimal | None = None
    duration: Decimal | None = None
    channel: Channel = None
    sampling_rate: int | None = None


def require_known(names: Iterable[str], line: str) -> None:
    """Raise ManifestError if a name would change what is read and is not read."""
    for name in names:
        plain = name.strip().lower()
        meant = _OTHERS.get(plain, plain if plain in _DECIDES and plain != name else None)
        if meant is not None:
            raise ManifestError(
                f"{line}: {name!r} would change what is read; "
                + (f"call it {meant!r} or remove it" if meant else "remove such lines, or the name")
            )


def piece_of(line: str, values: Mapping[str, str]) -> Piece:
    """Return what the values of a line mean, by the names of `READ`; empty ones are left out.

    Raises
    ------
    ManifestError
        If a value is no number of the sort that is needed, or they contradict one another.
    """
    given = {name: text for name in READ if (text := values.get(name, "").strip())}
    channel: Channel = None
    if "channel" in given:
        try:
            channel = parse(given["channel"])
        except ValueError as error:
            raise ManifestError(f"{line}: {error}") from None
    rate = None
    if "sampling_rate" in given:
        rate = _rate(line, given["sampling_rate"])
    duration = _seconds(line, "duration", given) if "duration" in given else None
    start, end = _limits(line, given, duration)
    return Piece(start, end, duration, channel, rate)


def _limits(
    line: str, given: Mapping[str, str], duration: Decimal | None
) -> tuple[Decimal | None, Decimal | None]:
    if "offset" in given:
        if "start" in given or "end" in given:
            raise ManifestError(f"{line}: 'offset' beside 'start' and 'end'; needs one of the two")
        offset = _seconds(line, "offset", given)
        return offset, None if duration is None else offset + duration
    if "start" not in given and "end" not in given:
        return None, None
    start, end = (_number(given.get(name, "")) for name in ("start", "end"))
    if not (start is not None and end is not None and 0 <= start < end <= _LONGEST):
        raise ManifestError(
            f"{line}: start {given.get('start', '')!r} and end {given.get('end', '')!r}; needs two "
            f"numbers of seconds, 0 <= start < end <= {_LONGEST}"
        )
    return start, end


def _seconds(line: str, name: str, given: Mapping[str, str]) -> Decimal:
    found = _number(given[name])
    least = "0 to" if name == "offset" else "above 0, up to"
    if found is None or not 0 <= found <= _LONGEST or (not found and name != "offset"):
        raise ManifestError(
            f"{line}: {name} {given[name]!r}; needs a number of seconds, {least} {_LONGEST}"
        )
    return found


def _number(text: str) -> Decimal | None:
    try:
        found = Decimal(text)
    except InvalidOperation:
        return None
    return found if found.is_finite() else None


def _rate(line: str, text: str) -> int:
    found = _number(text)
    if found is None or not 0 < found <= _LONGEST or found != int(found):
        raise ManifestError(f"{line}: sampling_rate {text!r}; needs a whole number of Hz")
    return int(found)
