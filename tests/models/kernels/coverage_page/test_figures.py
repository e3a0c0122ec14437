import pytest

from models.kernels.compiler.result import CompileResult
from models.kernels.coverage_page import compiled_matrix
from models.kernels.coverage_page.figures import (
    against_proposals,
    by_rule,
    hand_written,
    headline,
    heat_map,
)
from models.kernels.coverage_page.treemap import Box, squarified
from tests.models.kernels.coverage_page.views import full_view, small_view


def test_every_operator_is_counted_once_in_each_set() -> None:
    paper, every = headline(small_view())
    assert paper.counts == {
        "kernel": 1,
        "metadata": 1,
        "vacuous": 1,
        "failed": 1,
        "unproven": 0,
        "missing": 0,
    }
    assert every.counts == {
        "kernel": 1,
        "metadata": 1,
        "vacuous": 1,
        "failed": 1,
        "unproven": 0,
        "missing": 1,
    }
    assert (paper.operators, every.operators) == (4, 5)
    assert (paper.tests_passed, paper.tests) == (23, 24)
    assert (every.tests_passed, every.tests) == (23, 31)
    assert paper.share == 0.25


def test_the_catalogue_gives_the_denominators_of_the_paper_like_set_and_of_all() -> None:
    paper, every = headline(full_view(100))
    assert (paper.operators, every.operators) == (572, 629)
    assert (paper.tests, every.tests) == (31_770, 68_896)


def test_rules_count_operators_they_had_a_part_in_and_those_that_pass() -> None:
    found = {one.rule: (one.passing, one.operators) for one in by_rule(small_view().operators)}
    assert found == {"pointwise": (1, 2), "views": (1, 1)}
    assert hand_written(small_view().operators) == ["nn.functional.view"]


def test_the_curve_counts_kernel_backed_operators_by_the_calls_they_needed() -> None:
    # abs needed two calls; exp had three and failed; view and empty are no kernels.
    assert against_proposals(small_view().operators) == [(1, 0), (2, 1), (3, 1)]
    assert against_proposals([]) == []


@pytest.mark.parametrize(
    ("shape", "indices", "rows", "columns", "cells"),
    [
        ([2, 3], [[0, 1], [1, 2]], 2, 3, [[0, 1, 1], [1, 2, 1]]),
        ([4], [[3]], 1, 4, [[0, 3, 1]]),
        ([], [[]], 1, 1, [[0, 0, 1]]),
        # Row 1 * 3 + 2 = 5 of six.
        ([2, 3, 5], [[1, 2, 4]], 6, 5, [[5, 4, 1]]),
        # 96 columns in 48 cells: two by two.
        ([1, 96], [[0, 0], [0, 1], [0, 95]], 1, 48, [[0, 0, 2], [0, 47, 1]]),
    ],
)
def test_wrong_elements_fall_into_the_cells_of_their_place(
    shape: list[int], indices: list[list[int]], rows: int, columns: int, cells: list[list[int]]
) -> None:
    found = heat_map({"expected": {"shape": shape}, "wrong_indices": indices, "wrong": 9})
    assert found is not None
    assert (found["rows"], found["columns"], found["cells"]) == (rows, columns, cells)
    assert (found["known"], found["wrong"]) == (len(indices), 9)


@pytest.mark.parametrize(
    "machine", [{}, {"expected": {"shape": [2]}}, {"expected": {}, "wrong_indices": [[0]]}]
)
def test_facts_without_places_give_no_heat_map(machine: dict[str, object]) -> None:
    assert heat_map(machine) is None


def test_tiles_fill_the_box_in_proportion_and_do_not_overlap() -> None:
    areas = [6.0, 6.0, 4.0, 3.0, 2.0, 2.0, 1.0]
    boxes = squarified(areas, Box(0, 0, 6, 4))
    assert [box.width * box.height for box in boxes] == pytest.approx(areas)
    for number, one in enumerate(boxes):
        assert one.x > -1e-9
        assert one.y > -1e-9
        assert one.x + one.width < 6 + 1e-9
        assert one.y + one.height < 4 + 1e-9
        for other in boxes[:number]:
            wide = min(one.x + one.width, other.x + other.width) - max(one.x, other.x)
            high = min(one.y + one.height, other.y + other.height) - max(one.y, other.y)
            assert min(wide, high) < 1e-9


def test_the_worked_example_of_the_paper_on_squarified_tree_maps() -> None:
    # Bruls et al., section 3.1: two sixes stacked at the left of a 6 x 4 box, each 3 wide, 2 high.
    boxes = squarified([6, 6, 4, 3, 2, 2, 1], Box(0, 0, 6, 4))
    assert boxes[0] == pytest.approx((0, 0, 3, 2))
    assert boxes[1] == pytest.approx((0, 2, 3, 2))
    # Then four and three side by side above the rest.
    assert boxes[2] == pytest.approx((3, 0, 12 / 7, 7 / 3))
    assert boxes[3] == pytest.approx((3 + 12 / 7, 0, 9 / 7, 7 / 3))


def result(profile: str, signature: dict[str, str], ok: bool) -> CompileResult:
    return CompileResult(sha="s", kernel="kernel", profile=profile, signature=signature, ok=ok,
                         stage_reached="binary", elapsed_s=0.0)  # fmt: skip


def test_a_type_is_compiled_for_a_target_when_every_launch_with_it_is() -> None:
    matrix = compiled_matrix([
        result("sm90", {"x": "*fp32", "n": "i32"}, True),
        result("sm90", {"x": "*fp32", "o": "*i64"}, False),
        result("gfx942", {"x": "*fp32"}, True),
    ])  # fmt: skip
    assert matrix == {"float32": {"sm90": False, "gfx942": True}, "int64": {"sm90": False}}
