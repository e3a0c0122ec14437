import re

import pytest

from models.kernels import Signature
from models.kernels.lint import SchemaError
from models.kernels.lint.inference import kind_of_parameter
from models.kernels.lint.signature import default_value


def test_a_schema_is_read_with_lists_defaults_and_keywords():
    signature = Signature.parse(
        "sum.dim_IntList(Tensor self, int[1]? dim, bool keepdim=False, *, "
        "ScalarType? dtype=None) -> Tensor"
    )
    names = [(one.name, one.is_keyword_only, one.default) for one in signature.parameters]
    assert names == [
        ("self", False, None),
        ("dim", False, None),
        ("keepdim", False, "False"),
        ("dtype", True, "None"),
    ]
    dim = signature.parameters[1]
    assert (dim.is_list, dim.list_size, dim.is_optional) == (True, 1, True)
    assert kind_of_parameter(dim).atoms == {"seq", "number", "none"}
    assert not signature.returns_alias


@pytest.mark.parametrize(
    ("schema", "aliases"),
    [
        ("t(Tensor(a) self) -> Tensor(a)", True),
        ("add_(Tensor(a!) self, Tensor other) -> Tensor(a!)", True),
        ("split(Tensor(a -> *) self, int n) -> Tensor(a)[]", True),
        ("sort(Tensor self) -> (Tensor values, Tensor indices)", False),
        ("size(Tensor self) -> int[]", False),
    ],
)
def test_only_an_annotated_result_may_be_an_alias(schema, aliases):
    assert Signature.parse(schema).returns_alias is aliases


def test_pythons_keywords_get_an_underscore():
    signature = Signature.parse(
        "uniform_(Tensor(a!) self, float from=0., float to=1.) -> Tensor(a!)"
    )
    assert [one.name for one in signature.parameters] == ["self", "from_", "to"]
    assert signature.parameters[0].is_written
    assert default_value(signature.parameters[1]) == 0.0


def test_defaults_are_values():
    signature = Signature.parse(
        "f(int[2] stride=[], str s='a,b', Scalar x=inf, int r=Mean, float e=1e-05) -> Tensor"
    )
    values = [default_value(one) for one in signature.parameters]
    assert values == [[], "a,b", float("inf"), 1, 1e-05]


def test_one_or_the_other_type_is_both():
    signature = Signature.parse("mul(Tensor self, Tensor|Scalar other, Any rest) -> Tensor")
    kinds = [kind_of_parameter(one) for one in signature.parameters]
    assert [kind.may_be_tensor for kind in kinds] == [True, True, True]
    assert "number" in kinds[1].atoms


@pytest.mark.parametrize(
    "text",
    [
        "",
        "add",
        "add(Tensor self",
        "add(Tensor self) Tensor",
        "f(Tensor) -> Tensor",
        "f(Tensor a, Tensor a) -> Tensor",
        "f(Ten$or a) -> Tensor",
        ") -> (",
    ],
)
def test_a_text_that_is_no_schema_is_refused(text):
    with pytest.raises(SchemaError):
        Signature.parse(text)


def test_the_schemas_of_aten_are_read_as_torch_reads_them():
    import torch

    seen = 0
    # Dictionaries, classes and variable arguments belong to TorchScript, not to operators.
    plain = re.compile(
        r"((Optional|List)\[)*(Tensor|int|float|bool|number|complex|str|Device|Generator)\]*"
    )
    for schema in torch._C._jit_get_all_schemas():
        text = str(schema)
        types = [str(argument.type) for argument in schema.arguments]
        alien = "..." in text or "\\" in text or not all(map(plain.fullmatch, types))
        if not schema.name.startswith("aten::") or alien:
            continue
        seen += 1
        mine = Signature.parse(text)
        assert len(mine.parameters) == len(schema.arguments), text
        for one, argument in zip(mine.parameters, schema.arguments, strict=True):
            assert one.name.removesuffix("_") == argument.name.removesuffix("_"), text
            assert one.is_keyword_only == argument.kwarg_only, text
            assert (one.default is not None) == argument.has_default_value(), text
            assert kind_of_parameter(one).holds_tensor == ("Tensor" in str(argument.type)), text
        aliased = any(one.alias_info is not None for one in schema.returns)
        assert mine.returns_alias == aliased, text
    assert seen > 3_000
