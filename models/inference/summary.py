"""What a batch job says about itself when it is done."""

from __future__ import annotations

from pathlib import Path

from models.figures import Figure, FlowSummary
from models.inference.job import JobReport
from models.inference.prepare import PreparedJob


def flow_summary(
    prepared: PreparedJob,
    report: JobReport,
    files: dict[str, Path],
    mlflow_url: str | None,
    prefect_url: str | None,
) -> FlowSummary:
    """Say what was done; the baseline computes every prompt token."""
    merged, stats = report.merged, prepared.plan.stats
    # Of all rows, failed ones too: what an earlier start found out is not asked again.
    before = f"; earlier starts finished {report.rows_before:,}" if report.rows_before else ""
    did = (
        f"ran {merged.rows_ok:,} rows of {prepared.batch.data.name} on {prepared.chosen.name}; "
        f"{merged.rows_failed:,} failed{before}"
    )
    tokens = report.computed_tokens + report.output_tokens
    peak = report.counters.kv_peak_bytes
    figures = (
        Figure("rows with a result", merged.rows_ok, form="{:,.0f}"),
        Figure(
            *("prompt tokens computed", report.computed_tokens or None),
            *(stats.logical or None, "{:,.0f}"),
        ),
        Figure("prefill saved", report.saved_share, 0.0, "{:.1%}"),
        Figure("  of the trie's optimum", report.optimal_share, form="{:.1%}"),
        Figure("tokens per second", tokens / report.wall_s if tokens else None, form="{:,.0f}"),
        Figure(
            *("KV peak, GiB", peak / 1024**3 if peak else None),
            *(report.kv_budget_bytes / 1024**3, "{:.3f}"),
        ),
    )
    baseline = "every prompt computed alone; for the KV peak: its budget"
    return FlowSummary(did, baseline, figures, mlflow_url, prefect_url, files)
