"""Servers of the Model Context Protocol: real processes, on standard streams and over HTTP."""

import asyncio
import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import mcp_types
import psutil
import pytest

from models.agents import Agent, AlwaysConfirm, Conversation, LocalWorkspace, SqliteStore
from models.agents.events import Notice, Result
from models.agents.mcp import McpServer, read_servers
from models.agents.mcp.hub import Hub
from models.agents.mcp.spec import servers_of
from models.agents.mcp.tool import name_of, tools_of
from models.agents.tools.context import NoSecrets
from models.errors import ConfigError
from models.llm import ScriptedModel
from models.services.ports import any_port
from tests.models.agents.played import bodies, calls, finishes

HERE = Path(__file__).parent
REAL, ROUGH = str(HERE / "mcp_server.py"), str(HERE / "mcp_rough.py")
CANARY = "canary-7f3a9c51"


def rough(*words: str, **fields: Any) -> dict[str, Any]:
    return {"command": sys.executable, "args": ["-S", ROUGH, *words], **fields}


def results(conversation: Conversation) -> list[Result]:
    return [body for body in bodies(conversation, Result) if body.name != "finish"]


def offered(model: ScriptedModel) -> list[set[str]]:
    """Names of the tools that the model was offered, call by call."""
    return [{tool.name for tool in seen.options.tools} for seen in model.requests]


@pytest.fixture
def talk(tmp_path: Path) -> Iterator[Callable[..., Conversation]]:
    """Run a played model against servers; its conversation is closed when the test ends."""
    opened: list[Conversation] = []

    def make(servers: dict[str, Any], *script: Any, **fields: Any) -> Conversation:
        where = {key: fields.pop(key) for key in ("store", "id", "secrets") if key in fields}
        model = ScriptedModel([*script, finishes()])
        agent = Agent(model, [], mcp=servers, **fields)
        conversation = agent.open(LocalWorkspace(tmp_path), **where)
        conversation.script = model
        opened.append(conversation)
        conversation.blocking.send("Go")
        return conversation

    yield make
    for conversation in opened:
        conversation.blocking.close()


@pytest.fixture
def serve(tmp_path: Path) -> Iterator[Callable[[str], tuple[str, subprocess.Popen[bytes]]]]:
    """Start a real server on one port, again on the same one when called again."""
    started: list[subprocess.Popen[bytes]] = []
    port = any_port()

    def start(kind: str) -> tuple[str, subprocess.Popen[bytes]]:
        started.append(subprocess.Popen([sys.executable, REAL, kind, str(port)], cwd=tmp_path))
        for _ in range(600):
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port)):
                path = "sse" if kind == "sse" else "mcp"
                return f"http://127.0.0.1:{port}/{path}", started[-1]
            time.sleep(0.05)
        raise AssertionError("the server does not listen")

    yield start
    for process in started:
        process.kill()
        process.wait()


def check_behaviour_56(conversation: Conversation, prefix: str) -> None:
    added, refused, failed, drawn, learned, shouted = results(conversation)[:6]
    assert (added.text, added.outcome) == ("3", "ok")
    assert added.data["structured"] == {"result": 3}
    assert "'a': should be of type integer" in refused.text
    assert "it takes: a (required), b (required)" in refused.text
    assert (failed.outcome, failed.text) == ("error", "Error executing tool fail")
    assert [image.media_type for image in drawn.images] == ["image/png"]
    assert learned.text == "learned"
    assert (shouted.text, shouted.outcome) == ("HI", "ok")
    seen = offered(conversation.script)
    assert f"{prefix}__shout" not in seen[4]
    assert f"{prefix}__shout" in seen[5]
    spec = next(tool for tool in conversation.kit.options.tools if tool.name == f"{prefix}__add")
    assert spec.description == "Add two numbers."
    assert spec.parameters["properties"]["a"]["type"] == "integer"


def behaviour_56(prefix: str) -> list[Any]:
    return [
        calls((f"{prefix}__add", {"a": 1, "b": 2})),
        calls((f"{prefix}__add", {"a": "one", "b": 2})),
        calls((f"{prefix}__fail", {})),
        calls((name_of(prefix, "files.draw"), {})),
        calls((f"{prefix}__learn", {})),
        calls((f"{prefix}__shout", {"text": "hi"})),
    ]


