"""Fuzzed shapes: where ATen's float32 misses its float64, agreeing with that is told apart."""

from __future__ import annotations

from typing import Any

import torch

from models.kernels.evaluation import SuiteResult, passing_all, shares
from models.kernels.harness import reference
from models.kernels.harness.compare import compare_batch
from models.kernels.samples.streams import RawSample
from models.kernels.samples.values import pack

LARGE = torch.rand(3_000_000, generator=torch.Generator().manual_seed(0))


def produced(suite: str, monkeypatch: Any, tensor: torch.Tensor = LARGE) -> dict[str, Any]:
    """Return what is expected of the 3-norm of a tensor."""
    raw = RawSample("", "float32", "functional", (tensor, 3), {}, torch.linalg.vector_norm)
    monkeypatch.setattr(reference, "_raw_samples", lambda _: iter([("id", raw)]))
    answer, blocks = reference.produce({"op_id": "linalg.vector_norm", "suite": suite}, b"")
    (sample,) = answer["samples"]
    return {**sample, "blocks": blocks[answer["inputs_bytes"] :]}


def verdict(sample: dict[str, Any], result: torch.Tensor) -> dict[str, Any]:
    tree, block = pack(result)
    case = {key: sample[key] for key in ("expected", "wider", "wider_oracle") if key in sample}
    case |= {
        f"{name}_place": [len(block) + sample[f"{name}_place"][0], sample[f"{name}_place"][1]]
        for name in ("expected", "wider")
        if name in sample
    }
    facts = [{"bytes": 4, "stored_bytes": 4, "from": "empty"}]
    case |= {"tree": tree, "place": [0, len(block)], "tensors": facts, "aliases": [False],
             "tolerances": sample["tolerances"], "form": "functional"}  # fmt: skip
    arguments = {"cases": [case], "op_id": "linalg.vector_norm", "suite": "V3", "seed": 0}
    (found,), _ = compare_batch(arguments, block + sample["blocks"])
    return found


def test_what_is_right_in_float64_is_told_apart_and_what_is_wrong_fails(monkeypatch: Any):
    sample = produced("V3", monkeypatch)
    aten = torch.linalg.vector_norm(LARGE, 3)
    exact = torch.linalg.vector_norm(LARGE.double(), 3).float()
    assert not torch.isclose(aten, exact, rtol=1e-5)
    assert (verdict(sample, aten)["status"], verdict(sample, aten)["oracle"]) == ("passed", "aten")
    right = verdict(sample, exact)
    assert (right["status"], right["oracle"]) == ("passed", "fp64")
    assert verdict(sample, exact * 1.00001)["status"] == "wrong"


def test_there_is_no_such_witness_where_aten_agrees_with_itself_or_the_samples_are_not_ours(
    monkeypatch: Any,
):
    assert "wider" in produced("V3", monkeypatch)
    assert "wider" not in produced("V3", monkeypatch, LARGE[:5].clone())
    for suite in ("S", "V1", "V2"):
        assert "wider" not in produced(suite, monkeypatch)


def test_shares_leave_out_what_only_the_witness_says():
    def result(suite: str, by_fp64: int) -> SuiteResult:
        return SuiteResult(op_id="norm", family="norm", suite=suite, sha="x", status="kernel",
                           passed=10, passed_by_fp64=by_fp64, total=10)  # fmt: skip

    both = [result("V1", 0), result("V3", 2)]
    assert shares(both) == {"V1": (1, 1, 10, 10), "V3": (0, 1, 8, 10)}
    assert passing_all(both, ("V1", "V3")) == (0, 1)
    assert passing_all(both, ("V1", "V3"), with_fp64=True) == (1, 1)
