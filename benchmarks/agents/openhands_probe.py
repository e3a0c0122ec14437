"""The same measurements on openhands-sdk, run by the Python that has it: prints one JSON object.

    PYTHON benchmarks/agents/openhands_probe.py FOLDER WHAT...

WHAT: append, restore, step, growth, terminal, run. The loops, counts and sizes are those of
`models.agents.bench`; its no-op tool is `think`. Imported by nothing of ours.
"""

import gc
import itertools
import json
import os
import resource
import statistics
import sys
import tempfile
import time
import uuid
from pathlib import Path

os.environ.setdefault("LITELLM_LOCAL_MODEL_COST_MAP", "True")  # else it asks the network
os.environ.setdefault("OPENHANDS_SUPPRESS_BANNER", "1")

from openhands.sdk import Agent, Conversation
from openhands.sdk.context.view import View
from openhands.sdk.conversation.event_store import EventLog
from openhands.sdk.conversation.state import ConversationState
from openhands.sdk.event import ActionEvent, MessageEvent, ObservationEvent
from openhands.sdk.io import LocalFileStore
from openhands.sdk.llm import Message, MessageToolCall, TextContent
from openhands.sdk.testing import TestLLM
from openhands.sdk.tool.builtins.think import ThinkAction, ThinkObservation

ACTION_BYTES, OBSERVATION_BYTES = 800, 2_000


def spread(values):
    """Sum measurements up as our benchmark does."""
    ordered = sorted(values)
    place = min(len(ordered) - 1, int(0.95 * len(ordered)))
    return {"low": ordered[0], "median": statistics.median(ordered), "p95": ordered[place]}


def call(number, text):
    """A call of the no-op tool."""
    arguments = json.dumps({"thought": text})
    return MessageToolCall(id=f"c{number}", name="think", arguments=arguments, origin="completion")


def cycle(number):
    """An action and its observation."""
    text = "x" * ACTION_BYTES
    action = ActionEvent(
        thought=[TextContent(text="")],
        action=ThinkAction(thought=text),
        tool_name="think",
        tool_call_id=f"c{number}",
        tool_call=call(number, text),
        llm_response_id=f"r{number}",
    )
    observation = ObservationEvent(
        observation=ThinkObservation.from_text("y" * OBSERVATION_BYTES),
        action_id=action.id,
        tool_name="think",
        tool_call_id=f"c{number}",
    )
    return action, observation


def append(folder, cycles=300):
    """CPU milliseconds per event, wall milliseconds per cycle."""
    log = EventLog(LocalFileStore(str(folder / "append")))
    work = [cycle(number) for number in range(cycles)]
    wall = []
    gc.collect()
    cpu = time.process_time()
    for action, observation in work:
        start = time.perf_counter()
        log.append(action)
        log.append(observation)
        wall.append(1e3 * (time.perf_counter() - start))
    cpu_ms = 1e3 * (time.process_time() - cpu) / (2 * cycles)
    return {"cpu_ms_per_event": cpu_ms, "cycle_wall_ms": spread(wall)}


def restore(folder, events=10_000, runs=5):
    """CPU milliseconds to open a log and have its view and its open calls."""
    place = str(folder / "restore")
    log = EventLog(LocalFileStore(place))
    log.append(MessageEvent(source="user", llm_message=message("user", "go")))
    for number in range(events // 2):
        for event in cycle(number):
            log.append(event)
    found = []
    for _ in range(runs):
        gc.collect()
        start = time.process_time()
        opened = EventLog(LocalFileStore(place))
        view = View.from_events(opened)
        waiting = ConversationState.get_unmatched_actions(opened)
        found.append(1e3 * (time.process_time() - start))
        assert not waiting
    files = [file for file in Path(place).rglob("*") if file.is_file()]
    return {
        "events": len(opened),
        "visible": len(view.events),
        "cpu_ms": spread(found),
        "files": len(files),
        "mib": sum(file.stat().st_size for file in files) / 1024**2,
    }


def message(role, text):
    """A message with one text."""
    return Message(role=role, content=[TextContent(text=text)])


def run_steps(folder, steps, persisted):
    """Run a scripted conversation; returns CPU milliseconds of each step."""
    turns = [
        Message(
            role="assistant",
            content=[TextContent(text="")],
            tool_calls=[call(number, f"thought {number}")],
        )
        for number in range(steps)
    ]
    llm = TestLLM.from_messages([*turns, message("assistant", "done")])
    marks = []

    def mark(event):
        if isinstance(event, ActionEvent):
            marks.append(time.process_time())

    work = folder / f"work-{uuid.uuid4().hex}"
    work.mkdir()
    conversation = Conversation(
        agent=Agent(llm=llm, tools=[]),
        workspace=str(work),
        persistence_dir=str(folder / "persisted") if persisted else None,
        callbacks=[mark],
        visualizer=None,
        max_iteration_per_run=steps + 10,
        delete_on_close=False,
    )
    conversation.send_message("go")
    gc.collect()
    conversation.run()
    conversation.close()
    return [1e3 * (b - a) for a, b in itertools.pairwise(marks)]


def step(folder):
    """Mean CPU milliseconds of the first 200 steps."""
    return {
        name: {"mean_cpu_ms": statistics.fmean(run_steps(folder, 200, persisted))}
        for name, persisted in (("memory", False), ("disk", True))
    }


def growth(folder, steps=900):
    """CPU milliseconds by window of 100 steps."""
    costs = run_steps(folder, steps, False)
    windows = [costs[place : place + 100] for place in range(0, len(costs) - 99, 100)]
    early, late = statistics.median(costs[10:210]), statistics.median(costs[-200:])
    return {
        "steps": steps,
        "window_cpu_ms": [statistics.fmean(window) for window in windows],
        "ratio": late / early,
        "ms_per_1000_steps": (late - early) / steps * 1_000,
    }


def terminal(folder, count=20):
    """Wall milliseconds of `true` in the terminal."""
    from openhands.tools.terminal import TerminalAction
    from openhands.tools.terminal.impl import TerminalExecutor

    executor = TerminalExecutor(str(folder))
    executor(TerminalAction(command="true"))
    wall = []
    for _ in range(count):
        start = time.perf_counter()
        executor(TerminalAction(command="true"))
        wall.append(1e3 * (time.perf_counter() - start))
    executor.close()
    return {"wall_ms": spread(wall)}


def main():
    """Measure what is asked."""
    place, *asked = sys.argv[1:]
    folder = Path(place)
    if asked[0] == "run":  # under strace
        run_steps(folder, int(asked[1]), True)
        return
    known = {f.__name__: f for f in (append, restore, step, growth, terminal)}
    found = {}
    for name in asked:
        with tempfile.TemporaryDirectory(dir=folder) as scratch:
            found[name] = known[name](Path(scratch))
    found["peak_rss_mib"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    sys.__stdout__.write("\n" + json.dumps(found) + "\n")


if __name__ == "__main__":
    main()
