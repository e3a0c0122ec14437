from pathlib import Path

import pandas as pd
import pytest

from models.contracts import check_table, read_contract, read_table
from models.contracts.contract import Column, Contract, Expectation
from models.errors import (
    ContractError,
    DatasetMissingError,
    DatasetUnreadableError,
    NotEnoughDataError,
)
from models.settings import ROOT

LANL = ROOT / "datasets" / "upgrades" / "lanl_outages"

CONTRACT = Contract(
    name="runs",
    file="runs.csv",
    columns={
        "id": Column(type="integer"),
        "took_s": Column(type="number", unit="s"),
        "begin": Column(type="datetime"),
        "end": Column(type="datetime"),
        "note": Column(type="string", nullable=True),
    },
    rows=(
        Expectation(
            expect="expect_column_values_to_be_between",
            args={"column": "took_s", "min_value": 0, "strict_min": True},
            reason="the duration is not positive",
        ),
        Expectation(
            expect="expect_column_pair_values_a_to_be_greater_than_b",
            args={"column_A": "end", "column_B": "begin", "or_equal": True},
            reason="it ends before it starts",
        ),
        Expectation(
            expect="expect_compound_columns_to_be_unique",
            args={"column_list": ["id", "begin"]},
            reason="duplicate of an earlier row",
            keep_first=True,
        ),
    ),
    max_quarantined_share=0.5,
)


def runs(**changes: list[object]) -> pd.DataFrame:
    columns: dict[str, list[object]] = {
        "id": [1, 2, 3, 4],
        "took_s": [5.0, 6.0, 7.0, 8.0],
        "begin": ["2024-01-01 00:00", "2024-01-02 00:00", "2024-01-03 00:00", "2024-01-04 00:00"],
        "end": ["2024-01-01 01:00", "2024-01-02 01:00", "2024-01-03 01:00", "2024-01-04 01:00"],
        "note": ["a", None, "b", "c"],
    }
    return pd.DataFrame({**columns, **changes})


def test_a_good_table_passes_whole_and_typed():
    checked = check_table(CONTRACT, runs())
    assert len(checked.frame) == 4
    assert checked.quarantine.empty
    assert str(checked.frame["begin"].dtype).startswith("datetime64")


@pytest.mark.parametrize(
    ("changes", "row", "reason"),
    [
        ({"took_s": [5, -6, 7, 8]}, 1, "the duration is not positive"),
        ({"took_s": [5, 6, 0, 8]}, 2, "the duration is not positive"),
        ({"took_s": ["5", "6", "7", "soon"]}, 3, "took_s: 'soon' is no number"),
        ({"took_s": [5, None, 7, 8]}, 1, "took_s is empty"),
        ({"id": [1, 2.5, 3, 4]}, 1, "id: 2.5 is no integer"),
        (
            {"end": ["2023-12-31", "2024-01-02 01:00", "2024-01-03 01:00", "2024-01-04 01:00"]},
            0,
            "it ends before it starts",
        ),
    ],
)
def test_a_bad_row_goes_to_quarantine_with_its_reason(
    changes: dict[str, list[object]], row: int, reason: str
):
    checked = check_table(CONTRACT, runs(**changes))
    assert checked.quarantine["row"].tolist() == [row]
    assert reason in checked.quarantine["reason"].iloc[0]
    assert len(checked.frame) == 3


def test_of_duplicate_events_the_first_is_kept():
    doubled = pd.concat([runs(), runs().iloc[[1, 1]]], ignore_index=True)
    checked = check_table(CONTRACT, doubled)
    assert checked.quarantine["row"].tolist() == [4, 5]
    assert checked.frame["id"].tolist() == [1, 2, 3, 4]


def test_a_row_with_two_faults_names_both():
    frame = runs(took_s=[-1, 6, 7, 8], end=["2023-12-31", *runs()["end"].tolist()[1:]])
    reason = check_table(CONTRACT, frame).quarantine["reason"].iloc[0]
    assert reason == "the duration is not positive; it ends before it starts"


def test_a_missing_column_stops_and_names_what_was_found():
    with pytest.raises(ContractError, match=r"lacks 1 of the 5 columns.*took_s; found: id, begin"):
        check_table(CONTRACT, runs().drop(columns="took_s"))


def test_a_column_of_another_type_stops():
    with pytest.raises(ContractError, match="column 'begin' must hold datetime values"):
        check_table(CONTRACT, runs(begin=[1, 2, 3, 4]))


def test_too_many_bad_rows_stop_with_the_commonest_reason_and_the_page():
    with pytest.raises(ContractError, match=r"3 of 4 rows are bad.*not positive") as caught:
        check_table(CONTRACT, runs(took_s=[-1, -1, -1, 8]))
    assert "<html" in caught.value.page


@pytest.mark.parametrize("zone", ["Z", "+02:00", "-0500"])
def test_times_with_a_zone_are_refused(zone: str):
    begin = [f"2024-01-0{day}T00:00:00{zone}" for day in range(1, 5)]
    with pytest.raises(ContractError, match=r"'begin' has times with a zone.*without zone"):
        check_table(CONTRACT, runs(begin=begin))
    parsed = runs(begin=list(pd.to_datetime(begin, utc=True)))
    with pytest.raises(ContractError, match="'begin' has times with a zone"):
        check_table(CONTRACT, parsed)


