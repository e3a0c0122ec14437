"""What to do, and the rule that says so: recalibrate, retrain, or fall back."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

import pandas as pd

CHANCE_ERRORS = 1.96
"""Standard errors that are put down to chance: a two-sided 95 % interval."""


class Action(StrEnum):
    """What a look at the forecasts asks for, mildest first."""

    OK = "ok"
    RECALIBRATE = "recalibrate"
    RETRAIN = "retrain"
    FALL_BACK = "fall back"


@dataclass(frozen=True)
class Rule:
    """One rule and what it found.

    Attributes:
        name: What is looked at.
        action: What a broken rule asks for.
        limit: Value beyond which it is broken; None: it breaks by kind, not by size.
        found: Observed value; None: not measured, which breaks nothing.
        is_broken: Whether it is broken.
        detail: In words.
    """

    name: str
    action: Action
    limit: float | None
    found: float | None
    is_broken: bool
    detail: str


@dataclass(frozen=True)
class Verdict:
    """The gravest action of all broken rules, and the rule that led to it."""

    action: Action
    rule: Rule | None
    rules: tuple[Rule, ...]

    @property
    def words(self) -> str:
        """The verdict as a sentence."""
        if self.rule is None:
            return f"ok: none of {len(self.rules)} rules is broken"
        return f"{self.action.value}: {self.rule.name} ({self.rule.detail})"

    @property
    def table(self) -> pd.DataFrame:
        """One line per rule, the fields of `Rule`."""
        return pd.DataFrame([{**rule.__dict__, "action": rule.action.value} for rule in self.rules])


def judge(rules: Sequence[Rule]) -> Verdict:
    """Take the gravest action of the broken rules; of equals the first rule."""
    order = list(Action)
    broken = [rule for rule in rules if rule.is_broken]
    if not broken:
        return Verdict(Action.OK, None, tuple(rules))
    first = max(broken, key=lambda rule: order.index(rule.action))
    return Verdict(first.action, first, tuple(rules))


def coverage_error(level: float, n: int) -> float:
    """Standard error of an observed coverage while the nominal one is true."""
    return math.sqrt(level * (1 - level) / n) if n else math.inf


def coverage_rule(
    name: str, level: float, n: int, observed: float | None, band: float, action: Action
) -> Rule:
    """Judge an observed coverage; for `fall back` only missing coverage counts.

    Args:
        name: Name of the rule.
        level: Nominal coverage.
        n: Upgrades behind the observation.
        observed: Observed coverage.
        band: Distance that is still fine, beyond chance.
        action: What a broken rule asks for.
    """
    if observed is None:
        return Rule(name, action, level, None, False, "no upgrade to judge by")
    allowed = band + CHANCE_ERRORS * coverage_error(level, n)
    missing = level - observed
    is_broken = missing > allowed if action == Action.FALL_BACK else abs(missing) > allowed
    detail = f"{observed:.1%} of {n} upgrades within their {level:.0%} quantile, {allowed:.1%} off"
    return Rule(name, action, level - allowed, observed, is_broken, detail + " is allowed")


def limit_rule(name: str, action: Action, found: float | None, limit: float, detail: str) -> Rule:
    """Judge a value that must not exceed a limit; not measured breaks nothing."""
    return Rule(name, action, limit, found, found is not None and found > limit, detail)
