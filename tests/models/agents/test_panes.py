"""Programs beside a conversation: who gets to them, what passes, what ends them.

The program is a small one of these tests, which answers to code-server's options.
"""

import asyncio
import json
import os
import socket as sockets
import stat
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import ClientConnection, connect

from models.agents.errors import PaneError
from models.agents.server.panes.base import Plan, address_of, found, reach
from models.agents.server.panes.desktop import Desktop
from models.agents.server.panes.ide import Ide
from models.agents.server.panes.pane import Pane
from models.sandbox import BubblewrapSandbox, LocalSandbox, SandboxUnavailableError
from tests.models.agents import small_ide
from tests.models.agents.browsing import chromium, new_browser
from tests.models.agents.serving import KEY, Served, served


class Opened:
    """A pane as a browser has it: its address and its cookie."""

    def __init__(self, server: Served, name: str, program: str = "ide") -> None:
        self.place = f"/api/conversations/{name}/panes/{program}"
        self.answer = server.http.post(self.place)
        assert self.answer.status_code == 200, self.answer.text
        self.url = self.answer.json()["url"]
        self.prefix = httpx.URL(self.url).path
        self.cookie = self.answer.headers["set-cookie"].partition(";")[0]
        self.port = httpx.URL(self.url).port
        self.http = self.client(self.cookie)

    def client(self, cookie: str, **headers: str) -> httpx.Client:
        given = {"Cookie": cookie, **headers} if cookie else headers
        return httpx.Client(base_url=self.url, headers=given, timeout=30, verify=False)

    def socket(self, path: str, **options: Any) -> ClientConnection:
        given = {"additional_headers": {"Cookie": self.cookie}, "proxy": None, **options}
        return connect(self.url.replace("http", "ws") + path, max_size=None, **given)


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Put the small program on PATH under the name of the real one."""
    folder = tmp_path_factory.mktemp("bin")
    file = folder / "code-server"
    file.write_text(f"#!{sys.executable}\n{Path(small_ide.__file__).read_text()}")
    file.chmod(0o755)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PATH", f"{folder}:{os.environ['PATH']}")
        yield file


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, program: Path) -> Iterator[Served]:
    home = tmp_path_factory.mktemp("panes") / "home"
    with served(home, "--allow-local", "--most-panes", "2") as running:
        yield running


@pytest.fixture
def begin(server: Served) -> Iterator[Callable[..., str]]:
    """Begin conversations whose panes are ended with the test."""
    made = []

    def one(**fields: Any) -> str:
        made.append(server.create(["Hello."], agent={"isolation": "local"}, **fields))
        return made[-1]

    yield one
    for name in made:
        server.http.delete(f"/api/conversations/{name}/panes/ide")


def entry(server: Served, name: str, program: str = "ide") -> dict[str, Any]:
    listed = server.http.get(f"/api/conversations/{name}/panes").json()["panes"]
    (found,) = [one for one in listed if one["name"] == program]
    return found


def until(server: Served, name: str, state: str, seconds: float = 20) -> dict[str, Any]:
    deadline = time.monotonic() + seconds
    while (found := entry(server, name))["state"] != state:
        assert time.monotonic() < deadline, found
        time.sleep(0.05)
    return found


def test_a_program_is_started_once_and_answers_in_the_workspace(
    server: Served, begin: Callable[..., str]
):
    name = begin()
    assert entry(server, name) == {"name": "ide", "installed": True, "state": "off", "why": ""}
    pane, again = Opened(server, name), Opened(server, name)
    assert pane.url == again.url
    assert entry(server, name)["state"] == "running"
    assert server.http.get("/health").json()["panes"] == 1
    for one in (pane, again):
        said = one.http.get("some/where?q=%2F&r=a+b")
        assert said.status_code == 203
    told = said.json()
    assert (told["raw"], told["query"]) == ("/some/where", "q=%2F&r=a+b")
    assert told["argv"][-1] == str((server.home / "workspaces" / name).resolve())
    assert told["argv"][:2] == ["--auth", "none"]
    ended = server.http.delete(pane.place)
    assert ended.status_code == 204
    assert entry(server, name)["state"] == "off"
    assert pane.http.get("x").status_code == 404
    folder = Path(told["argv"][told["argv"].index("--socket") + 1]).parent
    assert not folder.exists()


def test_paths_reach_the_program_as_they_were_written(server: Served, begin: Callable[..., str]):
    pane = Opened(server, begin())
    with sockets.create_connection(("127.0.0.1", pane.port)) as line:
        asked = f"GET {pane.prefix}a%2Fb//c%20d?x=%26 HTTP/1.1\r\nHost: 127.0.0.1:{pane.port}\r\n"
        line.sendall(f"{asked}Cookie: {pane.cookie}\r\nConnection: close\r\n\r\n".encode())
        answer = b""
        while piece := line.recv(65_536):
            answer += piece
    assert b'"raw": "/a%2Fb//c%20d"' in answer
    assert b'"query": "x=%26"' in answer


def test_what_shows_who_somebody_is_does_not_reach_the_program(
    server: Served, begin: Callable[..., str]
):
    pane = Opened(server, begin())
    headers = {
        "Authorization": f"Bearer {KEY}", "X-Forwarded-For": "10.0.0.1", "Forwarded": "for=x",
        "X-Own": "yes", "Origin": pane.url.partition("/panes")[0],
    }  # fmt: skip
    told = pane.http.get("headers", headers=headers)
    sent = dict(told.json()["headers"])
    assert sent["x-own"] == "yes"
    assert sent["host"] == f"127.0.0.1:{pane.port}"
    assert not {"cookie", "authorization", "x-forwarded-for", "forwarded"} & {*sent}
    assert KEY not in told.text
    assert pane.cookie.partition("=")[2] not in told.text


def test_answers_of_the_program_count_for_its_own_pages_only(
    server: Served, begin: Callable[..., str]
):
    pane = Opened(server, begin())
    answer = pane.http.get("evil")
    assert answer.headers["x-own"] == "kept"
    gone = ("set-cookie", "access-control-allow-origin", "strict-transport-security",
            "clear-site-data", "alt-svc", "x-frame-options")  # fmt: skip
    assert [name for name in gone if name in answer.headers] == []
    # Two policies: both hold.
    assert answer.headers.get_list("content-security-policy") == [
        "default-src 'self'", f"frame-ancestors {server.url} 'self'"
    ]  # fmt: skip
    assert answer.headers["cross-origin-resource-policy"] == "same-origin"
    # What an earlier program left in the browser at this port is not for this one.
    assert pane.http.get("").headers["clear-site-data"] == '"cache", "storage"'


def test_bodies_stream_both_ways(server: Served, begin: Callable[..., str]):
    pane = Opened(server, begin())
    size = 5_000_000
    pieces = (b"x" * 50_000 for _ in range(size // 50_000))
    assert pane.http.post("echo", content=pieces).content == b"x" * size
    began = time.monotonic()
    with pane.http.stream("GET", "drip") as answer:
        assert next(answer.iter_raw()) == b"one\n"
    assert time.monotonic() - began < 20


def test_sockets_pass_texts_and_bytes_protocols_and_the_end(
    server: Served, begin: Callable[..., str]
):
    pane = Opened(server, begin())
    with pane.socket("talk?id=7%20", subprotocols=["a", "b"]) as line:
        assert line.subprotocol == "b"
        query, *names = json.loads(line.recv(timeout=10))
        assert query == "id=7%20"
        assert not {"cookie", "authorization"} & {*names}
        line.send("grüße")
        assert line.recv(timeout=10) == "grüße"
        line.send(b"\x00\xff" * 2_000_000)
        assert line.recv(timeout=10) == b"\x00\xff" * 2_000_000
        line.send("bye")
        with pytest.raises(ConnectionClosed) as closed:
            line.recv(timeout=10)
    assert (closed.value.rcvd.code, closed.value.rcvd.reason) == (4321, "gone for lunch")
    with pytest.raises(InvalidStatus):
        pane.socket("nowhere")


def test_without_a_ticket_of_this_pane_nobody_gets_in(server: Served, begin: Callable[..., str]):
    first, second = Opened(server, begin()), Opened(server, begin())
    assert first.port != second.port
    name, _, value = first.cookie.partition("=")
    shortened = f"{name}={value[:-1]}"
    for cookie in ("", shortened, f"{name}=", f"{name}=x.y", f"{name}={KEY}", second.cookie):
        with first.client(cookie) as stranger:
            answer = stranger.get("headers")
            assert (answer.status_code, "raw" in answer.text) == (401, False)
        with pytest.raises(InvalidStatus) as refused:
            first.socket("talk", additional_headers={"Cookie": cookie})
        assert refused.value.response.status_code == 403
    # The key opens routes, not panes: it has no business where programs answer.
    with first.client("", Authorization=f"Bearer {KEY}") as stranger:
        assert stranger.get("headers").status_code == 401
    # A cookie that a page made up stands before ours and changes nothing.
    with first.client(f"{name}=made.up; {first.cookie}") as visitor:
        assert visitor.get("headers").status_code == 203
    with first.client(first.cookie) as visitor:
        elsewhere = [second.prefix, "/", "/api/tools", first.prefix.rstrip("/"), "/health"]
        answers = [visitor.get(f"http://127.0.0.1:{first.port}{path}") for path in elsewhere]
        assert {answer.status_code for answer in answers} == {404}
        # The server's own port knows no panes.
        assert visitor.get(f"{server.url}{first.prefix}").status_code == 404


def test_pages_of_others_and_of_other_panes_are_kept_out(server: Served, begin: Callable[..., str]):
    first, second = Opened(server, begin()), Opened(server, begin())
    own, other = (pane.url.partition("/panes")[0] for pane in (first, second))
    for origin in (other, server.url, "http://evil.example", "null"):
        assert first.http.get("headers", headers={"Origin": origin}).status_code == 403
        given = {"Cookie": first.cookie, "Origin": origin}
        with pytest.raises(InvalidStatus):
            first.socket("talk", additional_headers=given)
    given = {"Cookie": first.cookie, "Origin": own}
    first.socket("talk", additional_headers=given).close()

    def asked(site: str, dest: str) -> int:
        headers = {"Sec-Fetch-Site": site, "Sec-Fetch-Dest": dest}
        return first.http.get("headers", headers=headers).status_code

    assert asked("same-site", "iframe") == asked("same-origin", "empty") == 203
    assert asked("same-site", "image") == asked("cross-site", "iframe") == 403
    # And a page of a pane gets nothing of the server, whatever it shows.
    assert server.http.get("/api/tools", headers={"Origin": own}).status_code == 403


def test_a_ticket_is_for_http_only_for_one_path_and_for_a_while(
    server: Served, begin: Callable[..., str], monkeypatch: pytest.MonkeyPatch
):
    pane = Opened(server, begin())
    said = pane.answer.headers["set-cookie"].lower()
    words = {word.strip() for word in said.split(";")}
    assert {"httponly", "samesite=strict", f"path={pane.prefix}", "max-age=600"} <= words
    one = Pane(Ide(), "c", 1)
    ticket = one.ticket("http://127.0.0.1:8765")
    assert one.origin_of(ticket) == "http://127.0.0.1:8765"
    assert Pane(Ide(), "c", 1).origin_of(ticket) is None
    now = time.time()
    monkeypatch.setattr("time.time", lambda: now + 599)
    assert one.origin_of(ticket) is not None
    monkeypatch.setattr("time.time", lambda: now + 602)
    assert one.origin_of(ticket) is None
    for origin in ("http://a; script-src *", "file:///x", "http://a/b", ""):
        with pytest.raises(PaneError, match="no address of a page"):
            one.ticket(origin)


def test_scopes_decide_who_opens_and_who_only_sees_what_runs(
    server: Served, begin: Callable[..., str]
):
    name = begin()
    place = f"/api/conversations/{name}/panes"
    tokens = [
        server.http.post("/api/tokens", json={"conversation": name, "scopes": scopes}).json()
        for scopes in (["read"], ["write"])
    ]
    reader, writer = (server.client(one["token"]) for one in tokens)
    with reader, writer:
        assert reader.get(place).status_code == 200
        assert reader.post(f"{place}/ide").status_code == 403
        assert reader.delete(f"{place}/ide").status_code == 403
        assert writer.post(f"{place}/ide").status_code == 200
        assert writer.post(f"{place}/vim").status_code == 422
        other = server.create(["x"])
        assert writer.post(f"/api/conversations/{other}/panes/ide").status_code == 403


def test_a_program_that_ends_is_told_and_can_be_opened_again(
    server: Served, begin: Callable[..., str]
):
    name = begin()
    pane = Opened(server, name)
    with pane.socket("talk") as line:
        line.recv(timeout=10)
        assert pane.http.get("end").status_code in (404, 502)
        with pytest.raises(ConnectionClosed):
            line.recv(timeout=10)
    ended = until(server, name, "failed")
    assert ended["why"] == "the program ended: exit code 3; out of coffee"
    assert pane.http.get("x").status_code == 404
    again = Opened(server, name)
    assert again.http.get("x").status_code == 203
    # The ticket of the one that ended does not open its successor.
    with again.client(pane.cookie) as late:
        assert late.get("x").status_code == 401
    with pytest.raises(httpx.RemoteProtocolError):
        again.http.get("break")
    assert "exit code 4" in until(server, name, "failed")["why"]


def test_a_program_that_does_not_start_says_why(
    tmp_path: Path, program: Path, monkeypatch: pytest.MonkeyPatch
):
    broken = tmp_path / "bin" / "code-server"
    broken.parent.mkdir()
    broken.write_text("#!/bin/sh\necho no disk, no code >&2\nexit 7\n")
    broken.chmod(0o755)
    monkeypatch.setenv("PATH", f"{broken.parent}:{os.environ['PATH']}")
    with served(tmp_path / "home", "--allow-local", "--most-panes", "1") as server:
        name = server.create(["x"], agent={"isolation": "local"})
        answer = server.http.post(f"/api/conversations/{name}/panes/ide")
        assert answer.status_code == 503
        told = answer.json()["error"]
        assert told["type"] == "PaneError"
        assert told["message"].endswith("ended at once: exit code 7; no disk, no code")
        assert entry(server, name)["state"] == "failed"
        # It holds no port.
        assert "exit code 7" in server.http.post(f"/api/conversations/{name}/panes/ide").text


def test_there_are_no_more_panes_than_ports_and_the_next_one_waits_for_an_end(
    server: Served, begin: Callable[..., str]
):
    names = [begin(), begin(), begin()]
    first, second = Opened(server, names[0]), Opened(server, names[1])
    refused = server.http.post(f"/api/conversations/{names[2]}/panes/ide")
    assert refused.status_code == 503
    assert "2 panes are open, the most here" in refused.json()["error"]["message"]
    assert server.http.delete(first.place).status_code == 204
    third = Opened(server, names[2])
    assert third.port == first.port
    # The cookie of who was at this port before is of no use at it.
    assert first.http.get(f"http://127.0.0.1:{third.port}{third.prefix}x").status_code == 401
    assert second.http.get("x").status_code == 203


def test_a_pane_ends_with_its_conversation(server: Served, begin: Callable[..., str]):
    name = begin()
    pane = Opened(server, name)
    words = pane.http.get("x").json()["argv"]
    assert server.http.delete(f"/api/conversations/{name}").status_code == 204
    deadline = time.monotonic() + 20
    while server.http.get("/health").json()["panes"]:
        assert time.monotonic() < deadline
        time.sleep(0.05)
    assert not Path(words[words.index("--socket") + 1]).exists()
    assert server.http.delete(pane.place).status_code == 404


def test_a_pane_ends_when_nobody_looks_and_when_the_server_stops(tmp_path: Path, program: Path):
    options = ("--allow-local", "--most-panes", "1", "--pane-idle-s", "4")
    with served(tmp_path / "home", *options) as server:
        name = server.create(["x"], agent={"isolation": "local"})
        pane = Opened(server, name)
        with pane.socket("talk") as line:
            line.recv(timeout=10)
            time.sleep(6)  # looked at for longer than it may be idle
            assert entry(server, name)["state"] == "running"
        assert until(server, name, "off")["why"] == ""
        pane = Opened(server, name)
        words = pane.http.get("x").json()["argv"]
        place = words[words.index("--socket") + 1]
        began = time.monotonic()
        with pane.socket("talk"):
            server.stop()
        assert time.monotonic() - began < 15
    assert not Path(place).exists()
    running = [Path(file, "cmdline") for file in Path("/proc").glob("[0-9]*")]
    assert not any(place.encode() in _read(file) for file in running)


def _read(file: Path) -> bytes:
    try:
        return file.read_bytes()
    except OSError:
        return b""


def test_a_server_without_ports_or_programs_says_what_is_missing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    with served(tmp_path / "home", "--most-panes", "0") as server:
        name = server.create(["x"])
        for program in ("ide", "desktop"):
            told = entry(server, name, program)
            assert told["installed"] is False
            assert "--panes" in told["why"] or "is not installed on this server" in told["why"]
        answer = server.http.post(f"/api/conversations/{name}/panes/ide")
        assert answer.status_code == 503
        assert "frame-src" not in server.http.get("/").headers["content-security-policy"]
    monkeypatch.setenv("PATH", str(tmp_path))
    assert "code-server" in Ide().missing()
    assert "apt-get install tigervnc-standalone-server novnc" in Desktop().missing()


def test_the_workspace_frames_panes_and_nothing_else(server: Served, begin: Callable[..., str]):
    pane = Opened(server, begin())
    policy = server.stranger.get("/").headers["content-security-policy"]
    (frames,) = [part for part in policy.split("; ") if part.startswith("frame-src")]
    places = frames.split()[1:]
    assert len(places) == 2
    assert pane.url.partition("/panes")[0] in places
    named = {"Host": "agents.example:8765"}
    policy = server.http.get("/", headers=named).headers["content-security-policy"]
    assert f"http://agents.example:{pane.port}" in policy
    odd = server.http.get("/", headers={"Host": "a;script-src *"})
    assert "script-src *" not in odd.headers.get("content-security-policy", "")


@pytest.mark.stack
@pytest.mark.timeout(900)
def test_the_workspace_shows_a_program_tells_its_end_and_opens_it_again(
    tmp_path: Path, program: Path
):
    with (
        served(tmp_path / "home", "--allow-local", "--most-panes", "1") as server,
        chromium() as started,
    ):
        name = server.create(["x"], agent={"isolation": "local"})
        browser = new_browser(started, server.url)
        page = browser.page
        browser.open(name)
        browser.unlock(KEY)
        page.get_by_role("tab", name="VS Code").click()
        state = page.locator("#ide-state")
        page.get_by_role("button", name="Open VS Code").click()
        inside = page.frame_locator("#ide-frame iframe")
        inside.get_by_text('"method": "GET"').wait_for()
        (frame,) = [one for one in page.frames if "/panes/" in one.url]
        for reached in ("parent.document", "parent.sessionStorage", "top.location.href"):
            tried = frame.evaluate(f"() => {{ try {{ return String({reached}) }} catch (error)"
                                   " { return error.name } }")  # fmt: skip
            assert tried == "SecurityError", reached
        frame.evaluate("() => { try { top.location = 'about:blank' } catch {} }")
        frame.evaluate("() => { location = location.href.replace(/\\/panes.*/, '/elsewhere') }")
        page.frame_locator("#ide-frame iframe").get_by_text("no pane is open here").wait_for()
        assert page.url.startswith(server.url)

        pane = Opened(server, name)
        pane.http.get("end")
        state.get_by_text("the program ended: exit code 3; out of coffee").wait_for()
        assert page.locator("#ide-frame iframe").count() == 0
        page.get_by_role("button", name="Open VS Code").click()
        inside.get_by_text('"method": "GET"').wait_for()

        server.port = server.url.rpartition(":")[2]
        server.stop()
        state.get_by_text("no connection, trying again").wait_for()
        server.start()
        state.get_by_text("it was ended; open it again").wait_for()
        page.context.close()


def test_a_link_in_place_of_a_socket_is_not_followed(tmp_path: Path):
    theirs = sockets.socket(sockets.AF_UNIX)
    theirs.bind(str(tmp_path / "theirs"))
    theirs.listen()
    folder = tmp_path / "folder"
    folder.mkdir()
    inside = os.open(folder, os.O_RDONLY)
    assert reach(inside) is None
    (folder / "socket").symlink_to(tmp_path / "theirs")
    with pytest.raises(PaneError, match="something else than a socket"):
        reach(inside)
    (folder / "socket").unlink()
    ours = sockets.socket(sockets.AF_UNIX)
    ours.bind(str(folder / "socket"))
    ours.listen()
    held = reach(inside)
    # Exchanged afterwards: what is held stays what it was.
    (folder / "socket").unlink()
    (folder / "socket").symlink_to(tmp_path / "theirs")
    with sockets.socket(sockets.AF_UNIX) as line:
        line.connect(address_of(held))
        ours.settimeout(5)
        ours.accept()[0].close()
    theirs.setblocking(False)
    with pytest.raises(BlockingIOError):
        theirs.accept()
    for descriptor in (inside, held):
        os.close(descriptor)
    ours.close()
    theirs.close()


def test_a_program_behind_walls_answers_at_its_socket_and_commands_do_not_see_it(tmp_path: Path):
    python = Path("/usr/bin/python3")
    if not python.exists():
        pytest.skip("no python3 below /usr: install the Debian package `python3`")
    workspace = tmp_path / "workspace"
    workspace.mkdir()
    try:
        sandbox = BubblewrapSandbox(workspace)
    except SandboxUnavailableError as error:
        pytest.skip(f"this host: {error}")
    script = """
