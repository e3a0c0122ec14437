"""The deterministic proposer: rules of operator families, repaired by a fixed policy."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, replace

from models.errors import ConfigError
from models.kernels.candidate import KernelCandidate
from models.kernels.operators import OperatorSpec
from models.kernels.profiles import DeviceProfile
from models.kernels.propose.base import Packet
from models.kernels.synth.calls import Call, serving_signature
from models.kernels.synth.module import synthesize
from models.kernels.synth.schedule import Schedule

SMALLEST_BLOCK = 64
"""Elements per program below which a smaller block repairs nothing."""
_PER_TYPE_CALLS = 1_000


class NothingToProposeError(ConfigError):
    """No rule or repair is left for an operator."""


def repaired(schedule: Schedule, packet: Packet, profile: DeviceProfile) -> Schedule | None:
    """Return the schedule that answers a failure; None: no choice is left to change.

    accuracy        sums in float64 where the device has it, then the rounding of torch's own
                    decomposition
    compile: type   torch's own conversions between operations
    resource, compile: resource or shape   half the block
    timeout         eight times the block, up to the device's largest: programs cost more than lanes
    crash           nothing: addresses come from rules, not from the schedule
    """
    kind, machine = packet.kind, packet.machine
    if kind == "accuracy":
        if not schedule.wide_sums and profile.features.fp64:
            return replace(schedule, wide_sums=True)
        return None if schedule.round_between else replace(schedule, round_between=True)
    if kind == "compile" and machine.get("error_class") == "type":
        return None if schedule.round_between else replace(schedule, round_between=True)
    if kind == "resource" or (
        kind == "compile" and machine.get("error_class") in ("resource", "shape", "timeout")
    ):
        smaller = schedule.block // 2
        return replace(schedule, block=smaller) if smaller >= SMALLEST_BLOCK else None
    if kind == "timeout":
        larger = min(schedule.block * 8, profile.max_numel)
        return replace(schedule, block=larger) if larger > schedule.block else None
    return None


def first_schedule(profile: DeviceProfile) -> Schedule:
    """Return the schedule that a device's block policy asks for."""
    policy = profile.block_policy
    return Schedule(block=policy.pointwise, columns=min(policy.reduction, 4096))


def public_calls(spec: OperatorSpec) -> list[Call]:
    """Return the calls of the public suite, which is what a proposer may see."""
    from models.kernels.samples.streams import stream, take

    return [
        Call(one.function, one.args, one.kwargs)
        for dtype in spec.dtypes
        for one in take(stream(spec.op_id, "S", dtype), _PER_TYPE_CALLS)
    ]


class SynthesizerProposer:
    """Proposes what the rules write; remembers the schedule of each candidate for repairs."""

    name = "synthesizer"

    def __init__(self, calls: Callable[[OperatorSpec], Iterable[Call]] = public_calls) -> None:
        """Take what lists the calls to serve; tests give their own."""
        self._calls = calls
        self._schedules: dict[str, Schedule] = {}

    def propose(
        self, spec: OperatorSpec, profile: DeviceProfile, packet: Packet | None
    ) -> KernelCandidate:
        """Write the operator's module; with a packet, under a repaired schedule.

        Raises:
            NothingToProposeError: No rule serves any call, or no repair is left.
        """
        schedule, parent = first_schedule(profile), None
        if packet is not None:
            parent = packet.machine.get("sha")
            schedule = self._schedules.get(str(parent), schedule)
            answer = repaired(schedule, packet, profile)
            if answer is None:
                raise NothingToProposeError(
                    f"no repair of {spec.op_id} is left for {packet.kind} under "
                    f"{asdict(schedule)}; add a rule to models/kernels/synth/emit or ask "
                    "another proposer"
                )
            schedule = answer
        return self._written(spec, schedule, list(self._calls(spec)), parent)

    def _written(
        self, spec: OperatorSpec, schedule: Schedule, calls: Sequence[Call], parent: str | None
    ) -> KernelCandidate:
        from models.kernels.synth.scalar import UnsupportedError

        try:
            signature = serving_signature(spec.op_id, spec.schema_text, spec.overloads, calls)
            source, made = synthesize(signature, calls, schedule)
        except UnsupportedError as error:
            raise NothingToProposeError(f"no rule serves {spec.op_id}: {error}") from error
        policy = {**asdict(schedule), "rules": made.rules, "programs": len(made.programs),
                  "refused": made.refused, "signature": signature.schema}  # fmt: skip
        candidate = KernelCandidate.of(
            spec.op_id, source, proposer=self.name, parent_sha=parent, policy=json.dumps(policy)
        )
        self._schedules[candidate.sha] = schedule
        return candidate
