"""Put a language model's layouts among the analytic ones, never to their cost."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from models.sharding.job import Job
from models.sharding.knowledge.guard import clean_text, instruction_signs
from models.sharding.layout import Layout, LayoutTable
from models.sharding.planner.base import Author, Planned
from models.sharding.planner.candidates import Candidate, Checker
from models.sharding.planner.justify import Claim, Justification, founding, justify
from models.sharding.profile.base import Evidence
from models.sharding.propose import Proposal, hedged, mesh_keys

TIE = 0.03
"""Layouts predicted within this of each other count as equally fast, as matches do."""
_LONGEST_REASON = 500
Mesh = tuple[int, ...]


@dataclass
class _Entry:
    """One mesh, who proposed it and what it should take."""

    proposal: Proposal
    author: Author
    seconds: float
    """Middle of the step, with the corrections of the site."""
    candidate: Candidate | None = None


def merge(
    analytic: Planned, candidates: Sequence[Candidate], checker: Checker, shown: Sequence[str]
) -> Planned:
    """Return the analytic answer with the layouts of a language model in it.

    Of the layouts that passed the checks, those predicted within 3 % of the first analytic one
    (or faster) may stand first, slower ones take turns with the analytic ones behind the first,
    those beyond the upper end of its interval stand behind all that are faster. The first analytic
    proposal is among the first two; where one is wanted, only a faster one takes its place.

    Args:
        analytic: Proposals of the cost model; one or more.
        candidates: Checked layouts of the language model, in its order.
        checker: Predicts them.
        shown: Ids of the texts that it was shown: others cannot be cited.
    """
    refused = {one.layout.text(): one.refusal for one in candidates if one.refusal}
    entries = {
        _mesh(one.layout, checker.job): _Entry(one, "analytic", checker.seconds(one))
        for one in analytic.proposals
    }
    own = list(entries)
    theirs = _add(candidates, checker, entries, refused)
    count = checker.context.count
    order = _order(own, theirs, entries, count)
    chosen = [entries[mesh] for mesh in order[:count]]
    first = chosen[0].proposal.step_s.middle
    for entry in (entries[mesh] for mesh in order[count:]):
        if entry.author == "language model":
            refused[entry.proposal.layout.text()] = (
                f"predicted to be slower: {entry.proposal.step_s.middle:.3g} s, "
                f"the first proposal {first:.3g} s"
            )
    if all(one.author == "analytic" for one in chosen):
        reason = "all its layouts are predicted to be slower than the analytic ones"
        reason = reason if theirs else "none of its layouts can be used"
        return replace(analytic, refused=refused, fallback_reason=reason)
    return _answer(analytic, chosen, checker, refused, shown)


def _add(
    candidates: Sequence[Candidate], checker: Checker, entries: dict[Mesh, _Entry],
    refused: dict[str, str],
) -> list[Mesh]:  # fmt: skip
    """Enter the layouts that passed, of each mesh the faster one; return their meshes."""
    theirs: list[Mesh] = []
    for candidate in candidates:
        proposal = None if candidate.refusal else checker.predict(candidate.layout)
        if proposal is None:
            continue
        mesh, seconds = _mesh(candidate.layout, checker.job), checker.seconds(proposal)
        known = entries.get(mesh)
        theirs.append(mesh)
        if known is None:
            entries[mesh] = _Entry(proposal, "language model", seconds, candidate)
            continue
        author: Author = "language model" if known.author == "language model" else "both"
        loser = candidate.layout
        if seconds < known.seconds:
            loser = known.candidate.layout if known.candidate else loser
            entries[mesh] = _Entry(proposal, author, seconds, candidate)
        else:
            voice = known.candidate or candidate
            entries[mesh] = _Entry(known.proposal, author, known.seconds, voice)
        if loser != entries[mesh].proposal.layout:
            refused[loser.text()] = "another layout on the same mesh is predicted to be faster"
    return list(dict.fromkeys(theirs))


def _order(
    own: list[Mesh], theirs: list[Mesh], entries: Mapping[Mesh, _Entry], count: int
) -> list[Mesh]:
    first = entries[own[0]]
    interval = first.proposal.step_s
    slack = 1 + TIE if count > 1 else 1.0
    near = [one for one in theirs if entries[one].seconds <= slack * first.seconds]
    beyond = first.seconds * interval.high / interval.middle
    slower = [one for one in theirs if one not in near and entries[one].seconds <= beyond]
    rest = [one for one in theirs if one not in near and one not in slower]
    mixed = hedged([*near, *slower], own) if near else hedged(own, slower)
    order = list(dict.fromkeys(mixed))
    for one in rest:
        # Behind the first, before whatever is slower.
        slower_than = [
            p for p, it in enumerate(order) if entries[it].seconds > entries[one].seconds
        ]
        place = next((p for p in slower_than if p > 0), len(order))
        order.insert(place, one)
    return list(dict.fromkeys(order))


def _answer(
    analytic: Planned, entries: Sequence[_Entry], checker: Checker, refused: Mapping[str, str],
    shown: Sequence[str],
) -> Planned:  # fmt: skip
    """Rank the chosen ones anew and say of each why it is there."""
    recalled, diagnosis = checker.context.recalled, checker.context.diagnosis
    proposals = []
    for place, entry in enumerate(entries):
        other = entries[0] if place else entries[min(1, len(entries) - 1)]
        terms, there = entry.proposal.terms_s, other.proposal.terms_s
        delta = {name: seconds - there[name] for name, seconds in terms.items()}
        proposals.append(replace(entry.proposal, rank=place + 1, delta_s=delta))
    said: Mapping[str, Evidence] = getattr(diagnosis, "evidence", {})
    reasons = tuple(
        _with_voice(reason, entry, said, shown)
        for reason, entry in zip(justify(proposals, checker.job, recalled), entries, strict=True)
    )
    spoken = tuple(
        replace(one, justification=reason.sentences)
        for one, reason in zip(proposals, reasons, strict=True)
    )
    plan = replace(analytic.plan, proposals=spoken)
    authors = tuple(one.author for one in entries)
    return replace(
        analytic, plan=plan, justifications=reasons, authors=authors, refused=dict(refused)
    )


def _with_voice(
    reason: Justification, entry: _Entry, said: Mapping[str, Evidence], shown: Sequence[str]
) -> Justification:
    """Add what the language model says, if its numbers are founded and its texts were shown."""
    candidate = entry.candidate
    if candidate is None:
        return reason
    words = clean_text(candidate.reason, _LONGEST_REASON)
    evidence = {**said, **reason.evidence}
    ids, missing = founding(words, evidence)
    sources = tuple(one for one in candidate.sources if one in shown)
    if missing:
        claim = Claim("the language model's reason is left out: it states numbers without evidence")
    elif not words or instruction_signs(words):
        claim = Claim("the language model's reason is left out: it gives none")
    else:
        claim = Claim(f"the language model: {words}", ids, sources)
    used = {one: evidence[one] for one in ids}
    return replace(reason, claims=(*reason.claims, claim), evidence={**reason.evidence, **used})


def _mesh(layout: Layout, job: Job) -> Mesh:
    return tuple(int(size) for size in mesh_keys(LayoutTable.of([layout]), job)[0])
