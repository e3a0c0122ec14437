import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models.errors import ContractError, NotEnoughDataError
from models.upgrades import asof_features, canonical_events
from models.upgrades.history import HARDWARE, EventTimeError
from models.upgrades.history.base import overlap_s

# Columns that every history has; categories and numbers that are not among them come on top.
FIXED = (
    *("event_id", "host_id", "domain", "service", "type", "is_planned", "batch_id", "release"),
    *("start_s", "end_s", "duration_s", "outcome", "is_censored"),
)


def test_an_event_is_never_known_before_its_duration_has_passed(make_outages):
    # A file whose `fixed` is too early once showed every event its own duration.
    early = make_outages(1_000)
    short = early["down_minutes"] <= 60
    early.loc[short, "fixed"] = early.loc[short, "started"]
    assert short.sum() > 100
    history = canonical_events(early)
    ended_s = history.seconds("start_s") + history.seconds("duration_s")
    assert (history.seconds("end_s") >= ended_s).all()
    features = asof_features(history)
    last = features.matrix[:, features.names.index("host-last")]
    own = np.log(history.seconds("duration_s")).astype(np.float32)
    assert (last == own).mean() < 0.2


def test_the_shipped_file_keeps_16592_events_and_counts_what_it_drops(lanl_history):
    # 16,617 rows less 2 of zero minutes and 23 exact duplicates, as its card says.
    assert len(lanl_history) == 16_592
    assert lanl_history.dropped["duration of zero minutes"] == 2
    assert lanl_history.dropped["exact duplicate"] == 23


def test_spellings_of_one_work_order_become_one_type(make_outages):
    frame = make_outages(4)
    frame["planned_like"] = True
    frame["cause"] = [
        "DST-Upgrd/Instl OS Sftw",
        "DST-Upgrd/Install OS sftw",
        "Upgrade/Install 3rd Party Sftw",
        "DST-Upgrd/Instl 3rdParty Sftw",
    ]
    types = canonical_events(frame).events["type"].tolist()
    assert types == ["storage-os-upgrade", "storage-os-upgrade", "third-party", "third-party"]


def test_the_type_of_a_failure_is_its_cause_group(make_outages):
    frame = make_outages(1)
    frame[["planned_like", "cause_group", "cause"]] = [False, "Human Error", "Human Error"]
    assert canonical_events(frame).events["type"].tolist() == ["repair-human-error"]


def test_events_and_digest_do_not_depend_on_the_row_order_of_the_file(make_outages):
    frame = make_outages(300)
    shuffled = canonical_events(frame.sample(frac=1, random_state=1))
    assert shuffled.digest == canonical_events(frame).digest
    pd.testing.assert_frame_equal(shuffled.events, canonical_events(frame).events)


def test_the_digest_changes_with_one_minute_of_one_event(make_outages):
    frame = make_outages(50)
    changed = frame.copy()
    changed.loc[7, "down_minutes"] += 1
    assert canonical_events(changed).digest != canonical_events(frame).digest


def test_across_a_clock_change_elapsed_minutes_are_the_duration(make_outages):
    frame = make_outages(2)
    frame.loc[0, "fixed"] = frame.loc[0, "started"] + pd.Timedelta("3h")
    frame.loc[0, "down_minutes"] = 120  # the clock was put forward in between
    event = canonical_events(frame).events.set_index("start_s").loc[_second(frame["started"][0])]
    assert event["duration_s"] == 7_200
    assert event["end_s"] == _second(frame["fixed"][0])


def test_a_row_whose_clock_disagrees_by_more_than_an_hour_is_dropped(make_outages):
    frame = make_outages(3)
    frame.loc[1, "fixed"] += pd.Timedelta("61min")
    history = canonical_events(frame)
    assert len(history) == 2
    assert history.dropped["clock disagrees with down_minutes"] == 1


def test_an_empty_table_is_refused(make_outages):
    with pytest.raises(NotEnoughDataError, match="empty"):
        canonical_events(make_outages(3).iloc[:0])


def test_a_table_of_zero_minutes_only_is_refused(make_outages):
    frame = make_outages(3)
    frame["down_minutes"], frame["fixed"] = 0, frame["started"]
    with pytest.raises(NotEnoughDataError, match="all 3 rows"):
        canonical_events(frame)


def test_a_missing_column_is_named(make_outages):
    with pytest.raises(ContractError, match="purpose, started"):
        canonical_events(make_outages(3).drop(columns=["purpose", "started"]))


@pytest.mark.parametrize(
    ("column", "value", "message"),
    [
        ("fixed", pd.Timestamp("1999-01-01"), "row 2 ends before it starts"),
        ("fixed", pd.NaT, "row 2 has no start or no end"),
        ("down_minutes", -5, "row 2 has a negative duration"),
        ("down_minutes", np.nan, "row 2 has a missing or infinite duration"),
        ("down_minutes", np.inf, "row 2 has a missing or infinite duration"),
    ],
)
def test_an_impossible_time_is_refused_with_its_row_and_a_remedy(
    make_outages, column, value, message
):
    frame = make_outages(5).astype({"down_minutes": float})
    frame.loc[2, column] = value
    with pytest.raises(EventTimeError, match=f"{message}.*quarantine"):
        canonical_events(frame)


def _second(time: pd.Timestamp) -> int:
    return int(time.timestamp())


def test_lanl_says_which_columns_are_features_and_that_nothing_was_censored(lanl_history):
    assert lanl_history.source == "lanl_outages"
    assert lanl_history.window_s == 28_800
    assert {*lanl_history.categories, *lanl_history.numbers} == {
        *HARDWARE,
        *("type", "domain", "service"),
    }
    assert {*FIXED, *lanl_history.categories, *lanl_history.numbers} == {*lanl_history.events}
    assert not lanl_history.events["is_censored"].any()
    assert set(lanl_history.events["outcome"]) == {"completed"}
    assert set(lanl_history.events["release"]) == {"unknown"}


def test_overlaps_match_a_calculation_by_hand():
    start_s = np.array([100, 0, 50, 20, 300])
    end_s = np.array([110, 90, 60, 30, 400])
    # Host a: [0, 90), then [50, 60) inside it, then [100, 110). Host b is never busy twice.
    assert overlap_s(["a", "a", "a", "b", "b"], start_s, end_s).tolist() == [0, 0, 40, 0, 0]


@settings(max_examples=30, deadline=None)
@given(
    rows=st.lists(
        st.tuples(st.integers(0, 2), st.integers(0, 40), st.integers(1, 20)),
        min_size=1,
        max_size=25,
        unique_by=lambda row: row[:2],
    )
)
def test_overlaps_agree_with_comparing_every_pair(rows):
    host, start_s = [row[0] for row in rows], np.array([row[1] for row in rows])
    end_s = start_s + np.array([row[2] for row in rows])
    expected = [
        max(
            [
                int(end_s[j] - start_s[i])
                for j in range(len(rows))
                if host[j] == host[i] and start_s[j] < start_s[i] and end_s[j] > start_s[i]
            ],
            default=0,
        )
        for i in range(len(rows))
    ]
    assert overlap_s(host, start_s, end_s).tolist() == expected
