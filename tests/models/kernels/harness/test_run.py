import importlib.util
from pathlib import Path

import pytest

from models.errors import UnknownNameError
from models.kernels.candidate import KernelCandidate
from models.kernels.execute import ExecutionLimits
from models.kernels.forms import adapted
from models.kernels.harness import Harness, TestReport
from models.kernels.operators import find_operator
from models.kernels.profiles import find_profile
from models.kernels.samples import Fill, SampleRecord, read_samples, write_samples

_spec = importlib.util.spec_from_file_location("modules", Path(__file__).parent / "modules.py")
modules = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(modules)


def candidate(op_id, source):
    return KernelCandidate.of(op_id, source)


@pytest.mark.parametrize(("op_id", "source", "total"), [
    ("exp", modules.EXP, 15), ("mm", modules.MATMUL, 15), ("add", modules.ADD, 55),
])  # fmt: skip
def test_an_honest_module_passes_every_public_sample(harness, op_id, source, total):
    samples = harness.prepare(op_id)
    report = harness.test(candidate(op_id, source), samples)
    assert report.first_failure is None
    assert report.is_passing
    assert report.coverage == "kernel"
    assert report.store_coverage == 1.0
    assert report.total == sum(total for _, total in report.by_dtype.values())
    assert TestReport.model_validate_json(report.model_dump_json()) == report


def records_of_sum(path):
    rows = []
    for dtype, shape in (("float32", (3, 5)), ("float32", (2, 3, 130)), ("bfloat16", (4, 7))):
        tensor = {"dtype": dtype, "shape": shape,
                  "fill": Fill(kind="normal", seed=3).model_dump()}  # fmt: skip
        rows.append(SampleRecord(op="sum", dtype=dtype, args=({"tensor": tensor}, -1)))
    write_samples(path, rows)
    return read_samples(path)


def test_samples_of_a_file_test_a_sum_over_the_last_dimension(harness, tmp_path):
    samples = harness.prepare_records("sum", records_of_sum(tmp_path / "samples.jsonl"))
    report = harness.test(candidate("sum", modules.ROWS), samples)
    assert (report.passed, report.total, report.suite) == (3, 3, "data")
    signatures = {record.signature["x"] for record in report.launches}
    assert signatures == {"*fp32", "*bf16"}
    constexprs = [record.constexprs for record in report.launches]
    assert {"K": 256, "R": 1} in constexprs


def test_the_same_arguments_give_the_same_samples_and_ids(harness, zygote):
    first, again = harness.prepare("exp"), Harness(zygote).prepare("exp")
    assert [s["sample_id"] for s in first.samples] == [s["sample_id"] for s in again.samples]
    assert (first.inputs, first.expected) == (again.inputs, again.expected)
    other = harness.prepare("exp", "V1", seed=77)
    assert other.inputs != first.inputs
    assert len(other) == len(first)


def test_one_sample_of_each_structure_key_comes_first(harness):
    samples = harness.prepare("add", dtypes=["float32"]).samples
    keys = [sample["key"] for sample in samples]
    distinct = len(set(keys))
    assert distinct > 3
    assert len(set(keys[:distinct])) == distinct
    assert [sample["repeat"] for sample in samples] == [i < distinct for i in range(len(samples))]


CHEATS = {
    "returns an input": ("clone", "return input", "provenance: a result is an input itself"),
    "a constant allocation": ("zeros_like", "return torch.zeros_like(input)", "kernels wrote 0 of"),
    "torch computes": ("exp", "return torch.exp(input)", "dispatch: the wrapper calls aten::exp"),
    "undefined memory": ("exp", "return torch.empty_like(input)", "result"),
    "the wrong shape": ("exp", "return torch.empty(1)", "result has shape (1,), expected"),
    "the wrong type": ("exp", "return torch.empty(input.shape, dtype=torch.int8)", "has dtype"),
    "no tensor": ("exp", "return 1.0", "result is a float, expected a tensor"),
    "too many": ("exp", "return input, input", "result is a tuple, expected a tensor"),
}  # fmt: skip


@pytest.mark.parametrize("name", CHEATS)
def test_a_cheat_fails_with_its_name(harness, name):
    op_id, body, words = CHEATS[name]
    source = f"def wrapper(input, **kwargs):\n    {body}\n"
    samples = harness.prepare(op_id, dtypes=["float32"])
    report = harness.test(candidate(op_id, source), samples)
    assert report.passed < report.total
    assert words in report.first_failure.message
    assert report.coverage == "failed"


