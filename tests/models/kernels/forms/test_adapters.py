"""Generated out= and in-place forms: what they compute and raise, and what no form may do."""

import importlib.util
from pathlib import Path

import pytest
import torch

from models.kernels import Signature, find_profile, lint_text
from models.kernels.candidate import KernelCandidate
from models.kernels.forms import adapted, adapters_text
from models.kernels.operators import find_operator
from models.kernels.samples.forms import given_outputs, written_inputs

_place = Path(__file__).parents[1] / "harness/modules.py"
_spec = importlib.util.spec_from_file_location("modules", _place)
modules = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(modules)

KERNEL = """\
@triton.jit
def kernel_copy(x_ptr, o_ptr, n, BLOCK: tl.constexpr):
    offs = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    tl.store(o_ptr + offs, tl.load(x_ptr + offs, mask=offs < n), mask=offs < n)


"""
SCHEMA = Signature.parse("op(Tensor self, Tensor other, *, Scalar alpha=1) -> Tensor")
WRAPPER = """\
def wrapper(self, other, *, alpha=1):
    out = torch.empty_like(self)
    n = out.numel()
    kernel_copy[(triton.cdiv(n, 64),)](self, out, n, BLOCK=64)
    return out


"""


def added(**fields):
    spec = find_operator("add")
    return adapted(KernelCandidate.of("add", modules.ADD, **fields), spec)


def test_every_form_of_an_operator_comes_from_its_one_function(harness):
    samples = harness.prepare("add", "V6", dtypes=["float32", "int64"])
    notes = {sample["sample_id"].rsplit("/", 1)[1] for sample in samples.samples}
    assert notes >= {"out", "strided", "empty", "wider", "narrower", "expanded", "overlap",
                     "itself", "inplace", "dunder"}  # fmt: skip
    report = harness.test(added(), samples)
    assert report.first_failure is None
    assert report.passed == report.total
    refused = sum("error_type" in sample for sample in samples.samples)
    assert report.by_backing == {"kernel": report.total - refused, "value": refused}
    assert refused > 10
    bare = harness.test(KernelCandidate.of("add", modules.ADD), samples)
    assert "no function wrapper_out" in {one.message for one in bare.outcomes}


def test_adapters_say_whose_they_are_and_leave_what_a_module_has():
    once = added(proposer="rules")
    assert once.source.startswith(modules.ADD.rstrip())
    assert (once.proposer, once.parent_sha) == ("rules", KernelCandidate.of("add", modules.ADD).sha)
    assert adapted(once, find_operator("add")).sha == once.sha
    own = KernelCandidate.of(
        "add", modules.ADD + "\ndef wrapper_out(*args, out):\n    return out\n"
    )
    assert adapted(own, find_operator("add")).source.count("def wrapper_out(") == 1
    without = KernelCandidate.of("linalg.det", "def wrapper(A):\n    return A\n")
    assert "inplace" not in find_operator("linalg.det").tags
    assert "def wrapper_inplace(" not in adapted(without, find_operator("linalg.det")).source
    broken = KernelCandidate.of("add", "def wrapper(:")
    assert adapted(broken, find_operator("add")) is broken


@pytest.mark.parametrize(
    "schema",
    [
        "op(Tensor self) -> Tensor",
        "op(int n, *, ScalarType? dtype=None) -> Tensor",
        "op(Any input, Any dim=None) -> Any",
        "op(Tensor[] tensors, int dim=0) -> Tensor",
        "op(Tensor self, Tensor?[] indices, Tensor|Scalar value=1.0, *, str mode='x') -> Tensor",
    ],
)
def test_what_is_generated_passes_the_linter(schema):
    signature = Signature.parse(schema)
    head = adapters_text(signature).split("def wrapper_inplace(")[1].split(":\n")[0]
    wrapper = f"def wrapper({head}:\n    b = torch.empty((2,), dtype=torch.float32)\n"
    wrapper += "    kernel_copy[(1,)](b, b, 2, BLOCK=2)\n    return b\n\n\n"
    source = KERNEL + wrapper + adapters_text(signature)
    report = lint_text(source, signature, find_profile("sm90"))
    assert report.violations == (), report.text()


def rules(forms: str) -> set[str]:
    report = lint_text(KERNEL + WRAPPER + forms, SCHEMA, find_profile("interpreter"))
    return {one.rule for one in report.violations}


STORED = "    r = wrapper(self, other, alpha=alpha)\n    kernel_copy[(1,)](r, {0}, 4, BLOCK=4)\n"


