"""Containers by the HTTP API of a Docker engine, over its Unix socket.

Only what a sandbox needs: make, start, run a command, copy in and out, remove. Written from the
API's reference and tested against a server that plays an engine; it was not run against a real
one.

Source: Docker Engine API v1.43 (docs.docker.com/engine/api/v1.43).
"""

from __future__ import annotations

import http.client
import io
import json
import os
import socket
import struct
import tarfile
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode

from models.sandbox.base import DEFAULT_LIMITS, Limits, SandboxError, SandboxUnavailableError

VERSION = "v1.43"
_TIMEOUT_S = 120.0
_MOST_COPY_BYTES = 256 * 1024**2


@dataclass(frozen=True)
class ExecResult:
    """How a command in a container ended.

    Attributes:
        exit_code: As the engine reports it.
        stdout, stderr: What it wrote.
    """

    exit_code: int
    stdout: bytes
    stderr: bytes


@dataclass(frozen=True)
class ContainerSpec:
    """A container to make.

    Attributes:
        image: Its image, which the engine must have.
        command: What keeps it alive.
        limits: What it may use.
        workspace: Folder of the host mounted at `folder`; None: an empty one inside.
        folder: Where commands start.
        user: Who runs them.
        network: Name of its network.
        env: Its environment.
        mounts: Further folders of the host, by where they lie in it.
        ports: Ports that this machine, and no other, reaches at a free port of its own.
    """

    image: str
    command: Sequence[str] = ("sleep", "infinity")
    limits: Limits = DEFAULT_LIMITS
    workspace: Path | None = None
    folder: str = "/workspace"
    user: str = "1000:1000"
    network: str = "none"
    env: Mapping[str, str] = field(default_factory=dict)
    mounts: Mapping[str, Path] = field(default_factory=dict)
    ports: Sequence[int] = ()

    def body(self) -> dict[str, Any]:
        """Write it as the engine reads it: no rights, no new ones, a read-only system."""
        limits = self.limits
        host: dict[str, Any] = {
            "NetworkMode": self.network,
            "CapDrop": ["ALL"],
            "SecurityOpt": ["no-new-privileges"],
            "ReadonlyRootfs": True,
            "Tmpfs": {"/tmp": f"rw,nosuid,nodev,size={limits.tmp_bytes}"},
            "Init": True,
            "AutoRemove": False,
            "Ulimits": [{"Name": "core", "Soft": 0, "Hard": 0}],
        }
        if limits.memory_bytes is not None:
            host |= {"Memory": limits.memory_bytes, "MemorySwap": limits.memory_bytes}
        if limits.processes is not None:
            host["PidsLimit"] = limits.processes
        for name, value in (("fsize", limits.file_bytes), ("nofile", limits.open_files)):
            if value is not None:
                host["Ulimits"].append({"Name": name, "Soft": value, "Hard": value})
        mounts = {**self.mounts}
        if self.workspace is not None:
            mounts[self.folder] = self.workspace
        else:
            host["Tmpfs"][self.folder] = f"rw,nosuid,nodev,mode=1777,size={limits.tmp_bytes}"
        if mounts:
            host["Mounts"] = [
                {"Type": "bind", "Source": str(source), "Target": target}
                for target, source in mounts.items()
            ]
        if self.ports:
            host["PortBindings"] = {
                f"{port}/tcp": [{"HostIp": "127.0.0.1", "HostPort": ""}] for port in self.ports
            }
        return {
            "Image": self.image,
            "Cmd": list(self.command),
            "Env": [f"{name}={value}" for name, value in self.env.items()],
            "User": self.user,
            "WorkingDir": self.folder,
            "Labels": {"loom.sandbox": "1"},
            "ExposedPorts": {f"{port}/tcp": {} for port in self.ports},
            "HostConfig": host,
        }


class _Connection(http.client.HTTPConnection):
    def __init__(self, path: str, timeout_s: float) -> None:
        super().__init__("docker", timeout=timeout_s)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self._path)


