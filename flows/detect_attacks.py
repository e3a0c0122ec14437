"""Find attacks in what AI agents were told and did (ADR): gather, check, two tiers, publish."""

from __future__ import annotations

import tempfile
import time
from pathlib import Path

import pandas as pd
from prefect import flow

from models.detection.config import DetectConfig
from models.detection.gathering import Stored, gather, named_source
from models.detection.publish import figures
from models.detection.records import Record
from models.detection.work import Kept, examiner_of, partitions
from models.errors import ServiceError
from models.figures import Figure, FlowSummary
from models.llm import language_model
from tasks.detect import (
    check_sessions,
    gather_sessions,
    investigate_sessions,
    list_inventory,
    publish_verdicts,
    triage_sessions,
    verdicts_of,
)
from tasks.runner import task_runner
from tasks.track import close_abandoned_run, show_table, tracked_run


@flow(
    name="detect-attacks",
    task_runner=task_runner(),
    on_crashed=[close_abandoned_run],
    on_cancellation=[close_abandoned_run],
)
def detect_attacks(config: DetectConfig = DetectConfig()) -> FlowSummary:  # noqa: B008
    """Judge every session of a data source; run again, only new and changed ones are.

    Args:
        config: Whose sessions; nothing given: the shipped sample of every log format.

    Raises:
        DataError: There is no log where the config says.
    """
    if config.judge:
        language_model(config.judge)  # an address that is none is told before anything is read
    with tracked_run("detection", config) as run:
        began = time.monotonic()
        examiner = examiner_of(config)
        run.tags(
            {"detector.digest": examiner.detector.digest, "policies.digest": examiner.policies}
        )
        gathered = gather_sessions(config, run)
        # Agents of this installation that have not worked yet leave nothing to check.
        sessions = check_sessions(gathered, run) if gathered.sessions else ()
        listed = list_inventory(config, run)
        kept = verdicts_of(config)
        new = [stored for stored in sessions if kept.get(stored) is None]
        triaged = [
            triage_sessions.submit(part, config, number)
            for number, part in enumerate(partitions(new, config.partition), 1)
        ]
        passed = [stored for future in triaged for stored in future.result()]
        followed = [
            investigate_sessions.submit(part, config, number)
            for number, part in enumerate(partitions(passed, config.partition), 1)
        ]
        for future in followed:
            future.result()
        records = _records(sessions, kept)
        wall_s = time.monotonic() - began
        out = publish_verdicts(records, len(new), wall_s, config, examiner, listed, run)
        found = [record for _, record in records]
        _show(found)
        told = figures(found, len(new))
        voted = sum(bool(record.verdict.judge) for record in found)
        votes = (Figure("votes of the judge", float(voted)),) if config.judge else ()
        return FlowSummary(
            f"judged {len(new):,} new sessions of {len(found):,}",
            "an alarm on each session",
            (
                Figure("alerts", told["sessions/alerts"], told["sessions"], "{:,.0f}"),
                Figure("attempted or half", told["outcome/attempted"] + told["outcome/partial"]),
                Figure("left to a person", told["outcome/undetermined"]),
                Figure("records set aside", told["read/quarantined_records"]),
                Figure("followed call by call", told["tier1/passed_share"], 1.0, "{:.1%}"),
                Figure("ms per session, P95", told["cost/ms_p95"]),
                *votes,
            ),
            run.url,
            run.prefect_url,
            {"report": out.report, "verdicts": out.verdicts, "findings": out.findings},
        )


def preview(config: DetectConfig) -> list[str]:
    """Say what would be looked at, without judging it (`loom run --dry-run`)."""
    examiner = examiner_of(config)
    kept = verdicts_of(config)
    with tempfile.TemporaryDirectory(prefix="loom-preview-") as scratch:
        found = gather(config, Path(scratch))
        new = sum(kept.get(stored) is None for stored in found.sessions)
    return [
        f"source: {named_source(config)}",
        f"sessions: {len(found.sessions):,}, {new:,} not judged yet",
        f"logs: {found.collection.sources:,}, {found.collection.unchanged:,} unchanged",
        f"detector: {examiner.detector.digest}, policies {examiner.policies or 'none'}",
        f"judge: {f'{config.asker} {config.judge}' if config.judge else 'none'}",
    ]


def _records(sessions: tuple[Stored, ...], kept: Kept) -> list[tuple[Stored, Record]]:
    records = []
    for stored in sessions:
        record = kept.get(stored)
        if record is None:
            raise ServiceError(
                f"the verdict of {stored.path} is not where it was kept; run "
                "again, what is done stays"
            )
        records.append((stored, record))
    return records


def _show(records: list[Record]) -> None:
    """Put the alerts beside the run in the Prefect UI."""
    rows = [
        {
            "outcome": one.verdict.outcome, "score": one.verdict.score,
            "session": f"{one.verdict.agent} {one.verdict.session}",
            "why": one.verdict.evidence[0].sentence if one.verdict.evidence else "",
        }
        for one in records if one.verdict.is_alert
    ]  # fmt: skip
    frame = pd.DataFrame(rows, columns=["outcome", "score", "session", "why"])
    show_table("alerts", frame.head(100), f"{len(rows):,} alerts of {len(records):,} sessions")
