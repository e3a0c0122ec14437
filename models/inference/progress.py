"""How far a job is: rows, speed, saving, time left; and when it has failed too often."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from models.inference.backends.base import Counters
from models.inference.job_state import ask_to_stop
from models.inference.supervise import ShardReport


@dataclass(frozen=True)
class Progress:
    """A job at one moment.

    Attributes:
        rows, total: Prompts that have their result, earlier starts included; all prompts.
        failed: Rows that failed, bad input included.
        tokens: Prompt tokens computed and tokens emitted, this start.
        saved_share: Prompt tokens of finished rows that others had computed, 0 to 1.
        wall_s: Since this start.
        rows_before: Prompts that earlier starts finished.
    """

    rows: int
    total: int
    failed: int
    tokens: int
    saved_share: float
    wall_s: float
    rows_before: int

    @property
    def tokens_per_s(self) -> float:
        """Tokens computed or emitted per second of wall time."""
        return self.tokens / self.wall_s if self.wall_s > 0 else 0.0

    @property
    def eta_s(self) -> float | None:
        """Seconds left at the speed so far; None before the first row."""
        done = self.rows - self.rows_before
        return None if done <= 0 else (self.total - self.rows) * self.wall_s / done

    def words(self) -> str:
        """Say it in a line."""
        left = "" if self.eta_s is None else f", {self.eta_s:,.0f} s left"
        return (
            f"{self.rows:,} of {self.total:,} rows, {self.tokens_per_s:,.0f} tokens/s, "
            f"{self.saved_share:.0%} of prompt tokens shared, {self.failed:,} failed{left}"
        )


@dataclass(frozen=True)
class JobSize:
    """What a job consists of.

    Attributes:
        total: Prompts that have a result when it is done.
        rows_before: Of them, finished by earlier starts.
        n_input: Rows of the input, bad ones included.
        failed_before: Rows that failed before any shard ran.
        max_error_rate: Share of rows that may fail.
    """

    total: int
    rows_before: int
    n_input: int
    failed_before: int
    max_error_rate: float


@dataclass
class JobProgress:
    """Adds up what the shards tell, from any thread; stops the job over its error rate.

    Attributes:
        folder: Of the job.
        size: What it consists of.
        tell: Hears of progress, from the thread that calls `say`.
    """

    folder: Path
    size: JobSize
    tell: Callable[[Progress], None] | None = None
    _shards: dict[int, ShardReport] = field(default_factory=dict)
    _began: float = field(default_factory=time.monotonic)

    def take(self, report: ShardReport) -> None:
        """Take in a shard's newest report."""
        self._shards[report.shard] = report
        failed, size = self.now().failed, self.size
        if failed > size.max_error_rate * size.n_input:
            ask_to_stop(self.folder, rate_words(failed, size.n_input, size.max_error_rate))

    def say(self) -> None:
        """Tell how far the job is."""
        if self.tell is not None:
            self.tell(self.now())

    def now(self) -> Progress:
        """Return the job at this moment."""
        reports, size = list(self._shards.values()), self.size
        counters = sum((report.counters for report in reports), Counters())
        computed = counters.prefix_tokens + counters.prompt_tokens
        held = computed + counters.cached_tokens
        emitted = sum(report.output_tokens for report in reports)
        return Progress(
            rows=size.rows_before + sum(report.rows for report in reports),
            total=size.total,
            failed=size.failed_before + sum(report.failed for report in reports),
            tokens=computed + max(emitted, counters.decode_tokens),
            saved_share=counters.cached_tokens / held if held else 0.0,
            wall_s=time.monotonic() - self._began,
            rows_before=size.rows_before,
        )


ERROR_RATE = "too many rows failed"


def rate_words(failed: int, total: int, allowed: float) -> str:
    """Say that a job failed too often."""
    return (
        f"{ERROR_RATE}: {failed:,} of {total:,} ({failed / max(total, 1):.1%}), max_error_rate is "
        f"{allowed:.1%}"
    )
