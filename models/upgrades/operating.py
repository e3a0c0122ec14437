"""Cancellations at equal completions: frontiers compared where they are comparable.

A policy that refuses more also cancels less, so a cancellation rate means something only at
given completions. A forecaster's frontier is the set of its policies at rising levels, with
one dispatcher and one kind of retry, less those that another beats in both counts. It is read
where it completes as much as a reference does; the level is not chosen by anyone, it is what
the comparison holds equal, anew in every bootstrap draw.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from models.upgrades.bootstrap import Interval, weekly_draws
from models.upgrades.policy import Policy

EXISTING = Policy("type-p95", "calendar", 0.95)
STRONG_RULE = Policy("body-p95", "online", 0.95)
STRONG_RULE_INFORMED = Policy("body-p95", "online", 0.95, is_informed=True)


@dataclass(frozen=True)
class Anchor:
    """What a frontier is compared with.

    Attributes:
        reference: Policy whose completions and cancellation rate are the anchor.
        share: Completions to hold, as a multiple of the reference's.
        is_informed: Kind of retries of the frontiers that are compared.
    """

    reference: Policy
    share: float
    is_informed: bool


ANCHORS = (
    Anchor(STRONG_RULE, 1.0, is_informed=False),
    Anchor(STRONG_RULE, 1.0, is_informed=True),
    Anchor(STRONG_RULE_INFORMED, 1.0, is_informed=True),
    Anchor(EXISTING, 1.25, is_informed=False),
    Anchor(EXISTING, 1.25, is_informed=True),
)
COLUMNS = (
    *("forecaster", "retries", "reference", "completions_held", "is_reached"),
    *("x_cancellation", "low", "high"),
)


def equal_completions_table(attempts: Mapping[Policy, pd.DataFrame], seed: int) -> pd.DataFrame:
    """Compare every frontier among the policies with every anchor.

    Args:
        attempts: `SimulationResult.attempts` of the test part by policy.
        seed: Seed of the bootstrap.

    Returns:
        `COLUMNS`: x_cancellation is the frontier's cancellation rate at the held completions
        divided by the reference's, with its 95 % interval (paired block bootstrap by week);
        is_reached says whether the frontier completes that much at all. Where it does not,
        its point of most completions stands.
    """
    policies = list(attempts)
    counts = weekly_draws([attempts[policy] for policy in policies], seed)
    rows = []
    for anchor in ANCHORS:
        if anchor.reference not in attempts:
            continue
        reference = counts[policies.index(anchor.reference)]
        for name, places in _frontiers(policies, anchor.is_informed).items():
            own = [counts[place] for place in places]
            interval, is_reached = _at_equal_completions(own, reference, anchor.share)
            retries = "informed" if anchor.is_informed else "blind"
            held = f"{anchor.share:g} x"
            rows.append((name, retries, anchor.reference.label, held, is_reached, *interval))
    return pd.DataFrame(rows, columns=list(COLUMNS))


def _frontiers(policies: Sequence[Policy], is_informed: bool) -> dict[str, list[int]]:
    """Places of the online policies of each forecaster that differ in their level only."""
    found: dict[str, list[int]] = {}
    for place, policy in enumerate(policies):
        is_on = policy.dispatch == "online" and policy.is_informed == is_informed
        if is_on and policy.level is not None:
            found.setdefault(policy.forecaster, []).append(place)
    return {name: places for name, places in found.items() if len(places) > 2}


def _at_equal_completions(
    frontier: Sequence[NDArray[np.float64]], reference: NDArray[np.float64], share: float
) -> tuple[Interval, bool]:
    """Ratio of cancellation rates at `share` of the reference's completions.

    Args:
        frontier: Starts and completions per draw of each policy, each (2, n_draws); the
            first draw is what was observed.
        reference: The same of the reference.
        share: Multiple of its completions.
    """
    held = share * reference[1]
    completed = np.array([counts[1] for counts in frontier])
    cancelled = np.array([counts[0] - counts[1] for counts in frontier])
    at_held = np.empty(len(held))
    for draw in range(len(held)):
        some, lost = _efficient(completed[:, draw], cancelled[:, draw])
        # Below its least point a frontier mixes that point with doing nothing.
        at_held[draw] = np.interp(held[draw], np.append(0.0, some), np.append(0.0, lost))
    # A frontier that stays below completes what it can; its starts are fewer.
    reached = np.minimum(held, completed.max(axis=0))
    rate = at_held / np.maximum(at_held + reached, 1.0)
    reference_rate = (reference[0] - reference[1]) / np.maximum(reference[0], 1.0)
    is_reached = bool(completed[:, 0].max() >= held[0])
    if reference_rate[0] == 0:
        return Interval(None, None, None), is_reached
    ratios = rate[reference_rate > 0] / reference_rate[reference_rate > 0]
    low, high = np.quantile(ratios[1:], [0.025, 0.975])
    return Interval(float(ratios[0]), float(low), float(high)), is_reached


def _efficient(
    completed: NDArray[np.float64], cancelled: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Points that no other beats in both counts, by rising completions.

    Completions need not rise as the level falls: a lower level starts more tasks that hold
    their lane to the end. Nobody would run such a policy, so the frontier leaves it out.
    """
    order = np.lexsort((cancelled, -completed))
    fewest = np.minimum.accumulate(cancelled[order])
    is_new = np.concatenate([[True], cancelled[order][1:] < fewest[:-1]])
    kept = order[is_new][::-1]
    return completed[kept], cancelled[kept]
