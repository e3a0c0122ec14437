"""The step again without one limit."""

from __future__ import annotations

import numpy as np

from models.sharding.diagnosis.base import KINDS, Counterfactual, Kind
from models.sharding.diagnosis.ledger import Known
from models.sharding.diagnosis.parts import Parts, compose
from models.sharding.diagnosis.transfers import HIDEABLE

_MOST_SAVED = 0.98
"""Noise of op times must not leave a step of no time."""
_BOUND_SHARE = 0.05
"""Idle share for launches from which they begin to set the pace of layers; at twice that share
they set it for all of them."""
_PER_MICRO: tuple[Kind, ...] = (
    "compute", "hbm", "fsdp", "tensor", "context", "expert", "recompute", "launch", "host",
    "imbalance", "overlap", "relayout", "capacity",
)  # fmt: skip
"""Kinds whose saving shortens each micro-batch, and with it what other stages wait for."""


_COVERING: tuple[Kind, ...] = (
    "compute", "hbm", "tensor", "expert", "recompute", "imbalance", "relayout", "capacity",
    "launch", "data", "fsdp", "context",
)  # fmt: skip
"""Kinds behind which transfers hide: without them those come into sight."""


def counterfactuals(known: Known) -> tuple[Parts, tuple[Counterfactual, ...]]:
    """Take each limit away in turn.

    Returns:
        The parts, and the counterfactuals with the largest saving first.
    """
    parts = compose(known)
    step = parts.step_s
    bubble = min(parts.seconds["bubble"], 0.95 * step)
    # Stages wait for micro-batches: what shortens those shortens the wait.
    longer = step / (step - bubble)
    found = []
    for kind in KINDS:
        saved = parts.seconds[kind]
        if kind in _COVERING:
            saved -= _uncovered_s(parts, kind, saved)
        if _is_between_launches(kind, known.job.workload.is_training):
            # While the chip waits for launches, what it does between them costs nothing.
            saved *= 1 - _launch_bound(parts) * _decoding_share(kind, known)
        saved *= longer if kind in _PER_MICRO else 1.0
        saved = float(np.clip(saved, 0.0, _MOST_SAVED * step))
        found.append(Counterfactual(kind, step - saved, saved, saved / step, parts.trust[kind]))
    return parts, tuple(sorted(found, key=lambda one: -one.saved_s))


def _decoding_share(kind: Kind, known: Known) -> float:
    """Return which share of a kind lies in passes that launches can set the pace of.

    Served prompts compute at once: only decoding can wait for launches.
    """
    if known.job.workload.is_training or kind not in ("tensor", "expert"):
        return 1.0
    whole = sum(one.exposed_s or 0.0 for one in known.model.collectives)
    told = (one for one in known.model.collectives if one.name == "decode_collectives")
    return sum(one.exposed_s or 0.0 for one in told) / whole if whole else 1.0


def _is_between_launches(kind: Kind, is_training: bool) -> bool:
    if kind in HIDEABLE or kind == "launch" or kind not in _COVERING:
        return False
    # Served prompts compute at once; it is decoding that launches set the pace of.
    return is_training or kind != "compute"


def _uncovered_s(parts: Parts, kind: Kind, saved_s: float) -> float:
    """Return what comes into sight when a kind no longer covers it: the longest axis of all."""
    return max(
        (
            max(hidden - max(parts.window_s[axis] - saved_s, 0.0), 0.0)
            for axis, hidden in parts.hidden_s.items()
            if axis != kind
        ),
        default=0.0,
    )


def _launch_bound(parts: Parts) -> float:
    """Return in which share of the step launches set the pace: in all of it, or of decoding."""
    if parts.trust["launch"] == "modelled":
        return 0.0
    share = parts.seconds["launch"] / parts.step_s
    return float(np.clip((share - _BOUND_SHARE) / _BOUND_SHARE, 0.0, 1.0))
