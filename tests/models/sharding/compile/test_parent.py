"""Compiles end with who asked for them; caches that cannot be written are typed errors."""

import errno
import os
import signal
import subprocess
import sys
import time

import psutil
import pytest

from models.errors import ConfigError, StorageFullError
from models.settings import ROOT
from models.sharding.compile import compile_layout, launch
from models.sharding.compile.parent import _host, remove_stale, working_folder
from tests.models.sharding.compile.test_compile import JOB, LAYOUT

ASKS = """
import sys
from pathlib import Path
from models.sharding.compile import compile_layout
from tests.models.sharding.compile.test_compile import JOB, LAYOUT
compile_layout(JOB, LAYOUT, "cpu", Path(sys.argv[1]), time_s=200)
"""


def until(holds, seconds=40.0):
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if found := holds():
            return found
        time.sleep(0.05)
    raise AssertionError("it did not come to pass")


def has_ended(process):
    # Where nobody waits for orphans they stay in the table.
    return not process.is_running() or process.status() == psutil.STATUS_ZOMBIE


@pytest.mark.skipif(sys.platform != "linux", reason="the signal is Linux's")
@pytest.mark.parametrize("wait_s", [0.0, 1.5])
def test_a_compile_ends_with_a_process_that_was_killed(tmp_path, wait_s):
    asking = subprocess.Popen([sys.executable, "-c", ASKS, str(tmp_path)], cwd=ROOT)
    (child,) = until(lambda: psutil.Process(asking.pid).children())
    time.sleep(wait_s)
    assert not has_ended(child)
    asking.send_signal(signal.SIGKILL)
    asking.wait()
    until(lambda: has_ended(child), 20)
    (left,) = tmp_path.glob("compiling-*")
    with working_folder(tmp_path) as folder:
        assert not left.exists()
        assert list(tmp_path.iterdir()) == [folder]
    assert list(tmp_path.iterdir()) == []


def test_a_disk_that_fills_up_while_the_child_writes_is_told_as_one(tmp_path, monkeypatch):
    full = "import os, errno; raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))"
    starts = subprocess.Popen
    monkeypatch.setattr(
        launch.subprocess, "Popen", lambda _, **rest: starts([sys.executable, "-c", full], **rest)
    )
    with pytest.raises(StorageFullError, match="No space left on device; free space"):
        compile_layout(JOB, LAYOUT, "cpu", tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_only_folders_of_dead_processes_of_this_machine_are_removed(tmp_path):
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    names = {
        f"compiling-{_host()}@{ended.pid}-abc": False,
        f"compiling-{_host()}@{os.getpid()}-abc": True,
        f"compiling-elsewhere@{ended.pid}-abc": True,
        "compiling-mine": True,
    }
    for name in names:
        (tmp_path / name).mkdir()
    remove_stale(tmp_path)
    assert {name: (tmp_path / name).exists() for name in names} == names


def test_a_cache_that_is_a_file_or_lies_below_one_is_refused(tmp_path):
    file = tmp_path / "file"
    file.touch()
    for cache in (file, file / "deeper"):
        with pytest.raises(ConfigError, match="name a folder that can be written"):
            compile_layout(JOB, LAYOUT, "cpu", cache)


def test_a_full_disk_is_told_as_one(tmp_path, monkeypatch):
    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(launch, "_compile", full)
    with pytest.raises(StorageFullError, match="free space or name another cache"):
        compile_layout(JOB, LAYOUT, "cpu", tmp_path)
    assert list(tmp_path.iterdir()) == []
