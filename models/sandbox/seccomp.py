"""A filter of system calls, assembled here: no library is needed on the host.

It refuses what reaches around the other walls: kernel interfaces with a history of holes
(io_uring, bpf, userfaultfd, keys, perf), tracing, new namespaces, mounts, sockets other than
IP, Unix and routes (AF_VSOCK would reach the hypervisor), typing into a terminal (TIOCSTI),
and set-user-id bits on files that outlive the sandbox.
"""

from __future__ import annotations

import errno
import struct
from dataclasses import dataclass
from functools import lru_cache

from models.sandbox.base import SandboxUnavailableError
from models.sandbox.kernel import MACHINE
from models.sandbox.syscalls import AUDIT_ARCH, NUMBERS

_LOAD, _JEQ, _JGE, _JSET, _AND, _RETURN = 0x20, 0x15, 0x35, 0x45, 0x54, 0x06
_ALLOW, _KILL, _ERRNO = 0x7FFF0000, 0x80000000, 0x00050000
_NUMBER, _ARCH, _ARGUMENTS = 0, 4, 16
_X32 = 0x40000000

REFUSED = (
    "acct", "add_key", "adjtimex", "bpf", "clock_adjtime", "clock_settime", "delete_module",
    "fanotify_init", "finit_module", "fsconfig", "fsmount", "fsopen", "fspick", "init_module",
    "io_uring_enter", "io_uring_register", "io_uring_setup", "ioperm", "iopl", "kcmp",
    "kexec_file_load", "kexec_load", "keyctl", "lookup_dcookie", "mbind", "memfd_secret",
    "migrate_pages", "modify_ldt", "mount", "mount_setattr", "move_mount", "move_pages",
    "name_to_handle_at", "nfsservctl", "open_by_handle_at", "open_tree", "open_tree_attr",
    "perf_event_open", "pidfd_getfd", "pivot_root", "process_madvise", "process_vm_readv",
    "process_vm_writev", "ptrace", "quotactl", "quotactl_fd", "reboot", "request_key",
    "set_mempolicy", "setdomainname", "sethostname", "setns", "settimeofday", "swapoff",
    "swapon", "syslog", "umount2", "uselib", "userfaultfd", "ustat", "vhangup",
)  # fmt: skip
"""Refused with EPERM whatever their arguments."""

UNKNOWN = ("clone3", "openat2")
"""Said not to exist (ENOSYS): their arguments lie in memory, where a filter cannot look, and
libraries fall back on the older call."""

_NEW_NAMESPACES = 0x7E020000
"""CLONE_NEWNS, NEWCGROUP, NEWUTS, NEWIPC, NEWUSER, NEWPID, NEWNET."""
_NEW_TIME = 0x80
_SET_ID_BITS = 0o6000
_TERMINAL_TRICKS = (0x5412, 0x541C, 0x5423)
"""TIOCSTI, TIOCLINUX, TIOCSETD."""
AF_UNIX, AF_INET, AF_INET6, AF_NETLINK = 1, 2, 10, 16


@dataclass(frozen=True)
class _Step:
    code: int
    value: int
    if_true: int = 0
    if_false: int = 0

    def packed(self) -> bytes:
        return struct.pack("=HBBI", self.code, self.if_true, self.if_false, self.value)


def _give(value: int) -> _Step:
    return _Step(_RETURN, value)


def _refuse(code: int) -> _Step:
    return _give(_ERRNO | code)


def _argument(index: int) -> _Step:
    # The lower half of a 64-bit argument; both machines are little-endian. All arguments
    # looked at are 32 bits wide: the kernel itself ignores the upper half.
    return _Step(_LOAD, _ARGUMENTS + 8 * index)


def _has_bits(index: int, mask: int, code: int) -> list[_Step]:
    return [_argument(index), _Step(_JSET, mask, 0, 1), _refuse(code)]


def _is_one_of(index: int, values: tuple[int, ...], code: int) -> list[_Step]:
    steps = [_argument(index)]
    for value in values:
        steps += [_Step(_JEQ, value, 0, 1), _refuse(code)]
    return steps


