"""What the linter learns of list elements from tests of them, and when it forgets it again."""

import pytest

from models.kernels import Signature, find_profile, lint_text

SCHEMA = Signature.parse("op(Tensor self, Any dims, Tensor[] tensors) -> Tensor")
MODULE = """\
@triton.jit
def kernel_op(x_ptr, o_ptr, n, BLOCK: tl.constexpr):
    offs = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    tl.store(o_ptr + offs, tl.load(x_ptr + offs, mask=offs < n), mask=offs < n)


{helper}def wrapper(self, dims, tensors):
{lines}
    out = torch.empty_like(self)
    n = out.numel()
    kernel_op[(triton.cdiv(n, 64),)](self, out, n, BLOCK=64)
    return out
"""
IS_LIST = "isinstance(dims, (tuple, list))"
PAIR = f"{IS_LIST} and len(dims) == 2"


def rules(lines: str, helper: str = "") -> set[str]:
    indented = "\n".join(f"    {line}" for line in lines.split("\n"))
    source = MODULE.format(helper=helper, lines=indented)
    report = lint_text(source, SCHEMA, find_profile("interpreter"))
    return {one.rule for one in report.violations}


SEEN = {
    "an element": f"if {PAIR} and isinstance(dims[0], int):\n    a = dims[0] + 1",
    "the last element": f"if {PAIR} and isinstance(dims[-1], float):\n    a = 2.0 * dims[1]",
    "an element of an element": (
        f"if {PAIR} and isinstance(dims[0], list) and len(dims[0]) == 1"
        " and isinstance(dims[0][0], int) and dims[0][0] == 3:\n    a = dims[0][0] * 2"
    ),
    "every element": (
        f"if {IS_LIST} and all(isinstance(x, int) for x in dims):\n"
        "    a = sum(dims) + dims[0]\n    for x in dims:\n        a = a * x"
    ),
    "no element is a tensor, none is anything but a number": (
        f"if {IS_LIST}:\n    if not any(not isinstance(x, int) for x in dims):\n"
        "        a = max(dims)"
    ),
    "a length asked the other way": (
        f"if not {IS_LIST} or len(dims) != 2 or not isinstance(dims[0], int):\n"
        "    raise TypeError('dims')\na = 1"
    ),
    "a place that is None": (
        f"if {PAIR} and (dims[0] is None or isinstance(dims[0], int)):\n    a = 1"
    ),
    "an element in its own name": (
        f"if {IS_LIST}:\n    x = dims[0]\n    assert isinstance(x, int)\n    a = x + 1"
    ),
    "tensors, where another branch had numbers": (
        f"if {PAIR} and isinstance(dims[0], int) and isinstance(dims[1], int):\n"
        "    a = dims[0] + dims[1]\n"
        f"if {PAIR} and isinstance(dims[0], torch.Tensor):\n    a = dims[0].shape[0]"
    ),
    "an own list that is changed by numbers": "a = [1, 2]\na.reverse()\nb = a.pop()\nc = b + a[0]",
}


@pytest.mark.parametrize("lines", SEEN.values(), ids=SEEN)
def test_a_test_of_elements_shows_their_types(lines):
    assert rules(lines) == set()


def test_what_is_known_of_a_list_goes_with_it_into_a_helper():
    helper = "def _f(dims):\n    return dims[0] + dims[1]\n\n\n"
    both = f"{PAIR} and isinstance(dims[0], int) and isinstance(dims[1], int)"
    assert rules(f"if {both}:\n    a = _f(dims)", helper) == set()
    one = f"{PAIR} and isinstance(dims[0], int)"
    assert rules(f"if {one}:\n    a = _f(dims)", helper) == {"CHT003"}
    assert rules(f"if {both}:\n    a = _f(dims)\nb = _f(tensors)", helper) == {"CHT003"}


