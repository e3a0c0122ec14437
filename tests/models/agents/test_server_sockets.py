"""The socket of a conversation, and of a terminal: behaviours 58 and 59."""

import asyncio
import contextlib
import json
import socket as sockets
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import ClientConnection

from models.agents.server import ServerConfig
from models.agents.server.sockets import SLOW, Refused, send
from models.agents.server.state import make_server
from tests.models.agents.serving import PLAYED, Served, call, served

SHELL = "models.agents.security.shell:ShellRails"
OPTIONS = (
    "--tool", f"{PLAYED}:ping", "--tool", f"{PLAYED}:blob", "--backlog", "64",
    "--analyzer", SHELL,
    "--heartbeat-s", "0.5", "--patience-s", "20",
)  # fmt: skip


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with served(tmp_path_factory.mktemp("sockets") / "home", *OPTIONS) as running:
        yield running


def _events(socket: ClientConnection, until: Any, seconds: float = 30) -> list[dict[str, Any]]:
    """Take frames until one fits."""
    found = []
    deadline = time.monotonic() + seconds
    while True:
        frame = json.loads(socket.recv(timeout=deadline - time.monotonic()))
        found.append(frame)
        if until(frame):
            return found


def _seqs(frames: list[dict[str, Any]]) -> list[int]:
    return [frame["seq"] for frame in frames if "kind" in frame]


def _finished(frame: dict[str, Any]) -> bool:
    return frame.get("kind") == "status" and frame["body"]["phase"] == "finished"


def _pings(count: int) -> list[Any]:
    return [*(call(f"{PLAYED}:ping".split(":")[1], n=n) for n in range(count)), "Done."]


def test_behaviour_58_a_cursor_goes_on_without_gap_or_duplicate(server: Served):
    name = server.create(_pings(40), agent={"tools": [f"{PLAYED}:ping"]})
    seqs, cursor = [], 0
    server.say(name)
    # The connection is cut after a few frames, again and again, while the run goes on.
    for size in (1, 2, 7, 30, 30):
        with server.socket(f"/ws/conversations/{name}?after={cursor}") as socket:
            seqs += _seqs([json.loads(socket.recv(timeout=30)) for _ in range(size)])
        cursor = seqs[-1] if seqs else 0
    with server.socket(f"/ws/conversations/{name}?after={cursor}") as socket:
        seqs += _seqs(_events(socket, _finished))
    assert seqs == [*range(1, server.get(name)["seq"] + 1)]
    assert len(seqs) > 120


def test_behaviour_58_a_cursor_goes_on_across_a_restart_of_the_server(tmp_path: Path):
    with served(tmp_path / "home", *OPTIONS) as running:
        slow = {"text": "late", "delay_s": 60}
        name = running.create([call("ping", n=1), slow], agent={"tools": [f"{PLAYED}:ping"]})
        running.say(name)
        with running.socket(f"/ws/conversations/{name}") as socket:
            before = _seqs(_events(socket, lambda frame: frame.get("kind") == "result"))
        running.stop(kill=True)
        running.start()
        deadline = time.monotonic() + 20
        while (found := running.get(name))["phase"] != "paused":
            assert time.monotonic() < deadline, found
            time.sleep(0.05)
        assert found["reason"] == "the server ended while it ran"
        with running.socket(f"/ws/conversations/{name}?after={before[-1]}") as socket:
            frames = _events(socket, lambda frame: frame.get("type") == "status")
            assert (frames[-1]["phase"], frames[-1]["running"]) == ("paused", False)
            after = _seqs(frames)
            assert before + after == [*range(1, found["seq"] + 1)]
            # And it still hears what happens then.
            running.say(name, "still there?", run=False)
            told = _events(socket, lambda frame: frame.get("kind") == "user")
        assert told[-1]["seq"] == found["seq"] + 1


@pytest.mark.parametrize(
    ("after", "told"),
    [
        ("99", "no event 99 yet"),
        ("abc", "after=abc is no number of an event"),
        ("-5", "after=-5 is no number of an event"),
    ],
)
def test_a_cursor_beyond_the_log_and_one_that_is_none_are_refused(
    server: Served, after: str, told: str
):
    name = server.create(["Hello."])
    with (
        server.socket(f"/ws/conversations/{name}?after={after}") as socket,
        pytest.raises(ConnectionClosed) as closed,
    ):
        socket.recv(timeout=10)
    assert closed.value.rcvd.code == 4400
    assert told in closed.value.rcvd.reason


def test_behaviour_59_a_slow_subscriber_blocks_nobody_and_is_told_that_it_lags(server: Served):
    steps, kib = 60, 250
    blobs = [call("blob", n=n, kib=kib) for n in range(steps)]
    # The guard of detection indexes what it reads: its memory is no socket's.
    agent = {"tools": [f"{PLAYED}:blob"], "analyzer": SHELL}
    name = server.create([*blobs, "Done."], agent=agent)
    path = f"/ws/conversations/{name}"
    slow = server.socket(path, max_queue=1)
    slow.recv(timeout=10)
    # It stops reading: the thread of the client may take one frame more, then the pipe is full.
    slow.socket.setsockopt(sockets.SOL_SOCKET, sockets.SO_RCVBUF, 65_536)
    before = server.rss_mib
    seen: list[dict[str, Any]] = []

    def follow() -> None:
        with server.socket(path) as socket:
            seen.extend(_events(socket, _finished))

    fast = threading.Thread(target=follow)
    fast.start()
    server.say(name)
    found = server.rested(name)
    fast.join(20)
    assert found["phase"] == "finished"
    assert _seqs(seen) == [*range(1, found["seq"] + 1)]
    # 15 MB went by; what is kept for sockets is 64 frames, of which at most 22 are results.
    assert server.rss_mib - before < 40
    frames = _events(slow, _finished)
    slow.close()
    assert _seqs(frames) == [*range(2, found["seq"] + 1)]
    lagged = [frame for frame in frames if frame.get("type") == "lagged"]
    assert lagged
    assert lagged[0]["after"] < lagged[0]["head"]


