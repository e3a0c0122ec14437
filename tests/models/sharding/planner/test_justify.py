"""Every claim rests on numbers and texts that exist."""

from __future__ import annotations

import re

import pytest

from models.sharding import Job, Slice, Workload, find_model
from models.sharding.diagnosis.base import unresolved_numbers
from models.sharding.knowledge import cases_of, leave_group_out, read_documents, recall
from models.sharding.planner import AnalyticProposer, PlanContext
from models.sharding.planner.justify import evidence_of, founding
from models.sharding.profile.base import Evidence
from models.sharding.published import read_published

JOBS = {
    "dense on a torus": ("llama3.1-70b", Workload(seq_len=8192, global_batch=1280), "v6e:16x16"),
    "experts on a torus": ("mixtral-8x22b", Workload(global_batch=1024), "v5p:4x4x8"),
    "stages on GPUs": ("llama3.1-405b", Workload(seq_len=8192, global_batch=256), "h100:256"),
    "serving": ("llama3.1-70b", Workload(stage="serve", global_batch=32), "h100:8"),
}


@pytest.mark.parametrize("name", JOBS)
def test_every_number_resolves_and_every_text_was_recalled(name: str):
    model, work, place = JOBS[name]
    job = Job(find_model(model), work, Slice.parse(place))
    rows = read_published().rows
    known = leave_group_out(job, read_documents(), cases_of(rows), rows)
    recalled = recall(job, known, ["bound by fsdp, tensor, bubble and memory"])
    planned = AnalyticProposer().propose(job, PlanContext(recalled=recalled))
    assert planned.proposals
    ids = {one.id for one in recalled.items}
    cited = set()
    for proposal, reason in zip(planned.proposals, planned.justifications, strict=True):
        assert proposal.justification == reason.sentences
        assert len(reason.claims) >= 2
        for claim in reason.claims:
            assert unresolved_numbers(claim.text, reason.evidence) == []
            assert set(claim.knowledge) <= ids
            named = set(re.findall(r"\[([^\]]+)\]", claim.text))
            assert named == {*claim.evidence, *claim.knowledge}
            cited |= set(claim.knowledge)
        values = {id: one.value for id, one in reason.evidence.items()}
        largest = max(proposal.terms_s, key=lambda term: proposal.terms_s[term])
        assert f"share.{largest}" in reason.claims[0].evidence
        assert values["step"] == pytest.approx(sum(proposal.terms_s.values()))
        share = proposal.terms_s[largest] / values["step"]
        assert values[f"share.{largest}"] == pytest.approx(share)
        assert f"{100 * share:.1f} %" in reason.claims[0].text
    assert cited


def test_differences_are_told_against_the_first_proposal(job: Job):
    planned = AnalyticProposer().propose(job, PlanContext())
    first, second = planned.proposals[:2]
    reason = planned.justifications[1]
    told = next(one for one in reason.claims if "against the first proposal" in one.text)
    name = max(second.terms_s, key=lambda term: abs(second.terms_s[term] - first.terms_s[term]))
    assert told.evidence[0] == f"delta.{name}"
    difference = second.terms_s[name] - first.terms_s[name]
    assert reason.evidence[f"delta.{name}"].value == pytest.approx(difference)


def test_without_knowledge_claims_rest_on_numbers_alone(job: Job):
    planned = AnalyticProposer().propose(job, PlanContext())
    claims = [claim for reason in planned.justifications for claim in reason.claims]
    assert all(claim.evidence and not claim.knowledge for claim in claims)


def test_cases_on_the_same_mesh_are_cited(job: Job):
    rows = [row for row in read_published().rows if row.group == ("gemma", "v6e")]
    recalled = recall(job, leave_group_out(job, cases=cases_of(rows)))
    planned = AnalyticProposer().propose(job, PlanContext(recalled=recalled))
    pure = {row.id for row in rows if row.is_trivial}
    assert pure
    assert set(planned.justifications[0].claims[-1].knowledge) == pure


NUMBERS = {
    "step": Evidence("step", 1.6901, "s", "model", "modelled"),
    "share.tensor": Evidence("share.tensor", 0.2149, "share", "model", "modelled"),
    "memory": Evidence("memory", 29.84e9, "bytes", "model", "modelled"),
    "layout.tensor": Evidence("layout.tensor", 4.0, "1", "layout", "modelled"),
    "job.seq_len": Evidence("job.seq_len", 8192.0, "1", "job", "modelled"),
}


@pytest.mark.parametrize(
    ("text", "ids", "missing"),
    [
        ("a step of 1.69 s", ("step",), []),
        ("1690 ms, or 1.7 s", ("step",), []),
        ("a step of 1.70 s", (), ["1.70 s"]),
        ("21.5% are tensor, 21 % they say", ("share.tensor",), []),
        ("22 % tensor", (), ["22 %"]),
        ("29.8 GB of memory", ("memory",), []),
        ("27.8 GiB of memory", ("memory",), []),
        ("tensor=4 over 8,192 tokens on v6e at P90", ("layout.tensor", "job.seq_len"), []),
        ("tensor=8 saves 4 %", (), ["8", "4 %"]),
        ("no number at all", (), []),
        ("about 3x faster, -12.5", (), ["3", "-12.5"]),
    ],
)
def test_prose_is_founded_where_its_numbers_round_to_evidence(
    text: str, ids: tuple[str, ...], missing: list[str]
):
    assert founding(text, NUMBERS) == (ids, missing)


def test_evidence_names_its_source(job: Job):
    proposal = AnalyticProposer().propose(job, PlanContext()).proposals[0]
    evidence = evidence_of(proposal, job)
    assert all(key == one.id and one.source for key, one in evidence.items())
    assert evidence["memory.capacity"].value == job.place.chip.hbm_bytes
    assert evidence["layout.fsdp"].value == 16
    assert evidence["job.chips"].value == 16
