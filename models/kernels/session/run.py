"""One operator: propose, lint, compile, test, audit, and back with what was found."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any

from models.kernels.execute import LaunchRecord
from models.kernels.feedback import FeedbackPacket, of_audit, of_compile, of_lint, of_tests
from models.kernels.harness.run import HARNESS_VERSION
from models.kernels.lint.base import RULES_VERSION
from models.kernels.operators import OperatorSpec
from models.kernels.profiles import DeviceProfile, find_profile
from models.kernels.propose.base import Proposer
from models.kernels.session.config import SessionConfig
from models.kernels.session.digest import debugged, tokens
from models.kernels.session.recorded import GaveUpError, RecordedStages
from models.kernels.session.result import Attempt, Outcome, SessionResult
from models.kernels.session.signature import operator_signature
from models.kernels.session.stages import Stages, lint
from models.kernels.session.states import Event, Machine, State
from models.kernels.session.trace import SessionTrace

_LOADING = frozenset({"FMT001", "FMT003", "CHT005"})
"""Rules without which loading a module may do anything: compiling has lower walls than testing."""


def open_trace(
    spec: OperatorSpec, profile: DeviceProfile, proposer: Proposer, config: SessionConfig,
    path: Path | None = None, run: str = "", tested: Mapping[str, Any] = MappingProxyType({}),
) -> SessionTrace:  # fmt: skip
    """Open the trace of a session, which goes on where the file ends.

    Args:
        spec: Operator.
        profile: Device.
        proposer: Who writes.
        config: Budgets and switches.
        path: JSONL file; None: in memory.
        run: Campaign that the session belongs to.
        tested: Whatever else decides what stages return, as JSON values: limits, cuts.
    """
    asked = config.model_dump(mode="json", exclude={"infra_retries", "infra_wait_s"})
    asked["off"] = sorted(config.off)
    return SessionTrace({"run": run, "op_id": spec.op_id, "schema": spec.schema_text,
                         "profile": profile.name, "proposer": proposer.name,
                         "config": asked, "tested": dict(tested),
                         "rules": [RULES_VERSION, HARNESS_VERSION]}, path)  # fmt: skip


def run_session(
    spec: OperatorSpec, profile: DeviceProfile, proposer: Proposer, stages: Stages,
    config: SessionConfig, trace: SessionTrace | None = None,
) -> SessionResult:  # fmt: skip
    """Run the session of one operator to its end.

    Compiling needs signatures, which only launches show: one sample per structure key is tested
    first, its launches are compiled, then all samples are tested. What the compilers refuse is
    told before what those samples said.

    Args:
        spec: Operator.
        profile: Device whose lists and limits hold.
        proposer: Who writes.
        stages: What does the work.
        config: Budgets, switches, targets.
        trace: From `open_trace`; None: in memory.

    Raises:
        UnknownNameError: A target is no profile.
        DatasetUnreadableError: The trace is not one of this session.
    """
    targets = tuple(find_profile(name) for name in config.targets)
    used = trace or open_trace(spec, profile, proposer, config)
    return _Session(spec, profile, proposer, stages, config, targets, used).run()


class _Session:
    """The state of one session beside that of its machine."""

    def __init__(
        self, spec: OperatorSpec, profile: DeviceProfile, proposer: Proposer, stages: Stages,
        config: SessionConfig, targets: Sequence[DeviceProfile], trace: SessionTrace,
    ) -> None:  # fmt: skip
        self.spec, self.profile, self.proposer = spec, profile, proposer
        self.config, self.targets, self.trace = config, targets, trace
        self.machine = Machine()
        self.recorded = RecordedStages(spec, profile, stages, config, self.machine, trace)
        self.calls = self.calls_in_dialog = 0
        self.dialogs = 1
        self.attempt: Attempt | None = None
        self.best: Attempt | None = None
        self.asked_with: FeedbackPacket | None = None
        self.refused: dict[str, Attempt] = {}
        self.reason = ""
        self.is_forgotten = False

    def run(self) -> SessionResult:
        """Move until a state has no way on."""
        handlers: dict[State, Callable[[], Event]] = {
            State.INIT: lambda: Event.START, State.PROPOSE: self._propose, State.LINT: self._lint,
            State.COMPILE: self._compile, State.TEST: self._test, State.AUDIT: self._audit,
            State.FEEDBACK: self._feedback, State.SUMMARIZE: self._summarise,
            State.DEBUG: self._debug, State.NEW_DIALOG: self._new_dialog,
        }  # fmt: skip
        outcome: Outcome = "infra_error"
        try:
            while self.machine.state in handlers:
                before = self.machine.state
                event = handlers[before]()
                self.trace.move(before, event, self.machine.on(event))
            outcome = "success" if self.machine.state is State.SUCCESS else "exhausted"
        except GaveUpError as error:
            self.reason = str(error)
        if outcome == "success":
            self._consider()
            self.reason = ""
        self.trace.end(outcome, self.reason)
        return self._result(outcome)

    def _result(self, outcome: Outcome) -> SessionResult:
        best = self.best
        return SessionResult(
            op_id=self.spec.op_id, session_id=self.trace.session_id, outcome=outcome,
            reason=self.reason, best=best.candidate if best else None,
            lint=best.lint if best else None, compiles=best.compiles if best else (),
            report=(best.report or best.probe) if best else None,
            audit=best.audit if best else None, packet=best.packet if best else None,
            calls=self.calls, dialogs=self.dialogs, infra_errors=self.trace.infra_errors,
            cpu_s=self.trace.cpu_s, trace=self.trace.path,
        )  # fmt: skip

    def _propose(self) -> Event:
        was_replayed = self.trace.is_replaying
        answer = self.recorded.propose(self.proposer, self._question(), self.calls + 1)
        # A proposer that was not asked itself knows nothing of the dialog.
        self.is_forgotten = was_replayed
        if answer is None:
            return self._next_dialog()
        if isinstance(answer, str):
            self.reason = self.reason or answer
            return Event.NOTHING_LEFT
        self.calls += 1
        self.calls_in_dialog += 1
        earlier = self.refused.get(answer.sha)
        self.attempt = earlier or Attempt(answer, self.calls)
        return Event.REPEATED if earlier else Event.WRITTEN

    def _question(self) -> FeedbackPacket | None:
        if self.asked_with is None:
            return None
        facts: dict[str, Any] = {"dialog": self.dialogs, "call": self.calls_in_dialog + 1}
        if self.is_forgotten:
            facts["resume"] = True
        return self.asked_with.knowing(**facts)

    def _lint(self) -> Event:
        if "lint" in self.config.off:
            return Event.SKIPPED
        attempt = self._now()
        attempt.lint = self.recorded.lint(attempt.candidate)
        if attempt.lint.passed:
            return Event.PASSED
        return self._failed(of_lint(attempt.lint, self.profile))

    def _compile(self) -> Event:
        attempt = self._now()
        if "compile" in self.config.off or not self.targets or not self._may_load(attempt):
            return Event.SKIPPED
        attempt.probe = self.recorded.test(attempt.candidate, firsts_only=True)
        launches = chosen_launches(attempt.probe.launches, self.config.most_compiles)
        if not launches:
            return Event.SKIPPED
        attempt.compiles = self.recorded.compile(attempt.candidate, launches, self._turn())
        if all(result.ok for result in attempt.compiles):
            return Event.PASSED
        return self._failed(of_compile(*attempt.compiles))

    def _may_load(self, attempt: Attempt) -> bool:
        """Whether the compiling process may load the module, also when the linter is off."""
        report = attempt.lint or lint(attempt.candidate, self.spec, self.profile)
        return not _LOADING & {one.rule for one in report.violations}

    def _turn(self) -> tuple[DeviceProfile, ...]:
        """Return the first target and one of the others; operators begin at different ones."""
        primary, *others = self.targets
        if not others:
            return (primary,)
        start = int.from_bytes(hashlib.sha256(self.spec.op_id.encode()).digest()[:4], "big")
        return primary, others[(start + self.config.seed + self.calls) % len(others)]

    def _test(self) -> Event:
        attempt = self._now()
        if attempt.probe is not None and attempt.probe.first_failure is not None:
            attempt.report = attempt.probe
        else:
            attempt.report = self.recorded.test(attempt.candidate, firsts_only=False)
        if attempt.report.first_failure is None:
            return Event.PASSED
        return self._failed(of_tests(attempt.report, operator_signature(self.spec).schema))

    def _audit(self) -> Event:
        if "audit" in self.config.off:
            return Event.SKIPPED
        attempt = self._now()
        attempt.audit = self.recorded.audit(attempt.candidate)
        if attempt.audit.ok:
            return Event.PASSED
        return self._failed(of_audit(attempt.audit))

    def _failed(self, packet: FeedbackPacket) -> Event:
        attempt = self._now()
        candidate = attempt.candidate
        attempt.packet = packet.knowing(policy=candidate.policy, source=candidate.source)
        self.refused[candidate.sha] = attempt
        self._consider()
        return Event.FAILED

    def _consider(self) -> None:
        attempt = self._now()
        if self.best is None or attempt.score >= self.best.score:
            self.best = attempt

    def _feedback(self) -> Event:
        attempt = self._now()
        packet = attempt.packet
        assert packet is not None
        if attempt.call != self.calls:
            packet = packet.saying(
                f"This is the module of call {attempt.call} again, and it is refused again:\n\n"
                f"{packet.text}"
            )
        self.asked_with = packet
        self.reason = packet.reason
        if self.calls_in_dialog >= self.config.calls:
            return self._next_dialog()
        if packet.kind == "crash" and "debug" not in self.config.off and attempt.report:
            return Event.CRASHED
        is_long = tokens(packet.text) > self.config.most_log_tokens
        return Event.LONG if is_long and "summarise" not in self.config.off else Event.READY

    def _next_dialog(self) -> Event:
        return Event.DIALOG_OVER if self.dialogs < self.config.sessions else Event.SPENT

    def _summarise(self) -> Event:
        packet = self.asked_with
        assert packet is not None
        self.asked_with = packet.saying(self.recorded.summarise(packet.text))
        return Event.READY

    def _debug(self) -> Event:
        attempt, packet = self._now(), self.asked_with
        assert attempt.report is not None
        assert packet is not None
        self.asked_with = debugged(packet, attempt.candidate, attempt.report)
        return Event.READY

    def _new_dialog(self) -> Event:
        self.dialogs += 1
        self.calls_in_dialog = 0
        self.asked_with = self.best.packet if self.best else None
        self.is_forgotten = True
        return Event.READY

    def _now(self) -> Attempt:
        assert self.attempt is not None
        return self.attempt


def chosen_launches(launches: Sequence[LaunchRecord], most: int) -> tuple[LaunchRecord, ...]:
    """Return launches to compile: one of each kernel, then second ones, up to a number."""
    by_kernel: dict[str, list[LaunchRecord]] = {}
    for launch in launches:
        by_kernel.setdefault(launch.kernel, []).append(launch)
    rounds = max((len(own) for own in by_kernel.values()), default=0)
    order = [
        own[place] for place in range(rounds) for own in by_kernel.values() if place < len(own)
    ]
    return tuple(order[:most])
