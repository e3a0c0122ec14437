"""What a compile said: bytes per device, what it did not fit by, or why there is no answer."""

from __future__ import annotations

import gzip
import json
from dataclasses import asdict, dataclass, field, fields
from functools import cache
from pathlib import Path
from typing import Any, Literal

from pydantic import TypeAdapter

from models.errors import DatasetUnreadableError, NotEnoughDataError
from models.sharding.layout import Layout

Where = Literal["cpu", "tpu"]
Status = Literal["ok", "out of memory", "timeout", "crash", "no compiler"]
Phase = Literal["train", "prefill", "decode"]


@dataclass(frozen=True)
class Compiled:
    """The outcome of one compile. `None` is what it does not tell; bytes are per device."""

    status: Status
    where: Where
    phase: Phase
    layout: Layout
    """What was compiled; smaller than what was asked where `notes` say so."""
    devices: int
    detail: str = ""
    """Why there is no program: figures of the compiler, its last lines, what to do."""
    notes: tuple[str, ...] = ()
    """In what the program differs from what was asked."""
    argument_bytes: int | None = None
    """Weights, optimizer, cache and inputs: exact."""
    output_bytes: int | None = None
    alias_bytes: int | None = None
    """Outputs that take the place of arguments."""
    temp_bytes: int | None = None
    """What is held in between; of a CPU it says little of another chip."""
    peak_bytes: int | None = None
    needed_bytes: float | None = None
    """What did not fit."""
    capacity_bytes: float | None = None
    """What there is, in the words of the compiler."""
    flops_once: float | None = None
    """FLOPs, each loop body counted once."""
    lower_s: float | None = None
    compile_s: float | None = None
    cpu_s: float | None = None
    """CPU seconds of the whole process."""
    max_rss_bytes: int | None = None
    key: str = ""
    """SHA-256 of what was asked, of the program's source and of the compiler's versions."""
    hlo_digest: str = ""
    """SHA-256 of the program's text; empty: the compiler gave none."""
    hlo_file: Path | None = None
    """Compressed text of the program."""
    is_cached: bool = field(default=False, compare=False)

    def hlo_text(self) -> str:
        """Return the text of the compiled program.

        Raises:
            NotEnoughDataError: The compile gave none.
            DatasetUnreadableError: The cached file cannot be read any more.
        """
        if self.hlo_file is None:
            raise NotEnoughDataError(
                f"the {self.where} compile of {self.layout.text()} has no program text "
                f"({self.status}: {self.detail or 'the compiler printed none'}); use another layout"
            )
        try:
            return gzip.decompress(self.hlo_file.read_bytes()).decode()
        except (OSError, EOFError, ValueError) as error:
            raise DatasetUnreadableError(
                f"{self.hlo_file} is no program text any more ({error}); delete it and "
                "compile again"
            ) from None

    def to_json(self) -> dict[str, Any]:
        """Return plain values; the place of the text is left out."""
        values = asdict(self)
        del values["hlo_file"], values["is_cached"]
        return values

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> Compiled:
        """Build from plain values.

        Raises:
            DatasetUnreadableError: Keys or types are not those of a compile.
        """
        known = {f.name for f in fields(cls)} - {"hlo_file", "is_cached"}
        try:
            if not isinstance(values, dict) or set(values) - known:
                raise ValueError(f"unknown {sorted(set(values) - known)}")
            found = _checked().validate_json(json.dumps(values), strict=True)
        except (TypeError, ValueError) as error:
            said = " ".join(str(error).split())[:300]
            raise DatasetUnreadableError(
                f"a cached compile is incomplete ({said}); it is compiled again"
            ) from None
        return found


@cache
def _checked() -> TypeAdapter[Compiled]:
    return TypeAdapter(Compiled)
