"""Ways to take more than was given. Each runs alone: some end the whole sandbox."""

from __future__ import annotations

import mmap
import os
import time
from typing import Any

from models.sandbox.probes.inside import LIBC


def fork_bomb(outside: dict[str, Any]) -> str:
    """Start more processes than allowed."""
    wanted = outside["processes"] + 50
    for _ in range(wanted):
        if os.fork() == 0:
            time.sleep(20)
            os._exit(0)
    return f"{wanted} processes"


def memory_bomb(outside: dict[str, Any]) -> str:
    """Use more memory than allowed."""
    held = []
    for _ in range(outside["memory_bytes"] // (8 << 20) + 8):
        held.append(bytearray(b"x") * (8 << 20))
    return f"{len(held) * 8} MiB"


def memory_of_many(outside: dict[str, Any]) -> str:
    """Use more memory than allowed, shared over processes that each stay below it."""
    share = outside["memory_bytes"] * 2 // 3
    readers = []
    for _ in range(3):
        reader, writer = os.pipe()
        if os.fork() == 0:
            held = bytearray(b"x") * share
            os.write(writer, b"x" if held else b"")
            time.sleep(20)
            os._exit(0)
        os.close(writer)
        readers.append(reader)
    if not all(os.read(reader, 1) for reader in readers):
        raise MemoryError("one of the processes was killed")
    return f"{3 * share >> 20} MiB in three processes"


def large_file(outside: dict[str, Any]) -> str:
    """Write a larger file than allowed."""
    with open("large", "wb") as file:
        file.truncate(outside["file_bytes"] * 2)
    return f"{outside['file_bytes'] * 2} bytes"


def full_temporary_folder(outside: dict[str, Any]) -> str:
    """Fill the memory behind /dev/shm."""
    with open(f"/dev/shm/fill-{os.getpid()}", "wb") as file:
        try:
            for _ in range(outside["tmp_bytes"] // (1 << 20) + 8):
                file.write(bytes(1 << 20))
        finally:
            os.unlink(file.name)
    return f"{outside['tmp_bytes'] >> 20} MiB and more"


def many_files(outside: dict[str, Any]) -> str:
    """Open more files than allowed."""
    held = [os.open("/dev/null", os.O_RDONLY) for _ in range(outside["open_files"] + 10)]
    return f"{len(held)} open files"


def locked_memory(outside: dict[str, Any]) -> str:
    """Lock memory that the kernel then can never take back."""
    area = mmap.mmap(-1, 32 << 20)
    if LIBC.mlockall(1) != 0:
        raise MemoryError("mlockall is refused")
    area.close()
    return "32 MiB locked"
