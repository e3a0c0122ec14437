"""What shapes the agents of a home folder, and what of it changed since the last run."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import pandas as pd

from models.detection.config import DetectConfig
from models.detection.gathering import data_of, is_home, store_of
from models.detection.secrets.files import FILE, FOLDER, NOTHING, kind_of, need_path
from models.detection.sensor.inventory import Changes, Item, inventory, projects_of
from models.detection.sensor.inventory_history import InventoryHistory, Seen

_COLUMNS = ("sort", "name", "path", "version", "is_pinned", "shown", "digest", "first_seen",
            "last_seen")  # fmt: skip
_CHANGED = ("change", "sort", "name", "path", "version_before", "version", "shown_before", "shown",
            "digest_before", "digest")  # fmt: skip


@dataclass(frozen=True)
class Listed:
    """An inventory beside the one before it.

    Attributes:
        items: All that is there, with when it was seen first and last.
        changes: Since the last run.
        is_first: There was no run before; nothing counts as a change.
        damaged: Where a history was moved that could not be read; None: it could.
        why: What is wrong with that one.
    """

    items: tuple[Seen, ...]
    changes: Changes
    is_first: bool = False
    damaged: Path | None = None
    why: str = ""

    @property
    def unpinned(self) -> list[Seen]:
        """Packages of which the next start may take another version."""
        return [one for one in self.items if not one.is_pinned]

    def each_change(self) -> Iterator[tuple[str, Item | None, Item | None]]:
        """Give each change: its name, what was before, what is now."""
        yield from (("changed", before, after) for before, after in self.changes.changed)
        yield from (("added", None, item) for item in self.changes.added)
        yield from (("removed", item, None) for item in self.changes.removed)

    def frame(self) -> pd.DataFrame:
        """Return one row per thing; times in ISO 8601, UTC."""
        rows = [
            (one.sort, one.name, one.path, one.version,
             one.is_pinned if one.sort == "package" else None, one.shown, one.digest,
             moment(one.first_s), moment(one.last_s))
            for one in self.items
        ]  # fmt: skip
        return pd.DataFrame(rows, columns=list(_COLUMNS))

    def changes_frame(self) -> pd.DataFrame:
        """Return one row per change since the last run."""
        rows = []
        for change, before, after in self.each_change():
            one = after or before
            assert one is not None
            old, new = before or _NOTHING, after or _NOTHING
            rows.append(
                (change, one.sort, one.name, str(one.path), old.version, new.version,
                 old.shown, new.shown, old.digest, new.digest)
            )  # fmt: skip
        return pd.DataFrame(rows, columns=list(_CHANGED))

    def figures(self) -> dict[str, float]:
        """Return how much there is and how much of it changed."""
        return {
            "inventory/items": len(self.items),
            "inventory/added": len(self.changes.added),
            "inventory/changed": len(self.changes.changed),
            "inventory/removed": len(self.changes.removed),
            "inventory/unpinned": len(self.unpinned),
        }


_NOTHING = Item("package", Path(), "", "")


def moment(seconds: float) -> str:
    """Return a time in ISO 8601, UTC, to the second."""
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def list_items(config: DetectConfig, home: Path, now_s: float) -> Listed | None:
    """Look at what shapes the agents of a home folder, and note it beside its sessions.

    Args:
        config: Of a run; None is returned where its data is no home folder.
        home: LOOM_HOME.
        now_s: Seconds since 1970.

    Raises:
        DataError: What the data leads to cannot be looked at: links in a ring, a path too long.
        StorageFullError: The disk is full; the history is as it was.
    """
    data = data_of(config)
    if data is None or config.format is not None:
        return None
    data = data.absolute()
    if kind_of(data) not in (FILE, FOLDER, NOTHING):
        need_path(data)  # a link that leads round, a path that is too long: told as what it is
    if kind_of(data) != FOLDER or not is_home(data):
        return None
    history = InventoryHistory(store_of(config, home) / "inventory.jsonl")
    is_first = history.is_new
    changes = history.observe(inventory(data, projects_of(data)), now_s)
    history.save()
    return Listed(tuple(history.current()), changes, is_first, history.damaged, history.why)
