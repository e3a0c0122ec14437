"""What was held starts after all: its release goes on, or its service is approved by now."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence

from models.errors import ConfigError, unknown_name
from models.upgrades.config import DAY_S
from models.upgrades.execute.base import EVERY, Group, State, Work
from models.upgrades.execute.config import ExecuteConfig
from models.upgrades.execute.gates import WAVES_BEFORE, Gates
from models.upgrades.execute.ledger import Ledger
from models.upgrades.fleet.base import Freeze

NOT_APPROVED = "keeps state and is not approved"
"""How the reason of a task ends that waits for an approval."""
MOST_DAYS = 366


class AmbiguousReleaseError(ConfigError):
    """A name that two releases of the plan share."""


def reopen_held(
    ledger: Ledger, gates: Gates, config: ExecuteConfig, freezes: Sequence[Freeze], now_s: int
) -> None:
    """Let paused releases go on that a person resumes, and tasks that a person approved.

    What was held meanwhile gets its place back. Where time has passed, the rest of a release
    is moved by the same number of whole days, into later openings of the same windows, past
    freezes: lanes and the order of waves stay as they were planned. What no freeze lets
    through within `MOST_DAYS` stays held.

    Raises:
        UnknownNameError: A release to resume is not in the plan.
        AmbiguousReleaseError: A name that two releases share.
    """
    resumed = groups_to_resume(config.resume, ledger.works.values(), gates.paused)
    all_held: dict[Group, list[Work]] = defaultdict(list)
    for work in ledger.works.values():
        if ledger.records[work.task].state == State.HELD:
            all_held[work.group].append(work)
    held = {
        group: _held_since(ledger, works, ledger.paused_s[group])
        if group in resumed
        else _approved_by_now(ledger, works, config)
        for group, works in all_held.items()
    }
    said = config.why or "no reason was given"
    for group, works in sorted(held.items()):
        if not works:
            continue
        why = f"release {group} goes on" if group in resumed else "its service is approved"
        _put_back(ledger, group, works, freezes, now_s, f"{why} ({said})")
    ledger.sort()
    for group in resumed:
        # Last, so that a process that dies in between leaves the release paused.
        ledger.unpause(group, now_s, f"resume was given ({said})")


def is_approved(work: Work, config: ExecuteConfig) -> bool:
    """Whether a person let tasks of its service start."""
    return bool({work.service, EVERY} & set(config.approved))


def groups_to_resume(
    asked: Sequence[str], works: Iterable[Work], paused: Iterable[Group]
) -> list[Group]:
    """Those of `paused` that `asked` names, by release or as "type release"; `*`: all.

    Raises:
        UnknownNameError: A name that is not in the plan.
        AmbiguousReleaseError: A "type release" that reads alike for two pairs.
    """
    if EVERY in asked:
        return sorted(paused)
    known = {work.group for work in works}
    found: set[Group] = set()
    for name in asked:
        in_full = sorted(group for group in known if name == str(group))
        if len(in_full) > 1:
            said = " and ".join(f"type {g.type!r} release {g.release!r}" for g in in_full)
            raise AmbiguousReleaseError(
                f"asked to resume '{name}', which may be {said}; name the release alone"
            )
        groups = {*in_full, *(group for group in known if name == group.release)}
        if not groups:
            raise unknown_name("release in the plan", name, {str(group) for group in known})
        found |= groups
    return sorted(found & set(paused))


def _held_since(ledger: Ledger, works: Sequence[Work], paused_s: int) -> list[Work]:
    return [work for work in works if (ledger.records[work.task].end_s or 0) >= paused_s]


def _approved_by_now(ledger: Ledger, works: Sequence[Work], config: ExecuteConfig) -> list[Work]:
    """Tasks that waited for an approval that is there now, and the waves behind them."""
    reasons = {work.task: ledger.records[work.task].reason for work in works}
    found = [
        work
        for work in works
        if reasons[work.task].endswith(NOT_APPROVED) and is_approved(work, config)
    ]
    first = min((work.wave for work in found if work.wave >= 0), default=None)
    if first is not None:
        found += [w for w in works if w.wave > first and reasons[w.task].startswith(WAVES_BEFORE)]
    return found


def _put_back(
    ledger: Ledger,
    group: Group,
    held: Sequence[Work],
    freezes: Sequence[Freeze],
    now_s: int,
    why: str,
) -> None:
    is_late = any(now_s + work.reserved_s > work.deadline_s for work in held)
    moved = list(held)
    least = 0
    if is_late:
        # The waves behind them too: they would wait in vain at their old times.
        moved += [work for work in ledger.planned.values() if work.group == group]
        least = max(0, -((min(work.start_s for work in moved) - now_s) // DAY_S))
    days = _days_past_freezes(moved, freezes, least)
    if days is None:
        return
    for work in moved if days else held:
        ledger.reopen(work, days, now_s, why)


def _days_past_freezes(works: Sequence[Work], freezes: Sequence[Freeze], least: int) -> int | None:
    """Fewest whole days from `least` on by which all can be moved; None: too many."""
    spans = [
        (work.start_s, work.deadline_s, freeze.from_s, freeze.until_s)
        for freeze in freezes
        for work in works
        if freeze.covers(work.domain, work.service)
    ]
    for days in range(least, least + MOST_DAYS):
        later_s = days * DAY_S
        if not any(
            start_s + later_s < until_s and from_s < deadline_s + later_s
            for start_s, deadline_s, from_s, until_s in spans
        ):
            return days
    return None
