"""Runs kept on disk while the tracking server is unreachable, and their replay.

One folder per run under `settings.spool`: `calls.jsonl`, one store call per line in order,
and `files/`, copies of the artifacts. A lock per run lets threads, processes and a
replay share a folder.
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
from models.settings import Settings, get_settings, masked
from tasks.track.mlflow_store import MlflowStore, brief, is_caller_error
from tasks.track.store import Point, RunRequest, TraceRecord

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

    def trace(self, run_id: str, record: TraceRecord) -> None:
        """Keep a trace."""
        self._append(run_id, "trace", record=asdict(record))

    def finish(self, run_id: str, status: str, end_ms: int) -> None:
        """Close a run."""
        self._append(run_id, "finish", status=status, end_ms=end_ms)

    def _append(self, run_id: str, call: str, **arguments: Any) -> None:
        folder = self.root / run_id
        self.root.mkdir(parents=True, exist_ok=True)
        line = json.dumps({"call": call, **arguments}) + "\n"
        with _lock(folder):
            folder.mkdir(parents=True, exist_ok=True)
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
        ServiceError: Some runs were not taken; they stay, the others were sent.
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
    names = _known_ids(settings)
    failed: list[str] = []
    waiting: list[tuple[bool, Path]] = []
    for folder in spooled_runs(settings):
        try:
            calls = _calls(folder)
        except ServiceError as error:
            failed.append(str(error))
            continue
        if calls:
            waiting.append((bool((calls[0].get("request") or {}).get("parent_id")), folder))
    # Parents first: a child's request names its parent by the provisional id.
    waiting.sort(key=lambda item: item[0])
    for _, folder in waiting:
        try:
            _replay(store, folder, names, tell)
        except Exception as error:
            failed.append(f"{folder.name}: {brief(error)}")
            continue
        tell(f"sent {folder.name}")
    if failed:
        raise ServiceError(
            f"tracking server {masked(settings.tracking_uri)} did not take {len(failed)} "
            f"spooled runs ({'; '.join(failed[:3])}); they stay in "
            f"{settings.spool}, try again when this is mended"
        )
    return len(waiting)


def _replay(
    store: MlflowStore, folder: Path, names: dict[str, str], tell: Callable[[str], None]
) -> None:
    run_id = names.get(folder.name, folder.name)
    done_file = folder / "replayed"
    done = int(done_file.read_text()) if done_file.exists() else 0
    while True:
        calls = _calls(folder)
        for number, call in enumerate(calls[done:], start=done + 1):
            try:
                run_id = _send(store, folder, run_id, call, names)
            except Exception as error:
                # A refused call must not hold up the others; a run that cannot start must.
                if call["call"] == "start" or not is_caller_error(error):
                    raise
                tell(f"refused, left out: {call['call']} of {folder.name} ({brief(error)})")
            done_file.write_text(str(number))
        done = len(calls)
        with _lock(folder):
            # A run that is still going on may have added calls meanwhile.
            if len(_calls(folder)) == done:
                shutil.rmtree(folder)
                return


def _calls(folder: Path) -> list[dict[str, Any]]:
    """Read the calls of a spooled run; a torn last line was never a call."""
    calls: list[dict[str, Any]] = []
    lines = (folder / CALLS).read_text(encoding="utf-8").split("\n")
    for place, line in enumerate(lines):
        try:
            calls.append(json.loads(line))
        except json.JSONDecodeError:
            if place < len(lines) - 1:
                raise ServiceError(
                    f"line {place + 1} of {folder / CALLS} is damaged; mend or remove it"
                ) from None
    return calls


def _lock(folder: Path) -> FileLock:
    """Return the lock between the writers of a spooled run and its replay."""
    return FileLock(folder.parent / f".{folder.name}.lock")


def _send(
    store: MlflowStore, folder: Path, run_id: str, call: dict[str, Any], names: dict[str, str]
) -> str:
    kind = call["call"]
    if kind == "start":
        if run_id in names.values():  # a replay that stopped right after it opened the run
            return run_id
        request = RunRequest(**call["request"])
        parent = names.get(request.parent_id or "", request.parent_id)
        if parent and parent.startswith(SPOOLED):
            raise ServiceError("its parent run has not been taken yet")
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
    elif kind == "trace":
        store.trace(run_id, TraceRecord(**call["record"]))
    elif kind == "finish":
        store.finish(run_id, call["status"], call["end_ms"])
    return run_id


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
