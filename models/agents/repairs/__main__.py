"""Run repair tasks: `python -m models.agents.repairs --plan all --json OUT`."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

from models.agents.repairs.plans import PLANS
from models.agents.repairs.report import NOTE, as_json, table
from models.agents.repairs.run import RepairOutcome, run_task
from models.agents.repairs.suite import RepairTask, load_suite
from models.errors import ConfigError, ProjectError, unknown_name


def main(arguments: Sequence[str] | None = None) -> int:
    """Run tasks from the command line; 0 when every plan came out as it must."""
    asked = _parser().parse_args(arguments)
    try:
        runs = _runs(asked)
        with ThreadPoolExecutor(asked.workers) as pool:
            outcomes = [*pool.map(lambda run: run(), runs)]
        text = json.dumps(as_json(outcomes), indent=2, ensure_ascii=False)
        if asked.json:
            asked.json.write_text(text + "\n", encoding="utf-8")
    except ProjectError as error:
        print(error, file=sys.stderr)
        return error.exit_code
    print(table(outcomes))
    return int(any(outcome.as_expected is False for outcome in outcomes))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m models.agents.repairs", description=NOTE)
    parser.add_argument("--plan", choices=[*PLANS, "all"], default="correct")
    parser.add_argument("--task", action="append", help="id of a task; several times for several")
    parser.add_argument("--data", type=Path, help="another suite of the same fields")
    parser.add_argument("--model", default="", help="address of a model that works instead")
    parser.add_argument("--record", type=Path, help="folder for recordings, one per task")
    parser.add_argument("--replay", type=Path, help="folder with recordings to answer from")
    parser.add_argument(
        "--isolation",
        choices=["sandbox", "local"],
        default="sandbox",
        help="local: commands run with all rights of the user",
    )
    parser.add_argument("--max-steps", type=int, default=40)
    parser.add_argument("--workers", type=int, default=1, help="tasks at a time")
    parser.add_argument("--json", type=Path, help="file for all outcomes")
    return parser


def _runs(asked: argparse.Namespace) -> list[Callable[[], RepairOutcome]]:
    if asked.workers < 1:
        raise ConfigError(f"--workers must be at least 1, got {asked.workers}")
    tasks = _chosen(load_suite(asked.data), asked.task)
    run = partial(run_task, isolation=asked.isolation, max_steps=asked.max_steps)
    if asked.replay is not None:
        recorded = [task for task in tasks if (asked.replay / f"{task.id}.jsonl").exists()]
        if not recorded:
            raise ConfigError(f"{asked.replay} has no recording of these tasks; see --record")
        return [partial(run, task, replay=asked.replay / f"{task.id}.jsonl") for task in recorded]
    plans = [*PLANS] if asked.plan == "all" and not asked.model else [asked.plan]
    if asked.record is not None:
        if len(plans) > 1:
            raise ConfigError("--record keeps one run of a task; choose one plan")
        asked.record.mkdir(parents=True, exist_ok=True)
        files = {task.id: asked.record / f"{task.id}.jsonl" for task in tasks}
        return [
            partial(run, task, plans[0], model=asked.model, record=files[task.id]) for task in tasks
        ]
    return [partial(run, task, plan, model=asked.model) for plan in plans for task in tasks]


def _chosen(tasks: Sequence[RepairTask], ids: Sequence[str] | None) -> Sequence[RepairTask]:
    known = {task.id: task for task in tasks}
    for asked in ids or ():
        if asked not in known:
            raise unknown_name("repair task", asked, known)
    return tasks if ids is None else [known[asked] for asked in ids]


if __name__ == "__main__":
    raise SystemExit(main())
