"""What the linter believes of the values in a wrapper, on programs small enough to run by hand."""

import ast

import pytest

from models.kernels import Signature
from models.kernels.lint.inference import infer
from models.kernels.lint.outline import outline_of

SCHEMA = Signature.parse(
    "op(Tensor self, Tensor? weight, Tensor[] tensors, int n, int[] sizes, Scalar|Tensor value) "
    "-> Tensor"
)


def kind_of_result(body: str, helpers: str = ""):
    lines = "".join(f"    {line}\n" for line in body.split("\n"))
    source = f"{helpers}def wrapper(self, weight, tensors, n, sizes, value):\n{lines}"
    return infer(outline_of(ast.parse(source)), SCHEMA).returns["wrapper"]


@pytest.mark.parametrize(
    ("body", "atoms"),
    [
        ("return self", {"input"}),
        ("return self.expand(2).view(-1)", {"input"}),
        ("return torch.empty_like(self)", {"fresh"}),
        ("return weight", {"input", "none"}),
        ("return n + 1", {"number"}),
        ("return self.shape[0] * 2", {"extent"}),
        ("return self.ndim - 1", {"rank"}),
        ("return 4 * 4", {"const"}),
        ("return self.dtype", {"dtype"}),
        ("return tensors[0]", {"input"}),
        ("return sizes[0]", {"number"}),
        ("return math.prod(self.shape)", {"extent"}),
        ("return triton.cdiv(self.numel(), 8)", {"extent"}),
        ("return self.sum()", {"unknown"}),
        ("return undefined()", {"unknown"}),
        ("a, b = self, n\nreturn b", {"number"}),
        ("a, (b, c) = n, (self, n)\nreturn b", {"input"}),
        ("a, *b = [n, self]\nreturn b[0]", {"number", "input"}),
        ("return [x for x in tensors][0]", {"input"}),
        ("for i, x in enumerate(tensors):\n    pass\nreturn x", {"input"}),
        ("for s, x in zip(sizes, tensors):\n    pass\nreturn s", {"number"}),
        ("l = []\nm = l\nm.append(self)\nreturn l[0]", {"input"}),
        ("l = [1]\nl[0] = self\nreturn l[0]", {"const", "input"}),
        ("a = []\nb = []\nb.append(self)\na.append(n)\nreturn a[0]", {"number"}),
        ("a = [n]\nb = [a]\na.append(self)\nreturn b[0][0]", {"number", "input"}),
        ("a, b = [1], [n]\nc = a if n else b\nc.append(self)\nreturn a[0]", {"const", "input"}),
        ("a = [n]\nb = list(a)\nb.append(self)\nreturn a[0]", {"number"}),
        ("a = [n]\na += [self]\nreturn a[0]", {"number", "input"}),
        ("d = {0: self}\nreturn d.get(0, 1)", {"input", "const", "none"}),
        ("x = 1\nif n:\n    x = self\nreturn x", {"const", "input"}),
        ("if weight is None:\n    return 1\nreturn weight", {"const", "input"}),
        ("if weight is not None:\n    return weight\nreturn 1", {"input", "const"}),
        ("if isinstance(value, torch.Tensor):\n    return 1\nreturn value", {"const", "number"}),
        (
            "if not isinstance(value, torch.Tensor):\n    return value\nraise ValueError",
            {"number"},
        ),
        ("return value if isinstance(value, (int, float)) else 0", {"number", "const"}),
        ("while n:\n    n = self\nreturn n", {"number", "input"}),
        (
            "for _ in sizes:\n    if n:\n        x = self\n        break\n"
            "else:\n    x = 2\nreturn x",
            {"const", "input"},
        ),
    ],
)
def test_the_kind_of_a_result(body, atoms):
    assert kind_of_result(body).atoms == atoms


def test_a_helper_gets_what_its_callers_pass_whatever_it_says():
    helper = "def _f(x: int, y: int = 2):\n    return x\n"
    assert kind_of_result("return _f(n)", helper).atoms == {"number"}
    assert kind_of_result("a = _f(n)\nreturn _f(self)", helper).atoms == {"number", "input"}
    assert kind_of_result("return _f(*[n, self])", helper).may_be_tensor


def test_helpers_of_helpers_settle():
    helpers = (
        "def _a(x):\n    return _b(x)\ndef _b(x):\n    return _c(x)\ndef _c(x):\n    return x\n"
    )
    assert kind_of_result("return _a(self)", helpers).atoms == {"input"}


def test_constants_are_folded_and_forgotten_where_paths_differ():
    assert kind_of_result("return 4 * 4 + 1").value == 17
    assert kind_of_result("return -(2 ** 10)").value == -1024
    assert kind_of_result("x = 1\nif n:\n    x = 2\nreturn x").value is None
    assert kind_of_result("return 1 // 0").value is None


def test_values_that_never_settle_are_unknown():
    loops = "x = [self]\n"
    for depth in range(12):
        loops += "    " * depth + f"for i{depth} in sizes:\n"
    loops += "    " * 12 + "x = [x]\nreturn x"
    assert kind_of_result("x = [self]\nfor _ in sizes:\n    x = [x]\nreturn x").may_be_tensor
    source = f"def wrapper(self, weight, tensors, n, sizes, value):\n{indent(loops)}"
    facts = infer(outline_of(ast.parse(source)), SCHEMA)
    assert facts.gave_up or facts.returns["wrapper"].holds_tensor


def indent(text: str) -> str:
    return "".join(f"    {line}\n" for line in text.split("\n"))