import os, socket, sys
line = socket.socket(socket.AF_UNIX)
line.bind(sys.argv[1])
line.listen()
while True:
    one, _ = line.accept()
    with one:
        if one.recv(9999):
            one.sendall(b"HTTP/1.0 200 OK\\r\\n\\r\\n" + os.getcwd().encode())
"""

    class Small(Ide):
        def plan(self, sandbox: Any, folder: Path, prefix: str) -> Plan:
            words = (found(sandbox, str(python)), "-c", script, str(folder / "socket"))
            return Plan(words, lent={"BESIDE": str(folder)})

    async def talk() -> tuple[str, str, str]:
        from models.agents.server.panes.forward import Forward
        from models.agents.server.workers import Workers

        workers, pane = Workers(), Pane(Small(), "c", 1)
        await pane.start(sandbox, workers)
        assert isinstance(pane.app, Forward)
        transport = httpx.ASGITransport(app=pane.app)
        async with httpx.AsyncClient(transport=transport, base_url="http://x") as client:
            said = (await client.get("/")).text
        seen = await workers.do(sandbox.run, "ls -A /tmp; echo $BESIDE; ls $BESIDE")
        await pane.end(workers)
        after = await workers.do(sandbox.run, "echo $BESIDE")
        workers.close()
        return said, seen.output, after.output

    with sandbox:
        said, seen, after = asyncio.run(talk())
    assert said == str(workspace)
    assert "/tmp/loom-shared-" in seen
    assert "No such file or directory" in seen
    assert after == "\n"


def test_a_program_that_walls_hide_is_named_with_the_way_out(tmp_path: Path):
    hidden = tmp_path / "bin" / "code-server"
    hidden.parent.mkdir()
    hidden.touch(mode=0o755)
    with LocalSandbox(tmp_path) as trusted:
        assert found(trusted, str(hidden)) == str(hidden)
        with pytest.raises(PaneError, match="`none-such` is not installed"):
            found(trusted, "none-such")

    class Walled:
        level = "sandboxed"

    with pytest.raises(PaneError, match="cannot see it; install it below /usr"):
        found(Walled(), str(hidden))
    assert stat.S_IMODE(hidden.stat().st_mode) & 0o111
