"""The figures that the agents room promises, read from what its benchmark measured."""

from __future__ import annotations

import statistics
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from models.figures import BenchTable


@dataclass(frozen=True)
class AgentsFigure:
    """One figure, the reference's beside it.

    Attributes:
        key: For records.
        words: For people.
        ours: What was measured; None: it could not be.
        reference: Of openhands-sdk on the same loop.
        target: What it must be at most, or at least.
        is_least: The target is a lower bound.
    """

    key: str
    words: str
    ours: float | None
    reference: float | None = None
    target: float | None = None
    is_least: bool = False

    @property
    def is_kept(self) -> bool | None:
        """Whether the target is reached; None: there is none, or nothing was measured."""
        if self.ours is None or self.target is None:
            return None
        return self.ours >= self.target if self.is_least else self.ours <= self.target


def figures_of(document: dict[str, Any]) -> list[AgentsFigure]:
    """Return the figures of all tracks that were measured; medians over rounds."""
    found: list[AgentsFigure] = []
    for track, read in _TRACKS.items():
        if track in document:
            found.extend(read(document[track]))
    return found


def _speed(part: dict[str, Any]) -> Iterator[AgentsFigure]:
    rounds = part["rounds"]

    def ours(*keys: str) -> float | None:
        return _median([_dug(one["ours"], keys) for one in rounds])

    def theirs(*keys: str) -> float | None:
        return _median([_dug(one["reference"], keys) for one in rounds if "reference" in one])

    yield AgentsFigure(
        "machine/python_ms", "this machine: a fixed piece of Python, CPU ms", ours("machine_ms")
    )
    loaded = theirs("import", "cpu_s")
    yield AgentsFigure(
        *("import/cpu_s", "import, CPU s (target: a tenth)", ours("import", "cpu_s", "median")),
        *(loaded, loaded / 10 if loaded else None),
    )
    yield AgentsFigure(
        *("import/rss_mib", "import, peak MiB", ours("import", "peak_rss_mib", "median")),
        *(theirs("import", "peak_rss_mib"), 70),
    )
    for mode, most in (("strict", 2.0), ("group", 1.0)):
        yield AgentsFigure(
            *(f"fsyncs/{mode}", f"fsyncs per action cycle, {mode}", ours("fsyncs_per_cycle", mode)),
            *(theirs("fsyncs_per_cycle"), most),
        )
    for mode in ("relaxed", "group", "strict"):
        yield AgentsFigure(
            *(f"append/{mode}_ms", f"append, CPU ms per event, {mode}"),
            *(ours("append", mode, "cpu_ms_per_event"), theirs("append", "cpu_ms_per_event"), 0.15),
        )
    yield AgentsFigure(
        *("restore/first_prompt_ms", "10,000 events to the first prompt, CPU ms"),
        ours("restore", "first_prompt_cpu_ms", "median"),
        *(theirs("restore", "cpu_ms", "median"), 15),
    )
    yield AgentsFigure(
        *("restore/replay_ms", "10,000 events read whole and typed, CPU ms"),
        *(ours("restore", "typed_replay_cpu_ms", "median"), None, 150),
    )
    for mode, name in (("memory", "memory"), ("group", "disk"), ("strict", "disk")):
        yield AgentsFigure(
            *(f"step/{mode}_ms", f"step, CPU ms, first 200, {mode}"),
            *(ours("step", mode, "mean_cpu_ms"), theirs("step", name, "mean_cpu_ms"), 1.5),
        )
    yield AgentsFigure(
        *("step/growth", "late step : early step (ours 10,000 events, theirs 900 steps)"),
        *(ours("growth", "ratio"), theirs("growth", "ratio"), 1.2),
    )
    typed = theirs("terminal", "wall_ms", "median")
    for figure in part["terminal"]["figures"]:
        if figure["what"] == "terminal `true`" and figure["level"] != "restricted":
            yield AgentsFigure(
                f"terminal/{figure['level']}_ms",
                f"terminal `true`, wall ms, {figure['level']}",
                figure["wall_p50_ms"],
                typed,
                4 if figure["level"] == "sandboxed" else 3,
            )


def _server(part: dict[str, Any]) -> Iterator[AgentsFigure]:
    boot = part["boot"]
    yield AgentsFigure("server/boot_s", "server boot, CPU s", boot["cpu_s"]["median"], None, 2.5)
    yield AgentsFigure(
        *("server/rss_mb", "server idle, MB", boot["idle_rss_mb"]["median"], None, 110)
    )
    for sockets, found in part["messages"].items():
        yield AgentsFigure(
            f"server/message_{sockets}_ms",
            f"posted message, CPU ms, {sockets} socket(s)",
            *(found["cpu_ms"], None, 3),
        )
    for count, found in part["steps"].items():
        yield AgentsFigure(
            f"server/steps_{count}_per_s",
            f"scripted steps per wall s, {count} conversation(s)",
            *(found["steps_per_s"], None, 400 if int(count) >= 16 else None, True),
        )
        if found["health_ms"] is not None:
            yield AgentsFigure(
                f"server/health_{count}_p95_ms",
                f"health during {count} run(s), p95 wall ms",
                *(found["health_ms"]["p95"], None, 50),
            )


def _sandbox(part: dict[str, Any]) -> Iterator[AgentsFigure]:
    for figure in part["figures"]["figures"]:
        if figure["level"] == "sandboxed" and figure["what"].startswith("start"):
            yield AgentsFigure(
                *("sandbox/start_cpu_ms", "sandbox: start, `true`, end, CPU ms"),
                *(figure["cpu_ms"], None, 10),
            )
    if part["probes"] is not None:
        words = f"attempts to leave that succeed, of {part['probes']}"
        yield AgentsFigure("sandbox/open", words, float(len(part["open"])), None, 0)


def _crash(part: dict[str, Any]) -> Iterator[AgentsFigure]:
    for name, words in (
        ("lost_events", "acknowledged events lost"),
        ("double_results", "double results"),
        ("double_effects", "effects run twice"),
        ("unresumable", "conversations that cannot go on"),
    ):
        told = f"{words}, {part['killed']} kills"
        yield AgentsFigure(f"crash/{name}", told, float(part[name]), None, 0)


_TRACKS = {"speed": _speed, "server": _server, "sandbox": _sandbox, "crash": _crash}


def figures_table(figures: list[AgentsFigure]) -> BenchTable:
    """Return the table that people read."""
    rows = []
    for f in figures:
        ratio = f.reference / f.ours if f.reference and f.ours else None
        bound = "" if f.target is None else f"{'>=' if f.is_least else '<='} {f.target:.4g}"
        verdict = {None: "", True: "kept", False: "missed"}[f.is_kept]
        rows.append((f.words, f.ours, f.reference, ratio, bound, verdict))
    columns = ("figure", "ours", "openhands-sdk", "ratio", "target", "")
    return BenchTable("agents", columns, rows)


def _dug(values: Any, keys: tuple[str, ...]) -> Any:
    """Return what lies below keys; None where there is nothing."""
    for key in keys:
        values = values.get(key) if isinstance(values, dict) else None
    return values


def _median(values: list[Any]) -> float | None:
    known = [float(value) for value in values if value is not None]
    return statistics.median(known) if known else None
