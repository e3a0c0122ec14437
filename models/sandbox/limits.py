"""Limits on what processes use: rlimits for each, a cgroup for all of a sandbox together."""

from __future__ import annotations

import contextlib
import itertools
import os
import resource
import time
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from models.sandbox.base import Limits

CGROUPS = Path("/sys/fs/cgroup")
_NEXT = itertools.count()


def rlimits(limits: Limits, *, with_memory: bool) -> dict[int, int]:
    """Return the rlimits of each process.

    Args:
        limits: What was asked for.
        with_memory: Whether the address space is limited: needed where no cgroup counts real
            memory. Programs that reserve much more than they use (Go, Java, node) feel it.
    """
    asked = {
        resource.RLIMIT_CPU: limits.cpu_s,
        resource.RLIMIT_FSIZE: limits.file_bytes,
        resource.RLIMIT_NOFILE: limits.open_files,
        resource.RLIMIT_NPROC: limits.processes,
        resource.RLIMIT_AS: limits.memory_bytes if with_memory else None,
        # A core file would write memory, keys included, into the workspace.
        resource.RLIMIT_CORE: 0,
        # Locked memory cannot be reclaimed, and message queues belong to the kernel.
        resource.RLIMIT_MEMLOCK: 8 * 1024**2,
        resource.RLIMIT_MSGQUEUE: 0,
    }
    return {kind: value for kind, value in asked.items() if value is not None}


def apply_rlimits(pid: int, wanted: dict[int, int]) -> None:
    """Limit a process from outside; its children inherit, and none can raise it again."""
    for kind, value in wanted.items():
        _, hard = resource.prlimit(pid, kind)
        least = value if hard == resource.RLIM_INFINITY else min(value, hard)
        resource.prlimit(pid, kind, (least, least))


def ulimit_words(limits: Limits) -> str:
    """Write the rlimits as the beginning of a `sh` script, for levels without a gate."""
    units = {"t": (limits.cpu_s, 1), "f": (limits.file_bytes, 512), "n": (limits.open_files, 1),
             "v": (limits.memory_bytes, 1024)}  # fmt: skip
    words = [f"ulimit -{flag} {value // unit}" for flag, (value, unit) in units.items() if value]
    return "; ".join(["ulimit -c 0", *words])


@dataclass(frozen=True)
class Hierarchy:
    """A place where we may make cgroups.

    Attributes:
        folder: Our own group there.
        version: 1: one controller each; 2: all together.
        controllers: Those of `memory`, `pids` that it has.
    """

    folder: Path
    version: int
    controllers: frozenset[str]


@lru_cache(maxsize=1)
def hierarchies() -> tuple[tuple[Hierarchy, ...], str]:
    """Find where cgroups can be made, by making one.

    Returns:
        The places, and why `memory` or `pids` are not among them (empty: they are).
    """
    found, reasons = [], []
    try:
        lines = Path("/proc/self/cgroup").read_text().splitlines()
    except OSError as error:
        return (), f"/proc/self/cgroup cannot be read: {error.strerror}"
    for line in lines:
        _, names, own = line.split(":", 2)
        try:
            place = _version_2(own) if not names else _version_1(names, own)
            if place is not None:
                _try(place)
                found.append(place)
        except OSError as error:
            reasons.append(f"cgroup {names or 'v2'}: {error.strerror or error}")
    have = {name for place in found for name in place.controllers}
    lacking = sorted({"memory", "pids"} - have)
    if not lacking:
        return tuple(found), ""
    why = "; ".join(reasons) or "no such controller is mounted"
    return tuple(found), f"no cgroup for {' and '.join(lacking)} ({why})"


def _version_1(names: str, own: str) -> Hierarchy | None:
    controllers = frozenset(names.split(",")) & {"memory", "pids"}
    if not controllers:
        return None
    for name in (names, *names.split(",")):
        root = CGROUPS / name
        folder = root / own.lstrip("/")
        if folder.is_dir():
            return Hierarchy(folder, 1, controllers)
        if root.is_dir():
            # In a container our group's path is the host's; its root is what we see as ours.
            return Hierarchy(root, 1, controllers)
    return None


