"""`loom generate-fleet`: a fleet folder from a seed."""

from __future__ import annotations

from pathlib import Path

from rich.console import Console

from flows.command.output import try_folder, writing_to
from models.config import load_config
from models.upgrades.generator import FleetConfig, check_folder, generate_fleet, write_fleet


def run_generator(
    out: Path, hosts: int | None, days: int | None, seed: int | None, config_file: Path | None
) -> None:
    """Generate and write a fleet; options win over the config file."""
    given = {"hosts": hosts, "days": days, "seed": seed}
    overrides = [f"{key}={value}" for key, value in given.items() if value is not None]
    options = {key: f"--{key}" for key in given}
    config = load_config(FleetConfig, config_file, overrides, options=options)
    console = Console(soft_wrap=True, highlight=False)
    # Found out now, not after minutes of drawing.
    with writing_to(out, "--out"):
        check_folder(out)
        try_folder(out)
    with console.status(f"drawing {config.hosts:,} hosts over {config.days} days"):
        fleet = generate_fleet(config)
        with writing_to(out, "--out"):
            files = write_fleet(fleet, out)
    written = sum(file.stat().st_size for file in files)
    events = fleet.events
    outcomes = events["outcome"].value_counts()
    console.print(
        f"fleet of {config.hosts:,} hosts in {config.domains} domains, {config.services} services"
    )
    console.print(
        f"history: {len(events):,} upgrades in {config.days} days from {config.start}: "
        + ", ".join(f"{n:,} {outcome}" for outcome, n in outcomes.items())
    )
    console.print(f"backlog: {len(fleet.tables['backlog.parquet']):,} tasks")
    console.print(f"{out}: {len(files)} files, {written / 1e6:.1f} MB, seed {config.seed}")
    console.print(f"plan it: loom run plan-fleet --set fleet={out}", style="dim")
    console.print(
        f"score its past: loom bench upgrades --data {out / 'events.parquet'}", style="dim"
    )
