"""Figures of the server: boot, memory, CPU per message and step, lists. CPU first; wall varies.

    python -m models.agents.server.bench --json OUT

A server is a process of its own on loopback; its CPU and memory are read from /proc. A played
model calls a tool that does nothing.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import httpx

from models.agents.measuring import Spread, machine_ms
from models.agents.store.sqlite import SqliteStore

PING = "models.agents.bench:ping"
STEPS = 30
_TICKS = os.sysconf("SC_CLK_TCK")


class Probe:
    """A server process as seen from outside.

    Args:
        home: Its folder.
        arguments: Further options.
    """

    def __init__(self, home: Path, *arguments: str) -> None:
        command = [sys.executable, "-m", "models.agents.server", "--home", str(home), "--port", "0"]
        self.process = subprocess.Popen(
            [*command, "--tool", PING, "--most-runs", "64", *arguments],
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self.process.stdout is not None
        self.url = self.process.stdout.readline().strip()
        self.http = httpx.Client(base_url=self.url, timeout=60, verify=False)
        self.http.get("/health").raise_for_status()
        self.boot_cpu_s = self.cpu_s

    @property
    def cpu_s(self) -> float:
        """CPU seconds so far, user and system."""
        text = Path(f"/proc/{self.process.pid}/stat").read_text()
        words = text.rpartition(")")[2].split()
        return (int(words[11]) + int(words[12])) / _TICKS

    @property
    def rss_mb(self) -> float:
        """Resident memory in MB."""
        text = Path(f"/proc/{self.process.pid}/statm").read_text()
        return int(text.split()[1]) * os.sysconf("SC_PAGE_SIZE") / 1e6

    def create(self, script: Path) -> str:
        """Begin a conversation."""
        agent = {"model": f"scripted:{script}", "tools": [PING]}
        answer = self.http.post("/api/conversations", json={"agent": agent}).raise_for_status()
        return str(answer.json()["id"])

    def close(self) -> None:
        """End the server."""
        self.http.close()
        self.process.send_signal(signal.SIGTERM)
        self.process.wait(30)
        assert self.process.stdout is not None
        self.process.stdout.close()


@contextlib.contextmanager
def probe(home: Path, *arguments: str) -> Iterator[Probe]:
    """Start a server and end it."""
    found = Probe(home, *arguments)
    try:
        yield found
    finally:
        found.close()


def script_of(folder: Path, steps: int = STEPS) -> Path:
    """Write a script of steps that do nothing."""
    file = folder / f"ping-{steps}.json"
    call = [{"tool_calls": [{"name": "ping", "arguments": {"n": n}}]} for n in range(steps)]
    file.write_text(json.dumps({"replies": [*call, "Done."]}))  # JSON is YAML
    return file


def boot_cost(folder: Path, runs: int = 5) -> dict[str, Any]:
    """Measure boots until the first answer of /health, and memory two seconds later."""
    cpu, memory = [], []
    for number in range(runs):
        with probe(folder / f"boot-{number}") as server:
            cpu.append(server.boot_cpu_s)
            time.sleep(2)
            memory.append(server.rss_mb)
    return {"cpu_s": Spread.of(cpu).rounded(), "idle_rss_mb": Spread.of(memory).rounded()}


def request_cost(server: Probe, name: str, count: int = 200) -> dict[str, float]:
    """Measure GETs on one connection: CPU milliseconds each."""
    found = {}
    for what, path in {"health": "/health", "details": f"/api/conversations/{name}"}.items():
        before = server.cpu_s
        for _ in range(count):
            server.http.get(path)
        found[f"{what}_cpu_ms"] = round(1e3 * (server.cpu_s - before) / count, 3)
    return found


def message_cost(server: Probe, name: str, sockets: int, count: int = 100) -> dict[str, Any]:
    """Measure posted messages until their frame arrives on the first of some sockets."""
    return asyncio.run(_messages(server, name, sockets, count))


async def _messages(server: Probe, name: str, sockets: int, count: int) -> dict[str, Any]:
    from websockets.asyncio.client import ClientConnection, connect

    async def drain(socket: ClientConnection) -> None:
        async for _ in socket:
            pass

    place = f"ws{server.url.removeprefix('http')}/ws/conversations/{name}"
    async with contextlib.AsyncExitStack() as stack:
        opened = [
            await stack.enter_async_context(connect(place, proxy=None)) for _ in range(sockets)
        ]
        client = await stack.enter_async_context(
            httpx.AsyncClient(base_url=server.url, verify=False, timeout=60)
        )
        # Full ones would not hear the goodbye, and take ten seconds each to end.
        others = [asyncio.create_task(drain(socket)) for socket in opened[1:]]
        await asyncio.sleep(0.5)
        before, waits = server.cpu_s, []
        for number in range(count):
            tag = f"tag-{sockets}-{number}-{time.monotonic_ns()}"
            body = {"text": tag, "run": False}
            began = time.perf_counter()
            posted = asyncio.ensure_future(
                client.post(f"/api/conversations/{name}/messages", json=body)
            )
            while tag not in str(await opened[0].recv()):
                pass
            waits.append(1e3 * (time.perf_counter() - began))
            await posted
        cpu_ms = 1e3 * (server.cpu_s - before) / count
    await asyncio.gather(*others)
    return {"cpu_ms": round(cpu_ms, 3), "post_to_socket_ms": Spread.of(waits).rounded()}


def step_cost(server: Probe, script: Path, conversations: int) -> dict[str, Any]:
    """Measure runs of 30 steps in some conversations at once, and health meanwhile."""
    names = [server.create(script) for _ in range(conversations)]
    before, began, waits = server.cpu_s, time.perf_counter(), []
    for name in names:
        path = f"/api/conversations/{name}/messages"
        server.http.post(path, json={"text": "go"}).raise_for_status()
    while server.http.get("/health").json()["runs"]:
        start = time.perf_counter()
        server.http.get("/health")
        waits.append(1e3 * (time.perf_counter() - start))
        time.sleep(0.002)
    wall, steps = time.perf_counter() - began, conversations * (STEPS + 1)
    found = server.http.get(f"/api/conversations/{names[-1]}").json()
    assert found["phase"] == "finished", found
    return {
        "steps": steps,
        "cpu_ms_per_step": round(1e3 * (server.cpu_s - before) / steps, 3),
        "steps_per_s": round(steps / wall, 1),
        "health_ms": Spread.of(waits).rounded() if waits else None,
    }


def list_cost(server: Probe, home: Path, script: Path, count: int = 2_000) -> dict[str, Any]:
    """Measure the first page of a list of so many conversations, and all of it."""
    source = SqliteStore(home).path(server.create(script)).read_bytes()
    for number in range(count):
        SqliteStore(home).path(f"copy-{number}").write_bytes(source)
    server.http.get("/api/conversations")
    found = {}
    for what, limit in {"page_of_50": 50, "all": count}.items():
        before, waits = server.cpu_s, []
        for _ in range(20):
            start = time.perf_counter()
            server.http.get("/api/conversations", params={"limit": limit})
            waits.append(1e3 * (time.perf_counter() - start))
        cpu_ms = 1e3 * (server.cpu_s - before) / len(waits)
        found[what] = {"cpu_ms": round(cpu_ms, 2), "wall_ms": Spread.of(waits).rounded()}
    return found


def measure(folder: Path) -> dict[str, Any]:
    """Return all figures.

    Args:
        folder: On the disk that is to be measured; empty.
    """
    script = script_of(folder)
    figures: dict[str, Any] = {
        "load_1_min": round(os.getloadavg()[0], 2),
        "machine_ms": machine_ms(),
        "cores": len(os.sched_getaffinity(0)),
        "durability": "group",
        "boot": boot_cost(folder),
    }
    home = folder / "home"
    with probe(home) as server:
        name = server.create(script)
        figures["requests"] = request_cost(server, name)
        figures["messages"] = {n: message_cost(server, name, n) for n in (1, 10)}
        step_cost(server, script, 1)  # the first one imports
        figures["steps"] = {n: step_cost(server, script, n) for n in (1, 16, 64)}
        figures["rss_mb_after_runs"] = round(server.rss_mb, 1)
        figures["list"] = list_cost(server, home, script)
    figures["steps_per_cpu_s"] = round(
        1e3 / statistics.median(entry["cpu_ms_per_step"] for entry in figures["steps"].values())
    )
    return figures


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure from the command line and print JSON."""
    parser = argparse.ArgumentParser(description="Figures of the server of agents.")
    parser.add_argument("--json", type=Path, default=None)
    parser.add_argument("--folder", type=Path, default=None)
    asked = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory(prefix="server-bench-", dir=asked.folder) as scratch:
        text = json.dumps(measure(Path(scratch)), indent=2)
    if asked.json:
        asked.json.write_text(text + "\n")
    print(text)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
