"""An attack played by an agent of `models/agents` against a real MCP server; its log is judged.

Slower than `execute.py` by a factor of hundreds, and the whole way: the agent's loop, the protocol,
the sandbox around the server, the log, the sensor that reads it.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import orjson

from models.agents import Agent, LocalWorkspace, MemoryStore
from models.agents.mcp import McpServer
from models.agents.store.jsonl import export_lines
from models.detection.explorer.execute import Stage, effects_of, play
from models.detection.explorer.genome import Genome
from models.detection.explorer.victim import Asked, Victim
from models.detection.sensor.collect import read_log
from models.detection.session import Session
from models.errors import ServiceError
from models.llm import Request, ScriptedModel, ToolCall, Turn
from models.sandbox import SandboxUnavailableError
from models.sandbox.bubblewrap import usable_bwrap
from models.settings import ROOT

SERVER = "world"


@dataclass(frozen=True)
class AgentPlay:
    """A session that an agent played.

    Attributes:
        session: As the sensor reads it from the agent's log.
        effects: Of each step of the attack, whether it was carried out, by the server's state.
        is_walled: The server ran in a sandbox.
    """

    session: Session
    effects: tuple[bool, ...]
    is_walled: bool


def play_through_agents(
    genome: Genome, seed: str, victim: Victim, folder: Path,
    *, walls: Literal["auto", "sandbox", "none"] = "auto",
) -> AgentPlay:  # fmt: skip
    """Play an attack with a server process, a scripted agent and its log.

    Args:
        genome: The attack.
        seed: Of names, records, task and tools.
        victim: Who works, as in `execute.play`.
        folder: For the state of the world and the log; nothing else is written.
        walls: Where the server runs; auto: in a sandbox where this host has one.

    Raises:
        SandboxUnavailableError: A sandbox was asked for and there is none.
        ServiceError: The agent did not come to an end.
    """
    is_walled = walls != "none" and _has_sandbox(is_needed=walls == "sandbox")
    work = folder / "world"
    work.mkdir(parents=True, exist_ok=True)
    state = work / "state.json"
    stage = Stage(genome, seed, victim)
    words = ["--genome", genome.to_json().decode(), "--seed", seed, "--state", str(state)]
    words += ["--victim", victim.name, "--walls", "sandbox" if is_walled else "none"]
    server = McpServer(
        command=sys.executable, args=("-m", "models.detection.explorer.serve", *words),
        env={"PYTHONPATH": str(ROOT)}, start_timeout_s=60,
    )  # fmt: skip
    answers: list[str] = []
    model = ScriptedModel(lambda request: _line(stage, request, answers), name=victim.name)
    agent = Agent(model, [], mcp={SERVER: server}, max_steps=80)
    conversation = agent.open(LocalWorkspace(work), MemoryStore(), genome.digest)
    try:
        while (prompt := stage.mind.begin()) is not None:
            outcome = conversation.blocking.send(prompt)
            if outcome.phase != "finished":
                raise ServiceError(
                    f"the agent that plays {genome.digest} ended as '{outcome.phase}': "
                    f"{outcome.reason}; see the log in {folder}"
                )
        log = folder / f"{genome.digest}.jsonl"
        log.write_bytes(b"".join(export_lines(conversation.store)))
    finally:
        conversation.blocking.close()
    stage.world.tables = orjson.loads(state.read_bytes())
    for said in answers:
        stage.world.answer(said)
    (session,) = read_log(log)
    without = play(genome, seed, victim, obeys=False).counts
    return AgentPlay(session, effects_of(genome, stage.counts(), without), is_walled)


def _line(stage: Stage, request: Request, answers: list[str]) -> Turn:
    """Say what the victim says next, given what a tool answered last."""
    last = request.messages[-1]
    if last.role == "tool":
        stage.mind.hear(last.text)
    asked = stage.mind.next()
    if asked is None:
        said, _ = stage.mind.answer()
        answers.append(said)
        return Turn(text=said)
    return Turn(tool_calls=(_call(stage, asked),))


def _call(stage: Stage, asked: Asked) -> ToolCall:
    name = f"{SERVER}__{stage.tools.tools[asked.operation]}"
    return ToolCall.of("", name, stage.tools.spelled(asked.operation, asked.columns))


def _has_sandbox(*, is_needed: bool) -> bool:
    try:
        usable_bwrap()
    except SandboxUnavailableError:
        if is_needed:
            raise
        return False
    return True
