"""Right: the commands in documents and in --help run as they stand, from a fresh checkout.

A document, or a command's --help, is a session: its commands run one after another in a folder of
their own, so one may use what another has made. What a session takes for granted is named in
`SESSIONS`, and made once (`ready`); another document joins by a line there. The commands run in
this process: ``mpirun -n N`` is left out, for ranks change no bit; measuring takes a moment, not
half a minute; and work of many minutes is cut short by the options in `SHORT`.
"""

from __future__ import annotations

import re
import shlex
import shutil
from dataclasses import dataclass
from glob import glob
from pathlib import Path

import corpus_trees
import numpy as np
import pytest
import soundfile
from paths import ROOT
from quick_measure import QUICK
from training import SYMBOLS, Inside, network, utterances, write_corpus, write_recipe

from majelpy.cli import COMMANDS, main
from majelpy.plan import measure

pytest_plugins = ["training"]

CLUSTER = "slurm/cluster.toml"

SESSIONS: dict[str, tuple[str, ...]] = {
    "README.md": ("train.tsv", "dev.tsv", "book.txt", "hello.wav"),
    "docs/corpora.md": ("LibriSpeech",),
    "docs/decoding.md": ("book.txt", "run", "dev.h5", "test.h5", "hello.wav"),
    "docs/plan.md": (CLUSTER,),
    "docs/troubleshooting.md": ("run", "train.h5"),
    "corpus --help": ("LibriSpeech",),
    "prepare --help": ("recorded.tsv", "big.tsv", "noise.tsv"),
    "synth --help": (),
    "lm --help": ("book.txt", "run"),
    "plan --help": (),
    "train --help": ("train.h5",),
    "eval --help": ("run", "test.h5", "lm.arpa"),
    "tune --help": ("run", "dev.h5", "test.h5", "lm.arpa"),
    "transcribe --help": ("run", "hello.wav", "one.flac", "two.flac"),
    "compare --help": ("run-on-1-rank", "run-on-4-ranks"),
    "replay --help": ("run", "train.h5"),
}
"""Of each session, the files and folders that it takes for granted."""

WITHOUT = {"info --help"}
"""Sessions that show no command."""

SHORT = {
    "train": ["--steps", "1"],
    "synth": ["--utterances", "4", "--dev", "2"],
    "tune": ["--alphas", "0.5", "--betas", "1", "--beam", "4"],
    "eval": ["--beam", "4"],
}


@dataclass(frozen=True)
class Ready:
    """Whatever a session may take for granted, by its name."""

    folder: Path

    def bring(self, names: tuple[str, ...], to: Path) -> None:
        """Copy some of it."""
        for name in names:
            source, target = self.folder / name, to / name
            target.parent.mkdir(parents=True, exist_ok=True)
            if source.is_dir():
                shutil.copytree(source, target)
            else:
                shutil.copy(source, target)


def commands(text: str) -> list[str]:
    """Return the commands that a document or a help shows, without comments behind them."""
    found = []
    if "```" in text:
        blocks = text.split("```")[1::2]
        lines = [line.strip() for block in blocks for line in block.splitlines()]
    else:
        lines = [line[2:] for line in text.splitlines() if line.startswith("  ")]
        # Or within a sentence: argparse has broken its lines.
        _, _, example = " ".join(text.split()).partition("Example: ")
        lines += re.split(r"; (?:then.*?: )?", example)
    for line in lines:
        for part in re.split(r"  +[#(]", line)[0].split("&&"):
            if re.match(r"(mpirun -n \d+ )?majel [\w-]+(?!:)\b", part.strip()):
                found.append(part.strip())
    return found


def test_commands_are_found() -> None:
    document = "x\n```\nmajel a b   # c\nmpirun -n 2 majel d && majel e\nls\n```\nmajel f\n"
    assert commands(document) == ["majel a b", "mpirun -n 2 majel d", "majel e"]
    assert commands("options:\n  -o FILE\n\nexample:\n  majel a    (c = d)\n") == ["majel a"]
    assert commands("Example: majel a\nb; then, with it: majel c\n") == ["majel a b", "majel c"]


def test_no_help_is_left_out() -> None:
    helps = {name for name in {*SESSIONS, *WITHOUT} if name.endswith(" --help")}
    assert {f"{name} --help" for name in COMMANDS} == helps


@pytest.fixture(scope="module")
def ready(tmp_path_factory: pytest.TempPathFactory) -> Ready:
    """Make what sessions take for granted, all of it tiny."""
    folder = tmp_path_factory.mktemp("ready")
    (folder / "slurm").mkdir()
    shutil.copy(ROOT / CLUSTER, folder / CLUSTER)
    (folder / "book.txt").write_text("a bad cab\nabba dad\na cad\n" * 20)
    wave = np.random.default_rng(1).integers(-999, 999, 8000).astype(np.int16)
    for name in ("hello.wav", "one.flac", "two.flac"):
        soundfile.write(folder / name, wave, 16000)
    for name, count in (
        *(("train.tsv", 4), ("dev.tsv", 2), ("recorded.tsv", 2), ("noise.tsv", 2)),
        ("big.tsv", 100),
    ):
        rows = "".join(f"{folder / 'hello.wav'}\ta\n" for _ in range(count))
        (folder / name).write_text(f"path\ttranscript\n{rows}")
    for top in ("train-clean-100", "dev-clean"):
        corpus_trees.librispeech(folder / "trees")
        tree = folder / "trees" / "LibriSpeech" / "dev-clean"
        shutil.copytree(tree, folder / "LibriSpeech" / top)
    for name, count in (("train.h5", 104), ("dev.h5", 4), ("test.h5", 4)):
        write_corpus(folder / name, utterances(count, features=161), features=161, rate=16000)
    recipe = write_recipe(
        folder / "r.toml", folder / "train.h5", data__holdout=0, data__batch=104, data__leaves=1,
        data__alphabet=SYMBOLS, model__layers=network(), schedule__epochs=120,
    )  # fmt: skip
    for run in ("run", "run-on-1-rank", "run-on-4-ranks"):
        if run != "run":
            shutil.copytree(folder / "run", folder / run)
            continue
        assert main(["train", str(recipe), "--out", str(folder / run)]) == 0
    book, out = str(folder / "book.txt"), str(folder / "lm.arpa")
    assert main(["lm", book, "-o", out, "--like", str(folder / "run")]) == 0
    return Ready(folder)


@pytest.mark.parametrize("session", SESSIONS)
def test_commands_run_as_they_stand(
    session: str, ready: Ready, tmp_path: Path, inside: Inside, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(measure, "Effort", lambda: QUICK)
    document = (ROOT / session).read_text() if session.endswith(".md") else help_of(session, inside)
    ready.bring(SESSIONS[session], tmp_path)
    monkeypatch.chdir(tmp_path)
    shown = commands(document)
    assert shown
    for line in shown:
        words = [file for word in shlex.split(line) for file in sorted(glob(word)) or [word]]
        words = words[words.index("majel") + 1 :]
        said = inside(*words, *SHORT.get(words[0], []))
        assert said.code == 0, f"{line}: {said.err}"
        assert "Traceback" not in said.err


def help_of(session: str, inside: Inside) -> str:
    """Return a command's help as a terminal shows it."""
    said = inside(*session.split())
    assert said.code == 0
    return said.out
