"""What importers share: what they find, faults, and files of lines.

Policy: every fault goes through one `Faults`, which either stops or tells and counts. A line is
known by `file:line`, so a complaint that comes later, when the recording is looked at, can still
name it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from majelpy.errors import CorpusError
from majelpy.files import open_plain
from majelpy.telling import say


@dataclass(frozen=True)
class Utterance:
    """One utterance of a corpus.

    Attributes
    ----------
    path : Path
        The recording.
    transcript : str
        What was said, as published but for marks that are no speech.
    speaker : str
        The corpus's name for the speaker.
    where : str
        `file:line` of the transcript; empty where the file name is the transcript.
    start, end : str
        Where it begins and ends in the recording, in seconds; empty for all of it.
    milliseconds : int or None
        Duration, if the corpus tells it, so that the recording need not be opened.
    """

    path: Path
    transcript: str
    speaker: str
    where: str = ""
    start: str = ""
    end: str = ""
    milliseconds: int | None = None


@dataclass
class Found:
    """What an importer found of one split.

    Attributes
    ----------
    utterances : list of Utterance
        In an order that depends on the corpus only.
    recordings : list of Path
        All recordings of the split, also those that no transcript names.
    left_out : Counter
        How many utterances were left out for each reason that is no fault.
    """

    utterances: list[Utterance] = field(default_factory=list)
    recordings: list[Path] = field(default_factory=list)
    left_out: Counter[str] = field(default_factory=Counter)


@dataclass
class Faults:
    """What to do with utterances that cannot be used: stop, or tell and count."""

    skip: bool
    count: int = field(default=0, init=False)

    def __call__(self, where: str | Path, reason: str) -> None:
        message = f"{where}: {reason}" if where else reason
        message = "\\n".join(message.splitlines())  # a file name may hold anything
        if not self.skip:
            raise CorpusError(message)
        self.count += 1
        say(f"skipped {message}")


@dataclass(frozen=True)
class Source:
    """A corpus that can be imported.

    Attributes
    ----------
    title : str
        Its full name.
    splits : tuple of str
        Names of its splits; the first is the default.
    read : callable
        From the folder, a split and the faults to what is there.
    """

    title: str
    splits: tuple[str, ...]
    read: Callable[[Path, str, Faults], Found]


def root(folder: Path, title: str, inside: Sequence[str], *names: str) -> Path:
    """Return the folder that holds all of `inside`: the given one or one of its `names`.

    Each of `inside` is a pattern, or several with ` or ` between, of which one will do.

    Raises
    ------
    CorpusError
        If none does; the message says what was looked for.
    """
    places = [folder, *(folder / name for name in names)]
    for place in places:
        if all(any(map(any, map(place.glob, needed.split(" or ")))) for needed in inside):
            return place
    if not folder.is_dir():
        raise CorpusError(f"{folder}: {'not a' if folder.exists() else 'there is no such'} folder")
    within = "".join(f" or in {name}" for name in names)
    raise CorpusError(f"{folder}: no {title} here; looked for {' and '.join(inside)} in it{within}")


def lines(path: Path, faults: Faults) -> Iterator[tuple[str, str]]:
    """Yield `file:line` and the text of each line that is not blank.

    Raises
    ------
    CorpusError
        If the file cannot be read, or a line is not UTF-8 and faults stop.
    """
    try:
        file = open_plain(path)
    except OSError as error:
        raise CorpusError(f"{path}: cannot be read: {error.strerror}") from None
    with file:  # read as it goes: some tables are larger than memory should be
        for number, line in enumerate(file, 1):
            where = f"{path}:{number}"
            try:
                text = line.decode("utf-8-sig" if number == 1 else "utf-8").rstrip("\r\n")
            except UnicodeDecodeError as error:
                faults(where, f"not UTF-8 (byte 0x{error.object[error.start]:02x})")
                continue
            if text.strip():
                yield where, text


def pairs(path: Path, faults: Faults) -> Iterator[tuple[str, str, str]]:
    """Yield `file:line`, the first word and the rest of each line; both must be there."""
    for where, line in lines(path, faults):
        words = line.split(maxsplit=1)
        if len(words) == 2:
            yield where, words[0], words[1].rstrip()
        else:
            faults(where, f"a name and a text are needed, found {line!r}")


def table(path: Path, faults: Faults) -> dict[str, str]:
    """Return a file of names and values; a name may stand there once."""
    values: dict[str, str] = {}
    for where, name, value in pairs(path, faults):
        if name in values:
            faults(where, f"{name} stands there twice")
        else:
            values[name] = value
    return values
