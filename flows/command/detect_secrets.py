"""What `loom detect secrets` does."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import orjson
from rich.console import Console
from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from models.detection.secrets import SecretScanner
from models.detection.secrets.files import Coverage, Located, files_of, pieces, scan_files
from models.errors import ConfigError

FOUND = 1


def find_secrets(
    paths: Sequence[Path],
    strict: bool,
    exclude: Sequence[str],
    allow: Path | None,
    redact: bool,
    as_json: bool,
) -> int:
    """Print what is found; returns the exit code.

    Raises:
        ConfigError: The options contradict each other, or the list of known values cannot be read.
        DataError: A path is not there.
    """
    scanner = SecretScanner(allowed=_digests(allow))
    if list(paths) == [Path("-")]:
        return _text(scanner, strict, redact, as_json)
    if redact or Path("-") in paths:
        raise ConfigError("- and --redact go together and with no other path: --redact - < FILE")
    coverage = Coverage(0, 0, 0, [])
    found = 0
    notes = Console(stderr=True)
    with Progress(
        SpinnerColumn(), TextColumn("{task.description}"), TimeElapsedColumn(),
        console=notes, transient=True,
    ) as bar:  # fmt: skip
        task = bar.add_task("looking")

        def shown() -> Iterator[Path]:
            for number, path in enumerate(files_of(paths, exclude)):
                if number % 50 == 0:
                    bar.update(task, description=f"{number:,} files, {found} findings")
                yield path

        for located in scan_files(scanner, shown(), coverage):
            if strict or located.finding.certainty == "certain":
                found += 1
            _print(located, as_json)
    for path, why in coverage.unreadable:
        notes.print(f"not read: {path} ({why})", highlight=False, soft_wrap=True)
    notes.print(
        f"{found} found in {coverage.files:,} files ({coverage.bytes / 1e6:,.1f} MB); "
        f"{coverage.binary:,} without text, {len(coverage.unreadable):,} not readable",
        highlight=False, soft_wrap=True,
    )  # fmt: skip
    return FOUND if found else 0


def _digests(file: Path | None) -> list[str]:
    if file is None:
        return []
    try:
        lines = file.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"--allow {file} cannot be read ({error}); check the path") from None
    return [line.split()[0] for line in lines if line.strip() and not line.startswith("#")]


def _text(scanner: SecretScanner, strict: bool, redact: bool, as_json: bool) -> int:
    text = sys.stdin.buffer.read().decode("utf-8", "replace")
    if redact:
        sys.stdout.write(scanner.redact(text))
        return 0
    found = 0
    for finding in pieces(text, scanner):
        line = text.count("\n", 0, finding.start) + 1
        column = finding.start - (text.rfind("\n", 0, finding.start) + 1) + 1
        _print(Located(Path("-"), line, column, finding), as_json)
        found += strict or finding.certainty == "certain"
    return FOUND if found else 0


def _print(located: Located, as_json: bool) -> None:
    finding = located.finding
    if as_json:
        values = {
            "path": str(located.path),
            "line": located.line,
            "column": located.column,
            **{k: v for k, v in vars(finding).items() if k not in ("start", "end")},
        }
        print(orjson.dumps(values).decode())
        return
    print(
        f"{located.path}:{located.line}:{located.column}: {finding.rule} ({finding.provider}), "
        f"{finding.certainty}, {finding.preview} {finding.digest}"
    )
