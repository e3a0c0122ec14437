"""Train the detector of sessions: fit, calibrate, hold against the shipped one, record."""

from __future__ import annotations

from prefect import flow

from models.detection.config import TrainFlowConfig
from models.detection.reasoning.detector import shipped
from models.detection.reasoning.train import TrainConfig
from models.figures import Figure, FlowSummary
from tasks.runner import task_runner
from tasks.track import close_abandoned_run, tracked_run
from tasks.train_detector import fit_detector, keep_detector, score_on_dev


@flow(
    name="train-detector",
    task_runner=task_runner(),
    on_crashed=[close_abandoned_run],
    on_cancellation=[close_abandoned_run],
)
def train_detector(config: TrainFlowConfig = TrainFlowConfig()) -> FlowSummary:  # noqa: B008
    """Train on training splits, calibrate on dev, and record file, card and figures.

    Name the file in `detector` of detect-attacks to judge by it.

    Args:
        config: What it learns from; nothing given: as the shipped detector did.
    """
    with tracked_run("detection", config) as run:
        trained = fit_detector(TrainConfig(**config.model_dump(exclude={"output"})))
        file = keep_detector(trained, config, run)
        figures = []
        if config.dev:
            ours = score_on_dev("trained", trained.detector, config.dev, run)
            before = score_on_dev("shipped", shipped(), config.dev, run)
            figures = [
                Figure("F1 on dev", ours.f1, before.f1, "{:.3f}"),
                Figure("false alarms on dev", ours.alarms, before.alarms, "{:,.0f}"),
            ]
        return FlowSummary(
            f"trained detector {trained.detector.digest}",
            f"the shipped detector, {shipped().digest}",
            (*figures, Figure("recall, held out", trained.held_out["recall"], None, "{:.3f}")),
            run.url,
            run.prefect_url,
            {"detector": file},
        )


def preview(config: TrainFlowConfig) -> list[str]:
    """Say what would be learned from, without training (`loom run --dry-run`)."""
    return [
        f"generated: {config.scenarios:,} sessions, {config.coding:,} of coding",
        f"recorded: {', '.join(config.recorded) or 'none'} (weight {config.recorded_weight:g})",
        f"thresholds: at most {config.false_alarms:.1%} alarms, recall of the first tier "
        f"{config.recall:.1%}",
        f"dev: {', '.join(config.dev) or 'none'}",
        f"output: {config.output or 'below LOOM_HOME'}",
    ]
