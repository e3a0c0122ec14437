"""The persistent shell, on the trusted and on the sandboxed level."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from pathlib import Path

import pytest

from models.errors import ConfigError
from models.sandbox import Sandbox, SandboxError, Shell, ShellBusyError


def test_folder_and_exported_variables_persist_and_a_reset_clears_them(
    shell: Shell, workspace: Path
) -> None:
    (workspace / "inner").mkdir()
    assert shell.run("cd inner; export COLOUR=red; greet() { echo hello; }").exit_code == 0
    later = shell.run('pwd; echo "$COLOUR"; greet')
    assert later.output == f"{workspace}/inner\nred\nhello\n"
    assert later.cwd == f"{workspace}/inner"
    shell.reset()
    assert shell.run('pwd; echo "[$COLOUR]"').output == f"{workspace}\n[]\n"


@pytest.mark.parametrize(
    ("command", "code"),
    [
        ("true", 0),
        ("false", 1),
        ("(exit 42)", 42),
        ("kill -9 $BASHPID &\nwait $!", 137),
        ("no-such-program", 127),
        ("if then", 2),
        ("false | true", 0),
        ("sh -c 'kill -TERM $$'", 143),
    ],
)
def test_exit_codes_are_exact(shell: Shell, command: str, code: int) -> None:
    assert shell.run(command).exit_code == code


def test_the_exit_code_of_a_command_is_there_for_the_next_one(shell: Shell) -> None:
    shell.run("(exit 42)")
    assert shell.run("echo $?").output == "42\n"


def test_a_silent_command_past_the_soft_timeout_is_said_to_run_and_can_be_waited_for(
    shell: Shell,
) -> None:
    first = shell.run("echo begun; sleep 0.6; echo ended", soft_s=0.2)
    assert (first.status, first.exit_code, first.output) == ("running", None, "begun\n")
    with pytest.raises(ShellBusyError, match="still runs"):
        shell.run("echo too early")
    last = shell.poll(soft_s=10)
    assert (last.status, last.exit_code, last.output) == ("finished", 0, "begun\nended\n")


def test_ctrl_c_stops_a_program_and_a_loop_of_the_shell_and_keeps_the_state(shell: Shell) -> None:
    shell.run("KEPT=1; cd /usr")
    for endless in ("sleep 60", "while :; do :; done", "while :; do sleep 60; done"):
        assert shell.run(endless, soft_s=0.2).status == "running"
        assert shell.interrupt(soft_s=5).exit_code == 130
    assert shell.run("pwd; echo $KEPT").output == "/usr\n1\n"


def test_a_hard_timeout_kills_the_whole_process_tree_and_leaves_the_shell(shell: Shell) -> None:
    names = [f"sleep 6{os.getpid()}{number}" for number in range(5)]
    shell.run(f"KEPT=1; {names[0]} &")
    command = f"setsid {names[1]} & ({names[2]} & exec {names[3]}) & {names[4]}"
    killed = shell.run(command, soft_s=10, hard_s=0.3)
    assert killed.status == "killed"
    assert killed.exit_code in (130, 137)
    assert killed.duration_s < 5
    assert [_count(name, 0) for name in names[1:]] == [0, 0, 0, 0]
    assert _count(names[0], 1) == 1
    assert "1" in shell.run("echo $KEPT").output.splitlines()


def test_a_command_that_ignores_ctrl_c_dies_with_the_shell_and_the_next_one_is_fresh(
    shell: Shell,
) -> None:
    killed = shell.run("LOST=1; trap '' INT; while :; do :; done", soft_s=10, hard_s=0.2)
    assert (killed.status, killed.exit_code) == ("killed", 137)
    assert shell.run('echo "[$LOST]"').output == "[]\n"


def test_ten_megabytes_are_cut_to_head_and_tail_and_saved_as_a_whole(
    shell: Shell, sandbox: Sandbox
) -> None:
    done = shell.run("seq 1 2000000 | head -c 10000000", soft_s=60)
    assert done.exit_code == 0
    assert done.output_bytes == 10_000_000
    assert len(done.output) < sandbox.limits.output_bytes + 300
    assert done.output.startswith("1\n2\n3\n")
    whole = done.full_output
    assert whole is not None
    assert str(whole) in done.output
    content = whole.read_bytes()
    assert len(content) == 10_000_000
    assert done.output.endswith(content[-1000:].decode())
    # The command itself can read it as well, on either level.
    assert shell.run(f"wc -c < {whole}").output.strip() == "10000000"


def test_heredocs_many_lines_quotes_and_utf8_arrive_as_they_are(shell: Shell) -> None:
    script = """cat <<'END'
$not expanded `either` "quotes" 'more' \\ back
	tab, ünïcödé 漢字 🎈 !history !!
END
for word in a b
do
  printf '%s;' "$word"
