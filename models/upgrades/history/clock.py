"""Times of an imported history: with a zone or without, never both.

Times with a zone become UTC. Times without one stay as they are, unless the mapping names
their zone: then they become UTC too, and a duration across a clock change is elapsed time.
"""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
import pandas as pd

from models.errors import ConfigError
from models.upgrades.history.base import EventTimeError

_ZONE = r"(?:[Zz]|[+-]\d\d:?(?:\d\d)?)$"
_CLOCK = r"\d\d:\d\d"


def one_clock(
    frame: pd.DataFrame,
    columns: tuple[str, ...],
    zone: str | None,
    epoch_unit: Literal["s", "ms"] | None,
    source: str,
) -> pd.DataFrame:
    """Bring time columns to one clock without zone, all in UTC or all as they were written.

    Args:
        frame: Table with the columns, any index.
        columns: Time columns; starts first, so that ends can lean on them.
        zone: IANA zone of times that name none.
        epoch_unit: Unit of times that are numbers.
        source: Name of the file, for messages.

    Returns:
        The table with naive datetimes. A text that is no date is left as it is, for the
        contract to report with its row.

    Raises:
        EventTimeError: Times with and without zone are mixed; a time does not exist in the
            zone (clocks were put forward); times are numbers without `epoch_unit`.
        ConfigError: A zone is given for times that have one.
    """
    table = frame.reset_index(drop=True).copy()
    parsed = {name: _parse(table[name], epoch_unit, name, source) for name in columns}
    zoned = pd.concat([_is_zoned(table[name], parsed[name]) for name in columns])
    known = zoned.dropna()
    if known.any() and not known.all():
        zoned_share = float(known.astype(bool).mean())
        # The rarer kind is the one to look for.
        is_rare = known.astype(bool).to_numpy() == (zoned_share < 0.5)
        kind, others = ("with", "have none") if zoned_share < 0.5 else ("without", "have one")
        raise EventTimeError(
            f"{source}: row {known.index[int(is_rare.argmax())]} has a time {kind} zone while "
            f"others {others} ({int(is_rare.sum()):,} such times); write all times with zone, or "
            "all without (and name it as time_zone in a mapping)"
        )
    if known.any() and zone is not None:
        raise ConfigError(
            f"the mapping says time_zone {zone}, but the times of {source} name their own; "
            "leave time_zone out"
        )
    earliest: pd.Series | None = None
    for name in columns:
        times = parsed[name]
        if zone is not None:
            times = _from_zone(times, zone, earliest, name, source)
        earliest = times if earliest is None else earliest
        lost = times.isna() & table[name].notna()
        table[name] = times if not lost.any() else times.astype(object).where(~lost, table[name])
    return table


def _parse(
    values: pd.Series, epoch_unit: Literal["s", "ms"] | None, name: str, source: str
) -> pd.Series:
    """Return naive datetimes (UTC where the values name a zone); what is no date is NaT."""
    if pd.api.types.is_numeric_dtype(values) and not values.isna().all():
        if epoch_unit is None:
            row = int(values.notna().to_numpy().argmax())
            raise EventTimeError(
                f"{source}: column '{name}' holds numbers, for example {values.iloc[row]} "
                f"in row {row}; give dates like 2026-05-01 14:30:00, or "
                "say `epoch_unit: s` (or ms) in a mapping file"
            )
        scale = 1 if epoch_unit == "s" else 1_000
        seconds = pd.to_numeric(values, errors="coerce").to_numpy(float) / scale
        # Beyond the year 2262 nanoseconds overflow; such a number is in another unit.
        seconds = np.where(np.abs(seconds) < 9.2e9, seconds, np.nan)
        return pd.Series(pd.to_datetime(seconds, unit="s"), index=values.index).dt.floor("s")
    if isinstance(values.dtype, pd.DatetimeTZDtype):
        utc: pd.Series = values.dt.tz_convert("UTC").dt.tz_localize(None)
        return utc
    if pd.api.types.is_datetime64_any_dtype(values):
        return values
    # utc=True reads a time without zone as UTC, which leaves its clock as it was written.
    times = pd.to_datetime(values.astype("str"), errors="coerce", format="ISO8601", utc=True)
    written: pd.Series = times.where(values.notna()).dt.tz_localize(None)
    return written


def _is_zoned(values: pd.Series, parsed: pd.Series) -> pd.Series[Any]:
    """Whether each time names its zone; missing where there is no time."""
    if pd.api.types.is_numeric_dtype(values) or pd.api.types.is_datetime64_any_dtype(values):
        # Numbers since 1970 name their zone: they count from 1970 in UTC.
        has_zone = isinstance(values.dtype, pd.DatetimeTZDtype) or pd.api.types.is_numeric_dtype(
            values
        )
        return pd.Series(has_zone, index=values.index).astype(object).where(parsed.notna())
    text = values.astype("str")
    # A date alone, 2026-05-01, ends like an offset: only what follows a clock time counts.
    ends_in_zone = text.str.contains(_ZONE, regex=True) & text.str.contains(_CLOCK, regex=True)
    return ends_in_zone.astype(object).where(parsed.notna())


def _from_zone(
    times: pd.Series, zone: str, earliest: pd.Series | None, name: str, source: str
) -> pd.Series:
    """Read naive local times in a zone; in the hour that comes twice the first is meant,
    unless an end would then precede its start.
    """
    first, second = (
        times.dt.tz_localize(zone, ambiguous=np.full(len(times), summer), nonexistent="NaT")
        .dt.tz_convert("UTC")
        .dt.tz_localize(None)
        for summer in (True, False)
    )
    gap = first.isna() & times.notna()
    if gap.any():
        row = int(gap.to_numpy().argmax())
        raise EventTimeError(
            f"{source}: row {row}: {name} {times[row]} does not exist in {zone}, where the clock "
            f"was put forward ({int(gap.sum())} such times); correct them, or set time_zone to "
            "the zone in which they were written (UTC?)"
        )
    chosen: pd.Series = first if earliest is None else first.where(~(first < earliest), second)
    return chosen
