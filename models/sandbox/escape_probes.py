"""The escape suite: real attempts to leave a sandbox, run inside it, and a table of how they went.

Each attempt is a function of `models.sandbox.probes` that returns what it reached or raises what
stopped it. Most are harmless; run at the trusted level these succeed, which shows that they are
real.
"""

from __future__ import annotations

import contextlib
import inspect
import json
import os
import secrets
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from models.sandbox.base import Limits, Sandbox, SandboxError
from models.sandbox.probes import inside, kernel_calls, network, paths, processes, resources

LIMITS = Limits(
    wall_s=120,
    memory_bytes=256 * 1024**2,
    processes=64,
    file_bytes=32 * 1024**2,
    open_files=256,
    tmp_bytes=16 * 1024**2,
)
"""Small ones, so that the probes reach them fast."""


@dataclass(frozen=True)
class Probe:
    """An attempt.

    Attributes:
        area: What it goes for.
        run: The function that is sent inside.
        is_harmless: Whether it may succeed at the trusted level without damage.
        needs_root: Whether only root can succeed there.
        is_alone: Whether it needs a sandbox of its own.
    """

    area: str
    run: Callable[[dict[str, Any]], str]
    is_harmless: bool = True
    needs_root: bool = False
    is_alone: bool = False

    @property
    def name(self) -> str:
        """Name of the function."""
        return self.run.__name__


@dataclass(frozen=True)
class Finding:
    """How an attempt went.

    Attributes:
        probe: What was attempted.
        refused: Whether it failed.
        how: What stopped it, or what it reached.
    """

    probe: Probe
    refused: bool
    how: str


_HARMFUL = {
    paths.write_system, paths.write_configuration, paths.write_root_folder,
    processes.own_environment, processes.inherited_descriptors,
    kernel_calls.remount_writable, kernel_calls.unmount_walls, kernel_calls.swap_root,
    kernel_calls.another_kernel, kernel_calls.kernel_module, kernel_calls.swap_file,
    kernel_calls.accounting, kernel_calls.host_clock,
}  # fmt: skip
"""They would do damage, or cannot succeed at any level (a clean environment)."""

_FOR_ROOT = {
    network.raw_socket, network.packet_socket, network.device_events, paths.root_of_process_1,
    paths.password_hashes, paths.make_device, paths.open_disk, paths.open_kernel_memory,
    paths.kernel_settings, paths.any_kernel_file, paths.magic_key, paths.file_capability,
    paths.change_root,
    processes.become_root, processes.become_another_user, processes.hold_rights,
    processes.type_into_terminal, processes.run_first, processes.run_in_real_time,
    processes.raise_limits, processes.compare_processes, kernel_calls.new_user_namespace,
    kernel_calls.new_mount_namespace, kernel_calls.new_network_namespace,
    kernel_calls.new_process_in_namespaces, kernel_calls.join_namespace,
    kernel_calls.mount_memory, kernel_calls.copy_mounts, kernel_calls.open_file_system,
    kernel_calls.watch_all_files, kernel_calls.host_name, kernel_calls.kernel_log,
    kernel_calls.performance_counters, kernel_calls.kernel_programs, kernel_calls.page_faults,
    resources.locked_memory,
}  # fmt: skip


def _all() -> tuple[Probe, ...]:
    found = []
    for module in (network, paths, processes, kernel_calls, resources):
        area = module.__name__.rpartition(".")[2].replace("_", " ")
        for run in vars(module).values():
            if inspect.isfunction(run) and run.__module__ == module.__name__:
                found.append(
                    Probe(area, run, run not in _HARMFUL, run in _FOR_ROOT, module is resources)
                )
    return tuple(found)


PROBES = _all()

_IMPORTS = """from __future__ import annotations
import contextlib, ctypes, fcntl, json, mmap, os, platform, pty, resource, select, signal
import socket, stat, sys, time
"""


def script(probes: Sequence[Probe]) -> str:
    """Write the program that makes attempts: their text and that of what they use."""
    head = inspect.getsource(inside).partition("LIBC = ")
    parts = [_IMPORTS, head[1] + head[2], *(inspect.getsource(probe.run) for probe in probes)]
    return "\n".join([*parts, f"main([{', '.join(probe.name for probe in probes)}])"])


@contextlib.contextmanager
def outside_world(sandbox: Sandbox, outputs: Path) -> Iterator[dict[str, Any]]:
    """Set up on the host what attempts go for: files, servers, a process, a key.

    Args:
        sandbox: Where they run.
        outputs: Its folder of saved outputs.
    """
    canary, mark = f"key-{secrets.token_hex(8)}", f"victim-{secrets.token_hex(8)}"
    with contextlib.ExitStack() as stack:
        # Not below /tmp, which every level replaces or hides anyway.
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(dir=_place())))
        (folder / "secret").write_text(canary)
        folder.chmod(0o755)
        victim = subprocess.Popen(
            ["/bin/sh", "-c", "while :; do sleep 1; done", mark],
            env={"PATH": "/usr/bin:/bin", "OPENAI_API_KEY": canary},
            cwd=folder,
        )
        stack.callback(victim.wait)
        stack.callback(victim.kill)
        port = _serve(stack, socket.AF_INET, ("127.0.0.1", 0))
        _serve(stack, socket.AF_UNIX, f"\0{mark}")
        _serve(stack, socket.AF_UNIX, str(folder / "server"))
        disk_path, disk = _disk()
        yield {
            "secret": str(folder / "secret"),
            "folder": str(folder),
            "outputs": str(outputs),
            "canary": canary,
            "mark": mark,
            "victim": victim.pid,
            "port": port,
            "abstract": mark,
            "socket": str(folder / "server"),
            "disk": disk,
            "disk_path": disk_path,
            "memory_bytes": sandbox.limits.memory_bytes,
            "processes": sandbox.limits.processes,
            "file_bytes": sandbox.limits.file_bytes,
            "tmp_bytes": sandbox.limits.tmp_bytes,
            "open_files": sandbox.limits.open_files,
        }


