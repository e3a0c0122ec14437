"""The arrays that dispatchers work on, and how they are compiled."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple, TypeVar, cast

import numba  # type: ignore[import-untyped]
import numpy as np
from numpy.typing import NDArray

Seconds = NDArray[np.float64]
Codes = NDArray[np.int64]
FunctionT = TypeVar("FunctionT", bound=Callable[..., object])

CALENDAR, BACKFILL, ONLINE = 0, 1, 2
WAITING, COMPLETED, REFUSED, GIVEN_UP = 0, 1, 2, 3
# Places in `State.cursor`: next window, next arrival, tasks in line, starts written, starts
# whose aborts are back in line.
WINDOW, ARRIVAL, IN_LINE, STARTED, SETTLED = 0, 1, 2, 3, 4


class Domain(NamedTuple):
    """What does not change; times in seconds, arrays of (n_tasks,) first in line first.

    A group is a service whose cap is kept; without caps all tasks are one group. Its tree
    has `size` leaves (a power of two); its root is node 1, at `base + 1` of `State.tree`.
    """

    open_s: Seconds  # (n_windows,)
    window_s: float
    rollback_s: float
    lanes: int
    max_tries: int
    duration_s: Seconds
    real_rollback_s: Seconds
    arrival_s: Seconds
    by_arrival: Codes
    host: Codes
    group: Codes
    leaf: Codes  # node of each task
    cap: Codes  # (n_groups,)
    base: Codes  # (n_groups,)
    size: Codes  # (n_groups,)
    task_at: Codes  # (n_nodes,), the task of each leaf


class Holds(NamedTuple):
    """Until when lanes and hosts are held, and the last task of each lane (-1: none)."""

    lane_free_s: Seconds
    lane_task: Codes
    host_free_s: Seconds


class Starts(NamedTuple):
    """One row per start; lane and host are released at `free_s`."""

    task: Codes
    window: Codes
    attempt: Codes
    lane: Codes
    start_s: Seconds
    end_s: Seconds
    free_s: Seconds
    is_completed: NDArray[np.bool_]


class State(NamedTuple):
    """What changes from window to window."""

    reserved_s: Seconds
    status: Codes
    tries: Codes
    tree: Seconds  # (n_nodes,), least need below; infinite: not to be started now
    real: Holds
    planned: Holds
    blocked: Codes  # (n_hosts,), first task that is out of the tree while its host is held
    next_blocked: Codes  # (n_tasks,)
    to_come: Codes  # (n_hosts,), planned starts that keep the host from filling holes
    cursor: Codes


def _digest_of_sources() -> str:
    sources = sorted(Path(__file__).parent.glob("*.py"))
    return hashlib.sha256(b"".join(source.read_bytes() for source in sources)).hexdigest()[:12]


_DIGEST = _digest_of_sources()


def compiled(function: FunctionT) -> FunctionT:
    """Compile to machine code at the first call and keep the result on disk.

    The name carries a digest of all sources: numba's cache looks at the function's own
    file only and would keep machine code of a callee that has changed.
    """
    function.__qualname__ += f"_{_DIGEST}"
    return cast(FunctionT, numba.njit(cache=True, nogil=True)(function))
