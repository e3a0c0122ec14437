"""A plan on a server that misbehaves: order, patience, errors of rows and of the server."""

from __future__ import annotations

import json
import socket
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from models.inference.backends.base import BackendDownError, StopRequestedError, Watch, Work
from models.inference.backends.openai_http import HttpBackend
from models.inference.batch_input import Places, read_batch
from models.inference.job_config import JobConfig
from models.inference.outcome import Finished
from models.inference.plan import Plan
from models.inference.prepare import PreparedJob, prepare_job
from models.inference.tiny_job import write_tiny_job
from models.llm.retry import RetryPolicy


class Server:
    """Answers completions; what a prompt's last token does is up to `behaviours`."""

    def __init__(self) -> None:
        self.behaviours: dict[int, list[Any]] = {}
        self.bodies: list[dict[str, Any]] = []
        self.ids: list[str] = []
        self.spans: list[tuple[float, float, tuple[int, ...]]] = []
        self.lock = threading.Lock()
        outer = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                outer.answer(self, 200, {"data": [{"id": "served"}]})

            def do_POST(self) -> None:
                began = time.monotonic()
                body = json.loads(self.rfile.read(int(self.headers["content-length"])))
                prompt = tuple(body["prompt"])
                with outer.lock:
                    outer.bodies.append(body)
                    outer.ids.append(self.headers["idempotency-key"])
                    turns = outer.behaviours.get(prompt[-1], [])
                    turn = turns.pop(0) if turns else None
                time.sleep(0.02)
                if turn == "cut":
                    self.close_connection = True
                    self.connection.shutdown(socket.SHUT_RDWR)
                elif turn == "garbage":
                    outer.answer(self, 200, "this is no completion")
                elif turn is not None:
                    status, message, headers = turn
                    outer.answer(self, status, {"error": {"message": message}}, headers)
                else:
                    choice = {"index": 0, "text": f"<{prompt[-1]}>", "finish_reason": "length"}
                    usage = {"prompt_tokens": len(prompt), "completion_tokens": 1}
                    details = {"prompt_tokens_details": {"cached_tokens": len(prompt) - 1}}
                    outer.answer(self, 200, {"choices": [choice], "usage": {**usage, **details}})
                with outer.lock:
                    outer.spans.append((began, time.monotonic(), prompt))

            def log_message(self, *_: object) -> None: ...

        self._http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._http.daemon_threads = True
        threading.Thread(target=self._http.serve_forever, args=(0.02,), daemon=True).start()
        self.url = f"http://127.0.0.1:{self._http.server_port}/v1"

    @staticmethod
    def answer(
        handler: BaseHTTPRequestHandler, status: int, values: Any, headers: Any = None
    ) -> None:
        data = json.dumps(values).encode()
        handler.send_response(status)
        for name, value in (headers or {}).items():
            handler.send_header(name, value)
        handler.send_header("content-length", str(len(data)))
        handler.end_headers()
        handler.wfile.write(data)

    def close(self) -> None:
        self._http.shutdown()
        self._http.server_close()


@pytest.fixture
def server() -> Iterator[Server]:
    server = Server()
    yield server
    server.close()


WAITS: list[float] = []


async def no_sleep(seconds: float) -> None:
    WAITS.append(seconds)


def prepare(folder: Path, url: str, rows: list[list[int]], **options: Any) -> PreparedJob:
    model, data = write_tiny_job(folder, 0, 1)
    fields = {"max_tokens": 1, "temperature": 0}
    lines = [{"custom_id": str(i), "token_ids": ids, **fields} for i, ids in enumerate(rows)]
    data.write_text("".join(json.dumps(line) + "\n" for line in lines))
    config = JobConfig(data=data, output=folder / "o.jsonl", model=str(model), url=url, **options)
    places = Places(folder / "home", folder)
    return prepare_job(read_batch(config, places), 1, places)


def run(job: PreparedJob, watch: Watch | None = None) -> tuple[dict[int, Finished], Plan]:
    WAITS.clear()
    batch = job.batch
    work = Work(
        *(batch.job.prompts, batch.samplings, batch.model, batch.config, 0, 1),
        *(batch.folder, batch.folder / "bodies"),
    )
    got: dict[int, Finished] = {}

    def take(prompt: int, outcome: Finished) -> None:
        assert prompt not in got
        got[prompt] = outcome

    retry = RetryPolicy(sleep=no_sleep)
    try:
        HttpBackend(work, watch or Watch(), retry).run(job.plan, 0, take)
    finally:
        run.got = got  # type: ignore[attr-defined]
    return got, job.plan


