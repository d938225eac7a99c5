"""Files that are no plain files, lead elsewhere, or lie on odd file systems: one line, no harm."""

from __future__ import annotations

import errno
import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import h5py
import needs
import numpy as np
import pytest
from training import (
    Ground,
    Inside,
    assert_same,
    done,
    majel,
    own_lines,
)

from majelpy import files, hdf5
from majelpy.comm.world import World
from majelpy.distributed import Shard, WorldMesh, distribute, load, save
from majelpy.errors import ArrayFileError, CheckpointError, CorpusError, MajelError, OutputError
from majelpy.runs import checkpoint as checkpoints
from majelpy.speech.corpus import Corpus
from majelpy.speech.corpus_writer import CorpusWriter

pytest_plugins = ["training"]


# --- what is no plain file ----------------------------------------------------------------------


def fifo(path: Path) -> str:
    os.mkfifo(path)
    return "a FIFO, not a plain file"


def device(path: Path) -> str:
    path.symlink_to("/dev/zero")
    return "a device, not a plain file"


def local_socket(path: Path) -> str:
    with socket.socket(socket.AF_UNIX) as made:
        before = Path.cwd()
        os.chdir(path.parent)  # the name of a socket may have some 100 bytes
        try:
            made.bind(path.name)
        finally:
            os.chdir(before)
    return "a socket, not a plain file"


KINDS = [fifo, device, local_socket]
Make = Callable[[Path], str]
READERS: dict[str, tuple[str, ...]] = {
    "r.toml": ("train", "{path}", "--out", "{folder}/run"),
    "t.h5": ("train", "{recipe}", "--out", "{folder}/run", "--set", "data.train={path}"),
    "dev.h5": ("eval", "{run}", "{path}"),
    "a.wav": ("prepare", "{manifest}", "{folder}/out.h5"),
    "a.npy": ("transcribe", "{run}", "{path}"),
    "m.tsv": ("prepare", "{path}", "{folder}/out.h5"),
    "m.jsonl": ("prepare", "{path}", "{folder}/out.h5"),
    "lm.arpa": ("eval", "{run}", "{corpus}", "--lm", "{path}"),
    "text": ("lm", "{path}", "-o", "{folder}/lm.arpa"),
    "cluster.toml": ("plan", "{recipe}", "--cluster", "{path}"),
}


@pytest.mark.parametrize("make", KINDS)
@pytest.mark.parametrize("name", READERS)
def test_what_is_no_plain_file_is_refused(
    name: str, make: Make, ground: Ground, tmp_path: Path, inside: Inside
) -> None:
    path = tmp_path / name
    said = make(path)
    recording = "a.wav" if name == "a.wav" else "b.wav"
    (tmp_path / "list.tsv").write_text(f"path\ttranscript\n{recording}\tab\n")
    known = {"path": path, "folder": tmp_path, "recipe": ground.recipe, "corpus": ground.corpus}
    known |= {"run": ground.undisturbed.folder, "manifest": tmp_path / "list.tsv"}
    told = inside(*(word.format(**known) for word in READERS[name]))
    assert (told.code, told.out) == (2, ""), told.err
    (line,) = own_lines(told.err)
    assert str(path) in line and said in line
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("make", KINDS)
def test_a_corpus_is_not_written_in_place_of_what_is_no_file(make: Make, tmp_path: Path) -> None:
    make(tmp_path / "out.h5")
    with pytest.raises(OutputError, match=r"out\.h5: exists and is no corpus"):
        CorpusWriter(tmp_path / "out.h5", features=3)


@pytest.mark.parametrize("make", KINDS)
def test_a_checkpoint_that_is_no_plain_file(make: Make, tmp_path: Path) -> None:
    said = make(checkpoints.path_of(tmp_path, 3))
    with pytest.raises(CheckpointError, match=rf"step-3\.h5: cannot be read \({said}\)$"):
        checkpoints.read(checkpoints.path_of(tmp_path, 3))


def test_a_link_to_a_plain_file_may_be_read(ground: Ground, tmp_path: Path, inside: Inside) -> None:
    (tmp_path / "t.h5").symlink_to(ground.corpus)
    assert inside("eval", ground.undisturbed.folder, tmp_path / "t.h5").code == 0


