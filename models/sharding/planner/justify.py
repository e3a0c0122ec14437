"""Why a layout is proposed: claims, each resting on numbers and on what is known."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from models.sharding.diagnosis.base import claim
from models.sharding.job import Job
from models.sharding.knowledge.cases import Case
from models.sharding.knowledge.recall import Recalled
from models.sharding.layout import AXES, LayoutTable
from models.sharding.profile.base import Evidence
from models.sharding.propose import Proposal, mesh_keys

_LARGEST = 2
"""Terms, and differences of terms, that are put into words."""
_WORTH_TELLING = 0.01
"""Share of a step below which nobody asks why the faster layout is not first."""
_VISIBLE = 1e-3
"""Share of a step below which a difference is not worth a word."""
_NUMBER = re.compile(
    r"(?<![\w.])([+-]?\d[\d,]*(?:\.\d+)?(?:e[+-]?\d+)?)(?!\d)\s*(%|ms\b|s\b|GB\b|GiB\b)?",
    re.IGNORECASE,
)
_TOPIC_OF = {
    "prefill": "serving", "prefill_collectives": "tensor", "decode_memory": "serving",
    "decode_collectives": "tensor",
}  # fmt: skip
"""Topics of terms that are called otherwise."""
_SCALES = {"%": 0.01, "ms": 1e-3, "s": 1.0, "gb": 1e9, "gib": 1024.0**3}
_UNITS = {"%": ("share",), "ms": ("s",), "s": ("s",), "gb": ("bytes",), "gib": ("bytes",)}
"""Units of evidence that a written unit can mean."""


@dataclass(frozen=True)
class Claim:
    """One sentence and what it rests on."""

    text: str
    """Each number is followed by the id of its evidence in brackets."""
    evidence: tuple[str, ...] = ()
    """Ids of numbers, keys of the justification's `evidence`."""
    knowledge: tuple[str, ...] = ()
    """Ids of documents and cases."""


@dataclass(frozen=True)
class Justification:
    """Why one proposal stands where it stands."""

    rank: int
    claims: tuple[Claim, ...]
    evidence: Mapping[str, Evidence]
    """Numbers by id: those of this proposal and of the one that it is compared with."""

    @property
    def sentences(self) -> tuple[str, ...]:
        """The claims in words."""
        return tuple(one.text for one in self.claims)


def evidence_of(proposal: Proposal, job: Job) -> dict[str, Evidence]:
    """Return the numbers of a proposal by id.

    `step`, `step.low`, `step.high`, `term.NAME`, `share.NAME`, `delta.NAME`, `memory`,
    `memory.high`, `memory.capacity`, `memory.share`, `layout.AXIS` and `job.COUNT`.
    """
    total = proposal.step_s.middle
    capacity = job.place.chip.hbm_bytes
    step, memory = proposal.step_s, proposal.memory_bytes
    rows: list[tuple[str, float, str, str]] = [
        ("step", step.middle, "s", "cost model, middle of the step"),
        ("step.low", step.low, "s", "cost model, 10 % quantile of the step"),
        ("step.high", step.high, "s", "cost model, 90 % quantile of the step"),
        ("memory", memory.middle, "bytes", "memory model, middle of bytes per chip"),
        ("memory.high", memory.high, "bytes", "memory model, 90 % quantile of bytes per chip"),
        ("memory.capacity", capacity, "bytes", f"table of chips, {job.place.chip.name}"),
        ("memory.share", memory.high / capacity, "share", "memory.high over memory.capacity"),
    ]
    for name, seconds in proposal.terms_s.items():
        rows.append((f"term.{name}", seconds, "s", f"cost model, term {name}"))
        rows.append((f"share.{name}", seconds / total, "share", f"term.{name} over step"))
    for name, seconds in proposal.delta_s.items():
        other = "the first proposal" if proposal.rank > 1 else "the next mesh"
        rows.append((f"delta.{name}", seconds, "s", f"term.{name} less that of {other}"))
    for axis in (*AXES, "interleave", "micro_batch"):
        size = float(getattr(proposal.layout, axis))
        rows.append((f"layout.{axis}", size, "1", "the layout"))
    for name, count in _counts(job).items():
        rows.append((f"job.{name}", float(count), "1", "the job"))
    return {id: Evidence(id, value, unit, of, "modelled") for id, value, unit, of in rows}


def _counts(job: Job) -> dict[str, int]:
    model, work = job.model, job.workload
    return {
        "chips": job.place.chips, "layers": model.layers, "heads": model.heads,
        "kv_heads": model.kv_heads, "experts": model.experts, "hidden": model.hidden,
        "ffn": model.ffn, "vocab": model.vocab, "seq_len": work.seq_len,
        "global_batch": work.global_batch,
    }  # fmt: skip


def justify(
    proposals: Sequence[Proposal], job: Job, recalled: Recalled | None = None
) -> tuple[Justification, ...]:
    """Put into words why each proposal stands where it stands.

    Args:
        proposals: Of one plan, in their order.
        job: What they answer.
        recalled: Documents that explain a term and cases that took the same mesh are cited.
    """
    fastest = min((one.step_s.middle for one in proposals), default=0.0)
    return tuple(_justify(one, job, recalled, fastest) for one in proposals)


