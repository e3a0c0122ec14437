import pytest

from models.kernels.device.extension import NoCompilerError, build_extension
from models.kernels.device.store import SCHEMA, store_module
from models.kernels.lint import Signature, lint_candidate
from models.kernels.profiles import find_profile

pytestmark = pytest.mark.slow


def test_tensors_keep_their_strides_on_the_device_and_come_back(facts):
    assert facts["device"] == "generated:0"
    assert facts["has_come_back"]
    assert facts["transposed"]
    assert facts["strides"] == [[1, 4], [4, 2], 4]
    assert facts["item"] == pytest.approx(9 / 7 - 1)


@pytest.mark.parametrize("form", [
    "sum", "product", "contiguous", "inplace_of_a_view", "grown_out", "narrowed", "gradient",
])  # fmt: skip
def test_one_functional_module_serves_every_form_of_its_operator(facts, form):
    assert facts[form]


def test_a_missing_operator_raises_and_names_itself(facts):
    assert facts["missing"].startswith("NotImplementedError: Could not run 'aten::cos.out'")
    assert facts["missing_inplace"].startswith("NotImplementedError: Could not run 'aten::mul")


def test_a_call_that_no_program_serves_raises_with_its_types(facts):
    assert facts["no_program"].startswith("NotImplementedError: Could not run 'aten.add.Tensor'")
    assert "self=int64[3, 4]" in facts["no_program"]


def test_a_wrapper_that_asks_another_operator_is_refused(facts):
    assert facts["cheat"].startswith("DeviceRuleError: the wrapper of aten.exp.default asks ATen")


def test_a_module_that_writes_to_its_argument_is_refused(facts):
    assert "SanitizerError: input_written" in facts["writes_its_input"]


def test_only_modules_and_their_adapters_are_registered(facts):
    assert facts["registered"] == [
        "aten.add.Tensor", "aten.add.out", "aten.add_.Tensor", "aten.copy.default",
        "aten.copy.out", "aten.exp.default", "aten.exp.out", "aten.exp_.default",
        "aten.mm.default", "aten.mm.out", "aten.neg.default", "aten.neg.out", "aten.neg_.default",
    ]  # fmt: skip


def test_a_built_extension_is_used_again(facts, cache):
    (before,) = cache.glob("*.so")
    made = before.stat().st_mtime_ns
    assert build_extension(cache) == before
    assert before.stat().st_mtime_ns == made


def test_without_a_compiler_the_way_out_is_named(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(NoCompilerError, match="needs a C\\+\\+ compiler"):
        build_extension(tmp_path / "cache")


@pytest.mark.parametrize("profile", ["interpreter", "sm90", "gfx942"])
def test_the_module_that_writes_into_memory_stands_the_linter(profile):
    report = lint_candidate(store_module(), Signature.parse(SCHEMA), find_profile(profile))
    assert report.passed, report.text()
