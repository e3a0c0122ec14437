"""The answer of a plan: its headline, its figures, its files."""

from __future__ import annotations

import json
import shlex
import tempfile
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

from models.errors import ConfigError
from models.settings import get_settings
from models.sharding.config import PlanConfig
from models.sharding.diagnosis import Diagnosis
from models.sharding.job import Job
from models.sharding.judge import judge
from models.sharding.knowledge.recall import Recalled
from models.sharding.planner.base import Planned
from models.sharding.report import PlanReportInput, render_report
from models.sharding.report.numbers import mfu
from models.sharding.residual import Site
from models.sharding.server.answers import job_text, judgement_json, plain
from models.sharding.verify import Check
from models.sharding.work import Known


@dataclass(frozen=True)
class PlanAnswer:
    """Everything that a run of plan-sharding found out."""

    config: PlanConfig
    job: Job
    site: Site
    known: Known | None
    """None: no layout is legal, so there is no step to look at."""
    diagnosis: Diagnosis | None
    recalled: Recalled
    planned: Planned
    checks: tuple[Check, ...]
    """One per proposal, in their order."""

    @property
    def headline(self) -> str:
        """The answer in one sentence."""
        if self.planned.infeasible is not None:
            why = self.planned.infeasible
            return f"no layout for {job_text(self.job)}: {why.reason}: {why.detail}"
        first = self.planned.proposals[0]
        whole = "a step" if self.job.workload.is_training else "a batch"
        late = ""
        if first.ttft_s is not None and first.tpot_s is not None:
            late = f", first token {first.ttft_s:.3g} s, then {1e3 * first.tpot_s:.3g} ms each"
        fallback = self.planned.fallback_reason
        model = f" (no language model: {fallback})" if fallback else ""
        asked = job_text(self.job)
        return (
            f"{first.layout.text()} for {asked}: {first.step_s.middle:.3g} s {whole}{late}{model}"
        )

    @property
    def present_step_s(self) -> float | None:
        """Seconds of the present step, measured where a profile says; None: it does not fit."""
        if self.known is None or (not self.known.is_measured and not self.known.fits):
            return None
        return self.known.profile.step_s

    @property
    def present_text(self) -> str:
        """The present layout and where it comes from."""
        if self.known is None:
            return "none is legal"
        lack = "" if self.known.fits or self.known.is_measured else "; it does not fit"
        return f"{self.known.layout.text()} ({self.known.origin}{lack})"

    @property
    def memory_share(self) -> float | None:
        """P90 of the first proposal's memory over the capacity."""
        if not self.planned.proposals:
            return None
        return self.planned.proposals[0].memory_bytes.high / self.job.place.chip.hbm_bytes

    def metrics(self) -> dict[str, float | None]:
        """Return what runs are compared by."""
        first = self.planned.proposals[0].step_s.middle if self.planned.proposals else None
        present = self.present_step_s
        return {
            "plan/proposals": len(self.planned.proposals),
            "plan/step_s": first,
            "plan/mfu": mfu(self.job, first) if first else None,
            "plan/memory_share": self.memory_share,
            "plan/speedup": present / first if present and first else None,
            "plan/minimum_chips": _minimum(self.planned),
            "plan/ttft_s": self.planned.proposals[0].ttft_s if self.planned.proposals else None,
            "plan/tpot_s": self.planned.proposals[0].tpot_s if self.planned.proposals else None,
        }

    def rows(self) -> list[dict[str, Any]]:
        """Return the proposals as a table."""
        capacity = self.job.place.chip.hbm_bytes
        return [
            {
                "rank": one.rank, "layout": one.layout.text(),
                "step_s": round(one.step_s.middle, 4),
                "P10-P90": f"{one.step_s.low:.3g}-{one.step_s.high:.3g}",
                "MFU": f"{mfu(self.job, one.step_s.middle):.1%}",
                "memory": f"{one.memory_bytes.high / capacity:.0%}",
                "verified": check.text(), "risks": "; ".join(one.risks),
            }
            for one, check in zip(self.planned.proposals, self.checks, strict=True)
        ]  # fmt: skip

    def document(self, exports: dict[str, Any]) -> dict[str, Any]:
        """Return everything as plain values."""
        known = self.known
        own = None
        if known is not None:
            judged = judge(self.job, known.layout, self.site.constants, self.planned.plan)
            own = {**judgement_json(judged), "origin": known.origin}
        checks = [{**plain(one), "text": one.text()} for one in self.checks]
        for check in checks:
            if check["compiled"]:
                check["compiled"].pop("hlo_file", None)
        return {
            "schema": "sharding-plan/1", "question": job_text(self.job),
            "config": plain(self.config.model_dump(mode="json")), "headline": self.headline,
            "present": own, "profile": plain(known.profile) if known else None,
            "diagnosis": plain(self.diagnosis), "plan": plain(self.planned.plan),
            "justifications": plain(self.planned.justifications),
            "authors": list(self.planned.authors), "proposer": self.planned.proposer,
            "fallback_reason": self.planned.fallback_reason,
            "refused": dict(self.planned.refused), "withheld": dict(self.planned.withheld),
            "checks": checks, "knowledge": [_cited(one) for one in self.recalled.items],
            "exports": exports, "constants": plain(self.site.constants),
        }  # fmt: skip


def _cited(item: Any) -> dict[str, str]:
    return {"id": item.id, "title": item.title, "source": item.source}


def _minimum(planned: Planned) -> float | None:
    return planned.infeasible.minimum_chips if planned.infeasible else None


def answer_folder(config: PlanConfig) -> Path:
    """Make the folder of a plan's files, and return it: equal configs share one.

    Raises:
        ConfigError: There can be no such folder; told before anything is computed.
    """
    return made(config.output or get_settings().home / "sharding" / "plans" / config.digest)


def made(folder: Path) -> Path:
    """Make a folder for answers.

    Raises:
        ConfigError: A file stands in its place, or nothing may be written there.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            return folder
    except OSError as error:
        raise ConfigError(
            f"answers cannot be written to {folder} ({error.strerror}); name another folder in "
            "`output`"
        ) from None


def command_of(config: PlanConfig) -> str:
    """Return the command that asks the same again."""
    words = ["loom", "run", "plan-sharding"]
    for name, value in config.model_dump(mode="json", exclude_defaults=True).items():
        if name == "data":
            words += ["--data", str(value)]
        elif name != "output":
            text = value if isinstance(value, str) else json.dumps(value)
            words += ["--set", f"{name}={text}"]
    return shlex.join(words)


def publish(answer: PlanAnswer, exports: dict[str, Any], folder: Path) -> dict[str, Path]:
    """Write plan.json and report.html; return them by name.

    Args:
        answer: Of one run.
        exports: What became of each target.
        folder: One that is there.
    """
    plan = folder / "plan.json"
    plan.write_text(json.dumps(answer.document(exports), indent=1, allow_nan=False) + "\n")
    report = folder / "report.html"
    report.write_text(
        render_report(
            PlanReportInput(
                job=answer.job, plan=answer.planned.plan, constants=answer.site.constants,
                profile=answer.known.profile if answer.known else None,
                diagnosis=answer.diagnosis, checks=answer.checks, knowledge=answer.recalled.items,
                command=command_of(answer.config),
                versions=[(name, version(name)) for name in ("jax", "jaxlib", "loomworks")],
            )
        )
    )  # fmt: skip
    return {"plan": plan, "report": report}
