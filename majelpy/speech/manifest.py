"""Manifests: the list of recordings and transcripts that a corpus is made from.

Policy: a manifest is UTF-8 text with one utterance a line, and every complaint names
the file and the line. Transcripts are returned as they stand; normalising them is the
business of `majelpy.speech.text`. Whether the recordings exist is found out by the reader
of the recordings, so that a manifest can be read without touching them.
"""

from __future__ import annotations

import csv
import io
import os
from collections.abc import Iterator
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path

from majelpy import arguments
from majelpy.errors import ManifestError
from majelpy.files import read_plain
from majelpy.parsing import parse_json
from majelpy.speech.piece import READ, Piece, piece_of, require_known
from majelpy.wording import counted


@dataclass(frozen=True)
class Entry:
    """One utterance of a manifest.

    Attributes
    ----------
    path : Path
        Absolute path of the recording or the feature file.
    transcript : str
        What was said, as published.
    where : str
        `manifest:line`, the manifest as the caller spelled it and the line counted from 1.
    name : str
        Name of the utterance: its path relative to the manifest's folder where that is
        possible, with forward slashes; it does not depend on where the data lie. For a piece
        of a recording `#START-END` follows, and for a channel that the line names `@CHANNEL`.
    piece : Piece
        Which part of the recording is meant.
    """

    path: Path
    transcript: str
    where: str
    name: str
    piece: Piece


@dataclass(frozen=True)
class _Row:
    """What a line says, as it stands: of the piece, by the names of `majelpy.speech.piece.READ`."""

    line: int
    where: str
    transcript: str
    piece: dict[str, str]


def read_manifest(path: str | os.PathLike[str], *, transcripts: bool = True) -> list[Entry]:
    """Return the utterances of a manifest in the order of its lines.

    Parameters
    ----------
    path : str or path
        A `.tsv` file with a header that has the columns `path` and `transcript`, or a
        `.jsonl` file whose lines are objects with `audio_filepath` and `text`. Relative
        paths inside are relative to the manifest's folder. Columns and keys that say which
        part of a recording is meant: `majelpy.speech.piece`; empty or null is as if they were
        absent. Others are allowed and ignored; fields of a `.tsv` are never quoted.
    transcripts : bool
        Whether it has transcripts; without them they are not looked for, and empty.

    Returns
    -------
    list of Entry
        At least one.

    Raises
    ------
    ManifestError
        If the file is missing, has another ending, is not UTF-8, is empty, has a line
        without what is needed, or a column or key that would change what is read.
    """
    path = arguments.path(path, "manifest")
    manifest = Path(os.path.abspath(path))
    readers = {".tsv": _tsv_rows, ".jsonl": _jsonl_rows}
    reader = readers.get(manifest.suffix)
    if reader is None:
        here = "a folder" if manifest.is_dir() else f"this one in {manifest.suffix!r}"
        raise ManifestError(f"{path}: a manifest ends in .tsv or .jsonl; {here}")
    rows = reader(str(path), _read_text(path), transcripts)
    entries = [_entry(manifest, f"{path}:{row.line}", row) for row in rows]
    if not entries:
        raise ManifestError(f"{path}: the manifest has no utterances; at least 1 is needed")
    return entries


def _read_text(path: str | os.PathLike[str]) -> str:
    try:
        data = read_plain(path)
    except FileNotFoundError:
        raise ManifestError(f"{path}: there is no such manifest") from None
    except OSError as error:
        raise ManifestError(f"{path}: cannot read the manifest: {error.strerror}") from None
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise ManifestError(
            f"{path}:{line}: not UTF-8 (byte 0x{data[error.start]:02x}); save it as UTF-8"
        ) from None


