"""Calibrate the cost model on a site's runs, and measure what that is worth."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

from prefect import get_run_logger, task
from prefect.cache_policies import NO_CACHE

from models.settings import get_settings
from models.sharding.config import CalibrateConfig
from models.sharding.landscapes import FOLDER, Scenario, runs_of
from models.sharding.plan_answer import made
from models.sharding.report.site_page import render_site
from models.sharding.site_fit import SiteFit, fit_and_test
from models.sharding.site_next import SiteNext, next_shot
from tasks.cache import ByContent
from tasks.shard import file_digest
from tasks.track import TrackedRun


def runs_file(config: CalibrateConfig) -> Path:
    """Return the file of measured runs."""
    return config.data or FOLDER / "measured_landscapes.csv"


@task(cache_policy=NO_CACHE)
def read_runs(config: CalibrateConfig, run: TrackedRun) -> list[Scenario]:
    """Read measured runs, checked against their contract; see `runs_of`."""
    file = runs_file(config)
    scenarios = runs_of(config.data, config.most_chips)
    run.dataset(file.name, file_digest(file), file)
    rows = sum(len(one.tokens_per_s) for one in scenarios)
    ran = sum(int(one.is_ok.sum()) for one in scenarios)
    run.metrics({"runs": rows, "runs/ok": ran, "scenarios": len(scenarios)})
    get_run_logger().info("%d runs, %d ended, in %d scenarios", rows, ran, len(scenarios))
    return scenarios


@task(cache_policy=ByContent(room="models.sharding"), persist_result=True)
def fit_site_and_test(file: Path, digest: str, most_chips: int | None) -> SiteFit:
    """Calibrate, leaving parts out in turn; the same file and code come from the cache.

    Args:
        file: Of measured runs.
        digest: SHA-256 of its bytes.
        most_chips: Runs on more are left out.
    """
    return fit_and_test(runs_of(file, most_chips), get_run_logger().info)


@task(cache_policy=ByContent(room="models.sharding"), persist_result=True)
def find_next_shot(file: Path, digest: str, most_chips: int | None, wanted: str) -> SiteNext:
    """Say which layout to measure next; see `next_shot`."""
    return next_shot(runs_of(file, most_chips), wanted)


def scenario_rows(fit: SiteFit) -> list[dict[str, Any]]:
    """Return per scenario what predictions of held-out runs are worth."""
    rows = []
    for held in fit.held_out:
        plain = fit.quality(held.scenario, with_site=False)
        ours = fit.quality(held.scenario, with_site=True)
        rows.append({
            "scenario": held.scenario, "runs": ours.runs, "ended": int(held.ran.sum()),
            "error": ours.error, "error, literature": plain.error,
            "Spearman": ours.spearman, "Spearman, literature": plain.spearman,
            "foreseen": ours.foreseen, "first pick / best": ours.picked,
        })  # fmt: skip
    return rows


@task(cache_policy=NO_CACHE)
def publish_site(
    config: CalibrateConfig, fit: SiteFit, following: SiteNext, run: TrackedRun
) -> dict[str, Path]:
    """Write constants and report, and record them."""
    digest = file_digest(runs_file(config))
    name = digest[:12] if config.most_chips is None else f"{digest[:12]}-{config.most_chips}"
    folder = made(config.output or get_settings().home / "sharding" / "sites" / name)
    rows = scenario_rows(fit)
    constants, report = folder / "constants.json", folder / "report.html"
    constants.write_text(json.dumps(asdict(fit.site.constants), indent=1) + "\n")
    report.write_text(render_site(fit, rows, following))
    for file in (constants, report):
        run.artifact(file.name, file)
    for name, with_site in (("literature", False), ("site", True)):
        found = fit.mean(with_site)
        run.metrics({
            f"held_out/{name}/error": found.error, f"held_out/{name}/spearman": found.spearman,
            f"held_out/{name}/foreseen": found.foreseen, f"held_out/{name}/picked": found.picked,
        })  # fmt: skip
    run.metrics({f"constants/{k}": float(v) for k, v in asdict(fit.site.constants).items()})
    return {"constants": constants, "report": report}
