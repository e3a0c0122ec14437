"""Compile in a process of its own, within a time and a memory limit."""

from __future__ import annotations

import importlib.util
import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import psutil

from models.errors import ConfigError, StorageFullError, is_storage_full
from models.settings import ROOT
from models.sharding.compile.cache import recall, remember
from models.sharding.compile.parent import working_folder
from models.sharding.compile.request import Request, request_of
from models.sharding.compile.result import Compiled, Phase, Where
from models.sharding.job import Job
from models.sharding.layout import Layout, why_illegal

INSTALL = "python3.11 .ci/install.py --extra tpu"
_LOOK_EVERY_S = 0.1
_LAST_LINES = 8
_LOCK_WORDS = ("libtpu_lockfile", "already in use by", "TPU is already in use")
_CPU_FLAGS = "--xla_backend_optimization_level=0 --xla_llvm_disable_expensive_passes=true"
"""The machine code of the CPU is never run: only what comes before it matters."""


def compile_layout(
    job: Job,
    layout: Layout,
    where: Where,
    cache: Path,
    *,
    time_s: float = 300.0,
    memory_bytes: float = 8 * 2**30,
    phase: Phase | None = None,
) -> Compiled:
    """Compile the step of a layout, or recall the compile.

    Args:
        job: Model, workload, slice.
        layout: A legal layout.
        where: `cpu`: virtual devices, always possible; `tpu`: the TPU compiler, without a TPU.
        cache: Folder of remembered compiles.
        time_s: Seconds that a compile may take.
        memory_bytes: Memory that its process may hold.
        phase: What is compiled; None: a train step, or decoding.

    Returns:
        Also failures: `out of memory` of the chip, `timeout`, `crash`, `no compiler`. Only what
        is the same next time is remembered.

    Raises:
        ConfigError: The layout is illegal, a limit is not above 0, the TPU compiler is asked for
            GPUs, or the cache is no folder that can be written.
        StorageFullError: The disk of the cache is full.
    """
    reasons = why_illegal(layout, job)
    if reasons:
        raise ConfigError(f"an illegal layout is not compiled: {'; '.join(reasons)}")
    if time_s <= 0 or memory_bytes <= 0:
        raise ConfigError(
            f"limits of a compile must be above 0, got {time_s} s and {memory_bytes} bytes"
        )
    request = request_of(job, layout, where, phase)
    key = request.key()
    found = recall(cache, key)
    if found is not None and _is_of(request, found):
        return found
    base = Compiled(
        "crash", where, request.phase, request.layout, request.devices,
        notes=request.notes, key=key,
    )  # fmt: skip
    if where == "tpu" and importlib.util.find_spec("libtpu") is None:
        return replace(base, status="no compiler", detail=f"libtpu is not installed: {INSTALL}")
    with working_folder(cache) as folder:
        return _compile(request, base, folder, cache, time_s, memory_bytes)


def _is_of(request: Request, found: Compiled) -> bool:
    """Whether a remembered compile is one of this request, and of those that are remembered."""
    asked = (request.layout, request.where, request.phase, request.devices)
    is_kept = found.status in ("ok", "out of memory")
    return is_kept and (found.layout, found.where, found.phase, found.devices) == asked


def _compile(
    request: Request, base: Compiled, folder: Path, cache: Path, time_s: float,
    memory_bytes: float,
) -> Compiled:  # fmt: skip
    asked, answer, text = (folder / name for name in ("request.json", "answer.json", "text.gz"))
    asked.write_text(json.dumps(request.to_json()), encoding="utf-8")
    command = [sys.executable, "-m", "models.sharding.compile.child"]
    log = folder / "log.txt"
    with log.open("wb") as output:
        process = subprocess.Popen(
            [*command, str(asked), str(answer), str(text), str(os.getpid())],
            stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT,
            cwd=ROOT, env=_environment(request), start_new_session=True,
        )  # fmt: skip
        try:
            ended, cpu_s, rss = _watch(process, time_s, memory_bytes)
        finally:
            _end(process)
    base = replace(base, cpu_s=cpu_s, max_rss_bytes=rss)
    if ended == "time":
        return replace(
            base, status="timeout",
            detail=f"the compile did not end within {time_s:g} s; allow more or use level analytic",
        )  # fmt: skip
    if ended == "memory":
        return replace(
            base,
            detail=f"the compiler held {rss / 2**30:.3g} GiB, more than the "
            f"{memory_bytes / 2**30:.3g} GiB that it may; allow more",
        )
    if process.returncode or not answer.exists():
        return _crashed(base, log.read_text(errors="replace"), process.returncode)
    values = json.loads(answer.read_text(encoding="utf-8"))
    values["notes"] = (*base.notes, *values.get("notes", ()))
    return remember(cache, replace(base, **values), text if text.exists() else None)


def _crashed(base: Compiled, log: str, code: int) -> Compiled:
    # What libtpu tells of its own handling of a crash says nothing of its cause.
    told = (line for line in log.splitlines() if line.strip(" ^~-") and " RAW: " not in line)
    lines = list(told) or ["no output"]
    if is_storage_full(OSError(log)):
        raise StorageFullError(f"a compile could not be kept: {lines[-1][:200]}; free space")
    if base.where == "tpu" and any(word in log for word in _LOCK_WORDS):
        return replace(
            base, status="no compiler",
            detail="libtpu is locked by another process; end it, or wait: " + lines[-1][:200],
        )  # fmt: skip
    said = " | ".join(lines[-_LAST_LINES:])[-1500:]
    return replace(base, detail=f"the compiler ended with {code}: {said}")


def _watch(
    process: subprocess.Popen[bytes], time_s: float, memory_bytes: float
) -> tuple[str, float | None, int]:
    """Wait for the end; return what ended it, CPU seconds and the most memory seen."""
    started, most, cpu_s = time.monotonic(), 0, None
    watched = psutil.Process(process.pid)
    while process.poll() is None:
        try:
            most = max(most, watched.memory_info().rss)
            times = watched.cpu_times()
            cpu_s = times.user + times.system
        except psutil.NoSuchProcess:
            break
        if most > memory_bytes:
            return "memory", cpu_s, most
        if time.monotonic() - started > time_s:
            return "time", cpu_s, most
        time.sleep(_LOOK_EVERY_S)
    process.wait()
    return "itself", cpu_s, most


def _end(process: subprocess.Popen[bytes]) -> None:
    """End a process and what it started, where it still runs."""
    if process.poll() is None:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def _environment(request: Request) -> dict[str, str]:
    # What changes programs without being part of the key stays outside, and so do kept compiles
    # of JAX, which would skip what we read.
    outside = ("JAX_", "XLA_", "LIBTPU_INIT_ARGS")
    values = {name: x for name, x in os.environ.items() if not name.startswith(outside)}
    values |= {"JAX_PLATFORMS": "cpu", "TF_CPP_MIN_LOG_LEVEL": "2", "OMP_NUM_THREADS": "1"}
    if request.where == "cpu":
        values["XLA_FLAGS"] = (
            f"--xla_force_host_platform_device_count={request.devices} {_CPU_FLAGS}"
        )
        return values
    return values | {
        "TPU_SKIP_MDS_QUERY": "1",
        "TPU_WORKER_HOSTNAMES": "localhost",
        "TPU_ACCELERATOR_TYPE": "v5litepod-8",
        # Two compiles at once would refuse each other: none of them touches a chip.
        "ALLOW_MULTIPLE_LIBTPU_LOAD": "1",
        # A third of the time of the default level; schedules differ, bytes hardly.
        "JAX_OPTIMIZATION_LEVEL": "O1",
    }
