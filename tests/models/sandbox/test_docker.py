"""The Docker client, against a server that plays an engine on a real Unix socket."""

from __future__ import annotations

import io
import json
import socketserver
import struct
import subprocess
import tarfile
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any, ClassVar
from urllib.parse import parse_qs, urlsplit

import pytest

from models.sandbox import Limits, SandboxError, SandboxUnavailableError
from models.sandbox.docker import ContainerSpec, DockerEngine


class Engine(BaseHTTPRequestHandler):
    """Plays an engine: containers are folders, commands run on this machine."""

    root: ClassVar[Path]
    made: ClassVar[dict[str, Any]]
    killed: ClassVar[threading.Event]

    def address_string(self) -> str:
        return "test"

    def log_message(self, *_: object) -> None: ...

    def reply(self, status: int, body: bytes = b"", kind: str = "application/json") -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def serve(self) -> None:
        parts = urlsplit(self.path)
        query = parse_qs(parts.query)
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        version, *words = parts.path.strip("/").split("/")
        assert version == "v1.43"
        match (self.command, words):
            case ("GET", ["version"]):
                self.reply(200, b'{"Version": "27.0"}')
            case ("POST", ["containers", "create"]):
                spec = json.loads(body)
                if spec["Image"] != "known":
                    self.reply(404, b'{"message": "No such image: missing"}')
                    return
                self.made["spec"], self.made["name"] = spec, query.get("name")
                self.reply(201, b'{"Id": "c1", "Warnings": []}')
            case ("POST", ["containers", "c1", "start"]):
                self.made["started"] = True
                self.reply(204)
            case ("POST", ["containers", "c1", "exec"]):
                self.made["exec"] = json.loads(body)
                self.reply(201, b'{"Id": "e1"}')
            case ("POST", ["exec", "e1", "start"]):
                self.run_command()
            case ("GET", ["exec", "e1", "json"]):
                self.reply(200, json.dumps({"ExitCode": self.made["code"]}).encode())
            case ("PUT", ["containers", "c1", "archive"]):
                with tarfile.open(fileobj=io.BytesIO(body)) as tar:
                    self.made["owner"] = tar.getmembers()[0].uid
                    tar.extractall(self.root / query["path"][0].lstrip("/"), filter="data")
                self.reply(200)
            case ("GET", ["containers", "c1", "archive"]):
                self.give(self.root / query["path"][0].lstrip("/"))
            case ("POST", ["containers", "c1", "kill"]):
                self.killed.set()
                self.reply(204)
            case ("DELETE", ["containers", "c1"]):
                self.made["removed"] = query
                self.reply(204)
            case _:
                self.reply(500, b"not played")

    do_GET = do_POST = do_PUT = do_DELETE = serve  # noqa: N815

    def run_command(self) -> None:
        pipe = subprocess.PIPE
        command = subprocess.Popen(
            self.made["exec"]["Cmd"], stdout=pipe, stderr=pipe, cwd=self.root
        )
        while command.poll() is None:
            if self.killed.wait(0.02):
                command.kill()
        self.made["code"] = command.returncode
        stream = b""
        for kind, text in zip((1, 2), command.communicate(), strict=True):
            # In pieces, as an engine does.
            for at in range(0, len(text), 5):
                piece = text[at : at + 5]
                stream += struct.pack(">BxxxI", kind, len(piece)) + piece
        self.reply(200, stream, "application/vnd.docker.multiplexed-stream")

    def give(self, place: Path) -> None:
        if not place.exists():
            self.reply(404, b'{"message": "Could not find the file"}')
            return
        archive = io.BytesIO()
        with tarfile.open(fileobj=archive, mode="w") as tar:
            tar.add(place, place.name)
        self.reply(200, archive.getvalue(), "application/x-tar")


@pytest.fixture
def played(tmp_path: Path) -> Iterator[type[Engine]]:
    handler = type(
        "Played", (Engine,), {"root": tmp_path / "root", "made": {}, "killed": threading.Event()}
    )
    (tmp_path / "root/workspace").mkdir(parents=True)
    with socketserver.ThreadingUnixStreamServer(str(tmp_path / "s"), handler) as server:
        server.daemon_threads = True
        threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
        yield handler
        server.shutdown()


