"""When each domain may be worked on, and which hosts and windows a person has decided."""

from __future__ import annotations

from collections.abc import Sequence
from fnmatch import translate
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from models.errors import ConfigError, DatasetMissingError, DatasetUnreadableError
from models.upgrades.config import DAY_S
from models.upgrades.fleet.base import (
    DuplicateIdError,
    Fleet,
    FleetTableError,
    Freeze,
    UnknownReferenceError,
    WindowError,
)
from models.upgrades.rollout.config import RolloutConfig
from models.upgrades.schedule.base import NONE, Ints, Segment


def opening_times(window_start_s: Ints, plan_s: int, horizon_days: int) -> Ints:
    """Openings of the daily windows from `plan_s` on, shape (n_domains, horizon_days).

    Args:
        window_start_s: Opening of each domain after local midnight, shape (n_domains,).
        plan_s: No window that opens earlier is used.
        horizon_days: Windows per domain.
    """
    first_day = -((window_start_s - plan_s) // DAY_S)
    days = first_day[:, None] + np.arange(horizon_days, dtype=np.int64)
    return np.asarray(days * DAY_S + window_start_s[:, None], dtype=np.int64)


def nights_of(opens_s: Ints) -> Ints:
    """Number of the night in which each window opens, from noon to noon; same shape."""
    return np.asarray((opens_s - DAY_S // 2) // DAY_S, dtype=np.int64)


def open_segments(open_s: int, close_s: int, freezes: Sequence[Freeze]) -> list[Segment]:
    """Parts [a, b) of a window that no freeze covers, in order; possibly none."""
    segments = [(open_s, close_s)]
    for freeze in freezes:
        pieces = [
            piece
            for a, b in segments
            for piece in ((a, min(b, freeze.from_s)), (max(a, freeze.until_s), b))
        ]
        segments = sorted({(a, b) for a, b in pieces if a < b})
    return segments


def excluded_tasks(fleet: Fleet, exclude: Sequence[str]) -> NDArray[np.bool_]:
    """Tasks whose host matches one of the globs, shape (n_tasks,).

    Raises:
        ConfigError: A pattern matches no host of the fleet.
    """
    hosts = fleet.hosts["host_id"]
    found = np.zeros(len(fleet.backlog), dtype=bool)
    for pattern in exclude:
        matching = hosts[hosts.str.match(translate(pattern))]
        if matching.empty:
            raise ConfigError(
                f"exclude '{pattern}' matches none of {len(hosts)} hosts (the first is "
                f"'{hosts[0]}'); correct the pattern or remove it"
            )
        found |= fleet.backlog["host_id"].isin(matching).to_numpy(bool)
    return found


def pinned_windows(file: Path | None, tasks: pd.DataFrame, opens_s: Ints, domain: Ints) -> Ints:
    """Window that each task must go to, -1 for any; shape (n_tasks,).

    Args:
        file: CSV with the columns task and window_open_s; None: no pins.
        tasks: The backlog.
        opens_s: Openings per domain, shape (n_domains, n_windows).
        domain: Domain code of each task.

    Raises:
        DatasetMissingError: The file is not there.
        FleetTableError: A task is unknown or pinned twice, or no window of its domain opens
            at that time.
    """
    pin = np.full(len(tasks), NONE, dtype=np.int64)
    if file is None:
        return pin
    pins = _read_pins(file)
    row_of = {name: row for row, name in enumerate(tasks["task"])}
    for row, (name, text) in enumerate(zip(pins["task"], pins["window_open_s"], strict=True)):
        where = f"{file.name} row {row}"
        if name not in row_of:
            raise UnknownReferenceError(f"{where}: task '{name}' is not in the backlog; remove it")
        place = row_of[name]
        if pin[place] != NONE:
            raise DuplicateIdError(f"{where}: task '{name}' is already pinned; keep one row")
        own_s = opens_s[domain[place]]
        window = np.flatnonzero(
            [text.strip() in (str(open_s), _moment(open_s)) for open_s in own_s.tolist()]
        )
        if not len(window):
            opens = ", ".join(f"{open_s} ({_moment(open_s)})" for open_s in own_s[:14].tolist())
            raise WindowError(
                f"{where}: no window of task '{name}' opens at {text!r}; its windows open at "
                f"{opens}: give the number or the time of one of these"
            )
        pin[place] = window[0]
    return pin


class Wishes(NamedTuple):
    """What pins and excludes ask for.

    Attributes:
        excluded: Number of excluded tasks.
        pinned: Number of pinned tasks.
        warnings: A sentence per pin that cannot be kept, whatever the forecast.
    """

    excluded: int
    pinned: int
    warnings: list[str]


def check_wishes(fleet: Fleet, config: RolloutConfig, plan_s: int) -> Wishes:
    """Check pins and excludes without planning.

    Raises as `excluded_tasks` and `pinned_windows` do.
    """
    start_s = fleet.domains["window_start_s"].to_numpy(np.int64)
    place = {name: code for code, name in enumerate(fleet.domains["domain"])}
    domain = fleet.tasks["domain"].map(place).to_numpy(np.int64)
    opens_s = opening_times(start_s, plan_s, config.horizon_days)
    pin = pinned_windows(config.pin, fleet.tasks, opens_s, domain)
    excluded = int(excluded_tasks(fleet, config.exclude).sum())
    pinned = np.flatnonzero(pin != NONE)
    warnings = []
    for task, open_s in zip(pinned.tolist(), opens_s[domain[pinned], pin[pinned]], strict=True):
        why = _never_kept(fleet, task, int(open_s), int(fleet.domains["window_s"][domain[task]]))
        if why:
            name = fleet.tasks["task"][task]
            warnings.append(f"task {name} is pinned to {_moment(int(open_s))}, {why}")
    return Wishes(excluded, len(pinned), warnings)


def _never_kept(fleet: Fleet, task: int, open_s: int, window_s: int) -> str:
    """Why a pin to a window cannot be kept however short the task is; blank: it may."""
    about = fleet.tasks.iloc[task]
    if about["deadline_s"] <= open_s:
        return f"after its deadline {_moment(int(about['deadline_s']))}"
    freezes = [f for f in fleet.freezes if f.covers(about["domain"], about["service"])]
    parts = open_segments(open_s, open_s + window_s, freezes)
    if about["arrival_s"] >= open_s + window_s:
        return f"before it arrives at {_moment(int(about['arrival_s']))}"
    if parts == [(open_s, open_s + window_s)]:
        return ""
    touching = [f for f in freezes if f.from_s < open_s + window_s and f.until_s > open_s]
    last = max(touching, key=lambda freeze: freeze.until_s)
    left = f"all but {max(b - a for a, b in parts) / 60:,.0f} min of " if parts else ""
    return (
        f"and {left}that window is frozen by {last.owner} until {_moment(last.until_s)}: "
        f"{last.reason}"
    )


def _moment(open_s: int) -> str:
    return pd.Timestamp(open_s, unit="s").strftime("%Y-%m-%d %H:%M")


def _read_pins(file: Path) -> pd.DataFrame:
    try:
        pins = pd.read_csv(file, dtype=str, keep_default_na=False)
    except FileNotFoundError:
        raise DatasetMissingError(
            f"pin file {file} does not exist; correct `pin` or leave it out"
        ) from None
    except (OSError, ValueError) as error:
        raise DatasetUnreadableError(f"pin file {file} cannot be read ({error})") from None
    missing = [column for column in ("task", "window_open_s") if column not in pins.columns]
    if missing:
        raise FleetTableError(
            f"{file.name} lacks the columns {', '.join(missing)}; it has {', '.join(pins.columns)}"
        )
    return pins
