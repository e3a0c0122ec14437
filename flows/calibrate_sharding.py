"""Calibrate the cost model of shardings on a site's runs: read, fit, test held out, report."""

from __future__ import annotations

import pandas as pd
from prefect import flow

from models.figures import Figure, FlowSummary
from models.sharding.config import CalibrateConfig
from models.sharding.landscapes import runs_of
from tasks.calibrate_site import (
    find_next_shot,
    fit_site_and_test,
    publish_site,
    read_runs,
    runs_file,
    scenario_rows,
)
from tasks.runner import task_runner
from tasks.shard import file_digest
from tasks.track import close_abandoned_run, show_table, tracked_run


@flow(
    name="calibrate-sharding",
    task_runner=task_runner(),
    on_crashed=[close_abandoned_run],
    on_cancellation=[close_abandoned_run],
)
def calibrate_sharding(config: CalibrateConfig = CalibrateConfig()) -> FlowSummary:  # noqa: B008
    """Fit the cost model to measured runs, and say what it is worth on runs left out.

    Name the same file in `runs` of plan-sharding to plan with it.

    Args:
        config: Which runs; nothing given: the shipped landscapes of a GPU cluster.

    Raises:
        DataError: The file is no table of runs, or too few of them ended.
    """
    with tracked_run("sharding", config) as run:
        scenarios = read_runs(config, run)
        file = runs_file(config)
        digest = file_digest(file)
        fit = fit_site_and_test(file, digest, config.most_chips)
        following = find_next_shot(file, digest, config.most_chips, config.next_for)
        files = publish_site(config, fit, following, run)
        show_table("scenarios", pd.DataFrame(scenario_rows(fit)), f"left out: {fit.split}")
        plain, ours = fit.mean(with_site=False), fit.mean(with_site=True)
        shot = following.shot
        word = f"; measure next: {shot.layout.text()} for {shot.scenario}" if shot else ""
        return FlowSummary(
            f"calibrated on {ours.runs:,} runs of {len(scenarios)} scenarios{word}",
            "the constants of the literature, on the same held-out runs",
            (
                Figure("median error of a step", ours.error, plain.error, "{:.0%}"),
                Figure("Spearman", ours.spearman, plain.spearman, "{:.3f}"),
                Figure("failures foreseen", ours.foreseen, plain.foreseen, "{:.1%}"),
                Figure("first pick over best", ours.picked, plain.picked, "{:.1%}"),
            ),
            run.url,
            run.prefect_url,
            files,
        )


def preview(config: CalibrateConfig) -> list[str]:
    """Say what would be fitted, without fitting (`loom run --dry-run`)."""
    scenarios = runs_of(config.data, config.most_chips)
    return [
        f"runs: {runs_file(config).name}, {sum(len(one.tokens_per_s) for one in scenarios):,}",
        f"ended: {sum(int(one.is_ok.sum()) for one in scenarios):,}",
        *(f"scenario: {one.name}, {len(one.tokens_per_s):,} runs" for one in scenarios),
    ]
