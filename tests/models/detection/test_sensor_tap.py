"""The tee before an MCP server: the client sees the server as if nothing stood between."""

import asyncio
import json
import os
import signal
import stat
import subprocess
import sys
import time
from pathlib import Path

import pytest

from models.detection.integrity.manifests import of_listing, said
from models.detection.integrity.pins import rug_pulls
from models.detection.sensor import Store, read_log
from models.errors import ServiceError
from models.settings import ROOT

SERVER = """
from mcp.server import MCPServer
server = MCPServer("calc", instructions="Adds.")

@server.tool()
def add(a: int, b: int) -> int:
    "Add two numbers."
    return a + b

@server.tool()
def fail() -> str:
    "Fail."
    raise ValueError("out of order")

server.run("stdio")
"""

TAP = (
    "import sys; from pathlib import Path; from models.detection.sensor.tap import end_like, tap; "
    "sys.exit(end_like(tap(sys.argv[2:], Path(sys.argv[1]))))"
)


def tapped(record: Path, *command: str) -> list[str]:
    return [sys.executable, "-c", TAP, str(record), *command]


def run(record: Path, *command: str, given: bytes = b"") -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(
        tapped(record, *command), input=given, capture_output=True, cwd=ROOT, timeout=60
    )


def python(source: str) -> tuple[str, str, str]:
    return (sys.executable, "-c", source)


def test_a_real_server_is_used_through_it_and_its_session_is_read_back(tmp_path: Path):
    from mcp import Client
    from mcp.client.stdio import StdioServerParameters, stdio_client

    record, script = tmp_path / "taps" / "calc.jsonl", tmp_path / "calc.py"
    script.write_text(SERVER)
    command, *arguments = tapped(record, sys.executable, str(script))

    async def use() -> tuple[str, bool]:
        server = StdioServerParameters(command=command, args=arguments, cwd=str(ROOT))
        async with Client(stdio_client(server)) as client:
            assert {tool.name for tool in (await client.list_tools()).tools} == {"add", "fail"}
            added = await client.call_tool("add", {"a": 20, "b": 22})
            failed = await client.call_tool("fail", {})
            return added.content[0].text, bool(failed.is_error)

    assert asyncio.run(use()) == ("42", True)
    (session,) = read_log(record)
    calls = [(call.server, call.tool, call.arguments) for _, call in session.calls()]
    assert calls == [("calc", "add", {"a": 20, "b": 22}), ("calc", "fail", {})]
    statuses = [event.status for event in session.results.values()]
    assert statuses == ["ok", "error"]
    assert {m.tool: m.description for m in session.manifests} == {
        "add": "Add two numbers.",
        "fail": "Fail.",
    }
    assert session.coverage.share == 1.0


def test_all_that_a_server_says_of_its_tools_is_kept_and_survives_the_store(tmp_path: Path):
    tool = {
        "name": "wipe", "title": "Wipe", "description": "Wipe all.",
        "inputSchema": {"type": "object"}, "outputSchema": {"type": "object", "required": ["ok"]},
        "annotations": {"destructiveHint": True},
    }  # fmt: skip
    lines = [
        {"jsonrpc": "2.0", "id": 1, "method": "tools/list"},
        {"jsonrpc": "2.0", "id": 1, "result": {"tools": [tool, {"name": "bare", "title": 5}]}},
        {"jsonrpc": "2.0", "id": 2, "method": "tools/list"},
        {"jsonrpc": "2.0", "id": 2, "result": {"tools": [tool | {"annotations": {}}]}},
    ]
    record = tmp_path / "disk.jsonl"
    record.write_text("".join(json.dumps(line) + "\n" for line in lines))
    (session,) = read_log(record)
    wipe, bare, after = session.manifests
    (listed, _) = of_listing({"tools": [tool, {"name": "bare"}]}, "mcp")
    assert said(wipe) == said(listed)
    assert wipe.annotations == {"destructiveHint": True}
    assert wipe.output_schema == {"type": "object", "required": ["ok"]}
    assert (bare.title, bare.annotations, bare.output_schema) == ("5", None, None)
    store = Store(tmp_path / "store")
    store.put(session)
    assert store.get("mcp-tap", "disk").manifests == session.manifests
    # A hint that is taken back is a change like any other.
    (signal,) = rug_pulls([wipe, after])
    assert "its annotations changed" in signal.evidence.sentence