class DockerEngine:
    """A client of one engine.

    Args:
        socket_path: Its Unix socket; None: what DOCKER_HOST says, else the usual place.
    """

    def __init__(self, socket_path: Path | str | None = None) -> None:
        address = os.environ.get("DOCKER_HOST", "unix:///var/run/docker.sock")
        if socket_path is None and not address.startswith("unix://"):
            raise SandboxUnavailableError(
                f"DOCKER_HOST is {address}; only Unix sockets are spoken to: unix:///PATH"
            )
        self._socket = str(socket_path or address.removeprefix("unix://"))

    def ping(self) -> str:
        """Return the engine's version.

        Raises:
            SandboxUnavailableError: No engine answers.
        """
        return str(self._json("GET", "/version")["Version"])

    def create(self, spec: ContainerSpec, name: str = "") -> Container:
        """Make a container; it does not run yet.

        Raises:
            SandboxError: The engine refuses, for example because it lacks the image.
        """
        query = f"?{urlencode({'name': name})}" if name else ""
        made = self._json("POST", f"/containers/create{query}", spec.body())
        return Container(self, str(made["Id"]), spec)

    def _json(self, method: str, path: str, body: Any = None) -> Any:
        text = self._bytes(method, path, None if body is None else json.dumps(body).encode())
        try:
            return json.loads(text) if text else {}
        except ValueError as error:
            raise SandboxError(f"{method} {path}: the engine answered no JSON") from error

    def _bytes(
        self,
        method: str,
        path: str,
        body: bytes | None = None,
        kind: str = "application/json",
        timeout_s: float = _TIMEOUT_S,
    ) -> bytes:
        link = _Connection(self._socket, timeout_s)
        try:
            link.request(method, f"/{VERSION}{path}", body, {"Content-Type": kind})
            answer = link.getresponse()
            text = answer.read(_MOST_COPY_BYTES + 1)
        except (FileNotFoundError, ConnectionRefusedError, PermissionError) as error:
            raise SandboxUnavailableError(
                f"no Docker engine answers at {self._socket} ({error.strerror}); start one, or "
                "join the group that may use its socket"
            ) from error
        except (OSError, http.client.HTTPException) as error:
            raise SandboxError(f"{method} {path}: the engine broke off ({error})") from error
        finally:
            link.close()
        if answer.status >= 400:
            raise SandboxError(f"{method} {path}: {answer.status}, {_reason(text)}")
        if len(text) > _MOST_COPY_BYTES:
            raise SandboxError(f"{method} {path}: more than {_MOST_COPY_BYTES:,} bytes")
        return text


def _reason(text: bytes) -> str:
    try:
        return str(json.loads(text)["message"])
    except (ValueError, KeyError, TypeError):
        return text[:200].decode(errors="replace")


