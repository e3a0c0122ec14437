"""Breaks the sample logs at random and reads them: no parser may raise, hang or lose its way.

    python -m models.detection.sensor.fuzz --seconds 600 --seed 7
    python -m models.detection.sensor.fuzz --runs 100

The formats take turns, and each is read at least once however short the time is.

Exit code 1: an exception that is no `ProjectError`, or a reading of more than `HANG_S`; the
broken log is kept in the folder `--keep`.
"""

from __future__ import annotations

import argparse
import json
import random
import shutil
import signal
import sqlite3
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Callable, Sequence
from itertools import cycle
from pathlib import Path
from types import FrameType
from typing import Any

from models.detection.sensor.collect import ALL
from models.detection.sensor.samples import samples
from models.detection.session import Session
from models.errors import ProjectError

HANG_S = 10.0
"""Longest reading of a log of some kilobytes that is no hang."""

_ODD = (
    "null", "true", "-1", "0", '""', "[]", "{}", "[[]]", '{"type":"text"}', '"text"', "1e400",
    "123456789012345678901234567890", "9" * 400, '"\\ud800"', '"\\u0000"', "NaN", '{"a":1,"a":2}',
    "[" * 300 + "]" * 300, '"' + "x" * 5_000 + '"', "-0.0", '["tool_use"]', '{"content":[null,7]}',
)  # fmt: skip


class HangError(Exception):
    """A reading took too long."""


Mutator = Callable[[bytes, random.Random], bytes]


def _flip(data: bytes, draw: random.Random) -> bytes:
    changed = bytearray(data)
    for _ in range(draw.choice((1, 1, 3, 20))):
        place = draw.randrange(len(changed))
        changed[place] ^= 1 << draw.randrange(8)
    return bytes(changed)


def _cut(data: bytes, draw: random.Random) -> bytes:
    first, last = sorted((draw.randrange(len(data)), draw.randrange(len(data))))
    return data[:first] if draw.random() < 0.5 else data[:first] + data[last:]


def _splice(data: bytes, draw: random.Random) -> bytes:
    first, last = sorted((draw.randrange(len(data)), draw.randrange(len(data))))
    place = draw.randrange(len(data))
    return data[:place] + data[first : min(last, first + 4_000)] + data[place:]


def _insert(data: bytes, draw: random.Random) -> bytes:
    odd = (b"\0", b"\xff\xfe", b"\xed\xa0\x80", b"\n", b"\n\n{}\n", b'"', b"\\ud83d", b"[" * 400)
    place = draw.randrange(len(data))
    return data[:place] + draw.choice(odd) + data[place:]


def _lines(data: bytes, draw: random.Random) -> bytes:
    """Double, drop, swap or shuffle records."""
    lines = data.splitlines(keepends=True)
    place, other = draw.randrange(len(lines)), draw.randrange(len(lines))
    match draw.randrange(4):
        case 0:
            lines[place:place] = [lines[other]] * draw.choice((1, 2, 30))
        case 1:
            del lines[place]
        case 2:
            lines[place], lines[other] = lines[other], lines[place]
        case _:
            draw.shuffle(lines)
    return b"".join(lines)


def _values(data: bytes, draw: random.Random) -> bytes:
    """Put values of other types in the place of some, in one record or in the document."""
    text = data.decode("utf-8", "replace")
    lines = text.splitlines()
    is_lines = len(lines) > 1 and lines[0].startswith("{") and lines[0].endswith("}")
    place = draw.randrange(len(lines)) if is_lines else 0
    try:
        value = json.loads(lines[place] if is_lines else text)
    except (ValueError, RecursionError):  # what was broken before, by nesting for instance
        return _flip(data, draw)
    if not isinstance(value, dict | list):
        return _flip(data, draw)
    marks: dict[str, str] = {}
    for _ in range(draw.choice((1, 1, 2, 6))):
        value = _swap(value, draw, marks)
    try:
        written = json.dumps(value)
    except RecursionError:
        return _flip(data, draw)
    for mark, odd in marks.items():
        written = written.replace(f'"{mark}"', odd)
    if is_lines:
        lines[place] = written
        written = "\n".join(lines) + "\n"
    return written.encode()


