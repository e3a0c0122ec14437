"""One HTML file that needs no network: figures, charts, errors."""

from __future__ import annotations

from collections.abc import Mapping
from html import escape
from string import Template
from typing import Any

from models.inference.report import charts
from models.inference.report.style import as_html

GIB = 1024**3


def render_report(numbers: Mapping[str, Any]) -> str:
    """Render `report_numbers` as one HTML document with plotly inlined once."""
    from plotly.offline import get_plotlyjs

    has_plan = bool(numbers["tree"]["nodes"])
    nothing = "<p>Nothing was left to run: earlier starts had finished every row.</p>"
    return _PAGE.substitute(
        plotly=get_plotlyjs(),
        headline=escape(_headline(numbers)),
        tiles=_tiles(numbers),
        saving=as_html(charts.saving_chart(numbers["tokens"])) if has_plan else nothing,
        tree=as_html(charts.tree_chart(numbers["tree"])) if has_plan else nothing,
        steps=_steps(numbers),
        errors=_errors(numbers["errors"]),
        about=escape(
            f"model {numbers['model']} ({numbers['fingerprint']}) · backend {numbers['backend']} "
            f"({numbers['why']}) · {numbers['processes']} process(es) · order "
            f"{', '.join(numbers['order']) or 'none'} · plan {numbers['plan'][:16]}"
        ),
    )


def _headline(numbers: Mapping[str, Any]) -> str:
    merged = numbers["report"]["merged"]
    return (
        f"{merged['rows_ok']:,} rows of {numbers['input']} have a result, "
        f"{merged['rows_failed']:,} failed"
    )


def _tiles(numbers: Mapping[str, Any]) -> str:
    report = numbers["report"]
    metrics, peak = report["metrics"], report["counters"]["kv_peak_bytes"]
    steps, planned_steps = report["counters"]["steps"], numbers["predicted"]["steps"]
    saved, optimum = _share(report["saved_share"]), _share(report["optimal_share"])
    before = f"{report['deaths']:,} processes died, {report['rows_before']:,} rows were done before"
    tiles = [
        (saved, "prefill saved", f"optimum {optimum}"),
        (
            *(f"{report['computed_tokens']:,}", "prompt tokens computed"),
            f"of {report['logical_tokens']:,}",
        ),
        (f"{report['output_tokens']:,}", "tokens emitted", f"in {report['wall_s']:,.1f} s"),
        (
            *(_number(metrics["engine/tokens_per_step"]), "tokens per step"),
            f"{steps:,} steps, {planned_steps:,} predicted",
        ),
        (
            *(f"{peak / GIB:.3f} GiB" if peak else "not measured", "KV peak"),
            f"budget {numbers['budget_bytes'] / GIB:.3f} GiB",
        ),
        (f"{report['counters']['cpu_s']:,.1f} s", "CPU of the engines", before),
    ]
    return "".join(
        f"<div class='tile'><b>{escape(value)}</b><span>{escape(name)}</span>"
        f"<small>{escape(beside)}</small></div>"
        for value, name, beside in tiles
    )


def _steps(numbers: Mapping[str, Any]) -> str:
    if not numbers["steps"]:
        return "<p>This backend does not tell of its steps.</p>"
    parts = []
    for process in numbers["steps"]:
        parts.append(f"<h3>Process {escape(process['process'])}: {process['n']:,} steps</h3>")
        parts.append(as_html(charts.steps_chart(process)))
        parts.append(as_html(charts.kv_chart(process, numbers["budget_bytes"])))
    return "".join(parts)


def _errors(by_code: Mapping[str, int]) -> str:
    if not by_code:
        return "<p>None.</p>"
    rows = "".join(
        f"<tr><td class='word'>{escape(code)}</td><td>{n:,}</td></tr>"
        for code, n in sorted(by_code.items(), key=lambda item: -item[1])
    )
    return f"<table><tr><th class='word'>code</th><th>rows</th></tr>{rows}</table>"


def _share(value: float | None) -> str:
    return "not measured" if value is None else f"{value:.1%}"


def _number(value: float | None) -> str:
    return "not measured" if value is None else f"{value:,.0f}"


_PAGE = Template("""<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>Batch inference</title>
<meta name="viewport" content="width=device-width, initial-scale=1">
<style>
body{margin:0;background:#f5f7fa;color:#1f2933;font:15px/1.55 Inter,system-ui,sans-serif}
main{max-width:1280px;margin:0 auto;padding:32px 20px 60px}
h1{font-size:23px;line-height:1.3;margin:0 0 20px;max-width:40em}
h2{font-size:18px;margin:0 0 6px} h3{font-size:15px;margin:20px 0 4px}
p{max-width:52em;margin:0 0 12px}
section{background:#fff;border:1px solid #e4e7eb;border-radius:10px;padding:22px;margin:18px 0}
.tiles{display:grid;grid-template-columns:repeat(auto-fit,minmax(165px,1fr));gap:12px}
.tile{background:#fff;border:1px solid #e4e7eb;border-radius:10px;padding:14px}
.tile b{display:block;font-size:25px} .tile span{display:block;font-weight:600}
small,.muted{color:#616e7c}
table{border-collapse:collapse;font-size:12.5px;font-variant-numeric:tabular-nums}
th,td{padding:4px 7px;text-align:right;border-bottom:1px solid #edf0f3;white-space:nowrap}
th{color:#616e7c;font-weight:600} .word{text-align:left}
</style><script>$plotly</script></head><body><main>
<p class="muted">Batch inference · Loomworks</p><h1>$headline</h1>
<div class="tiles">$tiles</div>
<section><h2>What sharing saved</h2><p>How to read it: the share of prompt tokens that nobody had to
compute, because another row had. The optimum computes every distinct prefix once; one token of
each prompt always stays.</p>$saving</section>
<section><h2>Which prefixes were shared</h2><p>How to read it: a box is a prefix, what lies under it
begins with it. Width: prompt tokens of the rows below. Green: most of them came from the
prefix. Click to look closer.</p>$tree</section>
<section><h2>Step by step</h2><p>How to read it: bars are the tokens of a step, prefixes and prompts
first, decoding last; below them the memory that keys and values took, which must stay under the
dashed line.</p>$steps</section>
<section><h2>Failed rows</h2>$errors</section>
<p class="muted">$about</p></main></body></html>
""")
