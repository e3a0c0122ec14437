"""A real server in a process of its own, for tests."""

import os
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import yaml
from websockets.sync.client import ClientConnection, connect

from models.settings import ROOT

KEY = "key-of-the-tests-0123456789"
PLAYED = "tests.models.agents.played"


class Served:
    """A server that runs."""

    def __init__(self, home: Path, arguments: Sequence[str] = (), key: str = KEY) -> None:
        self.home, self.key, self._arguments = home, key, arguments
        self.port = "0"
        self.process: subprocess.Popen[str] | None = None
        self.start()

    def start(self) -> None:
        env = {**os.environ, "PYTHONPATH": str(ROOT)}
        if self.key:
            env["LOOM_AGENTS_KEY"] = self.key
        command = [sys.executable, "-m", "models.agents.server", "--home", str(self.home)]
        self.process = subprocess.Popen(
            [*command, "--port", self.port, *self._arguments],
            stdout=subprocess.PIPE, text=True, env=env, cwd=ROOT,
        )  # fmt: skip
        self.url = self.process.stdout.readline().strip()
        self.http = self.client(self.key)
        self.stranger = self.client("")

    def client(self, key: str) -> httpx.Client:
        headers = {"Authorization": f"Bearer {key}"} if key else {}
        # Reading the certificates of the world costs more than all the calls.
        return httpx.Client(base_url=self.url, headers=headers, timeout=60, verify=False)

    @property
    def headers(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.key}"} if self.key else {}

    def stop(self, *, kill: bool = False) -> None:
        self.http.close()
        self.stranger.close()
        (self.process.kill if kill else self.process.terminate)()
        self.process.wait(30)
        self.process.stdout.close()

    def socket(self, path: str, **options: Any) -> ClientConnection:
        given = {"additional_headers": self.headers, "proxy": None, "max_size": None, **options}
        return connect(self.url.replace("http", "ws") + path, **given)

    def create(self, replies: Any, **fields: Any) -> str:
        """Begin a conversation of a played model."""
        agent = {"model": script(self.home, replies), **fields.pop("agent", {})}
        answer = self.http.post("/api/conversations", json={"agent": agent, **fields})
        assert answer.status_code == 201, answer.text
        return answer.json()["id"]

    def say(self, name: str, text: str = "go", *, run: bool = True) -> httpx.Response:
        path = f"/api/conversations/{name}/messages"
        return self.http.post(path, json={"text": text, "run": run})

    def get(self, name: str) -> dict[str, Any]:
        return self.http.get(f"/api/conversations/{name}").json()

    def rested(self, name: str, seconds: float = 30) -> dict[str, Any]:
        """Wait until no run is under way."""
        deadline = time.monotonic() + seconds
        while (found := self.get(name))["running"]:
            assert time.monotonic() < deadline, found
            time.sleep(0.02)
        return found

    @property
    def rss_mib(self) -> float:
        for line in Path(f"/proc/{self.process.pid}/status").read_text().splitlines():
            if line.startswith("VmRSS"):
                return int(line.split()[1]) / 1024
        raise AssertionError("no VmRSS")


def script(folder: Path, replies: Any) -> str:
    """Write a script and return its address."""
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / f"script-{time.monotonic_ns()}.yaml"
    values = replies if isinstance(replies, dict) else {"replies": replies}
    file.write_text(yaml.safe_dump(values))
    return f"scripted:{file}"


def call(name: str, **arguments: Any) -> dict[str, Any]:
    """One reply that calls a tool."""
    return {"tool_calls": [{"name": name, "arguments": arguments}]}


@contextmanager
def served(home: Path, *arguments: str, key: str = KEY) -> Iterator[Served]:
    server = Served(home, arguments, key)
    try:
        yield server
    finally:
        if server.process.poll() is None:
            server.stop()
