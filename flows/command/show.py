"""`loom list`, `loom runs`, `loom sync`."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime

from rich.console import Console
from rich.table import Table

from flows.registry import BENCHES, EVERY_BENCH, FLOWS, FlowEntry

STATUS_STYLE = {"FINISHED": "green", "FAILED": "red", "KILLED": "yellow", "RUNNING": "cyan"}


def show_list() -> None:
    """Print the flows and benchmarks that exist."""
    console = Console()
    table = Table(title="Flows", title_justify="left", box=None, pad_edge=False)
    table.add_column("loom run ...", style="bold")
    table.add_column("room")
    table.add_column("what it does")
    for flow in FLOWS:
        table.add_row(flow.name, flow.room, flow.about)
    console.print(table)
    console.print()
    table = Table(title="Benchmarks", title_justify="left", box=None, pad_edge=False)
    table.add_column("loom bench ...", style="bold")
    table.add_column("what it measures")
    for bench in (*BENCHES, EVERY_BENCH):
        table.add_row(bench.room, bench.about)
    console.print(table)


def show_runs(limit: int, flow: str | None) -> None:
    """Print recent runs, one block each: a link is only useful whole."""
    from flows.registry import find_flow
    from tasks.track import recent_runs, spooled_runs

    console = Console(soft_wrap=True)
    entries = {entry.name: entry for entry in FLOWS}
    found = recent_runs(limit, find_flow(flow).name if flow else None)
    if not found:
        console.print("no runs yet; try: loom demo")
    for run in found:
        style = STATUS_STYLE.get(run.status, "white")
        began = datetime.fromtimestamp(run.start_ms / 1000).strftime("%Y-%m-%d %H:%M:%S")
        took = f"{run.duration_s:.0f} s" if run.duration_s is not None else "running"
        console.print(f"[{style}]{run.status:<9}[/] {began}  [bold]{run.name}[/]  {took}")
        known = entries.get(run.flow)
        said = said_of(known, run.tags, run.metrics) if known else ""
        if said:
            console.print(f"          {said}", markup=False, highlight=False)
        console.print(f"          mlflow   {run.mlflow_url}", highlight=False)
        if run.prefect_url:
            console.print(f"          prefect  {run.prefect_url}", highlight=False)
        if run.error:
            console.print(f"          error    {run.error.splitlines()[0]}", markup=False)
    waiting = spooled_runs()
    if waiting:
        console.print(f"{len(waiting)} runs wait on disk for the tracking server: loom sync")


def said_of(entry: FlowEntry, tags: Mapping[str, str], metrics: Mapping[str, float]) -> str:
    """Say policy, verdict and main figures of a run in a line; empty where it recorded none."""
    said = []
    policy, verdict = tags.get(entry.policy_tag), tags.get(entry.verdict_tag)
    if policy:
        said.append(policy)
    if verdict:
        said.append(f"verdict: {verdict}")
    for figure in entry.figures:
        if figure.metric not in metrics:
            continue
        beside = ""
        if figure.baseline in metrics:
            beside = f" ({figure.beside} {figure.form.format(metrics[figure.baseline])})"
        said.append(f"{figure.words} {figure.form.format(metrics[figure.metric])}{beside}")
    return ", ".join(said)


def sync_spool() -> None:
    """Send spooled runs and say how many went."""
    from tasks.track import replay_spool

    console = Console()
    sent = replay_spool(tell=lambda line: console.print(line, highlight=False))
    console.print(f"{sent} runs sent" if sent else "nothing waits on disk")
