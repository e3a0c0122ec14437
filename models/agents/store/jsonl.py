"""Export and import as JSON lines: the same bytes each time, for diffs, git and replays.

The first line says the format and the conversation; each further line is an event as sockets
send it, with its chain hash. A body is written as it was stored, byte for byte.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

import orjson

from models.agents.errors import CorruptLogError, LogError
from models.agents.events.codec import Record
from models.agents.store.base import Log
from models.agents.store.log import EMPTY_CHAIN, link

FORMAT = 1

_BODY = b',"body":'
_CHAIN = b',"chain":"'


def export_lines(log: Log) -> Iterator[bytes]:
    """Write a log, line by line with their ends.

    Raises:
        CorruptLogError: A record is torn or changed; those before it were given already.
    """
    yield orjson.dumps({"format": FORMAT, "conversation": log.id}) + b"\n"
    # All of it, not the tail that opening checks: hashes made anew would vouch for what changed.
    damage = log.damage or log.verify()
    chain = EMPTY_CHAIN
    for record in log.records(limit=damage.intact_seq if damage else None):
        chain = link(chain, record)
        yield b'%s,"chain":"%s"}\n' % (record.wire[:-1], chain.hex().encode())
    if damage is not None:
        raise damage.error(log.id)


def export(log: Log, file: Path) -> int:
    """Write a log to a file and return how many events it has; raises what `export_lines` does."""
    count = -1
    with file.open("wb") as target:
        for line in export_lines(log):
            target.write(line)
            count += 1
    return count


def read_lines(lines: Iterable[bytes]) -> Iterator[Record]:
    """Read the records of an export, checking each against the chain.

    Raises:
        LogError: It is no export, or of a later format.
        CorruptLogError: A line is torn or changed; those before it were given already.
    """
    source = iter(lines)
    conversation_of(next(source, b""))
    chain, seq = EMPTY_CHAIN, 0
    for line in source:
        try:
            record, stated = parse_line(line)
        except ValueError as error:
            raise _broken(seq, str(error)) from None
        chain = link(chain, record)
        if stated != chain.hex() or record.seq != seq + 1:
            raise _broken(seq, "is not as it was written")
        seq = record.seq
        yield record


def import_lines(lines: Iterable[bytes], log: Log) -> int:
    """Append the events of an export to an empty log and return how many.

    What is intact before a torn or changed line is imported, then the error is raised.

    Raises:
        LogError: The log is not empty.
        CorruptLogError: A line is torn or changed.
    """
    records: list[Record] = []
    try:
        for record in read_lines(lines):
            records.append(record)
    finally:
        log.copy_in(records)
    return len(records)


def conversation_of(head: bytes) -> str:
    """Return the conversation that the first line of an export names.

    Raises:
        LogError: It is no export, or of a later format.
    """
    try:
        values = orjson.loads(head)
        version, name = int(values["format"]), str(values.get("conversation", ""))
    except (ValueError, TypeError, KeyError):
        raise LogError("this is no export of a conversation: its first line names none") from None
    if version > FORMAT:
        raise LogError(f"the export has format {version}, this program reads up to {FORMAT}")
    return name


def parse_line(line: bytes) -> tuple[Record, str]:
    """Read a line of an export: the record, and the hash that is stated for it.

    Raises:
        ValueError: It is torn, or none; says which.
    """
    envelope, mark, rest = line.partition(_BODY)
    body, end, stated = rest.rpartition(_CHAIN)
    if not (mark and end and stated.endswith(b'"}\n')):
        raise ValueError("is torn")
    try:
        record = Record(**orjson.loads(envelope + b"}"), body=body)
        words = (record.id, record.kind, record.source, record.call_id, record.parent or "")
        if not (isinstance(record.seq, int) and all(isinstance(word, str) for word in words)):
            raise TypeError("a number where a word belongs, or the other way round")
        return record, stated[:-3].decode()
    except (ValueError, TypeError) as error:
        raise ValueError(f"cannot be read ({error})") from None


def _broken(seq: int, why: str) -> CorruptLogError:
    return CorruptLogError(
        f"line {seq + 2} of the export (event {seq + 1}) {why}; the {seq} events before it are "
        "intact",
        seq,
    )
