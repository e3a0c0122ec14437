import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models.upgrades import CostModel
from models.upgrades.costs import (
    InTime,
    break_even_probability,
    expected_lane_s,
    least_time_for_level,
    least_time_that_pays,
)

LEFT_S = np.array([3_600.0, 7_200.0, 10_800.0])


def forecast(*rows) -> InTime:
    return InTime(LEFT_S, np.array(rows, dtype=float))


def test_the_level_rule_takes_the_first_slot_that_is_likely_enough():
    rows = forecast([0.5, 0.8, 0.9], [0.1, 0.2, 0.3])
    assert least_time_for_level(rows, 0.8).tolist() == [7_200, np.inf]


def test_with_free_lanes_a_start_pays_from_the_break_even_probability():
    costs = CostModel(completed_value=1, cancel_cost=3)
    assert break_even_probability(costs) == 0.75
    rows = forecast([0.74, 0.75, 1.0], [0.74, 0.74, 0.74])
    assert least_time_that_pays(rows, costs, 0).tolist() == [7_200, np.inf]


def test_a_lane_price_turns_stragglers_away():
    costs = CostModel(completed_value=1, cancel_cost=1)
    rows = forecast([0.8, 0.8, 0.8])
    # One hour left: value 0.8 - 0.2 = 0.6, expected time on the lane (1 + 0.2) / 2 = 0.6 h.
    assert least_time_that_pays(rows, costs, 0.99).tolist() == [3_600]
    assert least_time_that_pays(rows, costs, 1.01).tolist() == [np.inf]


def test_an_aborted_start_conditions_the_forecast():
    later = forecast([0.2, 0.6, 0.9]).given_not_done_after(np.array([3_600.0]))
    # Not done after one hour: (0.6 - 0.2) / 0.8 and (0.9 - 0.2) / 0.8.
    assert later.probability[0] == pytest.approx([0, 0.5, 0.875])


def test_a_task_that_outran_a_whole_window_fits_none():
    later = forecast([0.2, 0.6, 0.9]).given_not_done_after(np.array([10_800.0]))
    assert least_time_for_level(later, 0.01).tolist() == [np.inf]


@settings(max_examples=50, deadline=None)
@given(
    row=st.lists(st.floats(0, 1), min_size=3, max_size=3).map(sorted),
    elapsed_s=st.floats(0, 12_000),
)
def test_conditioning_keeps_a_distribution_and_never_helps(row, elapsed_s):
    before = forecast(row)
    later = before.given_not_done_after(np.array([elapsed_s])).probability[0]
    assert (np.diff(later) >= -1e-12).all()
    assert ((later >= 0) & (later <= np.array(row) + 1e-12)).all()


def test_the_expected_lane_time_is_cut_off_at_the_close():
    # Ends at any instant of the first hour alike; never in the window.
    rows = forecast([1.0, 1.0, 1.0], [0.0, 0.0, 0.0])
    assert expected_lane_s(rows).tolist() == [1_800, 10_800]


def test_the_forecast_of_a_shorter_window_is_that_of_its_slots():
    short = forecast([0.5, 0.8, 0.9]).within(7_200)
    assert short.left_s.tolist() == [3_600, 7_200]
    assert short.probability.tolist() == [[0.5, 0.8]]
