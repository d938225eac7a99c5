"""Files are whole or not there, and what is kept aside replaces nothing."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from majelpy import files
from majelpy.errors import OutputError


def test_what_is_written(tmp_path: Path) -> None:
    path = tmp_path / "file"
    files.write_whole(path, b"one")
    files.write_whole(path, (piece for piece in (b"two", b" ", b"three")))
    assert path.read_bytes() == b"two three"
    files.write_whole(path, b"")
    assert path.read_bytes() == b""
    assert os.listdir(tmp_path) == ["file"]


def test_it_is_on_the_disk_before_it_has_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    did = []
    sync, rename = os.fsync, os.replace
    monkeypatch.setattr(os, "fsync", lambda file: (did.append("sync"), sync(file)))
    monkeypatch.setattr(os, "replace", lambda a, b: (did.append("rename"), rename(a, b)))
    files.write_whole(tmp_path / "file", b"x")
    assert did == ["sync", "rename", "sync"]  # the last is the folder's


@pytest.mark.parametrize("call", ["fsync", "replace"])
def test_a_failure_leaves_what_was_there(
    call: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    path = tmp_path / "file"
    path.write_bytes(b"old")
    monkeypatch.setattr(os, call, full)
    with pytest.raises(OutputError) as caught:
        files.write_whole(path, b"new")
    assert str(caught.value) == f"cannot write {path} (No space left on device)"
    assert (os.listdir(tmp_path), path.read_bytes()) == (["file"], b"old")


def test_an_interruption_leaves_what_was_there(tmp_path: Path) -> None:
    def pieces() -> Iterator[bytes]:
        yield b"half"
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        files.write_whole(tmp_path / "file", pieces())
    assert os.listdir(tmp_path) == []


def test_names_aside_differ_and_are_what_a_sweep_finds(tmp_path: Path) -> None:
    names = {files.aside_of(tmp_path / "file") for _ in range(50)}
    assert len(names) == 50
    for path in names:
        path.touch()
    assert set(tmp_path.glob(".*.tmp")) == names


def test_a_link_is_replaced_not_followed(tmp_path: Path) -> None:
    (tmp_path / "other").write_bytes(b"theirs")
    (tmp_path / "file").symlink_to(tmp_path / "other")
    files.write_whole(tmp_path / "file", b"ours")
    assert not (tmp_path / "file").is_symlink()
    assert (tmp_path / "other").read_bytes() == b"theirs"


def test_what_is_set_aside_replaces_nothing(tmp_path: Path) -> None:
    path = tmp_path / "file"
    (tmp_path / "file.damaged-2").symlink_to(tmp_path / "nowhere")
    for content in (b"a", b"b", b"c"):
        path.write_bytes(content)
        files.set_aside(path, "damaged")
    assert not path.exists()
    found = {p.name: p.read_bytes() for p in tmp_path.iterdir() if p.exists()}
    assert found == {"file.damaged-1": b"a", "file.damaged-3": b"b", "file.damaged-4": b"c"}


def test_a_copy_is_whole(tmp_path: Path) -> None:
    path = tmp_path / "file"
    content = os.urandom((2 << 20) + 7)
    path.write_bytes(content)
    assert files.keep_copy(path, "damaged") == tmp_path / "file.damaged-1"
    assert path.read_bytes() == (tmp_path / "file.damaged-1").read_bytes() == content


def test_what_cannot_be_kept_is_told(tmp_path: Path) -> None:
    path = tmp_path / "none"
    for keep in (files.set_aside, files.keep_copy):
        with pytest.raises(OutputError, match=r"none.* to none\.damaged-1 \(No such file or dir"):
            keep(path, "damaged")
    assert os.listdir(tmp_path) == []


def test_a_device_is_not_replaced(tmp_path: Path) -> None:
    files.require_replaceable(tmp_path / "none")
    with pytest.raises(OutputError, match="not a file; give the output another name"):
        files.require_replaceable(Path("/dev/null"))
