"""Find attacks in sessions of agents: gather, check, two tiers, publish."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from prefect import get_run_logger, task
from prefect.cache_policies import NO_CACHE

from models.contracts import check_table, read_contract
from models.detection.config import DetectConfig
from models.detection.examiner import Examiner
from models.detection.gathering import (
    Gathered,
    Stored,
    gather,
    named_source,
    sessions_edge,
    store_of,
)
from models.detection.intel import threats
from models.detection.listed import Listed, list_items
from models.detection.publish import Published, figures, publish
from models.detection.reasoning.judge import Judge
from models.detection.records import Record
from models.detection.report.alert import Technique
from models.detection.work import Kept, examiner_of, investigate, key_of, triage
from models.errors import ContractError
from models.settings import get_settings
from tasks.agent_model import asked_model
from tasks.collect import is_worth_retrying
from tasks.track import TrackedRun


@task(cache_policy=NO_CACHE, retries=2, retry_delay_seconds=5,
      retry_condition_fn=is_worth_retrying)  # fmt: skip
def gather_sessions(config: DetectConfig, run: TrackedRun) -> Gathered:
    """Bring sessions into the store; see `models.detection.gathering.gather`."""
    began = time.monotonic()
    found = gather(config, get_settings().home)
    done = found.collection
    get_run_logger().info(
        "%d sessions, %d of them new or changed; %d logs, %d unchanged; %d records set aside",
        *(len(found.sessions), done.stored, done.sources, done.unchanged, done.quarantined),
    )
    for path in done.rewritten:
        get_run_logger().warning("%s was rewritten; what was kept of it before stays", path)
    for path in done.gone:
        get_run_logger().warning("%s is gone; what was kept of it stays", path)
    for why in (*done.unreadable, *done.same_ids):
        get_run_logger().warning("%s", why)
    for why in found.skipped:
        get_run_logger().warning("left out: %s", why)
    run.metrics(
        {
            "gather/s": time.monotonic() - began, "gather/logs": done.sources,
            "gather/unchanged_logs": done.unchanged, "gather/new_sessions": done.stored,
            "gather/rewritten_logs": len(done.rewritten), "gather/gone_logs": len(done.gone),
            "gather/left_out": len(found.skipped),
            "gather/unreadable": len(done.unreadable), "gather/same_ids": len(done.same_ids),
        }
    )  # fmt: skip
    return found


@task(cache_policy=NO_CACHE)
def list_inventory(config: DetectConfig, run: TrackedRun) -> Listed | None:
    """Look at what shapes the agents of a home folder; see `models.detection.listed.list_items`."""
    listed = list_items(config, get_settings().home, time.time())
    if listed is None:
        return None
    logger = get_run_logger()
    if listed.damaged is not None:
        logger.warning(
            "the history of the inventory could not be read (%s) and begins anew; it is kept as %s",
            listed.why, listed.damaged,
        )  # fmt: skip
    changes = listed.changes
    logger.info(
        "%d things shape the agents; since the last look %d added, %d changed, %d removed",
        *(len(listed.items), len(changes.added), len(changes.changed), len(changes.removed)),
    )
    run.metrics(listed.figures())
    run.artifact("inventory.csv", listed.frame())
    run.artifact("inventory_changes.csv", listed.changes_frame())
    return listed


@task(cache_policy=NO_CACHE)
def check_sessions(gathered: Gathered, run: TrackedRun) -> tuple[Stored, ...]:
    """Check the sessions against their contract, and return those that can be judged.

    Raises:
        ContractError: The table as a whole is broken; the run keeps the page.
    """
    contract = read_contract(get_settings().datasets / "detection" / "sessions")
    frame = sessions_edge(gathered)
    try:
        checked = check_table(contract, frame, source="the sessions")
    except ContractError as error:
        if error.page:
            run.artifact("contracts/sessions.html", error.page)
        raise
    run.artifact("contracts/sessions.html", checked.html)
    run.artifact("contracts/sessions.csv", checked.summary)
    if len(checked.quarantine):
        run.artifact("contracts/sessions_quarantine.csv", checked.quarantine)
        get_run_logger().warning("%d sessions hold nothing", len(checked.quarantine))
    for warning in checked.warnings:
        get_run_logger().info("watched: %s", warning)
    digest = hashlib.sha256("".join(one.digest for one in gathered.sessions).encode()).hexdigest()
    run.dataset("sessions", digest, gathered.folder)
    kept = set(checked.frame["session"])
    names = frame["session"].tolist()
    return tuple(
        one for one, name in zip(gathered.sessions, names, strict=True) if name in kept
    )  # fmt: skip


def verdicts_of(config: DetectConfig) -> Kept:
    """Return where verdicts of this config are kept."""
    key = key_of(config, examiner_of(config))
    return Kept(get_settings().home / "detection" / "verdicts" / key)


@task(cache_policy=NO_CACHE, task_run_name="triage-{number}")
def triage_sessions(
    part: tuple[Stored, ...], config: DetectConfig, number: int
) -> tuple[Stored, ...]:
    """Apply the first tier to a partition; what it passes on is returned, the rest is judged."""
    examiner, kept = examiner_of(config), verdicts_of(config)
    passed = []
    for stored in part:
        record = triage(examiner, stored)
        if record is None:
            passed.append(stored)
        else:
            kept.put(stored, record)
    return tuple(passed)


@task(cache_policy=NO_CACHE, task_run_name="investigate-{number}")
def investigate_sessions(part: tuple[Stored, ...], config: DetectConfig, number: int) -> int:
    """Follow the sessions of a partition call by call; returns how many."""
    kept = verdicts_of(config)
    with _judge_of(config) as judge:
        for stored, record in investigate(examiner_of(config, judge), part):
            kept.put(stored, record)
    if judge and judge.failed:
        get_run_logger().warning("the judge gave no vote on %d of %d", judge.failed, judge.asked)
    return len(part)


@contextmanager
def _judge_of(config: DetectConfig) -> Iterator[Judge | None]:
    """Give who votes near the threshold; None: nobody does."""
    if not config.judge:
        yield None
        return
    # Apart from the conversations that are judged: they quote what attackers wrote.
    own = get_settings().home / "detection" / "judge"
    with asked_model(config.judge, config.asker, "judge", own) as model:
        yield Judge(model)


def reports_folder(config: DetectConfig) -> Path:
    """Return where the files for people lie; each data source has a folder of its own."""
    home = get_settings().home
    return home / "detection" / "reports" / store_of(config, home).name


@task(cache_policy=NO_CACHE)
def publish_verdicts(
    records: Sequence[tuple[Stored, Record]],
    examined: int,
    wall_s: float,
    config: DetectConfig,
    examiner: Examiner,
    listed: Listed | None,
    run: TrackedRun,
) -> Published:
    """Write verdicts, findings, spans and pages, and record them."""
    about = (
        f"{named_source(config)} · detector {examiner.detector.digest}"
        f" · policies {examiner.policies or 'none'}"
    )
    known = {one.id: Technique(one.name, "; ".join(one.answer)) for one in threats()}
    out = publish(records, reports_folder(config), known, config, about, time.time(), listed)
    run.metrics(
        {**figures([record for _, record in records], examined),
         "cost/sessions_per_s": examined / wall_s if examined else None}
    )  # fmt: skip
    for file in (out.verdicts, out.findings, out.spans, out.report):
        if file is not None:
            run.artifact(file.name, file)
    for file in out.pages[:100]:
        run.artifact(f"sessions/{file.name}", file)
    return out