def test_a_form_may_resize_what_it_is_given_ask_where_it_lies_and_return_it():
    body = "    out.resize_(self.shape)\n    a = out.data_ptr() - self.data_ptr()\n"
    head = (
        "def wrapper_out(self, other, *, alpha=1, out):\n    assert isinstance(out, torch.Tensor)\n"
    )
    assert rules(head + body + STORED.format("out") + "    return out\n") == set()
    head = "def wrapper_inplace(self, other, *, alpha=1):\n"
    assert rules(head + STORED.format("self") + "    return self\n") == set()


@pytest.mark.parametrize(
    ("forms", "rule"),
    [
        ("def wrapper_out(self, other, *, alpha=1, out):\n    return self\n", "CHT009"),
        (
            "def wrapper_out(self, other, *, alpha=1, out):\n"
            "    return wrapper(self, other, alpha=alpha)\n",
            "CHT009",
        ),
        ("def wrapper_inplace(self, other, *, alpha=1):\n    return other\n", "CHT009"),
        ("def wrapper_inplace(self, other, *, alpha=1):\n    return\n", "CHT009"),
        (
            "def wrapper_inplace(self, other, *, alpha=1):\n    other.resize_(self.shape)\n"
            "    return self\n",
            "CHT002",
        ),
        ("def wrapper_inplace(self, other, *, alpha=1):\n    self += other\n    return self\n",
         "CHT003"),
        ("def wrapper_out(self, other, *, alpha=1, out):\n    out.copy_(self)\n    return out\n",
         "CHT002"),
        ("def wrapper_out(self, other, *, alpha=2, out):\n    return out\n", "FMT004"),
        ("def wrapper_out(self, other, out, *, alpha=1):\n    return out\n", "FMT004"),
        ("def wrapper_inplace(self, *, alpha=1):\n    return self\n", "FMT004"),
        ("def wrapper_other(self):\n    return self\n", "FMT002"),
        ("def _f(x):\n    return x.data_ptr()\n", "CHT006"),
        ("def _f(x):\n    return wrapper(x, x)\n", "CHT005"),
    ],
)  # fmt: skip
def test_a_form_that_does_more_is_refused(forms, rule):
    assert rule in rules(forms)


EXP_OUT = """
@triton.jit
def kernel_exp(x, o, n, B: tl.constexpr):
    i = tl.arange(0, B)
    tl.store(o + i, tl.exp(tl.load(x + i, i < n)), i < n)

def wrapper(input):
    out = torch.empty((2, 2))
    kernel_exp[(1,)](input.t(), out, 4, B=4)
    return out

def wrapper_inplace(input):
    kernel_exp[(1,)](input, input, 4, B=4)
    return {result}
"""


@pytest.mark.parametrize("result", ["input.t()", "input.view(2, 2)", "(input, input)", "None"])
def test_only_the_given_tensor_itself_is_returned(execute, result):
    x = torch.arange(4.0).view(2, 2)
    outcome, value, _ = execute(EXP_OUT.format(result="input"), x, form="inplace")
    assert torch.allclose(value, x.exp())
    outcome, _, _ = execute(EXP_OUT.format(result=result), x, form="inplace")
    assert outcome["violations"][0]["kind"] == "provenance"


def test_given_tensors_are_stale_right_and_wrong():
    x = torch.ones(2, 3)
    found = {note: (args, out) for note, args, out in given_outputs(torch.exp, (x,), {}, True)}
    assert found[""][1].tolist() == [[7.0] * 3] * 2
    assert found["strided"][1].stride() != (3, 1)
    assert found["empty"][1].shape == (0,)
    assert (found["wider"][1].dtype, found["narrower"][1].dtype) == (torch.float64, torch.int64)
    (moved,), out = found["overlap"]
    assert torch.equal(moved, x)
    assert moved.data_ptr() + 4 == out.data_ptr()
    assert found["itself"][0][0] is found["itself"][1]
    assert found["expanded"][1].stride(1) == 0
    several = list(given_outputs(torch.sort, (x,), {}, True))
    assert [out[1].dtype for _, _, out in several] == [torch.int64]
    assert list(given_outputs(torch.mm, (x, x), {}, True)) == []
    notes = [note for note, _ in written_inputs((x, 1), True)]
    assert notes == ["", "strided", "expanded"]


def test_error_inputs_with_out_go_to_the_form_that_takes_it(harness):
    samples = harness.prepare("gather", "V6", dtypes=["float32"])
    error = next(s for s in samples.samples if s["form"] == "error" and "'out'" in str(s["tree"]))
    source = (
        "def wrapper(*a):\n    raise TypeError('no out here')\n\n"
        "def wrapper_out(*a, out):\n    raise RuntimeError('out')\n"
    )
    from dataclasses import replace

    report = harness.test(KernelCandidate.of("gather", source), replace(samples, samples=(error,)))
    assert report.first_failure is None
