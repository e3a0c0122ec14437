"""One HTML page: what went, what would go, what stays because somebody has to decide."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

from models.html_page import page, tile
from models.retention.config import CleanUpConfig
from models.retention.files import Folder
from models.retention.rules import RecordedRun

_SHOWN = 200
_NEVER = {
    "agents": "conversations and workspaces: `loom agent ls` shows them",
    "kernels": "campaigns, their ledgers and packages",
    "sharding": "plans, compiles and past cases",
    "inference": "batch jobs; each goes on from here after a stop",
    "detection": "sessions that were taken in, with their verdicts",
    "together": "pages of runs of all six systems",
}


@dataclass(frozen=True)
class CleanUp:
    """What a run found and did."""

    runs: Sequence[RecordedRun]
    """Tracked runs that are old."""
    recorded: int
    """Tracked runs in all."""
    cached_files: int
    """Cached results that are old."""
    cached_size: int
    """Their bytes."""
    traces: int | None
    """Traces of these that were deleted; None: not asked to."""
    freed: int | None
    """Bytes by which the home shrank; None: nothing was removed."""
    folders: Sequence[Folder]
    """What the home holds now."""
    notes: Sequence[str] = ()
    """What could not be done here, and who can."""


def clean_up_page(done: CleanUp, config: CleanUpConfig) -> str:
    """Return the page."""
    verb = "removed" if config.apply else "would go"
    freed = "" if done.freed is None else f"{done.freed / 1e6:,.1f} MB freed"
    tiles = [
        tile(f"{len(done.runs):,}", f"tracked runs {verb}", f"of {done.recorded:,}"),
        tile(f"{done.cached_files:,}", f"cached results {verb}",
             f"{done.cached_size / 1e6:,.1f} MB"),
        tile(f"{sum(one.size for one in done.folders) / 1e6:,.1f} MB", "held now", freed),
    ]  # fmt: skip
    runs = "".join(
        f"<tr><td>{escape(one.experiment)}</td><td>{escape(one.name)}</td>"
        f"<td><code>{escape(one.id)}</code></td></tr>"
        for one in done.runs[:_SHOWN]
    )
    rest = len(done.runs) - _SHOWN
    folders = "".join(
        f"<tr><td><code>{escape(one.name)}</code></td><td class='n'>{one.files:,}</td>"
        f"<td class='n'>{one.size / 1e6:,.1f}</td><td>{escape(_NEVER.get(one.name, ''))}</td></tr>"
        for one in done.folders
    )
    parts = [
        "<h1>Clean-up</h1>",
        f"<p class='muted'>Old: {config.days:g} days for tracked runs, but the newest "
        f"{config.keep_newest} of each experiment, runs tagged <code>keep</code> and those behind "
        f"registered models stay; {config.cache_days:g} days for cached results.</p>",
        f"<div class='tiles'>{''.join(tiles)}</div>",
        *(f"<p class='told'>{escape(note)}</p>" for note in done.notes),
        "<h2>What the home holds</h2><table><tr><th>folder</th><th class='n'>files</th>"
        f"<th class='n'>MB</th><th>never removed by itself</th></tr>{folders}</table>",
    ]
    if runs:
        more = f"<p class='muted'>and {rest:,} more</p>" if rest > 0 else ""
        parts.append(f"<h2>Old runs</h2><table><tr><th>experiment</th><th>run</th><th>id</th></tr>"
                     f"{runs}</table>{more}")  # fmt: skip
    return page("Clean-up", "\n".join(parts))
