"""One operator of a campaign, whole: session, evaluation, audit, rows; what a worker runs."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

from pydantic import Field

from models.config import Config
from models.errors import ServiceError
from models.kernels.audit import AuditReport, audit_candidate
from models.kernels.candidate import KernelCandidate
from models.kernels.compiler.result import CompileResult
from models.kernels.execute import ExecutionLimits, Zygote
from models.kernels.harness import Harness, SampleSet, TestReport
from models.kernels.ledger import CoverageRow, Ledger
from models.kernels.lint import LintReport
from models.kernels.operators import OperatorSpec, find_operator
from models.kernels.profiles import DeviceProfile, find_profile
from models.kernels.prompts.retrieval import policy_of
from models.kernels.propose.base import Proposer
from models.kernels.propose.synthesizer import forked_synthesizer
from models.kernels.samples.streams import Suite
from models.kernels.session.config import SessionConfig
from models.kernels.session.result import SessionResult
from models.kernels.session.run import open_trace, run_session
from models.kernels.session.stages import Resolve, lint, no_others, plain_stages
from models.kernels.session.trace import SessionTrace
from models.kernels.workshop import workshop


class OperatorOptions(Config):
    """What a campaign asks of every operator."""

    run: str = ""
    """Campaign: its rows are told from those of others by it."""
    profile: str = "interpreter"
    """Device whose lists and limits hold."""
    session: SessionConfig = SessionConfig()
    """Budgets, switches, targets."""
    suites: tuple[Suite, ...] = ("S",)
    """Suites that the best candidate is evaluated on; S is what the loop tests."""
    seed: int = Field(0, ge=0)
    """Of every suite but S."""
    most_per_dtype: int | None = Field(None, ge=1)
    """Cut of every suite, for development; None in a published run."""
    limits: ExecutionLimits = ExecutionLimits()
    """Of a candidate's process."""
    compile_s: float = Field(60.0, gt=0)
    """Wall time of one compile, in seconds; more where processors are shared by many."""


class OperatorSummary(Config):
    """What became of one operator; small, so that it may cross machines."""

    op_id: str
    """Operator."""
    session_id: str
    """Of trace and rows."""
    outcome: str
    """success, exhausted, infra_error."""
    rows: tuple[CoverageRow, ...] = ()
    """One per suite, recomputed from the ledger."""
    calls: int = 0
    """Candidates that the proposer gave."""
    dialogs: int = 0
    infra_errors: int = 0
    prompt_tokens: int = 0
    """Tokens that language models read for it."""
    completion_tokens: int = 0
    """Tokens that they wrote."""
    cost_usd: float = 0.0
    """What those calls cost whose price is known."""
    cpu_s: float = 0.0
    """CPU seconds of the session's stages."""
    elapsed_s: float = 0.0
    """Wall time of this call, in seconds."""
    sha: str | None = None
    """Source of the best candidate."""
    reason: str = ""
    """Why it is no success, in a line."""

    @property
    def status(self) -> str:
        """How the operator counts on the first suite; `missing` where nothing was evaluated."""
        return self.rows[0].status if self.rows else "missing"


def run_operator(
    op_id: str,
    options: OperatorOptions,
    ledger_path: Path,
    make_proposer: Callable[[Zygote], Proposer] = forked_synthesizer,
    traces: Path | None = None,
    resolve: Resolve = no_others,
    summarise: Callable[[str], str] | None = None,
) -> OperatorSummary:
    """Run one operator to its end, or from where a killed run of it stopped.

    All arguments can be pickled: a worker of a cluster, a thread or a plain loop may call it. A
    candidate never makes it raise; failures of our own machinery end in `infra_error`, and the
    same call tries them again.

    Args:
        op_id: Operator of the catalogue.
        options: What is asked.
        ledger_path: SQLite file; several workers of one machine may share it.
        make_proposer: Builds the proposer in the worker, which may write in forks of its warm
            parent: a function of a module, or a `functools.partial` of one.
        traces: Folder of traces; None: beside the ledger, `traces/RUN`.
        resolve: Modules that a self-consistent candidate calls.
        summarise: Shortens long logs; None: without a model.

    Raises:
        UnknownNameError: No such operator or profile.
        StorageFullError: Ledger or trace cannot grow.
    """
    began = time.monotonic()
    spec, profile = find_operator(op_id), find_profile(options.profile)
    folder = traces or ledger_path.parent / "traces" / (options.run or "default")
    with (
        workshop() as shop,
        Ledger(ledger_path) as ledger,
        open_trace(
            spec,
            profile,
            proposer := make_proposer(shop.zygote),
            options.session,
            folder / f"{op_id}.jsonl",
            options.run,
            options.model_dump(mode="json", include={"most_per_dtype", "limits", "compile_s"}),
        ) as trace,
    ):
        before = ledger.session(trace.session_id)
        if before is not None and before["outcome"] in ("success", "exhausted"):
            summary = _summary(ledger, spec, options, before, began, _spent(trace))
            if summary.sha is None or all(row.status != "missing" for row in summary.rows):
                return summary
        ledger.begin_session(trace.session_id, options.run, op_id, profile.name, proposer.name,
                             options.model_dump(mode="json"))  # fmt: skip
        try:
            shop.pool.timeout_s = options.compile_s
            judge = _Judge(ledger, Harness(shop.zygote, options.limits), spec, profile,
                           options, resolve)  # fmt: skip
            stages = plain_stages(judge.harness, shop.pool, judge.samples("S"), judge.audit,
                                  ledger, resolve, summarise)  # fmt: skip
            result = run_session(spec, profile, proposer, stages, options.session, trace)
            _record(ledger, spec, trace)
            if result.best is not None:
                judge.evaluate(result.best)
        except ServiceError as error:
            shop.close()  # what state its processes are in is not known
            facts = {"outcome": "infra_error", "reason": str(error),
                     "infra_errors": trace.infra_errors + 1, "cpu_s": trace.cpu_s}  # fmt: skip
        else:
            facts = _facts(result)
        ledger.end_session(trace.session_id, **facts)
        ended = ledger.session(trace.session_id)
        assert ended is not None
        return _summary(ledger, spec, options, ended, began, _spent(trace))


