"""N-gram language models, and ARPA files.

Policy. A file is checked as it is read: what is wrong is told with file and line. Scores stay what
the file says, decimal logarithms in float32; only kernels add them. A model becomes arrays
(majelpy.ops.beam.Trie) that the search walks without a dictionary.
"""

from __future__ import annotations

import gzip
import re
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np

from majelpy.errors import LanguageModelError
from majelpy.files import open_plain
from majelpy.ops.beam import Foreign, Trie
from majelpy.wording import byte_size, counted

START, END, UNKNOWN = "<s>", "</s>", "<unk>"
SPACE = "<space>"
"""The token of a space in a model of characters."""

MISSING = -100.0
"""Decimal logarithm of the probability of unknown tokens where a file does not say (as KenLM)."""

_LONGEST = 1 << 20
"""Bytes of a line; an archive of a few MB can hold one of many GB."""

_KIND = re.compile(r"# n-grams of (words|characters), by majel lm")
"""The comment that `head` writes; KenLM passes over lines before the data that begin with #."""

_MARK = re.compile(r"<.+>")
_COUNT = re.compile(r"ngram ([0-9]{1,3})\s*=\s*([0-9]{1,15})")


@dataclass(frozen=True)
class NGram:
    """A model: its order, its tokens, what gives their probabilities, and what a token is.

    Attributes
    ----------
    kind : str
        ``characters`` or ``words``, where the file says so; else empty.
    """

    order: int
    tokens: tuple[str, ...]
    scores: Trie | Foreign
    kind: str = ""

    @property
    def looks_like(self) -> str:
        """What tokens look like: ``characters`` or ``words``; empty where they could be both."""
        plain = [token for token in self.tokens if not _MARK.fullmatch(token)]
        longer = sum(len(token) > 1 for token in plain)
        if SPACE in self.tokens or (plain and not longer):
            return "characters"
        return "words" if 2 * longer > len(plain) else ""


def head(kind: str) -> str:
    """Return the first line of a file of ``characters`` or ``words``, which `read_arpa` knows."""
    return f"# n-grams of {kind}, by majel lm"


class _Lines:
    """The lines of a file that are not empty, with their numbers for messages."""

    def __init__(self, path: Path) -> None:
        self.path, self.number = path, 0
        self._lines = self._read()

    def _read(self) -> Iterator[str]:
        try:
            with open_plain(self.path) as stored:
                zipped = stored.read(2) == b"\x1f\x8b"
                stored.seek(0)
                with gzip.open(stored) if zipped else stored as file:
                    yield from self._texts(file)
        except (UnicodeDecodeError, EOFError, gzip.BadGzipFile, zlib.error) as error:
            raise LanguageModelError(
                f"{self.path}: damaged after line {self.number}: {error}"
            ) from None

    def _texts(self, file: gzip.GzipFile | BinaryIO) -> Iterator[str]:
        while line := file.readline(_LONGEST + 1):
            if len(line) > _LONGEST:
                where = f"{self.path}:{self.number + 1}"
                raise LanguageModelError(f"{where}: a line of more than {byte_size(_LONGEST)}")
            text = line.decode("utf-8" if self.number else "utf-8-sig")
            self.number += 1
            if text.strip(" \t\r\n"):
                yield text.strip(" \t\r\n")

    def next(self, needed: str) -> str:
        text = next(self._lines, None)
        if text is None:
            raise LanguageModelError(f"{self.path}: ends after line {self.number}; needs {needed}")
        return text

    def finish(self) -> None:
        """Read on to the end, where an archive has its checksum."""
        for _ in self._lines:
            pass

    def error(self, text: str) -> LanguageModelError:
        return LanguageModelError(f"{self.path}:{self.number}: {text}")


def read_arpa(path: str | Path) -> NGram:
    """Return the model of an ARPA file, gzipped or not.

    Raises
    ------
    LanguageModelError
        If the file is no ARPA file, is damaged, or lacks the context of an n-gram.
    OSError
        If it cannot be opened.
    """
    lines = _Lines(Path(path))
    kind, counts = _kind(lines), _counts(lines)
    tokens: dict[str, int] = {}
    levels = []
    for n, count in enumerate(counts, 1):
        levels.append(_section(lines, n, count, len(counts), tokens))
    text = lines.next("\\end\\")
    if text != "\\end\\":
        raise lines.error(
            f"found {text[:40]!r} after {counts[-1]} {len(counts)}-grams; needs \\end\\"
        )
    lines.finish()
    if END not in tokens:
        raise LanguageModelError(f"{path}: has no {END}; needs it among the 1-grams")
    if UNKNOWN not in tokens:
        tokens[UNKNOWN] = len(tokens)
        levels[0].append((tokens[UNKNOWN],), MISSING, 0.0, lines.number)
    return NGram(len(counts), tuple(tokens), _trie(lines.path, levels, tokens), kind)


def _kind(lines: _Lines) -> str:
    """Read up to the data; return the kind of tokens that a comment names."""
    kind = ""
    while (text := lines.next("\\data\\, as an ARPA file has it")) != "\\data\\":
        named = _KIND.fullmatch(text)
        kind = named[1] if named else kind
    return kind


