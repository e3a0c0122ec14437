"""No text makes the linter raise, hang or believe: bytes, mutated modules, depth, size, time."""

import ast
import copy
import random
import statistics
import time
import tomllib
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from models.kernels import LintReport, Signature, find_profile, lint_text

CORPUS = Path(__file__).parents[3] / "adversarial" / "kernels"
SCHEMA = Signature.parse("op(Tensor self, Tensor other) -> Tensor")
INTERPRETER = find_profile("interpreter")
MODULES = {
    file.stem: file.read_bytes().decode()
    for folder in ("cheats", "honest")
    for file in sorted((CORPUS / folder).glob("*.txt"))
}
TREES = {}
for _name, _text in MODULES.items():
    try:
        TREES[_name] = ast.parse(_text)
    except (SyntaxError, ValueError):
        continue


def linted(source: str) -> LintReport:
    report = lint_text(source, SCHEMA, INTERPRETER)
    assert report.passed == all(one.severity != "error" for one in report.violations)
    return report


@settings(max_examples=150, deadline=None)
@given(st.binary(max_size=400))
def test_random_bytes_get_a_report(data):
    assert not linted(data.decode("utf-8", "surrogateescape")).passed


@settings(max_examples=150, deadline=None)
@given(st.text(max_size=300))
def test_random_text_gets_a_report(text):
    assert not linted(text).passed


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.sampled_from(sorted(MODULES)), st.randoms(use_true_random=False))
def test_damaged_modules_get_a_report(name, rng):
    text = list(MODULES[name])
    for _ in range(rng.randint(1, 6)):
        place = rng.randrange(len(text))
        action = rng.randrange(3)
        if action == 0:
            del text[place : place + rng.randint(1, 40)]
        elif action == 1:
            text[place:place] = rng.choice(["(", ")", ":", "\n", " ", "=", "*", "0x", '"', "é"])
        else:
            start = rng.randrange(len(text))
            text[place:place] = text[start : start + 60]
        text = text or [" "]
    linted("".join(text))


@settings(max_examples=250, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.sampled_from(sorted(TREES)), st.sampled_from(sorted(TREES)), st.integers(0, 2**32))
def test_transplanted_syntax_trees_get_a_report(name, donor_name, seed):
    rng = random.Random(seed)
    tree = copy.deepcopy(TREES[name])
    donors = [node for node in ast.walk(TREES[donor_name]) if isinstance(node, ast.expr)]
    statements = [node for node in ast.walk(TREES[donor_name]) if isinstance(node, ast.stmt)]
    for _ in range(rng.randint(1, 4)):
        node = rng.choice(list(ast.walk(tree)))
        for field, value in ast.iter_fields(node):
            if isinstance(value, ast.expr) and donors and rng.random() < 0.5:
                setattr(node, field, copy.deepcopy(rng.choice(donors)))
            elif isinstance(value, list) and value and rng.random() < 0.5:
                if isinstance(value[0], ast.stmt):
                    value.insert(rng.randrange(len(value)), copy.deepcopy(rng.choice(statements)))
                elif isinstance(value[0], ast.expr) and donors:
                    value[rng.randrange(len(value))] = copy.deepcopy(rng.choice(donors))
    try:
        source = ast.unparse(tree)
    except (ValueError, AttributeError, TypeError, RecursionError):
        return
    linted(source)


DEEP = {
    "parentheses": "x = " + "(" * 5_000 + "1" + ")" * 5_000,
    "lists": "x = " + "[" * 190 + "]" * 190,
    "minus": "def wrapper(self, other):\n    return " + "-" * 50_000 + "1\n",
    "not": "def wrapper(self, other):\n    return " + "not " * 20_000 + "1\n",
    "attributes": "def wrapper(self, other):\n    return self" + ".T" * 40_000 + "\n",
    "calls": "def wrapper(self, other):\n    return self" + "()" * 40_000 + "\n",
    "sum": "X = " + "+".join(["1"] * 60_000),
    "elif": "def wrapper(self, other):\n    if self:\n        pass\n"
    + "    elif other:\n        pass\n" * 2_000,
    "blocks": "".join("  " * n + "if x:\n" for n in range(99)) + "  " * 99 + "x = 1\n",
}


@pytest.mark.parametrize("name", sorted(DEEP))
def test_deep_nesting_is_refused_without_recursion(name):
    report = linted(DEEP[name])
    assert not report.passed
    assert {one.rule for one in report.violations} & {"RES002", "FMT001"}


WIDE = {
    "one megabyte of nothing": "#" * 1_048_576,
    "one megabyte of text": "X = '" + "x" * 1_048_576 + "'",
    "one megabyte repeated": "def wrapper(self, other):\n    return self + other\n\n\n" * 20_000,
    "functions": "".join(f"def _f{n}(a):\n    return _f{n + 1}(a)\n" for n in range(2_900)),
    "constants": "".join(f"C{n} = {n}\n" for n in range(5_900)),
    "arguments": "def wrapper(" + ", ".join(f"a{n}" for n in range(20_000)) + "):\n    return a0\n",
    "kernels": "".join(
        f"@triton.jit\ndef kernel_{n}(x):\n    y = tl.zeros((x,), tl.float32)\n"
        for n in range(1_900)
    ),
    "calls": "def _f(a):\n    return a\ndef wrapper(self, other):\n"
    + "    self = _f(self)\n" * 5_800
    + "    return self\n",
    "assignments in one loop": "def wrapper(self, other):\n    for i in range(3):\n"
    + "".join(f"        a{n} = a{n + 1}\n" for n in range(5_000)),
}


@pytest.mark.parametrize("name", sorted(WIDE))
def test_large_sources_are_refused_in_time(name):
    start = time.process_time()
    assert not linted(WIDE[name]).passed
    assert time.process_time() - start < 10


def test_a_module_takes_less_than_fifty_milliseconds():
    entries = tomllib.loads((CORPUS / "honest" / "manifest.toml").read_text())
    times = []
    for name, entry in entries.items():
        signature = Signature.parse(entry["signature"])
        start = time.process_time()
        lint_text(MODULES[name], signature, INTERPRETER)
        times.append(time.process_time() - start)
    assert statistics.median(times) < 0.05
    assert max(times) < 0.25
