"""System calls that Python has no names for, by number, as functions that raise `OSError`."""

from __future__ import annotations

import contextlib
import ctypes
import errno
import os
import platform
from collections.abc import Iterator

MACHINE = platform.machine()

CLONE_FS, CLONE_NEWNS = 0x200, 0x20000
_MS_REC, _MS_PRIVATE = 0x4000, 0x40000
_PR_SET_DUMPABLE, _PR_SET_NO_NEW_PRIVS, _PR_SET_SECCOMP = 4, 38, 22
_PR_CAPBSET_DROP = 24
_AT_FDCWD, _AT_EMPTY_PATH, _AT_RECURSIVE = -100, 0x1000, 0x8000
_OPEN_TREE_CLONE = 1
_MOVE_MOUNT_F_EMPTY_PATH = 4
_MOUNT_ATTR_IDMAP = 0x100000

# Numbers of include/uapi/asm-generic/unistd.h (aarch64) and of syscall_64.tbl (x86_64); from
# 424 on they are the same everywhere.
_OLD = {
    "x86_64": {"setgroups": 116, "setresuid": 117, "setresgid": 119, "unshare": 272},
    "aarch64": {"setgroups": 159, "setresuid": 147, "setresgid": 149, "unshare": 97},
}
_OPEN_TREE, _MOVE_MOUNT, _MOUNT_SETATTR = 428, 429, 442

_libc = ctypes.CDLL(None, use_errno=True)


def syscall(number: int, *arguments: object) -> int:
    """Make a system call and return its result.

    Raises:
        OSError: The kernel refused it.
    """
    given = [ctypes.c_long(value) if isinstance(value, int) else value for value in arguments]
    result: int = _libc.syscall(ctypes.c_long(number), *given)
    if result < 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code), f"system call {number}")
    return result


def _named(name: str, *arguments: object) -> int:
    return syscall(_OLD[MACHINE][name], *arguments)


def knows_machine() -> bool:
    """Whether the numbers of this processor's system calls are known."""
    return MACHINE in _OLD


def unshare_thread(flags: int) -> None:
    """Take the calling thread out of namespaces or the folder it shares with the others."""
    _named("unshare", flags)


def become(uid: int, gid: int) -> None:
    """Change the user of the calling thread only, for good; libc's call would change all."""
    _named("setgroups", 0, None)
    _named("setresgid", gid, gid, gid)
    _named("setresuid", uid, uid, uid)


@contextlib.contextmanager
def acting_as(number: int) -> Iterator[None]:
    """Touch files as another user and group, in the calling thread only; root may."""
    _libc.setfsgid(number)
    _libc.setfsuid(number)
    try:
        yield
    finally:
        _libc.setfsuid(os.geteuid())
        _libc.setfsgid(os.getegid())


def set_dumpable() -> None:
    """Undo what a change of user does to the whole process: hidden from its own /proc."""
    _libc.prctl(_PR_SET_DUMPABLE, 1, 0, 0, 0)


def no_new_privileges() -> None:
    """Let no program that the calling thread starts gain rights by set-user-id bits."""
    if _libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code), "PR_SET_NO_NEW_PRIVS")


def drop_capabilities() -> None:
    """Let programs that the calling thread starts have no rights of root, whoever they are."""
    capability = 0
    while _libc.prctl(_PR_CAPBSET_DROP, capability, 0, 0, 0) == 0:
        capability += 1
    # EINVAL ends the list; EPERM: this user has none to give away.
    if ctypes.get_errno() not in (errno.EINVAL, errno.EPERM):
        raise OSError(ctypes.get_errno(), "PR_CAPBSET_DROP")


class _SockFprog(ctypes.Structure):
    _fields_ = (("length", ctypes.c_ushort), ("filter", ctypes.c_void_p))


def load_seccomp(program: bytes) -> None:
    """Put a seccomp filter (`struct sock_filter[]`) on the calling thread and its children."""
    buffer = ctypes.create_string_buffer(program, len(program))
    spec = _SockFprog(len(program) // 8, ctypes.cast(buffer, ctypes.c_void_p).value)
    if _libc.prctl(_PR_SET_SECCOMP, 2, ctypes.byref(spec), 0, 0) != 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code), "PR_SET_SECCOMP")


def mount(source: str, target: str, kind: str | None, flags: int = 0, data: str = "") -> None:
    """`mount(2)`."""
    done = _libc.mount(
        source.encode(),
        os.fsencode(target),
        kind.encode() if kind else None,
        ctypes.c_ulong(flags),
        data.encode() or None,
    )
    if done != 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code), target)


def private_mounts() -> None:
    """Give the calling thread mounts of its own that nothing else ever sees."""
    unshare_thread(CLONE_NEWNS)
    mount("none", "/", None, _MS_REC | _MS_PRIVATE)


class _MountAttr(ctypes.Structure):
    _fields_ = (
        ("attr_set", ctypes.c_uint64),
        ("attr_clr", ctypes.c_uint64),
        ("propagation", ctypes.c_uint64),
        ("userns_fd", ctypes.c_uint64),
    )


def open_tree(path: str, idmap: int | None = None) -> int:
    """Make a detached copy of the mount at a path.

    Args:
        path: A folder or file.
        idmap: User namespace whose mapping changes who owns its files.

    Returns:
        A file descriptor of the copy.
    """
    flags = _OPEN_TREE_CLONE | os.O_CLOEXEC
    # An idmapped copy must not take other file systems below it along: not all can be mapped.
    tree = syscall(
        _OPEN_TREE, _AT_FDCWD, os.fsencode(path), flags if idmap else flags | _AT_RECURSIVE
    )
    if idmap is not None:
        attributes = _MountAttr(_MOUNT_ATTR_IDMAP, 0, 0, idmap)
        size = ctypes.sizeof(attributes)
        try:
            syscall(_MOUNT_SETATTR, tree, b"", _AT_EMPTY_PATH, ctypes.byref(attributes), size)
        except OSError:
            os.close(tree)
            raise
    return tree


def attach_tree(tree: int, target: str) -> None:
    """Mount a detached copy at a path and close its descriptor."""
    try:
        syscall(_MOVE_MOUNT, tree, b"", _AT_FDCWD, os.fsencode(target), _MOVE_MOUNT_F_EMPTY_PATH)
    finally:
        os.close(tree)
