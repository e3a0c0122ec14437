"""An operator's own history: columns, words, clocks, and what is wrong with it."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from models.errors import ConfigError, ContractError, NotEnoughDataError, UnknownNameError
from models.settings import ROOT
from models.upgrades import UpgradeConfig, split_by_time
from models.upgrades.history import (
    EventTimeError,
    HistoryMapping,
    import_table,
    imported_events,
    read_mapping,
)

DATASETS = ROOT / "datasets"
# Columns that every history has; categories and numbers that are not among them come on top.
FIXED = (
    *("event_id", "host_id", "domain", "service", "type", "is_planned", "batch_id", "release"),
    *("start_s", "end_s", "duration_s", "outcome", "is_censored"),
)


def own_history(n: int = 60) -> pd.DataFrame:
    """`n` upgrades of ten hosts, one at a time on each, all in the import schema."""
    started = pd.Timestamp("2026-01-01") + pd.to_timedelta(np.arange(n) * 30, "min")
    return pd.DataFrame(
        {
            "host_id": [f"h{place % 10}" for place in range(n)],
            "domain": [f"dc{place % 2}" for place in range(n)],
            "service": "web",
            "type": ["bios" if place % 3 else "kernel" for place in range(n)],
            "release": "r1",
            "started": started,
            "ended": started + pd.to_timedelta(600 + np.arange(n), "s"),
            "outcome": "completed",
            "hardware": "hw1",
            "firmware": "fw1",
            "batch_id": [f"b{place // 4}" for place in range(n)],
        }
    )


def events_of(frame: pd.DataFrame, mapping: HistoryMapping | None = None) -> pd.DataFrame:
    return imported_events(import_table(frame, mapping)).events


def test_durations_are_elapsed_seconds_and_an_abort_is_a_lower_bound():
    frame = own_history()
    frame.loc[3, "outcome"] = "aborted"
    history = imported_events(import_table(frame))
    assert history.seconds("duration_s").tolist() == [600 + place for place in range(60)]
    assert history.events["is_censored"].to_numpy().nonzero()[0].tolist() == [3]
    assert history.events["outcome"][3] == "aborted"
    assert {*history.events} == {*FIXED, *history.categories, *history.numbers}
    assert history.source == "upgrade_events"


def test_a_running_upgrade_is_dropped_and_counted():
    frame = own_history()
    frame.loc[59, "ended"] = pd.NaT
    frame.loc[59, "outcome"] = "running"
    history = imported_events(import_table(frame))
    assert len(history) == 59
    assert history.dropped["still running"] == 1


def test_columns_that_a_file_may_leave_out_get_their_defaults():
    frame = own_history()[["host_id", "type", "started", "ended", "outcome"]]
    events = events_of(frame)
    assert set(events["domain"]) == {"all"}
    assert set(events["release"]) == {"unknown"}
    # Without batches, what starts together in a domain is one.
    assert events["batch_id"][0] == f"all@{events['start_s'][0]}"


@pytest.mark.parametrize(
    ("started", "ended"),
    [
        ("2026-03-29T01:30:00+01:00", "2026-03-29T03:30:00+02:00"),
        ("2026-03-29T00:30:00Z", "2026-03-29T01:30:00Z"),
    ],
)
def test_times_with_a_zone_become_utc(started: str, ended: str):
    frame = own_history(1).assign(started=started, ended=ended)
    events = events_of(frame)
    assert events["start_s"][0] == pd.Timestamp("2026-03-29T00:30Z").timestamp()
    assert events["duration_s"][0] == 3_600


def test_times_without_zone_keep_their_clock():
    frame = own_history(1).astype({"started": str, "ended": str})
    assert events_of(frame)["start_s"][0] == pd.Timestamp("2026-01-01", tz="UTC").timestamp()


def test_naive_times_in_a_named_zone_give_elapsed_durations_across_both_clock_changes():
    mapping = HistoryMapping(time_zone="Europe/Paris")
    spring = own_history(1).assign(started="2026-03-29 01:30", ended="2026-03-29 03:30")
    assert events_of(spring, mapping)["duration_s"][0] == 3_600
    # 02:30 comes twice. A start means the first; an end at 02:10 can only be the second.
    autumn = own_history(1).assign(started="2026-10-25 02:30", ended="2026-10-25 02:10")
    assert events_of(autumn, mapping)["duration_s"][0] == 2_400


def test_a_time_that_the_clock_skipped_is_refused_with_its_row():
    frame = own_history(3).astype({"started": str, "ended": str})
    frame.loc[2, ["started", "ended"]] = ["2026-03-29 02:30", "2026-03-29 04:30"]
    with pytest.raises(EventTimeError, match=r"row 2: started .* does not exist in Europe/Paris"):
        import_table(frame, HistoryMapping(time_zone="Europe/Paris"))


def test_times_with_and_without_zone_are_refused_with_the_row():
    frame = own_history(4).astype({"started": str, "ended": str})
    frame["ended"] = frame["ended"] + "Z"
    frame.loc[[0, 1, 3], "started"] = frame.loc[[0, 1, 3], "started"] + "Z"
    with pytest.raises(EventTimeError, match="row 2 has a time without zone"):
        import_table(frame)


def test_a_zone_for_times_that_name_their_own_is_refused():
    frame = own_history(2).assign(started="2026-01-01T00:00Z", ended="2026-01-01T01:00Z")
    with pytest.raises(ConfigError, match="leave time_zone out"):
        import_table(frame, HistoryMapping(time_zone="Europe/Paris"))


def test_numbers_as_times_need_their_unit():
    frame = own_history(2).assign(started=[1_000, 9_000], ended=[1_600, 9_700])
    with pytest.raises(EventTimeError, match=r"'started' holds numbers.*row 0.*epoch_unit"):
        import_table(frame)
    assert events_of(frame, HistoryMapping(epoch_unit="s"))["start_s"].tolist() == [1_000, 9_000]
    thousandths = frame.assign(started=frame["started"] * 1_000, ended=frame["ended"] * 1_000)
    assert events_of(thousandths, HistoryMapping(epoch_unit="ms"))["duration_s"].tolist() == [
        *(600, 700)
    ]


def test_a_mapping_file_turns_a_foreign_table_into_the_same_events(tmp_path: Path):
    ours = own_history()
    foreign = pd.DataFrame(
        {
            "hostname": ours["host_id"],
            "job": ours["type"].map({"bios": "BIOS", "kernel": "kernel"}),
            "begin": ours["started"],
            "took": (ours["ended"] - ours["started"]).dt.total_seconds() / 60,
            "state": 0,
        }
    )
    foreign.loc[5, "state"] = 1
    file = tmp_path / "mapping.yaml"
    file.write_text(
        "columns: {host_id: hostname, type: job, started: begin, duration: took, outcome: state}\n"
        "duration_unit: min\n"
        "constants: {domain: dc1}\n"
        "outcomes: {0: completed, 1: aborted}\n"
        "types: {BIOS: bios}\n"
    )
    events = events_of(foreign, read_mapping(file))
    expected = events_of(ours)
    for name in ("host_id", "type", "start_s", "end_s", "duration_s"):
        assert events[name].tolist() == expected[name].tolist()
    assert events["outcome"].tolist().count("aborted") == 1
    assert set(events["domain"]) == {"dc1"}


@pytest.mark.parametrize(
    ("text", "error", "message"),
    [
        ("columns: {hostid: a}", UnknownNameError, "did you mean 'host_id'"),
        ("column: {host_id: a}", UnknownNameError, "did you mean 'columns'"),
        ("time_zone: Europe/Pariss", ConfigError, "did you mean 'Europe/Paris'"),
        ("outcomes: {OK: done}", ConfigError, "completed"),
        ("outcomes: {yes: completed}", ConfigError, "quote it"),
        ("columns: {ended: a, duration: b}", ConfigError, "exclude each other"),
        ("{columns: {domain: a}, constants: {domain: b}}", ConfigError, "both a column and"),
        ("duration_unit: days", ConfigError, "'s', 'min' or 'h'"),
        ("- a\n- b", ConfigError, "must be a mapping"),
    ],
)
def test_a_wrong_mapping_file_is_refused_with_the_way_out(
    tmp_path: Path, text: str, error: type[Exception], message: str
):
    file = tmp_path / "mapping.yaml"
    file.write_text(text)
    with pytest.raises(error, match=message):
        read_mapping(file)


def test_a_mapped_column_that_is_not_there_is_named_with_what_the_file_has():
    mapping = HistoryMapping(columns={"host_id": "host"})
    with pytest.raises(UnknownNameError, match=r"did you mean 'host_id'\?; known: .*outcome"):
        import_table(own_history(), mapping)


def test_value_maps_that_fit_nothing_are_refused_with_what_is_there():
    mapping = HistoryMapping(outcomes={"OK": "completed"})
    with pytest.raises(ContractError, match="which holds 'completed'"):
        import_table(own_history(), mapping)
    with pytest.raises(ContractError, match=r"found 'SUCCESS'.*`outcomes`"):
        import_table(own_history().assign(outcome="SUCCESS"))


def test_a_constant_for_a_column_that_the_file_has_is_refused():
    with pytest.raises(ConfigError, match="leave the constant out"):
        import_table(own_history(), HistoryMapping(constants={"domain": "dc9"}))


def test_a_missing_column_is_named_with_what_the_file_has():
    with pytest.raises(ContractError, match=r"lacks type, outcome .*it has: host_id.*mapping"):
        import_table(own_history().drop(columns=["type", "outcome"]))


def test_a_duration_that_is_no_number_is_refused_with_its_row():
    frame = own_history(4).drop(columns="ended").assign(took=["1", "2", "soon", "4"])
    with pytest.raises(EventTimeError, match="row 2: the duration 'soon'"):
        import_table(frame, HistoryMapping(columns={"duration": "took"}))


@pytest.mark.parametrize(
    ("column", "value", "error", "message"),
    [
        ("started", pd.NaT, EventTimeError, "row 2 has no start"),
        ("ended", pd.NaT, EventTimeError, "row 2 has no end although it does not run"),
        ("ended", pd.Timestamp("2020-01-01"), EventTimeError, "row 2 ends before it starts"),
        ("outcome", "running", EventTimeError, "row 2 has an end although it runs"),
        ("outcome", "lost", ContractError, "row 2 has the outcome 'lost'.*map them"),
        ("type", None, EventTimeError, "row 2 has no host or no type"),
    ],
)
def test_an_impossible_row_is_refused_with_its_number(
    column: str, value: object, error: type[Exception], message: str
):
    frame = own_history(5)
    frame.loc[2, column] = value
    with pytest.raises(error, match=message):
        imported_events(import_table(frame))


@pytest.mark.parametrize("rows", [0, 1])
def test_an_empty_history_and_one_of_one_row_are_refused(rows: int):
    with pytest.raises(NotEnoughDataError, match=r"empty|too few to split"):
        split_by_time(imported_events(import_table(own_history(1)).head(rows)), UpgradeConfig())


def test_a_history_of_aborted_upgrades_only_is_refused():
    frame = own_history(5).assign(outcome="aborted")
    with pytest.raises(NotEnoughDataError, match="all 5 ended upgrades were aborted"):
        imported_events(import_table(frame))


def test_the_digest_says_what_happened_and_not_in_which_row():
    frame = own_history()
    digest = imported_events(import_table(frame)).digest
    assert imported_events(import_table(frame.sample(frac=1, random_state=3))).digest == digest
    other = frame.assign(outcome=["aborted", *frame["outcome"][1:]])
    assert imported_events(import_table(other)).digest != digest
