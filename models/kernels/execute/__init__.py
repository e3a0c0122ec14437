"""Execution: run kernels nobody trusts, in Triton's interpreter with a device's arithmetic.

zygote.py     the client                      server.py, warm.py  the warm parents that fork
child.py      one batch inside the walls      walls.py            limits, filter, Landlock
call.py       one call under all checks       results.py          what came out, and from where
watch.py      frames, objects, raw memory     fixtures.py         functions that must stay
launch.py     launches, scalars as compiled   builder.py          checked memory, bf16, fp8
combine.py    reductions and scans in steps   libdevice.py        the vendor's math in numpy
boolean.py    `and`, `or` between blocks        orphans.py          ends with whoever asks
memory.py     bounds, initialised, sealed     audit.py            what a wrapper may ask of torch
recorder.py   launches, last operation        frames.py, floats.py
"""

from models.kernels.execute.memory import Violation
from models.kernels.execute.recorder import LastOperation, LaunchRecord
from models.kernels.execute.walls import ExecutionLimits
from models.kernels.execute.zygote import ForkFailedError, Zygote, ZygoteError

__all__ = [
    "ExecutionLimits",
    "ForkFailedError",
    "LastOperation",
    "LaunchRecord",
    "Violation",
    "Zygote",
    "ZygoteError",
]
