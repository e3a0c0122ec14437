"""The deterministic proposer: rules of operator families, repaired by a fixed policy."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from dataclasses import asdict, fields, replace

from models.kernels.candidate import KernelCandidate
from models.kernels.execute.zygote import Zygote
from models.kernels.operators import OperatorSpec
from models.kernels.profiles import DeviceProfile
from models.kernels.propose.base import NothingToProposeError, Packet
from models.kernels.propose.writing import ForkedWriter, Writer, public_calls, write_module
from models.kernels.synth.calls import Call
from models.kernels.synth.schedule import Schedule

_OF_SIZE = {"RES002", "CHT007"}
"""Rules that a module breaks by serving much: its length, and how many numbers its guards hold."""
SMALLEST_BLOCK = 64
"""Elements per program below which a smaller block repairs nothing."""


def repaired(schedule: Schedule, packet: Packet, profile: DeviceProfile) -> Schedule | None:
    """Return the schedule that answers a failure; None: no choice is left to change.

    lint: size, or many numbers   no programs for ranks and types that no call has
    lint, compile: float64 that the device lacks   float32 in its place, with a library that
                    needs no more
    accuracy        the rounding of torch's own decomposition
    compile: type   torch's own conversions between operations
    resource, compile: resource or shape   half the block
    timeout         eight times the block, up to the device's largest: programs cost more than lanes
    crash: misaligned   one element per program: a device's alignment binds blocks, not elements
    crash           else nothing: addresses come from rules, not from the schedule
    """
    kind, machine = packet.kind, packet.machine
    if kind == "lint" and schedule.is_broad and _broken_rules(packet) & _OF_SIZE:
        return replace(schedule, is_broad=False)
    if _lacks_doubles(packet):
        return replace(schedule, doubles=False) if schedule.doubles else None
    if kind == "accuracy" or (kind == "compile" and machine.get("error_class") == "type"):
        return None if schedule.round_between else replace(schedule, round_between=True)
    is_large = "a block of" in str(machine.get("excerpt", ""))
    if kind == "resource" or (
        kind == "compile"
        and (is_large or machine.get("error_class") in ("resource", "shape", "timeout"))
    ):
        smaller = schedule.block // 2
        return replace(schedule, block=smaller) if smaller >= SMALLEST_BLOCK else None
    if kind == "crash" and _is_misaligned(packet):
        return replace(schedule, block=1, columns=1) if schedule.block > 1 else None
    if kind == "timeout" and schedule.block > 1:
        larger = min(schedule.block * 8, profile.max_numel)
        return replace(schedule, block=larger) if larger > schedule.block else None
    return None


def _broken_rules(packet: Packet) -> set[str]:
    return {str(one.get("rule", "")) for one in packet.machine.get("violations", ())}


def _lacks_doubles(packet: Packet) -> bool:
    """Whether a module was refused for double precision."""
    if packet.kind == "compile":
        return "double precision" in str(packet.machine.get("excerpt", ""))
    violations = packet.machine.get("violations", ()) if packet.kind == "lint" else ()
    return any("float64" in str(one.get("message", "")) for one in violations)


def _is_misaligned(packet: Packet) -> bool:
    """Whether a block was loaded or stored beside the device's alignment."""
    return any(one.get("kind") == "misaligned" for one in packet.machine.get("violations", ()))


def first_schedule(profile: DeviceProfile) -> Schedule:
    """Return the schedule that a device's block policy asks for."""
    policy = profile.block_policy
    return Schedule(block=policy.pointwise, columns=min(policy.reduction, 4096),
                    doubles=profile.features.fp64)  # fmt: skip


def recorded_schedule(policy: str) -> Schedule | None:
    """Return the schedule in a candidate's policy; None: there is none."""
    try:
        raw = json.loads(policy)
        return Schedule(**{field.name: raw[field.name] for field in fields(Schedule)})
    except (ValueError, TypeError, KeyError):
        return None


class SynthesizerProposer:
    """Proposes what the rules write; remembers the schedule of each candidate for repairs."""

    name = "synthesizer"

    def __init__(
        self,
        calls: Callable[[OperatorSpec], Iterable[Call]] = public_calls,
        write: Writer | None = None,
    ) -> None:
        """Take what lists the calls to serve, and who writes.

        Args:
            calls: Calls of an operator; tests give their own.
            write: Writes the module of an operator's public calls, such as `ForkedWriter`; None:
                in this process, from `calls`.
        """
        self._write = write or (
            lambda spec, schedule: write_module(spec, schedule, list(calls(spec)))
        )
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
            # A session that goes on after a kill asks a proposer that wrote nothing yet.
            told = recorded_schedule(str(packet.machine.get("policy", "")))
            schedule = self._schedules.get(str(parent)) or told or schedule
            answer = repaired(schedule, packet, profile)
            if answer is None:
                raise NothingToProposeError(
                    f"no repair of {spec.op_id} is left for {packet.kind} under "
                    f"{asdict(schedule)}; add a rule to models/kernels/synth/emit or ask "
                    "another proposer"
                )
            schedule = answer
        written = self._write(spec, schedule)
        policy = {**asdict(schedule), **written.model_dump(exclude={"source"})}
        candidate = KernelCandidate.of(
            spec.op_id, written.source, proposer=self.name, parent_sha=parent,
            policy=json.dumps(policy),
        )  # fmt: skip
        self._schedules[candidate.sha] = schedule
        return candidate


def forked_synthesizer(zygote: Zygote) -> SynthesizerProposer:
    """Return a synthesizer that writes in forks of a warm parent."""
    return SynthesizerProposer(write=ForkedWriter(zygote))
