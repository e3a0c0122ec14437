"""One HTML page about a scan of servers; no network needed, no script in it."""

from __future__ import annotations

from collections import Counter
from html import escape

from models.detection.integrity.findings import Finding
from models.detection.integrity.scan import Scan
from models.detection.intel import threats
from models.html_page import page, tile

_COLOURS = {"error": "#d55e00", "warning": "#e69f00", "note": "#7b8794"}
_MOST = 1_000


def scan_page(found: Scan, about: str) -> str:
    """Return the page.

    Args:
        found: What was looked at and found.
        about: One line: what was scanned.
    """
    levels = Counter(one.level for one in found.findings)
    tiles = [
        tile(f"{len(found.servers):,}", "servers", f"{found.tools:,} tools"),
        tile(f"{levels['error']:,}", "errors", "look at them first"),
        tile(f"{levels['warning']:,}", "warnings"),
        tile(f"{levels['note']:,}", "notes"),
        tile(f"{len(found.unread):,}", "not read", f"{found.files:,} files were"),
    ]
    parts = [
        "<h1>MCP servers: are they what they say?</h1>", f"<p class='muted'>{escape(about)}</p>",
        f"<div class='tiles'>{''.join(tiles)}</div>",
        "<h2>Findings</h2>", _findings(found.findings),
        "<h2>Techniques</h2>", _techniques(found.findings),
        "<h2>Servers</h2>", _servers(found),
    ]  # fmt: skip
    if found.unread:
        rows = "".join(
            f"<tr><td>{escape(name)}</td><td>{escape(why)}</td></tr>"
            for name, why in found.unread[:_MOST]
        )
        parts += ["<h2>Not read</h2>", f"<table>{rows}</table>"]
    return page("MCP servers", "\n".join(parts))


def _findings(findings: list[Finding]) -> str:
    if not findings:
        return "<p>Nothing was found.</p>"
    parts = []
    for one in findings[:_MOST]:
        evidence = one.signal.evidence
        where = escape(f"{one.path}:{one.line}" if one.line else one.path)
        spans = "".join(f"<pre>{escape(span)}</pre>" for span in evidence.spans)
        parts.append(
            f"<div class='told' style='border-color:{_COLOURS[one.level]}'>"
            f"<span class='badge' style='background:{_COLOURS[one.level]}'>{one.level}</span> "
            f"<b>{escape(evidence.rule)}</b> <small>{escape(one.subject)} · {where}</small>"
            f"<br>{escape(evidence.sentence)}{spans}</div>"
        )
    if len(findings) > _MOST:
        parts.append(f"<p>{len(findings) - _MOST:,} more are in findings.json.</p>")
    return "".join(parts)


def _techniques(findings: list[Finding]) -> str:
    counts = Counter(one.signal.technique for one in findings if one.level != "note")
    rows = "".join(
        f"<tr><td>{one.id}</td><td>{escape(one.name)}</td><td class='n'>{counts[one.id]:,}</td>"
        f"<td>{escape('; '.join(one.answer))}</td></tr>"
        for one in threats()
        if counts[one.id]
    )
    if not rows:
        return "<p>None.</p>"
    head = "<tr><th>id</th><th>technique</th><th class='n'>findings</th><th>what to do</th></tr>"
    return f"<table>{head}{rows}</table>"


def _servers(found: Scan) -> str:
    tools: dict[str, set[str]] = {name: set() for name in found.servers}
    for manifest, _ in found.manifests:
        tools.setdefault(manifest.server, set()).add(manifest.tool)
    urgent = Counter(one.subject.partition("/")[0] for one in found.urgent)
    rows = "".join(
        f"<tr><td>{escape(name)}</td><td class='n'>{urgent[name]:,}</td>"
        f"<td>{escape(', '.join(sorted(titles))) or '<small>no list of tools</small>'}</td></tr>"
        for name, titles in sorted(tools.items(), key=lambda item: (-urgent[item[0]], item[0]))
    )
    return f"<table><tr><th>server</th><th class='n'>findings</th><th>tools</th></tr>{rows}</table>"
