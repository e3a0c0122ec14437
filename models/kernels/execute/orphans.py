"""A process that serves another one ends with it, whatever it is doing, whichever thread began it.

The kernel's own signal for orphans (PR_SET_PDEATHSIG) comes when the *thread* that started a
process ends: a pool's thread would take along what its process still uses.
"""

from __future__ import annotations

import ctypes
import os
import select
import signal

_PR_SET_PDEATHSIG = 1
_MOST_DESCRIPTORS = 256


def end_with_the_asker(descriptor: int) -> None:
    """Kill this process when whoever is at the other end of a pipe or socket is gone.

    A small process of our own looks at that end, for this one may be deep inside of a compiler
    or a test. Call it before there are threads or much memory.

    Args:
        descriptor: Our end; hang-ups are looked for, data are left alone.
    """
    watched = os.getpid()
    if os.fork():
        return
    # What else is open must not outlive the watched process in this one: others wait for its end.
    # Nothing below descriptor 0 is asked for: CPython 3.11 takes closerange(0, 0) for all of them.
    if descriptor > 0:
        os.closerange(0, descriptor)
    os.closerange(descriptor + 1, _MOST_DESCRIPTORS)
    # Its parent forked it from the only thread that there is.
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    gone = select.poll()
    gone.register(descriptor, 0)
    while os.getppid() == watched:
        if gone.poll(1_000):
            os.kill(watched, signal.SIGKILL)
            break
    os._exit(0)
