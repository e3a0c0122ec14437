"""What a run of `detect-attacks` leaves: verdicts, alerts for a SIEM, spans, pages."""

from __future__ import annotations

import contextlib
import json
import shutil
import tempfile
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from statistics import median, quantiles
from typing import NamedTuple

from models.detection.config import DetectConfig
from models.detection.export.ocsf import finding
from models.detection.export.otel import document
from models.detection.gathering import Stored, load
from models.detection.listed import Listed
from models.detection.records import Record
from models.detection.report.alert import Technique, alert_page
from models.detection.report.fleet import fleet_page
from models.detection.session import Session
from models.detection.verdicts import RANK, Verdict

_MOST_PAGES = 500
"""Sessions with a page of their own: alerts first, then what was left open, then attempts."""


class Published(NamedTuple):
    """Files that were written.

    Attributes:
        folder: All of them.
        verdicts: One verdict a line, all sessions.
        findings: One OCSF finding a line, sessions with a reason.
        spans: OTLP document; None: none was asked for.
        report: Page of all sessions.
        pages: Pages of single sessions.
    """

    folder: Path
    verdicts: Path
    findings: Path
    spans: Path | None
    report: Path
    pages: tuple[Path, ...]


def publish(
    records: Sequence[tuple[Stored, Record]],
    folder: Path,
    techniques: Mapping[str, Technique],
    config: DetectConfig,
    about: str,
    now_s: float,
    listed: Listed | None = None,
) -> Published:
    """Write all of it anew; what an earlier run wrote there is replaced.

    Args:
        records: Sessions and what was found of them.
        folder: Gets the files.
        techniques: Of the taxonomy, by id.
        config: Whose spans are written.
        about: One line for the page of all sessions.
        now_s: Seconds since 1970.
        listed: What shapes the agents; None: the data is no home folder.
    """
    # Of its own: another run may publish at the same time, and the later one counts.
    folder.parent.mkdir(parents=True, exist_ok=True)
    part = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=folder.parent))
    (part / "sessions").mkdir(parents=True)
    ordered = sorted(records, key=lambda pair: _urgency(pair[1]))
    with (part / "verdicts.jsonl").open("wb") as file:
        for _, record in records:
            file.write(record.verdict.to_json() + b"\n")
    links = {}
    names = {name: one.title for name, one in techniques.items()}
    with (part / "findings.ocsf.jsonl").open("w", encoding="utf-8") as file:
        for number, (stored, record) in enumerate(ordered):
            if not record.verdict.evidence:
                continue
            session = load(stored)
            told = finding(session, record.verdict, now_s, names, record.key)
            file.write(json.dumps(told, ensure_ascii=False) + "\n")
            if number < _MOST_PAGES:
                links[record.name] = f"sessions/{record.name}.html"
                html = alert_page(session, record.verdict, techniques)
                (part / links[record.name]).write_text(html, encoding="utf-8", errors="replace")
    if config.spans != "none":
        _write_spans(part / "spans.otlp.json", _traced(ordered, config.spans == "all"))
    page = fleet_page([record for _, record in records], links, techniques, about, listed)
    (part / "index.html").write_text(page, encoding="utf-8", errors="replace")
    part.chmod(0o755)
    with contextlib.suppress(FileNotFoundError):
        folder.rename(part.with_name(f"{part.name}-before"))
    part.rename(folder)
    shutil.rmtree(part.with_name(f"{part.name}-before"), ignore_errors=True)
    return Published(
        folder, folder / "verdicts.jsonl", folder / "findings.ocsf.jsonl",
        folder / "spans.otlp.json" if config.spans != "none" else None,
        folder / "index.html", tuple(folder / link for link in links.values()),
    )  # fmt: skip


def _urgency(record: Record) -> tuple[int, float]:
    verdict = record.verdict
    rank = 10 if verdict.is_alert else 9 if verdict.outcome == "undetermined" else 0
    return -(rank + RANK[verdict.outcome]), -verdict.score


def _traced(
    records: Sequence[tuple[Stored, Record]], is_all: bool
) -> Iterator[tuple[Session, Verdict]]:
    for stored, record in records:
        if is_all or record.verdict.is_alert:
            yield load(stored), record.verdict


def _write_spans(path: Path, pairs: Iterator[tuple[Session, Verdict]]) -> None:
    """Write an OTLP document session by session: all at once may be larger than memory."""
    with path.open("w", encoding="utf-8", errors="replace") as file:
        file.write('{"resourceSpans": [')
        for number, pair in enumerate(pairs):
            (one,) = document([pair])["resourceSpans"]
            file.write((",\n" if number else "\n") + json.dumps(one, ensure_ascii=False))
        file.write("]}\n")


def figures(records: Sequence[Record], examined: int) -> dict[str, float]:
    """Return the figures of a run.

    Args:
        records: All sessions.
        examined: Of these, how many were looked at in this run.
    """
    count = len(records)
    times = [one.verdict.elapsed_ms for one in records] or [0.0]
    outcomes = Counter(one.verdict.outcome for one in records)
    return {
        "sessions": count,
        "sessions/examined": examined,
        "sessions/alerts": sum(one.verdict.is_alert for one in records),
        **{f"outcome/{name}": outcomes[name] for name in RANK},
        "tier1/passed_share": sum(one.verdict.tier == 2 for one in records) / max(1, count),
        "read/share": sum(one.verdict.coverage for one in records) / max(1, count),
        "read/quarantined_records": sum(one.quarantined for one in records),
        "read/unknown_records": sum(sum(one.unknown.values()) for one in records),
        "cost/ms_median": median(times),
        "cost/ms_p95": quantiles(times, n=20)[-1] if len(times) > 1 else times[0],
        "cost/usd": 0.0,
    }
