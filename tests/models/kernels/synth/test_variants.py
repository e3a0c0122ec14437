"""Calls made of a given one: which sizes and ranks they have."""

import torch

from models.kernels.lint.signature import Signature
from models.kernels.synth.calls import Call, bind
from models.kernels.synth.structure import leaves
from models.kernels.synth.variants import is_accepted, of_rank, pattern, resized

MATMUL = Signature.parse("mm(Tensor self, Tensor mat2) -> Tensor")
SUM = Signature.parse("sum(Tensor self, int dim) -> Tensor")


def parts(signature: Signature, call: Call):
    bound = bind(signature, call)
    return bound, list(leaves(bound, frozenset(), True))


def test_a_size_changes_wherever_the_call_has_it_so_that_the_operator_still_takes_it():
    call = Call(torch.mm, (torch.ones(4, 7), torch.ones(7, 3)), {})
    shapes = [
        (tuple(one.args[0].shape), tuple(one.args[1].shape))
        for one in resized(call, *parts(MATMUL, call))
    ]
    assert ((4, 0), (0, 3)) in shapes
    assert ((4, 37), (37, 3)) in shapes
    assert ((1, 7), (7, 3)) in shapes
    assert all(first[1] == second[0] for first, second in shapes)


def test_calls_with_equal_sizes_at_the_same_places_are_of_one_pattern():
    def of(rows: int, columns: int):
        call = Call(torch.mm, (torch.ones(rows, 5), torch.ones(5, columns)), {})
        return pattern(parts(MATMUL, call)[1])

    assert of(3, 4) == of(6, 9)
    assert of(3, 4) != of(3, 3)
    assert of(3, 4) != of(1, 4)


def test_dimensions_are_added_and_taken_away_in_front():
    call = Call(torch.sum, (torch.ones(2, 5, 7), 1), {})
    bound, listed = parts(SUM, call)
    deeper, flatter = (of_rank(call, bound, listed, rank) for rank in (4, 2))
    assert deeper is not None
    assert deeper.args[0].shape[1:] == (2, 5, 7)
    assert flatter is not None
    assert flatter.args[0].shape == (5, 7)
    assert is_accepted(deeper)
    # A vector has no dimension 1: ATen refuses, and so does a module.
    vector = of_rank(call, bound, listed, 1)
    assert vector is not None
    assert not is_accepted(vector)
