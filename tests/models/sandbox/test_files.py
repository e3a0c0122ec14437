"""Files of a workspace: no path leads out, writes are whole, nothing but regular files."""

from __future__ import annotations

import os
import shutil
import stat
import threading
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models.sandbox import Files, OutsideWorkspaceError
from models.sandbox.files import Entry, NotAFileError, TooLargeError


@pytest.fixture
def files(workspace: Path) -> Files:
    return Files(workspace)


def test_a_name_may_be_as_long_as_the_file_system_takes(workspace: Path) -> None:
    for name in ("漢" * 85, "a" * 255):
        Files(workspace).write(name, b"x")
        assert [entry.name for entry in workspace.iterdir()] == [name]
        (workspace / name).unlink()


def test_paths_are_read_relative_and_absolute(files: Files, workspace: Path) -> None:
    files.write("a/b/c.txt", b"deep")
    assert files.read("a/b/c.txt") == b"deep"
    assert files.read(workspace / "a/./b/../b/c.txt") == b"deep"
    assert (workspace / "a/b/c.txt").read_bytes() == b"deep"


@pytest.mark.parametrize("path", ["../outside", "/etc/passwd", "a/../../outside", "/"])
def test_paths_that_lead_out_are_refused_and_named(
    files: Files, workspace: Path, path: str
) -> None:
    (workspace / "a").mkdir()
    (workspace.parent / "outside").write_text("secret")
    for attempt in (files.read, files.stat, lambda p: files.write(p, b"x"), files.remove):
        with pytest.raises(OutsideWorkspaceError, match="outside the workspace"):
            attempt(path)
    assert (workspace.parent / "outside").read_text() == "secret"


@pytest.mark.parametrize("target", ["/etc", "..", "../../..", "inner/../.."])
def test_links_that_lead_out_are_refused(files: Files, workspace: Path, target: str) -> None:
    (workspace / "inner").mkdir()
    (workspace / "link").symlink_to(target)
    for path in ("link", "link/passwd", "inner/../link/x"):
        with pytest.raises(OutsideWorkspaceError):
            files.read(path)
        with pytest.raises(OutsideWorkspaceError):
            files.write(path, b"x")


def test_links_within_are_followed_and_stay_links(files: Files, workspace: Path) -> None:
    files.write("real/file", b"old")
    (workspace / "relative").symlink_to("real/file")
    (workspace / "absolute").symlink_to(workspace / "real")
    (workspace / "chain").symlink_to("absolute/../relative")
    for path in ("relative", "absolute/file", "chain"):
        assert files.read(path) == b"old"
    files.write("chain", b"new")
    assert (workspace / "chain").is_symlink()
    assert (workspace / "real/file").read_bytes() == b"new"


def test_a_loop_of_links_ends(files: Files, workspace: Path) -> None:
    (workspace / "a").symlink_to("b")
    (workspace / "b").symlink_to("a")
    with pytest.raises(OSError, match="Too many levels"):
        files.read("a")


def test_a_folder_swapped_for_a_link_while_we_walk_never_leads_out(
    files: Files, workspace: Path
) -> None:
    outside = workspace.parent / "outside"
    outside.mkdir()
    (outside / "file").write_bytes(b"secret")
    (workspace / "real").mkdir()
    (workspace / "real" / "file").write_bytes(b"mine")
    (workspace / "link").symlink_to(outside)
    is_over = threading.Event()

    def swap() -> None:
        place = workspace / "here"
        while not is_over.is_set():
            for name in ("real", "link"):
                try:
                    os.rename(workspace / name, place)
                    os.rename(place, workspace / name)
                except OSError:
                    # A write made a folder of its own in the moment between.
                    shutil.rmtree(place, ignore_errors=True)

    swapper = threading.Thread(target=swap)
    swapper.start()
    seen = set()
    try:
        for _ in range(3000):
            try:
                seen.add(files.read("here/file"))
                files.write("here/file", b"mine")
            except OSError as error:
                seen.add(type(error).__name__.encode())
    finally:
        is_over.set()
        swapper.join()
    assert b"secret" not in seen
    assert (outside / "file").read_bytes() == b"secret"
    assert os.listdir(outside) == ["file"]
    assert b"OutsideWorkspaceError" in seen


