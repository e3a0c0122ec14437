"""Outputs as far as they have come: what a start that was cut off leaves to the next one.

A record holds what an output gained since the record before, so that a long output is written
once and not again and again. It names the checksum of the tokens that precede it, so that pieces
of two processes never mix. The finished row's record in the journal supersedes them all.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Container, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import orjson
from numpy.typing import NDArray

from models.inference.job_state import PARTIALS, Keys
from models.inference.loads import RowLoads
from models.inference.requests import FinishReason
from models.inference.segments import SUFFIX, Scan, SegmentWriter, scan_segment

if TYPE_CHECKING:
    # It brings torch along, which a process that only plans does not need.
    from models.inference.running import Sequence as Row

Top = tuple[tuple[int, float], ...]


@dataclass
class Begun:
    """One output of a row as far as it has come.

    Attributes:
        fork: Which of the row's outputs.
        token_ids: What it emitted.
        logprobs: Their log-probabilities; empty if not asked for.
        tops: Likeliest tokens per position; empty if not asked for.
        is_replayed: Whether a token of it had to be computed again in float32.
        ended: Why it ended, while others of its row go on; None: it goes on.
    """

    fork: int
    token_ids: list[int] = field(default_factory=list)
    logprobs: list[float] = field(default_factory=list)
    tops: list[Top] = field(default_factory=list)
    is_replayed: bool = False
    ended: FinishReason | None = None


@dataclass
class Checkpoints:
    """What rows had emitted before, and where what they emit now is kept.

    Attributes:
        every: Emitted tokens of an output between two records.
        keep: Takes a prompt and one of its outputs.
        begun: Outputs that earlier processes began, by prompt.
    """

    every: int
    keep: Callable[[int, Begun], None]
    begun: Mapping[int, tuple[Begun, ...]] = field(default_factory=dict)

    def look(self, row: Row) -> None:
        """Keep an output that has gained enough since it was kept last."""
        if len(row.emitted) - row.kept >= self.every:
            self.take(row)

    def take(self, row: Row, ended: FinishReason | None = None) -> None:
        """Keep an output as it stands, if it has gained anything."""
        if ended is None and len(row.emitted) == row.kept:
            return
        state = (row.emitted, row.logprobs, row.tops, row.is_replayed)
        self.keep(row.prompt, Begun(row.fork, *state, ended))
        row.kept = len(row.emitted)


class PartialWriter:
    """Appends what outputs gained to a segment of its own; no file before the first record."""

    def __init__(self, folder: Path, name: str, flush_rows: int, flush_s: float) -> None:
        self._folder, self._name, self._flush = folder, name, (flush_rows, flush_s)
        self._segment: SegmentWriter | None = None
        self._kept: dict[bytes, dict[int, tuple[int, int]]] = {}

    def goes_on(self, key: bytes, begun: tuple[Begun, ...]) -> None:
        """Take note of what is on record of a row already."""
        self._kept[key] = {
            one.fork: (len(one.token_ids), _checksum(one.token_ids)) for one in begun
        }

    def add(self, key: bytes, one: Begun) -> None:
        """Append what an output gained.

        Raises:
            StorageFullError: No room for it.
        """
        if self._segment is None:
            self._segment = SegmentWriter(self._folder, self._name, *self._flush)
        forks = self._kept.setdefault(key, {})
        begin, before = forks.get(one.fork, (0, 0))
        gained = one.token_ids[begin:]
        values: list[Any] = [one.fork, begin, before, one.is_replayed, one.ended, gained]
        values += [one.logprobs[begin:], one.tops[begin:]]
        self._segment.append(key, orjson.dumps(values))
        forks[one.fork] = (len(one.token_ids), _checksum(gained, before))

    def forget(self, key: bytes) -> None:
        """Let go of a row that has finished."""
        self._kept.pop(key, None)

    def close(self) -> None:
        """Flush and close."""
        if self._segment is not None:
            self._segment.close()


def read_begun(job: Path, wanted: Container[bytes]) -> dict[bytes, tuple[Begun, ...]]:
    """Read what outputs had emitted, as far as their records follow each other without a gap.

    Args:
        job: Folder of the job.
        wanted: Keys of the rows that go on.
    """
    rows: dict[bytes, dict[int, Begun]] = {}
    for file in sorted((job / PARTIALS).glob(f"*{SUFFIX}"), key=_written_at):
        for key, _, body in scan_segment(file, Scan()):
            if key in wanted:
                _append(rows.setdefault(key, {}), orjson.loads(body))
    return {
        key: tuple(forks[fork] for fork in sorted(forks))
        for key, forks in rows.items()
        # One at least goes on, or the row would have finished.
        if any(one.token_ids for one in forks.values())
    }


def with_emitted(
    loads: RowLoads, job: Path, keys: Keys | list[bytes], todo: NDArray[np.int64]
) -> RowLoads:
    """Tell the planner which prompts of those to plan have emitted tokens on record."""
    by_key = {keys[prompt]: prompt for prompt in todo.tolist()}
    begun = read_begun(job, by_key)
    if not begun:
        return loads
    emitted = np.zeros_like(loads.output_tokens)
    for key, outputs in begun.items():
        emitted[by_key[key]] = sum(len(one.token_ids) for one in outputs)
    return replace(loads, emitted=emitted)


def _append(forks: dict[int, Begun], values: list[Any]) -> None:
    fork, begin, before, is_replayed, ended, token_ids, logprobs, tops = values
    one = forks.get(fork) or Begun(fork)
    # A record before this one is lost, or another process went on from another place.
    if begin > len(one.token_ids) or _checksum(one.token_ids[:begin]) != before:
        return
    forks[fork] = Begun(
        fork,
        one.token_ids[:begin] + token_ids,
        one.logprobs[:begin] + logprobs,
        one.tops[:begin] + [tuple((token, p) for token, p in place) for place in tops],
        is_replayed,
        ended,
    )


def _checksum(token_ids: list[int], before: int = 0) -> int:
    return zlib.crc32(np.asarray(token_ids, "<u4").tobytes(), before)


def _written_at(file: Path) -> int:
    return int(file.name.rsplit("-", 2)[1])
