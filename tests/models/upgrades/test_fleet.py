import numpy as np
import pandas as pd
import pytest

from models.errors import DatasetMissingError, DatasetUnreadableError
from models.upgrades.fleet import (
    CapError,
    DuplicateIdError,
    EmptyBacklogError,
    FleetTableError,
    FleetTimeError,
    UnknownReferenceError,
    WindowError,
    fleet_from_tables,
    read_fleet,
)
from models.upgrades.generator import FleetConfig, generate_fleet, write_fleet
from models.upgrades.schedule.precedence import CyclicPrecedenceError

TASKS = [("d-s-0", "bios", "r1"), ("d-s-1", "os", "r1"), ("e-s-2", "os", "")]


def written(tables, folder):
    for name, table in tables.items():
        if name.endswith(".parquet"):
            table.to_parquet(folder / name)
        else:
            table.to_csv(folder / name, index=False)
    return folder


def test_a_folder_reads_back_with_the_types_of_the_schema(make_tables, tmp_path):
    freeze = ("*", "s", 10, 20, "ann", "launch")
    fleet = read_fleet(written(make_tables(TASKS, freezes=(freeze,), after="bios"), tmp_path))
    assert fleet.after == {"bios": (), "os": ("bios",)}
    assert fleet.freezes[0].owner == "ann"
    assert fleet.freezes[0].covers("e", "s")
    assert not fleet.freezes[0].covers("e", "other")
    assert fleet.tasks["domain"].tolist() == ["d", "d", "e"]
    assert fleet.domains["lanes"].dtype == np.int64
    assert fleet.digest == read_fleet(tmp_path).digest


def test_a_generated_folder_is_a_fleet(tmp_path):
    write_fleet(generate_fleet(FleetConfig(hosts=200, domains=2, days=10)), tmp_path)
    fleet = read_fleet(tmp_path)
    assert len(fleet.hosts) == 200
    assert len(fleet.tasks) == len(fleet.backlog) > 0


def test_the_cap_of_a_service_is_the_smaller_of_share_and_number_but_at_least_one(make_tables):
    hosts = [(f"d-s-{i}", "os", "") for i in range(100)]
    assert fleet_from_tables(make_tables(hosts, share=0.29)).caps == {"s": 29}
    assert fleet_from_tables(make_tables(hosts, share=0.29, most="7")).caps == {"s": 7}
    assert fleet_from_tables(make_tables(hosts, share=0.001)).caps == {"s": 1}


@pytest.mark.parametrize(
    ("file", "column", "value", "error", "words"),
    [
        ("backlog.parquet", "host_id", "nobody", UnknownReferenceError, "row 1: host_id 'nobody'"),
        ("backlog.parquet", "type", "magic", UnknownReferenceError, "is not in types.csv"),
        ("backlog.parquet", "task", "t0", DuplicateIdError, "row 1: task 't0' is already in row 0"),
        ("backlog.parquet", "value", 0.0, FleetTableError, "row 1: value must be above 0"),
        ("backlog.parquet", "value", np.nan, FleetTableError, "row 1: 'value' must be a finite"),
        (
            "backlog.parquet",
            "arrival_s",
            np.nan,
            FleetTimeError,
            "row 1: 'arrival_s' must be whole",
        ),
        ("backlog.parquet", "arrival_s", 0.5, FleetTimeError, "row 1: 'arrival_s' must be whole"),
        ("backlog.parquet", "arrival_s", -5, FleetTimeError, "seconds since 1970, got -5"),
        ("backlog.parquet", "arrival_s", 10**15, FleetTimeError, "convert milliseconds"),
        ("backlog.parquet", "deadline_s", 7, FleetTimeError, "row 1: the deadline 7 is not after"),
        ("hosts.parquet", "domain", "x", UnknownReferenceError, "is not in domains.csv"),
        ("hosts.parquet", "service", "x", UnknownReferenceError, "is not in services.csv"),
        ("hosts.parquet", "host_id", "d-s-0", DuplicateIdError, "hosts.parquet row 1"),
        ("hosts.parquet", "host_id", "", FleetTableError, "'host_id' is blank; fill it in"),
        ("domains.csv", "window_s", 0, WindowError, "row 1: window_s must be above 0"),
        ("domains.csv", "window_s", 90_000, WindowError, "overlaps that of the next day"),
        ("domains.csv", "window_start_s", 90_000, WindowError, "counts from local midnight"),
        ("domains.csv", "lanes", 0, CapError, "row 1: lanes must be at least 1, got 0"),
        ("domains.csv", "lanes", "two", FleetTableError, "a whole number, got 'two'"),
        ("services.csv", "max_down_share", "0", CapError, "row 0: max_down_share must be in"),
        ("services.csv", "max_down_hosts", "0", CapError, "row 0: max_down_hosts must be a whole"),
        ("services.csv", "is_stateful", "maybe", FleetTableError, "must be true or false"),
        ("types.csv", "rollback_s", -1, FleetTimeError, "row 1: rollback_s must be 0 or more"),
        ("types.csv", "after", "magic", UnknownReferenceError, "'os' comes after 'magic'"),
        ("types.csv", "after", "os", CyclicPrecedenceError, "cycle os -> os; remove one"),
        ("types.csv", "type", "bios", DuplicateIdError, "row 1: type 'bios'"),
    ],
)
def test_a_bad_cell_is_named_with_its_row_and_the_way_out(
    make_tables, file, column, value, error, words
):
    tables = make_tables(TASKS)
    row = min(1, len(tables[file]) - 1)
    tables[file][column] = tables[file][column].astype(object)
    tables[file].loc[row, column] = value
    with pytest.raises(error, match=words):
        fleet_from_tables(tables)