@pytest.mark.parametrize(
    ("name", "why"),
    [("surrogate", "hex escape"), ("deep", "recursion limit exceeded"), ("latin", "unicode")],
)
def test_an_answer_that_cannot_be_read_is_told_at_once(
    talk: Callable[..., Conversation], name: str, why: str
):
    says = calls(("r__say", {"text": "back"}))
    wrong, right = results(talk({"r": rough(timeout_s=60)}, calls((f"r__{name}", {})), says))
    assert wrong.text.startswith(
        f"'{name}' of the MCP server 'r' failed: its answer cannot be read"
    )
    assert why in wrong.text
    assert right.text == "back"


def test_behaviour_56_tools_of_a_stdio_server_are_listed_called_and_changed(
    talk: Callable[..., Conversation],
):
    conversation = talk(
        {"real": {"command": sys.executable, "args": [REAL, "stdio"]}}, *behaviour_56("real")
    )
    check_behaviour_56(conversation, "real")
    tools = {tool.name: tool for tool in conversation.kit.registry}
    flags = [
        (tools[f"real__{name}"].read_only, tools[f"real__{name}"].destructive,
         tools[f"real__{name}"].idempotent)
        for name in ("add", "note", "learn")
    ]  # fmt: skip
    assert flags == [(True, False, False), (False, False, True), (False, True, False)]


def test_behaviour_56_tools_of_an_http_server_are_listed_called_changed_and_found_again(
    talk: Callable[..., Conversation], serve: Callable[[str], tuple[str, subprocess.Popen[bytes]]]
):
    url, process = serve("http")
    server = {"url": url, "headers": {"Authorization": "Bearer ${TOKEN}"}}
    conversation = talk(
        {"web": server},
        *behaviour_56("web"),
        calls(("web__who", {})),
        *(finishes(), calls(("web__add", {"a": 1, "b": 1}))),
        *(finishes(), calls(("web__add", {"a": 2, "b": 2}))),
        secrets={"TOKEN": CANARY},
    )
    check_behaviour_56(conversation, "web")
    assert results(conversation)[6].text == "Bearer [secret:TOKEN]"

    process.kill()
    process.wait()
    conversation.blocking.send("Again")
    lost = results(conversation)[7]
    assert lost.outcome == "error"
    assert "the MCP server 'web'" in lost.text

    serve("http")
    time.sleep(1.1)  # its next attempt is due
    conversation.blocking.send("And again")
    assert results(conversation)[8].text == "4"


def test_a_server_of_the_older_protocol_over_http_is_called(
    talk: Callable[..., Conversation],
    serve: Callable[[str], tuple[str, subprocess.Popen[bytes]]],
):
    url, _ = serve("sse")
    conversation = talk({"old": {"url": url, "type": "sse"}}, calls(("old__add", {"a": 1, "b": 2})))
    assert results(conversation)[0].text == "3"


