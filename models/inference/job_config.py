"""What defines a batch job from file to file."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import Field

from models.inference.config import BatchConfig

BackendName = Literal["native", "vllm", "openai_http"]
BackendChoice = Literal["auto", "native", "vllm", "openai_http"]


class JobConfig(BatchConfig):
    """A batch job: what is read, what runs it, where results go."""

    data: Path | None = None
    """Input: OpenAI Batch JSONL, plain JSONL or Parquet; none: the shipped natural prompts."""

    output: Path | None = None
    """Results, one line per input row (`.jsonl`, or `.parquet`); none: a folder of the project's
    home. Beside `NAME.jsonl` lie failed rows and report, as `NAME.errors.jsonl` and
    `NAME.report.html`; beside `results.jsonl` as `errors.jsonl` and `report.html`."""

    model: str = "smollm2"
    """`smollm2` (embedded), or a Hugging Face directory (Llama, Mistral, Qwen2, Qwen3). For
    `openai_http` only its tokenizer is used, to find shared prefixes."""

    backend: BackendChoice = "auto"
    """Who computes: our engine, vLLM in a process of its own, a server with OpenAI's interface,
    or the one that the cost model prefers."""

    url: str | None = None
    """Address of the server for `openai_http`, such as http://127.0.0.1:8000/v1."""

    served_model: str | None = None
    """Name that the server knows the model by; none: the first that it lists."""

    concurrency: int = Field(16, ge=1)
    """Most requests at a time for `openai_http`."""

    dtype: Literal["bfloat16", "float32"] = "bfloat16"
    """Number type of weights, keys and values."""

    kv_gib: float = Field(1.0, gt=0, allow_inf_nan=False)
    """Memory for keys and values of one engine process, in GiB (1024**3 bytes)."""

    context_tokens: int | None = Field(None, ge=1)
    """Longest prompt and output together, tokens; none: the model's context."""

    resume: bool = True
    """Keep rows that an earlier run of this job finished; false starts over."""

    retry_failed: bool = False
    """On resuming, run rows again that had failed."""

    flush_rows: int = Field(256, ge=1)
    """Results between two writes that survive a failing machine."""

    flush_s: float = Field(5.0, gt=0)
    """Most seconds between two such writes."""

    checkpoint_tokens: int | None = Field(256, ge=1)
    """Tokens of an output between two records of how far it has come, so that a start after a
    kill goes on from there; none: an unfinished row starts over. Native engine only."""

    lease_s: float = Field(60.0, gt=0)
    """Seconds without a sign of life after which an engine process counts as dead."""

    stall_s: float = Field(900.0, gt=0)
    """Seconds without an engine step after which it counts as hung."""
