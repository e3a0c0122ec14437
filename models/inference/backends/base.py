"""What every backend does: run a shard of a plan and hand out each row as it finishes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Protocol

from models.errors import ServiceError
from models.inference.job_config import JobConfig
from models.inference.local_model import LocalModel
from models.inference.outcome import Finished
from models.inference.partials import Checkpoints
from models.inference.plan import Plan
from models.inference.requests import Sampling
from models.inference.token_table import TokenTable

Sink = Callable[[int, Finished], None]
"""Takes a prompt's index in the token table and what it gave."""


class BackendDownError(ServiceError):
    """The backend as a whole does not work; rows are not to blame and stay unfinished."""


class StopRequestedError(Exception):
    """Somebody asked to stop: raised between two steps, so that nothing is half done."""


@dataclass
class Counters:
    """Work of one engine process so far; tokens of prompts are those computed, not copied."""

    steps: int = 0
    prefix_tokens: int = 0
    prompt_tokens: int = 0
    decode_tokens: int = 0
    cached_tokens: int = 0
    kv_bytes: int = 0
    kv_peak_bytes: int = 0
    preempted: int = 0
    cpu_s: float = 0.0

    def __add__(self, other: Counters) -> Counters:
        """Work of two processes: sums, and the higher peak."""
        mine, theirs = asdict(self), asdict(other)
        total = Counters(**{name: mine[name] + theirs[name] for name in mine})
        total.kv_peak_bytes = max(self.kv_peak_bytes, other.kv_peak_bytes)
        return total


@dataclass
class Watch:
    """What a backend tells while it runs, and how it is told to stop."""

    counters: Counters = field(default_factory=Counters)
    is_stopping: bool = False
    phase: str = "load"

    def check(self) -> None:
        """Call between steps.

        Raises:
            StopRequestedError: The process was asked to end.
        """
        if self.is_stopping:
            raise StopRequestedError


@dataclass(frozen=True)
class Work:
    """What a backend needs besides the plan.

    Attributes:
        prompts: Token table of the plan.
        samplings: By prompt.
        model: Its files.
        config: Of the job.
        kv_bytes: Budget of this process.
        threads: Compute threads of this process.
        cache: Folder for what is built or converted once.
        bodies: Request bodies by prompt, for servers; None where tokens are enough.
        checkpoints: Where unfinished outputs are kept; a backend that cannot hand them out
            leaves it alone. None: nowhere.
        skip: Prompts of the plan to leave out; of the native engine in deterministic mode only.
    """

    prompts: TokenTable
    samplings: Sequence[Sampling]
    model: LocalModel
    config: JobConfig
    kv_bytes: int
    threads: int
    cache: Path
    bodies: Path | None = None
    checkpoints: Checkpoints | None = None
    skip: frozenset[int] = frozenset()


class Backend(Protocol):
    """Runs shards."""

    def run(self, plan: Plan, shard: int, sink: Sink) -> None:
        """Run all rows of a shard.

        Raises:
            StopRequestedError: The process was asked to end.
            BackendDownError: Nothing works; rows that were not handed out stay unfinished.
        """
        ...

    def trace(self) -> Sequence[Any]:
        """One entry per engine step, where the backend knows its steps."""
        ...
