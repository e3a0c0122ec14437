"""Workspaces on servers, in containers and under layers; agents as data."""

import contextlib
import json
import os
import socketserver
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

import pytest

from models.agents import (
    Agent,
    AlwaysConfirm,
    Budget,
    ConfirmRisky,
    MemoryStore,
    OverlayWorkspace,
    Secrets,
    ShellRails,
)
from models.agents.context.skills import Skill
from models.agents.remote import DockerWorkspace, RemoteWorkspace
from models.agents.spec import AgentSpec
from models.errors import ConfigError, ServiceError, UnknownNameError
from models.llm import ScriptedModel
from models.sandbox import SandboxError, SandboxUnavailableError
from models.sandbox.docker import DockerEngine
from models.settings import ROOT, get_settings
from tests.models.agents import played
from tests.models.agents.serving import KEY, PLAYED, Served, call, script, served


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    home = tmp_path_factory.mktemp("places") / "home"
    declared = home.parent / ".mcp.json"
    tools = {"command": sys.executable, "args": ["-m", "tests.models.agents.mcp_server"]}
    declared.write_text(json.dumps({"mcpServers": {"known": tools}}))
    with served(home, "--tool", f"{PLAYED}:ping", "--mcp", str(declared)) as running:
        yield running


class TestAsData:
    def test_what_an_agent_is_comes_back_from_its_data(self):
        agent = Agent(
            "a/b",
            ["terminal", played.ping, "browser_open"],
            "Be brief.",
            policy=ConfirmRisky("medium", unknown=False),
            analyzer=ShellRails(),
            budget=Budget(steps=9, usd=1.5),
            max_steps=7,
            mcp={"files": {"command": "files-server"}},
            name="careful",
        )
        spec = AgentSpec.of(agent)
        assert spec.tools == ("terminal", f"{PLAYED}:ping", "browser_open")
        assert spec.analyzer == "rails"
        again = AgentSpec.model_validate_json(spec.model_dump_json()).build()
        assert again.to_dict() == agent.to_dict() | {"tools": list(spec.tools)}
        assert (again.budget, again.policy, again.servers) == (
            agent.budget,
            agent.policy,
            agent.servers,
        )
        assert any(isinstance(one, ShellRails) for one in again.analyzer.analyzers)
        assert AgentSpec.of(again).analyzer == "rails"

    def test_an_agent_without_an_analyzer_has_none_as_data_either(self):
        assert AgentSpec.of(Agent("a/b")).build().analyzer is None

    def test_a_setting_says_what_the_rails_are(self, monkeypatch: pytest.MonkeyPatch):
        assert len(AgentSpec(model="a/b").build().analyzer.analyzers) == 3
        monkeypatch.setenv("LOOM_AGENTS_RAILS", "models.agents.security.shell:ShellRails")
        get_settings.cache_clear()
        assert isinstance(AgentSpec(model="a/b").build().analyzer, ShellRails)
        monkeypatch.setenv("LOOM_AGENTS_RAILS", "no:one")
        get_settings.cache_clear()
        with pytest.raises(ConfigError, match="setting LOOM_AGENTS_RAILS 'no:one' cannot"):
            AgentSpec(model="a/b").build()

    @pytest.mark.parametrize(
        ("agent", "part"),
        [
            (Agent(ScriptedModel(["x"])), "model"),
            (Agent("a/b", skills=[Skill("s", "d", "t")]), "skills"),
            (Agent("a/b", structured=int), "structured"),
            (Agent("a/b", subagents={"c": Agent("a/b")}), "subagents"),
            (Agent("a/b", [played.ping.with_(name="pang")]), "tools"),
            (Agent("a/b", analyzer=ShellRails(["sh"])), "analyzer"),
        ],
    )
    def test_what_does_not_travel_is_named(self, agent: Agent, part: str):
        with pytest.raises(ConfigError, match=f"`{part}` of this agent does not travel"):
            AgentSpec.of(agent)

    def test_options_of_the_browser_reach_its_tools(self):
        spec = AgentSpec(
            model="a/b", tools=("browser_open", "grep"), browser={"hosts": ["docs.test"]}
        )
        opener, grep = spec.build().tools
        assert grep == "grep"
        assert opener.name == "browser_open"
        assert AgentSpec(model="a/b", tools=("browser_open",)).build().tools == ("browser_open",)

    def test_a_server_that_nobody_declared_is_told(self):
        with pytest.raises(ConfigError, match="nothing says what 'x' is"):
            AgentSpec(model="a/b", mcp={"x": None}).build()


