"""What `work-together` writes: the prompts it takes, and the page about all stages."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import islice
from pathlib import Path

import pandas as pd
from prefect import task
from prefect.cache_policies import NO_CACHE

from models.errors import ServiceError
from models.together.config import Answers
from models.together.page import together_page
from models.together.stages import Stage, services_of
from tasks.track import TrackedRun, show_table


class StageFailedError(ServiceError):
    """A system failed; the others worked."""

    @classmethod
    def of(cls, failed: Sequence[Stage], page: Path) -> StageFailedError:
        """Say which, why, and where the rest is told."""
        told = [f"  {stage.room} ({stage.flow}): {stage.failure}" for stage in failed]
        return cls("\n".join([f"{len(failed)} stage(s) failed; see {page}:", *told]))


@task(cache_policy=NO_CACHE)
def first_prompts(data: Path, most: int, folder: Path) -> Path:
    """Copy the first prompts of a file; returns the copy."""
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / "prompts.jsonl"
    with data.open(encoding="utf-8") as lines:
        file.write_text("".join(islice(lines, most)), encoding="utf-8")
    return file


@task(cache_policy=NO_CACHE)
def publish_together(
    stages: Sequence[Stage], answers: Answers, folder: Path, run: TrackedRun
) -> Path:
    """Write the page, and keep it with the run; returns its place."""
    who = "shipped scripts, which think nothing" if answers.is_played else answers.agent
    folder.mkdir(parents=True, exist_ok=True)
    page = folder / "report.html"
    page.write_text(together_page(stages, f"Where a model is asked: {who}."), encoding="utf-8")
    run.artifact("report.html", page)
    services = services_of(list(stages))
    run.metrics(
        {
            "stages": float(len(stages)),
            "stages/failed": float(sum(stage.summary is None for stage in stages)),
            "services/used": float(sum(one.count > 0 for one in services)),
            **{f"took_s/{stage.room}": stage.took_s for stage in stages},
        }
    )
    run.tags(
        {
            f"stage.{stage.flow.replace(', ', '.').replace(' ', '-')}": stage.summary.mlflow_url
            for stage in stages
            if stage.summary and stage.summary.mlflow_url
        }
    )
    rows = [(one.by, one.to, one.what, one.count) for one in services]
    frame = pd.DataFrame(rows, columns=["by", "to", "what", "times"])
    show_table("services", frame, "who served whom")
    return page
