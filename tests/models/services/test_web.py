import http.server
import threading
from collections.abc import Iterator
from urllib.error import HTTPError

import pytest

from models.services.web import answers, ask


class Server:
    """Answers with a list of (status, body), one after the other, and notes the requests."""

    def __init__(self) -> None:
        self.answers: list[tuple[int, bytes]] = []
        self.requests: list[tuple[str, bytes, str | None]] = []
        outer = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
                outer.requests.append((self.command, body, self.headers.get("Authorization")))
                status, text = outer.answers.pop(0)
                self.send_response(status)
                self.end_headers()
                self.wfile.write(text)

            def do_POST(self) -> None:
                self.do_GET()

            def log_message(self, format: str, *args: object) -> None:
                pass

        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


@pytest.fixture
def server() -> Iterator[Server]:
    server = Server()
    yield server
    server.close()


def test_a_body_is_posted_as_json_and_the_answer_decoded(server: Server):
    server.answers = [(200, b'{"id": 1}')]
    assert ask(server.url, {"name": "loom"}) == {"id": 1}
    assert server.requests[0][:2] == ("POST", b'{"name": "loom"}')


def test_a_server_whose_database_is_busy_is_asked_again(server: Server):
    server.answers = [(503, b""), (503, b""), (200, b"3")]
    assert ask(server.url) == 3


def test_a_server_that_stays_busy_is_an_error_in_the_end(server: Server):
    server.answers = [(503, b"")] * 2
    with pytest.raises(HTTPError, match="503"):
        ask(server.url, tries=2)


def test_a_refusal_is_not_repeated_and_quotes_the_answer(server: Server):
    server.answers = [(409, b'{"detail": "exists"}')]
    with pytest.raises(HTTPError, match="exists"):
        ask(server.url, {})
    assert len(server.requests) == 1


def test_an_empty_answer_is_none(server: Server):
    server.answers = [(204, b"")]
    assert ask(server.url, {}) is None


def test_prefects_own_credentials_are_sent(server: Server, monkeypatch: pytest.MonkeyPatch):
    server.answers = [(200, b"1")] * 2
    monkeypatch.setenv("PREFECT_API_AUTH_STRING", "admin:pass")
    ask(server.url)
    assert server.requests[0][2] == "Basic YWRtaW46cGFzcw=="  # RFC 7617 of "admin:pass"
    monkeypatch.setenv("PREFECT_API_KEY", "pnu_1")
    ask(server.url)
    assert server.requests[1][2] == "Bearer pnu_1"


def test_only_success_counts_as_an_answer(server: Server):
    server.answers = [(200, b"true"), (500, b"")]
    assert answers(server.url)
    assert not answers(server.url)
    assert not answers("http://127.0.0.1:1/health")
