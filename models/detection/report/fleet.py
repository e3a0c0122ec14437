"""The page of all sessions: what was looked at, what was found, how much could be read."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from html import escape
from statistics import median

from models.detection.listed import Listed
from models.detection.records import Record
from models.detection.report.alert import Technique
from models.detection.report.inventory import inventory_section
from models.detection.report.style import OUTCOMES, badge
from models.html_page import page, tile

_MOST_ROWS = 500
_WIDTH = 1_040


def fleet_page(
    records: Sequence[Record],
    links: Mapping[str, str],
    techniques: Mapping[str, Technique],
    about: str,
    listed: Listed | None = None,
) -> str:
    """Return the page of all sessions of a run.

    Args:
        records: One per session.
        links: Addresses of pages by the names of records.
        techniques: Of the taxonomy, by id.
        about: One line: detector, policies, data.
        listed: What shapes the agents; None: the data is no home folder.
    """
    alerts = [one for one in records if one.verdict.is_alert]
    open_ = [one for one in records if one.verdict.outcome == "undetermined"]
    parts = [
        "<h1>AI agents: what happened</h1>", f"<p class='muted'>{escape(about)}</p>",
        _tiles(records, len(alerts), len(open_)),
        "<h2>Outcomes</h2>", _outcomes(records), "<h2>By day</h2>", _days(records),
        "<h2>Alerts</h2>", _sessions(alerts, links, "No alert."),
        "<h2>For a person to look at</h2>", _sessions(open_, links, "Nothing was left open."),
        "<h2>Attempts and steps without harm</h2>",
        _sessions([r for r in records if r.verdict.outcome in ("attempted", "partial")
                   or (r.verdict.persona and not r.verdict.is_alert)], links, "None."),
        "<h2>Techniques</h2>", _techniques(records, techniques),
        *([inventory_section(listed)] if listed else []),
        "<h2>Agent programs and how much of their records was read</h2>", _agents(records),
    ]  # fmt: skip
    return page("AI agents: what happened", "\n".join(parts))


def _tiles(records: Sequence[Record], alerts: int, undetermined: int) -> str:
    count = len(records)
    followed = sum(one.verdict.tier == 2 for one in records)
    times = [one.verdict.elapsed_ms for one in records]
    tiles = [
        tile(f"{count:,}", "sessions", f"{sum(one.calls for one in records):,} calls"),
        tile(f"{alerts:,}", "alerts", f"{_share(alerts, count)} of sessions"),
        tile(f"{undetermined:,}", "left open", "for a person"),
        tile(_share(followed, count), "followed call by call", "the rest ended in tier 1"),
        tile(f"{median(times):,.1f} ms" if times else "none", "per session, median"),
        tile(_share(sum(one.verdict.coverage for one in records), count), "of records read"),
    ]
    return f"<div class='tiles'>{''.join(tiles)}</div>"


def _share(part: float, whole: float) -> str:
    return f"{part / whole:.1%}" if whole else "none"


def _outcomes(records: Sequence[Record]) -> str:
    counts = Counter(one.verdict.outcome for one in records)
    bars, words, at = [], [], 0.0
    for outcome, colour in OUTCOMES.items():
        count = counts[outcome]  # type: ignore[index]
        if not count:
            continue
        width = _WIDTH * count / len(records)
        bars.append(f"<rect x='{at:.1f}' y='0' width='{width:.1f}' height='26' fill='{colour}'/>")
        words.append(f"{badge(outcome)} {count:,}")
        at += width
    return (
        f"<svg viewBox='0 0 {_WIDTH} 26' width='100%' role='img' aria-label='outcomes'>"
        f"{''.join(bars)}</svg><p>{' &nbsp; '.join(words)}</p>"
    )


def _days(records: Sequence[Record]) -> str:
    """Draw sessions per day, alerts on top of the others."""
    days: dict[str, list[int]] = {}
    for one in records:
        if (day := _day(one.first_s)) is not None:
            counts = days.setdefault(day, [0, 0])
            counts[one.verdict.is_alert] += 1
    if not days:
        return "<p class='muted'>The records hold no times.</p>"
    ordered = sorted(days)[-60:]
    most = max(sum(days[day]) for day in ordered)
    step = min(60.0, _WIDTH / len(ordered))
    bars = []
    for number, day in enumerate(ordered):
        quiet, alarms = (110 * count / most for count in days[day])
        x, wide = number * step, max(1.0, step - 3)
        told = f"<title>{day}: {sum(days[day]):,} sessions, {days[day][1]:,} alerts</title>"
        bars.append(
            f"<g>{told}<rect x='{x:.1f}' y='{120 - quiet:.1f}' width='{wide:.1f}' "
            f"height='{quiet:.1f}' fill='{OUTCOMES['benign']}'/>"
            f"<rect x='{x:.1f}' y='{120 - quiet - alarms:.1f}' width='{wide:.1f}' "
            f"height='{alarms:.1f}' fill='{OUTCOMES['executed']}'/></g>"
        )
    return (
        f"<svg viewBox='0 0 {_WIDTH} 145' width='100%' role='img' aria-label='sessions per day'>"
        f"{''.join(bars)}<text x='0' y='140'>{ordered[0]}</text>"
        f"<text x='{max(180.0, step * len(ordered)):.0f}' y='140' text-anchor='end'>{ordered[-1]}"
        "</text></svg><p class='muted'>Days with sessions, one bar each.</p>"
    )


def _day(seconds: float | None) -> str | None:
    if seconds is None:
        return None
    try:
        return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d")
    except (OverflowError, ValueError, OSError):  # clocks of records say anything
        return None


def _sessions(records: Sequence[Record], links: Mapping[str, str], nothing: str) -> str:
    if not records:
        return f"<p class='muted'>{nothing}</p>"
    rows = []
    for one in sorted(records, key=lambda r: -r.verdict.score)[:_MOST_ROWS]:
        verdict = one.verdict
        name = escape(f"{verdict.agent} {verdict.session}")
        shown = f"<a href='{escape(links[one.name])}'>{name}</a>" if one.name in links else name
        why = verdict.evidence[0].sentence if verdict.evidence else ""
        why = f"{why} (on duty: {verdict.persona})" if verdict.persona else why
        rows.append(
            f"<tr><td>{badge(verdict.outcome)}</td><td class='n'>{verdict.score:.2f}</td>"
            f"<td>{shown}<br><small>{escape(one.asked)}</small></td><td>{escape(why)}</td>"
            f"<td class='n'>{one.calls:,}</td><td>{_day(one.first_s) or ''}</td></tr>"
        )
    left = len(records) - _MOST_ROWS
    more = f"<p class='muted'>{left:,} more in verdicts.jsonl.</p>" if left > 0 else ""
    return (
        "<table><tr><th></th><th class='n'>score</th><th>session</th><th>strongest reason</th>"
        f"<th class='n'>calls</th><th>day</th></tr>{''.join(rows)}</table>{more}"
    )


def _techniques(records: Sequence[Record], known: Mapping[str, Technique]) -> str:
    alerts: Counter[str] = Counter()
    others: Counter[str] = Counter()
    for one in records:
        (alerts if one.verdict.is_alert else others).update(one.verdict.techniques)
    names = sorted(alerts.keys() | others.keys(), key=lambda n: (-alerts[n], -others[n], n))
    rows = [
        f"<tr><td>{escape(name)} {escape(known[name].title if name in known else '')}</td>"
        f"<td class='n'>{alerts[name]:,}</td><td class='n'>{others[name]:,}</td></tr>"
        for name in names
    ]
    if not rows:
        return "<p class='muted'>None was seen.</p>"
    return (
        "<table><tr><th>technique</th><th class='n'>in alerts</th><th class='n'>in others</th>"
        f"</tr>{''.join(rows)}</table>"
    )


def _agents(records: Sequence[Record]) -> str:
    groups: dict[str, list[Record]] = {}
    for one in records:
        groups.setdefault(one.verdict.agent or "unknown", []).append(one)
    rows = []
    for name, group in sorted(groups.items()):
        unknown: Counter[str] = Counter()
        for one in group:
            unknown.update(one.unknown)
        coverage = sum(one.verdict.coverage for one in group)
        rows.append(
            f"<tr><td>{escape(name)}</td>{_cells(group, lambda _: 1)}"
            f"{_cells(group, lambda one: one.calls)}{_cells(group, lambda one: one.events)}"
            f"<td class='n'>{_share(coverage, len(group))}</td>"
            f"{_cells(group, lambda one: one.quarantined)}"
            f"<td>{escape(', '.join(f'{k} ({c:,})' for k, c in unknown.most_common(8)))}</td></tr>"
        )
    return (
        "<table><tr><th>program</th><th class='n'>sessions</th><th class='n'>calls</th>"
        "<th class='n'>events</th><th class='n'>read</th><th class='n'>set aside</th>"
        f"<th>unknown kinds</th></tr>{''.join(rows)}</table>"
    )


def _cells(group: Sequence[Record], count: Callable[[Record], int]) -> str:
    return f"<td class='n'>{sum(count(one) for one in group):,}</td>"
