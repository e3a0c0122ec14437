"""Our tools as a server, seen by the client of the SDK."""

import asyncio
import re
import sys
from pathlib import Path
from typing import Any

import pytest
from mcp import Client, StdioServerParameters

from models.agents import LocalWorkspace
from models.agents.mcp import McpServer
from models.agents.mcp.serve import ToolServer, main
from models.agents.tools.browser import BrowserOptions
from models.agents.tools.registry import USUAL
from models.errors import ConfigError
from models.sandbox import BubblewrapSandbox, SandboxUnavailableError
from models.settings import ROOT
from tests.models.agents.played import ping


def text_of(result: Any) -> str:
    return "".join(block.text for block in result.content if block.type == "text")


def test_a_client_of_another_process_lists_and_calls_our_tools_in_a_sandbox(tmp_path: Path):
    workspace = tmp_path / "project"
    workspace.mkdir()
    try:
        BubblewrapSandbox(workspace).close()
    except SandboxUnavailableError as error:
        pytest.skip(f"this host: {error}")
    words = ["-m", "models.agents.mcp.serve", "--workspace", str(workspace)]
    server = StdioServerParameters(command=sys.executable, args=words, cwd=ROOT)

    async def work() -> dict[str, Any]:
        seen: dict[str, Any] = {}
        async with Client(server) as client:
            listed = (await client.list_tools()).tools
            seen["tools"] = {tool.name: tool for tool in listed}
            for name, command in (
                ("first", "cd /; export COLOUR=red; echo $PPID"),
                ("second", "pwd; echo $COLOUR"),
                ("outside", f"touch /usr/escaped || echo refused; touch {tmp_path}/escaped"),
            ):
                seen[name] = text_of(await client.call_tool("terminal", {"command": command}))
            await client.call_tool("create", {"path": "a.txt", "text": "one\ntwo\n"})
            seen["view"] = text_of(await client.call_tool("view", {"path": "a.txt"}))
            seen["wrong"] = await client.call_tool("view", {"pth": "a.txt"})
            seen["away"] = await client.call_tool("view", {"path": "../secret"})
        return seen

    seen = asyncio.run(work())
    assert [*seen["tools"]] == [*USUAL]
    view, terminal = seen["tools"]["view"], seen["tools"]["terminal"]
    assert (view.annotations.read_only_hint, terminal.annotations.destructive_hint) == (True, True)
    assert view.input_schema["required"] == ["path"]
    assert seen["second"].startswith("/\nred\n")
    assert "refused" in seen["outside"]
    assert not (tmp_path / "escaped").exists()
    assert (workspace / "a.txt").read_text() == "one\ntwo\n"
    assert "1\tone" in seen["view"]
    assert seen["wrong"].is_error
    assert "no argument 'pth', meant 'path'?" in text_of(seen["wrong"])
    assert seen["away"].is_error


def test_a_plan_lives_as_long_as_the_server_and_unknown_tools_are_told(tmp_path: Path):
    async def work() -> tuple[str, Any]:
        server = ToolServer(LocalWorkspace(tmp_path), ["todo", ping]).build()
        async with Client(server) as client:
            await client.call_tool("todo", {"items": [{"title": "Sow"}, {"title": "Reap"}]})
            return text_of(await client.call_tool("todo")), await client.call_tool("pong")

    plan, unknown = asyncio.run(work())
    assert plan == "1. [ ] Sow\n2. [ ] Reap\n2 of 2 steps are open"
    assert unknown.is_error
    assert text_of(unknown) == "no tool named 'pong'; tools: todo, ping"


def test_what_cannot_be_served_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    for tools in (["finish"], [ping, ping]):
        with pytest.raises(ConfigError, match="cannot be served, or is named twice"):
            ToolServer(LocalWorkspace(tmp_path), tools)
    words = ["--workspace", str(tmp_path), "--isolation", "local", "--tools", "terminl"]
    assert main(words) == 2
    assert "did you mean 'terminal'" in capsys.readouterr().err
    assert main(["--workspace", str(tmp_path / "nope")]) == 2
    assert "nope is not there" in capsys.readouterr().err
    assert not (tmp_path / "nope").exists()


def test_the_examples_of_the_page_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    page = (ROOT / "docs" / "agents-tools.md").read_text(encoding="utf-8")
    code = "\n".join(re.findall(r"```python\n(.*?)```", page, re.DOTALL))
    exec(compile(code, "docs/agents-tools.md", "exec"), {"__name__": "docs_agents_tools"})


def test_the_page_names_every_field_of_a_server_and_of_a_browser():
    page = (ROOT / "docs" / "agents-tools.md").read_text(encoding="utf-8")
    for name in (*McpServer.model_fields, *BrowserOptions.model_fields):
        assert f"`{name}`" in page
