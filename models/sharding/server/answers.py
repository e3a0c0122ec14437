"""What the tools answer, as plain values."""

from __future__ import annotations

import math
import tempfile
from dataclasses import asdict, is_dataclass
from pathlib import Path
from typing import Any

from models.errors import ConfigError
from models.sharding.export.base import Exported
from models.sharding.export.registry import export, read_layout
from models.sharding.job import Job
from models.sharding.judge import Judgement, judge
from models.sharding.layout import Layout
from models.sharding.profile.base import Profile
from models.sharding.propose import ShardingPlan, propose
from models.sharding.ranking import prior_of
from models.sharding.server.asked import (
    AskedDiagnosis,
    AskedExport,
    AskedJob,
    AskedProposals,
    AskedVerdict,
)

COMPILE_S = 240.0
"""Seconds that a compile may take."""


def plain(value: Any) -> Any:
    """Return dataclasses, mappings, sequences and numbers as JSON can say them.

    What is no number (nan, infinite) becomes None; a layout also says itself in words.
    """
    if isinstance(value, Layout):
        return {**asdict(value), "text": value.text()}
    if is_dataclass(value) and not isinstance(value, type):
        return {key: plain(getattr(value, key)) for key in value.__dataclass_fields__}
    if isinstance(value, dict):
        return {str(key): plain(one) for key, one in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [plain(one) for one in value]
    if isinstance(value, bool | str | int) or value is None:
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    return str(value)


def propose_layouts(asked: AskedProposals) -> dict[str, Any]:
    """Propose layouts, or say why there are none and how many chips would do."""
    job = asked.job.job()
    plan = propose(job, count=asked.count, prior=prior_of(asked.rank))
    return {"job": job_text(job), **plan_json(plan)}


def plan_json(plan: ShardingPlan) -> dict[str, Any]:
    """Return a plan as plain values."""
    return {str(key): value for key, value in plain(plan).items()}


def verify_layout(asked: AskedVerdict, cache: Path) -> dict[str, Any]:
    """Judge a layout, and compile it where that is asked for.

    Raises:
        ConfigError: Both or none of layout and text are given, or the text is none.
    """
    job = asked.job.job()
    layout, notes = _given(asked, job)
    judged = judge(job, layout, plan=propose(job, count=1, prior=prior_of("experts")))
    return {
        "job": job_text(job), **judgement_json(judged), "notes": list(notes),
        "check": _checked(asked, job, layout, cache),
    }  # fmt: skip


def judgement_json(judged: Judgement) -> dict[str, Any]:
    """Return a judgement as plain values."""
    found = {str(key): value for key, value in plain(judged).items()}
    return {**found, "times_best": plain(judged.times_best)}


def export_layout(asked: AskedExport) -> dict[str, Any]:
    """Write a layout for a target, or say why it cannot be said there."""
    job = asked.job.job()
    if asked.layout is not None:
        layout = asked.layout.layout()
    else:
        plan = propose(job, count=1, prior=prior_of("experts"))
        if not plan.proposals:
            return {"job": job_text(job), "exported": None, **plan_json(plan)}
        layout = plan.proposals[0].layout
    answer = export(asked.target, job, layout)
    key = "exported" if isinstance(answer, Exported) else "refused"
    return {"job": job_text(job), "layout": plain(layout), key: plain(answer)}


def analyse_profile(asked: AskedDiagnosis) -> dict[str, Any]:
    """Say what holds a step up, from a profile or from the cost model alone.

    Raises:
        ConfigError: A path and a text are both given.
        DataError: The file is not there or is no profile.
    """
    from models.sharding.diagnosis import diagnose
    from models.sharding.profile.analytic import analytic_profile

    if asked.path is not None and asked.text is not None:
        raise ConfigError("give the profile by 'path' or by 'text', not by both")
    job, layout = asked.job.job(), asked.layout.layout()
    if asked.path is None and asked.text is None:
        profile = analytic_profile(job, layout)
    else:
        profile = _read(asked, job, layout)
    found = plain(diagnose(profile, job, layout))
    return {"job": job_text(job), "source": profile.source, "layout": plain(layout), **found}


def _read(asked: AskedDiagnosis, job: Job, layout: Layout) -> Profile:
    from models.sharding.profile.read import read_profile

    if asked.path is not None:
        return read_profile(Path(asked.path), job, layout)
    with tempfile.TemporaryDirectory(prefix="loom-profile-") as folder:
        file = Path(folder) / "profile"
        file.write_text(str(asked.text), encoding="utf-8")
        return read_profile(file, job, layout)


def job_text(job: Job) -> str:
    """Return what was asked in one line."""
    work = job.workload
    pods = f" x {job.place.pods} pods" if job.place.pods > 1 else ""
    return (
        f"{work.stage} {job.model.name}, {work.global_batch} x {work.seq_len} tokens, "
        f"{job.place.text()}{pods} ({job.place.chips} chips)"
    )


def _given(asked: AskedVerdict, job: Job) -> tuple[Layout, tuple[str, ...]]:
    if (asked.layout is None) == (asked.config is None):
        raise ConfigError("give the layout by 'layout' or by 'config', one of them")
    if asked.layout is not None:
        return asked.layout.layout(), ()
    found = read_layout(str(asked.config), job)
    return found.layout, (f"read as {found.target}", *found.notes)


def _checked(asked: AskedVerdict, job: Job, layout: Layout, cache: Path) -> dict[str, Any] | None:
    if asked.compile == "none":
        return None
    from models.sharding.verify import verify

    check = verify(job, layout, level=asked.compile, cache=cache, time_s=COMPILE_S)
    found = {str(key): value for key, value in plain(check).items()}
    if found["compiled"] is not None:
        # A path of the server's machine is nothing that a client can use.
        found["compiled"].pop("hlo_file", None)
    return found


def known_names(_: AskedJob | None = None) -> dict[str, Any]:
    """Return the chips, models and export targets that there are."""
    from models.sharding.export.registry import EXPORTERS
    from models.sharding.specs import load_chips, load_models

    return {
        "chips": sorted(load_chips()),
        "models": sorted({spec.name for spec in load_models().values()}),
        "targets": {name: one.title for name, one in EXPORTERS.items()},
    }
