"""The synthesizer as a proposer: first candidates, and repairs by policy."""

import json
from dataclasses import dataclass, field
from typing import Any

import pytest
import torch

from models.kernels.operators import OperatorSpec
from models.kernels.profiles import find_profile
from models.kernels.propose import Proposer, SynthesizerProposer, repaired
from models.kernels.propose.synthesizer import NothingToProposeError, first_schedule
from models.kernels.synth.calls import Call
from models.kernels.synth.schedule import Schedule


@dataclass(frozen=True)
class Failure:
    """A packet as the loop gives it."""

    kind: str
    machine: dict[str, Any] = field(default_factory=dict)


SUM = OperatorSpec(
    op_id="sum",
    opinfo_name="sum",
    variants=("",),
    overloads=(),
    schema_text="sum(Tensor self, int[1]? dim=None) -> Tensor",
    family="reduction",
    dtypes=("float16",),
    tests_per_dtype={"float16": 1},
)
CALLS = [Call(torch.sum, (torch.ones(3, 5, dtype=torch.float16), 1), {})]
SM90, INTERPRETER = find_profile("sm90"), find_profile("interpreter")


def proposer() -> SynthesizerProposer:
    return SynthesizerProposer(lambda spec: CALLS)


def test_the_first_candidate_follows_the_block_policy_of_the_device():
    one: Proposer = proposer()
    candidate = one.propose(SUM, SM90, None)
    assert (candidate.op_id, candidate.proposer, candidate.parent_sha) == (
        "sum",
        "synthesizer",
        None,
    )
    assert (
        "return min(1024, triton.next_power_of_2(max(count, 1)))" in candidate.source
        or "max(1024 // width, 1)" in candidate.source
    )
    assert json.loads(candidate.policy)["rules"] == ["pointwise", "reduction"]


def test_equal_questions_get_equal_candidates():
    assert proposer().propose(SUM, SM90, None).sha == proposer().propose(SUM, SM90, None).sha


def test_a_failed_accuracy_test_is_answered_by_torchs_rounding():
    writer = proposer()
    first = writer.propose(SUM, SM90, None)
    second = writer.propose(SUM, SM90, Failure("accuracy", {"sha": first.sha}))
    assert second.parent_sha == first.sha
    assert json.loads(second.policy)["round_between"] is True
    with pytest.raises(NothingToProposeError, match="no repair of sum is left for accuracy"):
        writer.propose(SUM, SM90, Failure("accuracy", {"sha": second.sha}))


def test_another_proposer_goes_on_from_the_policy_that_a_packet_carries():
    first = proposer().propose(SUM, SM90, None)
    one = Failure("resource", {"sha": first.sha, "policy": first.policy})
    second = proposer().propose(SUM, SM90, one)
    again = Failure("accuracy", {"sha": second.sha, "policy": second.policy})
    third = json.loads(proposer().propose(SUM, SM90, again).policy)
    assert third["round_between"] is True
    assert third["block"] == json.loads(second.policy)["block"] < json.loads(first.policy)["block"]


def test_sums_are_as_wide_as_the_device_can_count():
    wide = proposer().propose(SUM, SM90, None).source
    assert "tl.full((ROWS, COLS), 0, dtype=tl.float64)" in wide
    assert "float64" not in proposer().propose(SUM, find_profile("padded32"), None).source


def test_too_many_resources_halve_the_block_and_time_outs_enlarge_it():
    start = first_schedule(SM90)
    assert start.block == 1024
    smaller = repaired(start, Failure("compile", {"error_class": "resource"}), SM90)
    assert smaller is not None
    assert smaller.block == 512
    assert repaired(Schedule(block=64), Failure("resource"), SM90) is None
    larger = repaired(first_schedule(INTERPRETER), Failure("timeout"), INTERPRETER)
    assert larger is not None
    assert larger.block == 1_048_576
    assert repaired(larger, Failure("timeout"), INTERPRETER) is None


def test_a_module_that_serves_too_much_for_the_linter_is_answered_by_a_narrower_one():
    packet = Failure("lint", {"violations": [{"rule": "RES002", "message": "too long"}]})
    narrow = repaired(Schedule(), packet, INTERPRETER)
    assert narrow == Schedule(is_broad=False)
    assert repaired(narrow, packet, INTERPRETER) is None
    other = Failure("lint", {"violations": [{"rule": "CHT003", "message": "a + b"}]})
    assert repaired(Schedule(), other, INTERPRETER) is None
    lines = [
        SynthesizerProposer(lambda _: CALLS).propose(SUM, INTERPRETER, one).source.count("\n")
        for one in (None, packet)
    ]
    assert lines[1] < lines[0]


def test_a_wrong_address_has_no_repair_in_the_schedule():
    assert repaired(Schedule(), Failure("crash"), SM90) is None


def test_an_operator_that_cannot_be_traced_has_nothing_to_propose():
    def untraceable(self):
        raise NotImplementedError("no meta function")

    calls = [Call(untraceable, (torch.ones(3, 3),), {})]
    spec = SUM.model_copy(update={"op_id": "odd", "schema_text": "odd(Tensor self) -> Tensor"})
    with pytest.raises(
        NothingToProposeError,
        match="no rule serves odd: no program could be written: NotImplementedError",
    ):
        SynthesizerProposer(lambda _: calls).propose(spec, SM90, None)


def test_an_operator_that_was_spelled_out_by_hand_says_so():
    kron = SUM.model_copy(
        update={"op_id": "kron", "schema_text": "kron(Tensor self, Tensor other) -> Tensor"}
    )
    calls = [Call(torch.kron, (torch.ones(2, 3), torch.ones(3, 2)), {})]
    written = SynthesizerProposer(lambda spec: calls).propose(kron, INTERPRETER, None)
    assert json.loads(written.policy)["hand_written"]
    assert not json.loads(proposer().propose(SUM, SM90, None).policy)["hand_written"]
