"""Search for attacks that a detector does not notice, and keep what was found."""

from __future__ import annotations

import datetime
import hashlib
from pathlib import Path
from typing import NamedTuple

import msgspec
import pandas as pd
from prefect import get_run_logger, task
from prefect.cache_policies import NO_CACHE

from models.detection.explorer.config import ExploreConfig
from models.detection.explorer.explore import Exploration, explore
from models.detection.explorer.generation import Generation
from models.detection.explorer.publish import Entry, entries, rows, write_lines
from models.detection.explorer.report import render
from models.detection.intel import IntelStore
from models.detection.reasoning.detector import SHIPPED, Detector
from models.settings import get_settings
from tasks.track import TrackedRun, show_table


class Found(NamedTuple):
    """Files that a search left behind."""

    archive: Path
    findings: Path
    intel: Path
    report: Path


def detector_file(config: ExploreConfig) -> Path:
    """Return the file of the detector that is to be evaded."""
    return config.detector or SHIPPED


def folder_of(config: ExploreConfig, detector: Detector) -> Path:
    """Return where a search keeps its state: the same config goes on in the same folder."""
    name = f"{config.digest}-{detector.digest}"
    return config.folder or get_settings().home / "detection" / "explorer" / name


@task(cache_policy=NO_CACHE)
def search_attacks(config: ExploreConfig, run: TrackedRun) -> Exploration:
    """Search, generation by generation; run again, it goes on where it was.

    Raises:
        DataError: The detector's file is none, or the folder holds another search.
    """
    file = detector_file(config)
    detector = Detector.load(file)
    run.dataset(file.name, hashlib.sha256(file.read_bytes()).hexdigest(), file)
    run.tags({"detector.digest": detector.digest})
    logger = get_run_logger()

    def tell(one: Generation) -> None:
        run.metrics(metrics_of(one), step=one.number)
        logger.info(
            "generation %d: %d of %d carried out were not noticed (by chance %d of %d); %d cells, "
            "%d of them with a way through; survivors x mutations %.2f",
            *(one.number, one.evaded, one.carried, one.random_evaded, one.random_carried),
            *(one.cells, one.evading_cells, one.survival * config.mutations),
        )

    return explore(config, detector, folder_of(config, detector), tell)


def metrics_of(one: Generation) -> dict[str, float | None]:
    """Return the figures of a generation; those of random search stand beside."""
    low, high = one.interval
    return {
        "explore/evasion": one.evasion, "explore/evasion_low": low, "explore/evasion_high": high,
        "explore/survival": one.survival, "explore/cells": one.cells,
        "explore/evading_cells": one.evading_cells, "explore/best": one.best,
        "explore/mean": one.mean, "explore/quality": one.quality,
        "random/evasion": one.random_evasion, "random/cells": one.random_cells,
        "random/evading_cells": one.random_evading_cells, "random/quality": one.random_quality,
    }  # fmt: skip


@task(cache_policy=NO_CACHE)
def publish_findings(found: Exploration, config: ExploreConfig, run: TrackedRun) -> Found:
    """Write labelled sessions, intelligence and the page, and record them."""
    folder = folder_of(config, Detector.load(detector_file(config)))
    out = Found(*(folder / name for name in FILES))
    published = entries(found, config, config.date or datetime.date.today())
    write_lines(out.findings, rows(found, config))
    write_lines(out.intel, (msgspec.to_builtins(one) for one in published))
    write_lines(out.archive, iter([archive_of(found)]))
    out.report.write_text(render(found, published, config), encoding="utf-8")
    known = IntelStore(get_settings().home / "detection")
    new = known.append(one.as_intel() for one in published)
    get_run_logger().info("%d ways through published, %d of them new", len(published), new)
    for file in out:
        run.artifact(file.name, file)
    run.metrics(
        {
            "explore/coverage": found.archive.coverage, "random/coverage": found.random.coverage,
            "explore/held": _held(found.held), "random/held": _held(found.random_held),
        }
    )  # fmt: skip
    _show(published)
    return out


FILES = ("archive.json", "findings.jsonl", "intel.jsonl", "report.html")


def archive_of(found: Exploration) -> dict[str, object]:
    """Return both maps, generations and counts as plain values."""
    values = {
        "detector": found.detector, "has_died_out": found.has_died_out,
        "generations": found.generations, "elites": found.archive.elites,
        "random_elites": found.random.elites, "counts": found.counts,
        "random_counts": found.random_counts, "held": found.held,
        "random_held": found.random_held,
    }  # fmt: skip
    plain: dict[str, object] = msgspec.to_builtins(values)
    return plain


def _held(found: dict[str, bool]) -> float | None:
    return sum(found.values()) / len(found) if found else None


def _show(published: list[Entry]) -> None:
    columns = ["fitness", "title", "holds"]
    frame = pd.DataFrame(
        [{c: getattr(one, c) for c in columns} for one in published], columns=columns
    )
    show_table("explore-attacks", frame.head(100), f"{len(published):,} attacks that got through")