def test_an_answer_cached_by_its_input_is_not_of_this_call(harness):
    source = modules.EXP.replace("def wrapper(", "CACHE = {}\n\ndef fresh(") + (
        "def wrapper(input):\n    key = tuple(input.shape)\n"
        "    if key not in CACHE:\n        CACHE[key] = fresh(input)\n    return CACHE[key]\n"
    )
    report = harness.test(candidate("exp", source), harness.prepare("exp", dtypes=["float32"]))
    assert report.passed < report.total
    messages = {outcome.message for outcome in report.outcomes}
    assert any("was not allocated in this call" in m or "two runs" in m for m in messages)


def test_a_comparison_that_a_candidate_patches_is_not_the_one_that_judges(harness):
    source = modules.EXP.replace("tl.exp(value)", "value") + (
        "import torch.testing\n"
        "torch.testing.assert_close = lambda *args, **kwargs: None\n"
        "torch.isclose = lambda a, b, **kwargs: torch.ones_like(a, dtype=torch.bool)\n"
        "torch.equal = lambda *args: True\n"
    )
    report = harness.test(candidate("exp", source), harness.prepare("exp"))
    assert report.by_status == {"violation": report.total}
    assert report.first_failure.message == (
        "tampered: the module replaced torch.testing.assert_close"
    )


def test_the_first_failure_says_where_and_what(harness, tmp_path):
    source = modules.ROWS.replace("< n, 0)", "< n - 1, 0)")
    samples = harness.prepare_records("sum", records_of_sum(tmp_path / "samples.jsonl"))
    failure = harness.test(candidate("sum", source), samples).first_failure
    assert failure.status == "wrong"
    assert failure.machine["first_index"] == [0]
    assert failure.machine["numel"] == 3
    assert failure.machine["inputs"] == ["float32 tensor of shape (3, 5), strides (5, 1)", "-1"]
    assert failure.machine["expected"]["shape"] == [3]
    assert "rtol 1.3e-06, atol 1e-05" in failure.message


def test_a_crash_costs_its_own_sample_only(harness):
    leaving = "    n = out.numel()\n    if input.ndim == 0:\n        import os\n        os._exit(0)"
    source = modules.EXP.replace("    n = out.numel()", leaving, 1)
    report = harness.test(candidate("exp", source), harness.prepare("exp"))
    assert report.by_status["no_report"] == 5
    assert report.by_status["passed"] == report.total - 5


def test_after_too_many_crashes_the_rest_is_not_run(zygote):
    impatient = Harness(zygote, ExecutionLimits(most_restarts=1))
    source = "def wrapper(input):\n    import os\n    os._exit(0)\n"
    report = impatient.test(candidate("exp", source), impatient.prepare("exp"))
    assert report.by_status == {"no_report": 2, "not_run": report.total - 2}
    assert report.passed == 0


def test_stopping_at_the_first_failure_keeps_the_rest_in_the_denominator(harness):
    source = "def wrapper(input):\n    raise ValueError('not yet')\n"
    report = harness.test(candidate("exp", source), harness.prepare("exp"),
                          stop_at_first_failure=True)  # fmt: skip
    assert report.by_status == {"raised": 1, "not_run": report.total - 1}
    assert "line 2, in wrapper: raise ValueError('not yet')" in report.first_failure.message


def test_a_module_that_does_not_load_fails_every_sample(harness):
    report = harness.test(candidate("exp", "x = 1"), harness.prepare("exp"))
    assert report.by_status == {"broken_module": report.total}


def test_results_that_depend_on_undefined_memory_or_time_are_not_repeatable(harness):
    source = (
        modules.EXP.replace("def wrapper(", "COUNT = [0]\n\ndef fresh(")
        .replace("kernel_exp[", "COUNT[0] += 1\n    kernel_exp[")
        .replace("tl.exp(value)", "tl.exp(value) + tiny")
        .replace("n, s0", "n, tiny, s0")
        .replace("out, n, *x", "out, n, COUNT[0] * 1e-7, *x")
        + "def wrapper(input):\n    return fresh(input)\n"
    )
    report = harness.test(candidate("exp", source), harness.prepare("exp", dtypes=["float32"]))
    assert any("two runs" in outcome.message for outcome in report.outcomes)


def test_a_view_counts_as_metadata_and_a_kernel_s_copy_as_kernel(harness):
    report = harness.test(candidate("t", "def wrapper(input):\n    return input.t()\n"),
                          harness.prepare("t"))  # fmt: skip
    assert report.is_passing
    assert report.coverage == "metadata"


def test_a_profile_s_alignment_reaches_the_kernels(harness):
    samples = harness.prepare("exp", dtypes=["float16"])
    report = harness.test(candidate("exp", modules.EXP.replace("1024", "8")), samples,
                          find_profile("padded32"))  # fmt: skip
    assert "misaligned: " in report.first_failure.message
    assert report.profile == "padded32"