class TestOnAServer:
    def test_the_same_agent_works_there(self, server: Served, tmp_path: Path):
        model = script(tmp_path, [call("ping", n=1), call("terminal", command="pwd"), "Done."])
        policy = ConfirmRisky("high", unknown=False)
        agent = Agent(model, [played.ping, "terminal"], policy=policy, analyzer=ShellRails())
        place = RemoteWorkspace(server.url, KEY)
        talk = agent.open(place, id="there").blocking
        assert talk.send("go").text == "Done."
        talk.close()
        again = agent.open(place, id="there", secrets={"TOKEN": lambda: "s3cret-value-1"})
        assert again.state.final == "Done."
        assert server.get("there")["secrets"] == ["TOKEN"]
        home = str(server.home / "workspaces" / "there")
        assert home in [e.body.text.strip() for e in again.events(kinds=["result"])][1]
        again.blocking.close()

    def test_run_gives_a_task_and_closes(self, server: Served, tmp_path: Path):
        place = RemoteWorkspace(server.url, KEY)
        assert Agent(script(tmp_path, ["Four."])).run("2 + 2?", place).text == "Four."

    def test_what_is_kept_there_is_not_kept_here(self, server: Served):
        agent, place = Agent("a/b"), RemoteWorkspace(server.url, KEY)
        for options in ({"store": MemoryStore()}, {"secrets": Secrets({"A": "12345678"})}):
            with pytest.raises(ConfigError, match="a server keeps the log"):
                agent.open(place, **options)
        with pytest.raises(ServiceError, match="does not answer"):
            agent.open(RemoteWorkspace("http://127.0.0.1:9"))

    def test_mcp_servers_are_named_there_and_not_declared(self, server: Served, tmp_path: Path):
        spec = {"model": script(tmp_path, ["x"]), "mcp": {"known": None}}
        made = server.http.post("/api/conversations", json={"agent": spec})
        assert made.status_code == 201, made.text
        assert made.json()["agent"]["mcp"]["known"]["command"] == sys.executable
        assert server.http.get("/api/offers").json()["mcp"] == ["known"]
        for servers in ({"other": None}, {"known": {"command": "sh"}}, {"x": {"url": "http://x"}}):
            refused = server.http.post(
                "/api/conversations", json={"agent": spec | {"mcp": servers}}
            )
            assert refused.status_code == 400
            assert "name it with null" in refused.json()["error"]["message"]

    @pytest.mark.parametrize(
        ("options", "told"),
        [
            ({"private": ["127.0.0.1"]}, "is not open to agents of this server"),
            ({"executable": "/bin/sh"}, "is a program of this server"),
        ],
    )
    def test_a_browser_gets_no_further_than_the_server_lets_it(
        self, server: Served, tmp_path: Path, options: dict[str, Any], told: str
    ):
        spec = {"model": script(tmp_path, ["x"]), "browser": options}
        refused = server.http.post("/api/conversations", json={"agent": spec})
        assert refused.status_code == 400
        assert told in refused.json()["error"]["message"]