def _version_2(own: str) -> Hierarchy | None:
    root = CGROUPS if (CGROUPS / "cgroup.controllers").exists() else CGROUPS / "unified"
    if not (root / "cgroup.controllers").exists():
        return None
    folder = root / own.lstrip("/")
    folder = folder if folder.is_dir() else root
    # A group with processes of its own may not hand controllers on: its parent may.
    for place in (folder, folder.parent):
        handed = (place / "cgroup.subtree_control").read_text().split()
        has = frozenset(handed) & {"memory", "pids"}
        if has:
            return Hierarchy(place, 2, has)
        if place == root:
            break
    return None


def _try(place: Hierarchy) -> None:
    folder = place.folder / f"loom-try-{os.getpid()}-{next(_NEXT)}"
    folder.mkdir()
    folder.rmdir()


class Cgroup:
    """A group of processes with common limits; closing it kills them."""

    def __init__(self, limits: Limits) -> None:
        """Make the group, with those limits that this host's cgroups can hold.

        Raises:
            OSError: The kernel refused a group or a limit.
        """
        self.holds_memory = self.holds_processes = False
        self._folders: list[tuple[Path, int]] = []
        name = f"loom-{os.getpid()}-{next(_NEXT)}"
        try:
            for place in hierarchies()[0]:
                folder = place.folder / name
                folder.mkdir()
                self._folders.append((folder, place.version))
                self._limit(folder, place, limits)
        except OSError:
            self.close()
            raise

    def _limit(self, folder: Path, place: Hierarchy, limits: Limits) -> None:
        if "pids" in place.controllers and limits.processes is not None:
            (folder / "pids.max").write_text(str(limits.processes))
            self.holds_processes = True
        if "memory" not in place.controllers or limits.memory_bytes is None:
            return
        value, self.holds_memory = str(limits.memory_bytes), True
        if place.version == 1:
            (folder / "memory.limit_in_bytes").write_text(value)
            _write_if_there(folder / "memory.memsw.limit_in_bytes", value)
        else:
            (folder / "memory.max").write_text(value)
            _write_if_there(folder / "memory.swap.max", "0")
            _write_if_there(folder / "memory.oom.group", "1")

    def add(self, pid: int) -> None:
        """Put a process into it; those that it starts from now on are in it as well."""
        for folder, _ in self._folders:
            (folder / "cgroup.procs").write_text(str(pid))

    def out_of_memory_kills(self) -> int:
        """Count processes that the kernel killed because the group had used up its memory."""
        for folder, version in self._folders:
            file = folder / ("memory.oom_control" if version == 1 else "memory.events")
            with contextlib.suppress(OSError):
                words = dict(line.split() for line in file.read_text().splitlines())
                return int(words.get("oom_kill", 0))
        return 0

    def pids(self) -> list[int]:
        """List its processes."""
        found: set[int] = set()
        for folder, _ in self._folders:
            with contextlib.suppress(OSError):
                found |= {int(pid) for pid in (folder / "cgroup.procs").read_text().split()}
        return sorted(found)

    def close(self) -> None:
        """Kill what is left and remove the group."""
        end = time.monotonic() + 5
        for folder, _ in self._folders:
            while True:
                try:
                    folder.rmdir()
                    break
                except FileNotFoundError:
                    break
                except OSError:
                    # Busy until the last of its processes is gone.
                    for pid in self.pids():
                        with contextlib.suppress(OSError):
                            os.kill(pid, 9)
                    if time.monotonic() > end:
                        raise
                    time.sleep(0.002)
        self._folders.clear()


def _write_if_there(file: Path, value: str) -> None:
    with contextlib.suppress(OSError):
        file.write_text(value)
