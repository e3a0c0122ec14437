"""Kernels through Triton's real compilers, without a GPU."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from models.errors import ConfigError
from models.kernels.candidate import KernelCandidate
from models.kernels.compiler import CompilePool
from models.kernels.compiler.errors import classify, trim
from models.kernels.execute.recorder import LaunchRecord
from models.kernels.lint import Signature
from models.kernels.profiles import find_profile
from models.kernels.synth.calls import Call
from models.kernels.synth.module import synthesize
from models.kernels.synth.schedule import Schedule
from models.settings import ROOT

SM90, GFX942 = find_profile("sm90"), find_profile("gfx942")


@pytest.fixture(scope="module")
def pool() -> Iterator[CompilePool]:
    with CompilePool(timeout_s=60) as one:
        yield one


def record(kernel: str, signature: dict[str, str], **constexprs: int) -> LaunchRecord:
    types = {**signature, **dict.fromkeys(constexprs, "constexpr")}
    return LaunchRecord(kernel=kernel, signature=types, constexprs=dict(constexprs), grid=(1, 1, 1))


def written(schema: str, *calls: Call) -> KernelCandidate:
    source, _ = synthesize(Signature.parse(schema), calls, Schedule(block=1024, columns=1024))
    return KernelCandidate.of(schema.partition("(")[0], source)


X = torch.ones(3, 5)
ROWS = {"ROWS": 1, "COLS": 1024}
MODULES = {
    "exp": (written("exp(Tensor self) -> Tensor", Call(torch.exp, (X,), {})), {"BLOCK": 1024}),
    "lgamma": (
        written("lgamma(Tensor self) -> Tensor", Call(torch.lgamma, (X[0],), {})),
        {"BLOCK": 1024},
    ),
    "sum": (written("sum(Tensor self, int dim) -> Tensor", Call(torch.sum, (X, 1), {})), ROWS),
    "argmax": (
        written("argmax(Tensor self, int dim) -> Tensor", Call(torch.argmax, (X, 1), {})),
        ROWS,
    ),
    "cumsum": (
        written("cumsum(Tensor self, int dim) -> Tensor", Call(torch.cumsum, (X, 1), {})),
        ROWS,
    ),
    "where": (
        written(
            "where(Tensor condition, Tensor self, Tensor other) -> Tensor",
            Call(torch.where, (X > 0, X, X), {}),
        ),
        {"BLOCK": 1024},
    ),
}


def signature_of(candidate: KernelCandidate) -> dict[str, str]:
    """Return types for kernel_0: pointers to floats but for the result of argmax, else integers."""
    head = next(line for line in candidate.source.split("\n") if line.startswith("def kernel_0("))
    names = [
        part.strip()
        for part in head[len("def kernel_0(") : -2].split(",")
        if "constexpr" not in part
    ]
    types = {name: "*fp32" if name.startswith("p") else "i32" for name in names}
    if candidate.op_id == "argmax":
        types["p1"] = "*i64"
    if candidate.op_id == "where":
        types["p1"] = "*i1"
    return types


@pytest.mark.parametrize("profile", [SM90, GFX942], ids=lambda one: one.name)
@pytest.mark.parametrize("name", MODULES)
def test_synthesised_kernels_compile_to_machine_code(pool: CompilePool, name: str, profile):
    candidate, constexprs = MODULES[name]
    names = signature_of(candidate)
    result = pool.compile(candidate, record("kernel_0", names, **constexprs), profile)
    assert result.ok, result.error_excerpt
    assert (result.stage_reached, result.error_class) == ("binary", None)
    assert result.sizes["cubin" if profile is SM90 else "hsaco"] > 500
    assert result.registers is not None
    assert 0 < result.registers <= 255
    assert result.spilled_bytes is not None
    assert result.sha == candidate.sha


WRONG = """\
@triton.jit
def kernel_wrong(p, n, BLOCK: tl.constexpr):
    at = tl.arange(0, BLOCK)
    x = tl.load(p + at, mask=at < n)
    y = {expression}
    tl.store(p + at, y, mask=at < n)


def wrapper(self):
    kernel_wrong[(1,)](self, 1, BLOCK=64)
