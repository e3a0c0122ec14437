"""`loom bench all`: every benchmark in a process of its own, one document and one page."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pydantic import Field
from rich.console import Console

from flows.command.bench import check_output, write_json
from flows.command.results_page import results_page
from flows.registry import BENCHES, find_bench
from models.config import Config, Texts, load_config
from models.errors import ConfigError, ServiceError
from models.services.host import describe_machine, package_versions
from models.settings import get_settings
from tasks.cache import source_digest


class AllConfig(Config):
    """Which benchmarks run, and with which keys."""

    rooms: Texts = tuple(entry.room for entry in BENCHES)
    """Benchmarks, in this order."""

    keys: dict[str, list[str]] = Field(default_factory=dict)
    """`--set` keys by benchmark, such as `keys={kernels: ["tracks=[suites]"]}`."""

    page: Path | None = None
    """Markdown page to write; None: beside `--json`, or below LOOM_HOME."""


def run_all(data: Path | None, seed: int, out: Path | None, overrides: Sequence[str]) -> None:
    """Run all benchmarks; those that this code has run with this seed and keys are not run again.

    Raises:
        ConfigError: `data` is given, which no two benchmarks read alike; or a key is none.
        ServiceError: A benchmark failed; what the others measured is kept.
    """
    if data is not None:
        raise ConfigError("--data fits one benchmark: loom bench ROOM --data PATH")
    if seed < 0:
        raise ConfigError(f"--seed must be 0 or more, got {seed}")
    config = load_config(AllConfig, None, overrides)
    entries = [find_bench(room) for room in config.rooms]
    for room in config.keys:
        find_bench(room)
    check_output(out)
    folder = get_settings().home / "bench" / _code()
    folder.mkdir(parents=True, exist_ok=True)
    console, failed = Console(soft_wrap=True), []
    documents: dict[str, Any] = {}
    for number, entry in enumerate(entries, 1):
        keys = config.keys.get(entry.room, [])
        file = folder / f"{entry.room}-{seed}-{_digest(keys)}.json"
        console.rule(f"{number} of {len(entries)}: {entry.room}")
        began = time.monotonic()
        if file.is_file():
            console.print(f"measured before by this code: {file}", highlight=False)
        elif _measure(entry.room, seed, keys, file) != 0:
            failed.append(entry.room)
            continue
        documents[entry.room] = json.loads(file.read_text(encoding="utf-8"))
        console.print(f"{entry.room}: {(time.monotonic() - began) / 60:.1f} minutes")
    whole = {
        "seed": seed, "machine": describe_machine(), "failed": failed, "rooms": documents,
        "versions": package_versions(),
    }  # fmt: skip
    place = config.page or (folder / "results.md" if out is None else out.with_suffix(".md"))
    place.parent.mkdir(parents=True, exist_ok=True)
    place.write_text(results_page(whole), encoding="utf-8")
    if out is not None:
        write_json(out, whole)
        console.print(f"figures: {out}", highlight=False)
    console.print(f"page: {place}", highlight=False)
    if failed:
        raise ServiceError(
            f"{len(failed)} of {len(entries)} benchmarks failed: {', '.join(failed)}; what they "
            "said stands above, the same command goes on with these"
        )


def _measure(room: str, seed: int, keys: Sequence[str], file: Path) -> int:
    """Run one benchmark in a process of its own, so that none holds the memory of another."""
    command = [sys.executable, "-m", "flows", "bench", room, "--seed", str(seed), "--json",
               str(file), *(part for one in keys for part in ("--set", one))]  # fmt: skip
    return subprocess.run(command, check=False).returncode


def _code() -> str:
    """Return a digest of what decides the figures."""
    return _digest([source_digest(name) for name in ("models", "tasks", "flows")])


def _digest(texts: Sequence[str]) -> str:
    return hashlib.sha256(json.dumps(list(texts)).encode()).hexdigest()[:12]
