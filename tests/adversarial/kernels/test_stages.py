"""Every module that cheats is caught by a stage, with the linter and, where it can be, without."""

from pathlib import Path

import pytest

from models.errors import DatasetMissingError, DatasetUnreadableError
from models.kernels.audit import CHEAT_LIMITS, cheat_table, read_cheats
from models.kernels.compiler import CompilePool
from models.kernels.execute import Zygote
from models.kernels.harness import Harness

HERE = Path(__file__).parent
CHEATS, ESCAPES = read_cheats(HERE / "cheats"), read_cheats(HERE / "escapes")
LATER = [cheat for cheat in CHEATS if cheat.stage is not None]
REFUSED = [cheat for cheat in CHEATS if cheat.caught is not None]


@pytest.fixture(scope="module")
def judge():
    """The whole pipeline; cheats get a second or two each."""
    with Zygote() as zygote, CompilePool() as pool:
        harness = Harness(zygote, CHEAT_LIMITS)
        yield lambda cheats: cheat_table(cheats, harness, pool)


def parts(cheats, size):
    return [cheats[start : start + size] for start in range(0, len(cheats), size)]


def unexpected(rows):
    return [row for row in rows if not row.is_as_expected]


def test_the_manifest_of_escapes_and_the_folder_name_the_same_modules():
    assert {file.stem for file in (HERE / "escapes").glob("*.txt")} == {c.name for c in ESCAPES}
    assert len(ESCAPES) >= 20
    for cheat in ESCAPES:
        assert cheat.source.startswith("# Tries: ")
        assert cheat.stage is not None or cheat.only_lint


def test_what_passes_the_linter_is_caught_by_the_stage_that_the_manifest_names(judge):
    rows = judge(LATER)
    assert len(rows) == 9
    assert unexpected(rows) == []
    assert {row.stage for row in rows} == {"execution", "test", "audit"}


@pytest.mark.slow
@pytest.mark.parametrize("cheats", parts(ESCAPES, 15), ids=lambda cheats: cheats[0].name)
def test_an_escape_is_caught_by_its_stage_in_the_words_of_the_manifest(judge, cheats):
    assert unexpected(judge(cheats)) == []


@pytest.mark.slow
@pytest.mark.parametrize("cheats", parts(REFUSED, 25), ids=lambda cheats: cheats[0].name)
def test_what_the_linter_refuses_a_later_stage_refuses_too_or_the_manifest_says_why(judge, cheats):
    rows = judge(cheats)
    assert unexpected(rows) == []
    assert {row.stage for row in rows} == {"lint"}


def test_only_the_linter_knows_of_a_dozen_at_most_and_each_has_a_reason():
    alone = [cheat for cheat in (*CHEATS, *ESCAPES) if cheat.only_lint]
    assert len(alone) <= 12
    assert all(len(cheat.reason) > 20 for cheat in alone)


def test_an_honest_module_is_called_missed_so_the_table_can_fail(judge):
    honest = next(cheat for cheat in ESCAPES if cheat.name == "one_element_for_all")
    source = honest.source.replace("return one.expand(input.shape)", "return one")
    missed = honest.model_copy(update={
        "source": source.replace("torch.empty(()", "torch.empty((1,)").replace("tl.store(o, 1.0)",
        "tl.store(o + tl.program_id(0), 1.0)").replace("torch.empty((1,)", "torch.empty(input.shape"
        ).replace("kernel_one[(1,)]", "kernel_one[(one.numel(),)]")})  # fmt: skip
    (row,) = judge([missed])
    assert row.stage == "missed"
    assert not row.is_as_expected


def test_a_folder_without_a_manifest_and_a_wrong_entry_are_named(tmp_path):
    with pytest.raises(DatasetMissingError, match="no manifest of cheats"):
        read_cheats(tmp_path)
    (tmp_path / "manifest.toml").write_text('[gone]\nsignature = "op(Tensor x) -> Tensor"\n')
    with pytest.raises(DatasetMissingError, match="names 'gone'"):
        read_cheats(tmp_path)
    (tmp_path / "gone.txt").write_text("# Tries: nothing\n")
    (tmp_path / "manifest.toml").write_text("[gone]\nsignatures = 1\n")
    with pytest.raises(DatasetUnreadableError, match=r"\[gone\]"):
        read_cheats(tmp_path)