def _swap(value: Any, draw: random.Random, marks: dict[str, str]) -> Any:
    places: list[tuple[Any, Any]] = []
    open_values = [value]
    while open_values:
        one = open_values.pop()
        keys = one.keys() if isinstance(one, dict) else range(len(one))
        places += [(one, key) for key in keys]
        inner = one.values() if isinstance(one, dict) else one
        open_values += [v for v in inner if isinstance(v, dict | list)]
    if not places:
        return value
    holder, key = draw.choice(places)
    match draw.randrange(4):
        case 0:
            other, name = draw.choice(places)
            holder[key] = json.loads(json.dumps(other[name]))
        case 1 if isinstance(holder, dict):
            del holder[key]
        case _:
            mark = f"odd-{draw.randrange(10**9)}"
            marks[mark] = draw.choice(_ODD)
            holder[key] = mark
    return value


MUTATORS: tuple[Mutator, ...] = (_flip, _cut, _splice, _insert, _lines, _values, _values, _values)


def break_log(path: Path, files: Sequence[Path], into: Path, draw: random.Random) -> Path:
    """Copy a log with one of its files broken, and return the copy."""
    root = path if path.is_dir() else path.parent
    for file in files:
        target = into / root.name / file.relative_to(root)
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(file, target)
    victim = draw.choice(files)
    copy = into / root.name / victim.relative_to(root)
    if path.suffix == ".vscdb" and draw.random() < 0.7:
        _break_row(copy, draw)
    else:
        data = victim.read_bytes()
        for _ in range(draw.choice((1, 1, 2, 4))):
            data = draw.choice(MUTATORS)(data, draw) or b"\n"
        copy.write_bytes(data)
    return into / root.name if path.is_dir() else into / root.name / path.name


def _break_row(path: Path, draw: random.Random) -> None:
    db = sqlite3.connect(path)
    rows = db.execute("SELECT rowid, value FROM cursorDiskKV").fetchall()
    row, value = draw.choice(rows)
    data = value.encode() if isinstance(value, str) else bytes(value)
    broken: Any = draw.choice(MUTATORS)(data, draw)
    broken = draw.choice((broken, broken.decode("utf-8", "replace"), None, 7))
    db.execute("UPDATE cursorDiskKV SET value = ? WHERE rowid = ?", (broken, row))
    db.commit()
    db.close()


def read_broken(path: Path) -> str:
    """Read a broken log by every parser that takes it; return what went wrong, or nothing."""

    def ring(_: int, __: FrameType | None) -> None:
        raise HangError(f"more than {HANG_S:.0f} s")

    before = signal.signal(signal.SIGALRM, ring)
    signal.setitimer(signal.ITIMER_REAL, HANG_S)
    try:
        for parser in ALL:
            source = parser.source(path)
            for session in parser.read(source) if source else ():
                if Session.from_json(session.to_json()).to_json() != session.to_json():
                    return f"{parser.name}: a session is another one after it was stored"
    except ProjectError:
        return ""
    except Exception:
        return traceback.format_exc()
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    return ""


def main(arguments: Sequence[str] | None = None) -> int:
    """Break and read logs for a time."""
    parser = argparse.ArgumentParser(prog="python -m models.detection.sensor.fuzz")
    parser.add_argument("--seconds", type=float, default=60.0, help="how long (default: 60)")
    parser.add_argument("--runs", type=int, help="this many logs of each format, not a time")
    parser.add_argument("--seed", type=int, default=7, help="of what is broken (default: 7)")
    parser.add_argument("--keep", type=Path, default=Path("fuzz-crashes"), help="for broken logs")
    asked = parser.parse_args(arguments)
    draw = random.Random(asked.seed)
    runs: Counter[str] = Counter()
    crashes: Counter[str] = Counter()
    with tempfile.TemporaryDirectory(prefix="loom-fuzz-") as place:
        logs = samples(Path(place))
        until = time.monotonic() + asked.seconds
        for turn, name in enumerate(cycle(sorted(logs))):
            rounds = turn // len(logs)
            if rounds and (
                time.monotonic() > until if asked.runs is None else rounds >= asked.runs
            ):
                break
            folder = Path(place) / "broken"
            path = break_log(*logs[name], folder, draw)
            runs[name] += 1
            if why := read_broken(path):
                crashes[name] += 1
                kept = asked.keep / f"{name}-seed{asked.seed}-run{runs[name]}"
                shutil.copytree(folder, kept, dirs_exist_ok=True)
                print(f"{name}: {kept}\n{why}", file=sys.stderr)
            shutil.rmtree(folder)
    for name, count in sorted(runs.items()):
        print(f"{name:12} {count:7} runs {crashes[name]:4} crashes")
    return 1 if crashes else 0


if __name__ == "__main__":
    raise SystemExit(main())