def test_a_fifo_that_takes_the_place_of_a_file_is_not_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    os.mkfifo(tmp_path / "f")
    monkeypatch.setattr(files.os, "stat", lambda path: os.lstat(__file__))
    with pytest.raises(OSError, match="a FIFO, not a plain file"):
        files.open_plain(tmp_path / "f")


def link(path: Path) -> str:
    path.symlink_to(path.parent.parent / "mine")
    return "a link, not a plain file"


@pytest.mark.parametrize("make", [link, fifo])
def test_what_a_link_at_the_lock_leads_to_is_left_alone(
    make: Make, ground: Ground, tmp_path: Path, inside: Inside
) -> None:
    (tmp_path / "mine").write_text("years of work")
    (tmp_path / "run").mkdir()
    said = make(tmp_path / "run" / "lock")
    told = inside("train", ground.recipe, "--out", tmp_path / "run", "--steps", "1")
    assert told.code == 2
    assert told.err == f"majel train: run folder: {tmp_path}/run/lock: {said}\n"
    assert (tmp_path / "mine").read_text() == "years of work"


@pytest.mark.parametrize(
    "name", ["ledger.jsonl", "timings.jsonl", "fingerprint", "content.json", "recipe.toml"]
)
def test_other_links_in_a_run_folder_are_replaced_and_not_followed(
    name: str, ground: Ground, tmp_path: Path, inside: Inside
) -> None:
    mine = b'{"step": 1}\n'
    (tmp_path / "mine").write_bytes(mine)
    if name in ("content.json", "recipe.toml"):
        run = tmp_path / "run"
        run.mkdir()
        if name == "recipe.toml":
            (run / name).symlink_to(tmp_path / "mine")
        inside("train", ground.recipe, "--out", run, "--steps", "1")
    else:
        run = Path(shutil.copytree(ground.undisturbed.folder, tmp_path / "run"))
        (run / name).unlink()
        (run / name).symlink_to(tmp_path / "mine")
        inside("train", ground.recipe, "--out", run)
    assert (tmp_path / "mine").read_bytes() == mine


# --- HDF5 files that lead elsewhere ---------------------------------------------------------------


def external(file: h5py.File, name: str, secret: Path) -> None:
    shape, dtype, size = file[name].shape, file[name].dtype, file[name].nbytes
    del file[name]
    file.create_dataset(name, shape, dtype, external=[(str(secret), 0, size)])


def virtual(file: h5py.File, name: str, secret: Path) -> None:
    shape, dtype = file[name].shape, file[name].dtype
    del file[name]
    layout = h5py.VirtualLayout(shape, dtype)
    layout[:] = h5py.VirtualSource(str(secret), name, shape)
    file.create_virtual_dataset(name, layout)


def elsewhere(file: h5py.File, name: str, secret: Path) -> None:
    del file[name]
    file[name] = h5py.ExternalLink(str(secret), f"/{name}")


def soft(file: h5py.File, name: str, secret: Path) -> None:
    file.move(name, "other")
    file[name] = h5py.SoftLink("/other")


def filtered(file: h5py.File, name: str, secret: Path) -> None:
    values = file[name][()]
    del file[name]
    file.create_dataset(name, data=values, compression="gzip")


OUT = {
    external: "keeps its values in other files",
    virtual: "keeps its values in other files",
    elsewhere: "is a link to somewhere else",
    soft: "is a link to somewhere else",
    filtered: "is stored with filters",
}
Lead = Callable[[h5py.File, str, Path], None]


@pytest.fixture
def array_file(tmp_path: Path) -> Path:
    mesh = WorldMesh(World.start(), {"x": 1})
    save(tmp_path / "x.h5", distribute(np.ones((50, 7), np.float32), mesh, [Shard(0)]))
    return tmp_path / "x.h5"


