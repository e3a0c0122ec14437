"""The stages of a session through its trace: replayed where it holds a result, else made now."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any

from pydantic import TypeAdapter

from models.errors import ConfigError, ProjectError, ServiceError
from models.kernels.candidate import KernelCandidate
from models.kernels.compiler.result import CompileResult
from models.kernels.execute import LaunchRecord
from models.kernels.feedback import FeedbackPacket
from models.kernels.harness.report import TestReport
from models.kernels.lint import LintReport
from models.kernels.operators import OperatorSpec
from models.kernels.profiles import DeviceProfile
from models.kernels.propose.base import DialogFullError, Proposer
from models.kernels.session.config import SessionConfig
from models.kernels.session.digest import shortened
from models.kernels.session.result import AuditVerdict
from models.kernels.session.stages import Stages
from models.kernels.session.states import AGAIN, Event, Machine
from models.kernels.session.trace import SessionTrace

_COMPILES = TypeAdapter(tuple[CompileResult, ...])


class GaveUpError(Exception):
    """Our own machinery failed more often than it is tried; the operator is not judged."""


class _BrokenError(Exception):
    """A stage failed for a reason that no candidate is to blame for."""


class RecordedStages:
    """Calls stages once ever: results go to the trace, failures of ours are tried again.

    Args:
        spec: Operator.
        profile: Device.
        stages: What does the work.
        config: How often, and after which pause, a failure of ours is repeated.
        machine: Goes to INFRA_ERROR and back.
        trace: Where results are kept.
    """

    def __init__(
        self, spec: OperatorSpec, profile: DeviceProfile, stages: Stages, config: SessionConfig,
        machine: Machine, trace: SessionTrace,
    ) -> None:  # fmt: skip
        self.spec, self.profile, self.stages = spec, profile, stages
        self.config, self.machine, self.trace = config, machine, trace

    def propose(
        self, proposer: Proposer, packet: FeedbackPacket | None, call: int
    ) -> KernelCandidate | str | None:
        """Return a candidate; a reason when nothing is left; None when the dialog is full."""

        def work() -> tuple[Any, float]:
            began = time.thread_time()
            try:
                given = self.stages.propose(proposer, self.spec, self.profile, packet)
            except DialogFullError:
                return {"full": True}, time.thread_time() - began
            except ServiceError:
                raise
            except ProjectError as error:
                return {"nothing": str(error)}, time.thread_time() - began
            if given.op_id != self.spec.op_id:
                raise ConfigError(
                    f"{proposer.name} was asked for {self.spec.op_id} and wrote {given.op_id}; "
                    "correct the proposer"
                )
            return given.model_dump(mode="json"), time.thread_time() - began

        answer = self._result("propose", work)
        if "full" in answer:
            return None
        if "nothing" in answer:
            return str(answer["nothing"])
        own = {"session_id": self.trace.session_id, "call_no": call}
        return KernelCandidate.model_validate({**answer, **own})

    def lint(self, candidate: KernelCandidate) -> LintReport:
        """Judge the text."""

        def work() -> tuple[Any, float]:
            began = time.thread_time()
            report = self.stages.lint(candidate, self.spec, self.profile)
            return report.model_dump(mode="json"), time.thread_time() - began

        return LintReport.model_validate(self._result("lint", work))

    def compile(
        self,
        candidate: KernelCandidate,
        launches: Sequence[LaunchRecord],
        targets: Sequence[DeviceProfile],
    ) -> tuple[CompileResult, ...]:
        """Compile launches for targets."""

        def work() -> tuple[Any, float]:
            found = tuple(self.stages.compile(candidate, launches, targets))
            return _COMPILES.dump_python(found, mode="json"), sum(one.elapsed_s for one in found)

        return _COMPILES.validate_python(self._result("compile", work))

    def test(self, candidate: KernelCandidate, firsts_only: bool) -> TestReport:
        """Test; of the outcomes only those that did not pass are kept."""

        def work() -> tuple[Any, float]:
            report = self.stages.test(candidate, self.profile, firsts_only)
            failed = tuple(o for o in report.outcomes if o.status not in ("passed", "not_run"))
            kept = report.model_copy(update={"outcomes": failed})
            return kept.model_dump(mode="json"), report.cpu_s

        return TestReport.model_validate(self._result("probe" if firsts_only else "test", work))

    def audit(self, candidate: KernelCandidate) -> AuditVerdict:
        """Audit a candidate that passed."""

        def work() -> tuple[Any, float]:
            verdict = AuditVerdict.of(self.stages.audit(candidate, self.profile))
            return verdict.model_dump(mode="json"), verdict.cpu_s

        return AuditVerdict.model_validate(self._result("audit", work))

    def summarise(self, text: str) -> str:
        """Shorten a log."""

        def work() -> tuple[Any, float]:
            if self.stages.summarise is not None:
                return self.stages.summarise(text), 0.0
            return shortened(text, self.config.most_log_tokens), 0.0

        return str(self._result("summarise", work))

    def _result(self, stage: str, work: Callable[[], tuple[Any, float]]) -> Any:
        state = self.machine.state

        def made() -> tuple[Any, float]:
            try:
                return work()
            # Whatever our machinery raises must not end a campaign.
            except Exception as error:
                raise _BrokenError(f"{type(error).__name__}: {error}") from error

        attempt = 0
        while True:
            try:
                return self.trace.result(stage, made)
            except _BrokenError as error:
                self.machine.on(Event.BROKE)
                self.trace.infra(state, str(error))
                if attempt == self.config.infra_retries:
                    raise GaveUpError(f"{state} broke {attempt + 1} times: {error}") from error
                time.sleep(self.config.infra_wait_s * 2**attempt)
                self.machine.on(AGAIN[state])
                attempt += 1
