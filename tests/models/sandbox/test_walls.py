"""Single walls: the assembled filter, read by an interpreter of its own, and Landlock alone."""

from __future__ import annotations

import errno
import struct
from collections.abc import Callable
from typing import Any

import pytest

from models.sandbox import landlock
from models.sandbox.escape_probes import LIMITS, PROBES, python_for_sandbox, run_probes, table
from models.sandbox.restricted import RestrictedSandbox
from models.sandbox.seccomp import AF_UNIX, program
from models.sandbox.syscalls import AUDIT_ARCH, NUMBERS

ALLOW, KILL = 0x7FFF0000, 0x80000000
CLONE_THREAD_FLAGS = 0x3D0F00
"""What pthread_create asks for."""


def verdict(code: bytes, arch: int, number: int, *arguments: int) -> int:
    """Run a filter as the kernel does (classic BPF over `struct seccomp_data`)."""
    given = [*arguments, *[0] * (6 - len(arguments))]
    data = struct.pack("=IIQ6Q", number, arch, 0, *given)
    steps = list(struct.iter_unpack("=HBBI", code))
    accumulator = at = 0
    while True:
        kind, if_true, if_false, value = steps[at]
        at += 1
        if kind == 0x20:
            accumulator = struct.unpack_from("=I", data, value)[0]
        elif kind == 0x54:
            accumulator &= value
        elif kind == 0x06:
            return value
        else:
            holds = {
                0x15: accumulator == value,
                0x35: accumulator >= value,
                0x45: bool(accumulator & value),
            }[kind]
            at += if_true if holds else if_false


def refused(code: int) -> int:
    return 0x00050000 | code


CASES: list[tuple[str, tuple[int, ...], int]] = [
    ("ptrace", (16, 1), refused(errno.EPERM)),
    ("io_uring_setup", (), refused(errno.EPERM)),
    ("clone3", (), refused(errno.ENOSYS)),
    ("openat2", (), refused(errno.ENOSYS)),
    ("clone", (CLONE_THREAD_FLAGS,), ALLOW),
    ("clone", (0x10000000 | 17,), refused(errno.EPERM)),
    ("unshare", (0x20000,), refused(errno.EPERM)),
    ("unshare", (0x80,), refused(errno.EPERM)),
    ("unshare", (0x200,), ALLOW),
    ("socket", (1, 1, 0), ALLOW),
    ("socket", (2, 1, 0), ALLOW),
    ("socket", (10, 2, 0), ALLOW),
    ("socket", (16, 3, 0), ALLOW),
    ("socket", (16, 3, 15), refused(errno.EPROTONOSUPPORT)),
    ("socket", (40, 1, 0), refused(errno.EAFNOSUPPORT)),
    ("socket", (17, 3, 0), refused(errno.EAFNOSUPPORT)),
    ("socketpair", (1, 1, 0), ALLOW),
    ("ioctl", (0, 0x5412), refused(errno.EPERM)),
    ("ioctl", (0, 0x5401), ALLOW),
    ("personality", (0xFFFFFFFF,), ALLOW),
    ("personality", (0x40000,), refused(errno.EPERM)),
    ("fchmod", (3, 0o755), ALLOW),
    ("fchmod", (3, 0o2755), refused(errno.EPERM)),
    ("fchmodat", (3, 0, 0o4755), refused(errno.EPERM)),
    ("openat", (3, 0, 0o100 | 1, 0o644), ALLOW),
    ("openat", (3, 0, 0o100 | 1, 0o4755), refused(errno.EPERM)),
    # Without O_CREAT the mode is whatever lay in the register.
    ("openat", (3, 0, 0, 0o7777), ALLOW),
    ("openat", (3, 0, 0o20200000 | 1, 0o4755), refused(errno.EPERM)),
    ("mknodat", (3, 0, 0o100644), ALLOW),
    ("mknodat", (3, 0, 0o010644), ALLOW),
    ("mknodat", (3, 0, 0o060600), refused(errno.EPERM)),
    ("mknodat", (3, 0, 0o020600), refused(errno.EPERM)),
    ("mknodat", (3, 0, 0o104755), refused(errno.EPERM)),
]


@pytest.mark.parametrize("machine", sorted(NUMBERS))
@pytest.mark.parametrize(("name", "arguments", "expected"), CASES)
def test_the_filter_judges_calls_by_their_arguments(
    machine: str, name: str, arguments: tuple[int, ...], expected: int
) -> None:
    code, arch = program(machine=machine), AUDIT_ARCH[machine]
    assert verdict(code, arch, NUMBERS[machine][name], *arguments) == expected


@pytest.mark.parametrize("machine", sorted(NUMBERS))
def test_other_calls_pass_and_calls_of_another_architecture_kill(machine: str) -> None:
    code, arch = program(machine=machine), AUDIT_ARCH[machine]
    for harmless in (500, 501, 900):
        assert verdict(code, arch, harmless) == ALLOW
    assert verdict(code, 0x40000003, 1) == KILL
    if machine == "x86_64":
        # x32 calls have a bit of their own on top of the number.
        assert verdict(code, arch, 0x40000000 | 101) == refused(errno.ENOSYS)


def test_a_level_without_a_network_namespace_gets_unix_sockets_only() -> None:
    code = program((AF_UNIX,), machine="x86_64")
    for family in (2, 10, 16):
        answer = verdict(code, AUDIT_ARCH["x86_64"], 41, family, 1, 0)
        assert answer == refused(errno.EAFNOSUPPORT)
    assert verdict(code, AUDIT_ARCH["x86_64"], 41, 1, 1, 0) == ALLOW


def test_newer_landlock_versions_hold_more_rights() -> None:
    assert landlock.rights(1).bit_count() == 13
    assert [landlock.rights(version).bit_count() for version in (2, 3, 5)] == [14, 15, 16]
    assert len(landlock.gaps(1)) == 3
    assert landlock.gaps(6) == ()


HELD_WITHOUT_NAMESPACES = {
    "host_loopback", "raw_socket", "packet_socket", "hypervisor_socket", "read_outside",
    "write_outside", "read_by_dots", "read_by_symlink", "hard_link_to_outside", "move_out",
    "list_outside", "root_of_process_1", "folder_of_a_process", "password_hashes",
    "write_saved_outputs", "make_device", "open_disk", "set_user_id_file",
    "set_user_id_at_birth", "environment_of_a_process", "trace_host_process",
    "read_memory_of_a_process", "become_another_user", "use_set_user_id_program", "hold_rights",
    "new_user_namespace", "mount_memory", "kernel_keys", "kernel_programs", "io_rings",
    "large_file", "memory_bomb", "many_files",
}  # fmt: skip


def test_the_restricted_level_holds_what_it_says_without_namespaces(
    make: Callable[..., Any],
) -> None:
    made = make("restricted")
    probes = [probe for probe in PROBES if probe.name in HELD_WITHOUT_NAMESPACES]
    assert len(probes) == len(HELD_WITHOUT_NAMESPACES)
    findings = run_probes(
        lambda: RestrictedSandbox(made.workspace, limits=LIMITS, readable=python_for_sandbox()[1]),
        lambda sandbox: sandbox.outputs,
        probes,
    )
    assert [finding for finding in findings if not finding.refused] == [], table(findings)
