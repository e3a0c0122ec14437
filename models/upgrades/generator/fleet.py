"""A whole fleet: drawn from a config, written as a fleet folder."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from models.errors import ConfigError
from models.upgrades.generator.backlog import draw_backlog
from models.upgrades.generator.config import FleetConfig
from models.upgrades.generator.durations import draw_effects
from models.upgrades.generator.layout import (
    domains_table,
    draw_layout,
    freezes_table,
    hosts_table,
    services_table,
    types_table,
)
from models.upgrades.generator.past import past_events, releases

CONFIG_FILE = "fleet.json"
"""What the folder was generated from; its presence says that it was generated."""

FILES = (
    *("hosts.parquet", "services.csv", "domains.csv", "freezes.csv", "types.csv"),
    *("backlog.parquet", "events.parquet"),
)


@dataclass(frozen=True)
class GeneratedFleet:
    """The tables of a fleet folder, by file name, and the config they were drawn from."""

    config: FleetConfig
    tables: Mapping[str, pd.DataFrame]

    @property
    def events(self) -> pd.DataFrame:
        """Past upgrades in the import schema."""
        return self.tables["events.parquet"]


def generate_fleet(config: FleetConfig) -> GeneratedFleet:
    """Draw a fleet; the same config gives the same fleet.

    Each part has its own stream of random numbers, so that a larger backlog, say, does not
    change the past.
    """
    streams = np.random.SeedSequence(config.seed).spawn(4)
    layout_rng, effects_rng, past_rng, backlog_rng = map(np.random.default_rng, streams)
    layout = draw_layout(config, layout_rng)
    effects = draw_effects(config, releases(config), effects_rng)
    tables = (
        hosts_table(layout, config),
        services_table(layout, config),
        domains_table(layout, config),
        freezes_table(config),
        types_table(config),
        draw_backlog(config, backlog_rng),
        past_events(layout, effects, config, past_rng),
    )
    return GeneratedFleet(config, dict(zip(FILES, tables, strict=True)))


def check_folder(folder: Path) -> None:
    """Refuse to write over a fleet that was not generated.

    Raises:
        ConfigError: The folder is a file, or holds fleet files without `fleet.json`.
    """
    if folder.exists() and not folder.is_dir():
        raise ConfigError(f"{folder} is a file; name a folder for the fleet")
    present = [name for name in FILES if (folder / name).exists()]
    if present and not (folder / CONFIG_FILE).exists():
        raise ConfigError(
            f"{folder} holds {', '.join(present)} but no {CONFIG_FILE}, so it was not generated; "
            "name another folder"
        )


def write_fleet(fleet: GeneratedFleet, folder: Path) -> list[Path]:
    """Write the fleet folder and return its files; equal fleets give equal bytes.

    Each file appears whole or not at all; `fleet.json` comes first and marks the folder as
    generated.

    Raises:
        ConfigError: See `check_folder`.
        OSError: The folder cannot be written.
    """
    check_folder(folder)
    folder.mkdir(parents=True, exist_ok=True)
    written = [folder / CONFIG_FILE]
    part = folder / f"{CONFIG_FILE}.part"
    part.write_text(fleet.config.model_dump_json(indent=1) + "\n", encoding="utf-8")
    part.replace(written[0])
    for name, table in fleet.tables.items():
        file = folder / name
        part = folder / f"{name}.part"
        if file.suffix == ".parquet":
            table.to_parquet(part, index=False, compression="zstd")
        else:
            table.to_csv(part, index=False, lineterminator="\n")
        part.replace(file)
        written.append(file)
    return written