def _justify(
    proposal: Proposal, job: Job, recalled: Recalled | None, fastest: float
) -> Justification:
    evidence = evidence_of(proposal, job)
    claims = [
        *_on_habit(proposal, evidence, fastest),
        _on_step(proposal, evidence, recalled),
        *_on_difference(proposal, evidence, recalled),
        _on_memory(evidence, recalled),
    ]
    cases = same_mesh(proposal, job, recalled)
    if cases:
        named = ", ".join(f"[{one}]" for one in cases)
        claims.append(
            Claim(f"like jobs were run with the same split of the model: {named}", (), cases)
        )
    return Justification(proposal.rank, tuple(claims), evidence)


def _on_habit(proposal: Proposal, evidence: dict[str, Evidence], fastest: float) -> list[Claim]:
    """Say that the first is first by what experts usually do, where another is faster."""
    behind = 1 - fastest / proposal.step_s.middle
    if proposal.rank > 1 or behind < _WORTH_TELLING:
        return []
    evidence["behind"] = Evidence(
        "behind", behind, "share", "step less that of the fastest proposal, over step", "modelled"
    )
    text = (
        "published runs like this one are split so most often; another proposal is predicted to "
        f"take {claim(evidence['behind'])} less"
    )
    return [Claim(text, ("behind",))]


def _on_step(
    proposal: Proposal, evidence: Mapping[str, Evidence], recalled: Recalled | None
) -> Claim:
    largest = sorted(proposal.terms_s, key=lambda name: -proposal.terms_s[name])[:_LARGEST]
    largest = [name for name in largest if proposal.terms_s[name] > 0]
    ids = ["step", *(f"share.{name}" for name in largest)]
    shares = " and ".join(f"{claim(evidence[f'share.{name}'])} {name}" for name in largest)
    text = f"a step takes {claim(evidence['step'])}, of it {shares}"
    return _cited(text, ids, largest, recalled)


def _on_difference(
    proposal: Proposal, evidence: Mapping[str, Evidence], recalled: Recalled | None
) -> list[Claim]:
    other = "the first proposal" if proposal.rank > 1 else "the next mesh"
    least = _VISIBLE * proposal.step_s.middle
    moves = sorted(proposal.delta_s.items(), key=lambda move: -abs(move[1]))[:_LARGEST]
    names = [name for name, seconds in moves if abs(seconds) > least]
    if not names:
        return []
    said = ", ".join(f"{name} {claim(evidence[f'delta.{name}'])}" for name in names)
    ids = [f"delta.{name}" for name in names]
    return [_cited(f"against {other}: {said}", ids, names, recalled)]


def _on_memory(evidence: Mapping[str, Evidence], recalled: Recalled | None) -> Claim:
    ids = ["memory.high", "memory.share", "memory.capacity"]
    high, share, capacity = (claim(evidence[one]) for one in ids)
    text = f"memory comes to {high} in a bad case, {share} of the {capacity} of a chip"
    return _cited(text, ids, ["memory"], recalled)


def _cited(
    text: str, evidence: Sequence[str], topics: Sequence[str], recalled: Recalled | None
) -> Claim:
    """Return a claim with the best documents that explain its topics."""
    found = [recalled.on(_TOPIC_OF.get(name, name)) for name in topics] if recalled else []
    ids = tuple(dict.fromkeys(one.id for one in found if one))
    if ids:
        text += f" (see {', '.join(f'[{one}]' for one in ids)})"
    return Claim(text, tuple(evidence), ids)


def same_mesh(proposal: Proposal, job: Job, recalled: Recalled | None) -> tuple[str, ...]:
    """Return the recalled cases that ran with equal tensor, context, expert and pipeline sizes."""
    here = LayoutTable.of([proposal.layout])
    found = []
    for one in recalled.cases.items if recalled else ():
        if isinstance(one, Case) and one.outcome == "ran":
            there = mesh_keys(LayoutTable.of([one.layout]), one.job)
            if (there[0, 1:] == mesh_keys(here, job)[0, 1:]).all():
                found.append(one.id)
    return tuple(found)


def founding(text: str, evidence: Mapping[str, Evidence]) -> tuple[tuple[str, ...], list[str]]:
    """Return the evidence that carries the numbers of somebody's prose, and numbers without any.

    A number is carried by a value that, in the unit written after it, rounds to it at the digits
    that are written; a number without a unit is a size or a count. Names such as v6e or P90 hold
    none.
    """
    ids: dict[str, None] = {}
    missing = []
    for found in _NUMBER.finditer(text):
        written = found[1].replace(",", "")
        unit = (found[2] or "").lower()
        carriers = [id for id, one in evidence.items() if _carries(one, written, unit)]
        ids |= dict.fromkeys(carriers[:1])
        missing += [] if carriers else [found[0].strip()]
    return tuple(ids), missing


def _carries(one: Evidence, written: str, unit: str) -> bool:
    if one.unit not in _UNITS.get(unit, ("1", "")):
        return False
    value = abs(one.value) / _SCALES.get(unit, 1.0)
    return abs(value - abs(float(written))) <= _last_place(written) / 2 * (1 + 1e-9)


def _last_place(written: str) -> float:
    """Return the worth of the last digit of a number as it is written."""
    mantissa, _, power = written.lower().partition("e")
    decimals = len(mantissa.partition(".")[2])
    return float(10.0 ** (int(power or 0) - decimals))
