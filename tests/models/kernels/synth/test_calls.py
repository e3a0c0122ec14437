"""Signatures that bind an operator's calls, and the structure keys of calls."""

import pytest
import torch

from models.kernels.lint import Signature
from models.kernels.synth.calls import (
    Call,
    UnboundCallError,
    bind,
    read_path,
    rebuilder,
    serving_signature,
)
from models.kernels.synth.module import synthesize
from models.kernels.synth.scalar import UnsupportedError
from models.kernels.synth.structure import conditions, leaves

X = torch.ones(2, 1, 3)


def test_overloads_that_samples_use_are_joined_into_one_signature():
    overloads = (
        "aten::sum(Tensor self, *, ScalarType? dtype=None) -> Tensor",
        "aten::sum.dim_IntList(Tensor self, int[1]? dim, bool keepdim=False, *, "
        "ScalarType? dtype=None) -> Tensor",
        "aten::sum.out(Tensor self, *, Tensor(a!) out) -> Tensor(a!)",
    )
    calls = [
        Call(torch.sum, (X,), {}),
        Call(torch.sum, (X, 1, True), {}),
        Call(torch.sum, (X,), {"dim": [0, 2]}),
    ]
    signature = serving_signature("sum", overloads[0].removeprefix("aten::"), overloads, calls)
    assert [one.name for one in signature.parameters] == ["self", "dim", "keepdim", "dtype"]
    assert [one.default for one in signature.parameters] == [None, "None", "False", "None"]
    assert all(bind(signature, call) for call in calls)


def test_a_tensor_or_number_is_a_union():
    overloads = (
        "aten::mul.Tensor(Tensor self, Tensor other) -> Tensor",
        "aten::mul.Scalar(Tensor self, Scalar other) -> Tensor",
    )
    calls = [Call(torch.mul, (X, X), {}), Call(torch.mul, (X, 2), {})]
    signature = serving_signature("mul", "mul(Scalar a, Scalar b) -> Scalar", overloads, calls)
    assert set(signature.parameters[1].types) == {"Tensor", "Scalar"}


def test_a_function_of_any_number_of_tensors_gets_as_many_parameters_as_its_calls():
    calls = [
        Call(torch.meshgrid, (X[0, 0],), {}),
        Call(torch.meshgrid, (X[0, 0], X[0, 0]), {"indexing": "ij"}),
    ]
    signature = serving_signature("meshgrid", "meshgrid(Any input) -> Any", (), calls)
    assert [one.name for one in signature.parameters] == ["input", "other", "indexing"]
    assert signature.parameters[1].default == "None"


def test_a_list_or_its_element_is_a_list_of_length_one_in_the_signature():
    calls = [Call(torch.hsplit, (X, 2), {}), Call(torch.hsplit, (X, [1, 2]), {})]
    signature = serving_signature("hsplit", "hsplit(Any input, Any indices) -> Any", (), calls)
    indices = signature.parameters[1]
    assert (indices.types, indices.is_list, indices.list_size) == (("int",), True, 1)


def test_a_result_that_shares_memory_is_marked_in_the_signature():
    viewed = serving_signature("mT", "mT(Any x) -> Any", (), [Call(lambda x: x.mT, (X,), {})])
    copied = serving_signature("neg", "neg(Any x) -> Any", (), [Call(torch.neg, (X,), {})])
    assert (viewed.returns_alias, copied.returns_alias) == (True, False)


def test_an_empty_list_leaves_the_type_to_other_calls():
    calls = [Call(torch.permute, (X, dims), {}) for dims in ([], [0, 1, 2])]
    signature = serving_signature("permute", "permute(Any x, Any dims) -> Any", (), calls)
    assert signature.parameters[1].types == ("int",)


def test_an_argument_without_a_parameter_is_refused_by_name():
    signature = Signature.parse("exp(Tensor self) -> Tensor")
    with pytest.raises(UnboundCallError, match="argument 'dim' for exp"):
        bind(signature, Call(torch.exp, (X,), {"dim": 1}))


def test_structure_keys_hold_types_and_ones_but_no_sizes():
    listed = list(leaves({"self": X, "dim": 1, "eps": 0.25}, frozenset(), True))
    assert [leaf.key for leaf in listed] == [
        ("self", "tensor", "float32", "n1n"),
        ("dim", "is", "int", "1"),
        ("eps", "float"),
    ]
    tests = list(conditions(tuple(leaf.key for leaf in listed), frozenset()))
    assert tests == [
        "self.dtype == torch.float32",
        "self.ndim == 3",
        "self.shape[0] > 1",
        "self.shape[1] == 1",
        "self.shape[2] > 1",
        "isinstance(dim, int)",
        "dim == 1",
        "isinstance(eps, float)",
        'abs(eps) < float("inf")',
    ]


def test_calls_are_rebuilt_with_their_leaves_replaced():
    call = Call(torch.cat, ([X, X],), {"dim": 0})
    bound = {"tensors": [X, X], "dim": 0}
    args, kwargs = rebuilder(call, bound)(lambda path, value: path)
    assert (args, kwargs) == ([["tensors[0]", "tensors[1]"]], {"dim": "dim"})
    assert read_path("tensors[1].shape[2]", bound) == 3


def test_a_trace_that_memorises_sizes_is_refused():
    # cross looks for the first dimension of three elements: its trace holds for that size alone.
    call = Call(torch.cross, (torch.ones(4, 3), torch.ones(4, 3)), {})
    signature = Signature.parse("cross(Tensor self, Tensor other, int? dim=None) -> Tensor")
    with pytest.raises(UnsupportedError, match="holds for the size 3 only"):
        synthesize(signature, [call])


def test_operators_without_rules_and_complex_values_are_refused_with_the_reason():
    signature = Signature.parse("multinomial(Tensor self, int num_samples) -> Tensor")
    with pytest.raises(UnsupportedError, match=r"no rule for aten\.multinomial"):
        synthesize(signature, [Call(torch.multinomial, (torch.ones(3), 2), {})])
    with pytest.raises(UnsupportedError, match="values of complex64"):
        synthesize(
            Signature.parse("exp(Tensor self) -> Tensor"),
            [Call(torch.exp, (torch.ones(2, dtype=torch.complex64),), {})],
        )
