"""A proposer that answers from a list, and modules for it; also run as a process to be killed."""

import itertools
import os
import signal
import sys
from pathlib import Path

from models.kernels.candidate import KernelCandidate
from models.kernels.propose.base import NothingToProposeError

GOOD = """
@triton.jit
def kernel_exp(x, o, n, s0, s1, a0, a1, B: tl.constexpr):
    i = tl.program_id(0).to(tl.int64) * B + tl.arange(0, B)
    m = i < n
    value = tl.load(x + (i // s1) * a0 + (i % s1) * a1, m, 0).to(tl.float32)
    tl.store(o + i, tl.exp(value), m)

def wrapper(self):
    dtype = self.dtype if self.is_floating_point() else torch.float32
    out = torch.empty(self.shape, dtype=dtype)
    n = out.numel()
    if n == 0:
        return out
    x = self if self.ndim == 2 else self.as_strided((1, n), (0, 1))
    kernel_exp[(triton.cdiv(n, 1024),)](x, out, n, *x.shape, *x.stride(), B=1024)
    return out
"""
REFUSED = "def wrapper(self):\n    return self.exp()\n"
WRONG = GOOD.replace("tl.exp(value)", "value")
OUT_OF_BOUNDS = GOOD.replace("+ (i % s1) * a1, m, 0)", "+ (i % s1) * a1 + 4096, m, 0)")
UNTYPED = GOOD.replace(".to(tl.float32)\n", "\n")
"""The interpreter takes integers in `tl.exp`, compilers do not."""


def refused(number):
    """Return a module that the linter refuses; every number gives another one."""
    return REFUSED.replace("self.exp()", f"self.exp() + {number}")


class Scripted:
    """Gives sources in order and keeps the packets that it was asked with."""

    def __init__(self, sources, name="scripted"):
        self.name = name
        self.packets = []
        self._sources = iter(sources)

    def propose(self, spec, profile, packet):
        self.packets.append(packet)
        source = next(self._sources, None)
        if source is None:
            raise NothingToProposeError(f"the script of {spec.op_id} is over")
        if isinstance(source, Exception):
            raise source
        return KernelCandidate.of(spec.op_id, source, proposer=self.name)


class Stateless:
    """Gives the source that belongs to a call, whatever it gave before; kills its process at one.

    Args:
        sources: By call, from 1; the last one for all later calls.
        killed_at: Number of the call, from 1; 0: never.
    """

    name = "stateless"

    def __init__(self, sources, killed_at=0):
        self.sources, self.killed_at = sources, killed_at

    def propose(self, spec, profile, packet):
        call = 1 if packet is None else (packet.machine["dialog"] - 1) * 15 + packet.machine["call"]
        if call == self.killed_at:
            os.kill(os.getpid(), signal.SIGKILL)
        return KernelCandidate.of(spec.op_id, self.sources[min(call, len(self.sources)) - 1])


def main(trace, killed_at):
    """Run a session of refused modules, to its end or to the call that kills it."""
    from dataclasses import replace

    from models.kernels.operators import find_operator
    from models.kernels.profiles import find_profile
    from models.kernels.session import SessionConfig, open_trace, run_session
    from models.kernels.session.stages import Stages, lint, propose

    def never(*arguments):
        raise AssertionError("no module of this script passes the linter")

    spec, profile = find_operator("exp"), find_profile("interpreter")
    proposer = Stateless([refused(number) for number in range(1, 46)], killed_at)
    config = SessionConfig()
    count = itertools.count(1)

    def counted(candidate, *rest):
        print(f"linted {candidate.sha} {next(count)}", flush=True)
        return lint(candidate, *rest)

    stages = replace(Stages(propose, lint, never, never, never), lint=counted)
    with open_trace(spec, profile, proposer, config, trace) as opened:
        result = run_session(spec, profile, proposer, stages, config, opened)
    print(f"ended {result.outcome} {result.calls} {result.dialogs} {result.best.sha}", flush=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
