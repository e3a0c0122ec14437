import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from models.errors import ServiceError
from models.services.guard import descendants
from models.services.identity import ProcessId
from models.services.ports import any_port
from models.services.process import Command, ManagedProcess, tail
from models.services.web import answers
from models.settings import ROOT

SLEEPS = "import time; print('running', flush=True); time.sleep(1000)"
IGNORES_SIGTERM = """
import signal, time
signal.signal(signal.SIGTERM, lambda *_: print("asked", flush=True))
print("running", flush=True)
while True:
    time.sleep(0.1)
"""
# It leaves its session and its parent, as a flow run of a killed worker does, and is stubborn.
GRANDCHILD = """
import os, signal, time
if os.fork() == 0:
    os.setsid()
    if os.fork() > 0:
        os._exit(0)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    print("grandchild", flush=True)
    time.sleep(1000)
"""
HAS_CHILD = """
import subprocess, sys
subprocess.run([sys.executable, "-c", "import time; print('child', flush=True); time.sleep(1000)"])
"""
REPORTS_ITS_CHILD = """
import signal, subprocess, sys, time
child = "import signal, sys, time; signal.signal(signal.SIGTERM, lambda *_: sys.exit(0)); "
child += "print('child', flush=True); time.sleep(1000)"
def end(*_):
    print("asked", flush=True)
    sys.exit()
signal.signal(signal.SIGTERM, end)
process = subprocess.Popen([sys.executable, "-c", child])
print("the child ended with", process.wait(), flush=True)
time.sleep(1000)
"""
HAS_GRANDCHILD = GRANDCHILD + "time.sleep(1000)"
LEAVES_GRANDCHILD = GRANDCHILD + "time.sleep(3); raise SystemExit(7)"
SERVER = """
import http.server, sys
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200); self.end_headers(); self.wfile.write(b"true")
http.server.HTTPServer(("127.0.0.1", {port}), Handler).serve_forever()
"""

Build = Callable[..., Command]
Launch = Callable[[Command], ManagedProcess]
Await = Callable[[Callable[[], object], str], None]
IsGone = Callable[[int], bool]


def written(process: ManagedProcess, word: str) -> bool:
    return any(word in line for line in tail(process.command.log, 1000))


def test_a_child_that_ignores_sigterm_is_asked_twice_and_then_killed(
    python_command: Build, launch: Launch, wait_until: Await, is_gone: IsGone
):
    process = launch(python_command(IGNORES_SIGTERM, grace_s=2))
    wait_until(lambda: written(process, "running"), "the child runs")
    (child,) = descendants(process.pid)
    process.stop()
    assert is_gone(child)
    assert process.exit_code is not None
    assert tail(process.command.log, 10).count("asked") == 2


def test_a_child_that_obeys_is_not_kept_waiting_for_the_grace(
    python_command: Build, launch: Launch, wait_until: Await
):
    # A wait of the whole grace would run into the time-out of the test.
    process = launch(python_command(SLEEPS, grace_s=10_000))
    wait_until(lambda: written(process, "running"), "the child runs")
    process.stop()
    assert process.exit_code == 0


def test_stopping_ends_grandchildren_that_left_their_session(
    python_command: Build, launch: Launch, wait_until: Await, is_gone: IsGone
):
    process = launch(python_command(HAS_GRANDCHILD, grace_s=1))
    wait_until(lambda: written(process, "grandchild"), "the grandchild runs")
    tree = descendants(process.pid)
    assert len(tree) == 2  # the command and its adopted grandchild
    process.stop()
    assert all(is_gone(pid) for pid in tree)


def test_a_killed_guard_takes_its_command_along_and_the_rest_is_found_by_session(
    python_command: Build, launch: Launch, wait_until: Await, is_gone: IsGone
):
    process = launch(python_command(HAS_CHILD))
    wait_until(lambda: written(process, "child"), "the child runs")
    tree = descendants(process.pid)
    assert len(tree) == 2
    os.kill(process.pid, signal.SIGKILL)
    wait_until(lambda: is_gone(tree[0]), "the command dies with its guard")
    process.kill()
    wait_until(lambda: all(is_gone(pid) for pid in tree), "the rest is gone")


def test_what_the_command_started_is_ended_before_the_command(
    python_command: Build, launch: Launch, wait_until: Await
):
    # Prefect's worker must still be there when its flow runs report that they crashed.
    process = launch(python_command(REPORTS_ITS_CHILD))
    wait_until(lambda: written(process, "child"), "the child runs")
    process.stop()
    assert tail(process.command.log, 2) == ["the child ended with 0", "asked"]


