"""What must hold before any speed counts: the same tokens, small gaps, nothing computed twice."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from models.inference.bench.bout import Result, Tell, alone
from models.inference.bench.contest import Contest
from models.inference.bench.engine import Setup
from models.inference.bench.sets import preset
from models.inference.gap import GATE, TokenGaps, gaps_of
from models.inference.local_model import LocalModel
from models.inference.model.weights import load_weights
from models.inference.replay import ExactDecoder
from models.inference.token_table import TokenTable
from models.inference.tokens import Limits, tokenize_file

NATURAL_ROWS, NATURAL_OUTPUT = 6, 32
MEAN_LIMIT = 1.2
"""Our mean gap may be this many times vLLM's."""
SAVING_LIMIT = 0.995


@dataclass(frozen=True)
class Gate:
    """One condition.

    Attributes:
        name: In words.
        found: What was measured.
        wanted: The bound, in words.
        holds: Whether it was met; None: not measured here.
    """

    name: str
    found: float | None
    wanted: str
    holds: bool | None


def natural_contest(model: LocalModel, data: Path, cache: Path) -> Contest:
    """Rows of natural text that share texts: random ids would have no near ties.

    Args:
        model: Its tokenizer; one without takes random ids all the same.
        data: Shipped prompts.
        cache: Folder for their tokens.
    """
    if model.tokenizer is None:
        return replace(preset("A", 0, False, model.vocabulary), name="natural")
    limits = Limits(model.context_tokens, model.vocabulary)
    job = tokenize_file(data, model.tokenizer, limits, cache / "tokens")
    line = np.argsort(job.prompts.lengths, kind="stable")[: 2 * NATURAL_ROWS : 2]
    prompts = [job.prompts[int(row)].tolist() for row in sorted(line)]
    outputs = np.full(len(prompts), NATURAL_OUTPUT, np.int64)
    table = TokenTable.from_lists(prompts, "uint32")
    return Contest("natural", "shipped prompts, the shorter ones", "shared", table, outputs)


def token_gates(
    model: LocalModel,
    contest: Contest,
    ours: Setup,
    vllm: Setup | None,
    has_hf: bool,
    folder: Path,
    tell: Tell,
) -> tuple[list[Gate], dict[str, object]]:
    """Compare tokens with Hugging Face in float32, and gaps with vLLM's in bfloat16.

    Args:
        model: The model.
        contest: Natural text.
        ours: The engine as it runs jobs.
        vllm: vLLM in bfloat16; None: it does not compete.
        has_hf: Whether Hugging Face does.
        folder: For contests and logs.
        tell: Hears of each step.

    Returns:
        The gates, and the figures behind them.
    """
    place = contest.write(folder / contest.name)
    wide = Setup("native", ours.model, ours.cache, "float32", ours.threads)
    reference = replace(wide, engine="hf") if has_hf else None
    emitted: dict[str, list[list[int]]] = {}
    setups = {"float32": wide if has_hf else None, "hf": reference, "ours": ours, "vllm": vllm}
    options: dict[str, dict[str, Any]] = {"hf": {"batch": 1}, "vllm": {"order": "arrival"}}
    for name, setup in setups.items():
        if setup is None:
            continue
        tell(f"tokens of natural text: {name}")
        with alone(setup, folder) as process:
            emitted[name] = process.run(place, options.get(name, {})).tokens
    pairs = zip(emitted.get("float32", []), emitted.get("hf", []), strict=True)
    same = [ours == theirs for ours, theirs in pairs]
    share = sum(same) / len(same) if same else None
    name = "rows whose float32 tokens are those of Hugging Face"
    gates = [Gate(name, share, "all", all(same) if same else None)]
    tell("gaps to float32")
    gaps = _gaps(model, contest, {k: v for k, v in emitted.items() if k in ("ours", "vllm")})
    mine, theirs = gaps["ours"], gaps.get("vllm")
    gates.append(
        Gate("largest gap to float32, logits", mine.largest, f"<= {GATE}", mine.largest <= GATE)
    )
    bound = None if theirs is None else MEAN_LIMIT * theirs.mean
    gates.append(
        Gate(
            "mean gap to float32, logits",
            mine.mean,
            "<= 1.2 x vLLM's" if bound is None else f"<= {bound:.4f} (1.2 x vLLM's)",
            None if bound is None else mine.mean <= bound,
        )
    )
    figures = {
        name: {"largest": g.largest, "mean": g.mean, "same": g.same, "tokens": len(g.values)}
        for name, g in gaps.items()
    }
    return gates, {"gaps": figures, "identical_rows": sum(same), "rows": len(same)}


def _gaps(
    model: LocalModel, contest: Contest, emitted: dict[str, list[list[int]]]
) -> dict[str, TokenGaps]:
    assert model.config is not None
    weights = load_weights(model.folder, model.config, torch.bfloat16)
    exact = ExactDecoder(model.config, weights)
    prompts = [contest.prompts[row].tolist() for row in range(len(contest.prompts))]
    return {name: gaps_of(exact, prompts, tokens) for name, tokens in emitted.items()}


def saving_gates(
    contests: Sequence[Contest], results: Iterable[Result], corner: str, token_bytes: int
) -> tuple[list[Gate], list[dict[str, float | str | None]]]:
    """Compare what was computed with the trie optimum, and the peak with the budget.

    Args:
        contests: All of them.
        results: Runs.
        corner: Name of our engine.
        token_bytes: Its bytes of keys and values per token.

    Returns:
        The gates, and a row per contest.
    """
    first = {r.contest: r.score for r in results if r.corner == corner and r.repeat == 0}
    table: list[dict[str, float | str | None]] = []
    for contest in contests:
        score = first.get(contest.name)
        if score is None or score.computed_tokens is None or score.kv_peak_bytes is None:
            continue
        stats = contest.plan(token_bytes).stats
        saved = stats.saving(score.computed_tokens)
        of_optimum = saved / stats.optimal_share if stats.optimal_share > 0.01 else None
        budget = contest.kv_tokens
        table.append(
            {
                "contest": contest.name,
                "prompt_tokens": stats.logical,
                "optimum": stats.optimal_share,
                "single_level": stats.saving(stats.single_level),
                "achieved": saved,
                "of_optimum": of_optimum,
                "kv_peak_tokens": score.kv_peak_bytes / token_bytes,
                "kv_budget_tokens": budget,
            }
        )
    shares = [float(row["of_optimum"]) for row in table if row["of_optimum"] is not None]
    peaks = [
        float(row["kv_peak_tokens"] or 0) / float(row["kv_budget_tokens"])
        for row in table
        if row["kv_budget_tokens"] is not None
    ]
    worst, highest = min(shares, default=None), max(peaks, default=None)
    return [
        Gate(
            "prefill saving / trie optimum, the worst contest",
            worst,
            f">= {SAVING_LIMIT:.1%}",
            None if worst is None else worst >= SAVING_LIMIT,
        ),
        Gate(
            "KV peak / budget, the worst contest under pressure",
            highest,
            "<= 1",
            None if highest is None else highest <= 1,
        ),
    ], table
