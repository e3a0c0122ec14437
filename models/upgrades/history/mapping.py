"""A mapping file: how an operator's own table becomes the import schema.

Example:
```yaml
columns: {host_id: hostname, type: job_kind, started: begin, duration: took}
duration_unit: min
constants: {domain: dc1}
outcomes: {OK: completed, ROLLED_BACK: aborted}
types: {bios: bios-firmware}
time_zone: Europe/Berlin
```
"""

from __future__ import annotations

from collections.abc import Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import Any, Literal, Self
from zoneinfo import available_timezones

import pandas as pd
from pydantic import Field, field_validator, model_validator

from models.config import Config, load_config
from models.contracts import refuse_nested
from models.errors import ConfigError, ContractError, unknown_name

MOST_VALUES = 12
Outcome = Literal["completed", "aborted", "running"]


class Columns(Config):
    """Our column: the name that it has in the file. Left out: it has our name, or none."""

    host_id: str | None = None
    """Host that was upgraded."""
    domain: str | None = None
    """Maintenance domain of the host: what shares a window and lanes."""
    service: str | None = None
    """Service that the host serves."""
    type: str | None = None
    """Kind of upgrade."""
    release: str | None = None
    """Version that was installed."""
    started: str | None = None
    """Instant of the start."""
    ended: str | None = None
    """Instant of the end; empty while the upgrade runs."""
    duration: str | None = None
    """Elapsed time instead of an end, in `duration_unit`; empty while the upgrade runs."""
    outcome: str | None = None
    """How it went."""
    hardware: str | None = None
    """Hardware model of the host."""
    firmware: str | None = None
    """Firmware of the host before the upgrade."""
    batch_id: str | None = None
    """Upgrades that were started together."""


class Constants(Config):
    """Our column: one value for all rows, where the file has no such column."""

    domain: str | None = None
    """Maintenance domain of all hosts."""
    service: str | None = None
    """Service of all hosts."""
    type: str | None = None
    """Kind of all upgrades."""
    release: str | None = None
    """Version of all upgrades."""
    outcome: Outcome | None = None
    """Outcome of all upgrades, for a file that lists only completed ones."""
    hardware: str | None = None
    """Hardware model of all hosts."""
    firmware: str | None = None
    """Firmware of all hosts."""


class HistoryMapping(Config):
    """How the columns and values of a file become those of the import schema."""

    columns: Columns = Columns()
    """Our column names and the file's."""
    constants: Constants = Constants()
    """Values of columns that the file does not have."""
    outcomes: dict[str, Outcome] = Field(default_factory=dict)
    """Outcome in the file -> completed, aborted or running; others stay as they are."""
    types: dict[str, str] = Field(default_factory=dict)
    """Type in the file -> our type; others stay as they are."""
    duration_unit: Literal["s", "min", "h"] = "s"
    """Unit of `columns.duration`."""
    epoch_unit: Literal["s", "ms"] | None = None
    """Unit of times that are numbers since 1970 (UTC); None: times are dates."""
    time_zone: str | None = None
    """IANA zone of times that name none, for example Europe/Berlin; None: left as they are."""
    overlaps: Literal["quarantine", "keep"] = "quarantine"
    """What becomes of an upgrade that starts while another one runs on its host."""

    @field_validator("outcomes", "types", mode="before")
    @classmethod
    def _keys_are_text(cls, value: Any) -> Any:
        if not isinstance(value, Mapping):
            return value
        for key in value:
            if isinstance(key, bool):
                raise ValueError(
                    f"YAML reads the unquoted key {'yes' if key else 'no'} as {key}; quote it"
                )
        return {str(key): item for key, item in value.items()}

    @model_validator(mode="after")
    def _is_consistent(self) -> Self:
        if self.columns.duration is not None and self.columns.ended is not None:
            raise ValueError("columns.ended and columns.duration exclude each other; give one")
        both = set(self.columns.model_dump(exclude_none=True))
        both &= set(self.constants.model_dump(exclude_none=True))
        if both:
            raise ValueError(f"{', '.join(sorted(both))} is both a column and a constant; give one")
        if self.time_zone is not None and self.time_zone not in available_timezones():
            near = get_close_matches(self.time_zone, available_timezones(), n=1, cutoff=0.5)
            guess = f"; did you mean '{near[0]}'?" if near else ""
            raise ValueError(
                f"no time zone named '{self.time_zone}'{guess}; give an IANA name like Europe/Paris"
            )
        return self


def read_mapping(file: Path) -> HistoryMapping:
    """Read and validate a mapping file.

    Raises:
        ConfigError: The file is missing or no mapping, or a value is wrong.
        UnknownNameError: A key does not exist; the nearest one is named.
    """
    return load_config(HistoryMapping, file, what="mapping file", option="the config key `mapping`")


def apply_mapping(frame: pd.DataFrame, mapping: HistoryMapping, source: str) -> pd.DataFrame:
    """Rename columns, add constants, translate values; other columns are left out.

    Args:
        frame: Table as it was read.
        mapping: What its columns and values mean.
        source: Name of the file, for messages.

    Returns:
        Our columns as far as the file and the mapping have them, and `duration` where the
        mapping names one.

    Raises:
        UnknownNameError: A named column is not in the file; says what the file has.
        ConfigError: A constant stands for a column that the file has.
        ContractError: A value map fits no value of its column.
    """
    named = mapping.columns.model_dump(exclude_none=True)
    for ours, theirs in named.items():
        if theirs not in frame.columns:
            hint = f"(mapping of '{ours}'; {source} has the columns listed)"
            raise unknown_name("column", theirs, map(str, frame.columns), hint)
    table = {}
    for ours in Columns.model_fields:
        if ours in named:
            table[ours] = frame[named[ours]]
        elif ours != "duration" and ours in frame.columns:
            table[ours] = frame[ours]
    if mapping.columns.duration is not None:
        table.pop("ended", None)
    mapped = pd.DataFrame(table, index=frame.index)
    refuse_nested(mapped, mapped.columns, source)
    for ours, value in mapping.constants.model_dump(exclude_none=True).items():
        if ours in mapped.columns:
            raise ConfigError(
                f"the mapping gives '{ours}' the constant '{value}', but {source} has a column "
                f"'{ours}'; leave the constant out"
            )
        mapped[ours] = value
    for ours, words in (("outcome", mapping.outcomes), ("type", mapping.types)):
        if words and ours in mapped.columns:
            mapped[ours] = _translate(mapped[ours], dict(words), ours, source)
    return mapped


def _translate(values: pd.Series, words: dict[str, str], name: str, source: str) -> pd.Series:
    text = values.map(_plain_text).astype(object)
    translated = text.map(words)
    if translated.notna().any() or text.isna().all():
        return translated.where(translated.notna(), text)
    raise ContractError(
        f"{source}: none of the mapping's {name} values ({', '.join(words)}) is in the column, "
        f"which holds {value_counts_words(text)}; spell the keys of '{name}s' as the file does"
    )


def value_counts_words(values: pd.Series) -> str:
    """Say which values a column holds and how often, most frequent first."""
    counts = values.astype(object).map(str).value_counts()
    shown = ", ".join(f"'{value}' ({n:,})" for value, n in counts.head(MOST_VALUES).items())
    left_out = len(counts) - MOST_VALUES
    return shown + (f" and {left_out} other values" if left_out > 0 else "")


def _plain_text(value: Any) -> str | None:
    """Return a cell as text; a whole number is written without its .0 (pandas adds it)."""
    if pd.isna(value):
        return None
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    return str(value)
