"""A `prefect.yaml` whose schedules are minutes apart: months of scheduled life in hours."""

from __future__ import annotations

from datetime import datetime, timedelta

import yaml


def hurried(text: str, every_s: int, now: datetime) -> str:
    """Return deployments whose active schedules all run every so many seconds.

    Their first times are spread over the interval in the order of the file, so that what one makes
    is there when the next one looks for it.

    Args:
        text: A `prefect.yaml`.
        every_s: Seconds between two runs of a deployment.
        now: When the first one may begin.
    """
    whole = yaml.safe_load(text)
    hasty = [
        schedule
        for deployment in whole["deployments"]
        for schedule in deployment.get("schedules", ())
        if schedule.get("active", True)
    ]
    for place, schedule in enumerate(hasty):
        schedule.pop("cron", None)
        first = now + timedelta(seconds=every_s * place / len(hasty))
        schedule["interval"], schedule["anchor_date"] = every_s, first.isoformat()
    return str(yaml.safe_dump(whole, sort_keys=False))
