"""`loom demo`: every flow on bundled data, one table."""

from __future__ import annotations

import logging
import time

import typer
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from flows.command.run import call_flow, choose_runner, prefect_session, resolve_config
from flows.registry import FLOWS, find_flow
from models.errors import ProjectError
from models.figures import FlowSummary


def run_demo(runner: str | None, dask_address: str | None) -> None:
    """Run all flows; exit code 1 when one of them failed."""
    choose_runner(runner, dask_address)
    console = Console(soft_wrap=True)
    results: list[tuple[str, FlowSummary | Exception, float]] = []
    console.print(f"running {len(FLOWS)} flow(s) on bundled data; the first start takes longest")
    with prefect_session():
        for entry in FLOWS:
            console.rule(entry.name)
            started = time.monotonic()
            outcome: FlowSummary | Exception
            try:
                outcome = call_flow(entry, resolve_config(entry, None, entry.demo, None))
            except Exception as error:
                # The others still run; the table and the exit code tell.
                if not isinstance(error, ProjectError):
                    logging.getLogger("loom.demo").exception("%s failed", entry.name)
                outcome = error
            results.append((entry.name, outcome, time.monotonic() - started))
    console.rule("demo")
    console.print(result_table(results))
    for name, result, _ in results:
        if isinstance(result, FlowSummary):
            for label, place in (("mlflow", result.mlflow_url), ("prefect", result.prefect_url)):
                if place:
                    console.print(f"{name} {label}: {place}", highlight=False)
            for label, file in result.files.items():
                console.print(f"{name} {label}: {file}", highlight=False)
    console.print("the links open after: loom up", style="dim")
    if any(isinstance(result, Exception) for _, result, _ in results):
        raise typer.Exit(1)


def result_table(results: list[tuple[str, FlowSummary | Exception, float]]) -> Table:
    """One section per flow: what it did, its figures, the trivial baseline beside them."""
    table = Table(box=SIMPLE_HEAD)
    table.add_column("flow", no_wrap=True)
    table.add_column("what it did, and its figures")
    table.add_column("Loomworks", justify="right", no_wrap=True)
    table.add_column("baseline", justify="right")
    for name, result, took_s in results:
        if isinstance(result, Exception):
            table.add_row(f"[bold]{name}[/]", f"[red]failed[/]: {escape(str(result))}", "", "")
            table.add_section()
            continue
        small = ", ".join(find_flow(name).demo)
        did = f"{result.did} (made small by {small})" if small else result.did
        table.add_row(f"[bold]{name}[/]", escape(did), f"in {took_s:.0f} s", result.baseline)
        for figure in result.figures:
            table.add_row("", f"  {figure.name}", figure.value_text, figure.baseline_text)
        pages = {"mlflow": result.mlflow_url, "prefect": result.prefect_url}
        pages |= {label: file.as_uri() for label, file in result.files.items()}
        links = [f"[link={page}]{label}[/link]" for label, page in pages.items() if page]
        table.add_row("", "  links: " + ", ".join(links), "", "")
        table.add_section()
    return table
