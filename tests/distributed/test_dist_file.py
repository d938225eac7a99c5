"""Files of distributed arrays: tiles, damage, what is no such file."""

from __future__ import annotations

import math
import os
from pathlib import Path

import h5py
import numpy as np
import pytest
from makers import same_bits, touchy_data

from majelpy.comm.world import World
from majelpy.distributed import Partial, Replicate, Shard, WorldMesh, distribute, file, load, save
from majelpy.errors import ArrayFileError, OutputError, PlacementError

DATA = touchy_data((50, 7), 1)


@pytest.fixture
def mesh() -> WorldMesh:
    return WorldMesh(World.start(), {"x": 1})


@pytest.fixture
def path(mesh: WorldMesh, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A file of some tiles."""
    monkeypatch.setattr(file, "TILE_BYTES", 256)
    save(tmp_path / "x.h5", distribute(DATA, mesh, [Shard(0)]))
    return tmp_path / "x.h5"


@pytest.mark.parametrize("shape", [(50, 7), (1,), (), (3, 0), (1, 1000), (5, 6, 7)])
def test_tiles_cover_each_element_once_and_are_small(shape: tuple[int, ...]) -> None:
    seen = np.zeros(shape, int)
    for box in file.tiles(shape, 4, 256):
        seen[tuple(slice(*r) for r in box)] += 1
        assert 4 * math.prod(last - first for first, last in box) <= 256
    assert (seen == 1).all()


def test_a_file_gives_back_every_bit(mesh: WorldMesh, path: Path) -> None:
    assert len(list(file.tiles(DATA.shape, 4, 256))) > 4
    assert same_bits(load(path, mesh, [Replicate()]).local.numpy(), DATA)
    save(path, distribute(DATA[:3], mesh, [Shard(0)]))
    assert same_bits(load(path, mesh, [Replicate()]).local.numpy(), DATA[:3])
    assert os.listdir(path.parent) == ["x.h5"]


def test_a_partial_array_is_saved_as_its_value(mesh: WorldMesh, tmp_path: Path) -> None:
    save(tmp_path / "p", distribute(DATA, mesh, {}).redistribute([Partial(4)]))
    assert same_bits(load(tmp_path / "p", mesh, {}).local.numpy(), DATA)
    with pytest.raises(PlacementError, match="load: Partial"):
        load(tmp_path / "p", mesh, [Partial(4)])


@pytest.mark.parametrize("fraction", [0.0, 0.1, 0.5, 0.99])
def test_a_truncated_file_is_refused(fraction: float, mesh: WorldMesh, path: Path) -> None:
    whole = path.read_bytes()
    path.write_bytes(whole[: int(len(whole) * fraction)])
    with pytest.raises(ArrayFileError, match=r"x\.h5: damaged or truncated \(") as caught:
        load(path, mesh, [Replicate()])
    assert "\n" not in str(caught.value)


def test_a_flipped_bit_anywhere_gives_an_error_or_the_same_bits(
    mesh: WorldMesh, path: Path
) -> None:
    whole = bytearray(path.read_bytes())
    refused = 0
    for at in range(0, len(whole), 7):
        damaged = bytearray(whole)
        damaged[at] ^= 1 << at % 8
        path.write_bytes(damaged)
        try:
            found = load(path, mesh, [Replicate()])
        except ArrayFileError:
            refused += 1
        else:  # unused bytes of the file
            assert same_bits(found.local.numpy(), DATA), at
    assert refused > len(DATA) * 7 * 4 // 7  # at least those within the elements


def test_other_files_are_refused(mesh: WorldMesh, tmp_path: Path) -> None:
    (tmp_path / "text").write_text("hello")
    with h5py.File(tmp_path / "other", "w") as other:
        other["array"] = DATA
    cases = {"text": "damaged or truncated", "other": "not an array", "none": "no such file"}
    for name, said in {**cases, ".": "no such file"}.items():
        with pytest.raises(ArrayFileError, match=said):
            load(tmp_path / name, mesh, [Replicate()])


def test_what_cannot_be_written_leaves_the_earlier_file(
    mesh: WorldMesh, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = path.read_bytes()

    class Full(file.Sink):
        def write(self, data: object) -> int:
            if self.error is None and self.tell() > 512:
                self.error = OSError(28, "No space left on device")
                self.give_up()
            return super().write(data)  # type: ignore[arg-type]

    monkeypatch.setattr(file, "Sink", Full)
    with pytest.raises(OutputError, match=r"cannot write .*x\.h5 \(No space left on device\)"):
        save(path, distribute(DATA, mesh, [Shard(0)]))
    assert path.read_bytes() == before and os.listdir(path.parent) == ["x.h5"]


def test_a_folder_is_no_file_to_write(mesh: WorldMesh, tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="Is a directory"):
        save(tmp_path, distribute(DATA, mesh, {}))
