"""The ledger: whole lines, none behind the step at hand; faults are named; floats as bits."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from majelpy.errors import CheckpointError, OutputError
from majelpy.runs.ledger import Ledger, hexadecimal, number, read, require
from majelpy.runs.timings import Timings


def write(path: Path, count: int) -> bytes:
    ledger = Ledger(path, 0)
    for step in range(1, count + 1):
        ledger.append({"step": step, "loss": step / 8})
    ledger.close()
    return path.read_bytes()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "ledger.jsonl"


def test_a_line_a_step(path: Path) -> None:
    assert write(path, 3) == (
        b'{"step": 1, "loss": 0.125}\n{"step": 2, "loss": 0.25}\n{"step": 3, "loss": 0.375}\n'
    )
    lines = read(path)
    assert lines.entries == {i: {"step": i, "loss": i / 8} for i in (1, 2, 3)}
    assert (lines.problems, lines.torn, lines.reaches, lines.last) == ([], "", 3, 3)
    assert os.listdir(path.parent) == ["ledger.jsonl"]


def test_a_line_is_with_the_system_at_once(path: Path) -> None:
    ledger = Ledger(path, 0)
    ledger.append({"step": 1})
    assert path.read_bytes() == b'{"step": 1}\n'
    ledger.sync()
    ledger.close()


@pytest.mark.parametrize("step", [0, 2, 5, 9])
def test_lines_behind_the_step_are_cut_off(path: Path, step: int) -> None:
    whole = write(path, 5).splitlines(keepends=True)
    ledger = Ledger(path, step)
    assert path.read_bytes() == b"".join(whole[:step])
    ledger.append({"step": 99})
    ledger.close()
    assert path.read_bytes() == b"".join(whole[:step]) + b'{"step": 99}\n'


UNREADABLE = [
    b'{"step": 6, "lo',
    b'{"step": 6}',
    b"\xff\xfe\x00",
    b'{"step": 6, "loss": "\xff"}',
    b"",
    b"7",
    b'["step"]',
    b'{"epoch": 1}',
    b'{"step": "6"}',
    b'{"step": true}',
    b'{"step": -6}',
    b"[" * 50_000,
    b'{"step": 6, "loss": ' + b"1" * 100_000 + b"}",
]


@pytest.mark.parametrize("text", UNREADABLE, ids=lambda text: repr(text[:20]))
def test_a_last_line_that_is_torn(path: Path, text: bytes) -> None:
    """It is no problem, for a kill leaves it; the next line does not hang on to it."""
    whole = write(path, 5)
    path.write_bytes(whole + text)
    lines = read(path)
    assert list(lines.entries) == [1, 2, 3, 4, 5]
    if text and len(text) < 1 << 16:
        assert lines.problems == []
        assert lines.torn == f"{path}: line 6, the last one, is cut off"
    Ledger(path, 100).close()
    assert path.read_bytes() == whole


@pytest.mark.parametrize(
    "text", [t for t in UNREADABLE if t != b'{"step": 6}'], ids=lambda text: repr(text[:20])
)
def test_a_line_that_cannot_be_read_is_named_and_those_after_it_count(
    path: Path, text: bytes
) -> None:
    lines = write(path, 5).splitlines(keepends=True)
    path.write_bytes(b"".join(lines[:2]) + text + b"\n" + b"".join(lines[3:]))
    found = read(path)
    assert list(found.entries) == [1, 2, 4, 5]
    assert found.problems == [f"{path}: line 3 cannot be read"]
    assert (found.reaches, found.last, found.missing(), found.torn) == (2, 5, ["step 3"], "")


def test_lines_out_of_order(path: Path) -> None:
    steps = (1, 2, 2, 3, 1, 4)
    path.write_text(
        "".join(json.dumps({"step": step, "at": i}) + "\n" for i, step in enumerate(steps))
    )
    found = read(path)
    assert [(step, entry["at"]) for step, entry in found.entries.items()] == [
        (1, 0), (2, 1), (3, 3), (4, 5),
    ]  # fmt: skip
    assert found.problems == [
        f"{path}: line 3 is of step 2, after step 2",
        f"{path}: line 5 is of step 1, after step 3",
    ]
    assert found.reaches == 4


@pytest.mark.parametrize(
    ("steps", "upto", "reaches", "missing"),
    [
        ([], 0, 0, []),
        ([], 3, 0, ["steps 1-3"]),
        ([1, 2, 3], 3, 3, []),
        ([1, 2, 3], 5, 3, ["steps 4-5"]),
        ([2, 3], 2, 0, ["step 1"]),
        ([1, 4, 5, 9], 0, 1, ["steps 2-3", "steps 6-8"]),
    ],
)
def test_gaps(path: Path, steps: list[int], upto: int, reaches: int, missing: list[str]) -> None:
    path.write_text("".join(json.dumps({"step": step}) + "\n" for step in steps))
    assert (read(path).reaches, read(path).missing(upto)) == (reaches, missing)


def test_there_is_no_ledger(path: Path) -> None:
    assert read(path).entries == {}
    with pytest.raises(CheckpointError, match=r"there is no ledger; is this a run folder\?$"):
        require(path)


def test_it_cannot_be_written(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match=r"^ledger: cannot write .* \(No such file or directory"):
        Ledger(tmp_path / "nowhere" / "ledger.jsonl", 0)
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(OutputError, match=r"\(Not a directory\)$"):
        Ledger(tmp_path / "file" / "ledger.jsonl", 0)


def test_a_line_without_room_leaves_no_part_of_it(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ledger = Ledger(path, 0)
    ledger.append({"step": 1})
    before = path.read_bytes()

    class Full:
        """Takes five bytes, and then no more."""

        def __init__(self, file: Any) -> None:
            self._file, self.fileno, self.truncate = file, file.fileno, file.truncate
            self._room = 5

        def write(self, data: bytes) -> int:
            if not self._room:
                raise OSError(28, "No space left on device")
            self._room -= len(data[:5])
            return int(self._file.write(data[:5]))

    whole = ledger._file
    monkeypatch.setattr(ledger, "_file", Full(whole))
    with pytest.raises(OutputError, match="No space left on device"):
        ledger.append({"step": 2})
    assert path.read_bytes() == before
    monkeypatch.setattr(ledger, "_file", whole)
    ledger.append({"step": 2})
    ledger.close()
    assert list(read(path).entries) == [1, 2]


def test_a_full_disk(path: Path) -> None:
    ledger = Ledger(path, 0)
    ledger.close()
    ledger._file = open("/dev/full", "ab", buffering=0)  # noqa: SIM115
    with pytest.raises(OutputError, match=r"^ledger: cannot write .* \(No space left on device\)$"):
        ledger.append({"step": 1})
    ledger.close()


VALUES = [0, 0x80000000, 1, 0x00800000, 0x3DCCCCCD, 0x3F800001, 0x7F7FFFFF, 0xC2F6E979]


@pytest.mark.parametrize("word", VALUES)
def test_floats_keep_their_bits(word: int) -> None:
    value = np.array([word], np.uint32).view(np.float32)[0]
    line = json.loads(json.dumps({"loss": number(value), "hex": hexadecimal(value)}))
    for found in (line["loss"], float.fromhex(line["hex"])):
        assert np.float32(found).view(np.uint32) == word


def test_floats_are_short_for_people() -> None:
    assert number(np.float32(0.1)) == 0.1
    assert hexadecimal(np.float32(0.1)) == "0x1.99999a0000000p-4"


def test_timings_trouble_nobody(tmp_path: Path) -> None:
    said: list[str] = []
    path = tmp_path / "timings.jsonl"
    path.write_bytes(b'garbage\n{"step": 2}\n{"step": 1}\n{"step": 9}\n{"st')
    timings = Timings(path, 5, said.append)
    timings.append({"step": 6})
    timings.close()
    assert (path.read_bytes(), said) == (b'{"step": 2}\n{"step": 6}\n', [])

    (tmp_path / "folder").mkdir()
    timings = Timings(tmp_path / "folder", 5, said.append)
    timings.append({"step": 6})
    timings.close()
    path = tmp_path / "folder"
    assert said == [f"folder: cannot write {path} (Is a directory); going on without this log"]


def test_timings_on_a_full_disk(tmp_path: Path) -> None:
    said: list[str] = []
    timings = Timings(tmp_path / "timings.jsonl", 0, said.append)
    assert timings._log is not None
    timings._log.close()
    timings._log._file = open("/dev/full", "ab", buffering=0)  # noqa: SIM115
    for step in (1, 2):
        timings.append({"step": step})
    timings.close()
    path = tmp_path / "timings.jsonl"
    assert said == [
        f"timings.jsonl: cannot write {path} (No space left on device); going on without this log"
    ]
