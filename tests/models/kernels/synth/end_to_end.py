"""Child of test_end_to_end.py: synthesise, lint and run a fixed set of operators; prints JSON.

Its own process, for Triton's interpreter is chosen when a process starts.
"""

import json
import logging
import os
import sys
import tempfile
from pathlib import Path
from typing import Any

os.environ["TRITON_INTERPRET"] = "1"

import data_cases
import network_cases
import torch
import triton
from torch.nn import functional

from models.kernels.candidate import HEADER_LINES, KernelCandidate, load_module
from models.kernels.execute.builder import STATE
from models.kernels.execute.call import run_call
from models.kernels.execute.launch import install
from models.kernels.execute.recorder import BlackBox, Recorder
from models.kernels.lint import Signature, lint_text
from models.kernels.profiles import find_profile
from models.kernels.samples.values import pack, unpack
from models.kernels.synth.calls import Call
from models.kernels.synth.module import Schedule, synthesize

logging.disable(logging.CRITICAL)
triton.knobs.runtime.interpret = True
install()
torch.manual_seed(5)
DTYPES = (torch.float32, torch.bfloat16, torch.int64)
FLOATS = (torch.float32, torch.float16)


def make(*shape: int, dtype: torch.dtype = torch.float32) -> torch.Tensor:
    if dtype.is_floating_point:
        return torch.randn(shape).to(dtype)
    return torch.randint(-9, 9, shape, dtype=dtype)


def layouts(dtype: torch.dtype) -> list[torch.Tensor]:
    """The same rank under different strides, an empty tensor, one without dimensions."""
    plain = make(4, 6, dtype=dtype)
    return [
        plain,
        make(6, 4, dtype=dtype).t(),
        make(8, 12, dtype=dtype)[1::2, 3:9],
        make(1, 6, dtype=dtype).expand(4, 6),
        make(0, 3, dtype=dtype),
        make(dtype=dtype),
    ]


def unary(function: Any, dtypes: Any = FLOATS) -> list[Call]:
    return [Call(function, (x,), {}) for dtype in dtypes for x in layouts(dtype)]


def with_nan() -> torch.Tensor:
    x = make(3, 7)
    x[0, 2], x[1, 3], x[2, 1] = float("nan"), float("inf"), float("-inf")
    return x