def test_what_is_no_regular_file_is_refused_and_never_waited_for(
    files: Files, workspace: Path
) -> None:
    os.mkfifo(workspace / "pipe")
    (workspace / "folder").mkdir()
    for name, kind in (("pipe", "a pipe"), ("folder", "a folder")):
        with pytest.raises(NotAFileError, match=kind):
            files.read(name)
        with pytest.raises(NotAFileError, match=kind):
            files.write(name, b"x")


def test_mode_is_kept_but_set_user_id_is_not_given_to_new_bytes(
    files: Files, workspace: Path
) -> None:
    files.write("tool", b"#!/bin/sh\n", mode=0o755)
    files.write("tool", b"#!/bin/sh\necho\n")
    assert stat.S_IMODE((workspace / "tool").stat().st_mode) == 0o755
    (workspace / "tool").chmod(0o4755)
    files.write("tool", b"changed")
    assert stat.S_IMODE((workspace / "tool").stat().st_mode) == 0o755


def test_a_write_through_one_name_leaves_a_hard_link_to_the_old_bytes(
    files: Files, workspace: Path
) -> None:
    outside = workspace.parent / "outside"
    outside.write_bytes(b"host")
    os.link(outside, workspace / "inside")
    files.write("inside", b"new")
    assert outside.read_bytes() == b"host"


def test_a_failed_write_leaves_the_old_file_and_no_litter(
    files: Files, workspace: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files.write("file", b"old")

    def refuse(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "rename", refuse)
    with pytest.raises(OSError, match="No space"):
        files.write("file", b"new")
    assert os.listdir(workspace) == ["file"]
    assert files.read("file") == b"old"


def test_a_file_larger_than_asked_for_is_refused(files: Files) -> None:
    files.write("big", b"x" * 11)
    assert files.read("big", most_bytes=11) == b"x" * 11
    with pytest.raises(TooLargeError, match="11 bytes, more than 10"):
        files.read("big", most_bytes=10)


def test_folders_are_listed_sorted_to_a_depth_without_following_links(
    files: Files, workspace: Path
) -> None:
    files.write("b/deep/deeper.txt", b"12")
    files.write("a.txt", b"123")
    files.write(".hidden", b"")
    (workspace / "link").symlink_to("/etc")
    shown = files.list(depth=2, hidden=False)
    assert [(entry.path, entry.kind) for entry in shown] == [
        ("a.txt", "file"),
        ("b", "folder"),
        ("b/deep", "folder"),
        ("link", "link"),
    ]
    assert files.list("b", depth=9)[-1] == Entry("deep/deeper.txt", "file", 2)
    assert files.list()[0].path == ".hidden"
    with pytest.raises(NotADirectoryError):
        files.list("a.txt")


def test_an_unconfined_level_reaches_what_the_user_reaches(workspace: Path) -> None:
    elsewhere = workspace.parent / "elsewhere"
    free = Files(workspace, confined=False)
    free.write(elsewhere, b"x")
    assert free.read("../elsewhere") == b"x"


@settings(max_examples=150, deadline=None)
@given(st.lists(st.sampled_from(["..", ".", "a", "b", "up", "out", "home", ""]), max_size=8))
def test_no_walk_differs_from_the_systems_own_unless_it_leads_out(
    tmp_path_factory: pytest.TempPathFactory, parts: list[str]
) -> None:
    root = tmp_path_factory.mktemp("walk")
    (root / "a" / "b").mkdir(parents=True)
    (root / "a" / "up").symlink_to("..")
    (root / "out").symlink_to("../..")
    (root / "a" / "b" / "home").symlink_to(root)
    path = "/".join(parts).lstrip("/")
    real = os.path.realpath(root / path)
    try:
        found = Files(root).stat(path)
    except OutsideWorkspaceError:
        # Only a way that leaves the root at some step may be refused.
        assert ".." in parts or "out" in parts or "up" in parts
    except (FileNotFoundError, NotADirectoryError):
        assert not os.path.exists(root / path)
    else:
        assert real.startswith(str(root))
        assert (found.st_dev, found.st_ino) == (os.stat(real).st_dev, os.stat(real).st_ino)
