"""Who may use the server, and what leaves it: behaviours 36 and 57, scopes, pages, the contract."""

import asyncio
import base64
import json
import os
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from websockets.exceptions import ConnectionClosed, InvalidStatus

from models.agents.server import ServerConfig, serve
from models.agents.server.app import CONTRACT, contract_text, make_app
from models.agents.server.auth import Keeper, find_key
from models.errors import ConfigError
from tests.models.agents.serving import KEY, Served, call, served


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with served(tmp_path_factory.mktemp("access") / "home", "--allow-local") as running:
        yield running


@pytest.fixture(scope="module")
def talk(server: Served) -> str:
    return server.create(["Hello."])


def _routes() -> list[tuple[str, str]]:
    app = make_app(ServerConfig(home=Path("home")))
    found = [
        (method, path)
        for path, operations in json.loads(contract_text())["paths"].items()
        for method in operations
    ]
    assert len(found) > 20
    assert app.openapi_url is None
    return found


@pytest.mark.parametrize(("method", "path"), _routes())
def test_behaviour_57_every_route_but_health_wants_a_key(
    server: Served, talk: str, method: str, path: str
):
    place = path.replace("{id}", talk).replace("{path}", "x")
    for headers in ({}, {"Authorization": "Bearer wrong"}, {"Authorization": f"Basic {KEY}"}):
        answer = server.stranger.request(method, place, headers=headers)
        assert answer.status_code == (200 if path == "/health" else 401), answer.text
        assert KEY not in answer.text


@pytest.mark.parametrize("first", ['{"key": "wrong"}', '{"no": 1}', "[]", "not json", b"\xff\x00"])
@pytest.mark.parametrize("kind", ["conversations", "terminals"])
def test_behaviour_57_a_bad_first_frame_closes_with_4001(
    server: Served, talk: str, kind: str, first: str | bytes
):
    with server.socket(f"/ws/{kind}/{talk}", additional_headers={}) as socket:
        socket.send(first)
        with pytest.raises(ConnectionClosed) as closed:
            socket.recv(timeout=10)
    assert closed.value.rcvd.code == 4001


def test_a_socket_that_is_refused_leaves_no_traceback_in_the_log(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
):
    with served(tmp_path / "home") as running:
        name = running.create(["Hello."])
        for kind in ("conversations", "terminals", "browsers"):
            for place, headers, code in (
                (name, {"Authorization": "Bearer wrong"}, 4001),
                ("nobody", running.headers, 4004),
            ):
                with (
                    running.socket(f"/ws/{kind}/{place}", additional_headers=headers) as socket,
                    pytest.raises(ConnectionClosed) as closed,
                ):
                    socket.recv(timeout=10)
                assert closed.value.rcvd.code == code
        assert running.http.get("/health").json()["sockets"] == 0
    assert "Traceback" not in capfd.readouterr().err


def test_a_key_that_is_missing_and_one_that_is_over_are_told_apart(server: Served, talk: str):
    def told(shown: str) -> str:
        answer = server.client(shown).get(f"/api/conversations/{talk}")
        assert answer.status_code == 401
        return str(answer.json()["error"]["message"])

    assert "needs a key" in told("")
    over = Keeper(KEY).token(talk, ["read"], until=1.0)
    assert "its time is over" in told(over)


@pytest.mark.parametrize("name", ["nobody", "..", "a%2Fb", "x" * 300])
@pytest.mark.parametrize("kind", ["conversations", "terminals"])
def test_behaviour_57_an_unknown_id_closes_with_4004(server: Served, kind: str, name: str):
    with server.socket(f"/ws/{kind}/{name}") as socket, pytest.raises(ConnectionClosed) as closed:
        socket.recv(timeout=10)
    assert closed.value.rcvd.code == 4004


def test_a_socket_takes_the_key_as_first_frame_header_or_subprotocol(server: Served, talk: str):
    coded = base64.urlsafe_b64encode(KEY.encode()).decode().rstrip("=")
    path = f"/ws/conversations/{talk}"
    with server.socket(path, additional_headers={}) as socket:
        socket.send(json.dumps({"key": KEY}))
        assert json.loads(socket.recv(timeout=10))["seq"] == 1
    protocols = ["loom", f"key.{coded}"]
    with server.socket(path, additional_headers={}, subprotocols=protocols) as socket:
        assert socket.subprotocol == "loom"
        assert json.loads(socket.recv(timeout=10))["seq"] == 1
    with server.socket(path) as socket:
        assert json.loads(socket.recv(timeout=10))["seq"] == 1


