"""From answers of models to modules: what real ones send, and what should never hold us up."""

import time

import pytest

from models.kernels import Signature, find_profile, lint_text
from models.kernels.prompts import example_names, parse_answer
from models.kernels.prompts.parser import MOST_CHARACTERS
from models.kernels.prompts.render import example
from models.kernels.prompts.repetition import repetition_start

MODULE = example("exp") + "\n"
OTHER = example("diag") + "\n"
KERNEL, _, WRAPPER = MODULE.partition("def _four_dims")
WRAPPER = "def _four_dims" + WRAPPER


@pytest.mark.parametrize(
    ("mark", "language"), [("```", "python"), ("```", ""), ("~~~", "py"), ("````", "triton")]
)
def test_a_fenced_module_is_taken_as_it_is(mark, language):
    parsed = parse_answer(f"Here it is:\n\n{mark}{language}\n{MODULE}{mark}\nIt should pass.")
    assert parsed == (MODULE, True, ())


def test_without_a_fence_prose_around_the_module_is_left_out():
    parsed = parse_answer(f"Sure! The module:\n\n{MODULE}\nThis uses one kernel, I hope it helps.")
    assert parsed.source == MODULE
    assert parsed.notes == ("there was no fenced block; put the module into one",)


def test_of_two_modules_the_last_that_parses_counts():
    text = f"First try:\n```python\n{OTHER}```\nBetter:\n```python\n{MODULE}```\n"
    parsed = parse_answer(text)
    assert parsed.source == MODULE
    assert "held 2 modules" in parsed.notes[0]
    broken = f"```python\n{OTHER}```\nOr:\n```python\n{MODULE[:-40]}(((\n```"
    assert parse_answer(broken).source == OTHER


def test_kernels_and_wrapper_in_blocks_of_their_own_are_joined():
    parsed = parse_answer(f"```python\n{KERNEL}```\nand\n```python\n{WRAPPER}```")
    assert "def kernel_exp" in parsed.source
    assert "def wrapper" in parsed.source
    assert "joined" in parsed.notes[0]
    assert lint_text(
        parsed.source, Signature.parse("exp(Tensor self) -> Tensor"), find_profile("interpreter")
    ).passed


def test_blocks_of_other_languages_are_no_module():
    parsed = parse_answer(f"```bash\npip install it\n```\n```python\n{MODULE}```")
    assert parsed.source == MODULE


def test_thoughts_are_not_the_answer():
    text = f"<think>I could write\n```python\n{OTHER}```\nno.</think>\n```python\n{MODULE}```"
    assert parse_answer(text).source == MODULE
    assert not parse_answer(f"<think>For ever:\n```python\n{OTHER}```\n").has_module


def test_a_truncated_answer_keeps_what_came_and_says_so():
    cut = parse_answer(f"```python\n{MODULE[: len(MODULE) // 2]}", was_cut=True)
    assert cut.source.startswith("@triton.jit")
    assert any("truncated" in note for note in cut.notes)
    whole = parse_answer(f"```python\n{MODULE}", was_cut=False)
    assert whole.source == MODULE
    assert any("truncated" in note for note in whole.notes)


def test_an_answer_without_a_module_becomes_a_text_that_no_linter_passes():
    for text in ("", "I cannot do that.", "```python\nx = 1\n```", "\x00\ufffe```\n```"):
        parsed = parse_answer(text)
        assert not parsed.has_module
        assert not lint_text(parsed.source, None, find_profile("interpreter")).passed


def test_look_alike_names_stay_for_the_linter_to_refuse():
    disguised = MODULE.replace("tl.exp(", "tl.ехр(")  # Cyrillic letters
    parsed = parse_answer(f"```python\n{disguised}```")
    assert parsed.source == disguised
    rules = {v.rule for v in lint_text(parsed.source, None, find_profile("interpreter")).violations}
    assert "CHT005" in rules


def test_a_repetition_for_ever_is_cut_at_its_second_round():
    line = "    x = tl.load(x_ptr + offs, mask=mask)\n"
    parsed = parse_answer(f"```python\n{MODULE}```\nWait, once more:\n" + line * 4_000)
    assert parsed.source == MODULE
    assert any("repeated itself" in note for note in parsed.notes)
    text = "begin " + "abcdefg " * 500 + "abc"
    start = repetition_start(text)
    assert start is not None
    assert len(text[:start]) <= len("begin ") + 2 * len("abcdefg ")


def test_regular_code_is_no_repetition():
    for name in example_names():
        assert repetition_start(example(name)) is None
    assert repetition_start("def f():\n" + "".join(f"    a{n} = {n}\n" for n in range(600))) is None
    assert repetition_start("x" * 700) is None


def test_a_megabyte_is_answered_within_seconds():
    huge = "```python\n" + "".join(f"a{n} = {n}\n" for n in range(90_000)) + MODULE + "```"
    assert len(huge) > 1_000_000
    began = time.process_time()
    parsed = parse_answer(huge)
    assert time.process_time() - began < 5
    assert len(parsed.source) <= MOST_CHARACTERS
    assert not lint_text(parsed.source, None, find_profile("interpreter")).passed
    early = parse_answer(f"```python\n{MODULE}```\n" + "".join(f"{n} " for n in range(200_000)))
    assert early.source == MODULE
