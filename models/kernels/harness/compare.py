"""Compare results with what was expected, in a fork away from both sides. Needs torch."""

from __future__ import annotations

import math
from typing import Any

from models.kernels.harness.gauge import post_processing
from models.kernels.samples.values import unpack

_SHOWN = 6


def compare_batch(arguments: dict[str, Any], block: bytes) -> tuple[list[dict[str, Any]], bytes]:
    """Judge the results of a batch.

    Args:
        arguments: `cases`, each with tree, place, expected, expected_place, tensors (provenance),
            aliases, tolerances, form; op_id, suite, seed and tags for operators whose results
            are right up to a sign.
        block: Results and expected results.

    Returns:
        One verdict per case: status, backing, message, machine, bytes, stored_bytes.
    """
    return [_judge(case, arguments, block) for case in arguments["cases"]], b""


def _part(block: bytes, place: list[int]) -> bytes:
    return block[place[0] : place[0] + place[1]]


def _judge(case: dict[str, Any], arguments: dict[str, Any], block: bytes) -> dict[str, Any]:
    facts = case["tensors"]
    counted = {"bytes": sum(f["bytes"] for f in facts),
               "stored_bytes": sum(f["stored_bytes"] for f in facts)}  # fmt: skip
    actual = unpack(case["tree"], _part(block, case["place"]))
    expected = unpack(case["expected"], _part(block, case["expected_place"]))
    tags = arguments.get("tags", ())
    if "gauge" in tags and arguments["suite"] in ("S", "V1"):
        change = post_processing(arguments["op_id"], case, arguments["seed"])
        try:
            actual, expected = change(actual), change(expected)
        except Exception as error:
            return _wrong(f"OpInfo's post-processing fails on the result: {error}", {}) | counted
    tolerances = iter(case["tolerances"])
    problem = _differs(actual, expected, "result", tolerances, "uninitialised" not in tags)
    oracle = "aten"
    if problem is not None and case.get("wider") is not None and "gauge" not in tags:
        wider = unpack(case["wider"], _part(block, case["wider_place"]))
        oracle = case["wider_oracle"]
        if _differs(actual, wider, "result", iter(case["tolerances"]), True) is None:
            problem = None
    if problem is not None:
        message, machine = problem
        if case.get("is_repeatable") is False:
            message += "; a second run gave other bits"
        elif case.get("is_order_free") is False:
            message += "; programs ran from the last to the first, in order the result differs"
        return _wrong(message, machine) | counted
    if case.get("is_repeatable") is False:
        return _wrong("two runs with different undefined memory give different bits", {}) | counted
    trick = _trick(_listed(actual), _listed(expected))
    if trick is not None:
        return _refused(trick) | counted
    return _backing(case, facts) | counted | {"oracle": oracle}


def _wrong(message: str, machine: dict[str, Any]) -> dict[str, Any]:
    return {"status": "wrong", "message": message, "machine": machine}


def _refused(message: str) -> dict[str, Any]:
    return {"status": "violation", "message": f"provenance: {message}"}


def _listed(value: Any) -> list[Any]:
    """Return the tensors of a result, in order."""
    import torch

    if isinstance(value, torch.Tensor):
        return [value]
    items = [value[key] for key in sorted(value)] if isinstance(value, dict) else value
    if not isinstance(value, (list, tuple, dict)):
        return []
    return [tensor for item in items for tensor in _listed(item)]


def _trick(actual: list[Any], expected: list[Any]) -> str | None:
    """Return what metadata does in place of a kernel; None: nothing.

    A lazy bit negates or conjugates when it is read; a stride of 0 shows one element many times.
    """
    for got, due in zip(actual, expected, strict=True):
        if (got.is_neg(), got.is_conj()) != (due.is_neg(), due.is_conj()):
            return "a result is negated or conjugated by a bit of its metadata, ATen's is not"
        if _overlaps(got) and not _overlaps(due):
            return "elements of a result share memory, ATen gives each its own"
    return None


def _overlaps(tensor: Any) -> bool:
    """Whether more elements than places in memory are certain."""
    if tensor.numel() == 0:
        return False
    steps = zip(tensor.shape, tensor.stride(), strict=True)
    return int(1 + sum((size - 1) * step for size, step in steps)) < int(tensor.numel())


def _backing(case: dict[str, Any], facts: list[dict[str, Any]]) -> dict[str, Any]:
    """Say where a right result comes from, and refuse one that no kernel made."""
    full = [fact for fact in facts if fact["bytes"]]
    if not facts:
        return {"status": "passed", "backing": "value"}
    if not full:
        return {"status": "passed", "backing": "vacuous"}
    aliases = case["aliases"]
    is_view = []
    for fact, may_alias in zip(facts, aliases, strict=False):
        if not fact["bytes"]:
            continue
        if fact["from"] == "elsewhere":
            return _refused("a result was not allocated in this call: it comes from an earlier one "
                            "or from outside")  # fmt: skip
        if fact["from"] == "input" and not may_alias:
            return _refused("a result is an input itself, ATen gives new memory")
        is_view.append(fact["from"] == "input")
        if fact["from"] in ("empty", "filled", "output") and fact["stored_bytes"] < fact["bytes"]:
            return _refused(f"kernels wrote {fact['stored_bytes']} of the {fact['bytes']} bytes of "
                            "a result")  # fmt: skip
    return {"status": "passed", "backing": "metadata" if all(is_view) else "kernel"}