def test_an_answer_over_http_without_end_ends_the_connection_and_not_us(
    talk: Callable[..., Conversation], monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("models.agents.mcp.web.MOST_MESSAGE_BYTES", 1_000_000)
    written: list[int] = []

    class Endless(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.end_headers()
            with contextlib.suppress(OSError):
                for _ in range(1_000):
                    written.append(self.wfile.write(b" " * 100_000))

        def log_message(self, *_: object) -> None: ...

    with ThreadingHTTPServer(("127.0.0.1", 0), Endless) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        conversation = talk({"web": {"url": f"http://127.0.0.1:{server.server_port}/mcp"}})
        server.shutdown()
    (notice,) = [body.text for body in bodies(conversation, Notice)]
    assert "it sent more than 1,000,000 bytes" in notice
    assert sum(written) < 50_000_000
    assert conversation.outcome.ok


def test_a_server_that_dies_is_an_error_result_and_is_started_again(
    talk: Callable[..., Conversation], tmp_path: Path
):
    conversation = talk({"r": rough()}, calls(("r__die", {})), calls(("r__say", {"text": "back"})))
    died, back = results(conversation)
    assert died.outcome == "error"
    assert "was lost while 'die' ran (its process ended with exit code 7" in died.text
    assert "out of sausages" in died.text
    assert "nobody knows whether it took effect" in died.text
    assert back.text == "back"
    assert len((tmp_path / "starts").read_text().split()) == 2
    assert conversation.outcome.ok


def test_a_server_that_hangs_is_given_up_killed_and_started_again(
    talk: Callable[..., Conversation], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("models.agents.mcp.connection._PROBE_S", 0.3)
    conversation = talk(
        {"r": rough(timeout_s=0.5)}, calls(("r__hang", {})), calls(("r__say", {"text": "back"}))
    )
    hung, back = results(conversation)
    assert (hung.outcome, back.text) == ("error", "back")
    assert "'hang' was given up after 0.5 s (`timeout_s` of the MCP server 'r')" in hung.text
    first, second = map(int, (tmp_path / "starts").read_text().split())
    assert not psutil.pid_exists(first)
    assert psutil.pid_exists(second)


def test_a_crash_loop_is_tried_less_and_less_often(talk: Callable[..., Conversation]):
    conversation = talk({"r": rough()}, *[calls(("r__die", {}))] * 3)
    first, second, third = results(conversation)
    assert "was lost while 'die' ran" in first.text
    assert "was lost while 'die' ran" in second.text
    assert "is not there, nothing was done" in third.text
    assert "it is tried again in 0." in third.text
    told = [body.text for body in bodies(conversation, Notice) if "MCP" in body.text]
    assert len(told) == 1
    assert told[0].startswith("The MCP server 'r' is away: its process ended with exit code 7")


@pytest.mark.parametrize(
    ("server", "told"),
    [
        (rough("broken"), "its process ended with exit code 1"),
        (rough("silent", start_timeout_s=0.5), "it did not answer within 0.5 s"),
        ({"command": "no-such-program"}, "there is no program 'no-such-program'"),
        # There is one below our own folder, and it starts in the workspace.
        ({"command": "models/../.venv/bin/python"}, "there is no program 'models/../.venv"),
        (rough(env={"KEY": "${MISSING}"}), "needs the secret MISSING"),
        ({"url": "http://127.0.0.1:9/mcp", "start_timeout_s": 5}, "connect"),
    ],
)
def test_a_server_that_cannot_start_is_told_and_the_conversation_goes_on(
    talk: Callable[..., Conversation], server: dict[str, Any], told: str
):
    conversation = talk({"bad": server, "good": rough()}, calls(("good__say", {"text": "hello"})))
    assert results(conversation)[0].text == "hello"
    (notice,) = [body.text for body in bodies(conversation, Notice)]
    assert notice.startswith("The MCP server 'bad' is away: ")
    assert told in notice
    if "broken" in server.get("args", ()):
        assert "cannot read my configuration" in notice


def test_garbage_between_messages_is_passed_over_and_long_answers_are_cut(
    talk: Callable[..., Conversation], tmp_path: Path
):
    conversation = talk({"r": rough()}, calls(("r__litter", {})), calls(("r__long", {})))
    litter, long = results(conversation)
    assert litter.text == "litter done"
    assert len(long.text) < 31_000
    assert long.text.startswith("headxxx")
    assert long.text.endswith("xxxtail")
    kept = Path(long.text.partition("all of it: ")[2].partition(" ...]")[0])
    assert kept.read_text() == "head" + "x" * 100_000 + "tail"


def test_a_message_without_end_ends_the_connection_and_not_us(
    talk: Callable[..., Conversation], monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("models.agents.mcp.stdio.MOST_MESSAGE_BYTES", 4 * 1024**2)
    conversation = talk({"r": rough()}, calls(("r__huge", {})), calls(("r__say", {"text": "x"})))
    huge, after = results(conversation)
    assert "it sent a message of more than 4,194,304 bytes" in huge.text
    assert after.text == "x"


def test_an_interrupt_does_not_wait_for_a_server(tmp_path: Path):
    model = ScriptedModel([calls(("r__slow", {})), finishes()])
    agent = Agent(model, [], mcp={"r": rough()})

    async def work() -> tuple[float, str, str]:
        async with agent.open(LocalWorkspace(tmp_path)) as conversation:
            run = conversation.send("Go")
            async for event in run:
                if event.kind == "intent":
                    await asyncio.sleep(0.1)
                    asked = time.monotonic()
                    conversation.interrupt()
            return (
                time.monotonic() - asked,
                conversation.state.phase,
                bodies(conversation, Result)[0].outcome,
            )

    took_s, phase, outcome = asyncio.run(work())
    assert took_s < 1.0
    assert (phase, outcome) == ("paused", "cancelled")


def test_a_changed_list_of_the_older_protocol_is_seen_before_the_next_model_call(
    talk: Callable[..., Conversation], tmp_path: Path
):
    conversation = talk(
        {"r": rough()},
        calls(("r__learn", {})),
        calls(("r__shout", {})),
        calls(("r__ask_roots", {})),
    )
    assert [result.text for result in results(conversation)] == [
        "learn done",
        "shout done",
        tmp_path.as_uri(),
    ]
    first, second, *_ = offered(conversation.script)
    assert second - first == {"r__shout"}


def test_behaviour_33_and_36_a_server_gets_its_secret_and_nothing_else_of_ours(
    talk: Callable[..., Conversation], monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("OPENAI_API_KEY", "sk-of-the-server-itself")
    conversation = talk(
        {
            "has": rough(env={"KEY": "${TOKEN}", "WHO": "${NAME:-nobody}"}, secrets=["OTHER"]),
            "hasnot": rough(),
        },
        calls(("has__environment", {})),
        calls(("hasnot__environment", {})),
        calls(("has__say", {"text": "it is ${OTHER}"})),
        calls(("has__say", {"text": "it is ${TOKEN}"})),
        calls(("hasnot__say", {"text": "it is ${OTHER} or ${NOTHING}"})),
        calls(("hasnot__say", {"text": "${NOTHING}"})),
        secrets={"TOKEN": CANARY, "OTHER": "another-canary-2b"},
    )
    has, hasnot, said, refused, refused_too, plain = results(conversation)
    assert json.loads(has.text)["KEY"] == "[secret:TOKEN]"
    assert json.loads(has.text)["WHO"] == "nobody"
    assert not {"KEY", "OPENAI_API_KEY"} & {*json.loads(hasnot.text)}
    assert {*json.loads(hasnot.text)} <= {
        *("PATH", "HOME", "USER", "LOGNAME", "SHELL", "LANG", "LC_ALL", "LC_CTYPE", "TZ", "TMPDIR")
    }
    assert said.text == "it is [secret:OTHER]"
    assert "the secret TOKEN is not for the server 'has': only OTHER" in refused.text
    assert "the secret OTHER is not for the server 'hasnot': only none" in refused_too.text
    assert plain.text == "${NOTHING}"
    stored = repr(conversation.events())
    sent = repr(conversation.script.requests)
    for value in (CANARY, "another-canary-2b", "sk-of-the-server-itself"):
        assert value not in stored
        assert value not in sent


def test_a_replaced_secret_starts_the_server_anew(talk: Callable[..., Conversation]):
    conversation = talk(
        {"r": rough(env={"KEY": "${TOKEN}"}, secrets=["TOKEN"])},
        calls(("r__environment", {})),
        *(finishes(), calls(("r__environment", {}))),
        secrets={"TOKEN": CANARY},
    )
    conversation.blocking.update_secrets({"TOKEN": "fresh-canary-88"})
    conversation.blocking.send("Again")
    before, after = (json.loads(result.text) for result in results(conversation))
    assert (before["KEY"], after["KEY"]) == ("[secret:TOKEN]", "[secret:TOKEN]")
    assert CANARY not in repr(conversation.events())
    assert "fresh-canary-88" not in repr(conversation.events())


def test_servers_die_with_the_conversation_and_all_they_started(
    talk: Callable[..., Conversation], tmp_path: Path
):
    conversation = talk({"r": rough()}, calls(("r__spawn", {})))
    (child,) = (int(result.text) for result in results(conversation))
    (server,) = map(int, (tmp_path / "starts").read_text().split())
    assert psutil.pid_exists(child)
    conversation.blocking.close()
    assert _are_gone(server, child)


def test_servers_die_with_a_parent_that_is_killed(tmp_path: Path):
    program = (
        "import sys, time\n"
        "from models.agents import Agent, LocalWorkspace\n"
        "from models.llm import ScriptedModel\n"
        "from tests.models.agents.played import calls\n"
        "model = ScriptedModel([calls(('r__spawn', {})), calls(('r__slow', {}))])\n"
        f"agent = Agent(model, [], mcp={{'r': {rough()!r}}})\n"
        f"agent.run('Go', LocalWorkspace({str(tmp_path)!r}))\n"
    )
    parent = subprocess.Popen([sys.executable, "-c", program], cwd=HERE.parents[2])
    try:
        starts = tmp_path / "starts"
        for _ in range(600):
            below = psutil.Process(parent.pid).children(recursive=True)
            if starts.exists() and any("time.sleep(600)" in " ".join(_words(p)) for p in below):
                break
            time.sleep(0.05)
        pids = [process.pid for process in below]
        assert len(pids) == 3  # the guard, the server, what it spawned
    finally:
        os.kill(parent.pid, signal.SIGKILL)
        parent.wait()
    assert _are_gone(*pids)


def _words(process: psutil.Process) -> list[str]:
    with contextlib.suppress(psutil.Error):
        return process.cmdline()
    return []


def _are_gone(*pids: int) -> bool:
    for _ in range(200):
        if not any(map(psutil.pid_exists, pids)):
            return True
        time.sleep(0.05)
    return False


def test_a_call_that_waits_for_approval_is_made_after_a_restart(
    talk: Callable[..., Conversation], tmp_path: Path
):
    where = {"store": SqliteStore(tmp_path / "logs"), "id": "one", "policy": AlwaysConfirm()}
    first = talk({"r": rough()}, calls(("r__say", {"text": "allowed"})), **where)
    assert first.state.phase == "waiting"
    first.blocking.close()

    agent = Agent(ScriptedModel([finishes()]), [], mcp={"r": rough()}, policy=AlwaysConfirm())
    again = agent.open(LocalWorkspace(tmp_path), where["store"], "one")
    again.blocking.approve()
    again.blocking.run()
    assert results(again)[0].text == "allowed"
    again.blocking.close()


@pytest.mark.parametrize(
    ("declared", "told"),
    [
        ({"a__b": {"command": "x"}}, "'a__b' is no name for an MCP server"),
        ({"a_": {"command": "x"}}, "'a_' is no name for an MCP server"),
        ({"a": {}}, "give either `command` or `url`"),
        ({"a": {"command": "x", "url": "http://y"}}, "give either `command` or `url`"),
        ({"a": {"url": "ftp://y"}}, "begins with neither http:// nor https://"),
        ({"a": {"url": "http://y?key=${KEY}"}}, "put secrets into `headers`"),
        ({"a": {"comand": "x"}}, "comand Extra inputs are not permitted"),
        ({"a": {"command": "x", "type": "http"}}, "does not go with what is given: stdio"),
    ],
)
def test_a_server_that_is_declared_wrong_is_told_when_the_agent_is_made(
    declared: dict[str, Any], told: str
):
    with pytest.raises(ConfigError) as caught:
        Agent("scripted:none", mcp=declared)
    assert told in str(caught.value)


def test_a_file_of_servers_is_read_as_other_programs_write_it(tmp_path: Path):
    file = tmp_path / ".mcp.json"
    file.write_text(
        '{"mcpServers": {"git": {"command": "git-mcp", "args": ["--all"], "env": {"A": "${B}"}},'
        ' "web": {"type": "http", "url": "https://example.com/mcp"}}}'
    )
    expected = {
        "git": McpServer(command="git-mcp", args=("--all",), env={"A": "${B}"}),
        "web": McpServer(type="http", url="https://example.com/mcp"),
    }
    assert read_servers(file) == servers_of(str(file)) == expected
    assert Agent("scripted:none", mcp=file).servers == expected
    file.write_text("[]")
    with pytest.raises(ConfigError, match="has no object `mcpServers`"):
        read_servers(file)
    with pytest.raises(ConfigError, match="cannot read MCP servers"):
        read_servers(tmp_path / "none")


def test_names_mean_one_tool_of_one_server():
    assert name_of("git", "log") == "git__log"
    bent = {name_of("a", tool) for tool in ("files.read", "files/read", "files_read", "x" * 90)}
    assert len(bent) == 4
    assert all(len(name) <= 64 and name.startswith("a__") for name in bent)
    assert name_of("a", "x" * 90) != name_of("a", "x" * 91)


def listed(*names: str, **fields: Any) -> Hub:
    """A hub of one server that has listed tools, without a process."""
    hub = Hub({"a": McpServer(command="x", **fields)}, HERE, NoSecrets())
    hints = mcp_types.ToolAnnotations(read_only_hint=True, idempotent_hint=True)
    hub._links[0].tools = tuple(
        mcp_types.Tool(name=name, input_schema={"type": "object"}, annotations=hints)
        for name in names
    )
    return hub


def test_a_server_that_is_not_trusted_is_not_believed_that_a_tool_is_harmless():
    (believed,) = tools_of(listed("read")._links)
    (doubted,) = tools_of(listed("read", trusts_hints=False)._links)
    assert (believed.read_only, believed.destructive, believed.idempotent) == (True, False, True)
    assert (doubted.read_only, doubted.destructive, doubted.idempotent) == (False, True, False)


def test_tools_are_chosen_by_name_and_too_many_are_told_once():
    names = [f"t{number}" for number in range(201)]
    assert [tool.name for tool in tools_of(listed(*names, tools=("t7",))._links)] == ["a__t7"]
    crowd = listed(*names)
    assert len(tools_of(crowd._links)) == 200
    assert crowd.news() == ("The MCP server 'a' has 201 tools; you are given the first 200.",)
    assert crowd.news() == ()


def test_the_sdk_is_not_imported_before_a_server_is_needed():
    program = (
        "import sys\n"
        "from models.agents import Agent\n"
        "Agent('scripted:none', mcp={'a': {'command': 'x'}})\n"
        "print([name for name in ('mcp', 'httpx2', 'playwright') if name in sys.modules])\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, cwd=HERE.parents[2]
    )
    assert (done.stdout.strip(), done.returncode) == ("[]", 0), done.stderr
