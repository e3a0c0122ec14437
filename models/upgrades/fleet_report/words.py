"""Sentences of the report."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd


def headline(numbers: Mapping[str, Any]) -> str:
    """Say how much of the backlog has a place, and when the fleet would be done."""
    placed, total = numbers["placed"], numbers["placed"] + numbers["refused"]
    share = placed / total if total else 0.0
    return (
        f"{placed:,} of {total:,} upgrades ({share:.0%}) have a place in the "
        f"{numbers['horizon_days']} days from {day(numbers['plan_s'])}; {full_words(numbers)}"
    )


def full_words(numbers: Mapping[str, Any]) -> str:
    """Say how many days a full fleet takes, and what these windows can never take."""
    burn = numbers["burn_down"]
    days, n_never = burn["days_to_full"], burn["n_never"]
    never = ""
    if n_never:
        never = f"; {n_never:,} of {burn['n_tasks']:,} have no place under these windows, ever"
    if days is None:
        return f"nothing is placed, so the fleet is never done{never}"
    if not numbers["refused"]:
        return f"with them the fleet is done after {days:.1f} days"
    if n_never == numbers["refused"]:
        return f"with them all that these windows can take is done after {days:.1f} days{never}"
    what = "the rest" if n_never else "the whole backlog"
    return f"at this pace {what} takes about {days:,.0f} days{never}"


def plan_words(numbers: Mapping[str, Any]) -> str:
    """Say who placed the tasks, and what the plan is worth."""
    status = numbers["solver_status"]
    said = f"Placed by '{numbers['policy']}' ({numbers['solver_words']})."
    if status == "improved":
        said = f"Placed by '{numbers['policy']}' ({numbers['solver']}, {status})."
    if numbers["objective"] is not None:
        said += f" Expected value: {numbers['objective']:,.1f} completed upgrades"
        if numbers["bound"]:
            said += (
                f"; no plan under these rules is worth more than {numbers['bound']:,.1f}, which "
                "is loose where waves wait"
            )
        said += "."
    return f"{said} This is a proposal: nothing was executed."


def lane_words(lanes: Mapping[str, Any]) -> str:
    """Say what the Gantt shows, and what it leaves out."""
    if lanes["kind"] == "tasks":
        return (
            "How to read it: one row per lane, one bar per upgrade, as long as what is reserved "
            "for it; the colour is the wave of its release."
        )
    return (
        f"How to read it: {lanes['n_tasks']:,} upgrades on {lanes['n_lanes']:,} lanes are too many "
        "for bars, so a row is a domain and the colour says how many of its lanes are in use in "
        f"each hour. {lanes['left_out']}"
    )


def service_words(services: list[Mapping[str, Any]], n_shown: int) -> str:
    """Say how close services come to their caps."""
    full = [load["service"] for load in services if load["peak"] >= load["cap"]]
    names = f" ({', '.join(full[:8])}{'...' if len(full) > 8 else ''})" if full else ""
    shown = f" The {n_shown} with the least headroom are shown." if len(services) > n_shown else ""
    return f"{len(full)} of {len(services)} services reach their cap{names}.{shown}"


def risk_words(risks: Sequence[Mapping[str, Any]] | None, warning: str | None = None) -> str:
    """Say how likely caps are exceeded once durations are as random as they are."""
    if risks is None:
        return "How likely caps are exceeded was not measured: set scenarios above 0."
    if not risks or risks[0]["p_breach"] == 0:
        return "In no scenario of the durations more hosts of a service are down than may be."
    worst = risks[0]
    said = (
        f"Durations are random: the likeliest breach is that of {worst['service']} in the window "
        f"of {moment(worst['window_open_s'])}, {worst['p_breach']:.1%}."
    )
    return said + (f" Red: {warning}." if warning else "")


def search_words(n_kept: int, n_refused: int, n_found: int, n_placed: int) -> str:
    """Say what the search covers: of the refused and of the placed tasks."""
    said = f"The search covers all {n_refused:,} tasks without a place"
    if n_kept < n_refused:
        said = f"The search covers the {n_kept:,} tasks without a place of the highest value"
    both = f"all {n_placed:,}" if n_found == n_placed else f"the {n_found:,} dearest"
    return (
        f"{said} and {both} placed ones; refusals.csv and plan.parquet beside this page have "
        f"all {n_refused:,} and {n_placed:,}."
    )


def day(at_s: float) -> str:
    """A moment of the local clock as a date."""
    return pd.Timestamp(at_s, unit="s").strftime("%Y-%m-%d")


def moment(at_s: float | None) -> str:
    """A moment of the local clock to the minute; "-" for none."""
    return "-" if at_s is None else pd.Timestamp(at_s, unit="s").strftime("%Y-%m-%d %H:%M")