def rows(n_groups: int = 3, n_members: int = 6) -> list[list[int]]:
    return [[10 + g] * 30 + [40 + g, 50 + m] for m in range(n_members) for g in range(n_groups)]


def test_rows_come_in_the_order_of_the_plan_and_the_first_of_a_group_alone(
    server: Server, tmp_path: Path
):
    job = prepare(tmp_path, server.url, rows(), concurrency=4)
    got, plan = run(job)
    assert len(got) == 18
    assert all(outcome.choices[0].text.startswith("<") for outcome in got.values())
    assert {body["model"] for body in server.bodies} == {"served"}
    spans = {prompt: (begin, end) for begin, end, prompt in server.spans}
    prompts = job.batch.job.prompts
    heads = []
    for group in plan.run_order(0):
        if group.is_materialised and len(group.members) > 1:
            first, *others = (spans[tuple(prompts[int(p)].tolist())] for p in group.members)
            assert all(begin >= first[1] for begin, _ in others)
            heads.append(first[0])
    assert len(heads) == 3
    assert heads == sorted(heads)
    overlap = [sum(b <= begin < e for b, e in spans.values()) for begin, _ in spans.values()]
    assert 1 < max(overlap) <= 4


def test_a_server_that_asks_for_patience_gets_it_and_the_same_id(server: Server, tmp_path: Path):
    server.behaviours = {
        50: [(429, "slow down", {"Retry-After": "3"})],
        51: [(503, "busy", {}), (500, "oops", {})],
        52: ["cut"],
        53: ["garbage"],
    }
    got, _ = run(prepare(tmp_path, server.url, rows(1)))
    assert all(outcome.failure is None for outcome in got.values())
    assert any(3 <= wait <= 3.3 for wait in WAITS)
    tries: dict[int, set[str]] = {}
    for body, call_id in zip(server.bodies, server.ids, strict=True):
        tries.setdefault(body["prompt"][-1], set()).add(call_id)
    assert len(server.bodies) == 6 + 5
    assert all(len(ids) == 1 for ids in tries.values())


def test_results_name_the_servers_model_not_the_one_that_found_prefixes(tmp_path: Path):
    url = "http://127.0.0.1:9/v1"
    assert prepare(tmp_path / "a", url, [[5]], served_model="big").model_name == "big"
    assert prepare(tmp_path / "b", url, [[5]]).model_name == url


def test_a_refused_row_is_an_error_of_its_own(server: Server, tmp_path: Path):
    long = "This model's maximum context length is 10 tokens"
    server.behaviours = {
        50: [(400, long, {})],
        51: [(400, "no such option", {})],
        52: [(500, "always", {})] * 9,
        53: [(400, "content policy", {})],
    }
    got, _ = run(prepare(tmp_path, server.url, rows(1)))
    codes = [outcome.failure and outcome.failure.code for _, outcome in sorted(got.items())]
    assert codes == [
        *("context_length_exceeded", "request_refused", "server_error", "content_filter"),
        *(None, None),
    ]


def test_a_server_that_is_to_blame_leaves_the_rows_open(server: Server, tmp_path: Path):
    server.behaviours = {50: [(401, "wrong key", {})]}
    with pytest.raises(BackendDownError, match=r"wrong key.*start the job again"):
        run(prepare(tmp_path / "a", server.url, rows(1)))
    assert run.got == {}  # type: ignore[attr-defined]
    server.behaviours = {50 + i: [(503, "down", {})] * 9 for i in range(40)}
    with pytest.raises(BackendDownError, match="down"):
        run(prepare(tmp_path / "b", server.url, rows(1, 40)))
    assert run.got == {}  # type: ignore[attr-defined]
    job = prepare(tmp_path / "c", server.url, rows(1), served_model="m")
    server.close()
    with pytest.raises(BackendDownError, match="is the server up"):
        run(job)
    assert run.got == {}  # type: ignore[attr-defined]


def test_stopping_leaves_rows_open(server: Server, tmp_path: Path):
    watch = Watch(is_stopping=True)
    with pytest.raises(StopRequestedError):
        run(prepare(tmp_path, server.url, rows(1)), watch)
    assert server.bodies == []
