"""How well credentials are found: generated texts, benign source, time; a peer beside ours."""

from __future__ import annotations

import importlib.util
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import orjson
from pydantic import Field

from models.config import Config
from models.detection.evaluation.score import Score
from models.detection.secrets import SecretScanner
from models.detection.secrets.files import Coverage, files_of, scan_files
from models.detection.secrets.generate import Planted, lookalikes, planted, unseen
from models.detection.secrets.rules import read_rules
from models.errors import DataError

Spans = Callable[[str], Iterable[str]]
"""Returns the values that a detector finds in a text."""

_TEXT = (
    ".py .pyi .js .ts .md .txt .json .yaml .yml .toml .css .html .h .c .cc .cpp .rst .ini .cfg "
    ".sh .proto .sql .xml .csv"
)
TEXT = frozenset(_TEXT.split())
"""Files that count as source."""


class DetectionBenchConfig(Config):
    """Tracks and sizes."""

    tracks: tuple[Literal["sessions", "secrets"], ...] = ("sessions", "secrets")
    """sessions: attacks that were carried out, beside trivial detectors; secrets: precision,
    recall, benign source, speed of the search for credentials."""

    scenarios: int = Field(1_000, ge=50)
    """Generated sessions."""

    transfer: bool = True
    """Also train a detector on generated sessions only (a minute), for suites it never saw."""

    each: int = Field(10, ge=1)
    """Texts per known form."""

    texts: int = Field(2_000, ge=40)
    """Texts with credentials of unknown issuers, and texts without any."""

    benign: Path | None = None
    """Folder of source without credentials; none: the packages that this Python has installed."""

    benign_mb: float = Field(100.0, gt=0)
    """Millions of characters of it that are scanned, files in an order of chance."""


def score(name: str, kind: str, detector: Spans, texts: Sequence[Planted]) -> Score:
    """Run a detector over texts; a value counts as found when one that is found holds it whole."""
    found = missed = alarms = quiet = 0
    for text in texts:
        values = list(detector(text.text))
        if not text.value:
            alarms, quiet = alarms + bool(values), quiet + (not values)
        elif any(text.value in value or _most_of(text.value, value) for value in values):
            found += 1
        else:
            missed += 1
    return Score(name, kind, found, missed, alarms, quiet)


def _most_of(planted_value: str, value: str) -> bool:
    # Others give a key without its frame, or one word of it.
    return value in planted_value and len(value) >= 0.8 * len(planted_value)


def ours(scanner: SecretScanner, *, only_certain: bool = False) -> Spans:
    """Return our search as a detector."""

    def spans(text: str) -> list[str]:
        return [
            text[f.start : f.end]
            for f in scanner.scan(text)
            if not only_certain or f.certainty == "certain"
        ]

    return spans


def detect_secrets() -> Spans | None:
    """Return Yelp's detect-secrets with its usual plugins; None: it is not installed."""
    if importlib.util.find_spec("detect_secrets") is None:
        return None
    from detect_secrets import SecretsCollection
    from detect_secrets.settings import default_settings

    # Of a file, as it is meant to be used: for single lines it leaves its filters out.
    folder = tempfile.TemporaryDirectory(prefix="loom-bench-")  # lives as long as `spans`

    def spans(text: str) -> list[str]:
        file = Path(folder.name) / "text.txt"
        file.write_text(text, encoding="utf-8")
        found = SecretsCollection()
        with default_settings():
            found.scan_file(str(file))
        return [secret.secret_value or "" for _, secret in found]

    return spans


def sets(seed: int, config: DetectionBenchConfig) -> dict[str, list[Planted]]:
    """Make the sets of texts of a seed."""
    return {
        "known forms": list(planted(read_rules(), seed, config.each)),
        "issuers that no form knows": list(unseen(seed + 1, config.texts)),
        "without a credential": list(lookalikes(seed + 2, config.texts)),
    }


def texts_of(file: Path) -> list[Planted]:
    """Read texts of a file: lines of `{"text": ..., "value": ...}`, an empty value for none.

    Raises:
        DataError: A line is something else.
    """
    found = []
    try:
        lines = file.read_bytes().splitlines()
    except OSError as error:
        raise DataError(f"{file} cannot be read ({error.strerror})") from None
    for number, line in enumerate(filter(None, lines), 1):
        try:
            values = orjson.loads(line)
            text = Planted(
                values["text"], values.get("value", ""),
                str(values.get("family", "")), str(values.get("context", "")),
            )  # fmt: skip
            if not isinstance(text.text, str) or text.value not in text.text:
                raise ValueError("its value does not stand in its text")
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise DataError(
                f'{file}, line {number}: {error}; each line is {{"text": ..., "value": ...}}, '
                "or each is a session of detection-session/1"
            ) from None
        found.append(text)
    if not found:
        raise DataError(f"{file} holds no texts")
    return found


@dataclass(frozen=True)
class Benign:
    """What was found where nothing should be.

    Attributes:
        megabytes, files: Scanned, in millions of characters.
        certain, likely: Findings.
        cpu_s: CPU seconds, reading included.
        places: Of the findings, with their category.
    """

    megabytes: float
    files: int
    certain: int
    likely: int
    cpu_s: float
    places: list[str]


def benign(config: DetectionBenchConfig, seed: int) -> Benign:
    """Scan source that holds no credentials."""
    folder = config.benign or Path(np.__file__).parent.parent
    names = [path for path in files_of([folder]) if path.suffix in TEXT]
    random.Random(seed).shuffle(names)
    scanner, coverage = SecretScanner(), Coverage(0, 0, 0, [])
    places, counts = [], {"certain": 0, "likely": 0}
    began = time.process_time()
    for path in names:
        if coverage.bytes > config.benign_mb * 1e6:
            break
        for located in scan_files(scanner, iter([path]), coverage):
            counts[located.finding.certainty] += 1
            place = path.relative_to(folder)
            places.append(f"{located.finding.rule} {place}:{located.line}")
    cpu = time.process_time() - began
    return Benign(
        coverage.bytes / 1e6, coverage.files, counts["certain"], counts["likely"], cpu, places
    )


def hook_cost(runs: int = 7) -> tuple[float, float]:
    """Return the CPU milliseconds of a hook's whole process, and of scanning 10 kB within it."""
    event = orjson.dumps({"hook_event_name": "PreToolUse", "tool_input": {"command": "ls"}})
    code = (
        "import sys, time, resource, random, string\n"
        "from models.detection import hook\n"
        "sys.stdin = open(0)\n"
        "hook.main([])\n"
        "u = resource.getrusage(resource.RUSAGE_SELF)\n"
        "from models.detection.secrets import SecretScanner\n"
        "s = SecretScanner(); c = random.Random(1)\n"
        "t = ' '.join(''.join(c.choices(string.ascii_letters, k=7)) for _ in range(1250))\n"
        "b = time.process_time()\n"
        "for _ in range(20): s.scan(t)\n"
        "print(1e3 * (u.ru_utime + u.ru_stime), 50 * (time.process_time() - b))\n"
    )
    rows = []
    for _ in range(runs):
        done = subprocess.run(
            [sys.executable, "-c", code], input=event, capture_output=True, check=True
        )
        rows.append([float(word) for word in done.stdout.split()])
    whole, scan = zip(*rows, strict=True)
    return float(np.median(whole)), float(np.median(scan))