"""


@pytest.mark.parametrize(
    ("expression", "kind", "error_class"),
    [
        ("tl.exp(x)", "*i64", "type"),
        ("x + missing_name", "*fp32", "name"),
        ("x + tl.arange(0, 128)", "*fp32", "shape"),
        ("x + tl.arange(0, 63)", "*fp32", "constexpr"),
    ],
)
def test_failures_have_a_class_the_authors_line_and_a_short_excerpt(
    pool: CompilePool, expression: str, kind: str, error_class: str
):
    candidate = KernelCandidate.of("wrong", WRONG.format(expression=expression))
    result = pool.compile(
        candidate, record("kernel_wrong", {"p": kind, "n": "i32"}, BLOCK=64), SM90
    )
    assert (result.ok, result.error_class, result.error_line) == (False, error_class, 5)
    assert 20 < len(result.error_excerpt) < 1_300
    assert "site-packages" not in result.error_excerpt


def test_a_missing_kernel_and_a_broken_module_are_results(pool: CompilePool):
    candidate = KernelCandidate.of("wrong", WRONG.format(expression="x"))
    missing = pool.compile(candidate, record("kernel_other", {"p": "*fp32"}), SM90)
    assert (missing.ok, missing.error_class, missing.stage_reached) == (False, "name", "load")
    broken = pool.compile(
        KernelCandidate.of("wrong", "def wrapper(:\n"), record("kernel", {}), SM90
    )
    assert (broken.ok, broken.error_class) == (False, "syntax")


def test_a_module_that_hangs_ends_with_a_time_out_and_the_pool_goes_on():
    hanging = KernelCandidate.of("wrong", "while True:\n    pass\n")
    good = KernelCandidate.of("wrong", WRONG.format(expression="x * 2.0"))
    with CompilePool(timeout_s=3) as short:
        result = short.compile(hanging, record("kernel", {}), SM90)
        assert (result.ok, result.error_class) == (False, "timeout")
        short.timeout_s = 60
        assert short.compile(
            good, record("kernel_wrong", {"p": "*fp32", "n": "i32"}, BLOCK=64), SM90
        ).ok


def test_a_process_that_ends_is_a_crash_not_a_success():
    with CompilePool(timeout_s=30) as one:
        candidate = KernelCandidate.of("wrong", "import os\nos._exit(0)\n")
        result = one.compile(candidate, record("kernel", {}), SM90)
    assert (result.ok, result.error_class) == (False, "crash")


@pytest.mark.parametrize(
    ("expression", "kind", "said"),
    [
        ("x.to(tl.float64) * 0.1", "*fp32", "double precision"),
        ("tl.atomic_add(p + at, x, mask=at < n)", "*fp32", "an atomic"),
        ("tl.sum(tl.full((65536,), 1.0, tl.float32)) + x", "*fp32", "a block of 65536 elements"),
    ],
)
def test_a_dialect_refuses_what_it_lacks(pool: CompilePool, expression: str, kind: str, said: str):
    candidate = KernelCandidate.of("wrong", WRONG.format(expression=expression))
    launch = record("kernel_wrong", {"p": kind, "n": "i32"}, BLOCK=64)
    result = pool.compile(candidate, launch, find_profile("padded32"))
    assert (result.ok, result.error_class) == (False, "dialect")
    assert said in result.error_excerpt
    assert "padded32" in result.error_excerpt


SCATTER = """\
@triton.jit
def kernel_scatter(p, q, n, BLOCK: tl.constexpr):
    at = tl.arange(0, BLOCK)
    place = tl.load(q + at, mask=at < n)
    tl.store(p + place, at, mask=at < n)


def wrapper(self):
    kernel_scatter[(1,)](self, self, 1, BLOCK=64)
"""


def test_a_dialect_without_scatter_refuses_stores_to_loaded_addresses(pool: CompilePool):
    launch = record("kernel_scatter", {"p": "*i32", "q": "*i64", "n": "i32"}, BLOCK=64)
    candidate = KernelCandidate.of("wrong", SCATTER)
    refused = pool.compile(candidate, launch, find_profile("padded32"))
    assert (refused.ok, refused.error_class) == (False, "dialect")
    assert pool.compile(candidate, launch, SM90).ok


def test_the_interpreter_has_nothing_to_compile_for(pool: CompilePool):
    with pytest.raises(ConfigError, match="no compiler"):
        pool.compile(
            KernelCandidate.of("x", SCATTER),
            record("kernel_scatter", {}),
            find_profile("interpreter"),
        )


def test_messages_are_classified_and_trimmed():
    assert classify("Expected dtype ['fp32', 'fp64'] but got int64") == "type"
    assert classify("out of resource: shared memory, Required: 300000") == "resource"
    assert classify("something new") == "other"
    shown = trim(
        "at 4:8:\ndef kernel(x):\n    a = 1\n    y = tl.exp(x)\n        ^\n"
        "Expected dtype\nExpected dtype"
    )
    assert shown == "    y = tl.exp(x)\nExpected dtype"


def test_a_compiling_process_ends_with_whoever_asked_it() -> None:
    program = (
        "import os, sys, time\n"
        "from models.kernels.compiler.pool import CompileWorker\n"
        "worker = CompileWorker()\n"
        "worker._start()\n"
        "print(worker._process.pid, flush=True)\n"
        "time.sleep(600)\n"
    )
    asker = subprocess.Popen(
        [sys.executable, "-c", program], stdout=subprocess.PIPE, text=True, cwd=ROOT
    )
    assert asker.stdout is not None
    pid = int(asker.stdout.readline())
    os.kill(pid, signal.SIGSTOP)  # as deaf as in the middle of a compile
    asker.kill()
    asker.wait()
    asker.stdout.close()
    until = time.monotonic() + 20
    while Path(f"/proc/{pid}/stat").exists() and time.monotonic() < until:
        if Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z":
            break  # dead; who adopts it here collects nothing
        time.sleep(0.1)
    assert time.monotonic() < until, "it lives on"