REFUSED = {
    "another branch had numbers, which tells nothing of this one": (
        f"if {PAIR} and isinstance(dims[0], int) and isinstance(dims[1], int):\n"
        "    a = dims[0] + dims[1]\n"
        f"if {IS_LIST}:\n    a = dims[0] + 1"
    ),
    "nothing is known of the other element": (
        f"if {PAIR} and isinstance(dims[0], int):\n    a = dims[1] + 1"
    ),
    "the length is not known": f"if {IS_LIST} and isinstance(dims[0], int):\n    a = dims[-2] + 1",
    "what is indexed may be a tensor": "if len(dims) == 2 and isinstance(dims[0], int):\n    a = 1",
    "after a branch that did not ask": (
        f"if {PAIR} and isinstance(dims[0], int):\n    a = 1\nb = dims[0] + 1"
    ),
    "or is not and": f"if {PAIR} or isinstance(dims[0], int):\n    a = 1",
    "any is not all": (
        f"if {IS_LIST} and any(isinstance(x, int) for x in dims):\n    a = dims[0] + 1"
    ),
    "only elements that are filtered": (
        f"if {IS_LIST} and all(isinstance(x, int) for x in dims if x is not None):\n"
        "    a = dims[0] + 1"
    ),
    "all of another list": (
        f"if {IS_LIST} and all(isinstance(x, int) for x in (1, 2)):\n    a = dims[0] + 1"
    ),
    "a list of arguments is turned around": (
        f"if {PAIR} and isinstance(dims[0], int):\n    dims.reverse()\n    a = dims[0] + 1"
    ),
    "under another name": (
        f"if {PAIR} and isinstance(dims[0], int):\n    b = dims\n    b.pop(0)\n    a = dims[0] + 1"
    ),
    "a number put in shifts tensors": (
        f"if {PAIR} and isinstance(dims[0], int):\n    dims.insert(0, 1)\n    a = dims[1] + 1"
    ),
    "an own list is turned around": "a = [1, self]\na.reverse()\nb = a[0] + 1",
    "an own list loses its first": "a = [1, self]\nb = a.pop(0)\nc = a[0] + 1",
    "a list within a list is turned around": "a = [[1, self], 5]\na[0].reverse()\nb = a[0][0] + 1",
    "of two lists one is an argument": (
        "a = dims if isinstance(dims, list) and all(isinstance(x, int) for x in dims) else []\n"
        "a.append(self)\n"
        f"if {IS_LIST} and all(isinstance(x, int) for x in dims):\n    b = 1"
    ),
    "a pair that is made before a list changes": (
        "a = [1]\nb = zip(a, a)\na[0] = self\nfor x, y in b:\n    c = x + y"
    ),
}


@pytest.mark.parametrize("lines", REFUSED.values(), ids=REFUSED)
def test_what_a_test_does_not_show_stays_a_tensor(lines):
    assert "CHT003" in rules(lines)


def test_a_helper_may_not_turn_around_what_its_caller_has_looked_at():
    helper = "def _f(dims):\n    dims.reverse()\n    return 0\n\n\n"
    lines = f"if {PAIR} and isinstance(dims[0], int):\n    a = _f(dims)\n    b = dims[0] + 1"
    assert "CHT003" in rules(lines, helper)
    assert rules("a = [1, 2]\nb = _f(a)\nc = a[0] + b", helper) == set()


@pytest.mark.parametrize(
    "lines",
    [
        "a = [1]\nb = isinstance(a[0], int) and a.insert(0, self) is None and a[0]",
        "a = [1]\nb = [(a[0], a.insert(0, self)) for _ in (1, 2)]",
        "a = [1, self]\nb = a.pop(0) if len(tensors) > 0 else 2",
        "a = [1]\nb = (a[0] for _ in (1, 2))\na[0] = self\nc = sum(b)",
    ],
)
def test_no_list_changes_under_a_condition_and_generators_run_at_once(lines):
    assert "CHT005" in rules(lines)


def test_changes_in_one_expression_are_followed_in_their_order():
    assert rules("a = [1, 2]\nb = (a.pop(), a.pop())") == set()
    assert "CHT003" in rules("a = [1]\nb = (a[0] + 1, a.insert(0, self), a[0] + 1)")
