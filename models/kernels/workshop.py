"""The processes that a worker keeps between operators: a warm parent and a compiling process."""

from __future__ import annotations

import atexit
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from models.kernels.compiler import CompilePool
from models.kernels.execute import Zygote


class Workshop:
    """One warm parent (4 CPU seconds, 0.6 GB) and one compiling process, started when used."""

    def __init__(self) -> None:
        self.zygote = Zygote()
        self.pool = CompilePool()

    def close(self) -> None:
        """End both."""
        self.zygote.close()
        self.pool.close()


_LOCK = threading.Lock()
_IDLE: dict[int, list[Workshop]] = {}
"""Idle workshops by process: a forked one makes its own."""


@contextmanager
def workshop() -> Iterator[Workshop]:
    """Lend a workshop of this process: a worker with one thread has one, two threads have two.

    A workshop is kept for the next operator and ended with the process.
    """
    with _LOCK:
        if os.getpid() not in _IDLE:
            _IDLE[os.getpid()] = []
            atexit.register(close_workshops)
        idle = _IDLE[os.getpid()]
        lent = idle.pop() if idle else Workshop()
    try:
        yield lent
    except BaseException:
        # What state its processes are in is not known.
        lent.close()
        raise
    else:
        with _LOCK:
            idle.append(lent)


def close_workshops() -> None:
    """End the idle processes of this process."""
    with _LOCK:
        idle = _IDLE.get(os.getpid(), [])
        while idle:
            idle.pop().close()
