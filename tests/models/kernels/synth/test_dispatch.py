"""The tree of a wrapper's tests chooses what the branches in order would choose."""

from collections.abc import Sequence
from typing import Any

from hypothesis import example, given, settings
from hypothesis import strategies as st

from models.kernels.synth.dispatch import lines_of

Branches = list[tuple[list[str], str]]

TESTS = (
    "x is None", "isinstance(x, bool)", "isinstance(x, int)", "x == 0", "x == 1", "x == True",
    "isinstance(y, (tuple, list))", "len(y) == 2", "y[0] == 1", "y[1] > 1", "isinstance(y, int)",
    "y == 1", "z in ('a', 'b')", "z == 'a'", "z != 'a'", "(x == y or z == 'b')",
)  # fmt: skip
NEEDS = {
    "len(y) == 2": ["isinstance(y, (tuple, list))"],
    "y[0] == 1": ["isinstance(y, (tuple, list))", "len(y) == 2"],
    "y[1] > 1": ["isinstance(y, (tuple, list))", "len(y) == 2"],
}
VALUES: tuple[tuple[Any, ...], ...] = (
    (None, 0, 1, 2, True, False), (1, 0, (1, 2), (1, 0), (0, 2), (1,)), ("a", "b", "c"),
)  # fmt: skip


def branch(tests: Sequence[str]) -> list[str]:
    whole = [one for test in tests for one in (*NEEDS.get(test, ()), test)]
    return list(dict.fromkeys(whole))


def in_order(branches: Branches, names: dict[str, Any]) -> str | None:
    for tests, call in branches:
        if all(eval(test, {}, names) for test in tests):
            return call
    return None


def by_tree(branches: Branches) -> Any:
    text = "\n".join(["def choose(x, y, z):", *lines_of(branches), "    return None"])
    scope: dict[str, Any] = {f"call_{n}": f"call_{n}" for n in range(len(branches))}
    exec(text, scope)
    return scope["choose"]


@settings(max_examples=300, deadline=None)
@example([["x is None", "z in ('a', 'b')"], ["z == 'a'"], ["z in ('a', 'b')"]])
@given(st.lists(st.lists(st.sampled_from(TESTS), max_size=5), min_size=1, max_size=8))
def test_a_tree_chooses_what_the_branches_choose_in_order(drawn: list[list[str]]):
    branches = [(branch(tests), f"call_{n}") for n, tests in enumerate(drawn)]
    choose = by_tree(branches)
    for x in VALUES[0]:
        for y in VALUES[1]:
            for z in VALUES[2]:
                assert choose(x, y, z) == in_order(branches, {"x": x, "y": y, "z": z})


def test_what_branches_share_is_tested_once():
    branches = [
        (["isinstance(x, int)", f"x == {n}", "z == 'a'", f"y == {n % 2}"], f"call_{n}")
        for n in range(6)
    ]
    lines = lines_of(branches)
    assert sum(line.count("z == 'a'") for line in lines) == 1
    assert sum(line.count("isinstance(x, int)") for line in lines) == 1


def test_a_branch_that_an_earlier_one_covers_is_left_out():
    lines = lines_of([(["x == 1"], "call_0"), (["x == 1", "z == 'a'"], "call_1")])
    assert not any("call_1" in line for line in lines)