class Container:
    """One container of an engine."""

    def __init__(self, engine: DockerEngine, identifier: str, spec: ContainerSpec) -> None:
        self._engine, self.id, self.spec = engine, identifier, spec

    def start(self) -> None:
        """Start it; running already is fine."""
        self._engine._bytes("POST", f"/containers/{self.id}/start")

    def port(self, inside: int) -> int:
        """Return the port of this machine that leads to one of its own.

        Raises:
            SandboxError: It has ended, or was made without that port.
        """
        found = self._engine._json("GET", f"/containers/{self.id}/json")
        try:
            return int(found["NetworkSettings"]["Ports"][f"{inside}/tcp"][0]["HostPort"])
        except (KeyError, TypeError, IndexError, ValueError):
            state = found.get("State", {})
            raise SandboxError(
                f"container {self.id[:12]} has no port {inside} (state: "
                f"{state.get('Status', 'unknown')}, exit code: {state.get('ExitCode', 'none')}); "
                "see `docker logs`"
            ) from None

    def exec(
        self,
        argv: Sequence[str],
        *,
        env: Mapping[str, str] | None = None,
        timeout_s: float | None = None,
    ) -> ExecResult:
        """Run a command in it to its end.

        Args:
            argv: The command line.
            env: Variables added to the container's.
            timeout_s: Seconds after which the whole container is killed, for the API cannot
                kill a single command; None: the limits' `wall_s`.

        Raises:
            SandboxError: The engine refuses, or the time was over.
        """
        wanted = {
            "Cmd": list(argv),
            "AttachStdout": True,
            "AttachStderr": True,
            "Env": [f"{name}={value}" for name, value in (env or {}).items()],
            "User": self.spec.user,
            "WorkingDir": self.spec.folder,
        }
        engine = self._engine
        made = engine._json("POST", f"/containers/{self.id}/exec", wanted)
        seconds = self.spec.limits.wall_s if timeout_s is None else timeout_s
        path = f"/exec/{made['Id']}/start"
        body = json.dumps({"Detach": False, "Tty": False}).encode()
        is_over = threading.Event()

        def end() -> None:
            is_over.set()
            self.kill()

        # A clock of its own: what reads waits for each piece, not for the whole.
        clock = threading.Timer(seconds, end)
        clock.start()
        try:
            stream = engine._bytes("POST", path, body, timeout_s=seconds + _TIMEOUT_S)
        finally:
            clock.cancel()
        if is_over.is_set():
            raise SandboxError(f"{argv[0]} ran longer than {seconds:g} s; its container was killed")
        stdout, stderr = _parted(stream)
        told = engine._json("GET", f"/exec/{made['Id']}/json")
        return ExecResult(int(told["ExitCode"]), stdout, stderr)

    def put(self, path: str, content: bytes, mode: int = 0o644) -> None:
        """Write a file in it; its folder must be there.

        Args:
            path: Absolute, in the container.
            content: All of it.
            mode: Permission bits.
        """
        folder, _, name = path.rpartition("/")
        archive = io.BytesIO()
        with tarfile.open(fileobj=archive, mode="w") as tar:
            entry = tarfile.TarInfo(name)
            entry.size, entry.mode, entry.mtime = len(content), mode, int(time.time())
            entry.uid, entry.gid = self._owner()
            tar.addfile(entry, io.BytesIO(content))
        where = f"/containers/{self.id}/archive?path={quote(folder or '/', safe='')}"
        self._engine._bytes("PUT", where, archive.getvalue(), "application/x-tar")

    def _owner(self) -> tuple[int, int]:
        user, _, group = self.spec.user.partition(":")
        numbers = [int(part) if part.isdigit() else 0 for part in (user, group or user)]
        return numbers[0], numbers[1]

    def get(self, path: str) -> bytes:
        """Read a regular file of it.

        Raises:
            SandboxError: There is none, or it is something else.
        """
        where = f"/containers/{self.id}/archive?path={quote(path, safe='')}"
        try:
            with tarfile.open(fileobj=io.BytesIO(self._engine._bytes("GET", where))) as tar:
                # Only looked into, never unpacked: names in it are the container's.
                entry = tar.next()
                file = tar.extractfile(entry) if entry is not None and entry.isreg() else None
                if file is None:
                    raise SandboxError(f"{path} in the container is no regular file")
                return file.read()
        except tarfile.TarError as error:
            raise SandboxError(f"{path}: the engine sent no archive ({error})") from error

    def kill(self) -> None:
        """End all its processes."""
        self._engine._bytes("POST", f"/containers/{self.id}/kill")

    def remove(self) -> None:
        """End and remove it, with what it has written inside."""
        self._engine._bytes("DELETE", f"/containers/{self.id}?force=1&v=1")

    def __enter__(self) -> Container:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.remove()


def _parted(stream: bytes) -> tuple[bytes, bytes]:
    """Part a stream into output and errors: eight bytes of head before each piece."""
    parts = {1: bytearray(), 2: bytearray()}
    at = 0
    while at < len(stream):
        if at + 8 > len(stream):
            raise SandboxError("the engine cut a stream off in the middle")
        kind, length = struct.unpack(">BxxxI", stream[at : at + 8])
        piece = stream[at + 8 : at + 8 + length]
        if kind not in (0, 1, 2) or len(piece) != length:
            raise SandboxError("the engine sent a stream that cannot be read")
        parts[2 if kind == 2 else 1] += piece
        at += 8 + length
    return bytes(parts[1]), bytes(parts[2])
