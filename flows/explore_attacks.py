"""Search for attacks that get past a detector (ADR's Explorer): mutate, play, judge, publish."""

from __future__ import annotations

from prefect import flow

from models.detection.explorer.archive import read_checkpoint
from models.detection.explorer.config import ExploreConfig
from models.detection.explorer.executor import place_of
from models.detection.explorer.explore import CHECKPOINT
from models.detection.reasoning.detector import Detector
from models.figures import Figure, FlowSummary
from tasks.explore import detector_file, folder_of, publish_findings, search_attacks
from tasks.runner import task_runner
from tasks.track import close_abandoned_run, tracked_run


@flow(
    name="explore-attacks",
    task_runner=task_runner(),
    on_crashed=[close_abandoned_run],
    on_cancellation=[close_abandoned_run],
)
def explore_attacks(config: ExploreConfig = ExploreConfig()) -> FlowSummary:  # noqa: B008
    """Search for attacks that are carried out and not noticed; run again, it goes on.

    Attacks are played in simulated environments by a model of an agent; nothing is attacked.

    Args:
        config: Size of the search and the detector; nothing given: the shipped one.

    Raises:
        ConfigError: The executor needs an extra that is not installed.
        DataError: The folder holds the state of another search, or a damaged one.
    """
    with tracked_run("detection", config) as run:
        found = search_attacks(config, run)
        out = publish_findings(found, config, run)
        last = found.generations[-1]
        held, by_chance = sum(found.held.values()), sum(found.random_held.values())
        return FlowSummary(
            f"tried {sum(one.tried for one in found.generations):,} attacks on detector "
            f"{found.detector} in {len(found.generations)} generations",
            "as many attacks drawn by chance",
            (
                Figure("not noticed, last generation", last.evasion, last.random_evasion, "{:.1%}"),
                Figure(
                    f"cells of {found.archive.size:,} with a way through",
                    *(last.evading_cells, last.random_evading_cells, "{:,.0f}"),
                ),
                Figure("ways that hold in further sessions", held, by_chance, "{:,.0f}"),
                Figure("worth of all elites", last.quality, last.random_quality),
            ),
            run.url,
            run.prefect_url,
            {"report": out.report, "findings": out.findings, "intelligence": out.intel},
        )


def preview(config: ExploreConfig) -> list[str]:
    """Say what would be searched, without doing it (`loom run --dry-run`)."""
    detector = Detector.load(detector_file(config))
    folder = folder_of(config, detector)
    body = read_checkpoint(folder / CHECKPOINT)
    done = len(body["generations"]) if body else 0
    return [
        f"detector: {detector.digest} ({detector_file(config)})",
        f"attacks: at most {config.generations} generations of {config.population}, each on "
        f"{config.sessions} sessions, and as many by chance",
        f"played in: {place_of(config)}",
        f"victim: {config.victim}, a model of an agent",
        f"folder: {folder}, {done} generations done",
    ]
