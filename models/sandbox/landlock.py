"""Landlock by its system calls: what a thread and its children may touch, without any rights.

It holds paths, TCP ports, signals and abstract sockets, but hides nothing: processes, mounts
and other sockets of the host stay visible. So by itself it is only `restricted`.
"""

from __future__ import annotations

import ctypes
import os
import stat
from collections.abc import Sequence
from pathlib import Path

from models.sandbox.base import SandboxUnavailableError
from models.sandbox.kernel import no_new_privileges, syscall

_CREATE_RULESET, _ADD_RULE, _RESTRICT_SELF = 444, 445, 446
_RULE_PATH_BENEATH = 1

_EXECUTE, _WRITE_FILE, _READ_FILE, _READ_DIR, _TRUNCATE, _IOCTL_DEV = (
    1 << 0,
    1 << 1,
    1 << 2,
    1 << 3,
    1 << 14,
    1 << 15,
)
READ = _EXECUTE | _READ_FILE | _READ_DIR
"""May be read, listed and run."""
_ON_FILES = _EXECUTE | _WRITE_FILE | _READ_FILE | _TRUNCATE | _IOCTL_DEV
_FIRST_RIGHTS = (1 << 13) - 1
_NET_BIND_AND_CONNECT = 0b11
_SCOPE_SOCKETS_AND_SIGNALS = 0b11


class _Ruleset(ctypes.Structure):
    _fields_ = (
        ("handled_access_fs", ctypes.c_uint64),
        ("handled_access_net", ctypes.c_uint64),
        ("scoped", ctypes.c_uint64),
    )


class _PathBeneath(ctypes.Structure):
    _pack_ = 1
    _fields_ = (("allowed_access", ctypes.c_uint64), ("parent_fd", ctypes.c_int32))


def abi() -> int:
    """Ask the kernel for its Landlock version; 0 when it has none."""
    try:
        return syscall(_CREATE_RULESET, None, 0, 1)
    except OSError:
        return 0


def rights(version: int) -> int:
    """All rights on files that a version knows: what is not granted is refused."""
    known = _FIRST_RIGHTS
    known |= (1 << 13) if version >= 2 else 0  # links and renames between folders
    known |= _TRUNCATE if version >= 3 else 0
    known |= _IOCTL_DEV if version >= 5 else 0
    return known


def gaps(version: int) -> tuple[str, ...]:
    """Say what this version leaves open that a newer one would hold."""
    known = (
        (3, "files may be truncated anywhere the user may write"),
        (4, "TCP is held by the system call filter only"),
        (6, "signals reach other processes of the user"),
    )
    return tuple(words for needed, words in known if version < needed)


def restrict_thread(readable: Sequence[str | Path], writable: Sequence[str | Path]) -> None:
    """Let the calling thread and its children touch only these paths, and no TCP port.

    Args:
        readable: Folders and files that may be read and run; those missing are passed over.
        writable: Folders and files that may also be changed.

    Raises:
        SandboxUnavailableError: The kernel has no Landlock, or it is switched off.
    """
    version = abi()
    if version == 0:
        raise SandboxUnavailableError(
            "Landlock is not in this kernel, or switched off (Linux 5.13 with lsm=landlock)"
        )
    everything = rights(version)
    ruleset = _Ruleset(
        everything,
        _NET_BIND_AND_CONNECT if version >= 4 else 0,
        _SCOPE_SOCKETS_AND_SIGNALS if version >= 6 else 0,
    )
    # Older kernels know the shorter structure only.
    size = 24 if version >= 6 else 16 if version >= 4 else 8
    descriptor = syscall(_CREATE_RULESET, ctypes.byref(ruleset), size, 0)
    try:
        for path in readable:
            _allow(descriptor, path, READ & everything)
        for path in writable:
            _allow(descriptor, path, everything)
        no_new_privileges()
        syscall(_RESTRICT_SELF, descriptor, 0)
    finally:
        os.close(descriptor)


def _allow(ruleset: int, path: str | Path, access: int) -> None:
    try:
        place = os.open(path, os.O_PATH | os.O_CLOEXEC)
    except FileNotFoundError:
        return
    try:
        if not stat.S_ISDIR(os.fstat(place).st_mode):
            access &= _ON_FILES
        rule = _PathBeneath(access, place)
        syscall(_ADD_RULE, ruleset, _RULE_PATH_BENEATH, ctypes.byref(rule), 0)
    finally:
        os.close(place)
