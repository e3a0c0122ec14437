"""The way out: rules of host, method and path; credentials that commands never see."""

from __future__ import annotations

import http.client
import json
import socket
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from models.errors import ConfigError
from models.sandbox.egress import INSIDE, EgressProxy, forwarder
from models.sandbox.rules import Rule

KEY = "sk-canary-0123456789"


class Echo(BaseHTTPRequestHandler):
    """Answers with what it got; `/leak` cuts the key over two pieces."""

    def answer(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        told = {
            "method": self.command,
            "path": self.path,
            "headers": {name.lower(): value for name, value in self.headers.items()},
            "body": body.decode(),
        }
        text = json.dumps(told).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(text)))
        self.send_header("X-Echo", self.headers.get("Authorization", ""))
        self.end_headers()
        cut = text.find(b"canary") + 3
        self.wfile.write(text[:cut])
        self.wfile.flush()
        self.wfile.write(text[cut:])

    do_GET = do_POST = do_DELETE = answer  # noqa: N815

    def log_message(self, *_: object) -> None: ...


@pytest.fixture
def server() -> Iterator[int]:
    """A server on this machine; its port."""
    with ThreadingHTTPServer(("127.0.0.1", 0), Echo) as echo:
        threading.Thread(target=echo.serve_forever, args=(0.05,), daemon=True).start()
        yield echo.server_port
        echo.shutdown()


@pytest.fixture
def proxy(server: int) -> Iterator[EgressProxy]:
    here = {"port": server, "scheme": "http", "allows_private": True}
    rules = [
        Rule("api.test", frozenset({"GET", "POST"}), "/v1", **here,
             headers={"Authorization": lambda: f"Bearer {KEY}"}),
        Rule("tunnel.test", allows_tunnel=True, **here),
        Rule("inward.test", port=server, scheme="http"),
        Rule("*.wild.test", **here),
    ]  # fmt: skip
    with EgressProxy(rules, resolve=lambda host, port: ["127.0.0.1"]) as made:
        yield made


def ask(
    proxy: EgressProxy, method: str, target: str, body: str = "", **headers: str
) -> tuple[int, str, dict[str, str]]:
    """Send one request to the socket, as a program inside would."""
    link = http.client.HTTPConnection("proxy")
    link.sock = socket.socket(socket.AF_UNIX)
    link.sock.connect(str(proxy.path))
    link.request(method, target, body or None, headers)
    answer = link.getresponse()
    text = answer.read().decode()
    link.close()
    return answer.status, text, dict(answer.getheaders())


def test_an_allowed_request_is_sent_on_with_the_key_that_the_command_never_sees(
    proxy: EgressProxy,
) -> None:
    status, text, headers = ask(
        proxy, "POST", "http://api.test/v1/chat?x=1", "hello", authorization="Bearer forged"
    )
    seen = json.loads(text)
    assert status == 200
    assert (seen["method"], seen["path"], seen["body"]) == ("POST", "/v1/chat?x=1", "hello")
    # The server echoes the header: it had the true key, and the answer has stars.
    assert seen["headers"]["authorization"] == "*" * len(f"Bearer {KEY}")
    assert KEY not in text + str(headers)
    assert headers["X-Echo"] == "*" * len(f"Bearer {KEY}")
    assert proxy.decisions[-1].is_allowed


@pytest.mark.parametrize(
    ("method", "target", "why"),
    [
        ("GET", "http://evil.test/", "no rule for evil.test"),
        ("GET", "http://api.test.evil.test/v1/", "no rule for"),
        ("GET", "http://api.test:1/v1/", "no rule for api.test:1"),
        ("DELETE", "http://api.test/v1/x", "method DELETE is not allowed"),
        ("GET", "http://api.test/v2/x", "path /v2/x of api.test is not allowed"),
        ("GET", "http://api.test/v10", "is not allowed"),
        ("GET", "http://api.test/v1/../admin", "is not allowed"),
        ("GET", "http://api.test/v1/%2e%2e/admin", "is not allowed"),
        ("GET", "http://api.test/v1/%252e%252e/admin", "is not allowed"),
        ("GET", "http://wild.test/", "no rule for wild.test"),
        ("GET", "http://inward.test/", "no public address"),
        ("GET", "http://169.254.169.254/latest", "no rule for 169.254.169.254"),
        ("GET", "/etc/passwd", "ask for http://"),
        ("GET", "http://api.test:port/v1/", "ask for http://"),
    ],
)
def test_everything_else_is_refused_with_its_reason(
    proxy: EgressProxy, method: str, target: str, why: str
) -> None:
    status, text, _ = ask(proxy, method, target)
    assert status in (400, 403)
    assert why in text
    assert not proxy.decisions[-1].is_allowed
    assert why in proxy.decisions[-1].why


