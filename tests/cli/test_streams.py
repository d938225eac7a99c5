"""Right: messages that nobody reads stop no work; results that could not be written are told.

Through the shell, as people do it; what is closed or full is the shell's doing.
"""

from __future__ import annotations

import contextlib
import io
import os
import shlex
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from mpi_launch import environment, mpirun
from training import MAJEL, STEPS, Ground, own_lines, utterances

from majelpy.cli.streams import Streams
from majelpy.errors import OutputError

pytest_plugins = ["training"]

LOST = "the result could not be written to standard output"


def shell(command: str, *words: str | Path) -> tuple[int, str, str]:
    """Run a command of bash, in which $MAJEL, $GONE and $1, $2, ... stand; its code and output.

    $GONE is a pipe whose reader has gone. The code is that of the first program of a pipe.
    """
    reader, gone = os.pipe()
    os.close(reader)
    given = {"MAJEL": shlex.join(MAJEL), "OMP_NUM_THREADS": "1", "GONE": str(gone)}
    ended = subprocess.run(
        ["bash", "-c", f"{command}; exit ${{PIPESTATUS[0]}}", "bash", *map(str, words)],
        env=environment() | given, pass_fds=(gone,),
        capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    os.close(gone)
    return ended.returncode, ended.stdout, ended.stderr


def assert_finished(run: Path, ground: Ground) -> None:
    assert (run / "fingerprint").read_text() == ground.undisturbed.fingerprint + "\n"
    assert (run / "ledger.jsonl").read_bytes() == ground.undisturbed.ledger
    assert (run / "checkpoints" / f"step-{STEPS}.h5").exists()


@pytest.mark.parametrize(
    ("ending", "wanted", "why"),
    [
        ("2>&1 | head -1", 2, ""),  # nobody can be told
        ("2>/dev/full", 0, ""),
        ("2>&-", 0, ""),
        (">/dev/full", 2, "No space left on device"),
        (">&-", 2, "Bad file descriptor"),
        ("<&- >&- 2>&-", 2, ""),
    ],
)
def test_a_training_is_finished_all_the_same(
    ending: str, wanted: int, why: str, ground: Ground, tmp_path: Path
) -> None:
    out = tmp_path / "run"
    code, said, told = shell(f"$MAJEL train $1 --out $2 {ending}", ground.recipe, out)
    assert_finished(out, ground)
    assert code == wanted
    assert own_lines(told) == ([f"majel train: {LOST}: {why}"] if why else [])
    if wanted == 0:
        assert said == f"fingerprint: {ground.undisturbed.fingerprint}\n"


@pytest.mark.mpi
def test_a_result_of_two_ranks_that_is_lost(ground: Ground, tmp_path: Path) -> None:
    # Each rank's own output; what becomes of mpirun's it alone knows.
    out = tmp_path / "run"
    code, said, told = shell(
        """$3 -n 2 bash -c 'exec "$@" >/dev/full' bash $MAJEL train $1 --out $2""",
        *(ground.recipe, out, mpirun()),
    )
    assert_finished(out, ground)
    assert (code, said) == (2, "")
    assert own_lines(told) == [f"majel train: {LOST}: No space left on device"]


@pytest.fixture
def manifest(tmp_path: Path) -> Path:
    """A manifest of features."""
    rows = ["path\ttranscript"]
    for frames, text, name in utterances(3):
        np.save(tmp_path / f"{name}.npy", frames)
        rows.append(f"{name}.npy\t{text}")
    path = tmp_path / "some.tsv"
    path.write_text("\n".join(rows) + "\n")
    return path


@pytest.mark.parametrize(
    ("ending", "wanted"),
    [(">&$GONE 2>&1", 2), (">&$GONE", 2), ("2>&$GONE", 0), ("2>&-", 0), ("2>/dev/full", 0)],
)
def test_a_corpus_is_there_all_the_same(
    ending: str, wanted: int, manifest: Path, tmp_path: Path
) -> None:
    # The reader has gone before the first word.
    code, said, _ = shell(
        f"(sleep 0.2; $MAJEL prepare $1 $2) {ending}", manifest, tmp_path / "o.h5"
    )
    assert code == wanted
    assert said.startswith("corpus digest: ") == (wanted == 0)
    assert (tmp_path / "o.h5").exists()


def test_transcribing_ends_where_the_reader_does(ground: Ground, tmp_path: Path) -> None:
    np.save(tmp_path / "one.npy", utterances(1)[0][0])
    code, said, told = shell(
        f"$MAJEL transcribe $1 {'$2 ' * 20} | head -0",
        ground.undisturbed.folder,
        tmp_path / "one.npy",
    )
    assert (code, said) == (2, "")
    assert told == f"majel transcribe: {LOST}: Broken pipe\n"


@pytest.mark.parametrize("words", ["--help", "--version", "train --help", "info"])
def test_helps_are_results_too(words: str) -> None:
    code, said, told = shell(f"$MAJEL {words} >/dev/full")
    assert (code, said) == (2, "")
    (line,) = told.splitlines()
    assert line.endswith(f"{LOST}: No space left on device")


def test_a_difference_that_nobody_hears_of(ground: Ground, tmp_path: Path) -> None:
    out = tmp_path / "run"
    shell("$MAJEL train $1 --out $2 --steps 2 --set seed=4", ground.recipe, out)
    assert shell("$MAJEL compare $1 $2", ground.undisturbed.folder, out)[0] == 1
    assert shell("$MAJEL compare $1 $2 >&-", ground.undisturbed.folder, out)[0] == 2


def test_wrong_usage_without_a_reader() -> None:
    for ending in ("2>&-", "2>/dev/full", ">&$GONE 2>&1"):
        assert shell(f"$MAJEL tarin {ending}")[:2] == (2, "")


def test_text_that_the_output_has_no_letters_for(ground: Ground, tmp_path: Path) -> None:
    np.save(tmp_path / "ü.npy", utterances(1)[0][0])
    code, _, told = shell(
        "PYTHONIOENCODING=ascii $MAJEL transcribe $1 $2",
        *(ground.undisturbed.folder, tmp_path / "ü.npy"),
    )
    assert code == 2
    assert told == (f"majel transcribe: {LOST}: ascii has no '\\xfc'; set PYTHONIOENCODING=utf-8\n")


CLOSED = """
import os, sys
from majelpy.cli.streams import Streams
with Streams():
    numbers = [os.open(os.devnull, os.O_RDONLY) for _ in range(2)]
    sys.stderr.write("nobody hears")
    try:
        sys.stdin.read()
    except OSError:
        numbers.append("no input")
open(sys.argv[1], "w").write(repr(numbers))
"""


def test_no_file_of_ours_gets_the_number_of_a_closed_stream(tmp_path: Path) -> None:
    shell(f"{sys.executable} -c {shlex.quote(CLOSED)} $1 <&- >&- 2>&-", tmp_path / "numbers")
    first, second, read = eval((tmp_path / "numbers").read_text())
    assert first > 2 and second > 2 and read == "no input"


class Gone(io.StringIO):
    """A stream whose reader has gone."""

    def write(self, text: str) -> int:
        raise BrokenPipeError(32, "Broken pipe")

    def flush(self) -> None:
        raise BrokenPipeError(32, "Broken pipe")


def test_streams_of_a_program_that_calls_us() -> None:
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        with Streams() as streams:
            print("result")
            print("message", file=sys.stderr)
            assert streams.finish() is None
        assert sys.stdout is out and sys.stderr is err
    assert (out.getvalue(), err.getvalue()) == ("result\n", "message\n")


def test_messages_never_fail_and_results_say_so() -> None:
    before = os.fstat(1), os.fstat(2)
    out, err = contextlib.redirect_stdout(Gone()), contextlib.redirect_stderr(Gone())
    with out, err, Streams() as streams:
        print("message", file=sys.stderr, flush=True)
        with pytest.raises(OutputError, match=f"^{LOST}: Broken pipe$"):
            print("result")
        assert str(streams.finish()) == f"{LOST}: Broken pipe"
    assert [(a.st_dev, a.st_ino) for a in before] == [
        (b.st_dev, b.st_ino) for b in (os.fstat(1), os.fstat(2))
    ]
