"""Walk forward: at each of several instants, use the past only, then meet what came."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pandas as pd
from pydantic import Field

from models.config import Config
from models.errors import NotEnoughDataError
from models.figures import Figure, FlowSummary
from models.upgrades.bootstrap import RatioIntervals, ratio_intervals
from models.upgrades.cells import CLAIRVOYANT, Cell, assemble_policy_table
from models.upgrades.config import DAY_S, UpgradeConfig
from models.upgrades.features import FeatureTable
from models.upgrades.forecast.base import DurationModel
from models.upgrades.history import History
from models.upgrades.monitor.rolling import score_rows
from models.upgrades.operating import EXISTING, STRONG_RULE
from models.upgrades.policy import Policy
from models.upgrades.splits import MIN_TEST, Split

SELECTED = "selected"
MOST_DATES = 6
"""Origins that a summary names one by one."""
_SHOWN = (
    *("completed", "scheduled", "cancelled", "cancellation_rate", "utilisation"),
    *("cost_per_task", "regret"),
)


class BacktestConfig(Config):
    """What defines a walk forward."""

    data: Path | None = None
    """History to walk through: Parquet or CSV of a known schema; None: the bundled LANL file."""
    mapping: Path | None = None
    """YAML file that says what the columns of `data` mean, for a history of your own."""
    upgrades: UpgradeConfig = UpgradeConfig()
    """Windows, costs and forecasters; its shares say how the past of each origin is split."""
    n_origins: int = Field(3, ge=1, le=100)
    """Instants at which everything is fitted and chosen anew."""
    horizon_days: int = Field(90, ge=7)
    """Time after each origin that is simulated, and between origins, in days."""

    @property
    def plan(self) -> UpgradeConfig:
        """The config of each origin, with the data of this one."""
        return self.upgrades.model_copy(update={"data": self.data, "mapping": self.mapping})


@dataclass(frozen=True)
class Origin:
    """One instant of the walk.

    Attributes:
        name: Its day.
        at_s: The instant, seconds of the local clock.
        history: What started before the end of its horizon.
        config: Shares such that the test part begins at the instant.
    """

    name: str
    at_s: int
    history: History
    config: UpgradeConfig


def origins_of(history: History, config: BacktestConfig) -> list[Origin]:
    """Cut the history at `n_origins` instants, the last one a horizon before its end.

    The past of an origin is split in the proportions of the config's fit, calibrate and
    select shares; what starts within the horizon is its test part.

    Raises:
        NotEnoughDataError: A horizon holds too few events, or an origin lies too early.
    """
    start_s = history.seconds("start_s")
    horizon_s = config.horizon_days * DAY_S
    until_s = int(start_s.max()) + 1
    origins = []
    for back in range(config.n_origins, 0, -1):
        at_s = until_s - back * horizon_s
        n_before = int(np.searchsorted(start_s, at_s, "left"))
        n_until = int(np.searchsorted(start_s, at_s + horizon_s, "left"))
        if n_before == 0 or n_until - n_before < MIN_TEST:
            raise NotEnoughDataError(
                f"origin {_day(at_s)} has {n_before} events before and {n_until - n_before} in its "
                f"horizon of {config.horizon_days} days, at least {MIN_TEST} are needed there; "
                "lower n_origins or change horizon_days"
            )
        shares = _shares(config.plan, n_before / n_until)
        origins.append(
            Origin(
                _day(at_s),
                at_s,
                _until(history, n_until, at_s + horizon_s),
                config.plan.model_copy(update=shares),
            )
        )
    return origins


def backtest_policies(selected: Policy) -> list[Policy]:
    """Policies of each origin: existing, strong rule, selected, oracle."""
    return list(dict.fromkeys([EXISTING, STRONG_RULE, selected, CLAIRVOYANT]))


def origin_table(
    origin: Origin,
    cells: Sequence[Cell],
    selected: Policy,
    models: Mapping[str, DurationModel],
    features: FeatureTable,
    split: Split,
) -> pd.DataFrame:
    """One line per role at one origin.

    Returns:
        Columns: origin, role (existing, strong rule, selected, oracle), policy, tasks, the
        measures of `PolicyMetrics` that the walk shows, regret, coverage@0.9 (None for the
        oracle).
    """
    table = assemble_policy_table(cells, selected, origin.config)
    by_label = {str(row["policy"]): row for row in table.to_dict("records")}
    roles = {
        "existing": EXISTING,
        "strong rule": STRONG_RULE,
        SELECTED: selected,
        "oracle": CLAIRVOYANT,
    }
    lines = []
    for role, policy in roles.items():
        row = by_label[policy.label]
        model = models.get(policy.forecaster)
        covered = None
        if model is not None:
            covered = score_rows(model, origin.history, features, split.test).coverage(0.9)[1]
        measures = {name: row[name] for name in _SHOWN}
        lines.append(
            {
                "origin": origin.name,
                "role": role,
                "policy": policy.label,
                "tasks": int(row["tasks"]),
                **measures,
                "coverage@0.9": covered,
            }
        )
    return pd.DataFrame(lines)


@dataclass(frozen=True)
class Backtest:
    """All origins.

    Attributes:
        origins: `origin_table` of each origin, in order of time.
        against: Selected against existing and strong rule over all origins, 95 % intervals.
    """

    origins: pd.DataFrame
    against: Mapping[str, RatioIntervals]

    @property
    def totals(self) -> pd.DataFrame:
        """Sums over the origins per role: tasks, scheduled, completed, cancelled, rate."""
        names = ["tasks", "scheduled", "completed", "cancelled"]
        totals = self.origins.groupby("role", sort=False)[names].sum().reset_index()
        totals["cancellation_rate"] = totals["cancelled"] / totals["scheduled"]
        return totals


def put_together(
    tables: Sequence[pd.DataFrame],
    attempts: Sequence[Mapping[str, pd.DataFrame]],
    seed: int,
) -> Backtest:
    """Join the origins.

    Args:
        tables: `origin_table` of each origin.
        attempts: For each origin `SimulationResult.attempts` by role.
        seed: Seed of the bootstrap.
    """
    pooled = {
        role: pd.concat([of_origin[role] for of_origin in attempts], ignore_index=True)
        for role in (SELECTED, "existing", "strong rule")
    }
    against = {
        role: ratio_intervals(pooled[SELECTED], pooled[role], seed)
        for role in ("existing", "strong rule")
    }
    return Backtest(pd.concat(tables, ignore_index=True), against)


def attempts_by_role(cells: Sequence[Cell], selected: Policy) -> Mapping[str, pd.DataFrame]:
    """Starts of the three roles that are compared."""
    by_policy = {cell.policy: cell.attempts for cell in cells}
    roles = {SELECTED: selected, "existing": EXISTING, "strong rule": STRONG_RULE}
    return {role: by_policy[policy] for role, policy in roles.items()}


def backtest_metrics(result: Backtest) -> dict[str, float | None]:
    """Figures under `backtest/`: totals per role, ratios with their intervals."""
    metrics: dict[str, float | None] = {}
    for row in result.totals.to_dict("records"):
        role = str(row["role"]).replace(" ", "_")
        for name in ("completed", "cancelled", "cancellation_rate"):
            metrics[f"backtest/{role}/{name}"] = row[name]
    for role, ratios in result.against.items():
        for measure, interval in ratios._asdict().items():
            for part, value in interval._asdict().items():
                metrics[f"backtest/x_{role.replace(' ', '_')}/{measure}_{part}"] = value
    return metrics


def origin_metrics(table: pd.DataFrame) -> dict[str, float | None]:
    """Figures of one origin for its child run: role/measure."""
    return {
        f"{str(row['role']).replace(' ', '_')}/{name.replace('@', '_')}": (
            None if pd.isna(row[name]) else float(row[name])
        )
        for row in table.to_dict("records")
        for name in (*_SHOWN, "coverage@0.9")
    }


def backtest_summary(result: Backtest) -> FlowSummary:
    """Say what the walk found; the strong rule stands beside the figures."""
    totals = {str(row["role"]): row for row in result.totals.to_dict("records")}
    mine, strong = totals[SELECTED], totals["strong rule"]
    chosen = result.origins.loc[result.origins["role"] == SELECTED, "policy"]
    regrets = result.origins.groupby("role")["regret"].mean().to_dict()
    return FlowSummary(
        did=(
            f"walked over {_origins_words(list(dict.fromkeys(result.origins['origin'])))}, "
            f"{int(mine['tasks']):,} upgrades after {'it' if len(chosen) == 1 else 'them'}; "
            f"selected: {', '.join(dict.fromkeys(chosen))}"
        ),
        baseline=STRONG_RULE.label,
        figures=(
            Figure("completed", mine["completed"], strong["completed"], "{:,.0f}"),
            Figure(
                "cancelled share of starts",
                *(mine["cancellation_rate"], strong["cancellation_rate"], "{:.1%}"),
            ),
            Figure("mean regret", regrets[SELECTED], regrets["strong rule"], "{:.1%}"),
        ),
    )


def _origins_words(days: Sequence[str]) -> str:
    if len(days) == 1:
        return f"1 origin ({days[0]})"
    named = ", ".join(days) if len(days) <= MOST_DATES else f"{days[0]} to {days[-1]}"
    return f"{len(days)} origins ({named})"


def _until(history: History, n: int, until_s: int) -> History:
    """What started before an instant; its digest says so."""
    digest = hashlib.sha256(f"{history.digest} until {until_s}".encode()).hexdigest()
    return replace(history, events=history.events.iloc[:n], digest=digest)


def _shares(config: UpgradeConfig, past: float) -> dict[str, float]:
    names = ("fit_share", "calibrate_share", "select_share")
    total = sum(getattr(config, name) for name in names)
    fit, calibrate, _ = (getattr(config, name) / total * past for name in names)
    # The last one takes the rest, so that the test part begins exactly at the origin.
    return {"fit_share": fit, "calibrate_share": calibrate, "select_share": past - fit - calibrate}


def _day(at_s: int) -> str:
    return datetime.fromtimestamp(at_s, UTC).strftime("%Y-%m-%d")
