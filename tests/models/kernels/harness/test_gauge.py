"""Factors that are right up to a sign: signs are free, wrong factors are refused."""

from collections.abc import Callable

import pytest
import torch

from models.kernels.harness.compare import compare_batch
from models.kernels.operators import find_operator
from models.kernels.samples.streams import stream, take
from models.kernels.samples.values import pack

Factors = tuple[torch.Tensor, ...]


def judged(op_id: str, change: Callable[[Factors], Factors]) -> list[str]:
    """Return the verdicts on ATen's own results after a change, by sample that has elements."""
    verdicts = []
    for sample in take(stream(op_id, "S", "float32"), 100):
        expected = tuple(sample.function(*sample.args, **sample.kwargs))
        if any(part.numel() == 0 for part in expected) or expected[0].shape[-1] < 2:
            continue
        tree, actual = pack(tuple(part.contiguous() for part in change(expected)))
        expected_tree, due = pack(expected)
        # Provenance is another matter: every byte counts as stored by a kernel.
        facts = [
            {"bytes": part.numel() * 4, "stored_bytes": part.numel() * 4, "from": "empty"}
            for part in expected
        ]
        case = {
            "tree": tree, "place": [0, len(actual)], "expected": expected_tree,
            "expected_place": [len(actual), len(due)], "tensors": facts,
            "aliases": [False] * len(expected), "tolerances": [(1.3e-6, 1e-5)] * len(expected),
            "form": "functional", "variant": sample.variant, "dtype": "float32",
            "index": sample.index,
        }  # fmt: skip
        arguments = {"cases": [case], "op_id": op_id, "suite": "S", "seed": 0,
                     "tags": find_operator(op_id).tags}  # fmt: skip
        (verdict,), _ = compare_batch(arguments, actual + due)
        verdicts.append(verdict["status"])
    assert verdicts
    return verdicts


def flipped(factors: Factors) -> Factors:
    """Turn a left vector round with its right one."""
    u, s, vh = (part.clone() for part in factors)
    u[..., :, 0] *= -1
    vh[..., 0, :] *= -1
    return u, s, vh


def test_singular_vectors_may_turn_round_in_pairs():
    assert set(judged("linalg.svd", flipped)) == {"passed"}


def test_eigenvectors_may_turn_round():
    def change(factors: Factors) -> Factors:
        values, vectors = (part.clone() for part in factors)
        vectors[..., :, 1] *= -1
        return values, vectors

    assert set(judged("linalg.eigh", change)) == {"passed"}


@pytest.mark.parametrize("op_id", ["linalg.svd", "linalg.eigh", "linalg.qr"])
def test_scaled_factors_are_wrong_in_every_sample(op_id: str):
    def change(factors: Factors) -> Factors:
        return tuple(part * 1.01 for part in factors)

    assert set(judged(op_id, change)) == {"wrong"}


def test_eigenvectors_in_another_order_are_wrong():
    def change(factors: Factors) -> Factors:
        return factors[0], factors[1].flip(-1)

    assert set(judged("linalg.eigh", change)) == {"wrong"}


def test_signs_of_qr_are_not_free():
    # OpInfo compares Q and R as they are: LAPACK's signs are part of the answer.
    def change(factors: Factors) -> Factors:
        return -factors[0], -factors[1]

    assert set(judged("linalg.qr", change)) == {"wrong"}