def test_a_command_that_ends_by_itself_leaves_no_grandchild(
    python_command: Build, launch: Launch, wait_until: Await, is_gone: IsGone
):
    process = launch(python_command(LEAVES_GRANDCHILD, grace_s=1))
    wait_until(lambda: written(process, "grandchild"), "the grandchild runs")
    tree = descendants(process.pid)
    wait_until(lambda: process.exit_code is not None, "the command ends")
    assert process.exit_code == 7
    assert all(is_gone(pid) for pid in tree)


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="needs PR_SET_PDEATHSIG")
def test_children_die_with_a_parent_that_is_killed(
    tmp_path: Path, wait_until: Await, is_gone: IsGone
):
    log = tmp_path / "child.log"
    parent_source = f"""
import os, sys, time
from pathlib import Path
from models.services.process import Command, ManagedProcess
command = Command("child", (sys.executable, "-u", "-c", {HAS_GRANDCHILD!r}),
                  Path({str(log)!r}), dict(os.environ), grace_s=1)
process = ManagedProcess(command)
print(process.pid, flush=True)
time.sleep(1000)
"""
    parent = subprocess.Popen(
        [sys.executable, "-c", parent_source], stdout=subprocess.PIPE, text=True, cwd=ROOT
    )
    try:
        assert parent.stdout is not None
        guard = int(parent.stdout.readline())
        wait_until(lambda: log.exists() and "grandchild" in log.read_text(), "all of them run")
        tree = [guard, *descendants(guard)]
        assert len(tree) == 3
    finally:
        parent.send_signal(signal.SIGKILL)
        parent.wait()
    wait_until(lambda: all(is_gone(pid) for pid in tree), "the tree dies with its parent")


def test_a_thread_that_ends_does_not_take_the_processes_it_started_along(
    python_command: Build, launch: Launch, wait_until: Await
):
    # Linux sends the parent-death signal when the starting *thread* ends.
    started: list[ManagedProcess] = []
    command = python_command(SLEEPS)
    thread = threading.Thread(target=lambda: started.append(launch(command)))
    thread.start()
    thread.join()
    wait_until(lambda: written(started[0], "running"), "the child runs")
    time.sleep(1)  # the signal has long arrived
    assert started[0].exit_code is None


def test_a_child_that_dies_before_it_is_ready_is_quoted(python_command: Build, launch: Launch):
    source = "print('first'); print('address already in use'); raise SystemExit(3)"
    process = launch(python_command(source, name="Prefect server", probe=lambda: False))
    with pytest.raises(ServiceError) as caught:
        process.wait_ready()
    message = str(caught.value)
    assert "Prefect server ended by itself with exit code 3" in message
    assert str(process.command.log) in message
    assert "| address already in use" in message


def test_only_the_lines_of_this_start_are_quoted(python_command: Build, launch: Launch):
    command = python_command("print('new'); raise SystemExit(1)", probe=lambda: False)
    command.log.write_text("a line of yesterday\n")
    with pytest.raises(ServiceError) as caught:
        launch(command).wait_ready()
    assert "| new" in str(caught.value)
    assert "yesterday" not in str(caught.value)


def test_a_server_that_never_answers_is_stopped_and_quoted(
    python_command: Build, launch: Launch, is_gone: IsGone
):
    command = python_command(
        "print('migrating', flush=True)\n" + SLEEPS,
        url="http://127.0.0.1:1",
        probe=lambda: False,
        ready_timeout_s=2,
    )
    process = launch(command)
    with pytest.raises(ServiceError, match=r"did not answer at http://127.0.0.1:1 within 2 s"):
        process.wait_ready()
    assert is_gone(process.pid)


def test_a_server_is_ready_when_it_answers_on_its_port(python_command: Build, launch: Launch):
    port = any_port()
    url = f"http://127.0.0.1:{port}"
    command = python_command(SERVER.format(port=port), port=port, probe=lambda: answers(url))
    process = launch(command)
    process.wait_ready()
    assert process.ready_after_s is not None
    process.stop()
    assert not answers(url)


def test_an_answer_of_somebody_elses_server_does_not_make_ours_ready(
    python_command: Build, launch: Launch, wait_until: Await
):
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        process = launch(python_command(SLEEPS, port=port, probe=lambda: True))
        wait_until(lambda: written(process, "running"), "the child runs")
        assert not process.is_ready()


def test_loopback_servers_are_asked_directly_whatever_the_proxy_settings(
    python_command: Build, launch: Launch, monkeypatch: pytest.MonkeyPatch
):
    port = any_port()
    url = f"http://127.0.0.1:{port}"
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    monkeypatch.delenv("no_proxy", raising=False)
    command = python_command(SERVER.format(port=port), port=port, probe=lambda: answers(url))
    launch(command).wait_ready()


def test_a_long_log_is_put_aside_when_its_process_starts_again(
    python_command: Build, launch: Launch, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("models.services.process.LOG_LIMIT_BYTES", 10)
    command = python_command("print('fresh')")
    command.log.write_text("more than ten bytes\n")
    assert launch(command).wait(60) == 0
    assert command.log.read_text() == "fresh\n"
    assert command.log.with_suffix(".log.1").read_text() == "more than ten bytes\n"


def test_a_recycled_process_id_is_another_process():
    me = ProcessId.of(os.getpid())
    assert me.is_alive()
    assert not ProcessId(me.pid, "0").is_alive()
    assert not ProcessId(me.pid, "0").send(signal.SIGKILL)  # or this test would end here
