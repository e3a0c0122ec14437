"""Who competes, and on what."""

from __future__ import annotations

import importlib.util
from collections.abc import Sequence
from pathlib import Path

from models.inference.bench.bout import Corner
from models.inference.bench.config import InferenceBenchConfig, Peer
from models.inference.bench.contest import Contest
from models.inference.bench.engine import Setup
from models.inference.bench.native import VARIANTS

OURS, DEFAULT, TUNED = "loomworks", "vllm default", "vllm tuned"
SAME_KV, WITH_PLAN = "vllm block 32", "vllm + our plan"
HF, LLAMACPP = "hf generate", "llama.cpp"
HF_CONTEST = "A"
HF_BATCHES = (8, 16, 32)
LLAMACPP_CONTESTS = ("A",)
BFLOAT16 = "vllm default, bfloat16"
BFLOAT16_CONTESTS = ("D",)
ABLATED = {"A": (), "A/3": ("by-count",), "mixed": ("one-level",)}
"""Contests of the ablation, and variants that only make sense there; A takes all others."""

MODULES = {"vllm": "vllm", "hf": "transformers", "llamacpp": "llama_cpp"}


def installed(config: InferenceBenchConfig) -> tuple[list[Peer], list[Peer]]:
    """Return the peers that can run here, and those that cannot."""
    here = [p for p in config.peers if importlib.util.find_spec(MODULES[p]) is not None]
    return here, [p for p in config.peers if p not in here]


def our_setup(config: InferenceBenchConfig, cache: Path, threads: int = 1) -> Setup:
    """Our engine as jobs run it."""
    return Setup("native", config.model, cache, "bfloat16", threads)


def vllm_setup(
    config: InferenceBenchConfig,
    cache: Path,
    dtype: str,
    contests: Sequence[Contest],
    block: int,
    threads: int = 1,
    is_eager: bool = False,
) -> Setup:
    """VLLM with KV for all contests without pressure."""
    rows = [(c.prompts.lengths + c.output_tokens) for c in contests]
    ample = max(int((row + 128).sum()) for row in rows)
    options = {
        "block": block,
        "kv_tokens": -(-ample // 128) * 128,
        "longest": max(int(row.max()) for row in rows),
        "is_eager": is_eager,
    }
    return Setup("vllm", config.model, cache, dtype, threads, options)


def corners(
    config: InferenceBenchConfig,
    cache: Path,
    dtype: str,
    contests: Sequence[Contest],
    hf_batch: int | None,
) -> list[Corner]:
    """Return everybody who competes.

    Args:
        config: Of the benchmark.
        cache: For models and libraries.
        dtype: Number type in which the peers are fastest on this machine.
        contests: All of them.
        hf_batch: Best batch size of `generate`; None: it does not compete.
    """
    here, _ = installed(config)
    found = [Corner(OURS, "as jobs run it", our_setup(config, cache), {})]
    if "vllm" in here:
        coarse = vllm_setup(config, cache, dtype, contests, 128)
        fine = vllm_setup(config, cache, dtype, contests, 32)
        ample = ("shared", "decode", "unshared")
        found += [
            Corner(
                DEFAULT, "as it comes: block 128, order of arrival", coarse, {"order": "arrival"}
            ),
            Corner(TUNED, "block 32, rows in plan order", fine, {"order": "plan"}, kinds=ample),
            Corner(
                *(SAME_KV, "block 32, order of arrival", fine, {"order": "arrival"}),
                kinds=("pressure",),
            ),
            Corner(
                *(WITH_PLAN, "block 32, our order in windows that fit the KV", fine),
                *({"order": "windows"}, ("pressure",)),
            ),
        ]
    if "vllm" in here and dtype != "bfloat16":
        stored = vllm_setup(config, cache, "bfloat16", contests, 128, is_eager=True)
        about = "as it comes, also in its number type: the model's, which is slow here; eager"
        order = {"order": "arrival"}
        found.append(Corner(BFLOAT16, about, stored, order, contests=BFLOAT16_CONTESTS))
    if hf_batch is not None:
        setup = Setup("hf", config.model, cache, dtype)
        about = f"left-padded batches of {hf_batch}, sorted by length"
        found.append(Corner(HF, about, setup, {"batch": hf_batch}, contests=(HF_CONTEST,)))
    if "llamacpp" in here:
        setup = Setup("llamacpp", config.model, cache, "gguf")
        about = "the GGUF as it is (4 bits), prefixes copied between sequences by our plan"
        found.append(Corner(LLAMACPP, about, setup, {}, contests=LLAMACPP_CONTESTS))
    return found


def ablated(config: InferenceBenchConfig, cache: Path) -> list[Corner]:
    """Our engine with one part taken out at a time."""
    setup = our_setup(config, cache)
    special = {name for names in ABLATED.values() for name in names}
    return [
        Corner(
            *(name, variant.about, setup, {"variant": name}),
            contests=tuple(
                contest
                for contest, names in ABLATED.items()
                if name == "whole" or name in names or (contest == "A" and name not in special)
            ),
        )
        for name, variant in VARIANTS.items()
    ]