INDEX = torch.tensor([[0, 2, 1], [3, 0, 0]])
CASES: dict[str, tuple[str, list[Call]]] = {
    "exp": ("exp(Tensor self) -> Tensor", unary(torch.exp)),
    "tanh": ("tanh(Tensor self) -> Tensor", unary(torch.tanh)),
    "lgamma": ("lgamma(Tensor self) -> Tensor", unary(torch.lgamma, (torch.float32,))),
    "abs": ("abs(Tensor self) -> Tensor", unary(torch.abs, DTYPES)),
    "gelu": (
        "gelu(Tensor self, *, str approximate='none') -> Tensor",
        [Call(functional.gelu, (make(5, 3),), {"approximate": a}) for a in ("none", "tanh")],
    ),
    "add": (
        "add(Tensor self, Tensor|Scalar other, *, Scalar alpha=1) -> Tensor",
        [
            Call(torch.add, (make(4, 1, 3, dtype=d), make(5, 1, dtype=d)), {"alpha": 2})
            for d in DTYPES
        ]
        + [
            Call(torch.add, (make(3), 2.5), {}),
            Call(torch.add, (make(3, dtype=torch.int64), make(3)), {}),
        ],
    ),
    "where": (
        "where(Tensor condition, Tensor self, Tensor other) -> Tensor",
        [Call(torch.where, (make(4, 1) > 0, make(4, 3), make(3)), {})],
    ),
    "maximum": (
        "maximum(Tensor self, Tensor other) -> Tensor",
        [Call(torch.maximum, (with_nan(), make(3, 7)), {})],
    ),
    "remainder": (
        "remainder(Tensor self, Tensor|Scalar other) -> Tensor",
        [
            Call(
                torch.remainder,
                (make(9, dtype=torch.int64), torch.tensor([3, -3, 2, 5, -1, 7, 4, -4, 1])),
                {},
            ),
            Call(torch.remainder, (make(9), -1.5), {}),
        ],
    ),
    "clamp": (
        "clamp(Tensor self, Scalar? min=None, Scalar? max=None) -> Tensor",
        [
            Call(torch.clamp, (with_nan(),), {"min": -0.5}),
            Call(torch.clamp, (make(4), -0.25, 0.25), {}),
        ],
    ),
    "sum": (
        "sum(Tensor self, int[1]? dim=None, bool keepdim=False) -> Tensor",
        [
            Call(torch.sum, (x, d, k), {})
            for t in DTYPES
            for x in layouts(t)[:3]
            for d in (0, 1, [0, 1])
            for k in (False, True)
        ],
    ),
    "var": (
        "var(Tensor self, int[1]? dim=None, *, Scalar? correction=None, "
        "bool keepdim=False) -> Tensor",
        [
            Call(torch.var, (make(7, 5) + 1000.0, 0), {"correction": 1}),
            Call(torch.var, (make(7, 5, 2), [0, 2]), {"correction": 0, "keepdim": True}),
        ],
    ),
    "amax": (
        "amax(Tensor self, int[1] dim=[], bool keepdim=False) -> Tensor",
        [
            Call(torch.amax, (with_nan(), 1), {}),
            Call(torch.amax, (make(4, 3, dtype=torch.int64), 0), {}),
        ],
    ),
    "argmax": (
        "argmax(Tensor self, int? dim=None, bool keepdim=False) -> Tensor",
        [
            Call(torch.argmax, (with_nan(), 1), {}),
            Call(torch.argmax, (torch.tensor([1, 5, 5, 2]),), {}),
        ],
    ),
    "softmax": (
        "softmax(Tensor self, int dim, ScalarType? dtype=None) -> Tensor",
        [Call(torch.softmax, (x, 1), {}) for t in FLOATS for x in layouts(t)[:4]],
    ),
    "layer_norm": (
        "layer_norm(Tensor input, SymInt[] normalized_shape, Tensor? weight=None, "
        "Tensor? bias=None, float eps=1e-05) -> Tensor",
        [
            Call(functional.layer_norm, (make(4, 6), [6], make(6), make(6)), {}),
            Call(functional.layer_norm, (make(4, 6) * 100, [6]), {"eps": 0.5}),
        ],
    ),
    "cumsum": (
        "cumsum(Tensor self, int dim) -> Tensor",
        [Call(torch.cumsum, (x, d), {}) for x in layouts(torch.float32)[:3] for d in (0, 1)],
    ),
    "cat": (
        "cat(Tensor[] tensors, int dim=0) -> Tensor",
        [
            Call(torch.cat, ([make(2, 3), make(4, 3), make(1, 3)],), {}),
            Call(torch.cat, ([make(2, 3), make(2, 1)], 1), {}),
        ],
    ),
    "flip": (
        "flip(Tensor self, int[] dims) -> Tensor",
        [Call(torch.flip, (x, [0, 1]), {}) for x in layouts(torch.int64)[:3]],
    ),
    "gather": (
        "gather(Tensor self, int dim, Tensor index) -> Tensor",
        [
            Call(torch.gather, (make(4, 3), 0, INDEX), {}),
            Call(torch.gather, (make(4, 3).t(), 1, INDEX), {}),
        ],
    ),
    "scatter_add": (
        "scatter_add(Tensor self, int dim, Tensor index, Tensor src) -> Tensor",
        [Call(torch.scatter_add, (make(4, 3), 0, INDEX, make(2, 3)), {})],
    ),
    "index_add": (
        "index_add(Tensor self, int dim, Tensor index, Tensor source, *, Scalar alpha=1) -> Tensor",
        [Call(torch.index_add, (make(4, 3), 0, torch.tensor([0, 2, 2]), make(3, 3)), {})],
    ),
    "sort": (
        "sort(Tensor self, int dim=-1, bool descending=False) -> (Tensor values, Tensor indices)",
        [Call(torch.sort, (with_nan(),), {}), Call(torch.sort, (make(5, 4), 0, True), {})],
    ),
    "mm": (
        "mm(Tensor self, Tensor mat2) -> Tensor",
        [
            Call(torch.mm, (make(5, 7, dtype=t), make(3, 7, dtype=t).t()), {})
            for t in (torch.float32, torch.int64)
        ],
    ),
    "conv2d": (
        "conv2d(Tensor input, Tensor weight, Tensor? bias=None, SymInt[2] stride=1, "
        "SymInt[2] padding=0) -> Tensor",
        [
            Call(
                functional.conv2d,
                (make(2, 3, 7, 6), make(4, 3, 3, 2), make(4)),
                {"stride": [2, 1], "padding": [1, 1]},
            )
        ],
    ),
    "full": (
        "full(SymInt[] size, Scalar fill_value, *, ScalarType? dtype=None) -> Tensor",
        [Call(torch.full, ([3, 4], 2.5), {}), Call(torch.full, ([5], 7), {})],
    ),
}
UNSEEN: dict[str, list[Call]] = {
    "exp": [
        Call(torch.exp, (make(31, 17),), {}),
        Call(torch.exp, (make(2, 3, 1, 4, 2, 3).transpose(1, 5),), {}),
        Call(torch.exp, (make(4, 6, dtype=torch.float64),), {}),
        Call(torch.exp, (make(2, 1, 3, 2, dtype=torch.float64),), {}),
    ],
    "abs": [
        Call(torch.abs, ((9 * make(4, 6)).abs().to(dtype),), {})
        for dtype in (torch.int8, torch.int16, torch.uint8, torch.float64)
    ],
    "maximum": [
        Call(torch.maximum, (make(5, 1, 2, 7), make(3, 1, 1)), {}),
        Call(torch.maximum, (make(0, 3), make()), {}),
    ],
    "flip": [Call(torch.flip, (make(5, 3, dtype=torch.int16), [0, 1]), {})],
    "cumsum": [Call(torch.cumsum, (make(2, 3, 4, 5), 1), {})],
    "sum": [Call(torch.sum, (make(9, 513), 1, False), {})],
    "softmax": [Call(torch.softmax, (make(3, 5000), 1), {})],
    "add": [
        Call(torch.add, (make(2, 1, 9), make(70, 1)), {"alpha": 2}),
        Call(torch.add, (make(2, 1, 3, 1), make(4, 1, 5)), {"alpha": 2}),
        Call(
            torch.add, (make(4, 1, 3, dtype=torch.int8), make(5, 1, dtype=torch.int8)), {"alpha": 2}
        ),
    ],
    "layer_norm": [Call(functional.layer_norm, (make(3, 40), [40], make(40), make(40)), {})],
    "mm": [Call(torch.mm, (make(70, 33), make(20, 33).t()), {})],
}
"""Sizes, ranks and types that no program was written from: programs must not depend on them."""


