"""Plan a sharding: calibrate, profile, diagnose, recall, propose, verify, export."""

from __future__ import annotations

import hashlib
import time
from pathlib import Path
from typing import Any

from prefect import get_run_logger, task
from prefect.cache_policies import NO_CACHE

from models.settings import get_settings
from models.sharding.config import PlanConfig
from models.sharding.constants import Constants
from models.sharding.diagnosis import Diagnosis, diagnose
from models.sharding.export.base import Exported, Refused
from models.sharding.export.registry import export
from models.sharding.job import Job
from models.sharding.knowledge.recall import Recalled
from models.sharding.layout import Layout
from models.sharding.planner.base import Planned
from models.sharding.propose import Proposal
from models.sharding.residual import Site
from models.sharding.verify import Check, Level, verify
from models.sharding.work import (
    Known,
    compiled_step,
    keep_run,
    known_step,
    plan_of,
    recall_for,
    site_of,
)
from tasks.agent_model import asked_model
from tasks.agents import agents_home
from tasks.cache import ByContent
from tasks.track import TrackedRun


def compiles() -> Path:
    """Return the folder of remembered compiles; all flows and servers share it."""
    return get_settings().home / "sharding" / "compiles"


@task(cache_policy=ByContent(room="models.sharding"), persist_result=True)
def fit_site(runs: Path, digest: str) -> Site:
    """Calibrate on measured runs; the same file and code come from the cache.

    Args:
        runs: File of the landscape schema.
        digest: SHA-256 of its bytes.
    """
    get_run_logger().info("fitting constants and corrections on %s (%s)", runs.name, digest[:12])
    return site_of(runs)


def learn_site_of(config: PlanConfig, run: TrackedRun) -> Site:
    """Return what the site's runs teach, or the constants of the literature."""
    if config.runs is None:
        return Site()
    digest = file_digest(config.runs)
    run.dataset(config.runs.name, digest, config.runs)
    site: Site = fit_site(config.runs, digest)
    return site


def file_digest(path: Path) -> str:
    """Return the SHA-256 of a file's bytes; of a missing file nothing, reading it tells."""
    return hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else ""


@task(cache_policy=NO_CACHE)
def profile_step(
    config: PlanConfig, job: Job, constants: Constants, run: TrackedRun
) -> Known | None:
    """Read the profile of the step as it runs now, or predict it; see `known_step`."""
    if config.data is not None and config.data.is_file():
        run.dataset(config.data.name, file_digest(config.data), config.data)
    known = known_step(config, job, constants)
    if known is None:
        return None
    known = compiled_step(known, config, job, compiles())
    profile = known.profile
    run.params({"present_layout": known.layout.text(), "profile_source": profile.source})
    run.metrics({
        "present/step_s": profile.step_s, "present/peak_hbm_bytes": profile.peak_hbm_bytes,
        "present/exposed_comm_s": profile.exposed_comm_s,
    })  # fmt: skip
    keep_run(known, job, get_settings().home)
    for warning in (*profile.warnings, *known.notes):
        get_run_logger().warning("%s", warning)
    return known


@task(cache_policy=NO_CACHE)
def diagnose_step(known: Known, job: Job, constants: Constants, run: TrackedRun) -> Diagnosis:
    """Say what holds the present step up; see `models.sharding.diagnosis.diagnose`."""
    found = diagnose(known.profile, job, known.layout, constants)
    for sentence in found.sentences:
        get_run_logger().info("%s", sentence)
    run.tags({"bottlenecks": ", ".join(found.kinds), "limit": found.limit})
    run.metrics({f"removed/{one.kind}_s": one.saved_s for one in found.counterfactuals})
    return found


@task(cache_policy=NO_CACHE)
def recall_knowledge(
    config: PlanConfig, job: Job, diagnosis: Diagnosis | None, run: TrackedRun
) -> Recalled:
    """Find documents, published runs and runs of this installation that speak to the job."""
    began = time.monotonic()
    recalled = recall_for(job, diagnosis, get_settings().home, config.leave_own_out)
    run.metrics({"recall/s": time.monotonic() - began, "recall/items": len(recalled.items)})
    for note in recalled.notes:
        get_run_logger().info("%s", note)
    return recalled


