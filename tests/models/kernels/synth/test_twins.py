"""Programs of one type that another type takes over."""

from typing import Any

from models.kernels.lint.signature import Signature
from models.kernels.synth.program import Program
from models.kernels.synth.twins import Twins, renaming

SIGNATURE = Signature.parse("abs(Tensor self) -> Tensor")


def key(dtype: str, classes: str, dim: str = "0") -> tuple[Any, ...]:
    return (("self", "tensor", dtype, classes), ("dim", "is", "int", dim))


def program(dtype: str, classes: str, text: str, dim: str = "0") -> Program:
    return Program(key(dtype, classes, dim), (), {}, [], text, [text], set(), set(), ["self"])


def twins(*programs: Program) -> Twins:
    found = Twins(SIGNATURE)
    for one in programs:
        found.add(one)
    return found


def test_types_with_one_text_share_the_programs_of_further_structures():
    known = twins(
        program("float16", "n", "a"), program("bfloat16", "n", "a"), program("float16", "nn", "b")
    )
    (taken,) = known.of(key("bfloat16", "nn"))
    assert (taken.key, taken.text, taken.is_traced) == (key("bfloat16", "nn"), "b", False)


def test_a_text_that_names_the_type_is_taken_over_with_the_other_name():
    known = twins(
        program("int32", "n", "x.to(tl.int32)"),
        program("int8", "n", "x.to(tl.int8)"),
        program("int32", "nn", "y.to(tl.int32)"),
    )
    (taken,) = known.of(key("int8", "nn"))
    assert taken.kernels == ["y.to(tl.int8)"]


def test_nothing_is_taken_over_without_evidence_or_against_it():
    first = program("float16", "nn", "b")
    assert twins(first).of(key("bfloat16", "nn")) == []
    differing = twins(program("float16", "n", "a"), program("bfloat16", "n", "c"), first)
    assert differing.of(key("bfloat16", "nn")) == []
    # Evidence of other options says nothing of these.
    other = twins(program("float16", "n", "a", "1"), program("bfloat16", "n", "a", "1"), first)
    assert other.of(key("bfloat16", "nn")) == []


def test_integers_take_over_what_floats_move_and_not_what_they_compute():
    # The product of one element is a copy, whatever its type; of many it is not.
    alike = program("float32", "", "copy"), program("int64", "", "copy")
    moved = program("float32", "n", "tl.store(p1, tl.load(p0, other=0))")
    assert len(twins(*alike, moved).of(key("int64", "n"))) == 1
    summed = program("float32", "n", "acc = tl.full((R, C), 0, dtype=tl.float32)")
    assert twins(*alike, summed).of(key("int64", "n")) == []
    whole = program("int64", "n", "acc += x")
    assert twins(*alike, whole).of(key("float32", "n")) == []
    halves = twins(program("bfloat16", "", "copy"), *alike, summed)
    assert len(halves.of(key("bfloat16", "n"))) == 1


def test_a_type_stands_for_another_throughout_or_not_at_all():
    def pair(*dtypes: str) -> tuple[Any, ...]:
        return tuple((f"t{n}", "tensor", one, "n") for n, one in enumerate(dtypes))

    assert renaming(pair("int32", "int64"), pair("int8", "int64")) == ("int32", "int8")
    assert renaming(pair("int32", "int32"), pair("int8", "int32")) is None
    # Two types that become one: what promotes them is not what keeps them.
    assert renaming(pair("int32", "int64"), pair("int64", "int64")) is None