done
echo "it's"
"""
    assert shell.run(script).output == (
        "$not expanded `either` \"quotes\" 'more' \\ back\n"
        "\ttab, ünïcödé 漢字 🎈 !history !!\n"
        "a;b;it's\n"
    )


def test_output_without_a_last_line_feed_is_not_changed(shell: Shell) -> None:
    assert shell.run("printf 'no line feed'").output == "no line feed"
    assert shell.run("printf '\\r\\n'").output == "\r\n"


def test_a_separator_in_the_output_is_no_end(shell: Shell) -> None:
    done = shell.run("printf 'a\\036b\\036c'; sleep 0.1; printf '\\036'")
    assert done.output == "a\x1eb\x1ec\x1e"


def test_pagers_do_not_wait_for_keys(shell: Shell) -> None:
    done = shell.run('seq 500 | ${PAGER:-more} | tail -1; echo "$GIT_PAGER $MANPAGER"', soft_s=5)
    assert (done.status, done.output) == ("finished", "500\ncat cat\n")


def test_exit_is_told_with_its_code_and_the_next_command_gets_a_fresh_shell(
    shell: Shell, workspace: Path
) -> None:
    shell.run("cd /usr; LOST=1")
    gone = shell.run("echo bye; exit 7")
    assert (gone.status, gone.exit_code) == ("exited", 7)
    assert gone.output.startswith("bye\n")
    assert shell.run('pwd; echo "[$LOST]"').output == f"{workspace}\n[]\n"


def test_background_servers_live_on_and_answer_later_commands(shell: Shell) -> None:
    shell.run("python3 -u -m http.server 0 --bind 127.0.0.1 > server.log 2>&1 &")
    script = (
        "for i in $(seq 100); do grep -q port server.log && break; sleep 0.05; done; "
        "port=$(sed -n 's/.*port \\([0-9]*\\).*/\\1/p' server.log); "
        'python3 -c "import urllib.request as u, sys; '
        "print(u.urlopen('http://127.0.0.1:' + sys.argv[1]).status)\" $port; kill %1"
    )
    assert "200\n" in shell.run(script, soft_s=20).output


def test_what_is_typed_reaches_the_program_that_runs_and_no_later_command(shell: Shell) -> None:
    shell.run('read -r line; echo "got $line"', soft_s=0.1)
    assert shell.send("two words\n", soft_s=5).output == "got two words\n"
    shell.run("cat", soft_s=0.1)
    assert shell.send("echo eaten\n", soft_s=0.2).output == "echo eaten\n"
    assert shell.send("\x04", soft_s=5).exit_code == 0
    assert shell.run("echo mine").output == "mine\n"


def test_variables_of_one_command_are_gone_after_it(shell: Shell) -> None:
    assert shell.run('echo "$TOKEN"', env={"TOKEN": "it's secret"}).output == "it's secret\n"
    assert shell.run('echo "[$TOKEN]"').output == "[]\n"
    shell.run("sleep 60", env={"TOKEN": "x"}, soft_s=0.1)
    shell.interrupt()
    assert shell.run('echo "[$TOKEN]"').output == "[]\n"


def test_a_program_that_upsets_the_terminal_does_not_upset_the_next_command(shell: Shell) -> None:
    shell.run("stty raw echo opost onlcr")
    assert shell.run("printf 'a\\nb\\n'").output == "a\nb\n"


def test_a_nul_byte_in_a_command_is_refused_before_it_runs(shell: Shell) -> None:
    with pytest.raises(ConfigError, match="NUL"):
        shell.run("echo a\0b")


def test_closing_ends_what_a_shell_left_in_the_background(shell: Shell, sandbox: Sandbox) -> None:
    mark = f"sleep 9{os.getpid()}"
    shell.run(f"(setsid {mark} &) ; {mark} & disown")
    assert _count(mark, 2) == 2
    sandbox.close()
    assert _count(mark, 0) == 0
    with pytest.raises(SandboxError, match="closed"):
        shell.run("true")


@pytest.mark.parametrize("hard_s", [3e6, 1e10, float("inf")])
def test_a_deadline_far_away_holds_nobody_up(shell: Shell, hard_s: float) -> None:
    assert shell.run("sleep 0.1; echo done", hard_s=hard_s).output == "done\n"


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_reader_that_fails_ends_its_command_and_the_next_gets_a_fresh_shell(
    shell: Shell, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert shell.run("echo one").output == "one\n"
    with monkeypatch.context() as patched:
        patched.setattr(Shell, "_take", lambda *_: 1 / 0)
        assert shell.run("echo two", soft_s=10).status == "exited"
    assert shell.run("echo three").output == "three\n"


def _count(args: str, hoped: int) -> int:
    """Count processes with this command line, once they are as many as hoped, or after 5 s."""
    end = time.monotonic() + 5
    while True:
        found = 0
        for place in Path("/proc").glob("[0-9]*/cmdline"):
            with contextlib.suppress(OSError):
                found += place.read_bytes().replace(b"\0", b" ").strip() == args.encode()
        if found == hoped or time.monotonic() > end:
            return found
        time.sleep(0.02)


def test_a_shell_killed_from_outside_is_noticed_and_replaced(shell: Shell) -> None:
    gone = shell.run(f"kill -{int(signal.SIGKILL)} $$", soft_s=10)
    assert (gone.status, gone.exit_code) == ("exited", 137)
    assert shell.run("echo back").output == "back\n"
