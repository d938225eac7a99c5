"""A tiny corpus, a tiny recipe and the ways to run `majel`, for the tests of training.

Policy. Features are whole numbers, so that no library's rounding enters; the reference run is made
once a session, in a process of its own. Test modules take the fixtures by
``pytest_plugins = ["training"]``; for pytest has no hand in this module's import then:
PYTEST_DONT_REWRITE.
"""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tomli_w
from mpi_launch import PATIENCE, PROGRAMS, environment, mpirun

from majelpy.cli import main
from majelpy.memory.pool import pool, set_pool
from majelpy.native import set_threads, threads
from majelpy.nn.networks import deep_speech_1
from majelpy.speech.corpus import Corpus
from majelpy.speech.corpus_writer import CorpusWriter

FEATURES = 12
UTTERANCES = 40
STEPS = 30
LEAVES = 8
SYMBOLS = " abcd"

MAJEL = (sys.executable, "-m", "majelpy")


def utterances(
    count: int = UTTERANCES, *, features: int = FEATURES, seed: int = 1
) -> list[tuple[np.ndarray, str, str]]:
    """Return frames, transcript and name of some utterances of 8 to 30 frames.

    Each character of `SYMBOLS` lights two features for two to four frames, between silence.
    """
    random = np.random.default_rng(seed)
    made = []
    for i in range(count):
        text = "".join(random.choice(list(SYMBOLS), size=random.integers(2, 6)))
        text = " ".join(text.split()) or "a"
        rows: list[np.ndarray] = []
        for character in text:
            for _ in range(random.integers(2, 5)):
                row = random.integers(-1, 2, features)
                at = 2 * SYMBOLS.index(character) % features
                row[at : at + 2] += 6
                rows.append(row)
            rows.append(random.integers(-1, 2, features))
        rows += [random.integers(-1, 2, features) for _ in range(8 - len(rows))]
        made.append((np.array(rows, dtype=np.float32), text, f"utterance-{i}"))
    return made


def write_corpus(
    path: Path,
    made: Sequence[tuple[np.ndarray, str, str]] | None = None,
    *,
    features: int = FEATURES,
    rate: int = 0,
) -> str:
    """Write a corpus and return its digest."""
    hop = rate // 100
    with CorpusWriter(path, features=features, rate=rate, window=2 * hop, hop=hop) as writer:
        for frames, text, name in made or utterances(features=features):
            writer.append(frames, text, name)
        mean = np.zeros(features, np.float32)
        return writer.finish(mean, np.full(features, 0.25, np.float32))