def test_names_below_a_wildcard_and_other_spellings_of_a_name_are_the_same_host(
    proxy: EgressProxy,
) -> None:
    assert ask(proxy, "GET", "http://a.b.wild.test/x")[0] == 200
    assert ask(proxy, "GET", "http://API.test./v1/x")[0] == 200
    assert ask(proxy, "GET", "http://api.test/v1")[0] == 200


def test_a_tunnel_needs_a_rule_of_its_own(proxy: EgressProxy, server: int) -> None:
    def tunnel(target: str) -> bytes:
        with socket.socket(socket.AF_UNIX) as link:
            link.settimeout(5)
            link.connect(str(proxy.path))
            link.sendall(f"CONNECT {target} HTTP/1.1\r\n\r\n".encode())
            said = link.recv(1000)
            if b" 200 " in said.split(b"\r\n")[0]:
                link.sendall(b"GET /through HTTP/1.0\r\n\r\n")
            while piece := link.recv(1000):
                said += piece
            return said

    assert b'"path": "/through"' in tunnel(f"tunnel.test:{server}")
    assert b"no tunnels to api.test" in tunnel(f"api.test:{server}")
    assert b"no rule for tunnel.test:22" in tunnel("tunnel.test:22")
    assert b"CONNECT wants" in tunnel("nonsense")


def test_a_server_that_does_not_answer_is_told_without_the_key(server: int) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    rule = Rule("gone.test", port=port, scheme="http", allows_private=True, headers={"X-Key": KEY})
    with EgressProxy([rule], resolve=lambda host, port: ["127.0.0.1"]) as proxy:
        status, text, _ = ask(proxy, "GET", "http://gone.test/")
    assert status == 502
    assert "refused" in text
    assert KEY not in text


def test_the_key_is_not_shown_by_a_rule(server: int) -> None:
    assert KEY not in repr(Rule("a.test", headers={"X-Key": KEY}))


@pytest.mark.parametrize("host", ["", "a.test/x", "a.test:80", "a*.test"])
def test_rules_that_mean_nothing_are_refused(host: str) -> None:
    with pytest.raises(ConfigError, match="rule for host"):
        Rule(host)
    with pytest.raises(ConfigError, match="must begin with a slash"):
        Rule("a.test", path="v1")


def test_a_sandbox_without_network_reaches_only_what_the_rules_allow(
    proxy: EgressProxy, make: Callable[..., Any], server: int, workspace: Path
) -> None:
    sandbox = make("sandboxed", sockets={INSIDE: proxy.path})
    (workspace / "ask.py").write_text(
        "import sys, urllib.error, urllib.request\n"
        "for address in sys.argv[1:]:\n"
        "    try: print(urllib.request.urlopen(address, timeout=5).read().decode())\n"
        "    except urllib.error.HTTPError as error: print(error.code, error.read().decode())\n"
        "    except OSError as error: print(error)\n"
    )
    shell = sandbox.shell()
    direct = shell.run(f"python3 ask.py http://127.0.0.1:{server}/", soft_s=20).output
    assert "refused" in direct
    assert shell.run(forwarder(), soft_s=20).status == "finished"
    allowed = shell.run("python3 ask.py http://api.test/v1/x http://evil.test/", soft_s=20).output
    told, refused = allowed.strip().split("\n", 1)
    assert json.loads(told)["path"] == "/v1/x"
    assert KEY not in allowed
    assert refused.startswith("403 egress refused: no rule for evil.test")
    assert KEY not in shell.run("env; cat /proc/*/environ", soft_s=20).output
