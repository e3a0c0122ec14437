"""The walls around a candidate's process: limits, a filter of system calls, Landlock, no network.

The interpreter has to run in the same process as the candidate, so the walls go up in that
process, after everything it needs is loaded and before its first line runs.
"""

from __future__ import annotations

import contextlib
import errno
import os
import resource
import struct
import sys
from collections.abc import Sequence
from pathlib import Path

from pydantic import Field

from models.config import Config
from models.sandbox import landlock
from models.sandbox.base import SandboxUnavailableError
from models.sandbox.kernel import MACHINE, load_seccomp, no_new_privileges, unshare_thread
from models.sandbox.syscalls import AUDIT_ARCH

_LOAD, _JEQ, _JSET, _RETURN = 0x20, 0x15, 0x45, 0x06
_ALLOW, _KILL, _ERRNO = 0x7FFF0000, 0x80000000, 0x00050000
_NUMBERS = {
    # arch/x86/entry/syscalls/syscall_64.tbl and include/uapi/asm-generic/unistd.h
    "x86_64": {
        "open": 2, "socket": 41, "socketpair": 53, "connect": 42, "clone": 56, "fork": 57,
        "vfork": 58, "execve": 59, "kill": 62, "tkill": 200, "tgkill": 234, "truncate": 76,
        "rename": 82, "mkdir": 83, "rmdir": 84, "creat": 85, "link": 86, "unlink": 87,
        "symlink": 88, "chmod": 90, "chown": 92, "ptrace": 101, "setpgid": 109, "setsid": 112,
        "mknod": 133, "personality": 135, "setrlimit": 160, "unshare": 272, "openat": 257,
        "mkdirat": 258, "mknodat": 259, "unlinkat": 263, "renameat": 264, "linkat": 265,
        "symlinkat": 266, "renameat2": 316, "process_vm_readv": 310, "process_vm_writev": 311,
        "memfd_create": 319, "execveat": 322, "io_uring_setup": 425, "clone3": 435,
        "openat2": 437, "pidfd_open": 434, "pidfd_getfd": 438, "bpf": 321, "shmget": 29,
        "alarm": 37, "setitimer": 38, "timer_create": 222,
        "perf_event_open": 298, "userfaultfd": 323, "keyctl": 250, "setns": 308,
    },
    "aarch64": {
        "socket": 198, "socketpair": 199, "connect": 203, "clone": 220, "execve": 221,
        "kill": 129, "tkill": 130, "tgkill": 131, "truncate": 45, "mkdirat": 34, "mknodat": 33,
        "unlinkat": 35, "symlinkat": 36, "linkat": 37, "renameat": 38, "renameat2": 276,
        "ptrace": 117, "setpgid": 154, "setsid": 157, "personality": 92, "setrlimit": 164,
        "unshare": 97, "openat": 56, "process_vm_readv": 270, "process_vm_writev": 271,
        "memfd_create": 279, "execveat": 281, "io_uring_setup": 425, "clone3": 435,
        "openat2": 437, "pidfd_open": 434, "pidfd_getfd": 438, "bpf": 280, "shmget": 194,
        "setitimer": 103, "timer_create": 107,
        "perf_event_open": 241, "userfaultfd": 282, "keyctl": 219, "setns": 268,
    },
}  # fmt: skip
_WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC
_NEW_NETWORK, _NEW_USER = 0x40000000, 0x10000000
_SPECIAL = ("open", "openat", "tgkill", "clone3", "openat2")


class ExecutionLimits(Config):
    """What one candidate's process may use."""

    sample_s: float = Field(20.0, gt=0)
    """Wall time of one sample, in seconds; the process is killed then."""
    cpu_s: int = Field(600, gt=0)
    """Processor time of one process (a batch of samples), in seconds."""
    memory_bytes: int = Field(3 * 1024**3, gt=0)
    """Address space beyond that of the warm parent, in bytes."""
    output_bytes: int = Field(65_536, gt=0)
    """Text of stdout and stderr that is kept; more is read and dropped."""
    printed_bytes: int = Field(256 * 1024**2, gt=0)
    """Text after which a process is killed for printing."""
    most_restarts: int = Field(8, ge=0)
    """Processes that may end in one batch before the rest counts as not run."""


