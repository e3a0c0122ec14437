import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from models.errors import AlreadyRunningError, ServiceError
from models.services import running_stack
from models.services.identity import ProcessId
from models.services.process import Command, ManagedProcess
from models.services.stack import Stack, down
from models.services.state import Part, StackState
from models.settings import ROOT, Settings

SLEEPS = "import time; time.sleep(1000)"
OWNER = """
import os, sys, time
from pathlib import Path
from models.services.process import Command
from models.services.stack import Stack
from models.settings import Settings
from flows.command.up import _ended_by_signals

home = Path(sys.argv[1])
command = Command("part", (sys.executable, "-c", "import time; time.sleep(1000)"),
                  home / "part.log", dict(os.environ), grace_s=2)
with _ended_by_signals(), Stack(Settings(_env_file=None, home=home)) as stack:
    stack.start(command)
    stack.publish(ready=True, prefect_url="http://127.0.0.1:4242", mlflow_url="http://127.0.0.1:5252")
    print("ready", flush=True)
    time.sleep(1000)
"""

Await = Callable[[Callable[[], object], str], None]


@pytest.fixture
def owner(settings: Settings) -> Iterator[subprocess.Popen[str]]:
    """A process that owns a stack of one part, as `loom up` does."""
    process = subprocess.Popen(
        [sys.executable, "-c", OWNER, str(settings.home)],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    yield process
    process.kill()
    process.wait()
    process.stdout.close()


def part_of(settings: Settings) -> ProcessId:
    state = StackState.read(settings.state_file)
    assert state is not None
    return state.parts[0].process


def test_without_a_state_file_nothing_is_up(settings: Settings):
    assert running_stack(settings) is None
    assert down(settings) is None


def test_a_running_stack_is_seen_from_another_process(
    settings: Settings, owner: subprocess.Popen[str]
):
    state = running_stack(settings)
    assert state is not None
    assert (state.owner.pid, state.ready) == (owner.pid, True)
    assert state.prefect_url == "http://127.0.0.1:4242"
    assert [part.name for part in state.parts] == ["part"]


def test_a_second_up_is_refused_with_the_addresses_of_the_first(
    settings: Settings, owner: subprocess.Popen[str]
):
    with pytest.raises(AlreadyRunningError) as caught, Stack(settings):
        pytest.fail("two stacks of one home")
    assert "http://127.0.0.1:4242" in str(caught.value)
    assert "http://127.0.0.1:5252" in str(caught.value)
    assert "loom down" in str(caught.value)
    assert running_stack(settings) is not None  # the refusal left the first alone


def test_a_stack_of_another_home_is_no_obstacle(
    settings: Settings, owner: subprocess.Popen[str], tmp_path: Path
):
    with Stack(settings.model_copy(update={"home": tmp_path / "other"})) as stack:
        assert stack.state.owner.pid == os.getpid()


def test_of_two_ups_at_once_one_wins(settings: Settings):
    both = [
        subprocess.Popen(
            [sys.executable, "-c", OWNER, str(settings.home)],
            cwd=ROOT,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for _ in range(2)
    ]
    said = {process.stdout.readline(): process for process in both if process.stdout}
    assert set(said) == {"ready\n", ""}
    _, error = said[""].communicate()
    assert "AlreadyRunningError: the stack is up already" in error
    said["ready\n"].send_signal(signal.SIGINT)
    said["ready\n"].communicate()
    assert running_stack(settings) is None


def test_down_ends_the_owner_and_its_parts(settings: Settings, owner: subprocess.Popen[str]):
    part = part_of(settings)
    state = down(settings)
    assert state is not None
    assert not state.owner.is_alive()
    assert not part.is_alive()
    assert not settings.state_file.exists()


def test_a_killed_owner_leaves_a_stale_state_that_the_next_up_cleans(
    settings: Settings, owner: subprocess.Popen[str], wait_until: Await
):
    part = part_of(settings)
    owner.send_signal(signal.SIGKILL)
    owner.wait()
    assert running_stack(settings) is None
    assert settings.state_file.exists()
    with Stack(settings) as stack:
        assert not part.is_alive()
        assert stack.state.parts == ()
    assert not settings.state_file.exists()


def test_a_recycled_process_id_is_neither_believed_nor_killed(settings: Settings):
    # The state of a machine that was rebooted: our own id now, another creation time.
    stranger = ProcessId(os.getpid(), "1")
    part = Part("Prefect server", stranger, "http://127.0.0.1:4200", "prefect.log")
    StackState(stranger, "2026-01-01T00:00:00+00:00", True, parts=(part,)).write(
        settings.state_file
    )
    assert running_stack(settings) is None
    assert down(settings) is not None  # and this test goes on
    assert not settings.state_file.exists()


@pytest.mark.parametrize("text", ["", "{", "[]", '{"owner": 1}', json.dumps({"parts": []})])
def test_a_state_file_that_cannot_be_read_counts_as_none(settings: Settings, text: str):
    settings.home.mkdir()
    settings.state_file.write_text(text)
    assert running_stack(settings) is None
    assert down(settings) is None
    assert not settings.state_file.exists()


def test_a_home_that_cannot_be_written_is_one_clear_error(settings: Settings, tmp_path: Path):
    (tmp_path / "file").write_text("")
    elsewhere = settings.model_copy(update={"home": tmp_path / "file" / "home"})
    with pytest.raises(ServiceError, match="cannot be written"), Stack(elsewhere):
        pytest.fail("a file is no folder")


def test_clients_are_ended_before_the_servers_they_report_to(
    settings: Settings, python_command: Callable[..., Command], monkeypatch: pytest.MonkeyPatch
):
    ended: list[str] = []
    stop = ManagedProcess.stop

    def note(process: ManagedProcess) -> None:
        stop(process)
        ended.append(process.command.name)

    monkeypatch.setattr(ManagedProcess, "stop", note)
    with Stack(settings) as stack:
        stack.start(python_command(SLEEPS, name="server", port=4200))
        stack.start(python_command(SLEEPS, name="worker"))
    assert ended == ["worker", "server"]


def test_a_part_that_dies_is_reported_with_its_last_lines_and_ends_the_rest(
    settings: Settings, python_command: Callable[..., Command], wait_until: Await
):
    dying = python_command("print('database is locked'); raise SystemExit(9)", name="MLflow server")
    others: list[ManagedProcess] = []

    def serve() -> None:
        with Stack(settings) as stack:
            others.append(stack.start(python_command(SLEEPS, name="other")))
            process = stack.start(dying)
            wait_until(lambda: process.exit_code is not None, "the part dies")
            stack.check()

    with pytest.raises(ServiceError) as caught:
        serve()
    assert "MLflow server ended by itself with exit code 9" in str(caught.value)
    assert "| database is locked" in str(caught.value)
    assert caught.value.exit_code == 4
    assert others[0].exit_code is not None
    assert not settings.state_file.exists()


def test_a_failed_one_off_command_is_an_error_with_its_log(
    settings: Settings, python_command: Callable[..., Command]
):
    failing = python_command("print('no flow there'); raise SystemExit(1)", name="deployment")
    with pytest.raises(ServiceError, match="no flow there"), Stack(settings) as stack:
        stack.run(failing, timeout_s=60)


def test_asking_whether_a_stack_runs_imports_nothing_heavy():
    # Each `loom` command asks; all of these would be paid by all of them.
    heavy = {"psutil", "filelock", "urllib.request", "rich", "prefect", "mlflow", "subprocess"}
    source = (
        "import sys; import models.settings; before = set(sys.modules); import models.services; "
        "print(*set(sys.modules) - before)"
    )
    done = subprocess.run(
        [sys.executable, "-c", source], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert heavy.isdisjoint(done.stdout.split())