def test_pages_of_others_are_kept_out(server: Served, talk: str):
    own, other = {"Origin": server.url}, {"Origin": "http://evil.example"}
    for headers in (other, {"Origin": "null"}, {"Origin": "http://127.0.0.1:1"}):
        assert server.http.get("/api/tools", headers=headers).status_code == 403
    assert server.http.get("/api/tools", headers=own).status_code == 200
    path = f"/ws/conversations/{talk}"
    with pytest.raises(InvalidStatus) as refused:
        server.socket(path, additional_headers={**server.headers, **other})
    assert refused.value.response.status_code == 403
    server.socket(path, additional_headers={**server.headers, **own}).close()


def test_without_a_key_a_page_cannot_come_by_another_name(tmp_path: Path):
    with served(tmp_path / "home", key="") as open_:
        assert open_.http.get("/api/conversations").status_code == 200
        rebound = {"Host": "evil.example"}
        assert open_.http.get("/api/conversations", headers=rebound).status_code == 403
        answer = open_.http.post("/api/tokens", json={})
        assert "without a key there are no tokens" in answer.json()["error"]["message"]


def test_tokens_open_one_conversation_as_far_as_their_scopes_go(server: Served, talk: str):
    other = server.create(["Hello."])

    def token(**fields: object) -> httpx.Client:
        signed = server.http.post("/api/tokens", json=fields).json()["token"]
        return server.client(signed)

    place = f"/api/conversations/{talk}"
    with token(conversation=talk) as reader:
        assert reader.get(place).status_code == 200
        assert reader.get(f"/api/conversations/{other}").status_code == 403
        assert reader.get("/api/conversations").status_code == 403
        assert reader.post(f"{place}/messages", json={"text": "x"}).status_code == 403
        assert "needs the scope 'write'" in reader.post(f"{place}/run").json()["error"]["message"]
    with token(conversation=talk, scopes=["write"]) as writer:
        said = writer.post(f"{place}/messages", json={"text": "x", "run": False})
        assert said.status_code == 202
        assert writer.post(f"{place}/approve", json={}).status_code == 403
        assert writer.delete(place).status_code == 403
    with token(scopes=["approve"]) as approver:
        assert approver.get("/api/conversations").status_code == 200
        assert approver.post(f"{place}/approve", json={}).status_code == 409
    with token(conversation=talk, ttl_s=1e-9) as late:
        assert late.get(place).status_code == 401
    odd = {"Authorization": "Bearer loom1.e30.ü".encode("latin-1")}
    assert server.stranger.get(place, headers=odd).status_code == 401


def test_a_signature_is_bound_to_key_and_claims():
    ours, other = Keeper("a" * 16), Keeper("b" * 16)
    signed = ours.token("c", ["read"], 4e9)
    assert ours.grant(signed).conversation == "c"
    assert other.grant(signed) is None
    mark, claims, signature = signed.split(".")
    assert ours.grant(f"{mark}.{claims[:-1]}.{signature}") is None
    assert ours.grant(f"{mark}.{claims}.{signature[:-1]}") is None
    assert "a" * 16 not in repr(ours)


@pytest.mark.parametrize("isolation", ["sandbox", "local"])
def test_behaviour_36_the_servers_key_is_in_no_tools_environment(server: Served, isolation: str):
    hunt = (
        "env; set; cat /proc/self/environ /proc/$PPID/environ /proc/1/environ 2>/dev/null "
        "| tr '\\0' '\\n'; cat /proc/[0-9]*/cmdline 2>/dev/null | tr '\\0' ' '; true"
    )
    name = server.create(
        [call("terminal", command=f"cat /proc/{server.process.pid}/environ; {hunt}"), "Done."],
        agent={"isolation": isolation},
    )
    server.say(name)
    assert server.rested(name)["phase"] == "finished"
    result = server.http.get(f"/api/conversations/{name}/events", params={"kind": "result"}).json()
    told = result["events"][0]["body"]["text"]
    ran = server.http.post(f"/api/conversations/{name}/bash", json={"command": hunt}).json()
    with server.socket(f"/ws/terminals/{name}") as socket:
        socket.send(json.dumps({"type": "input", "data": f"{hunt}; exit\n"}))
        shown = ""
        while (frame := json.loads(socket.recv(timeout=30)))["type"] == "output":
            shown += frame["data"]
    assert frame == {"type": "exit", "code": 0}
    for text in (told, ran["output"], shown):
        assert "SHELL=/bin/bash" in text
        assert KEY not in text
        assert "LOOM_AGENTS_KEY=key" not in text