def _tsv_rows(path: str, text: str, transcripts: bool) -> Iterator[_Row]:
    reader = csv.reader(io.StringIO(text, newline=""), delimiter="\t", quoting=csv.QUOTE_NONE)
    try:
        header = next(reader, None)
        if header is None:
            raise ManifestError(f"{path}: the manifest is empty; its first line is a header")
        needed = ("path", "transcript") if transcripts else ("path",)
        missing = [column for column in needed if column not in header]
        if missing:
            raise ManifestError(
                f"{path}:1: no column {' and '.join(map(repr, missing))} in the header; "
                f"it has {', '.join(map(repr, header))} (columns are separated by tabs)"
            )
        twice = sorted({column for column in header if header.count(column) > 1})
        if twice:
            raise ManifestError(f"{path}:1: the column {twice[0]!r} stands twice in the header")
        require_known(header, f"{path}:1")
        where = header.index("path")
        transcript = header.index("transcript") if transcripts else None
        named = {name: header.index(name) for name in READ if name in header}
        for row in reader:
            if not row:
                continue
            if len(row) != len(header):
                raise ManifestError(
                    f"{path}:{reader.line_num}: the row has {counted(len(row), 'field')}, the "
                    f"header has {len(header)}"
                )
            if not row[where]:
                raise ManifestError(f"{path}:{reader.line_num}: the field 'path' is empty")
            said = "" if transcript is None else row[transcript]
            piece = {name: row[column] for name, column in named.items()}
            yield _Row(reader.line_num, row[where], said, piece)
    except csv.Error as error:
        raise ManifestError(f"{path}:{reader.line_num}: not a .tsv row: {error}") from None


def _jsonl_rows(path: str, text: str, transcripts: bool) -> Iterator[_Row]:
    # Not splitlines(): that also cuts at characters that JSON strings may hold.
    for number, line in enumerate(text.split("\n"), 1):
        if not line.strip():
            continue
        try:
            row = parse_json(line, parse_float=Decimal)  # seconds keep their digits
        except ValueError as error:
            reason = getattr(error, "msg", str(error))
            raise ManifestError(f"{path}:{number}: not a JSON object: {reason}") from None
        if not isinstance(row, dict):
            raise ManifestError(
                f"{path}:{number}: a JSON object is needed, found {type(row).__name__}"
            )
        for key in ("audio_filepath", "text") if transcripts else ("audio_filepath",):
            if key not in row:
                found = ", ".join(map(repr, row)) or "none"
                raise ManifestError(f"{path}:{number}: no key {key!r}; found {found}")
            if not isinstance(row[key], str):
                raise ManifestError(
                    f"{path}:{number}: {key!r} must be a string, found {type(row[key]).__name__}"
                )
        if not row["audio_filepath"]:
            raise ManifestError(f"{path}:{number}: 'audio_filepath' is empty")
        require_known((key for key in row if row[key]), f"{path}:{number}")
        piece = {name: str(row[name]) for name in READ if row.get(name) is not None}
        yield _Row(number, row["audio_filepath"], row["text"] if transcripts else "", piece)


def _entry(manifest: Path, line: str, row: _Row) -> Entry:
    where = row.where
    if "\0" in where:
        raise ManifestError(f"{line}: the path holds a NUL character")
    for text in (where, row.transcript):
        # JSON can spell half a character, which no file can then hold.
        if any("\ud800" <= character <= "\udfff" for character in text):
            raise ManifestError(f"{line}: half of a surrogate pair in {text!r}")
    path = Path(os.path.normpath(manifest.parent / where))
    if not os.path.isabs(where):
        name = Path(os.path.normpath(where)).as_posix()
    elif path.is_relative_to(manifest.parent):
        name = path.relative_to(manifest.parent).as_posix()
    else:
        name = path.as_posix()
    piece = piece_of(line, row.piece)
    if piece.start is not None:
        name = f"{name}#{piece.start}-{'' if piece.end is None else piece.end}"
    if piece.channel is not None:
        name = f"{name}@{piece.channel}"
    return Entry(path, row.transcript, line, name, piece)
