"""Collectives of a profile by what they run over, with times where the profile has none."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from models.sharding.collectives import Links, mesh_links
from models.sharding.constants import Constants
from models.sharding.diagnosis.base import Kind
from models.sharding.job import Job
from models.sharding.layout import Layout, LayoutTable
from models.sharding.profile.base import Collective, Profile, Trust

SYNC_BYTES = 1024.0
"""Collectives below this, per call, carry a number (loss, norm): what they take is waiting."""
UNLISTED = "unlisted"
"""Name of what is in sight beyond all listed collectives."""
HIDEABLE: tuple[Kind, ...] = ("data", "fsdp", "context")
"""Transfers that no product waits for by its data; those of `tensor` and `expert` it does."""
_ORDER: tuple[Kind, ...] = ("fsdp", "data", "expert", "context", "pipeline", "tensor")
"""Which axis a collective over several belongs to: weights run over fsdp with others."""


@dataclass(frozen=True)
class Transfer:
    """One collective with its times."""

    kind: Kind | None
    """Axis; None: it could not be told."""
    form: str
    """Such as "all-gather"."""
    seconds: float
    exposed_s: float
    rated_s: float
    """What the links of the layout should need for its bytes."""
    network_share: float
    """Share of `rated_s` that would go if the network were infinitely fast."""
    is_sync: bool
    """Whether it carries next to nothing, so that its time is waiting."""
    name: str
    trust: Trust
    wire_bytes: float = 0.0


def axis_of(one: Collective) -> Kind | None:
    """Return the kind that a collective over some mesh axes belongs to."""
    names = {"fsdp" if axis == "fsdp_transpose" else axis for axis in one.axes}
    return next((kind for kind in _ORDER if kind in names), None)


def transfers(
    profile: Profile, model: Profile, job: Job, layout: Layout, constants: Constants
) -> list[Transfer]:
    """Return the collectives of a step, those of the cost model where the profile has none.

    A form of an axis that is missing while another is listed (gathers without scatters) is taken
    to be as slow as that one. An axis of which nothing is listed is taken from the cost model,
    stretched so that all that is in sight adds up where the profile tells the sum.

    Args:
        profile: Cleaned.
        model: `analytic_profile` of the same job and layout.
        job: Model, workload, slice.
        layout: What the program is split by.
        constants: Of the literature or a site.
    """
    speeds = _Speeds(job, layout, constants)
    busy = profile.compute_s or model.compute_s or 0.0
    expected = [_timed(one, speeds, busy, constants, "modelled") for one in model.collectives]
    if not profile.collectives and profile.exposed_comm_s is None:
        return expected
    by_source: dict[str, Trust] = {"analytic": "modelled", "xprof": "measured"}
    told = by_source.get(profile.source, "compiled")
    told = profile.trust.get("collectives", told)
    timed = [_timed(one, speeds, busy, constants, told) for one in profile.collectives]
    partners = [_partner(one, timed) for one in expected if not _has_form(one, timed)]
    timed += [one for one in partners if one is not None]
    listed = {one.kind for one in timed if not one.is_sync}
    unlisted = [one for one in expected if one.kind not in listed]
    total = profile.exposed_comm_s
    if total is None:
        total = _unexplained(profile, model, timed)
    if total is None:
        return timed + unlisted
    left = total - sum(one.exposed_s for one in timed)
    # Op times scatter by a fifth: a small rest is no dropped op.
    if left <= 0.15 * total:
        return timed
    # What hides by the model may be what is slow: shares follow the whole times.
    whole = sum(one.seconds for one in unlisted)
    if whole > 0:
        return timed + [
            replace(one, seconds=left * one.seconds / whole, exposed_s=left * one.seconds / whole)
            for one in unlisted
        ]
    guessed = sum(one.seconds - one.exposed_s for one in timed if one.trust == "modelled")
    if guessed > 0:
        return [_shown(one, min(left / guessed, 1.0)) for one in timed]
    # Every axis is listed. What no op accounts for is waiting in the sum of the loss or of the
    # norm, where that is missing.
    is_sync = job.workload.is_training and not any(one.is_sync for one in timed)
    return [*timed, Transfer(None, "", left, left, left, 0.0, is_sync, UNLISTED, "modelled")]


def _shown(one: Transfer, share: float) -> Transfer:
    """Put a share of what was guessed to hide into sight."""
    if one.trust != "modelled":
        return one
    return replace(one, exposed_s=one.exposed_s + share * (one.seconds - one.exposed_s))


def _unexplained(profile: Profile, model: Profile, timed: Sequence[Transfer]) -> float | None:
    """Return what is left of a step for transfers, where all other parts are known."""
    step, compute, waits = profile.step_s, profile.compute_s, waiting_s(profile)
    if step is None or compute is None or waits is None:
        return None
    hbm = profile.hbm_s if profile.hbm_s is not None else model.hbm_s or 0.0
    left = step - compute - hbm - waits
    listed = sum(one.exposed_s for one in timed)
    # Busy times may be a fifth too short: less is no sign of a missing op.
    return left if left > listed + 0.2 * (compute + hbm) + 0.05 * step else None


def waiting_s(profile: Profile) -> float | None:
    """Return seconds in which nothing runs: idle and bubble, or what the duty cycle leaves."""
    if profile.idle_s is not None:
        return profile.idle_s + (profile.bubble_s or 0.0)
    if profile.duty_cycle is not None and profile.step_s is not None:
        return (1 - profile.duty_cycle) * profile.step_s
    return None


def _has_form(one: Transfer, timed: Sequence[Transfer]) -> bool:
    return any(
        other.kind == one.kind and other.form == one.form and not other.is_sync for other in timed
    )


def _partner(one: Transfer, timed: Sequence[Transfer]) -> Transfer | None:
    """Return a missing form as slow as the listed one of its axis."""
    listed = [other for other in timed if other.kind == one.kind and not other.is_sync]
    rated = sum(other.rated_s for other in listed)
    # A sum is a scatter and a gather: where it is listed nothing is missing.
    if rated <= 0 or any(other.form == "all-reduce" for other in listed):
        return None
    ratio = one.rated_s / rated
    seconds = ratio * sum(other.seconds for other in listed)
    exposed = ratio * sum(other.exposed_s for other in listed)
    return replace(one, seconds=seconds, exposed_s=exposed, trust=listed[0].trust)


def _timed(
    one: Collective, speeds: _Speeds, busy: float, constants: Constants, told: Trust
) -> Transfer:
    kind = axis_of(one)
    rated = speeds.rated_s(one, kind)
    seconds = one.seconds if one.seconds is not None else rated
    exposed = one.exposed_s
    trust = told
    if exposed is None:
        trust = told if one.seconds is None else "modelled"
        exposed = _in_sight(kind, seconds, busy, constants)
    is_sync = one.count > 0 and 0 < one.wire_bytes / one.count < SYNC_BYTES
    if is_sync and one.exposed_s is None:
        exposed = seconds
    share = speeds.network_share(kind)
    name = one.name or one.kind
    exposed = min(exposed, seconds)
    return Transfer(
        kind, one.kind, seconds, exposed, rated, share, is_sync, name, trust, one.wire_bytes
    )  # fmt: skip


def _in_sight(kind: Kind | None, seconds: float, busy: float, constants: Constants) -> float:
    if kind in HIDEABLE:
        return seconds - min(seconds * constants.overlap, busy)
    return seconds * (1 - constants.tensor_overlap if kind == "tensor" else 1.0)


class _Speeds:
    """What the links under each axis of one layout should reach."""

    def __init__(self, job: Job, layout: Layout, constants: Constants) -> None:
        links = mesh_links(LayoutTable.of([layout]), job)
        self._constants, self._job = constants, job
        self._links: dict[Kind, Links] = {
            "tensor": links.tensor, "context": links.context, "expert": links.expert,
            "fsdp": links.weights, "data": links.data,
        }  # fmt: skip
        self._stage_crosses = bool(links.stage_crosses[0])
        self._chips = job.place.chips

    def rated_s(self, one: Collective, kind: Kind | None) -> float:
        """Return seconds per step of a collective at the rate of its links."""
        if one.count <= 0:
            return 0.0
        chip, constants = self._job.place.chip, self._constants
        size = one.wire_bytes / one.count
        if kind in self._links:
            links = self._links[kind]
            volume = np.array([size * (2.0 if one.kind == "all-reduce" else 1.0)])
            if one.kind == "all-to-all":
                once = links.exchange_s(volume, constants, self._chips, chip.kind == "tpu")
            else:
                once = links.gather_s(volume, constants, self._chips)
            return float(once[0]) * one.count
        if kind == "pipeline" and self._stage_crosses:
            rate = chip.network_bytes_per_s * constants.stage_share
        else:
            rate = chip.link_bytes_per_s * constants.link_share
        return size / rate * one.count

    def network_share(self, kind: Kind | None) -> float:
        """Return which share of a transfer would go with an infinite network."""
        constants = self._constants
        if kind == "pipeline":
            return 1.0 if self._stage_crosses else 0.0
        if kind not in self._links:
            return 0.0
        links = self._links[kind]
        if not np.isfinite(links.network_bytes_per_s[0]):
            return 0.0
        link = float(links.link_bytes_per_s[0]) * constants.link_share
        reached = float(links.rate(constants, self._chips)[0])
        return 1.0 if not np.isfinite(link) else float(max(0.0, 1 - reached / link))
