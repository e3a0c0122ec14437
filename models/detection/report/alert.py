"""The page of one alert, for an analyst with a minute."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from html import escape
from typing import NamedTuple

from models.detection.report.chain import drawing, strongest
from models.detection.report.style import KINDS, badge, short
from models.detection.session import Event, Session
from models.detection.verdicts import Verdict
from models.html_page import page

_LONGEST = 20_000
"""Characters of an event that a page holds; the store has all of it."""
_OPEN = 300
"""Longer texts are folded."""
_AROUND = 400
"""Events that a page shows at most; those that a reason names always."""

_SAID = {
    "executed": "The agent did what only a result asked for, not its user.",
    "policy": "A rule of yours was broken; whether an attack led to it, the reasons say.",
    "partial": "The agent took a step towards what a result asked for; nothing was changed.",
    "attempted": "A result tried to lead the agent away, and it did not follow.",
    "undetermined": "Too little could be read, or it was too much, to say that nothing happened.",
    "benign": "Nothing was found.",
}


class Technique(NamedTuple):
    """What a page says of a technique: its title, and how to answer it."""

    title: str
    answer: str = ""


def alert_page(
    session: Session, verdict: Verdict, techniques: Mapping[str, Technique] | None = None
) -> str:
    """Return the page of a session: what happened, why, and every event of it.

    Args:
        session: What happened; all of its texts are shown as texts, whatever they hold.
        verdict: What was found.
        techniques: Of the taxonomy, by id.
    """
    named = {name for one in verdict.evidence for name in one.events}
    who = f"{session.agent or 'agent'}, session {session.id}"
    parts = [
        f"<h1>{badge(verdict.outcome)} {escape(who)}</h1>",
        f"<p class='muted'>{escape(_about(session, verdict))}</p>",
        f"<p class='told'>{escape(_SAID[verdict.outcome])}{_persona(verdict)}</p>",
        _techniques(verdict, techniques or {}),
    ]
    first = strongest(verdict.evidence, session)
    if first is not None:
        parts += ["<h2>Chain of evidence</h2>", f"<p>{escape(first.sentence)}</p>",
                  drawing(session, first)]  # fmt: skip
    parts += [_evidence(verdict), _coverage(session, verdict), _timeline(session, named)]
    return page(f"{verdict.outcome}: {who}", "\n".join(filter(None, parts)))


def _about(session: Session, verdict: Verdict) -> str:
    times = [event.time_s for event in session.events if event.time_s is not None]
    when = f"{_time(min(times))} to {_time(max(times))} UTC" if times else "times not recorded"
    calls = sum(1 for _ in session.calls())
    told = [when, f"{calls} calls", f"score {verdict.score:.2f}", f"detector {verdict.detector}"]
    if verdict.policies:
        told.append(f"policies {verdict.policies}")
    if verdict.judge:
        told.append(f"judge: {verdict.judge}")
    told += [f"{key} {value}" for key, value in sorted(session.environment.items())]
    return " · ".join(told)


def _time(seconds: float) -> str:
    try:
        return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M:%S")
    except (OverflowError, ValueError, OSError):  # clocks of records say anything
        return f"{seconds:.0f} s"


def _persona(verdict: Verdict) -> str:
    if not verdict.persona:
        return ""
    return f" It was run by somebody who attacks on duty ({escape(verdict.persona)}): no alert."


def _techniques(verdict: Verdict, known: Mapping[str, Technique]) -> str:
    rows = []
    for name in verdict.techniques:
        found = known.get(name, Technique(""))
        rows.append(f"<li><b>{escape(name)} {escape(found.title)}</b> {escape(found.answer)}</li>")
    return f"<h2>Technique and answer</h2><ul>{''.join(rows)}</ul>" if rows else ""


def _evidence(verdict: Verdict) -> str:
    if not verdict.evidence:
        return ""
    rows = []
    for one in verdict.evidence:
        spans = "".join(f"<pre>{escape(span)}</pre>" for span in one.spans)
        links = ", ".join(f"<a href='#e-{escape(n)}'>{escape(n)}</a>" for n in one.events)
        rows.append(
            f"<tr><td><code>{escape(one.rule)}</code></td><td class='n'>{one.weight:.2f}</td>"
            f"<td>{escape(one.sentence)}{spans}</td><td>{links}</td></tr>"
        )
    return (
        "<h2>Reasons</h2><table><tr><th>rule</th><th class='n'>weight</th><th>what</th>"
        f"<th>events</th></tr>{''.join(rows)}</table>"
    )


def _coverage(session: Session, verdict: Verdict) -> str:
    coverage = session.coverage
    told = [
        f"{verdict.coverage:.1%} of {coverage.records:,} records were read",
        f"{coverage.missing_results:,} calls have no result",
    ]
    told += [f"{count:,} of unknown kind {kind}" for kind, count in coverage.unknown.items()]
    told += [f"mended: {what} ({count:,})" for what, count in coverage.mended.items()]
    told += [f"set aside: {bad.place}, {bad.reason}" for bad in coverage.quarantined[:20]]
    rows = "".join(f"<li>{escape(one)}</li>" for one in told)
    return f"<h2>How much was read</h2><ul>{rows}</ul>"


def _timeline(session: Session, named: set[str]) -> str:
    shown, left = [], 0
    for number, event in enumerate(session.events):
        if number < _AROUND or event.id in named:
            shown.append(_event(event, event.id in named))
        else:
            left += 1
    more = f"<p class='muted'>{left:,} later events are not shown.</p>" if left else ""
    return f"<h2>Everything that happened</h2>{''.join(shown)}{more}"


def _event(event: Event, is_named: bool) -> str:
    kind, colour = KINDS[event.kind]
    head = [f"<b style='color:{colour}'>{kind}</b>", f"<small>{escape(event.id)}</small>"]
    text = event.text
    if event.call is not None:
        tool = f"{event.call.server}.{event.call.tool}" if event.call.server else event.call.tool
        head.append(f"<code>{escape(tool)}</code>")
        arguments = event.call.arguments
        text = event.call.raw or "\n".join(f"{k} = {v!r}" for k, v in (arguments or {}).items())
    head += [f"<small>{escape(one)}</small>" for one in _marks(event)]
    body = escape(text[:_LONGEST]) + ("…" if len(text) > _LONGEST else "")
    if len(text) > _OPEN:
        opened = " open" if is_named else ""
        body = (
            f"<details{opened}><summary>{escape(short(text, 140))}</summary>"
            f"<pre>{body}</pre></details>"
        )
    elif text:
        body = f"<pre>{body}</pre>"
    style = "event named" if is_named else "event"
    return (
        f"<div class='{style}' id='e-{escape(event.id)}' style='border-color:{colour}'>"
        f"{' '.join(head)}{body}</div>"
    )


def _marks(event: Event) -> list[str]:
    marks: list[str] = (
        [event.status] if event.kind == "tool_result" and event.status != "ok" else []
    )
    if event.actor:
        marks.append(f"sub-agent {event.actor}")
    if event.is_abandoned:
        marks.append("on a branch that was rewound")
    if event.place:
        marks.append(event.place)
    return marks
