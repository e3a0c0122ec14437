"""Figures of this room: import, append, fsyncs, restore, steps. CPU first; wall times vary.

    python -m models.agents.bench --json OUT

Everything is measured from outside through the public API, with the workload that the comparison
uses: an action of 1.1 kB and an observation of 2.2 kB per cycle, a played model that calls a tool
which does nothing.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import itertools
import json
import os
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from models.agents.agent import Agent
from models.agents.context.condense import NoCondenser, OutlineCondenser
from models.agents.events import Answer, Event, Intent, Result, UserMessage, new_event
from models.agents.measuring import Spread, machine_ms
from models.agents.store import Durability, MemoryStore, SqliteStore, Store
from models.agents.tools.base import Tool, no_locks, tool
from models.llm import Capabilities, Model, Reply, Request, ToolCall, Usage, assistant, user

ACTION_BYTES, OBSERVATION_BYTES = 800, 2_000
"""Of the texts; with their envelopes about 1.1 and 2.2 kB."""


class PingModel(Model):
    """Calls the tool `ping` so many times, then finishes; does no work that grows.

    Args:
        steps: Calls before the end.
    """

    def __init__(self, steps: int) -> None:
        super().__init__("ping", Capabilities(source="scripted"))
        self._left = steps
        self.cpu_s: list[float] = []
        """CPU seconds of the process at each call."""

    def count_tokens(self, *_: Any) -> int:
        """Count nothing."""
        return 0

    async def _generate(self, request: Request) -> Reply:
        self.cpu_s.append(time.process_time())
        self._left -= 1
        if self._left < 0:
            call = ToolCall("", "finish", '{"message":"done"}')
        else:
            call = ToolCall("", "ping", f'{{"n":{self._left}}}')
        return Reply(assistant("", call), "tool_calls", Usage(1, 0, 1), 0.0, source="scripted")


@tool(read_only=True, locks=no_locks)
async def ping(n: int) -> str:
    """Do nothing."""
    return f"pong {n}"


def import_cost(runs: int = 5) -> dict[str, Any]:
    """Measure `import models.agents` in fresh processes: CPU seconds and peak memory."""
    code = (
        "import models.agents, resource, sys; u = resource.getrusage(resource.RUSAGE_SELF)\n"
        "print(u.ru_utime + u.ru_stime, u.ru_maxrss / 1024, 'litellm' in sys.modules)"
    )
    rows = []
    for _ in range(runs + 1):
        done = subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, check=True
        )
        rows.append(done.stdout.split())
    cpu, memory = ([float(row[place]) for row in rows[1:]] for place in (0, 1))
    return {
        "cpu_s": Spread.of(cpu).rounded(),
        "peak_rss_mib": Spread.of(memory).rounded(),
        "litellm_loaded": rows[-1][2] == "True",
    }


def cycle(number: int) -> list[list[Event]]:
    """Return the two transactions of an action cycle."""
    call = ToolCall(f"c{number}", "run", json.dumps({"command": "x" * ACTION_BYTES}))
    return [
        [
            new_event(Answer(assistant("", call), "tool_calls", Usage(10, 0, 5), 0.0), "agent"),
            new_event(Intent(call.id, call.name, "{}", "d"), "agent"),
        ],
        [new_event(Result(call.id, call.name, "y" * OBSERVATION_BYTES))],
    ]


def append_cost(folder: Path, durability: Durability, cycles: int = 300) -> dict[str, Any]:
    """Measure commits of action cycles: CPU milliseconds per event, wall per cycle."""
    log = SqliteStore(folder, durability).open(f"append-{durability}")
    wall, events = [], 0
    work = [cycle(number) for number in range(cycles)]
    gc.collect()
    cpu = time.process_time()
    for first, second in work:
        start = time.perf_counter()
        log.commit(first)
        log.flush()
        log.commit(second)
        wall.append(1e3 * (time.perf_counter() - start))
        events += len(first) + len(second)
    cpu_ms = 1e3 * (time.process_time() - cpu) / events
    log.close()
    return {"cpu_ms_per_event": round(cpu_ms, 4), "cycle_wall_ms": Spread.of(wall).rounded()}


def run_steps(
    store: Store, folder: Path, steps: int, tools: Sequence[Tool] = (ping,)
) -> tuple[list[float], int]:
    """Run a played conversation; returns CPU milliseconds of each step, and the events."""
    model = PingModel(steps)
    agent = Agent(model, tools, condenser=NoCondenser(), max_steps=steps + 10)

    async def work() -> int:
        async with agent.open(folder, store, f"steps-{steps}") as conversation:
            (await conversation.send("go")).check()
            return conversation.state.seq

    gc.collect()
    events = asyncio.run(work())
    marks = model.cpu_s
    return [1e3 * (b - a) for a, b in itertools.pairwise(marks)], events


def step_cost(folder: Path) -> dict[str, Any]:
    """Measure the first 200 steps of a conversation: CPU milliseconds each."""
    found: dict[str, Any] = {}
    places: dict[str, Store] = {"memory": MemoryStore()}
    places |= {m: SqliteStore(folder / f"steps-{m}", m) for m in ("relaxed", "group", "strict")}
    for name, store in places.items():
        costs, _ = run_steps(store, folder, 200)
        found[name] = {"mean_cpu_ms": round(statistics.fmean(costs), 3)}
    return found


def growth(folder: Path, steps: int = 3_400) -> dict[str, Any]:
    """Measure whether a step costs more when its history is long, without condensing.

    A step has three events. The early figure is of steps 10 to 210, so that both are means of
    200.
    """
    costs, events = run_steps(SqliteStore(folder / "growth", "relaxed"), folder, steps)
    windows = [costs[place : place + 100] for place in range(0, len(costs) - 99, 100)]
    early, late = statistics.median(costs[10:210]), statistics.median(costs[-200:])
    return {
        "events": events,
        "window_cpu_ms": [round(statistics.fmean(window), 3) for window in windows],
        "early_ms": round(early, 4),
        "late_ms": round(late, 4),
        "ratio": round(late / early, 3),
        "ms_per_1000_steps": round((late - early) / steps * 1_000, 4),
    }


def restore_cost(folder: Path, events: int = 10_000, runs: int = 7) -> dict[str, Any]:
    """Measure opening a log: to the first prompt when condensed, and read whole, in CPU ms."""
    store = SqliteStore(folder / "restore", "relaxed")
    agent = Agent(PingModel(0), (ping,), condenser=OutlineCondenser())
    _fill(store, agent, folder, events)
    lazy, whole = [], []
    for _ in range(runs):
        gc.collect()
        start = time.process_time()
        conversation = agent.open(folder, store, "long")
        messages, waiting = conversation.view(), conversation.open_calls()
        lazy.append(1e3 * (time.process_time() - start))
        assert messages
        assert not waiting
        start = time.process_time()
        count = len(conversation.events())
        whole.append(1e3 * (time.process_time() - start))
        conversation.store.close()
    size = sum(file.stat().st_size for file in (folder / "restore").iterdir())
    return {
        "events": count,
        "visible_messages": len(messages),
        "first_prompt_cpu_ms": Spread.of(lazy).rounded(),
        "typed_replay_cpu_ms": Spread.of(whole).rounded(),
        "mib": round(size / 1024**2, 2),
    }


def _fill(store: SqliteStore, agent: Agent, folder: Path, events: int) -> None:
    async def work() -> None:
        async with agent.open(folder, store, "long") as conversation:
            await conversation.post("go")
            number = 0
            while conversation.state.seq < events:
                for batch in cycle(number):
                    conversation.store.commit(batch)
                number += 1
                if agent.condenser.wants(conversation.visible):
                    await conversation.condense()
            conversation.store.commit([new_event(UserMessage(user("and now?")), "user")])

    asyncio.run(work())


def fsyncs(folder: Path, durability: Durability) -> float | None:
    """Count fsyncs of an action cycle of ours; None where strace is missing or not allowed."""
    own = [sys.executable, "-m", "models.agents.bench", "--run"]
    return fsyncs_of(
        lambda steps: [*own, str(steps), durability, str(folder)], folder / f"trace-{durability}"
    )


def fsyncs_of(command: Callable[[int], list[str]], trace: Path) -> float | None:
    """Count fsyncs of an action cycle: runs of 30 and of 10 steps under strace, difference / 20.

    Args:
        command: Runs so many steps.
        trace: File for what strace writes.

    Returns:
        None where strace is missing or not allowed.
    """
    if shutil.which("strace") is None:
        return None
    counts = []
    for steps in (10, 30):
        watched = ["strace", "-f", "-e", "trace=fsync,fdatasync", "-o", str(trace)]
        done = subprocess.run([*watched, *command(steps)], capture_output=True, text=True)
        if done.returncode or not trace.exists():
            return None
        counts.append(sum("sync(" in line for line in trace.read_text().splitlines()))
    return (counts[1] - counts[0]) / 20


def measure(folder: Path, growth_steps: int = 3_400) -> dict[str, Any]:
    """Return all figures.

    Args:
        folder: On the disk that is to be measured; empty.
        growth_steps: Of the longest conversation.
    """
    modes: tuple[Durability, ...] = ("strict", "group", "relaxed")
    return {
        "load_1_min": round(os.getloadavg()[0], 2),
        "machine_ms": machine_ms(),
        "import": import_cost(),
        "append": {mode: append_cost(folder, mode) for mode in modes},
        "fsyncs_per_cycle": {mode: fsyncs(folder, mode) for mode in modes},
        "step": step_cost(folder),
        "growth": growth(folder, growth_steps),
        "restore": restore_cost(folder),
        "peak_rss_mib": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024, 1),
    }


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure from the command line and print JSON."""
    parser = argparse.ArgumentParser(description="Figures of the agent runtime.")
    parser.add_argument("--json", type=Path, default=None)
    parser.add_argument("--folder", type=Path, default=None)
    parser.add_argument("--growth", type=int, default=3_400, metavar="STEPS")
    parser.add_argument("--run", nargs=3, default=None, metavar=("STEPS", "DURABILITY", "FOLDER"))
    asked = parser.parse_args(arguments)
    if asked.run:
        steps, durability, place = asked.run
        run_steps(SqliteStore(Path(place) / "traced", durability), Path(place), int(steps))
        return 0
    with tempfile.TemporaryDirectory(prefix="agents-bench-", dir=asked.folder) as scratch:
        text = json.dumps(measure(Path(scratch), asked.growth), indent=2)
    if asked.json:
        asked.json.write_text(text + "\n")
    print(text)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
