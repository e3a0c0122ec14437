"""An agent with its usual tools in a sandbox, from prompt to file; and the examples of the page."""

import asyncio
import re
import time
from pathlib import Path

import psutil
import pytest

from models.agents import (
    Agent,
    Conversation,
    LocalWorkspace,
    Outcome,
    SandboxWorkspace,
    SqliteStore,
)
from models.agents.errors import ToolDefinitionError
from models.agents.events import Result
from models.agents.events.types import BODIES
from models.agents.tools.registry import NAMED, USUAL, Registry, resolve
from models.errors import UnknownNameError
from models.llm import ScriptedModel
from models.sandbox import SandboxUnavailableError
from models.settings import ROOT
from tests.models.agents.played import bodies, calls, finishes, ping


def test_an_agent_writes_runs_and_plans_behind_walls(tmp_path: Path):
    place = SandboxWorkspace(tmp_path / "work")
    try:
        place.sandbox.run("true")
    except SandboxUnavailableError as error:
        pytest.skip(str(error))
    script = [
        calls(("todo", {"items": [{"title": "write it", "status": "doing"}]})),
        calls(("create", {"path": "hello.py", "text": "print(6 * 7)\n"})),
        calls(("terminal", {"command": "cd /tmp; export WORD=kept"})),
        calls(
            ("terminal", {"command": f"python3 {tmp_path}/work/hello.py; echo $WORD; pwd"}),
            ("grep", {"pattern": "print"}),
        ),
        finishes("it prints 42"),
    ]
    agent = Agent(ScriptedModel(script))
    conversation = agent.open(place, SqliteStore(tmp_path / "talks"), "t")
    assert conversation.blocking.send("print 42").text == "it prints 42"
    results = [result.text for result in bodies(conversation, Result)]
    assert all(result.outcome == "ok" for result in bodies(conversation, Result)), results
    assert results[3].startswith("42\nkept\n/tmp")
    assert "hello.py" in results[4]
    assert [item["title"] for item in conversation.state.plan] == ["write it"]
    conversation.blocking.close()
    again = agent.open(place, SqliteStore(tmp_path / "talks"), "t")
    assert [item["title"] for item in again.state.plan] == ["write it"]
    again.blocking.close()


@pytest.mark.parametrize("kind", [LocalWorkspace, SandboxWorkspace])
def test_behaviour_17_an_interrupt_ends_what_the_terminal_runs_within_a_second(
    tmp_path: Path, kind: type[LocalWorkspace]
):
    place = kind(tmp_path / "work")
    try:
        place.sandbox.run("true")
    except SandboxUnavailableError as error:
        pytest.skip(str(error))
    word = f"61.{len(kind.__name__)}"  # of no other test that runs at the same time
    command = f"sleep {word} & sleep {word}; echo over"
    script = [calls(("terminal", {"command": command, "timeout_s": 60})), finishes("stopped")]

    async def work() -> float:
        async with Agent(ScriptedModel(script)).open(place) as conversation:
            run = asyncio.ensure_future(_whole(conversation))
            while not _running(word):
                await asyncio.sleep(0.02)
            start = time.monotonic()
            conversation.interrupt()
            assert (await run).phase == "paused"
            took = time.monotonic() - start
            assert bodies(conversation, Result)[0].outcome == "cancelled"
            assert (await conversation.run()).text == "stopped"
            return took

    took = asyncio.run(work())
    place.close()
    assert took < 1
    deadline = time.monotonic() + 3
    while _running(word) and time.monotonic() < deadline:
        time.sleep(0.02)
    assert not _running(word)


async def _whole(conversation: Conversation) -> Outcome:
    return await conversation.send("go")


def _running(word: str) -> bool:
    for process in psutil.process_iter(["cmdline", "status"]):
        words = process.info["cmdline"] or []
        if words[:1] == ["sleep"] and word in words and process.info["status"] != "zombie":
            return True
    return False


def test_tools_have_short_names_or_long_ones():
    assert {*USUAL} <= {*NAMED}
    assert [resolve(name).name for name in NAMED] == [*NAMED]
    assert resolve("tests.models.agents.played:ping") is ping
    with pytest.raises(UnknownNameError, match="no tool named 'terminl'; did you mean 'terminal'"):
        resolve("terminl")
    with pytest.raises(UnknownNameError, match="importing it failed"):
        resolve("models.agents:nothing")
    with pytest.raises(ToolDefinitionError, match="decorate it with @tool"):
        resolve("models.agents:Agent")
    with pytest.raises(ToolDefinitionError, match="two tools are named 'ping'"):
        Registry([ping, ping.with_(description="other")])
    assert Registry([ping, "terminal", ping]).names == ("think", "finish", "ping", "terminal")


PAGE = (ROOT / "docs" / "agents.md").read_text(encoding="utf-8")


def test_the_examples_of_the_page_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    code = "\n".join(re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL))
    exec(compile(code, "docs/agents.md", "exec"), {"__name__": "docs_agents"})
    assert (tmp_path / "talk.jsonl").exists()


def test_the_page_names_every_tool_and_every_kind_of_event():
    for name in (*NAMED, *BODIES):
        assert f"`{name}`" in PAGE


def test_the_five_lines_of_the_readme_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    monkeypatch.chdir(tmp_path)
    page = (ROOT / "README.md").read_text(encoding="utf-8")
    (code,) = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    assert len([line for line in code.splitlines() if line]) <= 5
    exec(compile(code, "README.md", "exec"), {"__name__": "readme"})
    assert capsys.readouterr().out == "It said hello.\n"