def test_a_key_comes_from_a_file_or_the_environment_where_it_is_wiped_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    file = tmp_path / "key"
    file.write_text("  from-a-file-0123456789\n")
    assert find_key(file) == "from-a-file-0123456789"
    monkeypatch.setenv("LOOM_AGENTS_KEY", "from-the-environment")
    assert find_key(None) == "from-the-environment"
    assert "LOOM_AGENTS_KEY" not in os.environ
    assert find_key(None) == ""
    with pytest.raises(ConfigError, match="cannot be read"):
        find_key(tmp_path / "nowhere")
    with pytest.raises(ConfigError, match="at least 16 characters"):
        Keeper("short")
    with pytest.raises(ConfigError, match=r"on 0\.0\.0\.0 everybody could use this server"):
        serve(ServerConfig(home=tmp_path, host="0.0.0.0"))


def test_the_committed_contract_is_what_the_server_says():
    text = contract_text()
    assert CONTRACT.read_bytes() == text, "write it anew: loom agent serve --contract"
    described = json.loads(text)
    assert described["security"] == [{"key": []}]


def test_what_a_server_does_not_allow_is_refused_at_the_beginning(server: Served, tmp_path: Path):
    def refused(**agent: object) -> str:
        body = {"agent": {"model": "scripted:nowhere.yaml", **agent}}
        answer = server.http.post("/api/conversations", json=body)
        assert answer.status_code == 400, answer.text
        return answer.json()["error"]["message"]

    assert "cannot be read" in refused()
    assert "no tool named 'os:system'" in refused(tools=["os:system"])
    assert "no analyzer named" in refused(analyzer="os:system")
    assert "is outside of what this server uses" in refused(workspace=str(tmp_path))
    own = "leave it out for a folder of its own"
    with served(tmp_path / "home", "--root", str(tmp_path)) as rooted:
        (tmp_path / "repo").mkdir()
        agent = {"model": "scripted:nowhere.yaml"}
        places = {"repo": "cannot be read", "repos": own, "../repo": "is outside of what"}
        for place, told in places.items():
            body = {"agent": {**agent, "workspace": place}}
            answer = rooted.http.post("/api/conversations", json=body)
            assert told in answer.json()["error"]["message"], place
        assert not (tmp_path / "repos").exists()
    bare = server.http.post("/api/conversations", content=b'{"agent": {}}')
    assert bare.status_code == 422
    assert "`Content-Type: application/json`; got none" in bare.json()["error"]["message"]
    secret = {"agent": {"model": 7}, "secrets": {"TOKEN": "s3cret-value"}, "x": "s3cret-value"}
    answer = server.http.post("/api/conversations", json=secret)
    assert (answer.status_code, "s3cret-value" in answer.text) == (422, False)


def test_a_web_page_is_served_without_a_key_where_there_is_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    web = tmp_path / "web"
    web.mkdir()
    (web / "index.html").write_text("<title>here</title>")
    monkeypatch.setattr("models.agents.server.app.WEB", web)

    async def ask() -> list[tuple[int, str]]:
        app = make_app(ServerConfig(home=tmp_path / "home"), KEY)
        transport = httpx.ASGITransport(app=app)
        async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1") as client:
            paths = ("/", "/api/tools", "/../auth.py", "/apiary.js", "/%61pi/tools")
            found = [await client.get(path) for path in paths]
            return [(answer.status_code, answer.text[:19]) for answer in found]

    page, tools, outside, namesake, coded = asyncio.run(ask())
    assert page == (200, "<title>here</title>")
    assert (tools[0], outside[0]) == (401, 404)
    # By the whole first part of the path, however it is written.
    assert (namesake[0], coded[0]) == (404, 401)
