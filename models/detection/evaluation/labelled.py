"""Labelled sessions: what a detector may read, apart from what it is judged by."""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson

from models.detection.secrets.files import FILE, NOTHING, kind_of
from models.detection.session import Event, Session, ToolCall
from models.detection.session.events import Status
from models.errors import DataError

SCHEMA = "detection-session/1"
"""Of the files; datasets/detection/*/README.md tells its fields."""

_MOST_BLANK, _LONGEST_BYTES = 1_000, 256 * 1024**2
"""Where a first session is looked for: blank lines before it, and its length."""

_BOM = b"\xef\xbb\xbf"

_STATUS: dict[str, Status] = {
    "ok": "ok", "error": "error", "empty_or_error": "ok", "not_available": "missing",
}  # fmt: skip


@dataclass(frozen=True)
class Labels:
    """What is known of a session and never shown to what is judged.

    Attributes:
        is_attack: The attack succeeded; in ADR-Bench: the task is a malicious one.
        outcome: executed, resisted, not_exposed, clean, malicious_task or benign_task.
        split: train, dev or public_test.
        suite: AgentDojo's suite, or the category of the task.
        wrapper: How the injection was worded; empty: there is none.
        group: What must stay on one side of a split.
        technique: Id in the taxonomy of ADR; empty: none.
        hijack_calls: Ids of the calls that serve the attack; None: not known.
        is_hijack_said: The attack is a sentence of the answer.
        injected: Injected texts, where they were recorded.
        goal: What they ask for, without the words around it.
        servers, vulnerable: MCP servers of the task, and those that its authors made to attack.
        origin: Of a finding, what it shares environments with; empty: nothing that is measured on.
    """

    is_attack: bool
    outcome: str
    split: str
    suite: str
    wrapper: str
    group: str
    technique: str
    hijack_calls: tuple[str, ...] | None
    is_hijack_said: bool
    injected: tuple[str, ...]
    goal: str
    servers: tuple[str, ...]
    vulnerable: tuple[str, ...]
    origin: str = ""


def read_labelled(file: Path, *, is_blind: bool = False) -> Iterator[tuple[Session, Labels]]:
    """Read a file of labelled sessions, gzipped or not.

    Args:
        file: One object of the schema per line.
        is_blind: Names of servers and tools are replaced by their aliases.

    Raises:
        DataError: There is no such file, it cannot be read, or a line is something else; it tells
            which.
    """
    if kind_of(file) != FILE:
        kind = kind_of(file)
        what = "not there" if kind == NOTHING else f"no file ({kind})"
        raise DataError(f"{file} is {what}; name a file of sessions of the schema {SCHEMA}")
    for number, line in _lines(file):
        try:
            values = orjson.loads(line)
            if values.get("schema") != SCHEMA:
                raise ValueError(f"its schema is {values.get('schema')!r}, not {SCHEMA!r}")
            row = session_of(values, is_blind=is_blind), _labels_of(values)
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise DataError(f"{file}, line {number}: {error!s}") from None
        yield row


def read_for_training(
    files: Iterable[Path], origins: Collection[str] = ()
) -> tuple[list[tuple[Session, Labels]], int]:
    """Read what of labelled sessions may be trained on: the split `train`.

    Args:
        files: Of sessions.
        origins: Findings of these origins are read although sessions that are measured on stem
            from the same environments.

    Returns:
        Sessions, and how many of the split were left out for their origin.

    Raises:
        DataError: See `read_labelled`.
    """
    rows = [row for file in files for row in read_labelled(file) if row[1].split == "train"]
    kept = [row for row in rows if not row[1].origin or row[1].origin in origins]
    return kept, len(rows) - len(kept)


def holds_sessions(file: Path) -> bool:
    """Return whether a file holds labelled sessions rather than texts.

    Raises:
        DataError: It cannot be read as far as that can be told.
    """
    if kind_of(file) != FILE:
        return False
    try:
        first = next(_lines(file, _MOST_BLANK), (0, b""))[1]
        return bool(orjson.loads(first).get("schema") == SCHEMA)
    except DataError:
        raise
    except (ValueError, AttributeError):
        return False


def _lines(file: Path, most: int | None = None) -> Iterator[tuple[int, bytes]]:
    """Give the lines that are not blank with their numbers; `most`: of these first ones.

    Raises:
        DataError: The file cannot be read, or its compression is damaged.
    """
    number = 0
    try:
        with gzip.open(file, "rb") if file.suffix == ".gz" else file.open("rb") as lines:
            while line := lines.readline(_LONGEST_BYTES):
                number += 1
                if most is not None and number > most:
                    return
                line = line.removeprefix(_BOM) if number == 1 else line
                if line.strip():
                    yield number, line
    except (OSError, EOFError, zlib.error) as error:
        damaged = "" if isinstance(error, OSError) and error.errno else "; copy or make it anew"
        raise DataError(f"{file}, line {number + 1}: cannot be read ({error}){damaged}") from None


def session_of(values: dict[str, Any], *, is_blind: bool = False) -> Session:
    """Return what a detector may read of a row: its events and nothing else."""
    suffix = "_alias" if is_blind else ""
    events: list[Event] = []
    calls: dict[str, str] = {}
    for one in values["session"]["events"]:
        name, kind, before = str(one["seq"]), one["kind"], events[-1].id if events else None
        if kind == "tool_call":
            call = ToolCall(
                one["call_id"], one["tool" + suffix], one["server" + suffix] or "", one["args"]
            )
            calls[call.id] = name
            events.append(Event(name, kind, call=call, parent=before))
        elif kind == "tool_result":
            events.append(
                Event(
                    name, kind, one["text"] or "", status=_STATUS.get(one["status"], "error"),
                    parent=before, responds_to=calls.get(one["call_id"]),
                )
            )  # fmt: skip
        elif kind in ("user_message", "assistant_message"):
            events.append(Event(name, kind, one["text"], parent=before))
        else:
            raise ValueError(f"event {name} is of the unknown kind {kind!r}")
    # The id of a row tells its source, so it gets none.
    return Session.of("", events, agent="")


def _labels_of(values: dict[str, Any]) -> Labels:
    group, oracle = values["group"], values.get("oracle") or {}
    hijack = oracle.get("hijack_calls")
    return Labels(
        is_attack=bool(values["label"]),
        outcome=values["outcome"],
        split=values["split"],
        suite=values["domain"],
        wrapper=values.get("attack") or "",
        group=group["key"],
        technique=(values.get("technique") or {}).get("id", ""),
        hijack_calls=None if hijack is None else tuple(hijack),
        is_hijack_said=bool(oracle.get("hijack_in_output")),
        injected=tuple((oracle.get("injected_texts") or {}).values()),
        goal=oracle.get("injection_goal") or "",
        servers=tuple(group.get("servers", ())),
        vulnerable=tuple(group.get("vulnerable_servers", ())),
        origin=values.get("origin") or "",
    )
