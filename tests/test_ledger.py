"""The ledger: whole lines only, none behind the step at hand, floats as bits."""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import pytest

from majelpy.errors import CheckpointError, OutputError
from majelpy.runs.ledger import Ledger, entries, hexadecimal, number


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
    assert entries(path) == [{"step": i, "loss": i / 8} for i in (1, 2, 3)]
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


TORN = [
    b'{"step": 6, "lo',
    b'{"step": 6}',  # whole but for the end of the line
    b"\xff\xfe\x00",
    b"\n",
    b"7\n",
    b'["step"]\n',
    b'{"epoch": 1}\n',
    b'{"step": "6"}\n',
]


@pytest.mark.parametrize("torn", TORN)
def test_a_torn_last_line_is_cut_off(path: Path, torn: bytes) -> None:
    whole = write(path, 5)
    path.write_bytes(whole + torn)
    assert [entry["step"] for entry in entries(path)] == [1, 2, 3, 4, 5]
    Ledger(path, 100).close()
    assert path.read_bytes() == whole


def test_nothing_behind_a_torn_line_counts(path: Path) -> None:
    lines = write(path, 5).splitlines(keepends=True)
    path.write_bytes(b"".join(lines[:2]) + b"{torn\n" + b"".join(lines[3:]))
    assert [entry["step"] for entry in entries(path)] == [1, 2]
    Ledger(path, 100).close()
    assert path.read_bytes() == b"".join(lines[:2])


def test_there_is_no_ledger(path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"there is no ledger; is this a run folder\?$"):
        entries(path)


def test_it_cannot_be_written(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match=r"^ledger: cannot write .* \(No such file or directory"):
        Ledger(tmp_path / "nowhere" / "ledger.jsonl", 0)
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(OutputError, match=r"\(Not a directory\)$"):
        Ledger(tmp_path / "file" / "ledger.jsonl", 0)


def test_a_full_disk(path: Path) -> None:
    ledger = Ledger(path, 0)
    ledger.close()
    ledger._file = open("/dev/full", "a")  # noqa: SIM115
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
