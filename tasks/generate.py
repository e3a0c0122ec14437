"""Write kernels: a session per operator, the compilers of all targets, package and page."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from functools import cache, partial
from pathlib import Path
from typing import Any

import pandas as pd
from prefect import get_run_logger, task
from prefect.artifacts import create_progress_artifact, update_progress_artifact
from prefect.cache_policies import NO_CACHE

from models.errors import ConfigError
from models.kernels.campaign import OperatorOptions, OperatorSummary, run_operator
from models.kernels.config import CampaignConfig
from models.kernels.coverage_page import page_of, render_page
from models.kernels.execute import Zygote
from models.kernels.ledger import Coverage, Ledger, write_json, write_parquet
from models.kernels.package import read_package, write_package
from models.kernels.prompts import PassingKernel
from models.kernels.propose import (
    Asker,
    CascadeProposer,
    LanguageModelProposer,
    ModelAsker,
    Proposer,
    ReplayProposer,
)
from models.kernels.propose.synthesizer import forked_synthesizer
from models.kernels.release import (
    CampaignPlace,
    campaign_place,
    curve,
    package_entries,
    passing_kernels,
)
from models.kernels.session.config import SessionConfig
from models.llm import language_model
from models.settings import get_settings
from tasks.agent_model import agent_model
from tasks.cache import source_digest
from tasks.track import TrackedRun, show_table


def kernels_home() -> Path:
    """Folder of all campaigns of this installation."""
    return get_settings().home / "kernels"


def open_campaign(config: CampaignConfig) -> CampaignPlace:
    """Return the folder of a campaign; the same config goes on in the same one."""
    return campaign_place(config, kernels_home(), source_digest("models.kernels"))


def proposer_of(
    config: CampaignConfig,
    zygote: Zygote,
    asker: Asker | None = None,
    passing: Callable[[], Iterable[PassingKernel]] = tuple,
) -> Proposer:
    """Build who writes the kernels; nothing is called yet.

    Args:
        config: Who writes.
        zygote: Warm parent in whose forks rules are applied.
        asker: Answers in the model's place.
        passing: Gives the modules that count until now, which a model may learn from.

    Raises:
        ConfigError: The config names no model, or no package, where one is needed.
    """
    if config.proposer == "synthesizer":
        return forked_synthesizer(zygote)
    if config.proposer == "replay":
        if config.package is None:
            raise ConfigError("proposer replay needs a package: name its folder in `package`")
        package = read_package(config.package)
        return ReplayProposer(package.candidate(op_id) for op_id in package.operators)
    if not config.llm:
        raise ConfigError(
            f"proposer {config.proposer} needs a model: name it in `llm`, such as "
            "llm=http://127.0.0.1:8000/v1#NAME, or take proposer=synthesizer"
        )
    asked = asker or ModelAsker(language_model(config.llm))
    model = LanguageModelProposer(asked, passing=passing)
    return model if config.proposer == "language_model" else (
        CascadeProposer(forked_synthesizer(zygote), model)
    )  # fmt: skip


@contextmanager
def _writer(
    op_id: str, config: CampaignConfig, place: CampaignPlace
) -> Iterator[Callable[[Zygote], Proposer]]:
    """Give what makes the proposer of one operator; an agent's conversations are closed after."""
    passing = cache(partial(passing_kernels, place, config))
    if config.asker == "model" or config.proposer in ("synthesizer", "replay") or not config.llm:
        yield partial(proposer_of, config, passing=passing)
        return
    store = place.folder / "conversations" / op_id
    with agent_model(config.llm, "kernel-writer", store) as agent:
        yield partial(proposer_of, config, asker=ModelAsker(agent), passing=passing)


def options_of(config: CampaignConfig, place: CampaignPlace) -> OperatorOptions:
    """Return what every operator is asked."""
    session = SessionConfig(
        sessions=config.sessions, calls=config.calls, off=frozenset(config.off), seed=config.seed,
        targets=config.targets,
    )  # fmt: skip
    return OperatorOptions(run=place.name, profile=config.profile, session=session,
                           seed=config.seed, most_per_dtype=config.most_per_type)  # fmt: skip


@task(cache_policy=NO_CACHE, task_run_name="{op_id}", tags=["kernel"], retries=1)
def generate_operator(op_id: str, config: CampaignConfig, place: CampaignPlace) -> OperatorSummary:
    """Write and judge one operator's kernels, or go on where a killed run stopped.

    The ledger is the cache: what it holds is not run again, by whatever worker.
    """
    with _writer(op_id, config, place) as make:
        summary = run_operator(op_id, options_of(config, place), place.ledger, make)
    get_run_logger().info("%s", in_a_line(summary))
    return summary


def in_a_line(summary: OperatorSummary) -> str:
    """Return what became of an operator: status, tests, proposals, CPU seconds, reason."""
    row = next((one for one in summary.rows if one.status != "missing"), None)
    tests = f"{row.passed}/{row.tests} tests" if row else "no tests"
    reason = (row.reason if row else summary.reason).split("\n")[0][:160]
    said = f"{summary.op_id}: {summary.status}, {tests}, {summary.calls} proposals, "
    return f"{said}{summary.cpu_s:.0f} CPU s" + (f"; {reason}" if reason else "")


