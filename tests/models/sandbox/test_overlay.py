"""Copy-on-write workspaces: the base stays, steps come back, accept and discard."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from models.errors import UnknownNameError
from models.sandbox import SandboxError, SandboxUnavailableError, ShellBusyError
from models.sandbox.bubblewrap import find_bwrap
from models.sandbox.layers import Change
from models.sandbox.overlay import OverlaySandbox
from models.settings import ROOT


@pytest.fixture
def base(workspace: Path) -> Path:
    """A workspace with something in it."""
    (workspace / "src/deep").mkdir(parents=True)
    (workspace / "src/a.txt").write_text("a\n")
    (workspace / "src/deep/b.txt").write_text("b\n")
    (workspace / "gone.txt").write_text("gone\n")
    (workspace / "run.sh").write_text("#!/bin/sh\n")
    (workspace / "run.sh").chmod(0o755)
    return workspace


@pytest.fixture
def overlay(base: Path, tmp_path: Path) -> Iterator[OverlaySandbox]:
    try:
        sandbox = OverlaySandbox(base, tmp_path / "state")
    except SandboxUnavailableError as error:
        pytest.skip(f"this host: {error}")
    yield sandbox
    sandbox.close()


def tree(root: Path) -> dict[str, str]:
    """All of a folder: contents of files, targets of links, a slash for folders."""
    found = {}
    for place in sorted(root.rglob("*")):
        name = str(place.relative_to(root))
        if place.is_symlink():
            found[name] = f"-> {os.readlink(place)}"
        else:
            found[name] = "/" if place.is_dir() else place.read_text()
    return found


CHANGE = """
echo changed >> src/a.txt; rm gone.txt; mkdir new; echo n > new/file; ln -s src/a.txt link
rm -r src/deep; mkdir src/deep; echo other > src/deep/c.txt; mv run.sh moved.sh
"""


def test_the_workspace_stays_while_commands_see_their_changes(
    overlay: OverlaySandbox, base: Path
) -> None:
    before = tree(base)
    assert overlay.run(CHANGE).output == ""
    assert overlay.run("cat src/a.txt new/file link src/deep/c.txt; ls").output == (
        "a\nchanged\nn\na\nchanged\nother\nlink\nmoved.sh\nnew\nsrc\n"
    )
    assert tree(base) == before
    assert overlay.changes() == [
        Change("gone.txt", "removed"),
        Change("link", "added"),
        Change("moved.sh", "added"),
        Change("new", "added"),
        Change("new/file", "added"),
        Change("run.sh", "removed"),
        Change("src/a.txt", "changed"),
        Change("src/deep/b.txt", "removed"),
        Change("src/deep/c.txt", "added"),
    ]


def test_files_are_read_and_written_in_the_overlay(overlay: OverlaySandbox, base: Path) -> None:
    overlay.run("echo from it > made")
    assert overlay.files.read("made") == b"from it\n"
    overlay.files.write("src/a.txt", b"from us\n")
    overlay.files.write("x/y/z", b"deep\n")
    assert overlay.run("cat src/a.txt x/y/z; rm x/y/z").output == "from us\ndeep\n"
    assert not overlay.files.exists("x/y/z")
    assert (base / "src/a.txt").read_text() == "a\n"
    assert not (base / "x").exists()


def test_going_back_to_a_step_brings_back_all_files(overlay: OverlaySandbox, base: Path) -> None:
    seen = []
    for step, command in enumerate(["echo 1 > f", CHANGE, "rm -r src new; echo 3 > f"], 1):
        overlay.run(command)
        assert overlay.snapshot() == step
        seen.append(overlay.run("ls -R; cat f src/a.txt new/file 2>&1").output)
    assert len(set(seen)) == 3
    for step in (1, 3, 2, 1):
        overlay.restore(step)
        assert overlay.run("ls -R; cat f src/a.txt new/file 2>&1").output == seen[step - 1]
    with pytest.raises(UnknownNameError, match="no snapshot named '9'"):
        overlay.restore(9)


def test_a_snapshot_is_not_changed_by_what_comes_after(overlay: OverlaySandbox) -> None:
    overlay.run("echo first > f; echo same > g")
    overlay.snapshot()
    overlay.snapshot()
    overlay.run("printf second >> f")
    overlay.restore(1)
    assert overlay.run("cat f g").output == "first\nsame\n"
    overlay.run("printf third >> f; printf more >> g")
    overlay.restore(2)
    assert overlay.run("cat f g").output == "first\nsame\n"


def test_unchanged_files_of_steps_share_their_space(
    overlay: OverlaySandbox, tmp_path: Path
) -> None:
    overlay.run("head -c 1000000 /dev/zero > big")
    first, second = overlay.snapshot(), overlay.snapshot()
    places = [tmp_path / "state/steps" / str(step) / "big" for step in (first, second)]
    assert places[0].stat().st_ino == places[1].stat().st_ino


def test_accept_makes_the_workspace_what_commands_saw(
    overlay: OverlaySandbox, base: Path, tmp_path: Path
) -> None:
    twin = tmp_path / "twin"
    shutil.copytree(base, twin, symlinks=True)
    overlay.run(CHANGE)
    made = overlay.accept()
    os.system(f"cd {twin} && {{ {CHANGE} }}")
    assert tree(base) == tree(twin)
    assert os.access(base / "moved.sh", os.X_OK)
    assert Change("gone.txt", "removed") in made
    assert overlay.changes() == []
    assert (base / "new/file").stat().st_uid == base.stat().st_uid
    assert overlay.run("cat new/file").output == "n\n"


def test_discard_forgets_everything(overlay: OverlaySandbox, base: Path) -> None:
    before = tree(base)
    overlay.run(CHANGE)
    overlay.snapshot()
    overlay.discard()
    assert overlay.changes() == []
    assert overlay.snapshots() == []
    assert tree(base) == before
    assert overlay.run("cat gone.txt src/deep/b.txt").output == "gone\nb\n"


def test_a_new_process_takes_on_changes_and_steps(
    overlay: OverlaySandbox, base: Path, tmp_path: Path
) -> None:
    overlay.run("echo kept > f")
    overlay.snapshot()
    overlay.close()
    again = OverlaySandbox(base, tmp_path / "state")
    assert again.run("cat f").output == "kept\n"
    assert again.snapshots() == [1]
    again.close()


def test_one_shell_holds_the_overlay_and_refuses_a_second_command(
    overlay: OverlaySandbox,
) -> None:
    shell = overlay.shell()
    assert overlay.shell() is shell
    shell.run("sleep 60", soft_s=0.1)
    with pytest.raises(ShellBusyError):
        overlay.run("true")
    shell.interrupt()
    assert overlay.run("cat; exit 3", stdin=b"it's typed\n").output == "it's typed\n"
    assert overlay.run("exit 3").exit_code == 3
    assert overlay.run(["printf", "%s|", "a b", "it's"]).output == "a b|it's|"
    assert overlay.run("sleep 60", timeout_s=0.2).killed == "timeout"


def test_a_state_inside_the_workspace_is_refused(base: Path) -> None:
    try:
        with pytest.raises(SandboxError, match="lie in each other"):
            OverlaySandbox(base, base / "state")
    except SandboxUnavailableError as error:
        pytest.skip(f"this host: {error}")


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
def test_an_ordinary_user_has_overlays_too(overlay: OverlaySandbox) -> None:
    bwrap = find_bwrap()
    interpreter = Path(sys.executable).resolve()
    if bwrap is None or not all(
        place.stat().st_mode & 0o001 for place in (*bwrap.parents, *interpreter.parents, ROOT)
    ):
        pytest.skip("the checkout lies where only root may go")
    script = (
        "import os, tempfile\n"
        "from models.sandbox import OverlaySandbox\n"
        "with tempfile.TemporaryDirectory(dir='/var/tmp') as top:\n"
        "    base, state = top + '/base', top + '/state'\n"
        "    os.mkdir(base); open(base + '/a', 'w').close()\n"
        "    with OverlaySandbox(base, state) as sandbox:\n"
        "        sandbox.run('echo 1 > f; rm a'); sandbox.snapshot()\n"
        "        sandbox.files.write('f', b'2\\n'); sandbox.restore(1)\n"
        "        print(sandbox.run('cat f').output, len(sandbox.accept()), os.listdir(base))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, cwd="/",
        user=65_534, group=65_534, extra_groups=[], timeout=60,
        env={"PYTHONPATH": str(ROOT), "HOME": "/nonexistent", "PATH": os.environ["PATH"],
             "PYTHONDONTWRITEBYTECODE": "1"},
    )  # fmt: skip
    assert done.stderr == ""
    assert done.stdout == "1\n 2 ['f']\n"
