"""Ways out by other processes, and rights that are taken back."""

from __future__ import annotations

import ctypes
import fcntl
import os
import pty
import resource
import signal
from typing import Any

from models.sandbox.probes.inside import call


def see_host_process(outside: dict[str, Any]) -> str:
    """Find a process of the host by what it was started with."""
    for name in os.listdir("/proc"):
        if name.isdigit():
            try:
                with open(f"/proc/{name}/cmdline", "rb") as file:
                    if outside["mark"].encode() in file.read():
                        return f"process {name}"
            except OSError:
                continue
    raise ProcessLookupError("no process of the host is seen")


def environment_of_a_process(outside: dict[str, Any]) -> str:
    """Read the environment of a process of the host, where keys lie."""
    with open(f"/proc/{outside['victim']}/environ", "rb") as file:
        text = file.read().decode()
    if outside["canary"] not in text:
        raise ProcessLookupError("another process of that number")
    return "read the key of a process"


def own_environment(outside: dict[str, Any]) -> str:
    """Look for our keys in the own environment and that of the parent."""
    seen = [*os.environ.values()]
    with open(f"/proc/{os.getppid()}/environ", "rb") as file:
        seen += file.read().decode().split("\0")
    for value in seen:
        if outside["canary"] in value:
            return "found the key"
    raise KeyError("no key is there")


def inherited_descriptors(outside: dict[str, Any]) -> str:
    """Use files of the host that whoever started the sandbox had open."""
    for name in os.listdir("/proc/self/fd"):
        try:
            target = os.readlink(f"/proc/self/fd/{name}")
        except OSError:
            continue
        if int(name) > 2 and target.startswith("/") and not target.startswith("/proc/"):
            return f"{name} is {target}"
    raise OSError("only the own streams are open")


def signal_host_process(outside: dict[str, Any]) -> str:
    """Send a signal to a process of the host."""
    os.kill(outside["victim"], signal.SIGCONT)
    with open(f"/proc/{outside['victim']}/cmdline", "rb") as file:
        if outside["mark"].encode() not in file.read():
            raise ProcessLookupError("another process of that number")
    return "sent SIGCONT"


def slow_host_process(outside: dict[str, Any]) -> str:
    """Change the priority of a process of the host."""
    os.setpriority(os.PRIO_PROCESS, outside["victim"], 5)
    return "changed its priority"


def trace_host_process(outside: dict[str, Any]) -> str:
    """Attach to a process of the host as a debugger does (and detach)."""
    call("ptrace", 16, outside["victim"], 0, 0)
    os.waitpid(outside["victim"], 0x40000000)
    call("ptrace", 17, outside["victim"], 0, 0)
    return "attached"


def trace_child(outside: dict[str, Any]) -> str:
    """Ask to be traced: tracing walks around filters on old kernels."""
    call("ptrace", 0, 0, 0, 0)
    return "is traced"


def read_memory_of_a_process(outside: dict[str, Any]) -> str:
    """Read the memory of a process of the host."""
    with open(f"/proc/{outside['victim']}/maps") as file:
        start = int(next(line for line in file if "[stack]" in line).split("-")[0], 16)
    buffer = ctypes.create_string_buffer(8)

    class Vector(ctypes.Structure):
        _fields_ = (("base", ctypes.c_void_p), ("length", ctypes.c_size_t))

    ours = Vector(ctypes.addressof(buffer), 8)
    theirs = Vector(start, 8)
    args = (ctypes.byref(ours), 1, ctypes.byref(theirs), 1, 0)
    return f"read {call('process_vm_readv', outside['victim'], *args)} bytes"


def steal_descriptor(outside: dict[str, Any]) -> str:
    """Take an open file out of a process of the host."""
    handle = os.pidfd_open(outside["victim"])
    return f"descriptor {call('pidfd_getfd', handle, 0, 0)}"


def compare_processes(outside: dict[str, Any]) -> str:
    """Ask whether two processes share kernel objects: it tells kernel addresses apart."""
    return f"order {call('kcmp', os.getpid(), os.getppid(), 1, 0, 0)}"


def become_root(outside: dict[str, Any]) -> str:
    """Become root."""
    os.setresuid(0, 0, 0)
    return "is root"


def become_another_user(outside: dict[str, Any]) -> str:
    """Become a user that others' files belong to."""
    os.setgroups([])
    os.setresgid(1, 1, 1)
    os.setresuid(1, 1, 1)
    return "is user 1"


def use_set_user_id_program(outside: dict[str, Any]) -> str:
    """Gain rights from the system's set-user-id programs."""
    with open("/proc/self/status") as file:
        status = dict(line.split(":\t", 1) for line in file if ":\t" in line)
    if status["NoNewPrivs"].strip() == "1":
        raise PermissionError("programs gain no rights (NoNewPrivs)")
    return "set-user-id programs work"


def hold_rights(outside: dict[str, Any]) -> str:
    """Have any right of root left, now or later."""
    with open("/proc/self/status") as file:
        status = dict(line.split(":\t", 1) for line in file if ":\t" in line)
    held = {name: int(status[name], 16) for name in ("CapPrm", "CapEff", "CapAmb")}
    if not any(held.values()):
        raise PermissionError(f"no capability is held: {held}")
    return str(held)


def type_into_terminal(outside: dict[str, Any]) -> str:
    """Push characters into a terminal as if somebody had typed them."""
    _, slave = pty.openpty()
    os.setsid()
    fcntl.ioctl(slave, 0x540E, 0)
    fcntl.ioctl(slave, 0x5412, b"x")
    return "typed"


def run_first(outside: dict[str, Any]) -> str:
    """Take the processor before everybody else."""
    os.setpriority(os.PRIO_PROCESS, 0, -5)
    return "priority -5"


def run_in_real_time(outside: dict[str, Any]) -> str:
    """Take the processor and never give it back."""
    os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(1))
    os.sched_setscheduler(0, os.SCHED_OTHER, os.sched_param(0))
    return "a real-time process"


def core_files(outside: dict[str, Any]) -> str:
    """Have memory written to a file when the process fails."""
    resource.setrlimit(resource.RLIMIT_CORE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    return "core files are allowed"


def raise_limits(outside: dict[str, Any]) -> str:
    """Raise a limit that was set from outside."""
    resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    resource.setrlimit(resource.RLIMIT_NPROC, (50_000, 50_000))
    return "limits are raised"