@contextmanager
def campaign_progress(total: int) -> Iterator[Callable[[OperatorSummary], None]]:
    """Show progress as a bar in a terminal, and as an artifact of the flow run."""
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    artifact: Any = create_progress_artifact(
        progress=0.0, key="generate-kernels-progress", description="operators that are decided"
    )
    columns = (TextColumn("operators"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(),
               TextColumn("{task.description}"))  # fmt: skip
    with Progress(*columns, disable=not sys.stderr.isatty(), transient=True) as bar:
        line = bar.add_task("starting", total=total)
        told, done, counted = time.monotonic(), 0, 0

        def tell(summary: OperatorSummary) -> None:
            nonlocal told, done, counted
            done += 1
            counted += summary.status == "kernel"
            words = f"{counted} kernel-backed; last {summary.op_id}"
            bar.update(line, completed=done, description=words)
            if time.monotonic() - told > 10 or done == total:
                told = time.monotonic()
                get_run_logger().info("%d of %d operators: %s", done, total, words)
                update_progress_artifact(artifact, progress=100 * done / max(total, 1))

        yield tell


def record_operator(summary: OperatorSummary, run: TrackedRun, decided: int, counted: int) -> None:
    """Record an operator as a child run, and the campaign's curve so far."""
    row = summary.rows[0] if summary.rows else None
    params = {"op_id": summary.op_id, "family": row.family if row else None,
              "sha": summary.sha, "outcome": summary.outcome}  # fmt: skip
    with run.child(summary.op_id, params) as child:
        child.metrics({
            "tests/passed": row.passed if row else None, "tests/total": row.tests if row else None,
            "session/calls": summary.calls, "session/dialogs": summary.dialogs,
            "session/cpu_s": summary.cpu_s, "tests/cpu_s": row.cpu_s if row else None,
            "llm/prompt_tokens": summary.prompt_tokens,
            "llm/completion_tokens": summary.completion_tokens,
            "llm/cost_usd": summary.cost_usd,
        })  # fmt: skip
        child.tags({"status": summary.status, "reason": (row.reason if row else "")[:500]})
    run.metrics({"campaign/kernel_backed": counted}, step=decided)


@task(cache_policy=NO_CACHE)
def package_kernels(
    config: CampaignConfig, place: CampaignPlace, run: TrackedRun
) -> tuple[Coverage, dict[str, Path]]:
    """Recompute coverage from the ledger, write package and tables, and record them."""
    with Ledger(place.ledger) as ledger:
        coverage = ledger.coverage(
            config.operators(),
            "S",
            config.profile,
            run=place.name,
            most_per_dtype=config.most_per_type,
        )
        entries = package_entries(ledger, coverage.rows)
        manifest = write_package(
            place.package, entries, name=place.name, profile=config.profile, replace=True
        )
        view = page_of(
            ledger, place.folder / "traces" / place.name, operators=config.operators(),
            profile=config.profile, run=place.name,
            most_per_dtype=config.most_per_type,
        )  # fmt: skip
    files = {"coverage": place.folder / "coverage.json",
             "table": place.folder / "coverage.parquet", "report": place.page}  # fmt: skip
    place.page.write_text(render_page(view), encoding="utf-8")
    write_json(coverage, files["coverage"])
    write_parquet(coverage, files["table"])
    for file in files.values():
        run.artifact(file.name, file)
    run.artifact("manifest.json", place.package / "manifest.json")
    run.artifact("coverage.txt", coverage.text() + "\n")
    get_run_logger().info("%d modules in %s", len(manifest.operators), place.package)
    return coverage, {"package": place.package, **files}


def metrics_of(coverage: Coverage, summaries: list[OperatorSummary]) -> dict[str, float]:
    """Return the campaign's figures; `campaign/after_N` counts operators after N proposals."""
    head = coverage.headline
    reached = curve((one.status, one.calls) for one in summaries)
    return {
        "operators": head.operators, "kernel_backed": head.kernel,
        "metadata_only": head.metadata, "vacuous": head.vacuous, "failed": head.failed,
        "unproven": head.unproven, "missing": head.missing,
        "tests/total": head.tests, "tests/passed": head.tests_passed,
        "tests/skipped": head.tests_skipped,
        "session/calls": sum(one.calls for one in summaries),
        "session/cpu_s": sum(one.cpu_s for one in summaries),
        "llm/prompt_tokens": sum(one.prompt_tokens for one in summaries),
        "llm/completion_tokens": sum(one.completion_tokens for one in summaries),
        "llm/cost_usd": sum(one.cost_usd for one in summaries),
        **{f"campaign/after_{place + 1}": count for place, count in enumerate(reached)},
        **{f"family/{name}": one.kernel / one.operators
           for name, one in coverage.by_family.items()},
        **{f"rule/{name}": count for name, count in coverage.by_rule.items()},
    }  # fmt: skip


def show_coverage(coverage: Coverage) -> None:
    """Show the operators, those that do not count first, as a table of the flow run."""
    frame = pd.DataFrame(
        [
            {"operator": row.op_id, "status": row.status, "passed": row.passed,
             "tests": row.tests, "by": row.proposer, "rules": ", ".join(row.rules),
             "reason": row.reason}
            for row in sorted(coverage.rows, key=lambda row: (row.status == "kernel", row.op_id))
        ]
    )  # fmt: skip
    show_table("generate-kernels", frame.head(300), coverage.text().split("\n")[0])
