"""One proposer after another, and recorded candidates again."""

import json

import pytest

from models.errors import DatasetMissingError
from models.kernels import KernelCandidate, find_profile
from models.kernels.feedback import FeedbackPacket
from models.kernels.operators import find_operator
from models.kernels.prompts.render import example
from models.kernels.propose import (
    CascadeProposer,
    LanguageModelProposer,
    ModelAsker,
    NothingToProposeError,
    ReplayProposer,
    traced_candidates,
)
from models.kernels.propose.replay import ReplayError
from models.kernels.session import SessionTrace
from models.llm import ScriptedModel

PROFILE = find_profile("interpreter")
EXP, DIAG = find_operator("exp"), find_operator("diag")
FIRST = KernelCandidate.of("exp", "first", proposer="someone", policy="{}")
SECOND = KernelCandidate.of("exp", "second", parent_sha=FIRST.sha)


def failure_of(candidate: KernelCandidate) -> FeedbackPacket:
    return FeedbackPacket(kind="accuracy", machine={"sha": candidate.sha}, text="wrong by 7.0")


def test_a_cascade_asks_its_second_proposer_for_what_the_first_leaves():
    model = ScriptedModel([f"```python\n{example('exp')}\n```"])
    writer = LanguageModelProposer(ModelAsker(model), document=lambda spec: spec)
    cascade = CascadeProposer(ReplayProposer([FIRST, SECOND]), writer)
    assert cascade.name == "cascade:replay+llm:scripted:script"
    assert cascade.propose(EXP, PROFILE, None) == FIRST
    assert cascade.propose(EXP, PROFILE, failure_of(FIRST)) == SECOND
    third = cascade.propose(EXP, PROFILE, failure_of(SECOND))
    assert third.proposer == "llm:scripted:script"
    assert third.parent_sha == SECOND.sha
    told = model.requests[0].messages[-1].text
    assert "second\n```" in told, "the module that the first proposer left"
    assert "| wrong by 7.0" in told


def test_a_cascade_never_goes_back_and_ends_with_its_last_proposer():
    cascade = CascadeProposer(ReplayProposer([FIRST]), ReplayProposer([SECOND]))
    shas = [cascade.propose(EXP, PROFILE, None).sha for _ in range(2)]
    assert shas == [FIRST.sha, SECOND.sha]
    with pytest.raises(NothingToProposeError, match="all were replayed"):
        cascade.propose(EXP, PROFILE, None)
    with pytest.raises(NothingToProposeError, match="0 candidates of diag"):
        cascade.propose(DIAG, PROFILE, None)
    with pytest.raises(NothingToProposeError, match="no proposers"):
        CascadeProposer()


def test_a_trace_is_replayed_byte_for_byte(tmp_path):
    source = "def wrapper(self):\n\treturn 'ä\u202e\\r'\r\n"
    recorded = [FIRST, KernelCandidate.of("exp", source, proposer="llm:x", policy='{"a": 1}')]
    file = tmp_path / "trace.jsonl"
    with SessionTrace({"op_id": "exp"}, file) as trace:
        trace.result("propose", lambda: (recorded[0].model_dump(mode="json"), 0.1))
        trace.move("propose", "written", "lint")
        trace.result("propose", lambda: ({"full": True}, 0.0))
        trace.result("propose", lambda: (recorded[1].model_dump(mode="json"), 0.1))
        trace.result("propose", lambda: ({"nothing": "left"}, 0.0))
    with file.open("ab") as end:
        end.write(b'{"what": "result", "name": "pro')  # torn by a kill
    replay = ReplayProposer(traced_candidates([file]))
    assert replay.op_ids == ("exp",)
    assert [replay.propose(EXP, PROFILE, None) for _ in range(2)] == recorded
    with pytest.raises(NothingToProposeError, match="2 candidates of exp are recorded"):
        replay.propose(EXP, PROFILE, None)


def test_a_record_that_holds_nothing_or_is_changed_is_refused(tmp_path):
    with pytest.raises(ReplayError, match="no candidates"):
        ReplayProposer([])
    with pytest.raises(DatasetMissingError, match="no trace"):
        list(traced_candidates([tmp_path / "none.jsonl"]))
    file = tmp_path / "changed.jsonl"
    data = {**FIRST.model_dump(mode="json"), "source": "another text"}
    file.write_text(json.dumps({"what": "result", "name": "propose", "data": data}) + "\n")
    with pytest.raises(ReplayError, match=r"changed\.jsonl, line 1"):
        list(traced_candidates([file]))
