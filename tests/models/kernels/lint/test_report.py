import json

import pytest

from models.kernels import KernelCandidate, LintReport, find_profile, lint_candidate, lint_text
from models.kernels.candidate import source_sha
from models.kernels.lint.base import MOST_VIOLATIONS

KERNEL = """\
@triton.jit
def kernel_copy(x_ptr, o_ptr, n, BLOCK: tl.constexpr):
    offs = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    x = tl.load(x_ptr + offs, mask=offs < n, other=0)
    tl.store(o_ptr + offs, x, mask=offs < n)


"""
BAD = "def wrapper(self: torch.Tensor):\n    a = self.sum()\n    return a + 1\n"
INTERPRETER = find_profile("interpreter")


def test_a_report_names_rule_place_line_and_way_out():
    report = lint_text(BAD, None, INTERPRETER)
    assert report.sha == source_sha(BAD)
    assert not report.passed
    first, second = report.violations
    assert (first.rule, first.line, first.col, first.severity) == ("CHT002", 2, 9, "error")
    assert first.snippet == "a = self.sum()"
    assert "'.sum'" in first.message
    assert "allowed here" in first.hint
    assert (second.rule, second.line) == ("CHT003", 3)


def test_a_report_survives_json():
    report = lint_text(BAD, None, INTERPRETER)
    assert LintReport.model_validate_json(report.model_dump_json()) == report


def test_the_text_is_for_people_and_the_packet_for_programs():
    report = lint_text(BAD, None, INTERPRETER)
    text = report.text()
    assert text.startswith("line 2, column 9: CHT002 error: method '.sum'")
    assert "    return a + 1" in text
    packet = json.loads(json.dumps(report.packet()))
    assert packet["kind"] == "lint"
    assert packet["rules"] == ["CHT002", "CHT003"]
    assert [one["line"] for one in packet["violations"]] == [2, 3]
    assert lint_text(KERNEL + "def wrapper():\n    return 1\n", None, INTERPRETER).text() == (
        "lint passed (strict, interpreter)"
    )


def test_a_report_is_cut_and_says_so():
    body = "".join(f"    a{n} = self.sum()\n" for n in range(100))
    report = lint_text(f"def wrapper(self: torch.Tensor):\n{body}", None, INTERPRETER)
    assert len(report.violations) == MOST_VIOLATIONS
    assert report.left_out == 60
    assert report.text().endswith("and 60 more")


def test_what_a_module_says_cannot_act_on_a_terminal():
    report = lint_text("def wrapper(x\u202e):\n    return '\x1b[2J'\n", None, INTERPRETER)
    shown = report.text() + json.dumps(report.packet())
    assert not report.passed
    assert "\x1b" not in shown
    assert "\u202e" not in shown


def test_a_candidate_is_checked_in_its_own_mode():
    source = 'def wrapper(self: torch.Tensor):\n    return generated["exp"](self)\n'
    strict = KernelCandidate.of("op", source)
    free = KernelCandidate.of("op", source, mode="self_consistent", depends_on=("exp",))
    other = KernelCandidate.of("op", source, mode="self_consistent", depends_on=("log",))
    assert [lint_candidate(one, None, INTERPRETER).passed for one in (strict, free, other)] == [
        False,
        True,
        False,
    ]


@pytest.mark.parametrize(
    ("dtypes", "rules"),
    [
        (None, ["SEM003"]),
        (("bfloat16", "float32"), ["SEM003"]),
        (("int32", "int64"), []),
        (("float32",), []),
    ],
)
def test_arithmetic_in_memory_types_matters_where_there_are_half_types(dtypes, rules):
    source = KERNEL.replace(" x, mask", " x + 1, mask") + (
        "def wrapper(self: torch.Tensor):\n    out = torch.empty_like(self)\n"
        "    kernel_copy[(1,)](self, out, 4, BLOCK=4)\n    return out\n"
    )
    report = lint_text(source, None, INTERPRETER, dtypes=dtypes)
    assert [one.rule for one in report.violations] == rules


@pytest.mark.parametrize(("size_reads", "passed"), [(False, False), (True, True)])
def test_a_size_is_read_only_where_the_family_allows(size_reads, passed):
    body = "    size = torch.empty((1,), dtype=torch.int64, device=self.device)\n    return {}\n"
    head = "def wrapper(self: torch.Tensor):\n"
    source = head + body.format("torch.empty((size.item(),))")
    assert lint_text(source, None, INTERPRETER, size_reads=size_reads).passed is passed
    of_input = head + body.format("torch.empty((self.item(),))")
    assert not lint_text(of_input, None, INTERPRETER, size_reads=size_reads).passed


def test_the_same_module_is_judged_by_what_the_device_has():
    source = KERNEL.replace(" x, mask", " tl.erf(x.to(tl.float32)), mask") + (
        "def wrapper(self: torch.Tensor):\n    return torch.empty_like(self)\n"
    )
    verdicts = {
        name: [one.rule for one in lint_text(source, None, find_profile(name)).violations]
        for name in ("interpreter", "sm90", "padded32")
    }
    assert verdicts == {"interpreter": [], "sm90": [], "padded32": ["MOD001"]}
    libdevice = source.replace("tl.erf", "libdevice.erf")
    assert lint_text(libdevice, None, find_profile("sm90")).passed
    assert not lint_text(libdevice, None, INTERPRETER).passed
    private = source.replace("tl.erf", "libdevice.core.builtins.erf")
    assert not lint_text(private, None, find_profile("sm90")).passed


def test_products_are_judged_by_the_types_of_the_device():
    dot = KERNEL.replace(
        " x, mask", " tl.dot(x.to(tl.float32)[:, None], x.to(tl.float32)[None, :]), mask"
    )
    source = dot + "def wrapper(self: torch.Tensor):\n    return torch.empty_like(self)\n"
    assert lint_text(source, None, INTERPRETER).passed
    report = lint_text(source, None, find_profile("gather_only"))
    assert [one.rule for one in report.violations] == ["SEM006"]
    assert "float16" in report.violations[0].hint
