"""The part of the page of all sessions that tells what shapes the agents."""

from __future__ import annotations

from collections import Counter
from html import escape

from models.detection.listed import Listed, moment
from models.detection.report.style import short
from models.detection.sensor.inventory import Item, Sort
from models.detection.sensor.inventory_history import Seen

_MOST_ROWS = 200
_LONGEST = 160
_NAMES: dict[Sort, str] = {
    "mcp_server": "MCP servers", "package": "packages", "skill": "skills", "rules": "rule files",
    "unreadable": "unreadable configurations",
}  # fmt: skip


def inventory_section(listed: Listed) -> str:
    """Return HTML: how much there is, what changed, what is not pinned."""
    counts = Counter(one.sort for one in listed.items)
    there = ", ".join(f"{counts[sort]:,} {name}" for sort, name in _NAMES.items() if counts[sort])
    parts = [
        "<h2>What shapes the agents, and what of it changed</h2>",
        f"<p>{escape(there) or 'Nothing was found.'}</p>", _changes(listed),
    ]  # fmt: skip
    if listed.damaged is not None:
        parts.append(
            f"<p class='told'>The history could not be read ({escape(short(listed.why, _LONGEST))})"
            f" and begins anew; it is kept as <code>{escape(str(listed.damaged))}</code>.</p>"
        )
    if listed.unpinned:
        parts.append(
            "<h3>Packages whose next start may take another version</h3>"
            + _table(_rows(listed.unpinned))
        )
    broken = [one for one in listed.items if one.sort == "unreadable"]
    if broken:
        parts.append("<h3>Configurations that cannot be read</h3>" + _table(_rows(broken)))
    return "\n".join(parts)


def _rows(found: list[Seen]) -> list[str]:
    return [_row("", one.item, since=moment(one.first_s)[:10]) for one in found]


def _changes(listed: Listed) -> str:
    if listed.is_first:
        return "<p class='muted'>The first look: there is nothing to compare with.</p>"
    rows = []
    for change, before, after in listed.each_change():
        one = after or before
        assert one is not None
        was = _shown(before) if before is not None and after is not None else ""
        rows.append(_row(change, one, was=was))
    if not rows:
        return "<p class='muted'>Nothing changed since the last look.</p>"
    note = "<p class='muted'>A change is no alert by itself: look whether somebody meant it.</p>"
    return note + _table(rows)


def _shown(item: Item) -> str:
    return short(item.shown, _LONGEST) or item.digest[:12]


def _row(change: str, item: Item, *, was: str = "", since: str = "") -> str:
    title = item.name or item.path.name
    before = f"<br><small>before: {escape(was)}</small>" if was else ""
    return (
        f"<tr><td>{escape(change or since)}</td><td>{escape(item.sort.replace('_', ' '))}</td>"
        f"<td>{escape(title)}<br><small>{escape(str(item.path))}</small></td>"
        f"<td><code>{escape(_shown(item))}</code>{before}</td></tr>"
    )


def _table(rows: list[str]) -> str:
    left = len(rows) - _MOST_ROWS
    more = f"<p class='muted'>{left:,} more in the files of the run.</p>" if left > 0 else ""
    return (
        "<table><tr><th></th><th>kind</th><th>name</th><th>what it is</th></tr>"
        f"{''.join(rows[:_MOST_ROWS])}</table>{more}"
    )