def _counts(lines: _Lines) -> list[int]:
    counts: list[int] = []
    while (text := lines.next("\\1-grams:")) != "\\1-grams:":
        found = _COUNT.fullmatch(text)
        if not found or int(found[1]) != len(counts) + 1:
            raise lines.error(f"found {text[:40]!r}; needs 'ngram {len(counts) + 1}=COUNT'")
        counts.append(int(found[2]))
    if not counts:
        raise lines.error("no counts before \\1-grams:; needs 'ngram 1=COUNT'")
    return counts


class _Level:
    """The n-grams of one length, in the order of the file."""

    def __init__(self) -> None:
        self.grams: list[tuple[int, ...]] = []
        self.log10_prob: list[float] = []
        self.backoff: list[float] = []
        self.line: list[int] = []

    def append(self, gram: tuple[int, ...], log10_prob: float, backoff: float, line: int) -> None:
        self.grams.append(gram)
        self.log10_prob.append(log10_prob)
        self.backoff.append(backoff)
        self.line.append(line)


def _section(lines: _Lines, n: int, count: int, order: int, tokens: dict[str, int]) -> _Level:
    level = _Level()
    if n > 1:
        text = lines.next(f"\\{n}-grams:")
        if text != f"\\{n}-grams:":
            raise lines.error(f"found {text[:40]!r}; needs \\{n}-grams: (or its count is wrong)")
    for seen in range(count):
        text = lines.next(f"{count - seen} more {n}-grams")
        if text.startswith("\\") and text in (f"\\{n + 1}-grams:", "\\end\\"):
            raise lines.error(f"{seen} {n}-grams; \\data\\ says {count}")
        fields = re.split(r"[ \t]+", text)
        if not n + 1 <= len(fields) <= n + 1 + (n < order):
            raise lines.error(
                f"{counted(len(fields), 'field')}; needs a number, {counted(n, 'token')}"
                f"{' and perhaps a number' if n < order else ''}"
            )
        log10_prob = _number(lines, fields[0])
        if log10_prob > 0:
            raise lines.error(f"log10 probability {fields[0]}; needs at most 0")
        backoff = _number(lines, fields[n + 1]) if len(fields) > n + 1 else 0.0
        if n == 1:
            if fields[1] in tokens:
                raise lines.error(f"token {fields[1]!r} stands twice among the 1-grams")
            tokens[fields[1]] = len(tokens)
        try:
            gram = tuple(tokens[token] for token in fields[1 : n + 1])
        except KeyError as error:
            raise lines.error(f"token {error.args[0]!r} is not among the 1-grams") from None
        level.append(gram, log10_prob, backoff, lines.number)
    return level


def _number(lines: _Lines, text: str) -> float:
    try:
        if "_" in text or not text.isascii():
            raise ValueError  # Python would read them
        value = float(text)
    except ValueError:
        raise lines.error(f"{text[:40]!r} is no number") from None
    if not abs(value) <= 1e9:
        raise lines.error(f"{text[:40]!r} is not finite")
    return value


def _trie(path: Path, levels: list[_Level], tokens: dict[str, int]) -> Trie:
    """Number the entries by length, context and token, and link them."""
    entry: dict[tuple[int, ...], int] = {(): 0}
    arrays: dict[str, list[np.ndarray]] = {"token": [], "log10_prob": [], "backoff": []}
    suffix, after, parents = [0], [0], [np.zeros(0, dtype=np.int64)]
    for n, level in enumerate(levels, 1):
        contexts = []
        for gram, line in zip(level.grams, level.line, strict=True):
            if gram[:-1] not in entry:
                names = list(tokens)
                raise LanguageModelError(
                    f"{path}:{line}: {' '.join(names[t] for t in gram[:-1])!r} is no {n - 1}-gram; "
                    "a context needs to be one"
                )
            contexts.append(entry[gram[:-1]])
        context = np.array(contexts, dtype=np.int64)
        token = np.array([gram[-1] for gram in level.grams], dtype=np.int32)
        order = np.lexsort((token, context))
        for i in order:
            gram = level.grams[i]
            if gram in entry:
                first = level.line[level.grams.index(gram)]
                raise LanguageModelError(
                    f"{path}:{level.line[i]}: the same {n}-gram as in line {first}"
                )
            entry[gram] = len(entry)
            shorter = next(gram[k:] for k in range(1, n + 1) if gram[k:] in entry)
            suffix.append(entry[shorter])
            after.append(entry[gram] if n < len(levels) else entry[shorter])
        parents.append(context[order])
        arrays["token"].append(token[order])
        arrays["log10_prob"].append(np.array(level.log10_prob, dtype=np.float32)[order])
        arrays["backoff"].append(np.array(level.backoff, dtype=np.float32)[order])
    children = np.bincount(np.concatenate(parents), minlength=len(entry))
    head = {"token": -1, "log10_prob": 0, "backoff": 0}
    joined = {
        name: np.concatenate([np.array([head[name]], dtype=parts[0].dtype), *parts])
        for name, parts in arrays.items()
    }
    return Trie(
        first=np.concatenate(([1], 1 + np.cumsum(children))).astype(np.int64),
        suffix=np.array(suffix, dtype=np.int32),
        after=np.array(after, dtype=np.int32),
        start=entry.get((tokens[START],), 0) if START in tokens else 0,
        unknown=tokens[UNKNOWN],
        end=tokens[END],
        **joined,
    )
