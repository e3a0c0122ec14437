"""Results that are right up to a sign or a phase: OpInfo's own post-processing. Needs torch."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import Any

from models.kernels.operators.opinfo import entries_of, opinfo_samples


def post_processing(op_id: str, case: dict[str, Any], seed: int) -> Callable[[Any], Any]:
    """Return what OpInfo does with a result before it compares devices.

    torch's `TestCommon.test_compare_cpu` applies the function to both sides, since two devices
    may give singular vectors of opposite sign. Only operators tagged `gauge` get it: for others
    the function may drop outputs.
    """
    sample = _samples(op_id, case["variant"], case["dtype"], seed)[case["index"]]
    function: Callable[[Any], Any] = sample
    return function


@lru_cache(maxsize=8)
def _samples(op_id: str, variant: str, dtype: str, seed: int) -> list[Callable[[Any], Any]]:
    import torch

    entry = next(entry for entry in entries_of(op_id) if entry.variant_test_name == variant)
    samples = opinfo_samples(entry, getattr(torch, dtype), seed)
    return [sample.output_process_fn_grad for sample in samples]