@pytest.mark.parametrize("lead", OUT)
@pytest.mark.parametrize(
    ("kind", "name"),
    [("corpus", "frames"), ("corpus", "mean"), ("checkpoint", "mean"), ("array", "array")],
)
def test_nothing_but_the_file_itself_is_read(
    kind: str, name: str, lead: Lead, ground: Ground, array_file: Path, tmp_path: Path
) -> None:
    sources = {
        "corpus": ground.corpus,
        "checkpoint": checkpoints.path_of(ground.undisturbed.folder / "checkpoints", 30),
        "array": array_file,
    }
    path = Path(shutil.copy(sources[kind], tmp_path / "step-30.h5"))
    secret = Path(shutil.copy(sources[kind], tmp_path / "secret.h5"))  # it would have been good
    with h5py.File(path, "r+") as file:
        lead(file, name, secret)
    with pytest.raises(MajelError, match=rf"/{name} {OUT[lead]}") as caught:
        if kind == "corpus":
            Corpus.open(path).close()
        elif kind == "checkpoint":
            checkpoints.read(path)
        else:
            load(path, WorldMesh(World.start(), {"x": 1}), [Shard(0)])
    assert isinstance(caught.value, CorpusError | CheckpointError | ArrayFileError)
    assert "\n" not in str(caught.value)


def test_an_attribute_of_variable_length_is_not_read(ground: Ground, tmp_path: Path) -> None:
    path = Path(shutil.copy(ground.corpus, tmp_path / "t.h5"))
    with h5py.File(path, "r+") as file:
        text = file.attrs["format"].decode()
        file.attrs["format"] = text
    with pytest.raises(CorpusError, match=r"format is object \(\)"):
        Corpus.open(path)


def test_groups_within_groups_end(tmp_path: Path) -> None:
    path = tmp_path / "step-1.h5"
    with h5py.File(path, "w") as file:
        group: h5py.Group = file
        for _ in range(50):
            group = group.create_group("g")
        group["again"] = file["g"]
    with hdf5.open_file(path) as file, pytest.raises(hdf5.Damaged, match="nested too deeply"):
        hdf5.datasets(file)


def test_what_the_system_says_is_not_called_damage(
    ground: Ground, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, inside: Inside
) -> None:
    def failing(*arguments: object, **named: object) -> h5py.File:
        raise OSError(errno.EIO, "Unable to synchronously open file (errno = 5)")

    monkeypatch.setattr(hdf5.h5py, "File", failing)
    said = inside("eval", ground.undisturbed.folder, ground.corpus)
    newest = ground.undisturbed.folder / "checkpoints" / "step-30.h5"
    assert said.err == f"majel eval: {newest}: Input/output error\n"
    with pytest.raises(CorpusError, match=r"train\.h5: cannot be read \(Input/output error\)$"):
        Corpus.open(ground.corpus)


# --- file systems without locks -------------------------------------------------------------------

NO_LOCKS = """
#include <errno.h>
#include <stdlib.h>
int flock(int descriptor, int how) {
  (void)descriptor, (void)how;
  errno = atoi(getenv("NO_LOCKS"));
  return -1;
}
"""


@pytest.fixture(scope="module")
def no_locks(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A library whose flock fails, to be preloaded."""
    compiler = shutil.which("cc") or shutil.which("gcc") or shutil.which("clang")
    if compiler is None or not sys.platform.startswith("linux"):
        needs.lacking("dev", "needs a C compiler, and a system that preloads libraries")
    folder = tmp_path_factory.mktemp("locks")
    (folder / "flock.c").write_text(NO_LOCKS)
    library = folder / "flock.so"
    subprocess.run([compiler, "-shared", "-fPIC", "-o", library, folder / "flock.c"], check=True)
    yield library


@pytest.mark.parametrize("number", [37, 95, 524])
def test_a_file_system_without_locks(
    number: int, no_locks: Path, ground: Ground, tmp_path: Path
) -> None:
    """ENOLCK (NFS), EOPNOTSUPP, and ENOTSUPP, which only the kernel should see."""
    run = tmp_path / "run"
    preload = {"LD_PRELOAD": str(no_locks), "NO_LOCKS": str(number)}
    ended = majel("train", ground.recipe, "--out", run, **preload)
    assert ended.returncode == 0, ended.stderr
    assert own_lines(ended.stderr) == [
        f"majel train: {run}/lock: no lock can be had here ({os.strerror(number)}); see to it that "
        "no other process trains in this folder"
    ]
    assert_same(done(run, ended.stdout), ground.undisturbed)
    told = majel("eval", run, ground.corpus, **preload)
    assert told.returncode == 0 and "amage" not in told.stderr
