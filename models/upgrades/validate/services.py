"""Check what each service allows: hosts down at a time, domains per night and at a time."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np
import pandas as pd

from models.upgrades.config import DAY_S
from models.upgrades.fleet.base import Fleet
from models.upgrades.validate.base import Violation, check_concurrency


def check_services(placed: pd.DataFrame, fleet: Fleet) -> Iterator[Violation]:
    """Check every service that has tasks in the plan."""
    n_hosts = fleet.hosts["service"].value_counts().to_dict()
    columns = ["max_down_share", "max_down_hosts", "max_domains_per_window", "one_domain_at_a_time"]
    rules = {
        row[0]: row[1:] for row in fleet.services[["service", *columns]].itertuples(index=False)
    }
    for key, group in placed.groupby("service"):
        service = str(key)
        if service not in rules:
            continue  # told by the check against the backlog
        share, most, domains, is_alone = rules[service]
        by_share = max(1, math.floor(round(share * n_hosts.get(service, 0), 9)))
        where = f"{service} over all domains"
        yield from check_concurrency(group, by_share, "service share", where)
        if not np.isnan(most):
            yield from check_concurrency(group, int(most), "service cap", where)
        yield from _check_nights(group, domains, service)
        if is_alone:
            yield from _check_alone(group, service)


def _check_nights(group: pd.DataFrame, most: float, service: str) -> Iterator[Violation]:
    """Windows that open between two noons count as one night."""
    if np.isnan(most):
        return
    noons = np.floor((group["window_open_s"] + DAY_S / 2) / DAY_S)
    for _, night in group.groupby(noons):
        domains = sorted(set(night["domain"]))
        if len(domains) > most:
            detail = (
                f"{service} is touched in {len(domains)} domains in one night, at most {most:g}: "
                f"{', '.join(domains)}"
            )
            yield Violation("domains per window", tuple(night["task"]), detail)


def _check_alone(group: pd.DataFrame, service: str) -> Iterator[Violation]:
    """In order of the starts, nothing starts in one domain before all ended in the others."""
    last_end: dict[str, tuple[float, str]] = {}
    columns = ["domain", "task", "start_s", "end_s"]
    for domain, task, start_s, end_s in group.sort_values("start_s", kind="stable")[
        columns
    ].itertuples(index=False, name=None):
        for other, (busy_until_s, first) in last_end.items():
            if other != domain and busy_until_s > start_s:
                detail = f"{service} is touched in {other} and {domain} at once, at {start_s}"
                yield Violation("one domain at a time", (first, task), detail)
        if end_s > last_end.get(domain, (-math.inf, ""))[0]:
            last_end[domain] = (end_s, task)
