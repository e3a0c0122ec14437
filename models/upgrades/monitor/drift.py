"""Three ways to see that the present is not the past."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]

N_BINS = 10
# A share of nothing would make the index infinite.
LEAST_SHARE = 1e-4
# Places of a cut that are tried, and how often: every 32 values, as in the original.
CLOCK = 32
# The oldest values are given up beyond this: what is looked for is recent.
MOST_VALUES = 4_096


def psi(reference: Floats, current: Floats) -> float:
    """Population stability index of a number: 0 is equal, above 0.25 counts as moved.

    Bins are the deciles of the reference; missing values are a bin of their own.

    Args:
        reference: Values of the past, shape (n_reference,).
        current: Values now, shape (n_current,).

    Source: Siddiqi (2006), "Credit Risk Scorecards", chapter 10.
    """
    known = reference[np.isfinite(reference)]
    # Without a known value there is one bin for all that is known now.
    deciles = np.quantile(known, np.linspace(0, 1, N_BINS + 1)[1:-1]) if len(known) else known
    edges = np.unique(deciles)
    shares = []
    for values in (reference, current):
        finite = np.isfinite(values)
        # Values that are a decile themselves go to the bin below it, on both sides.
        bins = np.searchsorted(edges, values[finite], "left")
        counts = np.append(np.bincount(bins, minlength=len(edges) + 1), (~finite).sum())
        shares.append(counts / max(len(values), 1))
    return _index(*shares)


def psi_of_labels(reference: ArrayLike, current: ArrayLike) -> float:
    """The same index over labels; labels that the past did not have are one bin."""
    before, now = np.asarray(reference, dtype=object), np.asarray(current, dtype=object)
    known = sorted({str(label) for label in before})
    place = {label: index for index, label in enumerate(known)}
    shares = []
    for labels in (before, now):
        bins = [place.get(str(label), len(known)) for label in labels]
        shares.append(np.bincount(bins, minlength=len(known) + 1) / max(len(labels), 1))
    return _index(*shares)


def _index(before: Floats, now: Floats) -> float:
    before, now = np.maximum(before, LEAST_SHARE), np.maximum(now, LEAST_SHARE)
    return float(((now - before) * np.log(now / before)).sum())


class Alarm(NamedTuple):
    """A change that a detector found."""

    place: int
    """Index of the value at which it was found."""
    direction: str
    """"up" or "down"."""


def page_hinkley(values: Floats, tolerance: float = 0.1, threshold: float = 50.0) -> list[Alarm]:
    """Changes of the mean of standardised values away from 0, in both directions.

    The sum of what exceeds the tolerance is watched; when it has risen by the threshold since
    its lowest point, an alarm is raised and the sum starts again.

    Args:
        values: Standardised values in order of time, shape (n,): mean 0 and standard
            deviation 1 while nothing has changed.
        tolerance: Change of the mean that is no matter, in standard deviations.
        threshold: Sum that raises an alarm, in standard deviations. A shift of 0.3 is found
            after about threshold / (0.3 - tolerance) values.

    Source: Page (1954), "Continuous Inspection Schemes"; Hinkley (1971).
    """
    alarms = []
    up = down = 0.0
    for place, value in enumerate(values.tolist()):
        up = max(0.0, up + value - tolerance)
        down = max(0.0, down - value - tolerance)
        if max(up, down) > threshold:
            alarms.append(Alarm(place, "up" if up > down else "down"))
            up = down = 0.0
    return alarms


def adaptive_windows(values: Floats, confidence: float = 0.002) -> list[Alarm]:
    """Changes of the mean by an adaptive window: it is cut where its two halves disagree.

    Args:
        values: Values in [0, 1] in order of time, shape (n,).
        confidence: Probability of a false cut at one look.

    Source: Bifet & Gavaldà (2007), "Learning from Time-Changing Data with Adaptive
    Windowing" (ADWIN), bound of theorem 3.2 with the variance; cuts at multiples of 32
    instead of exponential buckets.
    """
    alarms = []
    since = 0
    for until in range(CLOCK, len(values) + 1, CLOCK):
        since = max(since, until - MOST_VALUES)
        cut, direction = _cut(values[since:until], confidence)
        if cut:
            alarms.append(Alarm(until - 1, direction))
            since += cut
    return alarms


def _cut(window: Floats, confidence: float) -> tuple[int, str]:
    """Last place at which the window falls into two means, 0 if nowhere; and the direction."""
    n = len(window)
    cuts = np.arange(CLOCK, n, CLOCK)
    if not len(cuts):
        return 0, ""
    sums = np.cumsum(window)
    before = sums[cuts - 1] / cuts
    after = (sums[-1] - sums[cuts - 1]) / (n - cuts)
    inverse = 1 / cuts + 1 / (n - cuts)
    log_term = math.log(2 * math.log(n) / confidence)
    allowed = np.sqrt(2 * inverse * float(window.var()) * log_term) + 2 / 3 * inverse * log_term
    found = np.flatnonzero(np.abs(after - before) > allowed)
    if not len(found):
        return 0, ""
    last = int(found[-1])
    return int(cuts[last]), "up" if after[last] > before[last] else "down"
