"""A secret that is spoken, written, run and asked for leaves by no outlet."""

import asyncio
import json
import subprocess
import time
from pathlib import Path
from typing import Any

import orjson
import pytest

from models.agents import SqliteStore
from models.agents.command.looking import details, log_of, replay, rows, table
from models.agents.command.printing import Printer
from models.agents.home import AgentHome
from models.agents.remote import RemoteConversation
from models.agents.server.app import contract_text
from models.agents.spans import spans_of
from tests.models.agents.serving import KEY, Served, call, script, served

CANARY = "c4nary-value-7731"
NAMES = ("conversation", "terminal", "gateway")


@pytest.fixture
def folders(tmp_path: Path) -> tuple[Path, Path]:
    return tmp_path / "home", tmp_path / "scripts"


def _spoken() -> list[Any]:
    nested = json.dumps({"inner": json.dumps([CANARY])})
    return [
        {**call("todo", tasks=[{"title": f"use {CANARY}", "status": "todo"}]), "text": CANARY},
        call("terminal", command=f"echo $TOKEN > kept; echo {CANARY}; mkdir {CANARY}; cat kept"),
        call("create", path="nested.json", text=nested),
        call(CANARY, n=1),
        call("view", path=CANARY),
        f"It is {CANARY}.",
        f"Once more {CANARY}, and {CANARY[:8]}",
        f"A title of {CANARY}",
        f"Aside {CANARY}",
        *[f"Later {CANARY}"] * 20,
    ]


def _watched(server: Served, name: str) -> str:
    """Return what the socket of a conversation sends while it speaks."""
    heard = []
    with server.socket(f"/ws/conversations/{name}?after=0&deltas=true") as socket:
        server.say(name, f"use {CANARY}")
        server.rested(name)
        deadline = time.monotonic() + 3
        while time.monotonic() < deadline:
            try:
                heard.append(socket.recv(timeout=0.5))
            except TimeoutError:
                break
    assert len(heard) > 10
    return "\n".join(map(str, heard))


def _typed(server: Served, name: str) -> str:
    """Return what the terminal of a conversation shows of a file with the secret."""
    shown = ""
    with server.socket(f"/ws/terminals/{name}") as socket:
        socket.send(orjson.dumps({"type": "input", "data": "cat kept; ls; echo en''d\r"}).decode())
        while "end" not in shown:
            frame = orjson.loads(socket.recv(timeout=20))
            shown += frame.get("data", "")
    return shown


def _gotten(server: Served, name: str) -> dict[str, str]:
    """Return the answers of all routes that only look."""
    found = {}
    for path, operations in orjson.loads(contract_text())["paths"].items():
        if "get" in operations and path.startswith("/api/"):
            place = path.replace("{id}", name).replace("{path}", "kept").replace("{name}", "ide")
            found[f"GET {path}"] = server.http.get(place).text
    assert len(found) >= 8
    return found


def _asked(server: Served, name: str) -> dict[str, str]:
    place = f"/api/conversations/{name}"
    bodies: dict[str, Any] = {
        "bash": {"command": "cat kept nested.json; ls"},
        "ask": {"question": f"What is {CANARY}?"},
        "title": {"title": f"About {CANARY}"},
        "condense": {},
        "fork": {},
        "messages": {"text": f"again {CANARY}", "run": False},
        "secrets": {"values": {"OTHER": "long-enough"}},
        "reject": {"why": CANARY},
        "approve": {"call_id": CANARY},
    }
    return {
        f"POST {part}": server.http.post(f"{place}/{part}", json=body).text
        for part, body in bodies.items()
    }


def _models(server: Served, name: str, model: str) -> dict[str, str]:
    body = {"model": model, "messages": [{"role": "user", "content": f"what is {CANARY}"}]}
    headers = {"X-Conversation-Id": name}
    place = "/v1/chat/completions"
    return {
        "gateway": server.http.post(place, json=body, headers=headers).text,
        "stream": server.http.post(place, json=body | {"stream": True}, headers=headers).text,
    }


def _copied(server: Served, name: str) -> str:
    async def copy() -> str:
        async with RemoteConversation(server.url, name, KEY) as talk:
            await talk.refresh()
            return repr([talk.events(), talk.view(), talk.state, talk.outcome])

    return asyncio.run(copy())


def _on_the_disk(home: Path) -> dict[str, bytes]:
    """Read all files of a home but those of workspaces, where tools wrote what they were told."""
    return {
        str(path.relative_to(home)): path.read_bytes()
        for path in home.rglob("*")
        if path.is_file() and "workspaces" not in path.relative_to(home).parts
    }


def _from_the_command_line(
    home: Path, name: str, capsys: pytest.CaptureFixture[str]
) -> dict[str, str]:
    place = AgentHome(home)
    with log_of(place, name) as log:
        told = {"show": repr(details(place, log)), "trace": repr(spans_of(name, log.events()))}
    for as_json in (False, True):
        printer = Printer(as_json)
        for event in replay(place, name, 0):
            printer.event(event)
        told[f"replay {as_json}"] = "".join(capsys.readouterr())
        assert len(told[f"replay {as_json}"]) > 100
    return told | {"ls": "\n".join(table(rows(place)))}


def test_0_hits_over_all_outlets(
    folders: tuple[Path, Path],
    capfd: pytest.CaptureFixture[str],
):
    home, scripts = folders
    outlets: dict[str, str | bytes] = {}
    with served(home, "--durability", "strict") as server:
        model = script(scripts, _spoken())
        body = {"agent": {"model": model}, "secrets": {"TOKEN": CANARY}, "title": ""}
        name = server.http.post("/api/conversations", json=body).json()["id"]
        outlets["socket"] = _watched(server, name)
        workspace = home / "workspaces" / name
        assert (workspace / "kept").read_text() == f"{CANARY}\n"  # the tool had the real one
        subprocess.run(["git", "init", "-q", workspace], check=True)
        outlets["typed"] = _typed(server, name)
        outlets |= _gotten(server, name) | _asked(server, name) | _models(server, name, model)
        outlets["copy"] = _copied(server, name)
        assert "[secret:TOKEN]" in str(outlets["GET /api/conversations/{id}/files/{path}"])
        outlets["disk while it runs"] = b"".join(_on_the_disk(home).values())
    outlets |= _on_the_disk(home)
    outlets |= _from_the_command_line(home, name, capfd)
    outlets["messages of the server"] = "".join(capfd.readouterr())
    assert SqliteStore(home).open(name).verify() is None
    hits = [
        where
        for where, content in outlets.items()
        if CANARY in (content if isinstance(content, str) else content.decode("latin-1"))
    ]
    assert hits == []
    assert len(outlets) > 25
