"""A frozen module on suites that nobody saw: an operator without a reference fails alone."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from models.kernels.candidate import KernelCandidate
from models.kernels.config import EvaluationConfig
from models.kernels.evaluation import Judged, evaluate_operator, passing_all, shares
from models.kernels.execute import ForkFailedError, Zygote
from models.kernels.harness import Harness
from models.kernels.samples.shapes import reads_unchecked
from models.settings import ROOT

PLAYED = ROOT / "datasets" / "together" / "played" / "kernel.jsonl"


def relu() -> Judged:
    wrong, right = (json.loads(line)["text"] for line in PLAYED.read_text().splitlines())
    assert wrong != right
    source = right.removeprefix("```python\n").removesuffix("```")
    return Judged(KernelCandidate.of("nn.functional.relu", source), "interpreter")


def test_where_the_reference_ends_its_process_the_suite_fails_and_the_next_one_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    prepare = Harness.prepare

    def dies(self: Harness, op_id: str, suite: Any, **given: Any) -> Any:
        if suite == "V1":
            raise ForkFailedError("produce ended without an answer")
        return prepare(self, op_id, suite, **given)

    monkeypatch.setattr(Harness, "prepare", dies)
    config = EvaluationConfig(suites=("V1", "V2"), most_per_type=2, seed=3)
    first, second = evaluate_operator(relu(), config, tmp_path / "ledger.sqlite", "run")
    assert (first.suite, first.status, first.total) == ("V1", "failed", 0)
    assert first.reason == "no reference: produce ended without an answer"
    assert (second.suite, second.status) == ("V2", "kernel")
    assert second.passed == second.total > 0
    assert shares([first, second])["V1"] == (0, 1, 0, 0)
    assert passing_all([first, second], ("V1", "V2")) == (0, 1)


def test_a_function_that_dies_in_its_fork_is_told_from_a_parent_that_is_gone():
    with Zygote() as zygote:
        with pytest.raises(ForkFailedError, match="reference:produce"):
            zygote.call(
                "models.kernels.harness.reference:produce",
                {"op_id": "no.such.operator", "suite": "S", "dtypes": ["float32"], "seed": 1},
            )
        # It lives on.
        answer, _ = zygote.call(
            "models.kernels.harness.reference:produce",
            {"op_id": "neg", "suite": "S", "dtypes": ["float32"], "seed": 1, "most_per_dtype": 1},
        )
        assert len(answer["samples"]) == 1


def test_no_drawn_shape_lets_aten_read_beside_memory():
    floats, places = torch.ones(5, 5), torch.tensor([1, 4, 2])
    assert reads_unchecked((floats, places), {"offsets": torch.empty(0, dtype=torch.int64)})
    assert reads_unchecked(
        (floats, places), {"offsets": torch.tensor([0]), "include_last_offset": True}
    )
    assert not reads_unchecked((floats, places), {"offsets": torch.tensor([0])})
    assert not reads_unchecked((floats, 0, places), {})
    with Zygote() as zygote:
        asked = {"op_id": "nn.functional.embedding_bag", "suite": "V3", "dtypes": ["bfloat16"]}
        answer, _ = zygote.call("models.kernels.harness.reference:produce", asked | {"seed": 11})
    assert len(answer["samples"]) > 500