def test_who_takes_nothing_for_too_long_is_closed(tmp_path: Path):
    class Stuck:
        async def send_text(self, text: str) -> None:
            await asyncio.sleep(60)

    server = make_server(ServerConfig(home=tmp_path, patience_s=0.05), "")
    with pytest.raises(Refused) as refused:
        asyncio.run(send(Stuck(), "{}", server))
    assert refused.value.code == SLOW


def test_silence_is_filled_with_heartbeats_and_status_comes_without_asking(server: Served):
    name = server.create(["Hello."])
    with server.socket(f"/ws/conversations/{name}?after=2") as socket:
        first = json.loads(socket.recv(timeout=10))
        assert (first["type"], first["seq"], first["running"]) == ("status", 2, False)
        assert json.loads(socket.recv(timeout=10)) == {"type": "heartbeat", "seq": 2}
        server.say(name)
        frames = _events(socket, lambda frame: frame.get("running") is False)
    kinds = [frame.get("kind") or frame["type"] for frame in frames]
    assert [kind for kind in kinds if kind != "heartbeat"] == [
        "title", "user", "status", "status", "answer", "status", "status",
    ]  # fmt: skip


def test_pieces_of_answers_come_to_those_who_ask_for_them(server: Served):
    said = {"text": "one two three", "chunk_chars": 4, "chunk_s": 0.01}
    name = server.create([said], secrets={"TOKEN": "two three"})
    with (
        server.socket(f"/ws/conversations/{name}?deltas=true") as with_,
        server.socket(f"/ws/conversations/{name}") as without,
    ):
        _events(with_, lambda frame: frame.get("type") == "status")
        server.say(name)
        frames = _events(with_, _finished)
        assert all(frame.get("type") != "delta" for frame in _events(without, _finished))
    pieces = [frame["text"] for frame in frames if frame.get("type") == "delta"]
    assert len(pieces) > 1
    assert "".join(pieces) == "one [secret:TOKEN]"


@pytest.mark.parametrize(
    ("frame", "codes"),
    [("x" * 100_000, {1009}), ("[1]", {4400}), ("{", {4400}), (b"\xff", {4400})],
    ids=["oversized", "no object", "no json", "binary"],
)
def test_hostile_frames_are_refused(server: Served, frame: str | bytes, codes: set[int]):
    name = server.create(["Hello."])
    with server.socket(f"/ws/conversations/{name}") as socket:
        socket.send(frame)
        with pytest.raises(ConnectionClosed) as closed:
            _events(socket, lambda _: False)
    assert (closed.value.rcvd or closed.value.sent).code in codes


def test_a_flood_of_frames_is_refused(server: Served):
    name = server.create(["Hello."])
    with server.socket(f"/ws/conversations/{name}") as socket:
        with contextlib.suppress(ConnectionClosed):
            for _ in range(2_000):
                socket.send("{}")
        with pytest.raises(ConnectionClosed):
            _events(socket, lambda _: False)


def test_a_terminal_is_a_live_shell_in_the_workspace(server: Served):
    name = server.create(["Hello."], secrets={"TOKEN": "s3cret-value"})
    shown = ""
    with server.socket(f"/ws/terminals/{name}") as socket:

        def until(text: str) -> None:
            nonlocal shown
            while text not in shown:
                shown += json.loads(socket.recv(timeout=30))["data"]

        def types(**frame: Any) -> None:
            socket.send(json.dumps(frame))

        types(type="resize", rows=33, columns=77)
        types(type="input", data="stty size; pwd; echo tty=$(tty); cd /tmp; touch ~/x\n")
        until("33 77\r\n")
        until(f"workspaces/{name}\r\n")
        until("tty=/dev/")
        types(type="input", data="pwd; echo $((6*7)) s3cret-value; sleep 60\n")
        until("/tmp\r\n42 [secret:TOKEN]\r\n")
        types(type="input", data="\x03")
        time.sleep(1)  # a shell drops what is typed while it takes an interrupt
        types(type="input", data="echo code=$?; exit 3\n")
        until("code=130")
        while (frame := json.loads(socket.recv(timeout=30)))["type"] != "exit":
            pass
        assert frame["code"] == 3
        with pytest.raises(ConnectionClosed) as closed:
            socket.recv(timeout=10)
    assert closed.value.rcvd.code == 1000
    assert "s3cret-value" not in shown
    assert server.http.get("/health").json()["sockets"] == 0


def test_a_terminal_refuses_what_is_no_input(server: Served):
    name = server.create(["Hello."])
    for frame in ({"type": "resize", "rows": -1, "columns": 10}, {"type": "shell"}):
        with server.socket(f"/ws/terminals/{name}") as socket:
            socket.send(json.dumps(frame))
            with pytest.raises(ConnectionClosed) as closed:
                _events(socket, lambda _: False)
        assert closed.value.rcvd.code == 4400
