"""What is known of attacks on agents: techniques, curated findings, those of the explorer."""

from __future__ import annotations

import fcntl
import os
import tomllib
from collections.abc import Iterable
from functools import lru_cache
from pathlib import Path
from typing import Literal

import msgspec

from models.errors import DataError, unknown_name
from models.settings import ROOT

SHIPPED = ROOT / "datasets" / "detection" / "techniques" / "techniques.toml"
FILE = "intel.jsonl"
"""Name of the explorer's findings in the folder of a store."""

Tag = Literal["EAS", "CURATED"]
"""EAS: the explorer found it; CURATED: people wrote it."""


class Threat(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One technique of the taxonomy of ADR.

    Attributes:
        id: `ADR.T0001` to `ADR.T0017`.
        name, tactic: As the paper says it.
        what: What happens, a sentence.
        signs: What tells of it.
        answer: What to do when it was found.
        owasp: Ids of OWASP's Top 10 for agentic applications, `ASI01` to `ASI10`.
        atlas: Ids of MITRE ATLAS.
    """

    id: str
    name: str
    tactic: str
    what: str
    signs: tuple[str, ...]
    answer: tuple[str, ...]
    owasp: tuple[str, ...]
    atlas: tuple[str, ...]


class Intel(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One finding about a technique.

    Attributes:
        id: Unique.
        tag: Who found it.
        technique: Id of a technique.
        title, text: For people, and for a reasoning agent as quoted data.
        source: Where it is from.
    """

    id: str
    tag: Tag
    technique: str
    title: str
    text: str
    source: str = ""

    @property
    def shown(self) -> str:
        """It in one line, its tag first."""
        return f"[{self.tag}] {self.title}: {self.text}"


class _File(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    technique: tuple[Threat, ...]
    intel: tuple[Intel, ...] = ()


@lru_cache(maxsize=4)
def _read(file: Path) -> _File:
    try:
        found = msgspec.convert(tomllib.loads(file.read_text(encoding="utf-8")), _File)
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError, msgspec.ValidationError) as error:
        raise DataError(f"{file} holds no techniques ({error}); see the card beside it") from None
    known = [one.id for one in found.technique]
    twice = {one for one in known if known.count(one) > 1}
    strange = {one.technique for one in found.intel} - set(known)
    if twice or strange:
        raise DataError(f"{file}: techniques {sorted(twice | strange)} come twice or are unknown")
    return found


def threats(file: Path = SHIPPED) -> tuple[Threat, ...]:
    """Return the techniques in order.

    Raises:
        DataError: The file is none of them.
    """
    return _read(file).technique


def threat(id: str, file: Path = SHIPPED) -> Threat:
    """Return one technique by its id.

    Raises:
        UnknownNameError: There is no such technique.
    """
    for one in threats(file):
        if one.id == id:
            return one
    raise unknown_name("technique", id, [one.id for one in threats(file)])


def curated(file: Path = SHIPPED) -> tuple[Intel, ...]:
    """Return the findings that are shipped."""
    return _read(file).intel


class IntelStore:
    """Shipped findings, and those of the explorer in a file of the installation.

    Args:
        folder: Where `intel.jsonl` is kept; made when something is appended.
    """

    def __init__(self, folder: Path) -> None:
        self.file = folder / FILE
        self.damaged = 0
        """Lines that could not be read the last time; findings around them are whole."""

    def append(self, found: Iterable[Intel]) -> int:
        """Keep findings of the explorer; one that is there by its id is not written again.

        Returns:
            How many were new.

        Raises:
            DataError: One is not tagged EAS, or names no technique of the taxonomy.
        """
        wanted = list(found)
        known = {one.id for one in threats()}
        for one in wanted:
            if one.tag != "EAS" or one.technique not in known:
                raise DataError(
                    f"finding '{one.id}' is tagged {one.tag} and of {one.technique}; the explorer "
                    f"writes EAS findings of {min(known)} to {max(known)}"
                )
        self.file.parent.mkdir(parents=True, exist_ok=True)
        with self.file.open("ab+") as opened:
            # Several explorers may write at once.
            fcntl.flock(opened, fcntl.LOCK_EX)
            there = {one.id for one in self._explored()}
            new = {one.id: one for one in wanted if one.id not in there}
            # A line that a crash cut off stays a line of its own.
            is_cut = opened.tell() > 0 and not self.file.read_bytes().endswith(b"\n")
            lines = b"".join(msgspec.json.encode(one) + b"\n" for one in new.values())
            opened.write(b"\n" + lines if is_cut and new else lines)
            opened.flush()
            os.fsync(opened.fileno())
        return len(new)

    def entries(self, technique: str | None = None) -> tuple[Intel, ...]:
        """Return findings, the explorer's last; of one technique if it is given."""
        found = (*curated(), *self._explored())
        return tuple(one for one in found if technique in (None, one.technique))

    def _explored(self) -> list[Intel]:
        found: list[Intel] = []
        self.damaged = 0
        if not self.file.exists():
            return found
        for line in self.file.read_bytes().splitlines():
            try:
                found.append(msgspec.json.decode(line, type=Intel))
            except (msgspec.DecodeError, msgspec.ValidationError):
                self.damaged += bool(line.strip())
        return found
