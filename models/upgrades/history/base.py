"""What every source becomes: one table of events in order of their start."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from models.errors import ContractError, DataError, NotEnoughDataError

UNKNOWN = "unknown"
COMPLETED, ABORTED, RUNNING = "completed", "aborted", "running"
# The first keys that order events; every other column breaks the ties that are left.
_ORDER = (
    *("start_s", "domain", "host_id", "type", "end_s", "duration_s", "service", "is_planned"),
)


class EventTimeError(DataError):
    """An event ends before it starts or has no usable duration."""


@dataclass(frozen=True)
class History:
    """Upgrade events in order of their start.

    Attributes:
        events: One row per event: event_id, host_id, domain, service, type (str),
            is_planned (bool), the columns of `categories` (str) and `numbers` (float64),
            batch_id, release (str, "unknown" where it was not recorded), start_s, end_s
            (int64 seconds since 1970 of the clock of the source), duration_s (int64,
            elapsed), outcome ("completed" or "aborted"), is_censored (bool). The duration
            of an aborted event is the time it had run: a lower bound. `end_s`,
            `duration_s`, `outcome` and `is_censored` are known only once it has ended.
        digest: SHA-256 of the events and of how they are to be read.
        dropped: Rows left out, by reason.
        source: Name of the schema that the events came from.
        categories: Categorical feature columns, known before the start.
        numbers: Numeric feature columns, known before the start.
        window_s: Length of a maintenance window that suits the source, in seconds; None:
            the source suggests none.
        has_releases: Whether the schema names the release that an upgrade brings.
    """

    events: pd.DataFrame
    digest: str
    dropped: Mapping[str, int]
    source: str = UNKNOWN
    categories: tuple[str, ...] = ("type", "domain", "service")
    numbers: tuple[str, ...] = ()
    window_s: int | None = None
    has_releases: bool = False

    def __len__(self) -> int:
        return len(self.events)

    def seconds(self, column: str) -> NDArray[np.int64]:
        """Return a time column (start_s, end_s or duration_s), shape (n_events,)."""
        return self.events[column].to_numpy(np.int64)

    @property
    def is_censored(self) -> NDArray[np.bool_]:
        """Whether each event was aborted: its duration is a lower bound, shape (n_events,)."""
        return self.events["is_censored"].to_numpy(bool)

    def labels(self, column: str) -> NDArray[np.object_]:
        """Return a text column as an array of str, shape (n_events,)."""
        return self.events[column].to_numpy(object)


def build_history(
    events: pd.DataFrame,
    dropped: Mapping[str, int],
    source: str,
    categories: tuple[str, ...],
    numbers: tuple[str, ...],
    window_s: int | None,
    has_releases: bool = False,
) -> History:
    """Order canonical events, number them and digest them.

    Args:
        events: Columns of `History.events` without event_id, in any row order.
        dropped: Rows left out before, by reason.
        source: Name of the schema.
        categories: Categorical feature columns.
        numbers: Numeric feature columns.
        window_s: Window that suits the source, in seconds.
        has_releases: Whether the schema names releases.
    """
    events = events.iloc[_order(events)].reset_index(drop=True)
    events.insert(0, "event_id", [f"e{index:07d}" for index in range(len(events))])
    said = f"{source} {categories} {numbers} {window_s} {has_releases}"
    return History(
        *(events, digest_of(events, said), dict(dropped), source),
        *(categories, numbers, window_s, has_releases),
    )


def digest_of(frame: pd.DataFrame, said: str = "") -> str:
    """Return the SHA-256 of a frame's column names and values, and of `said`.

    Text is digested as its labels and their places: a million rows take a second.
    """
    state = hashlib.sha256(said.encode())
    for column in frame.columns:
        values = frame[column]
        state.update(f"\x1d{column}\x1e{len(values)}\x1e".encode())
        if pd.api.types.is_numeric_dtype(values) or pd.api.types.is_bool_dtype(values):
            state.update(np.ascontiguousarray(values.to_numpy()).tobytes())
            continue
        codes, labels = pd.factorize(values)
        state.update(np.asarray(codes, dtype=np.int64).tobytes())
        for label in labels:
            text = str(label).encode()
            state.update(f"{len(text)}:".encode() + text)
    return state.hexdigest()


def _order(events: pd.DataFrame) -> NDArray[np.int64]:
    """The row order of a file must not matter: every column breaks ties."""
    names = [*_ORDER, *(column for column in events.columns if column not in _ORDER)]
    keys = []
    for name in names:
        values = events[name]
        if pd.api.types.is_numeric_dtype(values) or pd.api.types.is_bool_dtype(values):
            keys.append(values.to_numpy())
        else:
            keys.append(np.asarray(pd.factorize(values, sort=True)[0]))
    order: NDArray[np.int64] = np.lexsort(keys[::-1]).astype(np.int64)
    return order


def require_columns(
    frame: pd.DataFrame, required: Sequence[str], what: str, documented: str
) -> None:
    """Refuse a table without the columns or rows that a reader needs.

    Raises:
        ContractError: A column is missing.
        NotEnoughDataError: The table is empty.
    """
    missing = [column for column in required if column not in frame.columns]
    if missing:
        raise ContractError(
            f"the {what} lacks {', '.join(missing)}; it must have the columns of "
            f"datasets/{documented} (see its README.md), found: "
            f"{', '.join(map(str, frame.columns))}"
        )
    if frame.empty:
        raise NotEnoughDataError(f"the {what} is empty; give a file with recorded events")


def refuse_rows(
    broken: Mapping[str, NDArray[np.bool_]],
    describe: Callable[[int], str],
    remedy: str = "correct them, or let the dataset contract move them to quarantine",
) -> None:
    """Refuse a table with impossible rows.

    Args:
        broken: What is wrong -> mask of rows, shape (n_rows,).
        describe: Values of a row, in words.
        remedy: What a person can do about it.

    Raises:
        EventTimeError: Any row is marked; names the first and counts them.
    """
    for what, mask in broken.items():
        if mask.any():
            row = int(np.flatnonzero(mask)[0])
            raise EventTimeError(
                f"row {row} {what} ({describe(row)}); {int(mask.sum())} such rows: {remedy}"
            )


def drop_rows(
    reasons: Mapping[str, NDArray[np.bool_]], what: str
) -> tuple[NDArray[np.bool_], dict[str, int]]:
    """Return which rows stay and how many left for which reason; the first reason counts.

    Raises:
        NotEnoughDataError: No row stays.
    """
    keep = np.ones(len(next(iter(reasons.values()))), dtype=bool)
    dropped = {}
    for reason, mask in reasons.items():
        dropped[reason] = int((keep & mask).sum())
        keep &= ~mask
    if not keep.any():
        raise NotEnoughDataError(
            f"all {len(keep)} rows of the {what} were dropped ({dropped}); "
            "give a file with recorded events"
        )
    return keep, dropped


def overlap_s(
    host: ArrayLike, start_s: NDArray[np.int64], end_s: NDArray[np.int64]
) -> NDArray[np.int64]:
    """Return for each row the seconds by which it overlaps an earlier row of its host.

    Args:
        host: Host of each row, shape (n_rows,).
        start_s: Starts, shape (n_rows,).
        end_s: Ends, shape (n_rows,).

    Returns:
        Shape (n_rows,); 0 where the host was free. Of rows that start together the one
        that ends first comes first.
    """
    codes = pd.factorize(np.asarray(host))[0].astype(np.int64)
    order = np.lexsort((end_s, start_s, codes))
    latest = pd.Series(end_s[order]).groupby(codes[order]).cummax()
    before = latest.groupby(codes[order]).shift()
    # No row before: the host was free since ever.
    busy_s = (before - start_s[order]).fillna(0).to_numpy(np.int64)
    overlap = np.zeros(len(order), dtype=np.int64)
    overlap[order] = np.maximum(busy_s, 0)
    return overlap


def slug(value: object) -> str:
    """Return a name in lower case with dashes; missing is "unknown"."""
    text = UNKNOWN if pd.isna(value) else str(value).strip().lower()  # type: ignore[call-overload]
    return UNKNOWN if text in ("", "nan") else "-".join(text.replace("/", " ").split())


def epoch_s(column: pd.Series) -> pd.Series:
    """Return datetimes as int64 seconds since 1970 of the same clock."""
    return pd.to_datetime(column).astype("datetime64[s]").astype("int64")
