"""Execution: run kernels nobody trusts, in Triton's interpreter with a device's arithmetic.

zygote.py     the client                      server.py, warm.py  the warm parent that forks
child.py      one batch inside the walls      walls.py            limits, filter, Landlock
launch.py     launches, scalars as compiled   builder.py          checked memory, bf16, fp8
combine.py    reductions and scans in steps   libdevice.py        the vendor's math in numpy
memory.py     bounds, initialised, stored     audit.py            what a wrapper may ask of torch
recorder.py   launches, last operation        frames.py, floats.py
"""

from models.kernels.execute.memory import Violation
from models.kernels.execute.recorder import LastOperation, LaunchRecord
from models.kernels.execute.walls import ExecutionLimits
from models.kernels.execute.zygote import Zygote, ZygoteError

__all__ = [
    "ExecutionLimits",
    "LastOperation",
    "LaunchRecord",
    "Violation",
    "Zygote",
    "ZygoteError",
]
