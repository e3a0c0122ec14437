"""Files of an operator's own history: what their contract keeps, and what it says of the rest."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from models.errors import ConfigError, ContractError
from models.settings import ROOT
from models.upgrades.history import EventTimeError, load_history, load_table, read_mapping

DATASETS = ROOT / "datasets"


def own_history(n: int) -> pd.DataFrame:
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


def test_the_contract_moves_single_bad_rows_to_quarantine_with_a_reason(tmp_path: Path):
    frame = own_history(300)
    frame.loc[3, "ended"] = frame.loc[3, "started"]
    frame.loc[5, "outcome"] = "lost"
    frame.loc[7, "outcome"] = "running"
    frame.loc[9, "ended"] = pd.NaT
    frame.loc[40, "started"] = frame.loc[30, "started"] + pd.Timedelta("1min")  # both of host h0
    frame = pd.concat([frame, frame.iloc[[20]]], ignore_index=True)
    file = tmp_path / "own.csv"
    frame.to_csv(file, index=False)
    loaded = load_table(file, None, DATASETS)
    reasons = loaded.checked.quarantine.set_index("row")["reason"]
    assert reasons.index.tolist() == [3, 5, 7, 9, 40, 300]
    assert "does not end after its start" in reasons[3]
    assert "none of completed" in reasons[5]
    assert "an end although the upgrade runs" in reasons[7]
    assert "no end although" in reasons[9]
    assert "another upgrade runs on the host" in reasons[40]
    assert "duplicate" in reasons[300]
    assert len(loaded.history()) == 295


def test_overlaps_on_a_host_are_refused_unless_the_mapping_keeps_them(tmp_path: Path):
    frame = own_history(100)
    frame["ended"] = frame["started"] + pd.Timedelta("6h")  # the next on a host after 5 h
    file, mapping = tmp_path / "own.parquet", tmp_path / "mapping.yaml"
    frame.to_parquet(file)
    with pytest.raises(ContractError, match=r"row 10; most often.*another upgrade runs.*overlaps"):
        load_history(file, None, DATASETS)
    mapping.write_text("overlaps: keep")
    assert len(load_history(file, mapping, DATASETS)) == 100


def test_a_text_that_is_no_date_becomes_one_bad_row(tmp_path: Path):
    frame = own_history(100).astype({"started": str})
    frame.loc[4, "started"] = "yesterday"
    file = tmp_path / "own.csv"
    frame.to_csv(file, index=False)
    checked = load_table(file, None, DATASETS).checked
    assert checked.quarantine["row"].tolist() == [4]
    assert "'yesterday' is no datetime" in checked.quarantine["reason"].iloc[0]


@pytest.mark.parametrize("column", ["host_id", "type", "domain", "started", "outcome", "batch_id"])
@pytest.mark.parametrize("value", [["a", "b"], {"kind": "a"}])
def test_a_list_or_a_mapping_in_a_cell_is_refused_with_its_row(
    tmp_path: Path, column: str, value: object
):
    frame = own_history(20)
    frame[column] = pd.Series([None] * 4 + [value] * 16, dtype=object)
    file = tmp_path / "own.parquet"
    frame.to_parquet(file)
    kind = "a list" if isinstance(value, list) else "a mapping"
    with pytest.raises(ContractError, match=rf"row 4: column '{column}' holds {kind}.*\(16 such"):
        load_table(file, None, DATASETS)


def test_outcomes_that_nobody_explained_are_listed_with_their_counts(tmp_path: Path):
    frame = own_history(100)
    frame.loc[10:29, "outcome"] = "ROLLED_BACK"
    frame.loc[30:34, "outcome"] = "lost"
    file, mapping = tmp_path / "own.csv", tmp_path / "mapping.yaml"
    frame.to_csv(file, index=False)
    with pytest.raises(ContractError) as caught:
        load_table(file, None, DATASETS)
    assert "'ROLLED_BACK' (20 rows), 'lost' (5 rows) is none of" in str(caught.value)
    assert "`outcomes`" in str(caught.value)
    mapping.write_text("outcomes: {ROLLED_BACK: aborted}")
    with pytest.raises(ContractError, match=r"'lost' \(5 rows\).*leaves 20 aborted"):
        load_table(file, mapping, DATASETS)
    frame.loc[34, "outcome"] = "completed"
    frame.to_csv(file, index=False)
    loaded = load_table(file, mapping, DATASETS)
    assert loaded.checked.quarantine["reason"].str.endswith(": 'lost'").sum() == 4
    (doubt,) = loaded.doubts
    assert "the outcome 'lost' (4 rows), which are dropped and leave 20 aborted" in doubt
    frame.assign(outcome=["OK"] * 60 + ["KO"] * 40).to_csv(file, index=False)
    with pytest.raises(ContractError, match=r"found 'OK' \(60\), 'KO' \(40\)"):
        load_table(file, None, DATASETS)


def test_a_forgotten_word_for_failed_stops_even_below_the_share_of_bad_rows(tmp_path: Path):
    frame = own_history(500).assign(outcome="OK")
    frame.loc[::50, "outcome"] = "ROLLED_BACK"  # 2 %, of which the contract allows 5
    file, mapping = tmp_path / "own.csv", tmp_path / "mapping.yaml"
    frame.to_csv(file, index=False)
    mapping.write_text("outcomes: {OK: completed}")
    with pytest.raises(ContractError, match=r"'ROLLED_BACK' \(10 rows\).*leaves 0 aborted"):
        load_table(file, mapping, DATASETS)
    mapping.write_text("outcomes: {OK: completed, ROLLED_BACK: aborted}")
    loaded = load_table(file, mapping, DATASETS)
    assert (int(loaded.history().is_censored.sum()), loaded.doubts) == (10, ())


def test_rows_without_an_outcome_are_doubted(tmp_path: Path):
    frame = own_history(500)
    frame.loc[::50, "outcome"] = None
    file = tmp_path / "own.csv"
    frame.to_csv(file, index=False)
    (doubt,) = load_table(file, None, DATASETS).doubts
    assert "no outcome (10 rows)" in doubt


@pytest.mark.parametrize(
    ("unit", "found"), [("s", "take up to 20 s"), ("min", None), ("h", "take up to 13 days")]
)
def test_a_median_that_no_upgrade_has_questions_the_unit(
    tmp_path: Path, unit: str, found: str | None
):
    frame = own_history(100).drop(columns="ended").assign(took=20 if unit != "h" else 312)
    file, mapping = tmp_path / "own.csv", tmp_path / "mapping.yaml"
    frame.to_csv(file, index=False)
    mapping.write_text(f"{{columns: {{duration: took}}, duration_unit: {unit}, overlaps: keep}}")
    said = load_table(file, mapping, DATASETS).doubts
    if found is None:
        assert said == ()
    else:
        assert found in said[0]
        assert f"`duration_unit` (now {unit})" in said[0]


def test_durations_are_compared_with_the_ends_that_the_file_has_too(tmp_path: Path):
    frame = own_history(100)
    took_min = (frame["ended"] - frame["started"]).dt.total_seconds() / 60
    file, mapping = tmp_path / "own.csv", tmp_path / "mapping.yaml"
    mapping.write_text("{columns: {duration: took}, duration_unit: min}")
    frame.assign(took=took_min).to_csv(file, index=False)
    assert load_table(file, mapping, DATASETS).doubts == ()
    # Seconds under the name of minutes; the next upgrade of a host comes after 5 h.
    frame.assign(took=took_min * 20).to_csv(file, index=False)
    (doubt,) = load_table(file, mapping, DATASETS).doubts
    assert "disagree with end - start in 100 of 100 rows (the middle one is 20 times as" in doubt


def test_many_overlaps_name_the_unit_as_a_likely_cause(tmp_path: Path):
    frame = own_history(100).drop(columns="ended").assign(took=10)
    file, mapping = tmp_path / "own.csv", tmp_path / "mapping.yaml"
    frame.to_csv(file, index=False)
    mapping.write_text("{columns: {duration: took}, duration_unit: h}")
    with pytest.raises(ContractError, match=r"90 of 90 upgrades.*check `duration_unit` \(now h\)"):
        load_table(file, mapping, DATASETS)


def test_a_mapping_that_cannot_be_used_is_called_a_mapping(tmp_path: Path):
    with pytest.raises(ConfigError, match=r"mapping file .*absent.yaml does not exist.*`mapping`"):
        read_mapping(tmp_path / "absent.yaml")
    (tmp_path / "list.yaml").write_text("- a")
    with pytest.raises(ConfigError, match=r"mapping file .*list.yaml must be a mapping of keys"):
        read_mapping(tmp_path / "list.yaml")


@pytest.mark.parametrize(
    ("zoned", "kind"), [([7], "with"), ([*range(7), *range(8, 60)], "without")]
)
def test_of_mixed_clocks_the_rarer_is_named(tmp_path: Path, zoned: list[int], kind: str):
    frame = own_history(60).astype({"started": str, "ended": str})
    for column in ("started", "ended"):
        frame.loc[zoned, column] += "+01:00"
    file = tmp_path / "own.csv"
    frame.to_csv(file, index=False)
    with pytest.raises(EventTimeError, match=rf"row 7 has a time {kind} zone.*\(2 such times\)"):
        load_table(file, None, DATASETS)


def test_dates_that_two_countries_read_differently_are_refused_with_the_form_to_use(tmp_path: Path):
    file = tmp_path / "own.csv"
    own_history(20).assign(started="01/02/2026 10:00").to_csv(file, index=False)
    with pytest.raises(ContractError, match=r"'started'.*write dates like 2026-05-01 14:30:00"):
        load_table(file, None, DATASETS)
