"""Ways out by the kernel: namespaces, mounts, and interfaces with a history of holes."""

from __future__ import annotations

import ctypes
import os
import time
from typing import Any

from models.sandbox.probes.inside import call


def new_user_namespace(outside: dict[str, Any]) -> str:
    """Become root of a new user namespace: the first step of most kernel exploits."""
    call("unshare", 0x10000000)
    return "a user namespace"


def new_mount_namespace(outside: dict[str, Any]) -> str:
    """Get mounts of one's own to change."""
    call("unshare", 0x20000)
    return "a mount namespace"


def new_network_namespace(outside: dict[str, Any]) -> str:
    """Get network settings of one's own to change."""
    call("unshare", 0x40000000)
    return "a network namespace"


def new_process_in_namespaces(outside: dict[str, Any]) -> str:
    """Ask for namespaces by the newest call, whose arguments filters cannot read."""
    arguments = (ctypes.c_uint64 * 11)(0x20000)
    arguments[4] = 17
    child = call("clone3", ctypes.byref(arguments), 88)
    if child == 0:
        os._exit(0)
    os.waitpid(child, 0)
    return "a process in a mount namespace"


def join_namespace(outside: dict[str, Any]) -> str:
    """Enter the mounts of process 1."""
    handle = os.open("/proc/1/ns/mnt", os.O_RDONLY)
    call("setns", handle, 0x20000)
    return "joined"


def mount_memory(outside: dict[str, Any]) -> str:
    """Mount a file system over a folder of the workspace."""
    name = f"mount-{os.getpid()}"
    os.mkdir(name)
    call("mount", b"none", name.encode(), b"tmpfs", 0, None)
    call("umount2", name.encode(), 0)
    return "mounted"


def copy_mounts(outside: dict[str, Any]) -> str:
    """Take a copy of the mounts to use elsewhere."""
    return f"descriptor {call('open_tree', -100, b'/', 1)}"


def open_file_system(outside: dict[str, Any]) -> str:
    """Set up a file system by the newer calls."""
    return f"descriptor {call('fsopen', b'tmpfs', 0)}"


def remount_writable(outside: dict[str, Any]) -> str:
    """Make the read-only system writable again."""
    call("mount", b"none", b"/usr", None, 0x20 | 0x1000, None)
    return "remounted"


def unmount_walls(outside: dict[str, Any]) -> str:
    """Take mounts away that hide something."""
    call("umount2", b"/proc", 2)
    return "unmounted"


def swap_root(outside: dict[str, Any]) -> str:
    """Put another root in place."""
    call("pivot_root", b".", b".")
    return "swapped"


def kernel_keys(outside: dict[str, Any]) -> str:
    """Put a key into a key ring, which is shared beyond namespaces."""
    return f"key {call('add_key', b'user', b'loom-probe', b'x', 1, -2)}"


def session_keys(outside: dict[str, Any]) -> str:
    """Find the keys of the session that started us."""
    return f"key ring {call('keyctl', 0, -3, 1)}"


def kernel_programs(outside: dict[str, Any]) -> str:
    """Make a map for programs that run in the kernel."""
    attributes = (ctypes.c_uint32 * 32)(2, 4, 8, 1)
    return f"descriptor {call('bpf', 0, ctypes.byref(attributes), 128)}"


def io_rings(outside: dict[str, Any]) -> str:
    """Set up a ring by which calls pass filters unseen."""
    parameters = ctypes.create_string_buffer(120)
    return f"descriptor {call('io_uring_setup', 4, parameters)}"


def page_faults(outside: dict[str, Any]) -> str:
    """Handle page faults: holds the kernel still in the middle of a race."""
    return f"descriptor {call('userfaultfd', 0)}"


def performance_counters(outside: dict[str, Any]) -> str:
    """Measure the kernel, which tells addresses and secrets."""
    attributes = (ctypes.c_uint32 * 32)(1, 128)
    return f"descriptor {call('perf_event_open', ctypes.byref(attributes), 0, -1, -1, 0)}"


def watch_all_files(outside: dict[str, Any]) -> str:
    """Watch what is opened anywhere on the host."""
    return f"descriptor {call('fanotify_init', 0, 0)}"


def file_handles(outside: dict[str, Any]) -> str:
    """Name files by number instead of by path: the way out of old containers."""
    handle = (ctypes.c_uint32 * 64)(128)
    mount = ctypes.c_int()
    args = (-100, b".", ctypes.byref(handle), ctypes.byref(mount), 0)
    call("name_to_handle_at", *args)
    return "a handle"


def kernel_log(outside: dict[str, Any]) -> str:
    """Read the kernel's log."""
    return f"{call('syslog', 10, None, 0)} bytes"


def host_name(outside: dict[str, Any]) -> str:
    """Change the host's name (to the one it has)."""
    name = os.uname().nodename.encode()
    call("sethostname", name, len(name))
    return "changed"


def address_layout(outside: dict[str, Any]) -> str:
    """Switch off random addresses for the programs started from here."""
    call("personality", 0x40000)
    return "switched off"


def move_memory(outside: dict[str, Any]) -> str:
    """Move pages between memory nodes: used to shape memory for attacks."""
    return f"moved {call('move_pages', 0, 0, None, None, None, 0)}"


def another_kernel(outside: dict[str, Any]) -> str:
    """Load another kernel."""
    return f"loaded {call('kexec_load', 0, 0, None, 0)}"


def kernel_module(outside: dict[str, Any]) -> str:
    """Load code into the kernel."""
    return f"loaded {call('finit_module', 0, b'', 0)}"


def host_clock(outside: dict[str, Any]) -> str:
    """Set the host's clock (to the time that it shows)."""
    now = time.clock_gettime_ns(time.CLOCK_REALTIME)
    value = (ctypes.c_long * 2)(now // 10**9, now % 10**9)
    return f"set {call('clock_settime', 0, ctypes.byref(value))}"


def swap_file(outside: dict[str, Any]) -> str:
    """Make the kernel swap to a file of ours."""
    return f"swaps {call('swapon', b'swap', 0)}"


def accounting(outside: dict[str, Any]) -> str:
    """Make the kernel write a line to a file of ours for each process."""
    return f"accounts {call('acct', b'account')}"
