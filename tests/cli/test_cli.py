"""The program: helps, usage, exit codes, and where output goes."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import needs
import numpy as np
import pytest
from training import Ground, Inside, majel, own_lines, utterances

from majelpy import ARITHMETIC, __version__
from majelpy.cli import COMMANDS, line
from majelpy.corpora import CORPORA
from majelpy.errors import MajelError
from majelpy.native import available_isas, kernel_digest
from majelpy.recipes import shipped

pytest_plugins = ["training"]

ARGUMENTS = {
    "corpus": [
        "NAME", "FOLDER", "--split SPLIT", "--output MANIFEST.tsv", "--skip-bad", "--force",
    ],
    "prepare": [
        "MANIFEST", "OUT.h5", "--rate HZ", "--skip-bad", "--channel N|mix", "--longest SECONDS",
        "--force",
    ],
    "synth": ["OUT_DIR", "--kind", "--utterances N", "--dev N", "--seed S", "--force"],
    "lm": ["TEXT", "--output LM.arpa", "--order N", "--characters", "--force"],
    "plan": [
        "RECIPE", "--cluster FILE.toml", "--ranks LIST", "--set KEY=VALUE", "--frames N",
        "--features N", "--no-overlap", "--json", "--plot FILE.png", "--measure", "--output",
        "--threads N", "--force", "mpirun",
    ],
    "train": [
        "RECIPE", "--out RUN", "--set KEY=VALUE", "--steps N", "--place", "--threads N",
        "--no-shared-memory", "--bucket-bytes N", "--pool-bytes N", "--cache-bytes N",
        "--no-prefetch", "--checkpoint-seconds S", "mpirun",
    ],
    "eval": ["RUN", "CORPUS.h5", "--json", "--lm FILE", "--alpha A", "--nbest K"],
    "tune": ["RUN", "DEV.h5", "--lm FILE", "--alphas LIST", "--betas LIST", "--json"],
    "transcribe": [
        "RUN", "AUDIO", "--lm FILE", "--beam N", "--channel N|mix", "--longest SECONDS", "mpirun",
    ],
    "replay": [
        "RUN", "--step N", "--set KEY=VALUE", "--place", "--threads N", "--no-shared-memory",
        "--mesh", "Exit code", "mpirun",
    ],
    "compare": ["RUN_A", "RUN_B", "Exit code"],
    "info": [],
}  # fmt: skip


def test_every_command_is_here() -> None:
    assert set(ARGUMENTS) == set(COMMANDS)


@pytest.mark.parametrize("command", ARGUMENTS)
def test_help(command: str, inside: Inside) -> None:
    said = inside(command, "--help")
    assert (said.code, said.err) == (0, "")
    assert said.out.startswith(f"usage: majel {command} ")
    for argument in ARGUMENTS[command]:
        assert argument in said.out
    # Each argument that the usage names is explained below it.
    usage, _, rest = said.out.partition("\n\n")
    for option in re.findall(r"--[a-z-]+", usage):
        assert re.search(rf"^  .*{option}", rest, re.MULTILINE), option


def test_help_lists_what_is_shipped(inside: Inside) -> None:
    for command, known in (("train", shipped()), ("plan", shipped()), ("corpus", CORPORA)):
        words = re.split(r"[\s,.]+", inside(command, "--help").out)
        assert set(known) <= set(words), command


def test_help_of_the_program_lists_the_commands(inside: Inside) -> None:
    said = inside("--help")
    assert said.code == 0
    for command in COMMANDS:
        assert re.search(rf"^ +{command}\s+\w", said.out, re.MULTILINE), command


def test_version(inside: Inside) -> None:
    said = inside("--version")
    assert (said.code, said.out) == (0, f"majelpy {__version__}\n")


USAGE = [
    ([], "the following arguments are required: COMMAND"),
    (["tarin"], "invalid choice: 'tarin'"),
    (["train", "digits"], "the following arguments are required: --out"),
    (["train", "digits", "--out", "r", "--steps", "x"], "argument --steps: invalid int value: 'x'"),
    (["transcribe", "run"], "the following arguments are required: AUDIO"),
    (["compare", "run"], "the following arguments are required: RUN_B"),
    (["eval", "run", "c.h5", "--jsno"], "unrecognized arguments: --jsno"),
]


@pytest.mark.parametrize(("arguments", "message"), USAGE, ids=[" ".join(a) for a, _ in USAGE])
def test_wrong_usage(arguments: list[str], message: str, inside: Inside) -> None:
    said = inside(*arguments)
    assert (said.code, said.out) == (2, "")
    (line,) = said.err.splitlines()
    assert line.startswith("majel") and message in line
    assert re.search(r"\(see 'majel( \w+)? --help'\)$", line)


def test_an_unknown_recipe_lists_the_shipped(tmp_path: Path, inside: Inside) -> None:
    said = inside("train", "digit", "--out", tmp_path / "run")
    assert (said.code, said.out) == (2, "")
    assert said.err == (
        f"majel train: recipe 'digit': not shipped (there are {', '.join(shipped())}) "
        "and not a file that ends in .toml\n"
    )
    assert not (tmp_path / "run").exists()


def test_an_error_names_the_command_once() -> None:
    assert line("train", MajelError("train: too many")) == "majel train: too many"
    assert line("train", MajelError("ledger: too many")) == "majel train: ledger: too many"
    assert line("eval", MajelError("evaluation: no")) == "majel eval: evaluation: no"


def test_info() -> None:
    ended = majel("info", MAJELPY_ISA="plain")
    assert (ended.returncode, ended.stderr) == (0, "")
    lines = dict(line.split(": ", 1) for line in ended.stdout.splitlines())
    assert lines["majelpy"] == f"{__version__}, arithmetic {ARITHMETIC}"
    assert lines["instruction set"].startswith("plain (this machine runs ")
    for isa in available_isas():
        assert isa in lines["instruction set"]
    assert re.fullmatch(r"[0-9a-f]{64}", lines["kernel digest"])
    assert lines["mpi"]
    assert "gpu" in lines


def test_info_of_the_chosen_instruction_set(inside: Inside) -> None:
    assert f"kernel digest: {kernel_digest()}\n" in inside("info").out


def test_an_unknown_instruction_set(inside: Inside) -> None:
    for arguments in (["info"], ["eval", "run", "c.h5"]):
        ended = majel(*arguments, MAJELPY_ISA="avx9")
        assert (ended.returncode, ended.stdout) == (2, "")
        assert ended.stderr == (
            f"majel {arguments[0]}: MAJELPY_ISA=avx9: this machine runs "
            f"{', '.join(available_isas())}\n"
        )


def test_train_prints_the_fingerprint_alone(ground: Ground, tmp_path: Path, inside: Inside) -> None:
    said = inside("train", ground.recipe, "--out", tmp_path)
    assert said.out == f"fingerprint: {ground.undisturbed.fingerprint}\n"
    lines = said.err.splitlines()
    assert lines[0] == (
        f"training from step 0 of 30: 32 utterances, {parameters(ground)} parameters, "
        "1 rank on 1 host"
    )
    assert lines[1].startswith("rehearsed step ")
    assert len(lines) == 2 + 6  # a line an epoch, as standard error is no terminal
    for epoch, said_of_it in enumerate(lines[2:], 1):
        assert re.fullmatch(
            rf"epoch +{epoch}  step +{5 * epoch}  loss \d+\.\d{{3}}  dev loss \d+\.\d{{3}}  "
            r"CER \d+\.\d%  WER \d+\.\d%  \d+ utterances/s  \d+:\d\d left",
            said_of_it,
        )
    assert lines[-1].endswith("0:00 left")


def parameters(ground: Ground) -> int:
    from majelpy.runs.trained import load_trained

    return load_trained(str(ground.undisturbed.folder)).model.layout.size


def test_transcribe(ground: Ground, tmp_path: Path, inside: Inside) -> None:
    made = utterances(6)
    paths = []
    for frames, _, name in made:
        paths.append(tmp_path / f"{name} ü.npy")
        np.save(paths[-1], frames)
    said = inside("transcribe", ground.undisturbed.folder, *paths)
    assert (said.code, said.err) == (0, "")
    lines = [one.split("\t") for one in said.out.splitlines()]
    assert [path for path, _ in lines] == [str(path) for path in paths]
    texts = [text for _, text in lines]
    assert any(texts)
    assert set("".join(texts)) <= set(" abcd")
    (alone,) = inside("transcribe", ground.undisturbed.folder, paths[3]).out.splitlines()
    assert alone == "\t".join(lines[3])


def test_transcribe_what_it_cannot(ground: Ground, tmp_path: Path, inside: Inside) -> None:
    run = ground.undisturbed.folder
    np.save(tmp_path / "wide.npy", np.zeros((9, 13), np.float32))
    np.save(tmp_path / "good.npy", np.zeros((9, 12), np.float32))
    np.save(tmp_path / "last.npy", np.zeros((9, 12), np.float32))
    names = ("good.npy", "wide.npy", "none.npy", "last.npy")
    said = inside("transcribe", run, *(tmp_path / name for name in names))
    assert said.code == 2
    printed = [one.partition("\t")[0] for one in said.out.splitlines()]
    assert printed == [str(tmp_path / name) for name in ("good.npy", "last.npy")]
    assert said.err == (
        f"majel transcribe: {tmp_path / 'wide.npy'}: 13 features; the run needs 12\n"
        f"majel transcribe: {tmp_path / 'none.npy'}: there is no such file\n"
    )
    (tmp_path / "a.wav").write_text("not sound")
    for name in ("a.wav", "missing.npy"):
        said = inside("transcribe", run, tmp_path / name)
        assert (said.code, said.out) == (2, "")
        assert re.fullmatch(rf"majel transcribe: .*{name}.*\n", said.err)


@pytest.mark.mpi
def test_ranks_share_what_is_transcribed(ground: Ground, tmp_path: Path, inside: Inside) -> None:
    """Each line once, in the order asked; what is broken is told once, at the end."""
    run, paths = ground.undisturbed.folder, []
    for frames, _, name in utterances(5):
        paths.append(tmp_path / f"{name}.npy")
        np.save(paths[-1], frames)
    alone = inside("transcribe", run, *paths)
    paths.insert(1, tmp_path / "none.npy")
    paths.append(tmp_path / "none either.npy")
    ended = majel("transcribe", run, *paths, ranks=2)
    assert ended.returncode == 2
    assert ended.stdout == alone.out
    assert own_lines(ended.stderr) == [
        f"majel transcribe: {tmp_path / name}: there is no such file"
        for name in ("none.npy", "none either.npy")
    ]
    ended = majel("transcribe", run, "--stream", paths[0], ranks=2)
    assert (ended.returncode, ended.stdout) == (2, "")
    assert own_lines(ended.stderr) == [
        "majel transcribe: --stream hears on one rank; 2 were launched"
    ]


@pytest.mark.mpi
def test_what_needs_one_rank_is_done_once(tmp_path: Path) -> None:
    (tmp_path / "book.txt").write_text("a b\n")
    ended = majel("lm", tmp_path / "book.txt", "-o", tmp_path / "lm.arpa", ranks=3)
    assert ended.returncode == 0, ended.stderr
    assert ended.stdout == f"{tmp_path}/lm.arpa: 5 1-grams, 3 2-grams, 2 3-grams\n"


RESULTS = {
    "corpus": ("fsdd", "{there}", "-o", "{out}"),
    "prepare": ("{there}", "{out}"),
    "lm": ("{there}", "-o", "{out}"),
    "plan": ("digits", "--cluster", "{there}", "--plot", "{out}"),
    "plan --measure": ("-o", "{out}"),
    "synth": ("{folder}",),
}


@pytest.mark.parametrize("command", RESULTS)
def test_a_result_that_exists_is_refused(command: str, tmp_path: Path, inside: Inside) -> None:
    """One rule for all commands that write a file that is named to them."""
    there = tmp_path / "there"
    there.write_text("there\n")
    out = tmp_path / ("train.tsv" if command == "synth" else "out.tsv")
    out.write_text("mine")
    words = [w.format(there=there, out=out, folder=tmp_path) for w in RESULTS[command]]
    said = inside(*command.split(), *words)
    assert (said.code, said.out) == (2, "")
    name = command.split()[0]
    assert said.err == f"majel {name}: {out} exists; give another name, or --force to replace it\n"
    assert out.read_text() == "mine"
    if command == "synth":
        return
    out.unlink()
    out.mkdir()
    said = inside(*command.split(), *words, "--force")
    assert said.err == f"majel {name}: {out}: not a file; give the output another name\n"


def test_force_replaces_a_result(tmp_path: Path, inside: Inside) -> None:
    (tmp_path / "book.txt").write_text("a b\n")
    (tmp_path / "lm.arpa").write_text("old")
    said = inside("lm", tmp_path / "book.txt", "-o", tmp_path / "lm.arpa", "--force")
    assert (said.code, own_lines(said.err)) == (0, [])
    assert (tmp_path / "lm.arpa").read_text().startswith("# n-grams of words, by majel lm\n")


def test_the_installed_program_is_the_module() -> None:
    program = Path(sys.executable).parent / "majel"
    if not program.exists():
        needs.lacking("dev", "majelpy is not installed in this environment")
    ended = subprocess.run([program, "--version"], capture_output=True, text=True, check=False)
    assert (ended.returncode, ended.stdout) == (0, f"majelpy {__version__}\n")


def test_help_loads_neither_numpy_nor_h5py_nor_mpi() -> None:
    program = (
        "import sys\nfrom majelpy.cli import main\n"
        "try:\n    main(['train', '--help'])\nexcept SystemExit:\n    pass\n"
        "found = [m for m in ('numpy', 'h5py', 'mpi4py') if m in sys.modules]\n"
        "print(found, file=sys.stderr)"
    )
    ended = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=False
    )
    assert ended.returncode == 0
    assert ended.stderr == "[]\n"