class Engine(BaseHTTPRequestHandler):
    """Plays an engine whose containers are processes: their paths are links to the folders."""

    made: dict[str, Any]
    process: subprocess.Popen[str] | None = None
    port = 0

    def address_string(self) -> str:
        return "test"

    def log_message(self, *_: object) -> None: ...

    def serve(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        kind = type(self)
        match (self.command, self.path.partition("?")[0].split("/")[2:]):
            case ("POST", ["containers", "create"]):
                kind.made = json.loads(body)
                self.reply({"Id": "c1"}, 201)
            case ("POST", ["containers", "c1", "start"]):
                kind.start()
                self.reply({}, 204)
            case ("GET", ["containers", "c1", "json"]):
                ports = {"8765/tcp": [{"HostPort": str(kind.port)}]} if kind.port else {}
                state = {"Status": "exited", "ExitCode": 1}
                self.reply({"NetworkSettings": {"Ports": ports}, "State": state})
            case ("DELETE", ["containers", "c1"]):
                kind.end()
                self.reply({}, 204)
            case _:
                self.reply({"message": "not played"}, 500)

    do_GET = do_POST = do_DELETE = serve  # noqa: N815

    def reply(self, values: Any, status: int = 200) -> None:
        text = b"" if status == 204 else json.dumps(values).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    @classmethod
    def start(cls) -> None:
        if cls.made["Image"] == "empty":
            return
        program, *words = cls.made["Cmd"]
        assert program == "python"
        given = dict(entry.split("=", 1) for entry in cls.made["Env"])
        for at, word in enumerate(words):
            if word == "8765":
                words[at] = "0"
        cls.process = subprocess.Popen(
            [sys.executable, *words], env={**os.environ, **given, "PYTHONPATH": str(ROOT)},
            stdout=subprocess.PIPE, text=True, cwd=ROOT,
        )  # fmt: skip
        cls.port = int(cls.process.stdout.readline().strip().rpartition(":")[2])

    @classmethod
    def end(cls) -> None:
        if cls.process is not None:
            cls.process.terminate()
            cls.process.wait(30)
            cls.process.stdout.close()
            cls.process = None


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[type[Engine]]:
    kind = type("Played", (Engine,), {})
    with socketserver.ThreadingUnixStreamServer(str(tmp_path / "s"), kind) as running:
        running.daemon_threads = True
        threading.Thread(target=running.serve_forever, args=(0.05,), daemon=True).start()
        yield kind
        kind.end()
        running.shutdown()


class TestInAContainer:
    def test_a_conversation_runs_in_it_and_ends_with_it(self, engine: type[Engine], tmp_path: Path):
        work, inside = tmp_path / "work", tmp_path / "inside"
        work.mkdir()
        inside.symlink_to(work)
        replies = [call("create", path="made.txt", text="hello\n"), "Made."]
        agent = Agent(script(tmp_path, replies))
        with DockerWorkspace(
            "known", work, engine=DockerEngine(tmp_path / "s"), inside=str(inside)
        ) as place:
            assert agent.run("Make a file", place).text == "Made."
            assert (work / "made.txt").read_text() == "hello\n"
            host = engine.made["HostConfig"]
            assert host["Mounts"] == [{"Type": "bind", "Source": str(work), "Target": str(inside)}]
            assert host["PortBindings"] == {"8765/tcp": [{"HostIp": "127.0.0.1", "HostPort": ""}]}
            assert (host["CapDrop"], host["ReadonlyRootfs"]) == (["ALL"], True)
            assert engine.process is not None
        assert engine.process is None

    def test_a_container_without_our_server_is_told_and_removed(
        self, engine: type[Engine], tmp_path: Path
    ):
        with pytest.raises(SandboxError, match=r"has no port 8765 \(state: exited, exit code: 1"):
            DockerWorkspace("empty", engine=DockerEngine(tmp_path / "s"))
        with pytest.raises(ConfigError, match="is no folder; make it first"):
            DockerWorkspace("known", tmp_path / "none", engine=DockerEngine(tmp_path / "s"))


def test_under_a_layer_the_folder_stays_until_changes_are_accepted(tmp_path: Path):
    folder = tmp_path / "folder"
    folder.mkdir()
    (folder / "poem.txt").write_text("Roses\n")
    place = OverlayWorkspace(folder, tmp_path / "state")
    with contextlib.closing(place):
        try:
            sandbox = place.sandbox
        except SandboxUnavailableError as error:
            pytest.skip(f"no overlays here: {error}")
        replies = [call("terminal", command="echo Violets >> poem.txt"), "Done."]
        agent = Agent(script(tmp_path, replies), policy=AlwaysConfirm())
        talk = agent.open(place).blocking
        talk.send("go")
        talk.approve()
        assert talk.run().text == "Done."
        talk.close()
        assert (folder / "poem.txt").read_text() == "Roses\n"
        assert [change.path for change in sandbox.changes()] == ["poem.txt"]
        sandbox.accept()
        assert (folder / "poem.txt").read_text() == "Roses\nViolets\n"


def test_a_name_that_is_no_analyzer_of_the_server_is_told(server: Served, tmp_path: Path):
    spec = {"model": script(tmp_path, ["x"]), "analyzer": "rail"}
    refused = server.http.post("/api/conversations", json={"agent": spec})
    assert refused.status_code == 400
    assert "rails" in refused.json()["error"]["message"]
    assert refused.json()["error"]["type"] == UnknownNameError.__name__
