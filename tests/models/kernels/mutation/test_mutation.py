import ast
import importlib.util
from pathlib import Path

import pytest

from models.kernels.candidate import KernelCandidate
from models.kernels.compiler import CompilePool
from models.kernels.mutation import KINDS, MutationReport, mutants_of, mutation_score, sites_of
from models.kernels.mutation.equivalence import has_one_program, masked_value_is_unused

_spec = importlib.util.spec_from_file_location(
    "modules", Path(__file__).parents[1] / "harness" / "modules.py"
)
modules = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(modules)

EVERYTHING = """
@triton.jit
def kernel_rows(x, o, n, K: tl.constexpr, D: tl.constexpr):
    row = tl.program_id(0).to(tl.int64)
    total = tl.zeros((K,), tl.float32)
    for start in range(0, n, K):
        k = start + tl.arange(0, K)
        value = tl.load(x + row * n + k, mask=k < n, other=0.0).to(tl.float32)
        total += tl.where(k < n, tl.exp(tl.maximum(value, 0.0)), 0.0)
    if D:
        tl.store(o + row, tl.sum(total, axis=0))


@triton.jit
def kernel_never(o):
    tl.store(o, 1.0)


def wrapper(input):
    rows = input.shape[0]
    out = torch.empty((rows,), dtype=input.dtype)
    kernel_rows[(triton.cdiv(rows, 1),)](
        input, out, input.stride(0), input.stride(1), K=16, D=True)
    return out


def never(out):
    kernel_never[(triton.cdiv(out.numel(), 1),)](out)
"""
LAUNCHED = frozenset({"kernel_rows"})


def test_every_kind_of_change_has_a_site_in_a_kernel_of_every_kind_of_line():
    kinds = {site.kind for site in sites_of(EVERYTHING, LAUNCHED)}
    assert kinds == set(KINDS)


def test_a_change_keeps_the_lines_and_gives_another_program():
    original = ast.dump(ast.parse(EVERYTHING))
    for site in sites_of(EVERYTHING, LAUNCHED):
        text = site.applied(EVERYTHING)
        assert text.count("\n") <= EVERYTHING.count("\n")
        assert ast.dump(ast.parse(text)) != original, site


def test_what_no_test_launches_is_not_changed():
    functions = {site.function for site in sites_of(EVERYTHING, LAUNCHED)}
    assert functions == {"kernel_rows", "wrapper"}
    assert sites_of(EVERYTHING, frozenset()) == []


def test_a_seed_gives_the_same_mutants_each_a_program_of_its_own():
    candidate = KernelCandidate.of("sum", EVERYTHING)
    first = mutants_of(candidate, 30, 1, LAUNCHED)
    assert first == mutants_of(candidate, 30, 1, LAUNCHED)
    assert first != mutants_of(candidate, 30, 2, LAUNCHED)
    assert len({ast.dump(ast.parse(one.candidate.source)) for one in first}) == 30
    assert all(one.candidate.parent_sha == candidate.sha for one in first)
    assert {one.kind for one in first} == set(KINDS)


def test_there_are_no_more_mutants_than_sites():
    candidate = KernelCandidate.of("sum", EVERYTHING)
    everything = mutants_of(candidate, 10_000, 0, LAUNCHED)
    programs = {
        ast.dump(ast.parse(site.applied(EVERYTHING))) for site in sites_of(EVERYTHING, LAUNCHED)
    }
    assert {ast.dump(ast.parse(one.candidate.source)) for one in everything} == programs


POINTWISE = """
@triton.jit
def kernel_a(x, o, n, B: tl.constexpr):
    i = tl.arange(0, B)
    mask = i < n
    v = tl.load(x + i, mask=mask, other=0.0)
    w = tl.exp(v) + 1
{rest}
"""


