"""Kill -9 at random moments, then reopen and look whether all is there, and nothing twice.

    python -m models.agents.crash_trials --trials 200 --seed 1

A child process runs a played conversation whose tools leave a mark for each effect, and writes down
every event that was acknowledged to it. It is killed after a random time, or its lease is taken
over. Then the log is opened here and held against what must be true; the next child goes on with
the same conversation.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import random
import signal
import sqlite3
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

from models.agents.context.view import View, mismatches
from models.agents.crash_child import CONVERSATION, STALE, fork, play
from models.agents.events import (
    Note,
    Result,
    Started,
    SystemPrompt,
    Title,
    UserMessage,
    new_event,
)
from models.agents.state import State
from models.agents.store import Durability, Log, SqliteStore
from models.agents.store.lease import Owner

MODES: Sequence[Durability] = ("strict", "group", "relaxed")

FROM_ANYWHERE = {Started.kind, SystemPrompt.kind, Title.kind, UserMessage.kind}
"""What may be appended without a lease: somebody speaks."""


@dataclass
class Trials:
    """What came out."""

    seed: int
    trials: int = 0
    killed: int = 0
    taken_over: int = 0
    events: int = 0
    """In all logs, at the end."""
    acknowledged: int = 0
    unknown_outcomes: int = 0
    """Calls that were told to the model as unknown instead of being run again."""
    lost_events: int = 0
    double_results: int = 0
    double_effects: int = 0
    """Effects of a tool that must not be run again, and was."""
    unresumable: int = 0
    problems: list[str] = field(default_factory=list)
    wall_s: float = 0.0

    @property
    def ok(self) -> bool:
        """Whether nothing was lost, doubled or stuck."""
        return not self.problems


def run_trials(trials: int, seed: int, folder: Path, most_wait_s: float = 0.25) -> Trials:
    """Run trials, several on each conversation.

    Args:
        trials: Kills, all together.
        seed: Of the moments, kinds and durabilities.
        folder: Empty; holds the logs and marks.
        most_wait_s: Longest time before a kill, in seconds from the child's start.
    """
    rng, found, start = random.Random(seed), Trials(seed), time.monotonic()
    number = 0
    while found.trials < trials:
        home = folder / f"talk-{number}"
        home.mkdir(parents=True)
        mode = MODES[number % len(MODES)]
        for _ in range(min(10, trials - found.trials)):
            found.trials += 1
            _one(home, mode, rng, most_wait_s, found)
            if len(found.problems) > 20:
                return found
        _last(home, mode, found)
        number += 1
    found.wall_s = time.monotonic() - start
    return found


def _one(
    home: Path, mode: Durability, rng: random.Random, most_wait_s: float, found: Trials
) -> None:
    takes_over = rng.random() < 0.1
    child = fork(lambda: play(home, mode, rng.random(), turns=None))
    time.sleep(rng.uniform(0, most_wait_s))
    if takes_over and _runs(home, child):
        found.taken_over += 1
        problem = _take_over(home, mode, child)
    else:
        found.killed += 1
        os.kill(child, signal.SIGKILL)
        _, status = os.waitpid(child, 0)
        died = os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL
        problem = "" if died else f"the child ended by itself with status {status}"
    found.problems += [f"{home.name}: {problem}"] if problem else []
    found.problems += [f"{home.name}: {told}" for told in check(home, mode, found)]


def _runs(home: Path, child: int) -> bool:
    """Wait a moment until a child holds the lease of its log."""
    file = home / f"{CONVERSATION}.conversation"
    for _ in range(100):
        if file.exists():
            owner = ""
            # A file that is just being made has no tables yet.
            with (
                contextlib.suppress(sqlite3.OperationalError, TypeError),
                contextlib.closing(sqlite3.connect(file, timeout=5)) as db,
            ):
                owner = db.execute("SELECT owner FROM state").fetchone()[0]
            if owner and Owner.from_json(owner).pid == child:
                return True
        time.sleep(0.01)
    return False


def _take_over(home: Path, mode: Durability, child: int) -> str:
    """Take the lease of a live child; it must stop, and append nothing more."""
    log = SqliteStore(home, mode).open(CONVERSATION)
    log.acquire(take_over=True)
    log.commit([new_event(Note("taken over"))])
    mine = log.state.seq
    deadline = time.monotonic() + 5
    ended = 0
    while not ended and time.monotonic() < deadline:
        ended, status = os.waitpid(child, os.WNOHANG)
        time.sleep(0.005)
    if not ended:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
    later = sum(event.kind not in FROM_ANYWHERE for event in log.events(after=mine))
    log.close()
    if not ended:
        return "a child without its lease ran on"
    if later:
        return f"a child without its lease appended {later} events"
    return "" if os.waitstatus_to_exitcode(status) == STALE else f"the child ended with {status}"


def _last(home: Path, mode: Durability, found: Trials) -> None:
    """The next turn must succeed, whatever was before."""
    child = fork(lambda: play(home, mode, 0.5, turns=1))
    _, status = os.waitpid(child, 0)
    if os.waitstatus_to_exitcode(status) != 0:
        found.unresumable += 1
        found.problems.append(f"{home.name}: the next turn failed with status {status}")
    found.problems += [f"{home.name}: {told}" for told in check(home, mode, found)]
    log = SqliteStore(home, mode).open(CONVERSATION)
    found.events += log.state.seq
    found.unknown_outcomes += sum(
        isinstance(event.body, Result) and event.body.outcome == "unknown"
        for event in log.events(kinds=[Result.kind])
    )
    log.close()
    found.acknowledged += len(_lines(home / "acks"))


def check(home: Path, mode: Durability, found: Trials) -> list[str]:
    """Return what is not as it must be in a log that nobody has open."""
    log = SqliteStore(home, mode).open(CONVERSATION)
    try:
        return [*_check_log(log), *_check_marks(log, home, found)]
    finally:
        log.close()


def _check_log(log: Log) -> list[str]:
    problems = []
    if damage := log.damage or log.verify():
        problems.append(f"damage after event {damage.intact_seq}: {damage.why}")
    state = State()
    seqs: dict[str | None, int] = {None: 0}
    events = log.events()
    for event in events:
        state.apply(event, seqs[event.parent])
        seqs[event.id] = event.seq
    if state != log.state:
        problems.append("the stored state is not what the events add up to")
    if events and (log.state.seq, log.state.head) != (events[-1].seq, events[-1].id):
        problems.append("the head is not the last event")
    view = View(log.spans)
    view.load(log.state)
    problems += mismatches(view.messages())
    return problems


def _check_marks(log: Log, home: Path, found: Trials) -> list[str]:
    problems = []
    ids = {event.id for event in log.events()}
    lost = [line for line in _lines(home / "acks") if line not in ids]
    found.lost_events += len(lost)
    if lost:
        problems.append(f"{len(lost)} acknowledged events are lost")
    results = Counter(event.call_id for event in log.events(kinds=[Result.kind]))
    double = [call_id for call_id, count in results.items() if count > 1]
    found.double_results += len(double)
    if double:
        problems.append(f"two results of {', '.join(double)}")
    effects = Counter(_lines(home / "effects"))
    twice = [call_id for call_id, count in effects.items() if count > 1]
    found.double_effects += len(twice)
    if twice:
        problems.append(f"ran twice: {', '.join(twice)}")
    return problems


def _lines(file: Path) -> list[str]:
    return file.read_text().split() if file.exists() else []


def main(arguments: Sequence[str] | None = None) -> int:
    """Run trials from the command line and print what came out as JSON."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--trials", type=int, default=200)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--folder", type=Path, default=None)
    asked = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory(prefix="crash-trials-") as scratch:
        found = run_trials(asked.trials, asked.seed, asked.folder or Path(scratch))
    print(json.dumps(asdict(found), indent=2))
    return 0 if found.ok else 1


if __name__ == "__main__":
    raise SystemExit(main())