def _facts(result: SessionResult) -> dict[str, object]:
    return {"outcome": result.outcome, "reason": result.reason, "calls": result.calls,
            "best_sha": result.best.sha if result.best else None, "dialogs": result.dialogs,
            "infra_errors": result.infra_errors, "cpu_s": result.cpu_s}  # fmt: skip


def _summary(
    ledger: Ledger, spec: OperatorSpec, options: OperatorOptions, row: dict[str, object],
    began: float, spent: dict[str, float],
) -> OperatorSummary:  # fmt: skip
    sha = row["best_sha"]
    mode = ledger.candidate(spec.op_id, str(sha)).mode if sha else "strict"
    rows = tuple(
        ledger.coverage(
            [spec], suite, options.profile, mode, options.run, options.most_per_dtype
        ).rows[0]
        for suite in options.suites
    )
    return OperatorSummary.model_validate({
        **{name: row[name] for name in ("op_id", "session_id", "outcome", "calls", "dialogs",
                                        "infra_errors", "cpu_s", "reason")},
        "sha": sha, "rows": rows, "elapsed_s": time.monotonic() - began, **spent,
    })  # fmt: skip


def _spent(trace: SessionTrace) -> dict[str, float]:
    """Return what a session's proposals took of language models."""
    spent = {"prompt_tokens": 0, "completion_tokens": 0, "cost_usd": 0.0}
    for line in trace.lines:
        if line["what"] == "result" and line["name"] == "propose" and "sha" in line["data"]:
            policy = policy_of(KernelCandidate.model_validate(line["data"]))
            for name in spent:
                found = policy.get(name)
                spent[name] += found if isinstance(found, int | float) else 0
    return spent


def _record(ledger: Ledger, spec: OperatorSpec, trace: SessionTrace) -> None:
    """Write what a session's trace holds into the ledger; again changes nothing."""
    calls = 0
    for line in trace.lines:
        if line["what"] != "result":
            continue
        name, data = line["name"], line["data"]
        if name == "propose" and "sha" in data:
            calls += 1
            own = {"session_id": trace.session_id, "call_no": calls}
            ledger.add_candidate(KernelCandidate.model_validate({**data, **own}))
        elif name == "lint":
            ledger.add_lint(spec.op_id, LintReport.model_validate(data), spec.schema_text)
        elif name == "compile":
            ledger.add_compiles(spec.op_id, [CompileResult.model_validate(one) for one in data])


class _Judge:
    """What decides whether a candidate counts, whatever the loop left out."""

    def __init__(
        self, ledger: Ledger, harness: Harness, spec: OperatorSpec, profile: DeviceProfile,
        options: OperatorOptions, resolve: Resolve,
    ) -> None:  # fmt: skip
        self.ledger, self.harness, self.spec, self.profile = ledger, harness, spec, profile
        self.options, self.resolve = options, resolve

    def samples(self, suite: Suite) -> SampleSet:
        """Make the samples of a suite, or take those made before."""
        return self.harness.prepare(
            self.spec.op_id, suite, seed=self.options.seed,
            most_per_dtype=self.options.most_per_dtype,
        )  # fmt: skip

    def audit(self, candidate: KernelCandidate, profile: DeviceProfile) -> AuditReport:
        """Audit a candidate that passed; what its tests ran twice is not run again."""
        samples, others = self.samples("S"), self.resolve(candidate)
        tested = self.harness.test(candidate, samples, profile, depends_on=others,
                                   store=self.ledger)  # fmt: skip
        report = audit_candidate(candidate, self.harness, samples, profile, others, tested)
        self.ledger.add_audit(self.spec.op_id, candidate.sha, profile.name, report.ok, report)
        return report

    def evaluate(self, best: KernelCandidate) -> None:
        """Judge the best candidate on every suite, without early stop; linter and audit too."""
        report = lint(best, self.spec, self.profile)
        self.ledger.add_lint(self.spec.op_id, report, self.spec.schema_text)
        for suite in self.options.suites:
            tested = self._evaluated(best, suite)
            is_open = not self.ledger.has_audit(self.spec.op_id, best.sha, self.profile.name)
            if suite == "S" and tested.is_passing and is_open:
                self.audit(best, self.profile)

    def _evaluated(self, best: KernelCandidate, suite: Suite) -> TestReport:
        samples = self.samples(suite)
        evaluation = self.ledger.evaluate(
            best, samples, self.profile.name, self.harness.versions(), self.options.run,
            self.options.most_per_dtype,
        )  # fmt: skip
        report = self.harness.test(best, samples, self.profile, depends_on=self.resolve(best),
                                   store=evaluation)  # fmt: skip
        evaluation.finish()
        return report