@pytest.mark.parametrize(("rest", "is_unused"), [
    ("    tl.store(o + i, w, mask=mask)", True),
    ("    tl.store(o + i, w, mask=i < n + 1)", False),
    ("    tl.store(o + i, w)", False),
    ("    tl.store(o, tl.sum(w, axis=0))", False),
    ("    tl.store(o, tl.sum(tl.where(mask, w, 0.0), axis=0))", True),
    ("    tl.store(o, tl.sum(tl.where(mask, 0.0, w), axis=0))", False),
    ("    u = tl.sum(w, axis=0)\n    tl.store(o + i, u, mask=mask)", False),
    ("    mask = i < 2 * n\n    tl.store(o + i, w, mask=mask)", False),
    ("    acc = tl.zeros((B,), tl.float32)\n    acc += w\n    tl.store(o + i, acc, mask=mask)",
     False),
    ("    u = tl.load(x + w, mask=mask, other=0)\n    tl.store(o + i, u, mask=mask)", True),
])  # fmt: skip
def test_the_value_of_masked_lanes_is_followed_to_the_stores(rest, is_unused):
    assert masked_value_is_unused(POINTWISE.format(rest=rest), "kernel_a", 6) is is_unused


def test_a_grid_of_constants_is_the_same_in_every_call():
    launch = "def _block(n):\n    return n\n\ndef wrapper(x):\n    kernel_a[{grid}](x)\n"
    assert has_one_program(launch.format(grid="(1,)"), "kernel_a")
    assert has_one_program(launch.format(grid="(triton.cdiv(1, _block(1)),)"), "kernel_a")
    assert has_one_program(launch.format(grid="(triton.cdiv(1, _block(n)), 1)"), "kernel_a")
    assert not has_one_program(launch.format(grid="(triton.cdiv(1, n), n)"), "kernel_a")
    assert not has_one_program(launch.format(grid="(triton.cdiv(n, 2),)"), "kernel_a")
    assert not has_one_program(launch.format(grid="(x.numel(),)"), "kernel_a")
    assert not has_one_program(launch, "kernel_b")


def test_most_faults_die_and_what_lives_is_listed(harness):
    seen = []
    report = mutation_score(
        [KernelCandidate.of("mm", modules.MATMUL)], harness, 12, 3, suites=("S",),
        most_per_key=3, on_judged=seen.append,
    )  # fmt: skip
    assert len(report.judged) == 12
    assert tuple(seen) == report.judged
    assert sum(report.count(fate) for fate in ("killed", "survived", "equivalent")) == 12
    assert report.kill_rate >= 0.8
    assert set(report.survivors) == {one for one in report.judged if one.fate == "survived"}
    assert all(one.suite == "S" and one.by for one in report.judged if one.fate == "killed")
    assert all("bits" in one.by for one in report.survivors)
    assert sum(sum(fates.values()) for fates in report.by_kind.values()) == 12
    assert MutationReport.model_validate_json(report.model_dump_json()) == report


def test_a_module_that_passes_nothing_has_no_mutants(harness):
    broken = KernelCandidate.of("mm", "def wrapper(input, mat2):\n    return input\n")
    report = mutation_score([broken], harness, 5, 1, suites=("S",), most_per_key=1)
    assert report.without_baseline == ("mm",)
    assert report.kill_rate is None


CONVERTED = """
@triton.jit
def kernel_copy(x, o, n, B: tl.constexpr):
    i = tl.program_id(0) * B + tl.arange(0, B)
    tl.store(o + i, tl.load(x + i, mask=i < n).to(tl.float32), mask=i < n)

def wrapper(input):
    out = torch.empty(input.shape, dtype=input.dtype)
    kernel_copy[(triton.cdiv(out.numel(), 64),)](input, out, out.numel(), B=64)
    return out
"""


@pytest.mark.slow
def test_a_conversion_of_float_to_float_is_no_fault_and_the_compiler_shows_it(harness):
    from models.kernels.samples import Fill, SampleRecord

    tensor = {"dtype": "float32", "shape": (100,), "fill": Fill(kind="normal").model_dump()}
    samples = harness.prepare_records(
        "clone", [SampleRecord(op="clone", dtype="float32", args=({"tensor": tensor},))]
    )
    candidate = KernelCandidate.of("clone", CONVERTED)
    launches = harness.test(candidate, samples).launches
    mutants = mutants_of(candidate, 100, 1, frozenset({"kernel_copy"}))
    from models.kernels.mutation.equivalence import why_equivalent
    from models.kernels.profiles import find_profile

    sm90 = find_profile("sm90")
    with CompilePool() as pool:
        said = {
            one.kind: why_equivalent(candidate, one, launches, pool, sm90)
            for one in mutants
            if one.kind in ("upcast_dropped", "store_dropped", "edge_moved")
        }
    assert "same code for sm90" in said["upcast_dropped"]
    assert said["store_dropped"] is None
    assert said["edge_moved"] is None