def _only(index: int, values: tuple[int, ...], code: int) -> list[_Step]:
    compare = [_Step(_JEQ, value, len(values) - at, 0) for at, value in enumerate(values)]
    return [_argument(index), *compare, _refuse(code)]


def _mode(index: int) -> list[_Step]:
    return _has_bits(index, _SET_ID_BITS, errno.EPERM)


def _created_mode(flags: int, mode: int) -> list[_Step]:
    """The mode counts only with O_CREAT or O_TMPFILE; without, the register holds anything."""
    rule = _mode(mode)
    return [_argument(flags), _Step(_JSET, 0o100 | 0o20000000, 0, len(rule)), *rule]


def _node(index: int) -> list[_Step]:
    kind = [_argument(index), _Step(_AND, 0o170000)]
    devices = [step for value in (0o020000, 0o060000)
               for step in (_Step(_JEQ, value, 0, 1), _refuse(errno.EPERM))]  # fmt: skip
    return [*kind, *devices, *_mode(index)]


def _rules(families: tuple[int, ...]) -> dict[str, list[_Step]]:
    sockets = _only(0, families, errno.EAFNOSUPPORT)
    if AF_NETLINK in families:
        # Of netlink only NETLINK_ROUTE (0), which name look-ups ask for addresses.
        routes = [_argument(0), _Step(_JEQ, AF_NETLINK, 0, 3), _argument(2),
                  _Step(_JEQ, 0, 1, 0), _refuse(errno.EPROTONOSUPPORT)]  # fmt: skip
        sockets = [*sockets, *routes]
    return {
        "ioctl": _is_one_of(1, _TERMINAL_TRICKS, errno.EPERM),
        "clone": _has_bits(0, _NEW_NAMESPACES, errno.EPERM),
        "unshare": _has_bits(0, _NEW_NAMESPACES | _NEW_TIME, errno.EPERM),
        "socket": sockets,
        "socketpair": _only(0, (AF_UNIX,), errno.EAFNOSUPPORT),
        "personality": _only(0, (0, 0xFFFFFFFF), errno.EPERM),
        "chmod": _mode(1),
        "fchmod": _mode(1),
        "fchmodat": _mode(2),
        "fchmodat2": _mode(2),
        "creat": _mode(1),
        "open": _created_mode(1, 2),
        "openat": _created_mode(2, 3),
        "mknod": _node(1),
        "mknodat": _node(2),
    }


@lru_cache
def program(
    families: tuple[int, ...] = (AF_UNIX, AF_INET, AF_INET6, AF_NETLINK),
    machine: str = MACHINE,
) -> bytes:
    """Assemble the filter as an array of `struct sock_filter`.

    Args:
        families: Address families of sockets that may be made.
        machine: As `platform.machine` names it.

    Raises:
        SandboxUnavailableError: The machine's numbers are not known here.

    Source: Linux, Documentation/userspace-api/seccomp_filter.rst.
    """
    if machine not in NUMBERS:
        raise SandboxUnavailableError(
            f"the system call filter knows {', '.join(NUMBERS)}, this machine is {machine}"
        )
    numbers = NUMBERS[machine]
    # Another architecture's calls have other numbers: a 32-bit program would pass unseen.
    steps = [
        _Step(_LOAD, _ARCH),
        _Step(_JEQ, AUDIT_ARCH[machine], 1, 0),
        _give(_KILL),
        _Step(_LOAD, _NUMBER),
    ]
    if machine == "x86_64":
        steps += [_Step(_JGE, _X32, 0, 1), _refuse(errno.ENOSYS)]
    for name in REFUSED:
        if name in numbers:
            steps += [_Step(_JEQ, numbers[name], 0, 1), _refuse(errno.EPERM)]
    for name in UNKNOWN:
        steps += [_Step(_JEQ, numbers[name], 0, 1), _refuse(errno.ENOSYS)]
    for name, rule in _rules(families).items():
        if name in numbers:
            # After its rule a call is decided: allowed, for the accumulator is gone.
            steps += [_Step(_JEQ, numbers[name], 0, len(rule) + 1), *rule, _give(_ALLOW)]
    steps.append(_give(_ALLOW))
    return b"".join(step.packed() for step in steps)
