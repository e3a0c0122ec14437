"""Which tasks a repair frees at once: lanes over all windows, a service, hosts that wait."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from models.upgrades.schedule.base import NEVER_S, NONE, Ints
from models.upgrades.schedule.board import Board

# Measured with the same budget: 220 gained 0.2 %, 100 1.2, 50 2.0, 30 2.6, 20 1.9 over classes
# (2,000 hosts, 70 % due): small ones are solved, and many of them reach the whole plan.
MAX_TASKS = 30
# Of these at most so large a share waits; the others hold the places that are fought for.
WAITING_SHARE = 0.5


class Neighbourhoods:
    """Draws neighbourhoods, mostly where tasks wait."""

    def __init__(self, board: Board, order: Ints, gain: Sequence[float], seed: int) -> None:
        """Take the open tasks in order of urgency, and the best gain of every task."""
        self._board, self._gain = board, gain
        self.order: list[int] = order.tolist()
        self._rng = np.random.default_rng(seed)
        self._is_open = board.problem.tasks.is_open
        self._turn = 0
        self._kinds = (self._lanes, self._hosts, self._service)

    def draw(self) -> list[int] | None:
        """Return the tasks that may move next; None: nothing waits that could have a place."""
        waiting = self.waiting()
        if not waiting:
            return None
        kind = self._kinds[self._turn % len(self._kinds)]
        self._turn += 1
        return kind(waiting)

    def waiting(self) -> list[int]:
        """Tasks that wait for a place and could have one, most urgent first."""
        return [task for task in self.order if self._may_move(task)]

    def _may_move(self, task: int) -> bool:
        """Whether a task waits for a place only, and not for a wave before its own."""
        board = self._board
        if task in board.slots or self._is_tied(task):
            return False
        group = board.group[task]
        return group == NONE or board.wave_limits(group, board.wave[task])[0] < NEVER_S

    def _is_tied(self, task: int) -> bool:
        """Services with rules about their domains keep what they have."""
        return self._board.down.is_restricted(self._board.service[task])

    def _lanes(self, waiting: Sequence[int]) -> list[int]:
        """Some lanes of a domain over all windows, and what waits in that domain."""
        board = self._board
        domain = self._weighted(waiting, board.domain)
        placed: dict[int, list[int]] = {}
        for task, slot in board.slots.items():
            if board.domain[task] == domain:
                placed.setdefault(slot.lane, []).append(task)
        held: list[int] = []
        lanes = sorted(placed)
        for lane in self._rng.permutation(len(lanes)).tolist():
            held += placed[lanes[lane]]
            if len(held) >= MAX_TASKS * (1 - WAITING_SHARE):
                break
        return self._of(held, [task for task in waiting if board.domain[task] == domain])

    def _service(self, waiting: Sequence[int]) -> list[int]:
        """A service over all its domains and windows, if its cap can stand in the way."""
        board = self._board
        capped = [task for task in waiting if board.down.can_bind[board.service[task]]]
        if not capped:
            return self._lanes(waiting)
        service = self._weighted(capped, board.service)
        held = [task for task in board.slots if board.service[task] == service]
        return self._of(held, [task for task in capped if board.service[task] == service])

    def _hosts(self, waiting: Sequence[int]) -> list[int]:
        """All tasks of hosts of which one waits, and what their lanes hold."""
        board = self._board
        domain = self._weighted(waiting, board.domain)
        hosts, own = [task for task in waiting if board.domain[task] == domain], []
        for place in self._rng.permutation(len(hosts)).tolist():
            siblings = board.siblings.get(hosts[place], ())
            own += [hosts[place], *(task for task in siblings if self._is_open[task])]
            if len(own) >= MAX_TASKS * WAITING_SHARE:
                break
        own = list(dict.fromkeys(own))
        held = [task for task in board.slots if board.domain[task] == domain]
        return self._of([task for task in own if task in board.slots] + self._some(held), own)

    def _some(self, tasks: list[int]) -> list[int]:
        """Those of least gain per second and some at random, half of a neighbourhood."""
        n = int(MAX_TASKS * (1 - WAITING_SHARE))
        density = [self._gain[task] / self._board.reserved_s[task] for task in tasks]
        least = [tasks[place] for place in np.argsort(density, kind="stable")[: n // 2]]
        rest = [tasks[place] for place in self._rng.permutation(len(tasks))[: n // 2]]
        return [*least, *rest]

    def _of(self, held: list[int], waiting: list[int]) -> list[int]:
        """Bound the numbers and add what must come first on the hosts of those who wait."""
        board = self._board
        held = [task for task in dict.fromkeys(held) if not self._is_tied(task)]
        room = MAX_TASKS - min(len(held), int(MAX_TASKS * (1 - WAITING_SHARE)))
        waiting = [task for task in dict.fromkeys(waiting) if task not in board.slots]
        # Half the most urgent, half at random: the urgent alone would be the same each time.
        urgent, rest = waiting[: room // 2], waiting[room // 2 :]
        some = self._rng.permutation(len(rest))[: room - len(urgent)].tolist()
        chosen = [*urgent, *(rest[place] for place in sorted(some))]
        held = [held[place] for place in self._rng.permutation(len(held)).tolist()]
        held = held[: MAX_TASKS - len(chosen)]
        return sorted({*held, *chosen})

    def _weighted(self, tasks: Sequence[int], code: Sequence[int]) -> int:
        """Draw a code, each in proportion to the gain that waits under it."""
        weight: dict[int, float] = {}
        for task in tasks:
            weight[code[task]] = weight.get(code[task], 0.0) + max(self._gain[task], 1e-9)
        codes = sorted(weight)
        share = np.array([weight[name] for name in codes])
        return int(self._rng.choice(codes, p=share / share.sum()))