@pytest.mark.parametrize(
    ("freeze", "error", "words"),
    [
        (("d", "s", 20, 20, "ann", "why"), WindowError, "freeze of ann ends at 20, not after"),
        (("x", "s", 10, 20, "ann", "why"), UnknownReferenceError, "row 0: 'x' is not in domains"),
        (("d", "x", 10, 20, "ann", "why"), UnknownReferenceError, "row 0: 'x' is not in services"),
        (("d", "s", 10, 20, "", "why"), FleetTableError, "'owner' is blank"),
        (("d", "s", "soon", 20, "ann", "why"), FleetTimeError, "row 0: 'from_s' must be whole"),
    ],
)
def test_a_bad_freeze_is_named(make_tables, freeze, error, words):
    with pytest.raises(error, match=words):
        fleet_from_tables(make_tables(TASKS, freezes=(freeze,)))


def test_dates_instead_of_seconds_are_refused_whether_or_not_they_have_a_zone(make_tables):
    for zone in (None, "Europe/Berlin"):
        tables = make_tables(TASKS)
        tables["backlog.parquet"]["arrival_s"] = pd.Timestamp("2025-03-30 04:30", tz=zone)
        with pytest.raises(FleetTimeError, match="with or without a time zone; convert"):
            fleet_from_tables(tables)


def test_an_empty_backlog_a_missing_column_and_a_missing_file_say_what_to_do(make_tables, tmp_path):
    tables = make_tables(TASKS)
    with pytest.raises(EmptyBacklogError, match="nothing to plan; export the open tasks"):
        fleet_from_tables({**tables, "backlog.parquet": tables["backlog.parquet"].iloc[:0]})
    shorter = tables["types.csv"].drop(columns="rollback_s")
    with pytest.raises(FleetTableError, match=r"types.csv lacks the columns rollback_s; it has"):
        fleet_from_tables({**tables, "types.csv": shorter})
    written(tables, tmp_path)
    (tmp_path / "hosts.parquet").write_text("no parquet")
    with pytest.raises(DatasetUnreadableError, match=r"hosts.parquet cannot be read"):
        read_fleet(tmp_path)
    (tmp_path / "hosts.parquet").unlink()
    with pytest.raises(DatasetMissingError, match=r"no hosts.parquet .* a fleet consists"):
        read_fleet(tmp_path)


def test_the_digest_changes_with_any_table(make_tables):
    first = fleet_from_tables(make_tables(TASKS))
    assert first.digest == fleet_from_tables(make_tables(TASKS)).digest
    for other in (
        make_tables(TASKS, lanes=3),
        make_tables(TASKS, value=2.0),
        make_tables(TASKS, freezes=(("*", "*", 1, 2, "ann", "why"),)),
    ):
        assert fleet_from_tables(other).digest != first.digest


@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
def test_every_table_may_be_csv_or_parquet(make_tables, tmp_path, suffix):
    """The same plan inputs by either: blanks, flags, numbers, dates."""
    freeze = ("*", "s", 10, 20, "ann", "launch")
    tables = make_tables(TASKS, freezes=(freeze,), after="bios")
    started = pd.Timestamp("2024-01-01 01:00")
    rows = [("d-s-0", "os", "r1", started, started + pd.Timedelta("1h"), "completed")]
    rows += [("d-s-1", "os", "r1", started, pd.NaT, "running")]
    columns = tables["events.parquet"].columns
    tables["events.parquet"] = pd.DataFrame(rows, columns=columns)
    as_usual, other = tmp_path / "usual", tmp_path / "other"
    as_usual.mkdir()
    other.mkdir()
    written(tables, as_usual)
    written({f"{name.split('.')[0]}{suffix}": table for name, table in tables.items()}, other)
    usual, found = read_fleet(as_usual), read_fleet(other)
    for name in ("hosts", "services", "domains", "types", "backlog"):
        pd.testing.assert_frame_equal(getattr(usual, name), getattr(found, name))
    assert found.freezes == usual.freezes
    assert found.events["ended"].isna().tolist() == [False, True]
    assert found.events["ended"][0] == usual.events["ended"][0]


def test_a_table_is_named_as_the_file_that_was_found(make_tables, tmp_path):
    tables = make_tables(TASKS)
    tables["hosts.csv"] = tables.pop("hosts.parquet").assign(host_id="d-s-0")
    written(tables, tmp_path)
    with pytest.raises(DuplicateIdError, match=r"^hosts.csv row 1"):
        read_fleet(tmp_path)
    tables["hosts.csv"].to_parquet(tmp_path / "hosts.parquet")
    with pytest.raises(FleetTableError, match=r"both hosts.parquet and hosts.csv; remove one"):
        read_fleet(tmp_path)
    for name in ("hosts.csv", "hosts.parquet"):
        (tmp_path / name).unlink()
    with pytest.raises(
        DatasetMissingError, match=r"no hosts.parquet or hosts.csv .*found: backlog.parquet, domain"
    ):
        read_fleet(tmp_path)


def test_a_fleet_without_a_past_of_its_own_is_read_where_another_is_given(make_tables, tmp_path):
    tables = make_tables(TASKS)
    written(tables, tmp_path)
    (tmp_path / "events.parquet").unlink()
    with pytest.raises(DatasetMissingError, match=r"no events.parquet or events.csv"):
        read_fleet(tmp_path)
    assert read_fleet(tmp_path, has_past=False).events.empty
