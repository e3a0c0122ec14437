"""Everything that the page of a job shows, as JSON takes it."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow.parquet as pq
from numpy.typing import NDArray

from models.inference.job import JobReport, trace_files
from models.inference.plan import Plan
from models.inference.prepare import PreparedJob

MOST_NODES = 300
MOST_STEPS = 600
SNIPPET_TOKENS, SNIPPET_LETTERS = 16, 48


def report_numbers(prepared: PreparedJob, report: JobReport) -> dict[str, Any]:
    """Return the numbers of a finished job."""
    batch, stats = prepared.batch, prepared.plan.stats
    return {
        "input": batch.data.name,
        "model": batch.model.name,
        "fingerprint": batch.model.fingerprint,
        "backend": prepared.chosen.name,
        "why": prepared.chosen.why,
        "plan": prepared.plan.content_hash,
        "order": sorted({shard.order for shard in prepared.plan.shards}),
        "processes": len(prepared.plan.shards),
        "budget_bytes": prepared.plan.budget.bytes,
        "predicted": {
            "cpu_s": prepared.plan.predicted_s,
            "steps": sum(shard.steps for shard in prepared.plan.shards),
            "peak_bytes": prepared.plan.predicted_peak_bytes,
        },
        "tokens": {
            "logical": stats.logical,
            "optimal": stats.optimal,
            "single_level": stats.single_level,
            "planned": stats.planned,
            "computed": report.computed_tokens,
        },
        "errors": report.merged.errors_by_code,
        "report": report.to_json(),
        "tree": _tree(prepared),
        "steps": _steps(prepared),
    }


def _tree(prepared: PreparedJob) -> dict[str, Any]:
    """The largest groups of the plan as nodes; what is left out is added up."""
    plan, prompts = prepared.plan, prepared.batch.job.prompts
    logical = _logical_tokens(plan, prompts.lengths)
    below = logical.copy()
    for index in range(plan.n_groups - 1, -1, -1):  # children run after their parents
        above = int(plan.groups.parent[index])
        if above >= 0:
            below[above] += below[index]
    shown = set(np.argsort(-below, kind="stable")[:MOST_NODES].tolist())
    # A large node's ancestors are at least as large, and stable order keeps them first.
    nodes = []
    for index in sorted(shown):
        group = plan.group(index)
        parent = group.parent if group.parent in shown else None
        nodes.append(
            {
                "id": index,
                "parent": parent,
                "prefix_tokens": group.prefix_tokens,
                "computed_tokens": group.prefix_tokens - group.copied_tokens,
                "rows": len(group.members),
                "logical_tokens": int(logical[index]),
                "says": _snippet(prepared, index),
            }
        )
    hidden = [g for g in range(plan.n_groups) if g not in shown]
    return {
        "nodes": nodes,
        "hidden_groups": len(hidden),
        "hidden_tokens": int(logical[hidden].sum()) if hidden else 0,
    }


def _logical_tokens(plan: Plan, lengths: NDArray[np.int64]) -> NDArray[np.int64]:
    """Prompt tokens of each group's own members, shared ones counted for each."""
    total = np.zeros(plan.n_groups, np.int64)
    np.add.at(total, plan.row_groups, lengths[plan.rows.prompt])
    return total


def _snippet(prepared: PreparedJob, index: int) -> str:
    """How the part of a prefix begins that is the group's own."""
    group, tokenizer = prepared.plan.group(index), prepared.batch.model.tokenizer
    if not group.is_materialised or tokenizer is None:
        return ""
    begin = group.copied_tokens
    end = min(begin + SNIPPET_TOKENS, group.prefix_tokens)
    ids = prepared.batch.job.prompts[group.prefix_row][begin:end]
    return " ".join(tokenizer.decode([int(i) for i in ids]).split())[:SNIPPET_LETTERS]


def _steps(prepared: PreparedJob) -> list[dict[str, Any]]:
    """Tokens by kind and KV bytes per step (or run of steps), one entry per process."""
    found = []
    for file in trace_files(prepared.folder):
        table = pq.read_table(file)
        columns = {name: table[name].to_numpy().astype(float) for name in table.column_names}
        n = table.num_rows
        width = -(-n // MOST_STEPS)
        edges = np.arange(0, n, width)
        mean = np.diff(np.append(edges, n))
        binned = {
            name: (np.add.reduceat(columns[name], edges) / mean).round(2).tolist()
            for name in ("prefix_tokens", "prompt_tokens", "decode_tokens", "wall_s")
        }
        kv = np.maximum.reduceat(columns["kv_bytes"], edges).tolist()
        found.append(
            {"process": file.parent.name, "n": n, "at": edges.tolist(), "kv_bytes": kv, **binned}
        )
    return found
