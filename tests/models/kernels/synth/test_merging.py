"""Branches of a wrapper that differ in types alone become one, and no others do."""

from models.kernels.synth.merging import Branch, merged
from models.kernels.synth.structure import conditions


def branch(*types: str, function: str = "_program_0", shape: str = "n") -> Branch:
    key = tuple(
        (name, "tensor", kind, shape) for name, kind in zip(("self", "other"), types, strict=False)
    )
    return Branch(key, function, ["self", "other"], {}, [])


def asked(one: Branch) -> list[str]:
    return one.tests(list(conditions(one.key, frozenset())))


def test_types_of_one_tensor_become_a_choice():
    (one,) = merged([branch("bfloat16"), branch("float16"), branch("float32")])
    assert asked(one)[0] == "self.dtype in (torch.bfloat16, torch.float16, torch.float32)"


def test_tensors_of_one_type_are_asked_to_have_the_same():
    (one,) = merged([branch("bfloat16", "bfloat16"), branch("float16", "float16")])
    found = asked(one)
    assert "self.dtype in (torch.bfloat16, torch.float16)" in found
    assert "other.dtype == self.dtype" in found


def test_a_tensor_whose_type_stays_is_asked_for_it():
    (one,) = merged([branch("int32", "int64"), branch("float32", "int64")])
    found = asked(one)
    assert "self.dtype in (torch.int32, torch.float32)" in found
    assert "other.dtype == torch.int64" in found


def test_other_pairs_shapes_guards_and_functions_stay_apart():
    assert len(merged([branch("int32", "int64"), branch("int64", "int32")])) == 2
    assert len(merged([branch("int32", "int32"), branch("int64", "float32")])) == 2
    assert len(merged([branch("int32"), branch("int64", shape="1")])) == 2
    assert len(merged([branch("int32"), branch("int64", function="_program_1")])) == 2
    guarded = branch("int64")
    guarded.guards = ["(self.shape[0] == 3)"]
    assert len(merged([branch("int32"), guarded])) == 2
    # One that varied in one tensor takes none that varies in two.
    three = [branch("int32", "int64"), branch("float32", "int64"), branch("float32", "float32")]
    assert len(merged(three)) == 2
