"""Digests of manifests over time: what was approved, what was seen, and what changed since."""

from __future__ import annotations

import difflib
import os
import tempfile
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import msgspec

from models.detection.integrity.manifests import digest_of, said
from models.detection.session import ToolManifest
from models.detection.verdicts import Evidence, Signal
from models.errors import DataError

SCHEMA = "loom-pins/1"
RUG_PULL = "ADR.T0006"
_LONGEST_DIFF = 1_200


class Pin(msgspec.Struct, omit_defaults=True):
    """One thing that a tool was, word for word.

    Attributes:
        digest: Of what it says.
        told: What it says, by field.
        first_s, last_s: When it was seen first and last, in seconds since 1970.
        approved_s: When somebody approved it; None: nobody did.
    """

    digest: str
    told: dict[str, Any]
    first_s: float
    last_s: float
    approved_s: float | None = None


class _File(msgspec.Struct):
    schema: str
    servers: dict[str, dict[str, list[Pin]]]


class Pins:
    """Pins of all servers, in a file.

    Args:
        file: Read if it is there; None: kept in memory only.

    Raises:
        DataError: The file holds something else.
    """

    def __init__(self, file: Path | None = None) -> None:
        self.file = file
        self._servers: dict[str, dict[str, list[Pin]]] = {}
        if file is None or not file.exists():
            return
        try:
            read = msgspec.json.decode(file.read_bytes(), type=_File)
            if read.schema != SCHEMA:
                raise ValueError(f"its schema is {read.schema!r}")
        except (OSError, ValueError) as error:
            # Not begun anew: whoever can break the file would have everything approved.
            raise DataError(
                f"{file} holds no pins of {SCHEMA} ({error}); restore it, or remove it to begin "
                "anew and approve every server again"
            ) from None
        self._servers = read.servers

    @property
    def servers(self) -> frozenset[str]:
        """Names of the servers that were seen."""
        return frozenset(self._servers)

    def history(self, server: str, tool: str) -> list[Pin]:
        """Return what a tool was, the newest last."""
        return list(self._servers.get(server, {}).get(tool, ()))

    def observe(
        self, manifests: Iterable[ToolManifest], now_s: float | None = None
    ) -> tuple[Signal, ...]:
        """Compare manifests with what is pinned, and note them.

        A server that was never seen is noted without a word: there is nothing to compare with.

        Args:
            manifests: In the order in which they were said.
            now_s: For manifests without a time; None: now.
        """
        now = time.time() if now_s is None else now_s
        found: list[Signal] = []
        manifests = list(manifests)
        known = {server: bool(tools) for server, tools in self._servers.items()}
        for manifest in manifests:
            tools = self._servers.setdefault(manifest.server, {})
            pins = tools.setdefault(manifest.tool, [])
            told, at = said(manifest), manifest.seen_s or now
            if not pins and known.get(manifest.server):
                found.append(_new_tool(manifest, tools))
            elif pins and (before := _standard(pins, told)) is not None:
                found.append(_changed(manifest, before, told))
            _note(pins, told, at)
        return tuple(dict.fromkeys(found))

    def approve(
        self, server: str | None = None, tool: str | None = None, now_s: float | None = None
    ) -> int:
        """Approve what tools are now; None: of all servers, or all tools of a server.

        Returns:
            How many were approved that were not before.
        """
        now, count = time.time() if now_s is None else now_s, 0
        for name, tools in self._servers.items():
            for title, pins in tools.items():
                if server not in (None, name) or tool not in (None, title):
                    continue
                for pin in pins[:-1]:
                    pin.approved_s = None
                count += pins[-1].approved_s is None
                pins[-1].approved_s = pins[-1].approved_s or now
        return count

    def save(self) -> None:
        """Write the file as a whole or not at all; only its owner can read it."""
        if self.file is None:
            return
        self.file.parent.mkdir(parents=True, exist_ok=True)
        raw = msgspec.json.format(msgspec.json.encode(_File(SCHEMA, self._servers), order="sorted"))
        handle, name = tempfile.mkstemp(dir=self.file.parent, prefix=self.file.name)
        with os.fdopen(handle, "wb") as opened:
            opened.write(raw + b"\n")
            opened.flush()
            os.fsync(opened.fileno())
        os.replace(name, self.file)


def rug_pulls(manifests: Iterable[ToolManifest]) -> tuple[Signal, ...]:
    """Return the changes within one record, which needs no pins: a session's own manifests."""
    return Pins().observe(manifests, 0.0)


def _standard(pins: list[Pin], told: dict[str, Any]) -> Pin | None:
    """Return the pin that a manifest breaks: the approved one, else the last; None: none."""
    standard = next((pin for pin in reversed(pins) if pin.approved_s is not None), pins[-1])
    shared = standard.told.keys() & told.keys()
    # A field that one of two records does not keep is no change.
    is_same = all(standard.told[name] == told[name] for name in shared)
    return None if is_same else standard


def _note(pins: list[Pin], told: dict[str, Any], at: float) -> None:
    for pin in pins:
        shared = pin.told.keys() & told.keys()
        if all(pin.told[name] == told[name] for name in shared):
            pin.told = {**pin.told, **told}
            pin.digest = digest_of(pin.told)
            pin.first_s, pin.last_s = min(pin.first_s, at), max(pin.last_s, at)
            # What it is now stands last.
            pins.sort(key=lambda one: one is pin)
            return
    pins.append(Pin(digest_of(told), told, at, at))


def _new_tool(manifest: ToolManifest, tools: dict[str, list[Pin]]) -> Signal:
    others = len(tools) - 1
    return Signal(
        "benign",
        Evidence(
            "new-tool",
            f"server '{manifest.server}' offers a tool '{manifest.tool}' that it did not offer "
            f"before beside its {others} known ones",
            (), 0.2, (manifest.description[:_LONGEST_DIFF],),
        ),
        RUG_PULL,
    )  # fmt: skip


def _changed(manifest: ToolManifest, before: Pin, told: dict[str, Any]) -> Signal:
    names = [n for n in told if n in before.told and before.told[n] != told[n]]
    diff = "\n".join(
        line for name in names for line in difference(name, before.told[name], told[name])
    )
    is_approved = before.approved_s is not None
    compared = "was approved" if is_approved else "it was before"
    fields = " and ".join(name.replace("_", " ") for name in names)
    return Signal(
        # An approval that is broken is a fact; a server that says something new may be an update.
        "policy" if is_approved else "attempted",
        Evidence(
            "rug-pull",
            f"tool '{manifest.tool}' of server '{manifest.server}' is not what {compared}: its "
            f"{fields} changed",
            (), 0.9 if is_approved else 0.5, (diff[:_LONGEST_DIFF],),
        ),
        RUG_PULL, is_approved,
    )  # fmt: skip


def difference(name: str, before: Any, after: Any) -> list[str]:
    """Return lines `- old` and `+ new` of a field, sentence by sentence or key by key."""
    lines = []
    for line in difflib.ndiff(_lines(before), _lines(after)):
        if line[:2] in ("- ", "+ "):
            lines.append(f"{line[:2]}{name}: {line[2:]}")
    return lines


def _lines(value: Any, path: str = "") -> list[str]:
    if isinstance(value, dict):
        return [
            line
            for key in sorted(value, key=str)
            for line in _lines(value[key], f"{path}.{key}" if path else str(key))
        ]
    if isinstance(value, str):
        parts = value.replace(". ", ".\n").splitlines() or [""]
        return [f"{path} = {part.strip()}" if path else part.strip() for part in parts]
    return [f"{path} = {msgspec.json.encode(value, enc_hook=str).decode()}"]
