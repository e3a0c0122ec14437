"""Runs kept on disk while the tracking server is unreachable, and their replay.

One folder per run under `settings.spool`: `calls.jsonl`, one store call per line in order,
and `files/`, copies of the artifacts. A line is written in one append, so threads and
processes may share a folder.
"""

from __future__ import annotations

import json
import shutil
import uuid
from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from models.errors import ServiceError
from models.settings import Settings, get_settings
from tasks.track.mlflow_store import MlflowStore, brief, is_caller_error
from tasks.track.store import Point, RunRequest

CALLS = "calls.jsonl"
SPOOLED = "spooled-"


class SpoolStore:
    """Records the same calls as `MlflowStore` in a folder."""

    def __init__(self, settings: Settings | None = None) -> None:
        self.root = (settings or get_settings()).spool

    def start(self, request: RunRequest) -> str:
        """Open a run under a provisional id; the replay gives it its real one."""
        run_id = SPOOLED + uuid.uuid4().hex
        self._append(run_id, "start", request=asdict(request))
        return run_id

    def params(self, run_id: str, values: Mapping[str, str]) -> None:
        """Record parameters."""
        self._append(run_id, "params", values=dict(values))

    def metrics(self, run_id: str, points: list[Point]) -> None:
        """Record metric values."""
        self._append(run_id, "metrics", points=points)

    def tags(self, run_id: str, values: Mapping[str, str]) -> None:
        """Set tags."""
        self._append(run_id, "tags", values=dict(values))

    def dataset(self, run_id: str, name: str, digest: str, source: str) -> None:
        """Record which data the run read."""
        self._append(run_id, "dataset", name=name, digest=digest, source=source)

    def artifact(self, run_id: str, file: Path, folder: str | None) -> None:
        """Keep a copy of a file, under a name of its own."""
        kept = self.root / run_id / "files" / uuid.uuid4().hex / file.name
        kept.parent.mkdir(parents=True)
        shutil.copyfile(file, kept)
        self._append(run_id, "artifact", file=str(kept.relative_to(self.root)), folder=folder)

    def finish(self, run_id: str, status: str, end_ms: int) -> None:
        """Close a run."""
        self._append(run_id, "finish", status=status, end_ms=end_ms)

    def _append(self, run_id: str, call: str, **arguments: Any) -> None:
        folder = self.root / run_id
        folder.mkdir(parents=True, exist_ok=True)
        line = json.dumps({"call": call, **arguments}) + "\n"
        with open(folder / CALLS, "a", encoding="utf-8") as file:
            file.write(line)


def spooled_runs(settings: Settings | None = None) -> list[Path]:
    """Return the folders of runs that wait for the tracking server, oldest first."""
    root = (settings or get_settings()).spool
    found = [path.parent for path in root.glob(f"*/{CALLS}")]
    return sorted(found, key=lambda folder: (folder / CALLS).stat().st_mtime)


def replay_spool(
    settings: Settings | None = None, tell: Callable[[str], None] = lambda _: None
) -> int:
    """Send the spooled runs to the tracking server and return how many were sent.

    A folder is removed after its last call was accepted; an interrupted replay goes on
    where it stopped.

    Raises:
        ServiceError: The server is still out of reach; nothing was lost.
    """
    settings = settings or get_settings()
    settings.spool.mkdir(parents=True, exist_ok=True)
    try:
        with FileLock(settings.spool / ".lock", timeout=0):
            return _replay_all(settings, tell)
    except Timeout:
        raise ServiceError("another process is sending the spooled runs; let it finish") from None


def _replay_all(settings: Settings, tell: Callable[[str], None]) -> int:
    store = MlflowStore(settings)
    waiting = spooled_runs(settings)
    names = _known_ids(settings)
    # Parents first: a child's request names its parent by the provisional id.
    waiting.sort(key=lambda folder: _first_request(folder).get("parent_id") is not None)
    for folder in waiting:
        try:
            _replay(store, folder, names)
        except Exception as error:
            raise ServiceError(
                f"tracking server {settings.tracking_uri} does not take the spooled run "
                f"{folder.name}: {brief(error)}; it stays in {folder}, "
                "try again when the server is back"
            ) from error
        tell(f"sent {folder.name}")
        _remember(settings, names)
        shutil.rmtree(folder)
    return len(waiting)


def _replay(store: MlflowStore, folder: Path, names: dict[str, str]) -> None:
    run_id = names.get(folder.name, folder.name)
    done_file = folder / "replayed"
    done = int(done_file.read_text()) if done_file.exists() else 0
    lines = (folder / CALLS).read_text(encoding="utf-8").splitlines()
    for number, line in enumerate(lines, start=1):
        if number <= done:
            continue
        call = json.loads(line)
        try:
            run_id = _send(store, folder, run_id, call, names)
        except Exception as error:
            if not is_caller_error(error):
                raise
        done_file.write_text(str(number))


def _send(
    store: MlflowStore, folder: Path, run_id: str, call: dict[str, Any], names: dict[str, str]
) -> str:
    kind = call.pop("call")
    if kind == "start":
        request = RunRequest(**call["request"])
        parent = names.get(request.parent_id or "", request.parent_id)
        run_id = store.start(RunRequest(**{**asdict(request), "parent_id": parent}))
        names[folder.name] = run_id
        store.tags(run_id, {"loom.spooled": "true"})
        _remember(store.settings, names)
    elif kind == "artifact":
        store.artifact(run_id, folder.parent / call["file"], call["folder"])
    elif kind == "metrics":
        store.metrics(run_id, [Point(*point) for point in call["points"]])
    elif kind == "dataset":
        store.dataset(run_id, call["name"], call["digest"], call["source"])
    elif kind == "params":
        store.params(run_id, call["values"])
    elif kind == "tags":
        store.tags(run_id, call["values"])
    elif kind == "finish":
        store.finish(run_id, call["status"], call["end_ms"])
    return run_id


def _first_request(folder: Path) -> dict[str, Any]:
    with open(folder / CALLS, encoding="utf-8") as file:
        request: dict[str, Any] = json.loads(file.readline()).get("request") or {}
    return request


def _known_ids(settings: Settings) -> dict[str, str]:
    """Return provisional id -> real id, kept for children that are spooled later."""
    try:
        known: dict[str, str] = json.loads((settings.spool / "ids.json").read_text())
    except FileNotFoundError:
        return {}
    return known


def _remember(settings: Settings, names: dict[str, str]) -> None:
    temporary = settings.spool / "ids.json.part"
    temporary.write_text(json.dumps(names))
    temporary.replace(settings.spool / "ids.json")