def close(actual: Any, expected: Any) -> str:
    if isinstance(expected, bool):
        return "" if actual is expected else f"{actual!r}, expected {expected!r}"
    got, wanted = ([x] if isinstance(x, torch.Tensor) else list(x) for x in (actual, expected))
    try:
        for one, other in zip(got, wanted, strict=True):
            torch.testing.assert_close(one, other, equal_nan=True, check_stride=False)
    except (AssertionError, ValueError) as error:
        return " ".join(str(error).split())[:300]
    return ""


def examine(name: str, folder: Path, schedule: Schedule) -> dict[str, Any]:
    schema, calls = (CASES | data_cases.CASES | network_cases.CASES)[name]
    signature = Signature.parse(schema)
    source, made = synthesize(signature, calls, schedule)
    may_read = name in data_cases.READS
    report = lint_text(source, signature, find_profile("interpreter"), size_reads=may_read)
    candidate = KernelCandidate.of(name, source)
    recorder = Recorder(
        BlackBox(), str(folder / f"generated_{candidate.sha[:24]}.py"), HEADER_LINES
    )
    STATE.recorder, STATE.align_bytes = recorder, 1
    module = load_module(candidate, folder)
    wrong = []
    unseen = UNSEEN | data_cases.UNSEEN | network_cases.UNSEEN
    for call in [*calls, *unseen.get(name, [])]:
        tree, block = pack((call.args, dict(call.kwargs)))
        request = {"tree": tree, "place": [0, len(block)], "form": "functional",
                   "may_read": may_read}  # fmt: skip
        outcome, out = run_call(module, request, bytes(block), recorder)
        if outcome["status"] != "ran":
            wrong.append(str(outcome)[:400])
        elif said := close(unpack(outcome["tree"], out), call.function(*call.args, **call.kwargs)):
            wrong.append(said)
    return {
        "source": source,
        "signature": schema,
        "refused": made.refused,
        "lint": report.text() if not report.passed else "",
        "wrong": wrong,
        "calls": len(calls),
        "rules": made.rules,
        "launches": [one.model_dump(mode="json") for one in recorder.launches.values()],
    }


if __name__ == "__main__":
    block = int(sys.argv[1])
    with tempfile.TemporaryDirectory() as made_in:
        found = {
            name: examine(name, Path(made_in), Schedule(block=block, columns=min(block, 4096)))
            for name in (sys.argv[2:] or CASES | data_cases.CASES)
        }
    print(json.dumps(found))