def _place() -> str:
    return "/var/tmp" if os.access("/var/tmp", os.W_OK) else tempfile.gettempdir()


def _serve(stack: contextlib.ExitStack, family: int, address: Any) -> int:
    """Answer everybody with one line until the stack ends; return the port, if it has one."""
    server = stack.enter_context(socket.socket(family))
    server.bind(address)
    server.listen()

    def answer() -> None:
        with contextlib.suppress(OSError):
            while True:
                link, _ = server.accept()
                with link:
                    link.sendall(b"reached the host")

    threading.Thread(target=answer, daemon=True).start()
    # Wakes the thread: closing alone would leave it waiting.
    stack.callback(server.shutdown, socket.SHUT_RDWR)
    return int(server.getsockname()[1]) if family == socket.AF_INET else 0


def _disk() -> tuple[str, tuple[int, int]]:
    """Find a disk of the host: its device file, and its numbers."""
    for name in sorted(os.listdir("/sys/block")) if os.path.isdir("/sys/block") else []:
        path = f"/dev/{name}"
        if os.path.exists(path) and not name.startswith(("loop", "ram", "zram")):
            number = os.stat(path).st_rdev
            return path, (os.major(number), os.minor(number))
    return "/dev/sda", (8, 0)


def python_for_sandbox() -> tuple[str, tuple[Path, ...]]:
    """Find a Python that runs inside, and the paths that it needs besides the system's."""
    found = shutil.which("python3", path="/usr/local/bin:/usr/bin:/bin")
    if found is not None:
        return found, ()
    return os.path.realpath(sys.executable), (Path(sys.base_prefix),)


def run_probes(
    make: Callable[[], Sandbox],
    outputs: Callable[[Sandbox], Path],
    probes: Sequence[Probe] = PROBES,
) -> list[Finding]:
    """Make attempts in fresh sandboxes.

    Args:
        make: Makes a sandbox with `LIMITS` that can run `python_for_sandbox`; one for the
            attempts that get along, one for each that needs its own.
        outputs: Tells where a sandbox saves outputs.
        probes: Which.

    Returns:
        How each went, in their order.

    Raises:
        SandboxError: The program with the attempts did not run at all, or attempts that do
            damage where nothing stops them were asked for at a weaker level than sandboxed.
    """
    groups = [[p for p in probes if not p.is_alone], *([p] for p in probes if p.is_alone)]
    findings: dict[str, Finding] = {}
    for group in filter(None, groups):
        sandbox = make()
        try:
            _refuse_damage(sandbox, group)
            with outside_world(sandbox, outputs(sandbox)) as world:
                findings |= _run(sandbox, world, group)
        finally:
            sandbox.close()
    return [findings[probe.name] for probe in probes]


def _refuse_damage(sandbox: Sandbox, group: Sequence[Probe]) -> None:
    harmful = [probe.name for probe in group if not probe.is_harmless]
    if harmful and sandbox.level != "sandboxed":
        raise SandboxError(
            f"{len(harmful)} attempts ({', '.join(harmful[:3])} ...) would change this host "
            f"at the level '{sandbox.level}'; run only those with `is_harmless` there"
        )


def _run(sandbox: Sandbox, world: dict[str, Any], group: Sequence[Probe]) -> dict[str, Finding]:
    sandbox.files.write("probes.py", script(group).encode())
    python, _ = python_for_sandbox()
    done = sandbox.run([python, "-I", "-S", "probes.py"], stdin=json.dumps(world).encode())
    told = {}
    for line in done.output.splitlines():
        if line.startswith('{"name"'):
            answer = json.loads(line)
            told[answer["name"]] = answer
    if not told and not group[0].is_alone:
        raise SandboxError(f"the attempts did not run: exit {done.exit_code}, {done.output[-500:]}")
    ended = f"the sandbox ended it: {done.killed or f'exit {done.exit_code}'}"
    return {
        probe.name: Finding(
            probe,
            bool(told[probe.name]["refused"]) if probe.name in told else True,
            str(told[probe.name]["how"]) if probe.name in told else ended,
        )
        for probe in group
    }


def table(findings: Sequence[Finding]) -> str:
    """Write findings as a table in Markdown."""
    rows = [
        f"| {f.probe.area} | {f.probe.name.replace('_', ' ')} | "
        f"{'refused' if f.refused else 'SUCCEEDED'} | {f.how[:90]} |"
        for f in findings
    ]
    return "\n".join(["| area | attempt | outcome | how |", "|---|---|---|---|", *rows])
