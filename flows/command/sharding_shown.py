"""What `loom sharding` does and prints."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, cast, get_args

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from flows.command.output import writing_to
from models.config import load_config
from models.errors import ConfigError, unknown_name
from models.sharding.export.base import Exported
from models.sharding.export.registry import export, read_layout
from models.sharding.job import Job
from models.sharding.judge import judge
from models.sharding.layout import Layout
from models.sharding.propose import Interval, ShardingPlan, propose
from models.sharding.question import ShardingQuestion
from models.sharding.ranking import Rank, prior_of
from models.sharding.server.answers import job_text, judgement_json, plain, plan_json
from models.sharding.specs import load_chips, load_models
from models.sharding.words import parse_layout

THERE_IS_NONE = 1
_OPTIONS = {
    "model": "--model", "slice": "--slice", "seq_len": "--seq-len",
    "global_batch": "--global-batch", "stage": "--stage",
}  # fmt: skip


def ask(
    model: str, slice_: str, seq_len: int, global_batch: int, stage: str, others: Sequence[str]
) -> Job:
    """Return the job that the options describe.

    Raises:
        ConfigError: One of them cannot be used; what could is named.
    """
    keys = {key.partition("=")[0].strip() for key in others}
    if twice := keys & set(_OPTIONS):
        raise ConfigError(f"--set {twice.pop()}: this key has an option of its own; use that")
    given = {"model": model, "slice": slice_, "seq_len": seq_len,
             "global_batch": global_batch, "stage": stage}  # fmt: skip
    # As JSON, which YAML reads: a name with a colon or a # stays a text.
    overrides = [*(f"{key}={json.dumps(value)}" for key, value in given.items()), *others]
    return load_config(ShardingQuestion, overrides=overrides, options=_OPTIONS).job()


def layout_of(
    job: Job, words: str | None, file: Path | None, may_lack: bool = False
) -> tuple[Layout | None, tuple[str, ...]]:
    """Return the layout that is given in words or as a file, and what there is to note.

    Raises:
        ConfigError: Both are given, or none where one must be, or it is no layout.
    """
    if words is not None and file is not None:
        raise ConfigError("give the layout by --layout or by --file, not by both")
    if words is not None:
        return parse_layout(words), ()
    if file is not None:
        found = read_layout(sys.stdin.read() if str(file) == "-" else file, job)
        return found.layout, (f"read as {found.target}: {found.layout.text()}", *found.notes)
    if may_lack:
        return None, ()
    raise ConfigError("give a layout: --layout 'fsdp=64 tensor=4 micro=2 full', or --file FILE")


def show_plan(job: Job, count: int, rank: str, as_json: bool) -> int:
    """Print proposals, or why there are none; returns the exit code.

    Raises:
        UnknownNameError: There is no such rank.
    """
    if rank not in get_args(Rank):
        raise unknown_name("rank", rank, list(get_args(Rank)))
    plan = propose(job, count=count, prior=prior_of(cast(Rank, rank)))
    if as_json:
        _print_json({"job": job_text(job), **plan_json(plan)})
    else:
        _print_plan(job, plan)
    return 0 if plan.proposals else THERE_IS_NONE


def show_judgement(job: Job, layout: Layout | None, notes: Sequence[str], as_json: bool) -> int:
    """Print what is known of a layout; returns the exit code."""
    assert layout is not None
    judged = judge(job, layout, plan=propose(job, count=1, prior=prior_of("experts")))
    if as_json:
        _print_json({"job": job_text(job), **judgement_json(judged), "notes": list(notes)})
        return 0 if judged.fit in ("fits", "tight") else THERE_IS_NONE
    console = _console()
    _say(console, f"{job_text(job)}\n{layout.text()}: {judged.fit}")
    if judged.memory_bytes is not None and judged.step_s is not None:
        share = judged.memory_bytes.high / judged.capacity_bytes
        _say(
            console,
            f"memory {_interval(judged.memory_bytes, 1e9)} GB of "
            f"{judged.capacity_bytes / 1e9:.4g} GB ({share:.0%} at P90)",
        )
        console.print(_bars("GB", judged.memory_parts, 1e9))
        against = f", {judged.times_best:.2f} x the first proposal" if judged.times_best else ""
        _say(console, f"step {_interval(judged.step_s, 1)} s{against}")
        console.print(_bars("s", judged.terms_s, 1.0))
    for line in (*judged.broken, *judged.warnings, *notes):
        _say(console, f"- {line}")
    if judged.best is not None and judged.best.layout != layout:
        _say(console, f"the first proposal for this job: {judged.best.layout.text()}")
    return 0 if judged.fit in ("fits", "tight") else THERE_IS_NONE


def show_export(
    job: Job, layout: Layout | None, notes: Sequence[str], to: str, out: Path | None, as_json: bool
) -> int:
    """Write or print the files of a target, or why it refuses; returns the exit code."""
    if layout is None:
        plan = propose(job, count=1, prior=prior_of("experts"))
        if not plan.proposals:
            return show_plan(job, 1, "experts", as_json)
        layout = plan.proposals[0].layout
    answer = export(to, job, layout)
    if out is not None and isinstance(answer, Exported):
        with writing_to(out, "--out"):
            out.mkdir(parents=True, exist_ok=True)
            for name, text in answer.files.items():
                (out / name).write_text(text, encoding="utf-8")
    if as_json:
        _print_json({"job": job_text(job), "layout": plain(layout), **plain(answer)})
        return 0 if isinstance(answer, Exported) else THERE_IS_NONE
    told = Console(stderr=True, highlight=False)
    if not isinstance(answer, Exported):
        for reason in answer.reasons:
            _say(told, f"{to}: {reason}")
        if answer.nearest is not None:
            _say(told, f"nearest that {to} can express: {answer.nearest.text()}")
        return THERE_IS_NONE
    for name, text in answer.files.items():
        if out is None:
            sys.stdout.write(text)
        else:
            _say(told, f"written: {out / name}")
    for line in (f"layout: {layout.text()}", *notes, *answer.notes):
        _say(told, f"- {line}")
    if answer.command is not None:
        _say(told, f"start: {answer.command}")
    return 0


def show_chips(as_json: bool) -> None:
    """Print the chips."""
    chips = load_chips()
    if as_json:
        _print_json({name: chip.model_dump(mode="json") for name, chip in chips.items()})
        return
    table = _table("chip", "kind", "bf16 TFLOP/s", "memory GB", "GB/s", "link GB/s", "joined by")
    for name, chip in sorted(chips.items(), key=lambda item: (item[1].kind, item[0])):
        joined = f"domains of {chip.domain}"
        if chip.kind == "tpu":
            joined = f"torus up to {'x'.join(map(str, chip.pod))}"
        table.add_row(
            name, chip.kind, f"{chip.flops['bf16'] / 1e12:.4g}", f"{chip.hbm_bytes / 1e9:.4g}",
            f"{chip.hbm_bytes_per_s / 1e9:.4g}", f"{chip.link_bytes_per_s / 1e9:.4g}", joined,
        )  # fmt: skip
    _console().print(table)


def show_models(as_json: bool) -> None:
    """Print the models."""
    specs = {spec.name: spec for spec in load_models().values()}
    if as_json:
        _print_json({name: spec.model_dump() for name, spec in specs.items()})
        return
    table = _table("model", "parameters", "active", "layers", "width", "heads", "kv", "experts")
    for name, spec in specs.items():
        experts = f"{spec.experts_per_token} of {spec.experts}" if spec.experts else "-"
        table.add_row(
            name, f"{spec.params / 1e9:.4g} B", f"{spec.active_params / 1e9:.4g} B",
            str(spec.layers), str(spec.hidden), str(spec.heads), str(spec.kv_heads), experts,
        )  # fmt: skip
    _console().print(table)


def _print_plan(job: Job, plan: ShardingPlan) -> None:
    console = _console()
    _say(console, job_text(job))
    out = ", ".join(f"{count} {why}" for why, count in plan.rejected.items() if count)
    _say(console, f"{plan.candidates} legal layouts{', of which ' + out if out else ''}")
    if plan.infeasible is not None:
        _say(console, f"{plan.infeasible.reason}: {plan.infeasible.detail}")
        return
    is_served = plan.proposals[0].tpot_s is not None
    whole = "batch s (P10-P90)" if is_served else "step s (P10-P90)"
    latencies = ("first token s", "per token ms") if is_served else ()
    table = _table("#", "layout", whole, *latencies, "memory GB (P10-P90)", "of capacity")
    capacity = job.place.chip.hbm_bytes
    for one in plan.proposals:
        share = one.memory_bytes.high / capacity
        table.add_row(
            str(one.rank), one.layout.text(), _interval(one.step_s, 1),
            *([f"{one.ttft_s:.3g}"] if one.ttft_s is not None else []),
            *([f"{1e3 * one.tpot_s:.3g}"] if one.tpot_s is not None else []),
            _interval(one.memory_bytes, 1e9), f"{_bar(share)} {share:.0%}",
        )  # fmt: skip
    console.print(table)
    for one in plan.proposals:
        for line in one.justification:
            _say(console, f"#{one.rank} {line}")
        for line in one.risks:
            _say(console, f"#{one.rank} risk: {line}")


def _interval(value: Interval, unit: float) -> str:
    low, middle, high = value.low / unit, value.middle / unit, value.high / unit
    return f"{middle:.3g} ({low:.3g}-{high:.3g})"


def _bars(unit: str, parts: Mapping[str, float], scale: float) -> Table:
    table = _table("", unit, "")
    total = sum(parts.values())
    for name, value in parts.items():
        if value > 0:
            table.add_row(name, f"{value / scale:.3g}", _bar(value / total))
    return table


def _bar(share: float, width: int = 12) -> str:
    filled = min(max(round(share * width), 0), width)
    return "█" * filled + "·" * (width - filled)


def _table(*heads: str) -> Table:
    table = Table(box=SIMPLE_HEAD, pad_edge=False)
    for head in heads:
        table.add_column(head, overflow="fold")
    return table


def _console() -> Console:
    return Console(highlight=False)


def _say(console: Console, text: str) -> None:
    """Print a line as it is: no markup, and not cut at the width of a terminal."""
    console.print(text, markup=False, soft_wrap=True)


def _print_json(value: Any) -> None:
    print(json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False))