def _differs(
    actual: Any, expected: Any, place: str, tolerances: Any, with_values: bool
) -> tuple[str, dict[str, Any]] | None:
    """Return what differs first, None when nothing does."""
    import torch

    if isinstance(expected, torch.Tensor):
        if not isinstance(actual, torch.Tensor):
            return f"{place} is a {type(actual).__name__}, expected a tensor", {}
        return _tensors_differ(actual, expected, place, next(tolerances), with_values)
    if isinstance(expected, (list, tuple)):
        if not isinstance(actual, (list, tuple)) or len(actual) != len(expected):
            found = len(actual) if isinstance(actual, (list, tuple)) else type(actual).__name__
            return f"{place} has {found} parts, expected {len(expected)}", {}
        for index, (one, other) in enumerate(zip(actual, expected, strict=True)):
            problem = _differs(one, other, f"{place}[{index}]", tolerances, with_values)
            if problem is not None:
                return problem
        return None
    if isinstance(expected, dict):
        if not isinstance(actual, dict) or set(actual) != set(expected):
            return f"{place} has other keys than expected: {sorted(expected)}", {}
        for key in expected:
            problem = _differs(
                actual[key], expected[key], f"{place}.{key}", tolerances, with_values
            )
            if problem is not None:
                return problem
        return None
    if isinstance(expected, float) and isinstance(actual, float):
        both_nan = math.isnan(expected) and math.isnan(actual)
        same = both_nan or math.isclose(actual, expected, rel_tol=1e-7, abs_tol=1e-7)
    else:
        same = type(actual) is type(expected) and actual == expected
    return None if same else (f"{place} is {actual!r}, expected {expected!r}", {})


def _tensors_differ(
    actual: Any, expected: Any, place: str, tolerance: tuple[float, float], with_values: bool
) -> tuple[str, dict[str, Any]] | None:
    import torch

    for what, got, due in (
        ("dtype", actual.dtype, expected.dtype),
        ("shape", tuple(actual.shape), tuple(expected.shape)),
    ):
        if got != due:
            return f"{place} has {what} {got}, expected {due}", {"what": what, "place": place}
    if not with_values or expected.numel() == 0:
        return None
    if actual.dtype == torch.bool and int(actual.contiguous().view(torch.uint8).max()) > 1:
        return f"{place} is boolean and holds other bytes than 0 and 1", {"what": "bool bytes"}
    actual, expected = actual.resolve_conj().resolve_neg(), expected.resolve_conj().resolve_neg()
    rtol, atol = tolerance
    exact = not (expected.is_floating_point() or expected.is_complex())
    close = (
        actual == expected
        if exact
        else torch.isclose(actual, expected, rtol=rtol, atol=atol, equal_nan=True)
    )
    if bool(close.all()):
        return None
    wrong = int((~close).sum())
    first = [int(i) for i in (~close).nonzero()[0]]
    got, due = actual[tuple(first)].item(), expected[tuple(first)].item()
    message = (
        f"{place}: {wrong} of {expected.numel()} elements differ, the first at {tuple(first)}: "
        f"{got!r}, expected {due!r} (rtol {rtol}, atol {atol})"
    )
    machine = {"what": "values", "place": place, "wrong": wrong, "numel": expected.numel(),
               "first_index": first, "actual": summary(actual), "expected": summary(expected),
               "wrong_indices": (~close).nonzero()[:64].tolist(),
               **_errors(actual, expected)}  # fmt: skip
    return message, machine


def _errors(actual: Any, expected: Any) -> dict[str, str]:
    import torch

    kind = torch.complex128 if expected.is_complex() else torch.float64
    gap = (actual.to(kind) - expected.to(kind)).abs()
    relative = gap / expected.to(kind).abs()
    return {"max_abs_error": f"{gap.nan_to_num().max().item():.4g}",
            "max_rel_error": f"{relative.nan_to_num(posinf=0.0).max().item():.4g}"}  # fmt: skip


def summary(tensor: Any) -> dict[str, Any]:
    """Describe a tensor in a few numbers, as JSON without NaN."""
    import torch

    described: dict[str, Any] = {"dtype": str(tensor.dtype).removeprefix("torch."),
                                 "shape": list(tensor.shape)}  # fmt: skip
    if tensor.numel() == 0:
        return described
    values = tensor.reshape(-1)
    described["first"] = [str(value) for value in values[:_SHOWN].tolist()]
    if tensor.is_complex():
        return described
    wide = values.to(torch.float64)
    finite = wide[torch.isfinite(wide)]
    described |= {"nan": int(torch.isnan(wide).sum()), "inf": int(torch.isinf(wide).sum())}
    if finite.numel():
        described |= {"min": finite.min().item(), "max": finite.max().item(),
                      "mean": finite.mean().item()}  # fmt: skip
    return described


def describe_inputs(tree: Any) -> list[str]:
    """Describe arguments in words: types, shapes, strides; numbers as they are."""

    def words(node: Any) -> str:
        if isinstance(node, list):
            return "[" + ", ".join(words(item) for item in node) + "]"
        if not isinstance(node, dict):
            return repr(node)
        ((kind, inner),) = node.items()
        if kind == "tensor":
            offset = f", offset {inner['offset']}" if inner["offset"] else ""
            return (f"{inner['dtype']} tensor of shape {tuple(inner['shape'])}, strides "
                    f"{tuple(inner['strides'])}{offset}")  # fmt: skip
        if kind == "tuple":
            return "(" + ", ".join(words(item) for item in inner) + ")"
        if kind == "dict":
            return "{" + ", ".join(f"{key}: {words(item)}" for key, item in inner.items()) + "}"
        return f"{kind} {inner}"

    args, kwargs = tree["tuple"]
    return [*(words(item) for item in args["tuple"]),
            *(f"{key}={words(item)}" for key, item in kwargs["dict"].items())]  # fmt: skip