def test_modules_that_call_others_get_them(harness):
    other = candidate("exp", modules.EXP)
    caller = KernelCandidate.of(
        "special.exp2", "def wrapper(input):\n    return generated['exp'](input)\n",
        mode="self_consistent", depends_on=("exp",))  # fmt: skip
    report = harness.test(caller, harness.prepare("exp"), depends_on=(other,))
    assert report.is_passing


DOT = """
@triton.jit
def kernel_dot(x, y, o, n, sx, sy, B: tl.constexpr):
    i = tl.arange(0, B)
    tl.store(o, tl.sum(tl.load(x + i * sx, i < n, 0) * tl.load(y + i * sy, i < n, 0)))

def checked(input, other):
    if input.ndim != 1 or other.ndim != 1 or input.shape != other.shape:
        raise RuntimeError("1D tensors of one size, please")
    if input.dtype != other.dtype:
        raise RuntimeError("one type, please")
    return input.shape[0]

def wrapper(input, tensor):
    n = checked(input, tensor)
    out = torch.empty((), dtype=input.dtype)
    kernel_dot[(1,)](input, tensor, out, n, input.stride(0), tensor.stride(0),
                     B=triton.next_power_of_2(n))
    return out
"""


def test_out_forms_are_written_and_error_inputs_refused(harness):
    samples = harness.prepare("dot", "V6", dtypes=["float32"])
    errors = sum("error_type" in sample for sample in samples.samples)
    assert errors >= 4
    assert {sample["form"] for sample in samples.samples} == {"out", "error"}
    report = harness.test(adapted(candidate("dot", DOT), find_operator("dot")), samples)
    assert report.first_failure is None
    assert report.by_backing == {"kernel": len(samples) - errors, "value": errors}
    accepting = harness.test(candidate("dot", "def wrapper(*args):\n    return None\n"), samples)
    assert accepting.by_status["no_error"] == sum(s["form"] == "error" for s in samples.samples)
    assert "no function wrapper_out" in accepting.first_failure.message


def test_half_precision_may_be_more_exact_than_aten_and_the_report_says_so(harness):
    report = harness.test(candidate("add", modules.ADD), harness.prepare("add"))
    assert report.passed_by_fp32 == sum(o.oracle == "fp32" for o in report.outcomes)
    assert 0 < report.passed_by_fp32 < 5
    assert all(o.dtype in ("float16", "bfloat16") for o in report.outcomes if o.oracle == "fp32")


@pytest.mark.parametrize(("suite", "notes"), [
    ("V2", {"transposed", "sliced", "stride0"}),
    ("V3", {"20to0", "20to1", "20to257", "0d", "large"}),
])  # fmt: skip
def test_layouts_and_shapes_are_made_and_honest_code_that_ignores_strides_fails(
    harness, suite, notes
):
    samples = harness.prepare("sin", suite, dtypes=["float32"])
    made = {sample["sample_id"].rsplit("/", 1)[-1] for sample in samples.samples}
    assert notes <= made
    ignorant = """
@triton.jit
def kernel_sin(x, o, n, B: tl.constexpr):
    i = tl.program_id(0) * B + tl.arange(0, B)
    tl.store(o + i, tl.sin(tl.load(x + i, i < n)), i < n)

def wrapper(input):
    out = torch.empty(input.shape, dtype=input.dtype)
    kernel_sin[(triton.cdiv(out.numel(), 65536),)](input, out, out.numel(), B=65536)
    return out
"""
    report = harness.test(candidate("sin", ignorant), samples)
    if suite == "V2":
        assert report.passed == 0
    else:
        assert report.is_passing


def test_unseen_dtypes_are_another_suite(harness):
    samples = harness.prepare("abs", "V4")
    assert {sample["dtype"] for sample in samples.samples} == {
        "int8", "uint8", "int16", "float64", "bool",
    } - {"bool"}  # fmt: skip


def test_a_sparse_sample_is_skipped_by_reason_and_stays_in_the_denominator(harness):
    samples = harness.prepare("sparse.sampled_addmm", dtypes=["float32"])
    report = harness.test(candidate("sparse.sampled_addmm", modules.MATMUL), samples)
    assert report.total == len(samples)
    assert sum(report.skipped.values()) == report.by_status["skipped"] > 0
    assert any("sparse" in reason for reason in report.skipped)
    assert not report.is_passing


def test_an_unknown_operator_is_named(harness):
    with pytest.raises(UnknownNameError, match="no operator named 'expp'"):
        harness.prepare("expp")