@pytest.fixture
def engine(played: type[Engine], tmp_path: Path) -> DockerEngine:
    return DockerEngine(tmp_path / "s")


def test_a_container_is_made_without_rights_network_or_a_writable_system(
    engine: DockerEngine, played: type[Engine], tmp_path: Path
) -> None:
    limits = Limits(memory_bytes=2**20, processes=7, open_files=9)
    engine.create(ContainerSpec("known", limits=limits, workspace=tmp_path), name="mine")
    host = played.made["spec"]["HostConfig"]
    assert (host["NetworkMode"], host["CapDrop"], host["ReadonlyRootfs"]) == ("none", ["ALL"], True)
    assert host["SecurityOpt"] == ["no-new-privileges"]
    assert (host["Memory"], host["MemorySwap"], host["PidsLimit"]) == (2**20, 2**20, 7)
    assert {"Name": "nofile", "Soft": 9, "Hard": 9} in host["Ulimits"]
    assert host["Mounts"][0]["Source"] == str(tmp_path)
    assert played.made["spec"]["User"] == "1000:1000"
    assert played.made["name"] == ["mine"]


def test_commands_give_both_streams_and_their_code_and_files_go_both_ways(
    engine: DockerEngine, played: type[Engine]
) -> None:
    with engine.create(ContainerSpec("known")) as container:
        assert played.made["started"]
        script = "echo out and more; echo err >&2; exit 3"
        done = container.exec(["sh", "-c", script], env={"A": "1"})
        assert (done.exit_code, done.stdout, done.stderr) == (3, b"out and more\n", b"err\n")
        assert played.made["exec"]["Env"] == ["A=1"]
        container.put("/workspace/a b.txt", b"content\n")
        assert played.made["owner"] == 1000
        assert (played.root / "workspace/a b.txt").read_bytes() == b"content\n"
        assert container.get("/workspace/a b.txt") == b"content\n"
        with pytest.raises(SandboxError, match="no regular file"):
            container.get("/workspace")
        with pytest.raises(SandboxError, match="404, Could not find the file"):
            container.get("/missing")
    assert played.made["removed"] == {"force": ["1"], "v": ["1"]}


def test_a_command_past_its_time_takes_its_container_with_it(
    engine: DockerEngine, played: type[Engine]
) -> None:
    container = engine.create(ContainerSpec("known"))
    begun = time.monotonic()
    with pytest.raises(SandboxError, match="its container was killed"):
        container.exec(["sleep", "20"], timeout_s=0.3)
    assert time.monotonic() - begun < 10
    assert played.killed.is_set()


def test_what_an_engine_refuses_is_told_in_its_words(engine: DockerEngine) -> None:
    assert engine.ping() == "27.0"
    with pytest.raises(SandboxError, match="404, No such image: missing"):
        engine.create(ContainerSpec("missing"))


def test_no_engine_says_where_it_was_looked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(SandboxUnavailableError, match=r"no Docker engine answers at .*/nothing"):
        DockerEngine(tmp_path / "nothing").ping()
    monkeypatch.setenv("DOCKER_HOST", "tcp://10.0.0.1:2375")
    with pytest.raises(SandboxUnavailableError, match="only Unix sockets"):
        DockerEngine()


def test_a_stream_that_is_cut_is_an_error_and_no_half_output(
    engine: DockerEngine, played: type[Engine], monkeypatch: pytest.MonkeyPatch
) -> None:
    container = engine.create(ContainerSpec("known"))
    for stream in (b"\x01\0\0\0\0\0", struct.pack(">BxxxI", 1, 9) + b"short", b"\x09" + b"\0" * 7):
        monkeypatch.setattr(played, "run_command", lambda self, s=stream: self.reply(200, s))
        with pytest.raises(SandboxError, match="stream"):
            container.exec(["true"])
