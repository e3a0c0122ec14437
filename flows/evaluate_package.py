"""Judge a package of kernels on suites that its proposer never saw; nothing is written anew."""

from __future__ import annotations

from prefect import flow

from models.errors import DatasetMissingError
from models.figures import Figure, FlowSummary
from models.kernels.config import EvaluationConfig
from models.kernels.evaluation import SuiteResult, judged_of, passing_all, shares
from tasks.evaluate_kernels import (
    evaluation_folder,
    open_package,
    publish_evaluation,
    put_to_suites,
)
from tasks.runner import task_runner
from tasks.track import close_abandoned_run, tracked_run


@flow(
    name="evaluate-package",
    task_runner=task_runner(),
    on_crashed=[close_abandoned_run],
    on_cancellation=[close_abandoned_run],
)
def evaluate_package(config: EvaluationConfig = EvaluationConfig()) -> FlowSummary:  # noqa: B008
    """Put every module of a package to other seeds, layouts, shapes, types and forms.

    Args:
        config: Package, suites, seed; nothing given: the newest campaign's package.

    Raises:
        DatasetMissingError: There is no package yet.
        PackageDamagedError: A file is not what the manifest says.
    """
    package = open_package(config)
    work = judged_of(package, config)
    folder = evaluation_folder(config, package)
    with tracked_run("kernels", config, tags={"package": str(package.folder)}) as run:
        ledger = folder / "ledger.sqlite"
        asked = [put_to_suites.submit(one, config, ledger) for one in work]
        results: list[SuiteResult] = [one for future in asked for one in future.result()]
        file = publish_evaluation(results, folder, run)
        suites = ("V1", "V2", "V3", "data")
        good, tried = passing_all(results, suites)
        right, _ = passing_all(results, suites, with_fp64=True)
        return FlowSummary(
            f"put {len(work):,} modules to {', '.join(shares(results)) or 'no suite'}",
            "every module passes its public samples",
            (
                Figure("operators that pass all of them", good, len(work), "{:,.0f}"),
                Figure("the same, float64 where ATen's float32 misses it", right, None, "{:,.0f}"),
                Figure("operators with samples", tried, None, "{:,.0f}"),
                *(
                    Figure(f"{suite}: tests passed", passed, total, "{:,.0f}")
                    for suite, (_, _, passed, total) in shares(results).items()
                ),
            ),
            run.url,
            run.prefect_url,
            {"evaluation": file},
        )


def preview(config: EvaluationConfig) -> list[str]:
    """Say what would be judged, without judging (`loom run --dry-run`)."""
    try:
        package = open_package(config)
    except DatasetMissingError as error:
        return [f"package: {error}"]
    work = judged_of(package, config)
    own = sum(len(one.records) for one in work)
    return [
        f"package: {package.folder}, {len(package):,} modules, for {package.manifest.profile}",
        f"operators: {len(work):,}",
        f"suites: {f'{own:,} samples of {config.data}' if own else ', '.join(config.suites)}; "
        f"seed {config.seed}",
    ]
