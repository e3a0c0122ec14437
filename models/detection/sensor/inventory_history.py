"""What shaped the agents of a data source over time: a file with one line for each change.

The first line names the schema. Each other line is one thing as it was for a time; a thing that
changes or goes keeps its line and gets another one when it is there again.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Annotated

import msgspec

from models.detection.sensor.inventory import Changes, Item, Sort, compare
from models.errors import StorageFullError, is_storage_full

SCHEMA = "loom-inventory/1"
Time = Annotated[float, msgspec.Meta(ge=0, lt=253_402_300_800)]
"""Seconds since 1970, before the year 10000."""


class Seen(msgspec.Struct, omit_defaults=True):
    """One thing, as it was for a time.

    Attributes:
        sort, path, name, digest, shown, version, is_pinned: As in `Item`.
        first_s, last_s: When it was seen first and last, in seconds since 1970.
        gone_s: When it was first seen to be something else or not there; None: it is so still.
    """

    sort: Sort
    path: str
    name: str
    digest: str
    first_s: Time
    last_s: Time
    shown: str = ""
    version: str = ""
    is_pinned: bool = True
    gone_s: Time | None = None

    @staticmethod
    def of(item: Item, now_s: float) -> Seen:
        """Return a thing that is seen for the first time."""
        return Seen(
            item.sort, str(item.path), item.name, item.digest, now_s, now_s,
            item.shown, item.version, item.is_pinned,
        )  # fmt: skip

    @property
    def item(self) -> Item:
        """What it was."""
        return Item(
            self.sort, Path(self.path), self.name, self.digest,
            self.shown, self.version, self.is_pinned,
        )  # fmt: skip


class _Header(msgspec.Struct):
    schema: str


class InventoryHistory:
    """The history of a data source.

    Args:
        file: Read if it is there. One that is damaged is moved aside, and the history begins anew.

    Attributes:
        is_new: Nothing was seen before; there is nothing to compare with.
        damaged: Where the damaged file was moved; None: it was whole, or there was none.
        why: What is wrong with it.
    """

    def __init__(self, file: Path) -> None:
        self.file = file
        self.damaged: Path | None = None
        self.why = ""
        self._lines: list[Seen] = []
        try:
            self._lines = _read(file)
        except FileNotFoundError:
            pass
        except (OSError, ValueError) as error:
            self.why = str(error)
            self.damaged = _free(file)
            os.replace(file, self.damaged)
        self.is_new = not self._lines

    def observe(self, items: Sequence[Item], now_s: float) -> Changes:
        """Note what is there now, and return what changed since the last time.

        The first time everything is noted and nothing has changed. What a configuration named
        that cannot be read at the moment is neither there nor gone.

        Args:
            items: All that is there.
            now_s: Seconds since 1970.
        """
        is_first, self.is_new = self.is_new, False
        now = {item.key: item for item in items}
        unclear = {item.path for item in items if item.sort == "unreadable"}
        before: list[Item] = []
        for line in self.current():
            item = line.item
            if item.key not in now and item.path in unclear:
                continue
            before.append(item)
            found = now.get(item.key)
            if found is None or found.digest != item.digest:
                line.gone_s = now_s
            else:
                line.last_s = max(line.last_s, now_s)
                line.shown, line.version, line.is_pinned = found[4:]
        changes = compare(before, items)
        new = [*changes.added, *(after for _, after in changes.changed)]
        self._lines += [Seen.of(item, now_s) for item in new]
        return Changes((), (), ()) if is_first else changes

    def current(self) -> list[Seen]:
        """Return what is there since it was seen last, in the order in which it came."""
        return [line for line in self._lines if line.gone_s is None]

    def lines(self) -> list[Seen]:
        """Return all that was ever seen, the oldest first."""
        return list(self._lines)

    def save(self) -> None:
        """Write the file as a whole or not at all; only its owner can read it.

        Raises:
            StorageFullError: The disk is full; the file is as it was.
        """
        self.file.parent.mkdir(parents=True, exist_ok=True)
        handle, part = tempfile.mkstemp(dir=self.file.parent, prefix=f".part-{self.file.name}-")
        try:
            with os.fdopen(handle, "wb") as opened:
                opened.writelines(_encoded((_Header(SCHEMA), *self._lines)))
                opened.flush()
                os.fsync(opened.fileno())
            os.replace(part, self.file)
        except BaseException as error:
            Path(part).unlink(missing_ok=True)
            if isinstance(error, OSError) and is_storage_full(error):
                raise StorageFullError(
                    error.errno, f"no space left in {self.file.parent}; free some"
                ) from None
            raise


def _encoded(lines: Iterable[msgspec.Struct]) -> Iterable[bytes]:
    return (msgspec.json.encode(line) + b"\n" for line in lines)


def _read(file: Path) -> list[Seen]:
    """Read a history.

    Raises:
        OSError: It is not there, or cannot be read.
        ValueError: It is damaged, or of another schema.
    """
    raw = file.read_bytes()
    header, *lines = raw.splitlines() or [b""]
    schema = msgspec.json.decode(header, type=_Header).schema
    if schema != SCHEMA:
        raise ValueError(f"its schema is {schema!r} and not {SCHEMA}")
    if not raw.endswith(b"\n"):
        raise ValueError("its last line is cut")
    decoder = msgspec.json.Decoder(Seen)
    return [decoder.decode(line) for line in lines]


def _free(file: Path) -> Path:
    """Return a name beside a file that nothing has."""
    number = 1
    while (free := file.with_name(f"{file.stem}.damaged-{number}{file.suffix}")).exists():
        number += 1
    return free
