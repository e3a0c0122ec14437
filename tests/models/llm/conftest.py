"""No test of this room calls another host; a real server on loopback misbehaves on demand."""

import json
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from models.settings import get_settings


@pytest.fixture(autouse=True)
def no_live_calls(loom_home, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LOOM_LLM_LIVE", "false")
    get_settings.cache_clear()


Behaviour = Callable[[BaseHTTPRequestHandler, dict[str, Any]], None]


class FakeServer:
    """An OpenAI-compatible server; each request takes the next behaviour, the last one stays."""

    def __init__(self) -> None:
        self.behaviours: list[Behaviour] = [self.says("hello")]
        self.requests: list[dict[str, Any]] = []
        self.headers: list[dict[str, str]] = []
        self.paths: list[str] = []
        self.at_a_time = 0
        self.most_at_a_time = 0
        self._lock = threading.Lock()
        fake = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["content-length"])))
                with fake._lock:
                    fake.requests.append(body)
                    fake.headers.append({k.lower(): v for k, v in self.headers.items()})
                    fake.paths.append(self.path)
                    fake.at_a_time += 1
                    fake.most_at_a_time = max(fake.most_at_a_time, fake.at_a_time)
                    more = len(fake.behaviours) > 1
                    behave = fake.behaviours.pop(0) if more else fake.behaviours[0]
                try:
                    behave(self, body)
                except (BrokenPipeError, ConnectionResetError):
                    self.close_connection = True
                finally:
                    with fake._lock:
                        fake.at_a_time -= 1

            def log_message(self, *args: object) -> None: ...

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()
        self.url = f"http://127.0.0.1:{self._server.server_port}/v1"

    def play(self, *behaviours: Behaviour) -> None:
        self.behaviours = list(behaviours)

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()

    @staticmethod
    def raw(status: int, data: bytes, delay_s: float = 0.0, **headers: str) -> Behaviour:
        def behave(handler: BaseHTTPRequestHandler, _: dict[str, Any]) -> None:
            time.sleep(delay_s)
            handler.send_response(status)
            for name, value in headers.items():
                handler.send_header(name.replace("_", "-"), value)
            handler.send_header("content-length", str(len(data)))
            handler.end_headers()
            handler.wfile.write(data)

        return behave

    @classmethod
    def fails(cls, status: int, message: str = "no", code: str = "", **headers: str) -> Behaviour:
        error = {"error": {"message": message, "code": code}}
        return cls.raw(status, json.dumps(error).encode(), **headers)

    @classmethod
    def says(cls, text: str | None, *, delay_s: float = 0.0, **message: Any) -> Behaviour:
        values = {
            "id": "r1",
            "model": "fake",
            "choices": [
                {
                    "message": {"role": "assistant", "content": text, **message},
                    "finish_reason": "stop",
                }
            ],
            "usage": {
                "prompt_tokens": 100,
                "completion_tokens": 20,
                "prompt_tokens_details": {"cached_tokens": 40},
                "completion_tokens_details": {"reasoning_tokens": 5},
            },
        }
        return cls.raw(200, json.dumps(values).encode(), delay_s)

    @staticmethod
    def streams(
        *pieces: Any, gap_s: float = 0.0, end: bytes = b"data: [DONE]\n\n", cut: bool = False
    ) -> Behaviour:
        """Send pieces as events; bytes go out as they are."""

        def behave(handler: BaseHTTPRequestHandler, _: dict[str, Any]) -> None:
            handler.send_response(200)
            handler.send_header("content-type", "text/event-stream")
            handler.send_header("connection", "close")
            if cut:
                # Promised and not sent: the connection breaks in the middle.
                handler.send_header("content-length", "1000000")
            handler.end_headers()
            for piece in (*pieces, end):
                raw = piece if isinstance(piece, bytes) else b"data: %s\n\n" % _delta(piece)
                handler.wfile.write(raw)
                handler.wfile.flush()
                time.sleep(gap_s)
            handler.close_connection = True

        return behave


def _delta(piece: Any) -> bytes:
    if isinstance(piece, str):
        piece = {"choices": [{"delta": {"content": piece}}]}
    return json.dumps(piece).encode()


@pytest.fixture
def server() -> Iterator[FakeServer]:
    fake = FakeServer()
    yield fake
    fake.close()
