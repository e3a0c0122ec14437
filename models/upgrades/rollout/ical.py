"""A plan as a calendar: one event per window of a domain.

Written by hand after RFC 5545: CRLF, lines folded at 75 octets, text escaped. Times are
floating (no zone): the plan's clock is the local one of each site.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator

import numpy as np
import pandas as pd

from models.upgrades.plan import RolloutPlan

_MAX_OCTETS = 75
# Calendars choke on long texts; the plan's tables hold every task.
_MAX_HOSTS = 50


def to_ical(plan: RolloutPlan) -> str:
    """Return the plan as an iCalendar document; the same plan gives the same text."""
    lines = ["BEGIN:VCALENDAR", "VERSION:2.0", "PRODID:-//Loomworks//upgrades//EN"]
    for keys, group in plan.assignments.groupby(["window_open_s", "domain"], sort=True):
        lines += _event(plan, str(keys[1]), group)
    lines.append("END:VCALENDAR")
    return "".join(f"{folded}\r\n" for line in lines for folded in _fold(line))


def _event(plan: RolloutPlan, domain: str, group: pd.DataFrame) -> Iterator[str]:
    open_s = int(group["window_open_s"].iloc[0])
    uid = hashlib.sha256(f"{domain}/{open_s}".encode()).hexdigest()[:32]
    types = ", ".join(f"{n} {type_}" for type_, n in group["type"].value_counts().items())
    hosts = sorted(group["host"].unique())
    shown = ", ".join(hosts[:_MAX_HOSTS])
    rest = f" and {len(hosts) - _MAX_HOSTS} more" if len(hosts) > _MAX_HOSTS else ""
    summary = f"{domain}: {len(group)} upgrades of {len(hosts)} hosts"
    description = "\n".join([types, shown + rest, f"plan {plan.inputs_hash[:12]}"])
    yield "BEGIN:VEVENT"
    yield f"UID:{uid}@loomworks"
    # The standard wants UTC here; the stamp only orders versions of an event.
    yield f"DTSTAMP:{_moment(plan.plan_s)}Z"
    yield f"DTSTART:{_moment(group['start_s'].min())}"
    yield f"DTEND:{_moment(group['end_s'].max())}"
    yield f"SUMMARY:{_escaped(summary)}"
    yield f"DESCRIPTION:{_escaped(description)}"
    yield "END:VEVENT"


def _moment(seconds: float) -> str:
    return pd.Timestamp(int(np.ceil(seconds)), unit="s").strftime("%Y%m%dT%H%M%S")


def _escaped(text: str) -> str:
    for plain, escaped in (("\\", "\\\\"), (";", "\\;"), (",", "\\,"), ("\n", "\\n")):
        text = text.replace(plain, escaped)
    return text


def _fold(line: str) -> Iterator[str]:
    """Cut a line into pieces of at most 75 octets; continuations begin with a space."""
    piece = ""
    for character in line:
        if len((piece + character).encode()) > _MAX_OCTETS:
            yield piece
            piece = " "
        piece += character
    yield piece
