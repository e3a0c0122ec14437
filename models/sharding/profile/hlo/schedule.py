"""What of the collectives is not hidden: the order of the text, or the best that data allows."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from models.sharding.profile.hlo.counts import BLOCKS, inline_calls, loop_parts
from models.sharding.profile.hlo.listing import Resource, Step, list_schedule
from models.sharding.profile.hlo.program import Computation, HloProgram, Instruction


@dataclass(frozen=True)
class Timeline:
    """One run of a computation, in seconds."""

    total_s: float
    exposed_s: Mapping[str, float]
    """Of each of its own collectives, while nothing is computed; blocks inside keep theirs."""


class Scheduler:
    """Times computations of one program, each once.

    Args:
        program: What runs.
        trips: Trip count of each loop.
        kernel_s: Seconds that an instruction computes (or waits for memory) in one run.
        transfer_s: Seconds that it is on the network; None where it is no collective.
        started_by: Computation and name of what waits for an asynchronous collective -> the
            instruction that starts it.
        is_fixed: Whether the order of the text is the schedule. Else instructions run as soon as
            their operands are there, on two resources: what computes and the network. That is
            the best that one body of a loop allows; overlap across its runs is not seen.
    """

    def __init__(
        self, program: HloProgram, trips: Mapping[str, int],
        kernel_s: Callable[[Computation, Instruction], float],
        transfer_s: Callable[[Computation, Instruction], float | None],
        started_by: Mapping[tuple[str, str], str],
        is_fixed: bool,
    ) -> None:  # fmt: skip
        self._program, self._trips = program, trips
        self._kernel_s, self._transfer_s = kernel_s, transfer_s
        self._started_by = started_by
        self._starts = {(where, start) for (where, _), start in started_by.items()}
        self._is_fixed = is_fixed
        self._done: dict[str, Timeline] = {}

    def time(self, computation: Computation) -> Timeline:
        """Return the seconds of one run, blocks inside included."""
        if computation.name not in self._done:
            run = self._in_order if self._is_fixed else self._listed
            self._done[computation.name] = run(computation)
        return self._done[computation.name]

    def _block_s(self, one: Instruction) -> float:
        if one.opcode == "while":
            body, condition = loop_parts(self._program, one)
            trips = self._trips[one.name]
            return trips * self.time(body).total_s + (trips + 1) * self.time(condition).total_s
        names = inline_calls(one)
        return sum(self.time(self._program.computation(name, one)).total_s for name in names)

    def _in_order(self, computation: Computation) -> Timeline:
        now, network_free = 0.0, 0.0
        ends: dict[str, float] = {}
        exposed: dict[str, float] = {}
        for one in computation.instructions:
            key = (computation.name, one.name)
            if one.opcode in BLOCKS:
                now += self._block_s(one)
                continue
            sent = self._transfer_s(computation, one)
            busy_until = now + self._kernel_s(computation, one)
            if sent is not None:
                network_free = max(now, network_free) + sent
            if key in self._starts:
                ends[one.name] = network_free
                now = busy_until
            elif key in self._started_by:
                start = self._started_by[key]
                exposed[start] = max(ends.get(start, 0.0) - now, 0.0)
                now = max(busy_until, ends.get(start, 0.0))
            elif sent is not None:
                # A fusion may compute while it sends.
                exposed[one.name] = max(network_free - busy_until, 0.0)
                now = max(busy_until, network_free)
            else:
                now = busy_until
        return Timeline(now, exposed)

    def _listed(self, computation: Computation) -> Timeline:
        ones = computation.instructions
        places = {one.name: place for place, one in enumerate(ones)}
        steps = []
        for one in ones:
            before = tuple({places[name] for name in one.operands})
            sent = self._transfer_s(computation, one)
            if one.opcode in BLOCKS:
                steps.append(Step("both", self._block_s(one), before))
            elif one.opcode.endswith(("-done", "-update")):
                steps.append(Step("compute", 0.0, before))
            else:
                kernel = self._kernel_s(computation, one)
                lane: Resource = "compute" if sent is None else "network"
                steps.append(Step(lane, max(kernel, sent or 0.0), before))
        total, exposed = list_schedule(steps)
        return Timeline(total, {ones[place].name: s for place, s in exposed.items()})