def damage_frames(path: Path, utterance: int) -> None:
    """Flip the lowest bit of one sample of an utterance, in a place that no checksum covers."""
    with Corpus.open(path) as corpus:
        frames = corpus.frames(utterance)
    data = bytearray(path.read_bytes())
    whole = frames.tobytes()
    at = data.find(whole)
    assert at > 0, "the frames do not lie in one piece"
    assert data.find(whole, at + 1) < 0
    data[at + len(whole) // 2 // 4 * 4] ^= 1
    path.write_bytes(data)


def network(
    dense: Sequence[int] = (16, 16, 16), recurrent: int = 16, output_dense: int = 16
) -> list[dict[str, Any]]:
    """Return the layers of a tiny Deep Speech 1 network."""
    return list(deep_speech_1(1, dense, recurrent, output_dense, dropout=0.1))


def settings(train: Path, **changes: Any) -> dict[str, Any]:
    """Return the tables of the tiny recipe; a change is ``table__key=value``."""
    table: dict[str, Any] = {
        "seed": 3,
        "data": {
            "train": str(train), "holdout": 8, "batch": 7, "leaves": LEAVES, "bin": 2,
            "alphabet": SYMBOLS,
        },
        "model": {"layers": network()},
        "optimizer": {"rate": 0.02},
        "schedule": {"epochs": 6, "warmup": 4, "hold": 3},
    }  # fmt: skip
    for name, value in changes.items():
        *tables, key = name.split("__")
        inner = table
        for inside in tables:
            inner = inner[inside]
        inner[key] = value
    return table


def write_recipe(path: Path, train: Path, **changes: Any) -> Path:
    """Write the tiny recipe to a file."""
    path.write_text(tomli_w.dumps(settings(train, **changes)), "utf-8")
    return path


def slow_majel(step: int) -> tuple[str, ...]:
    """Return a `majel` that needs five seconds more for each step after that one."""
    return (sys.executable, str(PROGRAMS / "slow_majel.py"), str(step))


def command(*arguments: str | Path, ranks: int = 1, program: Sequence[str] = MAJEL) -> list[str]:
    """Return the command line of `majel`, under mpirun if there is more than one rank."""
    words = [*program, *(str(argument) for argument in arguments)]
    return [mpirun(), "-n", str(ranks), *words] if ranks > 1 else words


def majel(
    *arguments: str | Path, ranks: int = 1, timeout: float = PATIENCE, **variables: str
) -> subprocess.CompletedProcess[str]:
    """Run `majel` in processes of its own; the exit code is the caller's to check."""
    return subprocess.run(
        command(*arguments, ranks=ranks),
        env=environment() | {"OMP_NUM_THREADS": "1"} | variables,
        capture_output=True, text=True, timeout=timeout, check=False,
    )  # fmt: skip


@dataclass(frozen=True)
class Said:
    """Exit code and output of a command that ran in this process."""

    code: int
    out: str
    err: str


class Inside:
    """Runs `majel` in this process (a world of one rank), which takes a tenth of the time."""

    def __init__(self, capture: pytest.CaptureFixture[str]) -> None:
        self._capture = capture

    def __call__(self, *arguments: str | Path) -> Said:
        handlers = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
        before, threads_before = pool(), threads()
        self._capture.readouterr()
        try:
            code = main([str(argument) for argument in arguments])
        except SystemExit as end:
            code = end.code if isinstance(end.code, int) else 1
        finally:
            for number, handler in handlers.items():
                signal.signal(number, handler)
            set_pool(before)
            set_threads(threads_before)
        captured = self._capture.readouterr()
        return Said(code, captured.out, captured.err)


@pytest.fixture
def inside(capfd: pytest.CaptureFixture[str]) -> Inside:
    """Run `majel` in this process."""
    return Inside(capfd)


@dataclass(frozen=True)
class Done:
    """A run that ended: its folder, its fingerprint (or the digest of a step) and its ledger."""

    folder: Path
    fingerprint: str
    ledger: bytes


def done(folder: Path, output: str) -> Done:
    """Return a run from what `majel train` printed when it ended, or stopped by --steps."""
    label, _, fingerprint = output.strip().splitlines()[-1].partition(": ")
    assert re.fullmatch(r"fingerprint|digest after step \d+ of \d+", label), output
    assert len(fingerprint) == 64, output
    return Done(folder, fingerprint, (folder / "ledger.jsonl").read_bytes())


def train(recipe: Path, folder: Path, *options: str, ranks: int = 1, **variables: str) -> Done:
    """Train in processes of their own; it must succeed."""
    ended = majel("train", recipe, "--out", folder, *options, ranks=ranks, **variables)
    assert ended.returncode == 0, ended.stderr
    return done(folder, ended.stdout)


@dataclass(frozen=True)
class Ground:
    """What most tests start from: a corpus, a recipe for it, and the run that nothing disturbed."""

    folder: Path
    corpus: Path
    recipe: Path
    undisturbed: Done


@pytest.fixture(scope="session")
def ground(tmp_path_factory: pytest.TempPathFactory) -> Ground:
    """Corpus, recipe and undisturbed run; nobody may write to them."""
    folder = tmp_path_factory.mktemp("training")
    write_corpus(folder / "train.h5")
    recipe = write_recipe(folder / "tiny.toml", folder / "train.h5")
    undisturbed = train(recipe, folder / "undisturbed")
    lines = [json.loads(line) for line in undisturbed.ledger.splitlines()]
    steps = [line["step"] for line in lines]
    assert steps == list(range(1, STEPS + 1)), steps
    return Ground(folder, folder / "train.h5", recipe, undisturbed)


def assert_same(found: Done, expected: Done) -> None:
    """Fail unless two runs have one fingerprint and ledgers that are equal byte for byte."""
    lines = list(zip(found.ledger.splitlines(), expected.ledger.splitlines(), strict=False))
    different = [(a, b) for a, b in lines if a != b]
    assert not different, f"the ledgers differ first in {different[0]}"
    assert found.ledger == expected.ledger, "one ledger has more lines"
    assert found.fingerprint == expected.fingerprint, (found.fingerprint, expected.fingerprint)
    stored = (found.folder / "fingerprint").read_text()
    assert stored == expected.fingerprint + "\n", stored


def own_lines(stderr: str) -> list[str]:
    """Return the lines on standard error that `majel` says of errors (not of progress)."""
    # Open MPI sends a zero byte after its own text, sometimes just before ours.
    lines = stderr.replace("\0", "").splitlines()
    return [line for line in lines if line.startswith("majel")]


def descendants(pid: int) -> list[int]:
    """Return the living processes that a process has started, and they, and so on."""
    children: dict[int, list[int]] = {}
    for other, parent in _processes():
        children.setdefault(parent, []).append(other)
    found, left = [], [pid]
    while left:
        started = children.get(left.pop(), [])
        found += started
        left += started
    return found


def _processes() -> Iterator[tuple[int, int]]:
    """Yield process and parent of all living processes."""
    for entry in os.listdir("/proc"):
        if not entry.isdigit():
            continue
        try:
            fields = Path("/proc", entry, "stat").read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if fields[0] != "Z":
            yield int(entry), int(fields[1])


def processes_with(text: str) -> list[int]:
    """Return the living processes whose command line contains a text."""
    found = []
    for pid, _ in _processes():
        try:
            line = Path(f"/proc/{pid}/cmdline").read_bytes()
        except OSError:
            continue
        if text.encode() in line:
            found.append(pid)
    return found