def _filter(own_pid: int) -> bytes:
    """Assemble the filter; refused calls fail with EPERM, so Python sees an OSError.

    Threads and timers are refused as processes are: the audit follows one thread, to its end.
    """
    numbers = _NUMBERS[MACHINE]
    steps: list[tuple[int, int, int, int]] = [
        (_LOAD, 0, 0, 4), (_JEQ, 1, 0, AUDIT_ARCH[MACHINE]), (_RETURN, 0, 0, _KILL),
        (_LOAD, 0, 0, 0),
    ]  # fmt: skip
    if MACHINE == "x86_64":  # x32 calls have other numbers for the same doors
        steps += [(_JSET, 0, 1, 0x40000000), (_RETURN, 0, 0, _ERRNO | errno.ENOSYS)]
    for name in ("clone3", "openat2"):  # arguments in memory: libraries fall back on the older
        steps += [(_JEQ, 0, 1, numbers[name]), (_RETURN, 0, 0, _ERRNO | errno.ENOSYS)]
    for name, number in numbers.items():
        if name not in _SPECIAL:
            steps += [(_JEQ, 0, 1, number), (_RETURN, 0, 0, _ERRNO | errno.EPERM)]
    refuse, allow = (_RETURN, 0, 0, _ERRNO | errno.EPERM), (_RETURN, 0, 0, _ALLOW)
    for name, argument in (("open", 1), ("openat", 2)):
        if name in numbers:
            look = [(_LOAD, 0, 0, 16 + 8 * argument), (_JSET, 0, 1, _WRITES), refuse, allow]
            steps += [(_JEQ, 0, len(look), numbers[name]), *look]
    own = [(_LOAD, 0, 0, 16), (_JEQ, 1, 0, own_pid), refuse, allow]  # abort() signals itself
    steps += [(_JEQ, 0, len(own), numbers["tgkill"]), *own, allow]
    return b"".join(
        struct.pack("=HBBI", code, if_true, if_false, value)
        for code, if_true, if_false, value in steps
    )


def _address_space() -> int:
    for line in Path("/proc/self/status").read_text(encoding="ascii").splitlines():
        if line.startswith("VmSize:"):
            return int(line.split()[1]) * 1024
    return 0


def readable_places(extra: Sequence[Path]) -> list[Path]:
    """Return what Python needs to read while it runs: itself, its libraries, the candidate."""
    package = Path(__file__).resolve().parents[3]
    places = {Path(sys.prefix), Path(sys.base_prefix), package / "models", *map(Path, extra)}
    places |= {Path(p) for p in sys.path if p.endswith("site-packages")}
    system = ("/usr/lib", "/lib", "/lib64", "/usr/share/zoneinfo", "/dev/null", "/dev/urandom",
              "/proc/cpuinfo", "/sys/devices/system/cpu")  # fmt: skip
    return sorted({*places, *(Path(name) for name in system)})


def leave_network() -> bool:
    """Move the calling process into an empty network namespace; whether the machine allows it.

    Done once in the warm parent, whose children inherit it: a namespace per fork costs more than
    the fork.
    """
    for flags in (_NEW_NETWORK, _NEW_NETWORK | _NEW_USER):
        with contextlib.suppress(OSError, KeyError):
            unshare_thread(flags)
            return True
    return False


def raise_walls(limits: ExecutionLimits, readable: Sequence[Path]) -> tuple[str, ...]:
    """Confine the calling process for good.

    Returns:
        The walls that this machine does not offer, in words; limits always hold.
    """
    missing: list[str] = []
    hard = {
        resource.RLIMIT_CPU: limits.cpu_s,
        resource.RLIMIT_AS: _address_space() + limits.memory_bytes,
        resource.RLIMIT_FSIZE: 0,
        resource.RLIMIT_CORE: 0,
        resource.RLIMIT_NOFILE: 64,
    }
    os.environ.clear()
    for name, value in hard.items():
        resource.setrlimit(name, (value, value))
    # Root is exempt from this one; the filter below refuses new processes to everybody.
    resource.setrlimit(resource.RLIMIT_NPROC, (1, 1))
    try:
        landlock.restrict_thread(readable_places(readable), [])
    except (SandboxUnavailableError, OSError) as error:
        missing.append(f"files stay readable: {error}")
    if MACHINE in _NUMBERS:
        no_new_privileges()
        load_seccomp(_filter(os.getpid()))
    else:
        missing.append(f"no filter of system calls for {MACHINE}")
    return tuple(missing)
