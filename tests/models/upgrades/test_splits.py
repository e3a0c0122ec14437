import pytest

from models.errors import NotEnoughDataError
from models.upgrades import UpgradeConfig, canonical_events, split_by_time


def test_the_shipped_file_splits_as_the_reference_run(lanl_history):
    # An independent run that fitted on the first 55 % found 9,124 fit rows and 4,978 test
    # rows on the same file.
    config = UpgradeConfig(fit_share=0.55, calibrate_share=0.08, select_share=0.07)
    split = split_by_time(lanl_history, config)
    assert len(split.fit) == 9_124
    assert len(split.test) == 4_978


def test_other_shares_before_it_leave_the_test_part_alone(lanl_split):
    assert len(lanl_split.test) == 4_978


def test_rows_of_each_part_have_ended_before_the_next_part(lanl_history, lanl_split):
    end_s = lanl_history.seconds("end_s")
    assert end_s[lanl_split.fit].max() < lanl_split.calibrate_from_s
    assert end_s[lanl_split.calibrate].max() < lanl_split.select_from_s
    assert end_s[lanl_split.select].max() < lanl_split.test_from_s


def test_no_batch_lies_in_two_parts(lanl_history, lanl_split):
    batch = lanl_history.events["batch_id"]
    parts = [lanl_split.fit, lanl_split.calibrate, lanl_split.select, lanl_split.test]
    seen = [set(batch.iloc[rows]) for rows in parts]
    assert all(not a & b for i, a in enumerate(seen) for b in seen[i + 1 :])


def test_a_batch_at_the_cut_moves_to_the_later_part_as_a_whole(make_outages):
    frame = make_outages(1_000)
    # 21 nodes of system 1 at one instant, around row 700, where the test part begins.
    at = frame["started"][690]
    frame.loc[690:710, "system"], frame.loc[690:710, "started"] = 1, at
    frame["fixed"] = frame["started"] + frame["down_minutes"].astype("timedelta64[m]")
    history = canonical_events(frame)
    split = split_by_time(history, UpgradeConfig())
    assert split.test_from_s == int(at.timestamp())
    assert (history.seconds("start_s")[split.test] >= split.test_from_s).all()
    assert (history.seconds("start_s")[split.select] < split.test_from_s).all()


def test_too_few_events_are_refused_with_counts(make_outages):
    with pytest.raises(NotEnoughDataError, match=r"60 events over \d+ days, .*too few.*of 200"):
        split_by_time(canonical_events(make_outages(60)), UpgradeConfig())
