"""Tables of measured runs: which rows are read, left out, or make the whole unusable."""

import csv
import logging

import pytest

from models.errors import ContractError
from models.sharding.landscapes import FOLDER, read_landscapes

SHIPPED = FOLDER / "measured_landscapes.csv"


@pytest.fixture(scope="module")
def shipped():
    with SHIPPED.open(newline="", encoding="utf-8") as lines:
        rows = list(csv.DictReader(lines))
    return [row for row in rows if row["gpus"] == "8" and row["model"] == "llama-1B"]


def write(path, rows):
    with path.open("w", newline="", encoding="utf-8") as out:
        writer = csv.DictWriter(out, rows[0])
        writer.writeheader()
        writer.writerows(rows)
    return path


def test_the_shipped_table_is_read_whole():
    with SHIPPED.open(newline="", encoding="utf-8") as lines:
        rows = list(csv.DictReader(lines))
    assert len(rows) == 1630
    scenarios = read_landscapes()
    assert sum(one.runs.table.size for one in scenarios) == 1630
    # Two models on 8, 16 ... 512 chips, counted in the file itself.
    counted: dict[tuple[str, int], int] = {}
    for row in rows:
        key = ("nanotron-1b" if row["model"] == "llama-1B" else "nanotron-3b", int(row["gpus"]))
        counted[key] = counted.get(key, 0) + 1
    assert {one.group: one.runs.table.size for one in scenarios} == counted
    assert {one.runs.job.workload.tokens for one in scenarios} == {256 * 4096}


BAD = [
    ({"gbs": "0"}, "global batch is below 1"),
    ({"gbs": "1e20"}, "global batch is below 1 or above"),
    ({"gbs": "256.7"}, "gbs: 256.7 is no integer"),
    ({"seq_len": "0"}, "sequence is below 1"),
    ({"seq_len": "100000000"}, "sequence is below 1 or above"),
    ({"tok_s_gpu": "1e308", "status": "ok"}, "above 100 million tokens/s"),
    ({"mem_gb": "1e30"}, "above 10,000 GB"),
    ({"zero": "7"}, "zero is none of"),
    ({"zero": "-1"}, "zero is none of"),
    ({"remat": "banana"}, "recomputation is unknown: 'banana'"),
    ({"dp": "3", "tp": "1", "pp": "1"}, "3 x 1 x 1 on 8"),
    ({"tp": "1000000"}, "dp x tp x pp"),
    ({"tp": "10000000"}, "tp is below 1 or above 1,048,576"),
    ({"gpus": "10000000"}, "more than 1,048,576"),
]


@pytest.mark.parametrize(("change", "said"), BAD)
def test_a_row_that_breaks_a_rule_is_left_out_and_counted(shipped, tmp_path, caplog, change, said):
    rows = [*shipped[:40], shipped[0] | change]
    with caplog.at_level(logging.WARNING):
        scenarios = read_landscapes(write(tmp_path / "mine.csv", rows))
    assert [one.group for one in scenarios] == [("nanotron-1b", 8)]
    assert scenarios[0].runs.table.size == 40
    assert "1 of 41 rows are left out" in caplog.text


@pytest.mark.parametrize(("change", "said"), BAD)
def test_a_table_of_such_rows_is_refused_with_the_reason(shipped, tmp_path, change, said):
    # Whole numbers stay in the column: a column without any is refused by its type.
    rows = [shipped[0], *([row | change for row in shipped[:4]])]
    with pytest.raises(ContractError, match=said) as error:
        read_landscapes(write(tmp_path / "mine.csv", rows))
    assert "\n" not in str(error.value)


def test_policies_of_recomputation_are_read_as_they_are_named(shipped, tmp_path):
    named = ["none", "selective", "full", ""]
    rows = [shipped[0] | {"remat": name} for name in named]
    table = read_landscapes(write(tmp_path / "mine.csv", rows))[0].runs.table
    assert [table.row(place).remat for place in range(4)] == ["none", "selective", "full", "none"]
