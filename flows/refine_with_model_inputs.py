"""Capture what models ask of ATen, write and refine those kernels, and train on them alone."""

from __future__ import annotations

import pandas as pd
from prefect import flow

from models.figures import Figure, FlowSummary
from models.kernels.config import RefineConfig
from models.kernels.device.workloads import find_workload
from tasks.refine_kernels import modules_of, publish_models, refine_folder, refine_model
from tasks.runner import task_runner
from tasks.track import close_abandoned_run, show_table, tracked_run


@flow(
    name="refine-with-model-inputs",
    task_runner=task_runner(),
    on_crashed=[close_abandoned_run],
    on_cancellation=[close_abandoned_run],
)
def refine_with_model_inputs(
    config: RefineConfig = RefineConfig(),  # noqa: B008
) -> FlowSummary:
    """Train small models on a device that has generated kernels and nothing else.

    Args:
        config: Models, steps, package; nothing given: four models, every module written anew.

    Raises:
        UnknownNameError: No such model.
        ServiceError: The device's process failed.
    """
    for name in config.models:
        find_workload(name)
    modules_of(config)  # a package that is damaged is told before anything runs
    with tracked_run("kernels", config) as run:
        asked = [refine_model.submit(name, config) for name in config.models]
        found = [future.result() for future in asked]
        files = publish_models(found, refine_folder(config), run)
        frame = pd.DataFrame([one.report.model_dump() for one in found])
        shown = ["model", "steps", "largest_difference", "tolerance", "launches", "missing"]
        show_table("refine-with-model-inputs", frame[shown], "losses against the CPU's")
        agree = sum(one.report.agrees for one in found)
        needed = sum(len(one.report.needed) for one in found)
        covered = sum(len(one.report.covered) for one in found)
        return FlowSummary(
            f"trained {agree} of {len(found)} models on generated kernels, losses as on the CPU",
            "a package as it is, without refinement",
            (
                Figure("models with the CPU's losses", agree, None, "{:,.0f}"),
                Figure(
                    "operators covered",
                    covered / needed if needed else None,
                    sum(one.refined.unrefined_coverage for one in found) / len(found),
                    "{:.0%}",
                ),
                *(
                    Figure(
                        f"{one.report.model}: last loss",
                        one.report.losses[-1] if one.report.losses else None,
                        one.report.cpu_losses[-1] if one.report.cpu_losses else None,
                        "{:.4f}",
                    )
                    for one in found
                ),
            ),
            run.url,
            run.prefect_url,
            files,
        )


def preview(config: RefineConfig) -> list[str]:
    """Say what would be trained, without training (`loom run --dry-run`)."""
    for name in config.models:
        find_workload(name)
    return [
        f"models: {', '.join(config.models)}, {config.steps} steps each",
        f"package: {config.package or 'none, every module is written anew'}"
        + (f", {len(modules_of(config)):,} modules" if config.package else ""),
        f"folder: {refine_folder(config)}",
    ]
