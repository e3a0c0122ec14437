"""Behaviour 10, counted in calls and not in time; and what the bench measures."""

import asyncio
import sys
from pathlib import Path
from typing import Any

import pytest

from models.agents import Agent, SqliteStore
from models.agents.bench import (
    PingModel,
    append_cost,
    cycle,
    fsyncs,
    growth,
    import_cost,
    ping,
    restore_cost,
)
from models.agents.context.condense import NoCondenser
from models.agents.store import Durability


def _calls_per_step(folder: Path, cycles: int) -> float:
    """Count the function calls of a step, Python's and C's, on a log with so many cycles."""
    model = PingModel(30)
    agent = Agent(model, (ping,), condenser=NoCondenser(), max_steps=100)
    count, marks = [0], []

    def profile(frame: Any, event: str, argument: Any) -> None:
        count[0] += event in ("call", "c_call")

    generate = model._generate

    async def counted(request: Any) -> Any:
        marks.append(count[0])
        assert len(request.messages) >= 2 * cycles
        return await generate(request)

    model._generate = counted

    async def work() -> None:
        async with agent.open(folder, SqliteStore(folder, "relaxed"), f"t{cycles}") as talk:
            await talk.post("go")
            for number in range(cycles):
                for batch in cycle(number):
                    talk.store.commit(batch)
            await talk.post("on")
            sys.setprofile(profile)
            try:
                await talk.run()
            finally:
                sys.setprofile(None)

    asyncio.run(work())
    return (marks[30] - marks[10]) / 20


def test_behaviour_10_a_step_at_10000_events_costs_what_the_tenth_costs(tmp_path: Path):
    short, long = _calls_per_step(tmp_path, 10), _calls_per_step(tmp_path, 3_330)
    assert long <= 1.05 * short
    # A thousand calls are about a tenth of a millisecond.
    assert short < 2_000


@pytest.mark.parametrize(("durability", "most"), [("strict", 2), ("group", 1), ("relaxed", 0)])
def test_an_action_cycle_syncs_as_often_as_its_durability_says(
    tmp_path: Path, durability: Durability, most: int
):
    found = fsyncs(tmp_path, durability)
    if found is None:
        pytest.skip("strace is not there or not allowed")
    assert found <= most
    if durability == "strict":
        assert found == 2


def test_the_bench_gives_numbers(tmp_path: Path):
    assert import_cost(1)["litellm_loaded"] is False
    assert append_cost(tmp_path, "group", 5)["cpu_ms_per_event"] > 0
    found = growth(tmp_path, 300)
    assert found["events"] > 900
    assert len(found["window_cpu_ms"]) == 3
    restored = restore_cost(tmp_path, 1_200, 2)
    assert restored["events"] >= 1_200
    assert 100 < restored["visible_messages"] < 700
