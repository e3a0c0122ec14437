"""The page of a search: one HTML file, no network, no script; texts of attackers are escaped."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

from models.detection.explorer.charts import Line, heat_map, line_chart
from models.detection.explorer.config import ExploreConfig
from models.detection.explorer.declared import declared
from models.detection.explorer.executor import place_of
from models.detection.explorer.explore import Exploration
from models.detection.explorer.generation import Counts
from models.detection.explorer.publish import Entry
from models.detection.report.style import short
from models.html_page import page, tile

_OURS, _CHANCE, _OTHER = "#d55e00", "#7b8794", "#0072b2"
_MOST_SHOWN = 40
_LONGEST_TEXT = 400
_GENES = ("technique", "disguise", "relay", "derivation", "carrier")


def render(found: Exploration, entries: Sequence[Entry], config: ExploreConfig) -> str:
    """Return the page.

    Args:
        found: What was found.
        entries: Of the survivors, the best first.
        config: What the search was.
    """
    body = [
        "<p class='muted'>Attacks that were searched for · Loomworks</p>",
        f"<h1>{escape(_headline(found))}</h1>",
        f"<p class='muted'>{escape(_about(found, config))}</p>",
        f"<div class='tiles'>{_tiles(found)}</div>",
        "<h2>Where attacks get through</h2><p>Each cell holds the best attack of a technique in a "
        "kind of record. Orange: it was carried out and not noticed; blue: the best one was "
        "noticed; the darker, the more it is worth (F). White: there is no such attack.</p>",
        heat_map(found.archive),
        "<h2>Not noticed, by generation</h2><p>Of the attacks that were carried out, the share "
        "that no session gave away, with its 95 % interval; grey: as many attacks drawn by "
        "chance.</p>",
        _evasion(found),
        "<h2>Fitness</h2><p>F of the elites: carried out x natural x grave<sup>1.2</sup> x "
        "(1 - score).</p>",
        _fitness(found),
        "<h2>By what an attack is made of</h2><p>Not noticed, of those carried out.</p>",
        *(_counts(gene, found) for gene in _GENES),
        f"<h2>The best of {len(entries):,} that got through</h2>",
        _survivors(entries),
    ]
    return page("Explorer", "\n".join(body))


def visible(text: str) -> str:
    """Return a text with what is not shown written out: hidden letters are the point of some."""
    return "".join(
        one if one.isprintable() or one in "\n\t" else f"\\u{{{ord(one):x}}}" for one in text
    )


def _headline(found: Exploration) -> str:
    survivors, cells = len(found.archive.survivors), found.archive.size
    return (
        f"In {survivors:,} of {cells:,} cells an attack gets past detector {found.detector}; "
        f"random search finds {len(found.random.survivors):,}"
    )


def _about(found: Exploration, config: ExploreConfig) -> str:
    ended = "died out (rho * mu < 1)" if found.has_died_out else "reached its last generation"
    return (
        f"seed {config.seed}, {len(found.generations)} generations, {ended}; played in "
        f"{place_of(config)}; each attack on {config.sessions} sessions; victim '{config.victim}' "
        "is a model of an agent, no language model: figures say what a detector would have to "
        "notice, not how often agents fall for it"
    )


def _tiles(found: Exploration) -> str:
    last = found.generations[-1]
    held, by_chance = sum(found.held.values()), sum(found.random_held.values())
    return "".join(
        (
            tile(_share(last.evasion), "not noticed, last",
                 f"chance {_share(last.random_evasion)}"),
            tile(f"{last.evading_cells:,}", "cells with a way through",
                 f"chance {last.random_evading_cells:,}"),
            tile(f"{held:,} of {len(found.held):,}", "hold in further sessions",
                 f"chance {by_chance:,} of {len(found.random_held):,}"),
            tile(f"{found.archive.coverage:.0%}", "of the map carried out",
                 f"chance {found.random.coverage:.0%}"),
            tile(f"{sum(one.tried for one in found.generations):,}", "attacks tried",
                 "as many by chance"),
        )
    )  # fmt: skip


def _evasion(found: Exploration) -> str:
    ours = [one.evasion for one in found.generations]
    by_chance = [one.random_evasion for one in found.generations]
    band = [one.interval for one in found.generations]
    lines = (Line("search", ours, _OURS, band), Line("by chance", by_chance, _CHANCE))
    return line_chart(lines, "not noticed, by generation", top=1.0)


def _fitness(found: Exploration) -> str:
    lines = (
        Line("best", [one.best for one in found.generations], _OURS),
        Line("mean of elites", [one.mean for one in found.generations], _OTHER),
    )
    return line_chart(lines, "fitness by generation")


def _counts(gene: str, found: Exploration) -> str:
    names = {one.id: one.name for one in declared().techniques.values()}
    rows = "".join(
        f"<tr><td>{escape(names.get(value, value.replace('_', ' ')))}</td>"
        f"{_counted(found.counts, gene, value)}{_counted(found.random_counts, gene, value)}</tr>"
        for value in sorted({*found.counts[gene], *found.random_counts[gene]})
    )
    head = f"<tr><th>{escape(gene)}</th><th class='n'>search</th><th class='n'>by chance</th></tr>"
    return f"<table>{head}{rows}</table>"


def _counted(counts: Counts, gene: str, value: str) -> str:
    carried, evaded = counts[gene].get(value, (0, 0))
    text = f"{evaded:,} of {carried:,} ({evaded / carried:.0%})" if carried else "none"
    return f"<td class='n'>{text}</td>"


def _survivors(entries: Sequence[Entry]) -> str:
    if not entries:
        return "<p>None: every attack that was carried out was noticed.</p>"
    rows = "".join(
        f"<tr><td class='n' style='white-space:nowrap'>{one.fitness:.3f}</td>"
        f"<td>{escape(one.title)}<br><small>{escape(one.id)}, {_held(one.holds)}</small></td>"
        f"<td><code>{escape(short(visible(one.example), _LONGEST_TEXT))}</code></td></tr>"
        for one in entries[:_MOST_SHOWN]
    )
    head = "<tr><th class='n'>F</th><th>attack</th><th>text, as it was written</th></tr>"
    return f"<table>{head}{rows}</table>"


def _held(holds: bool | None) -> str:
    if holds is None:
        return "not tried further"
    return "holds in further sessions" if holds else "was noticed in a further session"


def _share(value: float | None) -> str:
    return "not measured" if value is None else f"{value:.1%}"
