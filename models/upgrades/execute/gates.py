"""Waves wait for the wave before them; a release that fails too often pauses."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping

from models.upgrades.execute.base import FINAL, Group, State, Work
from models.upgrades.execute.config import ExecuteConfig

WAVES_BEFORE = "waves before its own: "
"""How the reason of a task begins whose release did not get as far as its wave."""


class Gates:
    """What the ended upgrades of each release say about its next ones.

    Failures are upgrades that the executor called failed. A roll-back for lack of time says
    something about the window, not about the release, and does not count.
    """

    def __init__(self, works: Iterable[Work], config: ExecuteConfig) -> None:
        self._config = config
        self._open: dict[tuple[Group, int], set[str]] = defaultdict(set)
        self._size: dict[tuple[Group, int], int] = defaultdict(int)
        self._held: dict[tuple[Group, int], int] = defaultdict(int)
        self._end_s: dict[tuple[Group, int], int] = {}
        self._completed: dict[Group, int] = defaultdict(int)
        self._failed: dict[Group, int] = defaultdict(int)
        self._paused: dict[Group, str] = {}
        for work in works:
            if work.wave >= 0:
                self._open[work.group, work.wave].add(work.task)
                self._size[work.group, work.wave] += 1

    @property
    def paused(self) -> Mapping[Group, str]:
        """Groups that are paused, with the reason."""
        return dict(self._paused)

    def record(self, work: Work, state: State, at_s: int, *, is_failure: bool) -> None:
        """Take note of a final state."""
        assert state in FINAL
        if work.wave >= 0:
            key = (work.group, work.wave)
            self._open[key].discard(work.task)
            if state == State.HELD:
                self._held[key] += 1
            else:
                self._end_s[key] = max(at_s, self._end_s.get(key, at_s))
        self._completed[work.group] += state == State.COMPLETED
        self._failed[work.group] += is_failure

    def verdict(self, group: Group) -> str | None:
        """Say why a group must pause; None if it may go on."""
        failed = self._failed[group]
        ended = failed + self._completed[group]
        limit = self._config.gate_failure_share
        if ended < self._config.gate_min_ended or failed <= limit * ended:
            return None
        return f"{failed} of {ended} ended upgrades of {group} failed, at most {limit:.0%} may"

    def reopen(self, work: Work) -> None:
        """Take back that a task was held: it may start after all."""
        if work.wave >= 0:
            self._held[work.group, work.wave] -= 1
            self._open[work.group, work.wave].add(work.task)

    def pause(self, group: Group, why: str) -> None:
        """Let nothing more of a group start."""
        self._paused[group] = why

    def unpause(self, group: Group) -> None:
        """Let a group go on; its gate counts from zero."""
        self._paused.pop(group, None)
        self._completed[group] = self._failed[group] = 0

    def obstacle(self, work: Work) -> str | None:
        """Say which wave before a task's was not tried enough; None: none, or still open."""
        for wave in range(max(work.wave, 0)):
            key = (work.group, wave)
            tried, size = self._size[key] - self._held[key], self._size[key]
            if size and not self._open[key] and tried < self._config.wave_quorum * size:
                said = f"only {tried} of {size} upgrades of wave {wave} were tried"
                return f"{WAVES_BEFORE}{said}"
        return None

    def ready_s(self, work: Work) -> int | None:
        """When the waves before a task's have ended and soaked; None: not yet ended."""
        ready = 0
        for wave in range(max(work.wave, 0)):
            key = (work.group, wave)
            if self._open[key]:
                return None
            if key in self._end_s:
                ready = max(ready, self._end_s[key] + self._config.soak_s)
        return ready
