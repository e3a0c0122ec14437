"""What a compile is expected to take, to start the longest first."""

from __future__ import annotations

import re

from models.kernels.candidate import KernelCandidate
from models.kernels.execute.recorder import LaunchRecord
from models.kernels.profiles import DeviceProfile

_HEAVY = re.compile(
    r"\btl\.(sort|topk|dot|associative_scan|cumsum|cumprod|histogram|static_range)\b"
)
"""Functions that unroll: 0.5 to 2 s each, against 0.2 s for a plain kernel."""
_CALLED = re.compile(r"\b(_\w+)\(")


def expected_effort(
    candidate: KernelCandidate, launch: LaunchRecord, target: DeviceProfile
) -> float:
    """Return a figure that grows with the time of a compile; only its order means something.

    Lines of the kernel and of the device helpers that it calls, by forty for functions that
    unroll; half as much again for targets whose assembler takes longest.
    """
    texts = _functions(candidate.source)
    reached: set[str] = set()
    waiting = [launch.kernel]
    while waiting:
        name = waiting.pop()
        if name in reached or name not in texts:
            continue
        reached.add(name)
        waiting += _CALLED.findall(texts[name])
    lines = sum(texts[name].count("\n") + 1 for name in reached)
    heavy = sum(len(_HEAVY.findall(texts[name])) for name in reached)
    is_slow = target.target is not None and target.target[0] == "cuda"
    return (lines + 40.0 * heavy) * (1.5 if is_slow else 1.0)


def _functions(source: str) -> dict[str, str]:
    """Return the text of each function at module level by name."""
    found = {}
    for text in re.split(r"^(?=@triton\.jit|def )", source, flags=re.MULTILINE):
        if named := re.search(r"^def (\w+)\(", text, re.MULTILINE):
            found[named[1]] = text
    return found
