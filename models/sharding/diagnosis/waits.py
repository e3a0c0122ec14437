"""Transfers by kind: in sight, over the network, for want of overlap, waiting for a straggler."""

from __future__ import annotations

from collections.abc import Sequence

from models.sharding.diagnosis.ledger import Ledger
from models.sharding.diagnosis.transfers import HIDEABLE, Transfer
from models.sharding.profile.base import Trust

_WAIT_SHARE = 0.02
"""Share of the step from which the wait in collectives that carry a number tells a straggler."""
_SYNC_SHARE = 0.45
"""Share of the wait for the slowest chip that ends in those: an assumption."""
_SLOW = 1.5
"""Seconds over rated ones from which a collective may contain waiting."""


def add_transfers(
    ledger: Ledger, moved: Sequence[Transfer], compute: float, step: float, is_training: bool
) -> None:
    """Sum what is in sight by axis, over the network, for want of overlap, for a straggler."""
    excess = {
        place: min(max(one.seconds - one.rated_s / 0.8, 0.0), one.exposed_s)
        for place, one in enumerate(moved)
        if not one.is_sync and one.kind is not None and one.seconds > _SLOW * one.rated_s
    }
    most = _most_waiting_s(moved, compute, step, is_training)
    waiting = min(most / max(sum(excess.values()), 1e-12), 1.0)
    long = in_sight = 0.0
    hideable: Trust | None = None
    for place, one in enumerate(moved):
        if one.is_sync:
            ledger.add("straggler", one.exposed_s, one.trust)
            continue
        # A straggler lengthens collectives whatever their size: what exceeds the rate.
        waited = waiting * excess.get(place, 0.0)
        if waited:
            ledger.add("straggler", waited, one.trust)
        exposed = one.exposed_s - waited
        if one.kind is not None:
            ledger.add(one.kind, exposed, one.trust)
        if one.network_share:
            # Over links alone it would take what they are rated for.
            over_links = one.rated_s * (1 - one.network_share)
            ledger.add("network", min(exposed, max(one.seconds - over_links, 0.0)), one.trust)
        if one.kind in HIDEABLE:
            # Waiting hides behind nothing.
            long, in_sight = long + one.seconds - waited, in_sight + exposed
            hideable = hideable or one.trust
    ledger.put("overlap", max(in_sight - max(long - compute, 0.0), 0.0), hideable)


def _most_waiting_s(
    moved: Sequence[Transfer], compute: float, step: float, is_training: bool
) -> float:
    """Return how much of the collectives can be waiting for the slowest chip."""
    synced = sum(one.exposed_s for one in moved if one.is_sync)
    if any(one.is_sync for one in moved) or not is_training:
        return min(compute, synced * (1 / _SYNC_SHARE - 1)) if synced > _WAIT_SHARE * step else 0.0
    # Without the sum that shows it, a straggler is what lengthens several axes at once.
    axes = {one.kind for one in moved if one.trust == "measured"}
    slow = {one.kind for one in moved if one.seconds > 2 * one.rated_s} & axes
    return compute if len(slow) > 1 and 2 * len(slow) >= len(axes) else 0.0
