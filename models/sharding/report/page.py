"""One HTML file that needs no network: the answer, why, and what else was looked at."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from html import escape
from string import Template
from typing import Any

from models.sharding.report import charts, tables
from models.sharding.report.inputs import PlanReportInput
from models.sharding.report.numbers import report_numbers
from models.sharding.report.specs import specs_table
from models.sharding.report.style import chart, charts_script
from models.sharding.report.torus import chips_diagram


def render_report(answer: PlanReportInput) -> str:
    """Render a plan as one HTML document with plotly inside.

    Tables, memory bars and drawings of chips need no script. A policy in the page forbids scripts
    other than its own and everything from the network.
    """
    numbers = report_numbers(answer)
    figures = _figures(answer, numbers)
    sections = [*_answer(numbers, answer), *_sections(answer, numbers)]
    body = "".join(
        f"<section><h2>{escape(title)}</h2>{html}</section>" for title, html in sections if html
    )
    nonce = hashlib.sha256(body.encode()).hexdigest()[:32]
    return _PAGE.substitute(
        nonce=nonce,
        title=escape(f"{answer.job.model.name} on {answer.job.place.text()}"),
        headline=escape(_headline(numbers, answer)),
        asked=escape(_asked(numbers["job"])),
        body=body,
        charts=charts_script(figures, nonce) if figures else "",
    )


def _headline(numbers: Mapping[str, Any], answer: PlanReportInput) -> str:
    name, place = answer.job.model.name, answer.job.place.text()
    if not numbers["proposals"]:
        reason = answer.plan.infeasible.reason if answer.plan.infeasible else "no candidate"
        return f"No layout for {name} on {place}: {reason}"
    first = numbers["proposals"][0]
    return (
        f"{name} on {place}: {first['layout']}, {tables.seconds(first['step_s']['middle'])} "
        f"a {tables.whole(numbers)} ({tables.seconds(first['step_s']['low'])} to "
        f"{tables.seconds(first['step_s']['high'])}), {first['mfu']:.0%} MFU"
    )


def _asked(job: Mapping[str, Any]) -> str:
    pods = f" x {job['pods']} pods" if job["pods"] > 1 else ""
    return (
        f"{job['stage']}, {job['global_batch']:,} sequences of {job['seq_len']:,} tokens, "
        f"{job['compute']}, {job['params'] / 1e9:.3g} billion parameters "
        f"({job['active_params'] / 1e9:.3g} active), {job['chips']:,} chips ({job['slice']}{pods})"
    )


def _answer(numbers: Mapping[str, Any], answer: PlanReportInput) -> list[tuple[str, str]]:
    """Return what is proposed, or why nothing is and what would do."""
    if numbers["proposals"]:
        return [("What is proposed", tables.proposals_table(numbers))]
    found = answer.plan.infeasible
    if found is None:
        return [("Why nothing is proposed", "<p>No candidate was given.</p>")]
    fewest = (
        f"<p>Fewest chips of this kind on which a layout fits: <b>{found.minimum_chips:,}</b>.</p>"
        if found.minimum_chips
        else ""
    )
    return [
        (
            "Why nothing is proposed",
            f"<p><b>{escape(found.reason)}</b>: {escape(found.detail)}</p>{fewest}",
        )
    ]


def _figures(answer: PlanReportInput, numbers: Mapping[str, Any]) -> dict[str, Any]:
    proposals, capacity = numbers["proposals"], numbers["capacity_bytes"]
    chip, found = answer.job.place.chip, {}
    if proposals:
        found["waterfall"] = charts.waterfall_chart(proposals)
        found["memory"] = charts.memory_chart(proposals, capacity)
        found["roofline"] = charts.roofline_chart(
            numbers["products"], chip.rate(answer.job.workload.compute), chip.hbm_bytes_per_s,
            answer.profile,
        )  # fmt: skip
    if numbers["candidates"]:
        found["pareto"] = charts.pareto_chart(numbers["candidates"], proposals, capacity)
    if numbers["counterfactuals"]:
        found["counterfactuals"] = charts.counterfactual_chart(numbers["counterfactuals"])
    if answer.shots:
        found["shots"] = charts.shots_chart(answer.shots)
    return found


def _sections(answer: PlanReportInput, numbers: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Return titles and contents; an empty content leaves its section out."""
    proposals, job = numbers["proposals"], answer.job
    found: list[tuple[str, str]] = []
    if answer.diagnosis is not None:
        found += [
            ("What holds the step up", tables.diagnosis_words(answer.diagnosis)),
            (
                "What taking a limit away would save",
                chart("counterfactuals", "bars of saved shares")
                + _folded("Numbers", tables.counterfactuals_table(numbers["counterfactuals"])),
            ),
        ]
    if proposals:
        found += [
            (
                "Where the step goes",
                "<p>How to read it: what each term adds after overlap; they add up to the step."
                "</p>" + chart("waterfall", "waterfall of terms per proposal")
                + _folded("Numbers", tables.terms_table(proposals)),
            ),
            (
                "What holds the memory",
                "<p>How to read it: the fullest chip; the black line is P10 to P90, and its end "
                "must stay left of the capacity.</p>" + chart("memory", "memory by part")
                + _folded("Numbers", tables.memory_table(proposals)),
            ),
            (
                "Roofline",
                "<p>How to read it: matrix products of one layer on one chip, at the rate that the "
                "chip allows them; under the slope memory sets the pace. Crosses are operations "
                "of the profile.</p>" + chart("roofline", "roofline of products"),
            ),
        ]  # fmt: skip
    if numbers["candidates"]:
        shown, counted = len(numbers["candidates"]["step_s"]), numbers["candidates"]["counted"]
        some = f" {shown:,} of {counted:,} are drawn." if shown < counted else ""
        found.append(
            (
                "Every legal layout",
                "<p>How to read it: left is faster, down is smaller; above the dashed line a "
                f"layout does not fit.{some}</p>" + chart("pareto", "memory against time"),
            )
        )
    found.append(("What fell out", tables.rejected_table(numbers) if numbers["counted"] else ""))
    if proposals:
        first, *others = answer.plan.proposals
        found += [
            (
                "Which chips hold what",
                "<p>How to read it: a square is a chip, its colour the place along the mesh axis; "
                "chips of equal colour hold the same part.</p>" + chips_diagram(job, first.layout)
                + "".join(
                    _folded(f"Proposal {one.rank}: {one.layout.text()}",
                            chips_diagram(job, one.layout))
                    for one in others
                ),
            ),
            (
                "How each array is split",
                specs_table(job, first.layout)
                + "".join(
                    _folded(f"Proposal {one.rank}: {one.layout.text()}",
                            specs_table(job, one.layout))
                    for one in others
                ),
            ),
        ]  # fmt: skip
    if answer.shots:
        best = "".join(
            f"<tr><td class='word'>{escape(line.name)}</td><td>{len(line.best)}</td>"
            f"<td>{max(line.best, default=0.0):.1%}</td></tr>"
            for line in answer.shots
        )
        table = f"<table><tr><th></th><th>runs</th><th>best so far</th></tr>{best}</table>"
        found.append(("Measured runs", chart("shots", "best so far against runs") + table))
    found += [
        ("What was looked up", tables.knowledge_list(answer.knowledge)),
        ("How to make it again", _again(answer)),
    ]
    return found


