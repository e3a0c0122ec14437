"""Refine kernels on what models ask for, and train the models on nothing else."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from prefect import get_run_logger, task
from prefect.cache_policies import NO_CACHE

from models.kernels.candidate import KernelCandidate
from models.kernels.config import RefineConfig
from models.kernels.device import (
    RefineReport,
    TrainReport,
    capture_model,
    refine_kernels,
    train_model,
)
from models.kernels.device.workloads import find_workload
from models.kernels.harness import Harness
from models.kernels.package import read_package
from models.kernels.workshop import workshop
from tasks.generate import kernels_home
from tasks.track import TrackedRun


@dataclass(frozen=True)
class Trained:
    """One model: the modules that it needs, and its losses on them."""

    refined: RefineReport
    report: TrainReport


def refine_folder(config: RefineConfig) -> Path:
    """Return where modules and reports of a refinement go; made if missing."""
    folder = config.output or kernels_home() / "refined" / config.digest
    folder.mkdir(parents=True, exist_ok=True)
    return folder.absolute()


def modules_of(config: RefineConfig) -> dict[str, KernelCandidate]:
    """Return the modules of the package that is refined; none without one."""
    if config.package is None:
        return {}
    package = read_package(config.package)
    return {op_id: package.candidate(op_id) for op_id in package.operators}


@task(cache_policy=NO_CACHE, task_run_name="{model}", tags=["kernel"], retries=1)
def refine_model(model: str, config: RefineConfig) -> Trained:
    """Capture a model's training step, write and test the kernels it needs, train on them."""
    capture = capture_model(find_workload(model), config.seed)
    with workshop() as shop:
        refined = refine_kernels(capture, Harness(shop.zygote), package=modules_of(config))
    # Other weights and batches than those the kernels were written from.
    report = train_model(model, refined.candidates, config.steps, config.seed + 1, capture)
    get_run_logger().info(
        "%s: %d of %d operators, %d of %d steps, largest difference of a loss %s (%g allowed)",
        *(model, len(report.covered), len(report.needed), len(report.losses), report.steps),
        *(report.largest_difference, report.tolerance),
    )
    return Trained(refined, report)


@task(cache_policy=NO_CACHE)
def publish_models(found: Sequence[Trained], folder: Path, run: TrackedRun) -> dict[str, Path]:
    """Write modules and losses, and record them."""
    files = {}
    for one in found:
        place = folder / one.report.model
        place.mkdir(exist_ok=True)
        for overload, candidate in one.refined.candidates.items():
            (place / f"{overload}.py").write_text(candidate.source, encoding="utf-8")
        files[one.report.model] = place / "train.json"
        files[one.report.model].write_text(one.report.model_dump_json(indent=1), encoding="utf-8")
        run.artifact(f"{one.report.model}/train.json", files[one.report.model])
        run.artifact(f"{one.report.model}/refined.json", one.refined)
        for step, (ours, theirs) in enumerate(
            zip(one.report.losses, one.report.cpu_losses, strict=False)
        ):
            run.metrics({f"{one.report.model}/loss": ours, f"{one.report.model}/loss_cpu": theirs},
                        step=step)  # fmt: skip
        run.metrics(model_metrics(one))
    return files


def model_metrics(one: Trained) -> dict[str, float | None]:
    """Return the figures of a model: coverage before and after refinement, losses, cost."""
    name, report = one.report.model, one.report
    return {
        f"{name}/operators": len(report.needed),
        f"{name}/covered": report.coverage,
        f"{name}/covered_unrefined": one.refined.unrefined_coverage,
        f"{name}/largest_difference": report.largest_difference,
        f"{name}/agrees": float(report.agrees),
        f"{name}/launches": report.launches,
        f"{name}/cpu_s": report.cpu_s,
    }
