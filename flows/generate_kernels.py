"""Write Triton kernels for ATen operators (TritorX): propose, lint, compile, test, audit."""

from __future__ import annotations

import time

from prefect import flow
from prefect.futures import as_completed

from models.figures import Figure, FlowSummary
from models.kernels.config import CampaignConfig
from models.kernels.execute import Zygote
from models.kernels.profiles import find_profile
from models.kernels.release import COUNTED
from tasks.generate import (
    campaign_progress,
    generate_operator,
    metrics_of,
    open_campaign,
    package_kernels,
    proposer_of,
    record_operator,
    show_coverage,
)
from tasks.runner import task_runner
from tasks.track import close_abandoned_run, tracked_run


@flow(
    name="generate-kernels",
    task_runner=task_runner(),
    on_crashed=[close_abandoned_run],
    on_cancellation=[close_abandoned_run],
)
def generate_kernels(config: CampaignConfig = CampaignConfig()) -> FlowSummary:  # noqa: B008
    """Write kernels for a set of operators and keep those that nothing can be said against.

    Args:
        config: Operators, proposer, budgets; nothing given: 60 operators by rules.

    Raises:
        ConfigError: The proposer lacks a model or package.
        UnknownNameError: No such operators, profile or target.
    """
    specs = config.operators()
    for name in (config.profile, *config.targets):
        find_profile(name)
    proposer_of(config, Zygote())  # what it lacks is told before anything runs
    place = open_campaign(config)
    with tracked_run("kernels", config) as run, campaign_progress(len(specs)) as tell:
        began = time.monotonic()
        asked = [generate_operator.submit(spec.op_id, config, place) for spec in specs]
        summaries = []
        for future in as_completed(asked):
            summaries.append(future.result())
            counted = sum(one.status == "kernel" for one in summaries)
            record_operator(summaries[-1], run, len(summaries), counted)
            tell(summaries[-1])
        coverage, files = package_kernels(config, place, run)
        run.metrics({"wall_s": time.monotonic() - began, **metrics_of(coverage, summaries)})
        show_coverage(coverage)
        head = coverage.headline
        first = sum(one.status in COUNTED and one.calls == 1 for one in summaries)
        return FlowSummary(
            f"wrote kernels for {head.kernel:,} of {head.operators:,} operators",
            "nothing written",
            (
                Figure("kernel-backed", head.kernel, 0.0, "{:,.0f}"),
                Figure("metadata only", head.metadata, None, "{:,.0f}"),
                Figure("tests passed", head.tests_passed, 0.0, "{:,.0f}"),
                Figure("tests in all", head.tests, None, "{:,.0f}"),
                Figure("right at the first proposal", first, None, "{:,.0f}"),
            ),
            run.url,
            run.prefect_url,
            files,
        )


def preview(config: CampaignConfig) -> list[str]:
    """Say what would be written, without writing (`loom run --dry-run`)."""
    specs = config.operators()
    for name in (config.profile, *config.targets):
        find_profile(name)
    proposer = proposer_of(config, Zygote())
    return [
        f"operators: {len(specs):,}, {sum(spec.tests for spec in specs):,} tests"
        + (f", at most {config.most_per_type} per type" if config.most_per_type else ""),
        f"written by: {proposer.name}, for {config.profile}",
        f"budget: {config.sessions} dialogs of {config.calls} proposals per operator",
        f"compiled in the loop for: {', '.join(config.targets) or 'nothing'}",
        f"left out: {', '.join(config.off) or 'nothing'}",
        f"folder: {open_campaign(config).folder}",
    ]