def _folded(summary: str, html: str) -> str:
    return f"<details><summary>{escape(summary)}</summary>{html}</details>"


def _again(answer: PlanReportInput) -> str:
    command = f"<pre>{escape(answer.command)}</pre>" if answer.command else ""
    rows = "".join(
        f"<tr><td class='word'>{escape(name)}</td><td class='word'><code>{escape(value)}</code>"
        "</td></tr>"
        for name, value in answer.versions
    )
    changed = "those of the literature" if answer.constants == type(answer.constants)() else (
        "fitted on runs of the site"
    )  # fmt: skip
    return f"{command}<p>Constants of the cost model: {changed}.</p><table>{rows}</table>"


_PAGE = Template("""<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>Sharding: $title</title>
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; img-src data: blob:; \
style-src 'unsafe-inline'; script-src 'nonce-$nonce'">
<style>
body{margin:0;background:#f5f7fa;color:#1f2933;font:15px/1.55 Inter,system-ui,sans-serif}
main{max-width:1280px;margin:0 auto;padding:32px 20px 60px}
h1{font-size:23px;line-height:1.3;margin:0 0 8px;max-width:48em;overflow-wrap:anywhere}
h2{font-size:18px;margin:0 0 6px} p{max-width:52em;margin:0 0 12px}
section{background:#fff;border:1px solid #e4e7eb;border-radius:10px;padding:22px;margin:18px 0}
small,.muted{color:#616e7c} code,pre{font:12.5px/1.5 ui-monospace,monospace}
pre{white-space:pre-wrap;overflow-wrap:anywhere;background:#f5f7fa;padding:10px;border-radius:6px}
.wide{overflow-x:auto}
table{border-collapse:collapse;font-size:13px;font-variant-numeric:tabular-nums;margin:6px 0}
tr:has(+ .why) td{border-bottom:0} .why ul{margin:0 0 6px;padding-left:1.1em}
th,td{padding:5px 8px;text-align:right;border-bottom:1px solid #edf0f3;white-space:nowrap;
vertical-align:top} th{color:#616e7c;font-weight:600}
.word,.text{text-align:left} .text{white-space:normal;min-width:150px;max-width:260px}
td code{white-space:normal} td ul{margin:0;padding-left:15px} li{overflow-wrap:anywhere}
.bar{position:relative;height:13px;width:190px;background:#edf0f3;border-radius:3px;margin-top:4px}
.bar i{position:absolute;height:100%;border-radius:3px}
.bar u{position:absolute;top:5px;height:3px;background:#1f2933}
.bar s{position:absolute;top:-3px;height:19px;width:2px;background:#d55e00}
.good{color:#009e73} .bad{color:#d55e00}
.chip{color:#fff;border-radius:4px;padding:1px 6px;font-size:12px}
.figures{display:flex;flex-wrap:wrap;gap:22px} figure{margin:0 0 10px;max-width:100%}
figcaption{margin-bottom:5px} svg{max-width:100%;height:auto}
.axis{display:inline-block;width:11px;height:11px;border-radius:2px;margin-right:5px}
summary{cursor:pointer;color:#0072b2;margin:6px 0} a{color:#0072b2} tr:target{background:#fff4e5}
</style></head><body><main>
<p class="muted">Sharding plan · Loomworks</p><h1>$headline</h1><p class="muted">$asked</p>
<noscript><p>Charts need JavaScript; the tables hold their numbers.</p></noscript>
$body
</main>$charts</body></html>
""")
