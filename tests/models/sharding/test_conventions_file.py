import csv

import numpy as np
import pytest

from models.errors import DatasetMissingError, DatasetUnreadableError
from models.sharding import Job, Slice, Workload, find_model, propose
from models.sharding.conventions import learn_conventions
from models.sharding.conventions_file import (
    SHIPPED,
    read_conventions,
    shipped_conventions,
    write_conventions,
)
from models.sharding.published import read_published
from models.sharding.traits import TRAITS


@pytest.mark.parametrize("kind", ["tpu", pytest.param("gpu", marks=pytest.mark.slow)])
def test_what_ships_is_what_the_published_rows_teach(kind):
    rows = [row for row in read_published().rows if row.job.place.chip.kind == kind]
    learned = learn_conventions(rows).fits[kind]
    shipped = shipped_conventions().fits[kind]
    assert shipped.scale == pytest.approx(learned.scale, rel=1e-4)
    assert shipped.weights == pytest.approx(learned.weights, abs=5e-3)


def test_conventions_survive_their_file(tmp_path):
    known = shipped_conventions()
    write_conventions(known, tmp_path / "mine.csv")
    again = read_conventions(tmp_path / "mine.csv")
    assert set(again.fits) == set(known.fits) == {"gpu", "tpu"}
    for kind, fit in known.fits.items():
        assert again.fits[kind].weights == pytest.approx(fit.weights, rel=1e-4)
        assert fit.weights.shape == (4, len(TRAITS))


def test_a_plan_by_conventions_starts_with_the_most_usual_mesh_in_time():
    one = Job(
        find_model("llama3.1-70b"),
        Workload(seq_len=8192, global_batch=1280),
        Slice.parse("v6e:16x16"),
    )
    plan = propose(one, prior=shipped_conventions().prior)
    # Experts took fsdp=256 here (row P031, which the weights have seen).
    assert plan.proposals[0].layout.fsdp * plan.proposals[0].layout.data == 256
    assert plan.infeasible is None


def changed(tmp_path, change):
    with SHIPPED.open(newline="", encoding="utf-8") as lines:
        rows = list(csv.DictReader(lines))
    rows = change(rows)
    path = tmp_path / "odd.csv"
    with path.open("w", newline="", encoding="utf-8") as out:
        writer = csv.DictWriter(out, rows[0])
        writer.writeheader()
        writer.writerows(rows)
    return path


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda rows: rows[:-1], "other traits"),
        (lambda rows: [row | {"trait": "x"} for row in rows], "other traits"),
        (lambda rows: [row | {"weight_2": "many"} for row in rows], "not complete"),
        (lambda rows: [row | {"scale": "0"} for row in rows], "not usable"),
        (lambda rows: [row | {"weight_1": "nan"} for row in rows], "not usable"),
        (lambda rows: [{"kind": row["kind"]} for row in rows], "not complete"),
        (
            lambda rows: [{k: row[k] for k in ("kind", "trait", "scale")} for row in rows],
            "weights are missing",
        ),
    ],
)
def test_a_table_that_is_none_is_refused(tmp_path, change, said):
    with pytest.raises(DatasetUnreadableError, match=said):
        read_conventions(changed(tmp_path, change))


def test_a_missing_or_binary_table_says_what_to_do(tmp_path):
    with pytest.raises(DatasetMissingError, match="README"):
        read_conventions(tmp_path / "none.csv")
    (tmp_path / "bytes.csv").write_bytes(bytes(np.arange(256, dtype=np.uint8)))
    with pytest.raises(DatasetUnreadableError, match="cannot be used"):
        read_conventions(tmp_path / "bytes.csv")