def test_an_infinite_number_is_a_bad_cell():
    checked = check_table(CONTRACT, runs(took_s=[5.0, float("inf"), 7.0, 8.0]))
    assert checked.quarantine["reason"].tolist() == ["took_s: inf is no number"]


def test_a_table_rule_stops_the_flow():
    rule = Expectation(
        expect="expect_table_row_count_to_be_between", args={"min_value": 10}, reason="too short"
    )
    with pytest.raises(ContractError, match=r"too short \(found 4\)"):
        check_table(CONTRACT.model_copy(update={"table": (rule,)}), runs())


def test_a_watched_rule_only_warns():
    rule = Expectation(
        expect="expect_column_values_to_be_between",
        args={"column": "took_s", "max_value": 7},
        reason="slow",
    )
    checked = check_table(CONTRACT.model_copy(update={"watch": (rule,)}), runs())
    assert checked.warnings == ["slow (1 rows)"]
    assert len(checked.frame) == 4


def test_a_rule_that_cannot_be_computed_is_our_error_not_a_pass():
    rule = Expectation(
        expect="expect_column_values_to_be_between",
        args={"column": "gone", "min_value": 0},
        reason="x",
    )
    with pytest.raises(ContractError, match="could not be computed"):
        check_table(CONTRACT.model_copy(update={"rows": (rule,)}), runs())


@pytest.mark.parametrize("name", ["expect_nothing_known", "expect_column_values_to_be_between"])
def test_a_rule_that_does_not_exist_or_lacks_arguments_cannot_be_built(name: str):
    rule = Expectation(expect=name, args={"column": "took_s"}, reason="x")
    with pytest.raises(ContractError, match=f"rule {name}.* cannot be built"):
        check_table(CONTRACT.model_copy(update={"rows": (rule,)}), runs())


def test_a_file_that_is_missing_truncated_empty_or_unknown_is_told_apart(tmp_path: Path):
    with pytest.raises(DatasetMissingError, match="does not exist"):
        read_table(tmp_path / "gone.parquet")
    with pytest.raises(DatasetUnreadableError, match="cannot tell the format"):
        read_table(tmp_path / "table.xlsx")
    (tmp_path / "folder.csv").mkdir()
    with pytest.raises(DatasetMissingError, match="is a folder"):
        read_table(tmp_path / "folder.csv")
    truncated = tmp_path / "half.parquet"
    whole = (LANL / "lanl_outages.parquet").read_bytes()
    truncated.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(DatasetUnreadableError, match="not readable as Parquet"):
        read_table(truncated)
    empty = tmp_path / "empty.csv"
    empty.write_text("id,took_s\n")
    with pytest.raises(NotEnoughDataError, match="no rows"):
        read_table(empty)
    nothing = tmp_path / "nothing.csv"
    nothing.write_text("")
    with pytest.raises(DatasetUnreadableError, match="not readable as CSV"):
        read_table(nothing)


def test_the_shipped_outages_have_exactly_the_published_quirks():
    contract = read_contract(LANL)
    checked = check_table(contract, read_table(LANL / contract.file))
    # Counted independently with pandas: 2 durations <= 0, 23 repeated rows (see the card).
    assert len(checked.frame) == 16_592
    reasons = checked.quarantine["reason"].value_counts().to_dict()
    assert reasons == {
        "duplicate of an earlier row (same node, times and cause)": 23,
        "the duration is not positive": 2,
    }
    assert checked.warnings == ["the outage lasted more than 30 days (14 rows)"]


def test_a_folder_without_contract_is_no_dataset(tmp_path: Path):
    with pytest.raises(DatasetMissingError, match=r"has no contract\.yaml"):
        read_contract(tmp_path)


def test_every_shipped_dataset_has_card_contract_and_file_and_no_python():
    datasets = ROOT / "datasets"
    assert not list(datasets.rglob("*.py"))
    folders = [path.parent for path in datasets.rglob("contract.yaml")]
    assert folders
    for folder in folders:
        contract = read_contract(folder)
        assert (folder / contract.file).is_file() == contract.is_shipped
        assert (folder / "README.md").is_file()
        assert contract.name == folder.name


def test_a_list_in_a_cell_is_refused_before_any_rule_and_other_columns_may_hold_one():
    with pytest.raises(ContractError, match=r"row 2: column 'note' holds a list, \['b'\]"):
        check_table(CONTRACT, runs(note=["a", None, ["b"], "c"]))
    assert len(check_table(CONTRACT, runs(extra=[["a"]] * 4)).frame) == 4


def test_a_value_outside_its_set_is_named_and_counted_by_value():
    rule = Expectation(
        expect="expect_column_values_to_be_in_set",
        args={"column": "note", "value_set": ["a"]},
        reason="no known note",
    )
    strict = CONTRACT.model_copy(update={"rows": (rule,)})
    checked = check_table(strict, runs(note=["a", "b", "c", "a"]))
    assert checked.quarantine["reason"].tolist() == ["no known note: 'b'", "no known note: 'c'"]
    words = r"first is row 1; most often: no known note: 'b' \(2 rows\), .*'c' \(1 rows\); ask"
    with pytest.raises(ContractError, match=words):
        check_table(strict, runs(note=["a", "b", "c", "b"]), remedy="ask")