def test_every_byte_passes_unchanged_and_is_written_down(tmp_path: Path):
    given = bytes(range(256)) * 3_000 + b'\n{"a": 1}\r\n\xff no end'
    both = "import sys; d = sys.stdin.buffer.read(); sys.stdout.buffer.write(d); sys.stdout.flush()"
    done = run(
        tmp_path / "r.jsonl", *python(f"{both}; sys.stderr.buffer.write(d[:999])"), given=given
    )
    assert done.returncode == 0
    assert done.stdout == given
    assert done.stderr == given[:999]
    import base64

    written: dict[str, list[bytes]] = {"client": [], "server": [], "stderr": []}
    for line in (tmp_path / "r.jsonl").read_text().splitlines()[1:]:
        values = json.loads(line)
        text = values.get("text")
        written[values["from"]].append(
            base64.b64decode(values["base64"]) if text is None else text.encode()
        )
    assert b"\n".join(written["client"]) == given
    assert b"\n".join(written["server"]) == given
    assert b"\n".join(written["stderr"]) == given[:999]


def test_only_its_owner_can_read_the_record(tmp_path: Path):
    record = tmp_path / "new" / "r.jsonl"
    run(record, "true")
    assert stat.S_IMODE(record.stat().st_mode) == 0o600
    assert stat.S_IMODE(record.parent.stat().st_mode) == 0o700


@pytest.mark.parametrize("code", [0, 3, 255])
def test_the_exit_code_of_the_server_comes_back(tmp_path: Path, code: int):
    assert run(tmp_path / "r.jsonl", "sh", "-c", f"exit {code}").returncode == code


def test_a_server_that_a_signal_ended_ends_it_in_the_same_way(tmp_path: Path):
    assert run(tmp_path / "r.jsonl", "sh", "-c", "kill -9 $$").returncode == -signal.SIGKILL


def test_signals_go_on_to_the_server(tmp_path: Path):
    source = (
        "import signal, sys, time; signal.signal(signal.SIGTERM, lambda *_: sys.exit(7)); "
        "print('ready', flush=True); time.sleep(60)"
    )
    with subprocess.Popen(
        tapped(tmp_path / "r.jsonl", *python(source)),
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=ROOT,
    ) as tap:  # fmt: skip
        assert tap.stdout is not None
        assert tap.stdout.readline() == b"ready\n"
        tap.send_signal(signal.SIGTERM)
        assert tap.wait(timeout=30) == 7


def test_it_ends_with_the_server_although_the_client_keeps_its_end_open(tmp_path: Path):
    reads, writes = os.pipe()
    try:
        began = time.monotonic()
        done = subprocess.run(
            tapped(tmp_path / "r.jsonl", "true"), stdin=reads, cwd=ROOT, timeout=30
        )
        assert done.returncode == 0
        assert time.monotonic() - began < 20
    finally:
        os.close(reads)
        os.close(writes)


def test_a_record_that_cannot_be_written_stops_nothing_and_is_told(tmp_path: Path):
    (tmp_path / "file").write_text("")
    done = run(tmp_path / "file" / "r.jsonl", "cat", given=b"hello\n")
    assert (done.returncode, done.stdout) == (0, b"hello\n")
    assert b"is not whole" in done.stderr


def test_a_command_that_is_not_there_is_a_clear_error(tmp_path: Path):
    from models.detection.sensor.tap import tap

    with pytest.raises(
        ServiceError, match=r"'no-such-server' cannot be started .*check the command"
    ):
        tap(["no-such-server"], tmp_path / "r.jsonl")


def test_the_command_taps_a_server_whose_options_look_like_its_own(tmp_path: Path):
    record = tmp_path / "r.jsonl"
    command = ["detect", "tap", "--out", str(record), "--", "sh", "-c", "cat; exit 9", "--help"]
    done = subprocess.run(
        [sys.executable, "-m", "flows", *command],
        input=b"hi\n", capture_output=True, cwd=ROOT, timeout=60,
    )  # fmt: skip
    assert (done.returncode, done.stdout, done.stderr) == (9, b"hi\n", b"")
    first = json.loads(record.read_text().splitlines()[0])
    assert first["command"] == ["sh", "-c", "cat; exit 9", "--help"]
