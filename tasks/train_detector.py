"""Train a detector of sessions and hold it against the shipped one."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from prefect import get_run_logger, task
from prefect.cache_policies import NO_CACHE

from models.detection.config import TrainFlowConfig
from models.detection.evaluation.labelled import read_labelled
from models.detection.evaluation.score import Score, score
from models.detection.reasoning.detector import Detector
from models.detection.reasoning.train import FOLDER, TrainConfig, train
from models.settings import get_settings
from tasks.cache import ByContent
from tasks.track import TrackedRun


class Trained(NamedTuple):
    """What a training gave.

    Attributes:
        detector: Ready to judge.
        held_out: Figures on sessions that were held out.
    """

    detector: Detector
    held_out: dict[str, float]


@task(cache_policy=ByContent(room="models.detection"), persist_result=True)
def fit_detector(config: TrainConfig) -> Trained:
    """Train; the same config and code give the same file, which is then taken from the cache."""
    return Trained(*train(config, get_run_logger().info))


@task(cache_policy=NO_CACHE)
def keep_detector(trained: Trained, config: TrainFlowConfig, run: TrackedRun) -> Path:
    """Write the file and its card, and record both."""
    detector = trained.detector
    folder = get_settings().home / "detection" / "detectors"
    file = config.output or folder / f"{detector.digest}.json"
    detector.save(file)
    card = _card(trained, file.name)
    run.artifact("detector/detector.json", file)
    run.artifact("detector/README.md", card)
    run.tags({"detector.digest": detector.digest})
    run.metrics({f"held_out/{name}": value for name, value in trained.held_out.items()})
    return file


@task(cache_policy=NO_CACHE, task_run_name="score-{name}")
def score_on_dev(name: str, detector: Detector, files: tuple[str, ...], run: TrackedRun) -> Score:
    """Score a detector on the dev files, which none is trained on."""
    rows = [row for file in files for row in read_labelled(FOLDER / file)]
    found = score(name, "dev", lambda session: detector.examine(session).is_alert, rows)
    run.metrics(
        {
            f"dev/{name}/f1": found.f1, f"dev/{name}/recall": found.recall,
            f"dev/{name}/false_alarms": float(found.alarms),
        }
    )  # fmt: skip
    return found


def _card(trained: Trained, name: str) -> str:
    rows = [f"| {key} | {value:.4g} |" for key, value in trained.held_out.items()]
    origin = [f"| {key} | {value} |" for key, value in trained.detector.origin.items()]
    return "\n".join(
        [
            f"# Detector {trained.detector.digest}", "", f"File `{name}`.", "",
            "| held out | |", "|---|---|", *rows, "",
            "| trained with | |", "|---|---|", *origin, "",
        ]
    )  # fmt: skip
