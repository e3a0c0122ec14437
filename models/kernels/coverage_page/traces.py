"""Read the trace of a session: its attempts with the feedback that each got, and its steps."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from models.errors import DatasetMissingError, DatasetUnreadableError
from models.kernels.candidate import KernelCandidate
from models.kernels.compiler.result import CompileResult
from models.kernels.coverage_page.model import AttemptView, EventView
from models.kernels.feedback import FeedbackPacket, of_audit, of_compile, of_lint, of_tests
from models.kernels.harness.report import TestReport
from models.kernels.lint.base import LintReport
from models.kernels.profiles import find_profile
from models.kernels.session.result import AuditVerdict

_TESTS = ("probe", "test")


@dataclass(frozen=True)
class SessionView:
    """One session, as far as a page shows it."""

    op_id: str
    session_id: str
    run: str
    """Campaign."""
    attempts: tuple[AttemptView, ...]
    events: tuple[EventView, ...]


def read_session(file: Path) -> SessionView:
    """Read a trace; a line that a kill tore at its end is left out.

    Raises:
        DatasetMissingError: There is no such file.
        DatasetUnreadableError: It is no trace of a session.
    """
    try:
        data = file.read_bytes()
    except FileNotFoundError:
        raise DatasetMissingError(f"no trace at {file}; give the folder of a run") from None
    try:
        lines = [json.loads(text) for text in data[: data.rfind(b"\n") + 1].splitlines()]
        header = lines[0]["header"]
        views = _Reader(str(header["profile"]), float(lines[0]["at"]))
        for line in lines[1:]:
            views.take(line)
        return SessionView(
            str(header["op_id"]), str(lines[0]["session_id"]), str(header["run"]),
            tuple(views.attempts), tuple(views.events),
        )  # fmt: skip
    except (ValueError, KeyError, TypeError, IndexError) as error:
        raise DatasetUnreadableError(
            f"{file} is no trace of a session ({type(error).__name__}: {error}); leave it out"
        ) from error


class _Reader:
    """Attempts and events so far."""

    def __init__(self, profile: str, began: float) -> None:
        self.profile = find_profile(profile)
        self.began = began
        self.attempts: list[AttemptView] = []
        self.events: list[EventView] = []

    def take(self, line: dict[str, Any]) -> None:
        """Take the next line."""
        what, name = line["what"], line["name"]
        if what == "result":
            self._result(name, line["data"])
        elif what == "move":
            before, event, after = name.split()
            self._note(line, before, f"{event}, then {after}")
        elif what == "infra":
            self._note(line, name, f"our own machinery failed: {line['error']}")
        elif what == "end":
            self._note(line, name, line["reason"])

    def _note(self, line: dict[str, Any], state: str, detail: str) -> None:
        call = self.attempts[-1].call_no if self.attempts else None
        at_s = round(float(line["at"]) - self.began, 3)
        self.events.append(EventView(state=state, at_s=at_s, detail=detail, call_no=call))

    def _result(self, stage: str, data: Any) -> None:
        if stage == "propose":
            if "sha" in data:
                candidate = KernelCandidate.model_validate(data)
                self.attempts.append(AttemptView(
                    call_no=len(self.attempts) + 1, sha=candidate.sha, source=candidate.source,
                    proposer=candidate.proposer, policy=candidate.policy,
                ))  # fmt: skip
        elif stage == "summarise":
            self._change(packet_text=str(data))
        else:
            verdict, packet = self._judged(stage, data)
            self._change(verdict=verdict)
            if packet is not None:
                self._change(packet_kind=packet.kind, packet_text=packet.text)

    def _change(self, **values: Any) -> None:
        self.attempts[-1] = self.attempts[-1].model_copy(update=values)

    def _judged(self, stage: str, data: Any) -> tuple[str, FeedbackPacket | None]:
        """Return what a stage said in a few words, and the feedback where it refused."""
        if stage == "lint":
            lint = LintReport.model_validate(data)
            return ("lint passed", None) if lint.passed else (
                "refused by the linter", of_lint(lint, self.profile))  # fmt: skip
        if stage == "compile":
            results = [CompileResult.model_validate(one) for one in data]
            failed = sum(not one.ok for one in results)
            return (f"{failed} of {len(results)} compilations fail", of_compile(*results)) if (
                failed) else (f"compiled {len(results)} times", None)  # fmt: skip
        if stage in _TESTS:
            report = TestReport.model_validate(data)
            said = f"{report.passed} of {report.total} tests pass"
            return said, None if report.first_failure is None else of_tests(report)
        if stage == "audit":
            audit = AuditVerdict.model_validate(data)
            return ("passed", None) if audit.ok else ("refused by the audit", of_audit(audit))
        raise ValueError(f"no stage named '{stage}'")
