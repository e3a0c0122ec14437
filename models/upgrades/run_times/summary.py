"""Figures and sentences about run times, for the tracker and for people."""

from __future__ import annotations

import math

import pandas as pd

from models.figures import Figure, FlowSummary
from models.upgrades.run_times.changes import Written
from models.upgrades.run_times.forecast import LEVELS, RunForecast
from models.upgrades.run_times.judge import OURS
from models.upgrades.run_times.propose import Proposal

_NOTHING = Written()
_STEPS = ((60.0, 1.0, "s"), (3_600.0, 60.0, "min"), (math.inf, 3_600.0, "h"))


def duration_words(seconds: float) -> str:
    """Return `45 s`, `12 min` or `3.5 h`; a dash where it is not known."""
    if not math.isfinite(seconds):
        return "-"
    for below, unit_s, name in _STEPS:
        if seconds < below:
            return f"{seconds / unit_s:.3g} {name}"
    return "-"


def run_metrics(forecast: RunForecast, proposal: Proposal) -> dict[str, float | None]:
    """Figures under `runs/` (ours), `trivial/` (rules without learning) and `schedule/`."""
    found: dict[str, float | None] = {
        "runs/read": float(forecast.n_runs),
        "runs/deployments": float(len(forecast.table)),
        "runs/judged": float(len(forecast.judged.runs)),
        "runs/judged_by_model": float(forecast.judged.by_model),
        "schedule/lines": float(len(proposal.lines)),
        "schedule/moves": float(len(proposal.changes)),
    }
    for row in forecast.judged.scores.to_dict("records"):
        rule = row["rule"].replace(" ", "_").lower()
        group = "runs" if row["rule"] == OURS else f"trivial/{rule}"
        for level in LEVELS:
            for what in ("coverage", "pinball"):
                found[f"{group}/{what}_{level:g}"] = float(row[f"{what}@{level:g}"])
    for name, trial in (("before", proposal.now), ("after", proposal.best)):
        found[f"schedule/waits_{name}"] = float(trial.waits)
        found[f"schedule/wait_s_{name}"] = float(trial.wait_s)
        found[f"schedule/late_{name}"] = float(len(trial.late))
    return found


def words_of(forecast: RunForecast, proposal: Proposal) -> str:
    """Say what was read, by what it is forecast, and what the schedule needs."""
    return f"{_read_words(forecast)} {_schedule_words(proposal)}"


def _read_words(forecast: RunForecast) -> str:
    if not forecast.n_runs:
        return f"There is no flow run to learn from yet ({forecast.source})."
    ran = forecast.table[forecast.table["finished"] > 0]
    by = forecast.model or "their own runs"
    return f"Forecast {len(ran)} deployments and flows from {forecast.n_runs:,} runs, by {by}."


def _schedule_words(proposal: Proposal) -> str:
    now, best = proposal.now, proposal.best
    if not proposal.lines:
        return "No deployment is scheduled, so there is nothing to move."
    present = f"{now.waits} runs of the coming week would wait"
    present += f", {len(now.late)} start before what they come after has ended" if now.late else ""
    if not proposal.changes:
        return f"{present}; no move helps." if now.waits or now.late else f"{present}."
    moves = (
        "1 move leaves" if len(proposal.changes) == 1 else f"{len(proposal.changes)} moves leave"
    )
    left = f"{moves} {best.waits}"
    return f"{present}; {left}" + (f" and {len(best.late)}." if now.late else ".")


def verdict_of(proposal: Proposal, written: Written) -> str:
    """A few words for the run's tag."""
    if written.said:
        return f"{written.changed} moves {'taken back' if written.is_restored else 'written'}"
    return f"{len(proposal.changes)} moves proposed" if proposal.changes else "nothing to move"


def run_summary(
    forecast: RunForecast, proposal: Proposal, written: Written = _NOTHING
) -> FlowSummary:
    """Say what was found; beside the figures stand the best trivial rule and the present.

    Args:
        forecast: How long runs take.
        proposal: When they should start.
        written: What was changed on the server.
    """
    scores = forecast.judged.scores.set_index("rule")
    best = _best_trivial(scores)
    words = words_of(forecast, proposal)
    if written.said:
        how = "written back" if written.is_restored else "written to the server"
        times = "start time was" if written.changed == 1 else "start times were"
        words += f" {written.changed} {times} {how}."
    if proposal.changes and (written.is_restored or not written.said):
        words += " Proposed only."
    return FlowSummary(
        did=words,
        baseline=f"nominal coverage; {best or 'rules without learning'}; the present schedule",
        figures=(
            Figure("coverage at 0.9", _at(scores, OURS, "coverage@0.9"), 0.9, "{:.1%}"),
            Figure(
                "pinball loss at 0.9 (log minutes)",
                _at(scores, OURS, "pinball@0.9"),
                _at(scores, best, "pinball@0.9"),
                "{:.3f}",
            ),
            Figure(
                "runs of a week that would wait",
                *(float(proposal.best.waits), float(proposal.now.waits), "{:,.0f}"),
            ),
            Figure(
                "hours that they would wait",
                *(proposal.best.wait_s / 3_600, proposal.now.wait_s / 3_600, "{:,.1f}"),
            ),
            Figure("runs read", float(forecast.n_runs), None, "{:,.0f}"),
        ),
    )


def markdown_of(forecast: RunForecast, proposal: Proposal) -> str:
    """The findings as Markdown, for the run's page in Prefect."""
    lines = [f"**{words_of(forecast, proposal)}**", "", f"{forecast.note}."]
    if proposal.changes:
        lines += ["", "| deployment | now | proposed | why |", "|---|---|---|---|"]
        for row in proposal.moves().to_dict("records"):
            cells = (row["deployment"], f"`{row['now']}`", f"`{row['proposed']}`", row["why"])
            lines.append("| " + " | ".join(str(cell).replace("|", "/") for cell in cells) + " |")
    lines += ["", *(f"- {note}" for note in proposal.notes)]
    return "\n".join(lines)


def _best_trivial(scores: pd.DataFrame) -> str:
    losses = scores["pinball@0.9"].drop(index=OURS, errors="ignore").dropna()
    return str(losses.idxmin()) if len(losses) else ""


def _at(scores: pd.DataFrame, rule: str, column: str) -> float | None:
    if rule not in scores.index:
        return None
    value = float(scores[column].to_dict()[rule])
    return value if math.isfinite(value) else None
