"""Name the limits of a step by what taking each away would save."""

from __future__ import annotations

from collections.abc import Sequence

from models.sharding.constants import DEFAULT, Constants
from models.sharding.diagnosis.base import (
    LIMITS,
    Bottleneck,
    Counterfactual,
    Diagnosis,
    Kind,
    claim,
    name_kinds,
)
from models.sharding.diagnosis.checks import check, clean
from models.sharding.diagnosis.confidence import FITTED, Calibration, confidence
from models.sharding.diagnosis.counterfactual import counterfactuals
from models.sharding.diagnosis.ledger import Known
from models.sharding.diagnosis.moves import moves
from models.sharding.diagnosis.parts import Parts
from models.sharding.job import Job
from models.sharding.layout import Layout
from models.sharding.profile.analytic import analytic_profile
from models.sharding.profile.base import Evidence, Profile, Trust

_WORDS: dict[Kind, str] = {
    "compute": "products that the model needs",
    "hbm": "waiting for memory",
    "data": "gradients summed over data",
    "fsdp": "weights gathered and gradients scattered over fsdp",
    "tensor": "activations gathered and scattered over tensor",
    "context": "keys and values passed over context",
    "expert": "tokens sent over expert",
    "pipeline": "transfers between pipeline stages",
    "network": "what leaves the pod or NVLink domain over the network",
    "bubble": "stages that wait for others",
    "recompute": "products repeated though what they repeat would fit in memory",
    "launch": "launches that the chip waits for",
    "input": "input that the chip waits for",
    "host": "activations going to the host and back",
    "imbalance": "the busiest expert",
    "overlap": "transfers in sight that could hide behind products",
    "relayout": "data laid out anew",
    "straggler": "waiting for the slowest chip",
    "capacity": "products repeated because memory is short",
}


def diagnose(
    profile: Profile,
    job: Job,
    layout: Layout,
    constants: Constants = DEFAULT,
    calibration: Calibration = FITTED,
) -> Diagnosis:
    """Say what holds a step up.

    Args:
        profile: Of any source; what it lacks is filled by the cost model and marked as such.
        job: Model, workload, slice that the profile is of.
        layout: What was run or compiled; a legal one.
        constants: Of the literature, or fitted on runs of the site.
        calibration: What turns margins into chances.

    Raises:
        ConfigError: The axes of the layout do not multiply to the chips of the slice.
    """
    cleaned, garbage = clean(profile)
    model = analytic_profile(job, layout, constants)
    parts, ranked = counterfactuals(Known(cleaned, model, job, layout, constants))
    evidence = _evidence(cleaned, model, parts, ranked)
    by_kind = {one.kind: one for one in ranked}
    named = name_kinds({one.kind: one.share for one in ranked})
    bottlenecks = tuple(
        Bottleneck(
            kind, by_kind[kind].share, confidence(kind, ranked, calibration),
            _cited(kind, evidence), moves(kind, job, layout),
        )
        for kind in named
    )  # fmt: skip
    limit = max((one for one in ranked if one.kind in LIMITS), key=lambda one: one.saved_s).kind
    said = (*profile.warnings, *model.warnings, *garbage, *check(cleaned, model, job, layout))
    sentences = _sentences(limit, bottlenecks, evidence)
    return Diagnosis(limit, bottlenecks, ranked, evidence, said, sentences)


def _evidence(
    profile: Profile, model: Profile, parts: Parts, ranked: Sequence[Counterfactual]
) -> dict[str, Evidence]:
    found: list[Evidence] = []

    def add(name: str, value: float | None, unit: str, source: str, trust: Trust) -> None:
        if value is not None:
            found.append(Evidence(name, value, unit, source, trust))

    source = f"profile ({profile.source})"
    told = profile.trust
    add("step", parts.step_s, "s", source, parts.step_trust)
    add("step.model", model.step_s, "s", "cost model", "modelled")
    for one in ranked:
        origin = "cost model" if one.trust == "modelled" else source
        add(f"saved.{one.kind}", one.saved_s, "s", f"counterfactual over {origin}", one.trust)
        add(f"share.{one.kind}", one.share, "share", f"counterfactual over {origin}", one.trust)
    for name, field, unit in (
        ("memory.peak", "peak_hbm_bytes", "bytes"),
        ("duty", "duty_cycle", "share"),
        ("flops", "flops", "FLOP"),
        ("comm.exposed", "exposed_comm_s", "s"),
    ):
        add(name, getattr(profile, field), unit, source, told.get(field, "measured"))
    # How fast each axis is against its links: what tells a slow link from too many bytes.
    for kind in dict.fromkeys(one.kind for one in parts.transfers if one.kind is not None):
        mine = [one for one in parts.transfers if one.kind == kind and not one.is_sync]
        taken, rated = sum(one.seconds for one in mine), sum(one.rated_s for one in mine)
        if taken > 0 and mine[0].trust == "measured":
            add(f"comm.{kind}", taken, "s", source, "measured")
            add(f"rated.{kind}", rated, "s", "links of the slice", "modelled")
    return {one.id: one for one in found}


def _cited(kind: Kind, evidence: dict[str, Evidence]) -> tuple[str, ...]:
    names = ("step", f"share.{kind}", f"saved.{kind}", f"comm.{kind}", f"rated.{kind}")
    more: dict[Kind, tuple[str, ...]] = {
        "capacity": ("memory.peak",),
        "recompute": ("flops", "memory.peak"),
        "input": ("duty",),
        "launch": ("duty",),
        "compute": ("duty", "comm.exposed"),
    }
    return tuple(name for name in (*names, *more.get(kind, ())) if name in evidence)


def _sentences(
    limit: Kind, bottlenecks: Sequence[Bottleneck], evidence: dict[str, Evidence]
) -> tuple[str, ...]:
    said = [
        f"Of a step of {claim(evidence['step'])}, {claim(evidence[f'share.{limit}'])} would go "
        f"without {_WORDS[limit]}: it is bound by {limit}."
    ]
    for one in bottlenecks:
        if one.kind == "compute":
            said.append("Nothing else clearly costs a tenth of the step: products set its pace.")
        else:
            said.append(
                f"Without {_WORDS[one.kind]} the step would be {claim(evidence[_saved(one)])} "
                f"shorter, {claim(evidence[f'share.{one.kind}'])} of it."
            )
        taken, rated = evidence.get(f"comm.{one.kind}"), evidence.get(f"rated.{one.kind}")
        if taken and rated and taken.value > 2 * rated.value:
            said.append(
                f"Transfers over {one.kind} take {claim(taken)} where the links should need "
                f"{claim(rated)}: a link is slow, or chips wait for each other there."
            )
        if one.moves:
            said.append(f"Against {one.kind}: {'; '.join(one.moves)}.")
    return tuple(said)


def _saved(one: Bottleneck) -> str:
    return f"saved.{one.kind}"