@task(cache_policy=NO_CACHE)
def propose_layouts(
    config: PlanConfig, job: Job, site: Site, diagnosis: Diagnosis | None, recalled: Recalled,
    run: TrackedRun,
) -> Planned:  # fmt: skip
    """Propose layouts; a language model that fails leaves the analytic answer."""
    began = time.monotonic()
    if config.proposer == "language_model":
        with asked_model(
            config.llm, config.asker, "sharding-planner", agents_home()
        ) as model:  # fmt: skip
            planned = plan_of(config, job, site, diagnosis, recalled, model)
    else:
        planned = plan_of(config, job, site, diagnosis, recalled)
    plan = planned.plan
    run.tags({"proposer": planned.proposer, "fallback": planned.fallback_reason or ""})
    run.metrics({
        "propose/s": time.monotonic() - began, "candidates": plan.candidates,
        "llm/calls": planned.calls, "llm/tokens": planned.tokens,
        **{f"rejected/{why.replace(' ', '_')}": count for why, count in plan.rejected.items()},
    })  # fmt: skip
    for one in plan.proposals:
        run.metrics(_told(one))
    if planned.fallback_reason:
        get_run_logger().warning("the analytic answer stands: %s", planned.fallback_reason)
    return planned


def _told(one: Proposal) -> dict[str, float | None]:
    place = f"proposal_{one.rank}"
    return {
        f"{place}/step_s": one.step_s.middle, f"{place}/step_s_p10": one.step_s.low,
        f"{place}/step_s_p90": one.step_s.high, f"{place}/memory_bytes": one.memory_bytes.middle,
        f"{place}/memory_bytes_p90": one.memory_bytes.high,
        **{f"{place}/terms/{name}_s": value for name, value in one.terms_s.items()},
    }  # fmt: skip


@task(cache_policy=NO_CACHE, task_run_name="verify-{rank}", tags=["compile"])
def verify_layout(
    rank: int, job: Job, layout: Layout, level: Level, constants: Constants, compile_s: float
) -> Check:
    """Verify one layout; what was compiled before comes from the folder of compiles."""
    check = verify(
        job, layout, level=level, cache=compiles(), constants=constants, time_s=compile_s
    )
    get_run_logger().info("%s: %s", layout.text(), check.text())
    for warning in check.warnings:
        get_run_logger().info("%s", warning)
    return check


def record_checks(checks: list[Check], run: TrackedRun) -> None:
    """Record what verification cost and found, and the digests of the compiled programs."""
    done = [one.compiled for one in checks if one.compiled is not None]
    run.metrics({
        "verify/ok": sum(one.verdict == "ok" for one in checks),
        "verify/compiled": sum(bool(one.is_compiled) for one in checks),
        "verify/from_cache": sum(one.is_cached for one in done),
        "verify/cpu_s": sum(one.cpu_s or 0.0 for one in done if not one.is_cached),
    })  # fmt: skip
    run.tags({f"hlo.{rank}": one.hlo_digest for rank, one in enumerate(done, 1) if one.hlo_digest})


@task(cache_policy=NO_CACHE)
def write_exports(
    config: PlanConfig, job: Job, layout: Layout, folder: Path, run: TrackedRun
) -> dict[str, Exported | Refused]:
    """Write the first proposal for each trainer and server that can express it."""
    answers: dict[str, Exported | Refused] = {}
    for target in config.export:
        answer = export(target, job, layout)
        answers[target] = answer
        if isinstance(answer, Refused):
            get_run_logger().info("%s: %s", target, "; ".join(answer.reasons))
            continue
        for name, text in answer.files.items():
            place = folder / "exports" / target / name
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_text(text)
            run.artifact(f"exports/{target}/{name}", place)
    return answers


def exports_as_values(answers: dict[str, Exported | Refused]) -> dict[str, Any]:
    """Return what became of each target, without the texts."""
    return {
        target: {"refused": list(one.reasons)}
        if isinstance(one, Refused)
        else {"files": sorted(one.files), "command": one.command, "notes": list(one.notes)}
        for target, one in answers.items()
    }
