"""Put a package of kernels to suites that no proposer saw, one task per operator."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pandas as pd
from prefect import get_run_logger, task
from prefect.cache_policies import NO_CACHE

from models.kernels.config import EvaluationConfig
from models.kernels.evaluation import (
    Judged,
    SuiteResult,
    evaluate_operator,
    passing_all,
    shares,
)
from models.kernels.package import Package, read_package
from models.kernels.release import newest_package
from tasks.generate import kernels_home
from tasks.track import TrackedRun, show_table


def open_package(config: EvaluationConfig) -> Package:
    """Read the package that is judged, every hash verified.

    Raises:
        PackageDamagedError: A file is not what the manifest says.
    """
    return read_package(config.package or newest_package(kernels_home()))


def evaluation_folder(config: EvaluationConfig, package: Package) -> Path:
    """Return where an evaluation keeps its ledger; made if missing. The same one goes on there."""
    folder = config.output or package.folder.parent / "evaluations" / config.digest
    folder.mkdir(parents=True, exist_ok=True)
    return folder.absolute()


@task(cache_policy=NO_CACHE, task_run_name="{judged.candidate.op_id}", tags=["kernel"], retries=1)
def put_to_suites(judged: Judged, config: EvaluationConfig, ledger: Path) -> list[SuiteResult]:
    """Test a frozen module on every suite; see `evaluate_operator`."""
    results = evaluate_operator(judged, config, ledger, config.digest)
    said = ", ".join(f"{one.suite} {one.passed}/{one.total}" for one in results)
    failed = next((one.reason for one in results if one.status == "failed"), "")
    get_run_logger().info("%s: %s%s", judged.candidate.op_id, said, f"; {failed}" if failed else "")
    return results


def suite_metrics(results: Sequence[SuiteResult]) -> dict[str, float]:
    """Return the share of operators and of tests that pass, by suite and in all of them."""
    told: dict[str, float] = {"operators": len({one.op_id for one in results})}
    for suite, (good, tried, passed, total) in shares(results).items():
        told[f"{suite}/operators"] = tried
        told[f"{suite}/operators_passing"] = good
        told[f"{suite}/share"] = good / tried
        told[f"{suite}/tests"] = total
        told[f"{suite}/tests_passed"] = passed
    good, tried = passing_all(results, ("V1", "V2", "V3"))
    if tried:
        told["unseen/share"] = good / tried
        right, _ = passing_all(results, ("V1", "V2", "V3"), with_fp64=True)
        told["unseen/share_with_fp64"] = right / tried
    return told


@task(cache_policy=NO_CACHE)
def publish_evaluation(results: list[SuiteResult], folder: Path, run: TrackedRun) -> Path:
    """Write one line per operator and suite, and record it."""
    frame = pd.DataFrame([one.model_dump(mode="json") for one in results])
    frame["skipped"] = frame["skipped"].map(lambda one: sum(one.values()))
    file = folder / "evaluation.csv"
    frame.to_csv(file, index=False)
    run.artifact(file.name, file)
    run.metrics(suite_metrics(results))
    failed = frame[frame["status"] == "failed"]
    show_table("evaluate-package", failed.head(300), f"{len(failed):,} of {len(frame):,} failed")
    return file
