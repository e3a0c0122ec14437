"""Plan every model on every slice: one task per question, compiles shared, one table."""

from __future__ import annotations

from prefect import flow

from models.errors import ConfigError
from models.figures import Figure, FlowSummary
from models.sharding.asking import named_model
from models.sharding.config import SweepConfig
from models.sharding.sweep import metrics_of
from tasks.runner import task_runner
from tasks.sweep import ask_for_layouts, plan_question, publish_sweep
from tasks.track import close_abandoned_run, show_table, tracked_run


@flow(
    name="sweep-sharding",
    task_runner=task_runner(),
    on_crashed=[close_abandoned_run],
    on_cancellation=[close_abandoned_run],
)
def sweep_sharding(config: SweepConfig = SweepConfig()) -> FlowSummary:  # noqa: B008
    """Find the best layout of each model on each slice; run again, only new questions are asked.

    Args:
        config: Models, slices, lengths, batches; nothing given: two Llamas on four slices.

    Raises:
        ConfigError: There is no question, or the language model's address is none.
    """
    questions = config.questions()
    if not questions:
        raise ConfigError("a sweep of no questions; name models, slices, lengths and batches")
    asks_model = config.proposer == "language_model"
    if asks_model:
        named_model(config)  # an address that is none is told before anything is computed
    with tracked_run("sharding", config) as run:
        planned = ask_for_layouts(config, run) if asks_model else [None] * len(questions)
        asked = [
            plan_question.submit(one, config.rank, config.verify, config.compile_s, said)
            for one, said in zip(questions, planned, strict=True)
        ]
        rows = [future.result() for future in asked]
        frame, files = publish_sweep(config, rows, run)
        shown = ["model", "slice", "layout", "step_s", "tokens_per_s_chip", "infeasible"]
        show_table("sweep", frame[shown].head(200), f"{len(frame):,} questions")
        told = metrics_of(rows)
        said = [one for one in planned if one is not None]
        usable = sum(not one.fallback_reason for one in said)
        by_model = (
            Figure("calls of the model", float(sum(one.calls for one in said)), None, "{:,.0f}"),
            Figure("usable answers of the model", float(usable), None, "{:,.0f}"),
        )
        best = max(rows, key=lambda row: row.mfu or 0.0)
        word = f"; best MFU {best.mfu:.1%}: {best.model} on {best.slice}" if best.mfu else ""
        return FlowSummary(
            f"answered {told['answered']:,.0f} of {len(rows):,} questions{word}",
            "the layout that needs no thought: pure FSDP",
            (
                Figure("layouts found", told["answered"], None, "{:,.0f}"),
                Figure("verified", told["verified"], None, "{:,.0f}"),
                Figure("times as fast", told.get("speedup_over_trivial"), 1.0, "{:.2f}"),
                *(by_model if asks_model else ()),
            ),
            run.url,
            run.prefect_url,
            files,
        )


def preview(config: SweepConfig) -> list[str]:
    """Say what would be asked, without answering (`loom run --dry-run`)."""
    questions = config.questions()
    who: str = config.proposer
    if config.proposer == "language_model":
        who = f"{config.asker} {named_model(config).name}"
    return [
        f"questions: {len(questions):,}, verified by {config.verify}",
        f"proposer: {who}",
        *(f"{one.model} on {one.slice}, {one.global_batch} x {one.seq_len}" for one in questions),
    ]
