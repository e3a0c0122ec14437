"""The case base: published rows and runs of one's own."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from models.errors import ConfigError, DatasetUnreadableError
from models.sharding import Job, Layout, Slice, Workload, find_model
from models.sharding.knowledge import Case, append_case, cases_of, facets_of, read_cases
from models.sharding.published import read_published

JOB = Job(
    find_model("mixtral-8x7b"), Workload(seq_len=8192, global_batch=256), Slice.parse("v5p:4x4x8")
)
CASE = Case("run-1", JOB, Layout(fsdp=32, expert=4, micro_batch=2), "ran", 4.5, "site")


def test_a_run_is_read_back_as_it_was_written(tmp_path: Path):
    file = tmp_path / "deep" / "cases.jsonl"
    failed = replace(CASE, id="run-2", outcome="out of memory", step_s=None)
    append_case(file, CASE)
    append_case(file, failed)
    assert read_cases(file) == ((CASE, failed), {})


def test_a_model_and_a_chip_that_no_table_has_are_kept(tmp_path: Path):
    model = JOB.model.model_copy(update={"name": "ours", "family": "ours", "layers": 12})
    chip = JOB.place.chip.model_copy(update={"name": "prototype", "hbm_bytes": 5e10})
    case = replace(CASE, job=Job(model, JOB.workload, Slice(chip, (4, 4, 8))))
    append_case(tmp_path / "cases.jsonl", case)
    found = read_cases(tmp_path / "cases.jsonl").cases[0]
    assert found.job.model == model
    assert found.job.place.chip.hbm_bytes == 5e10
    assert found.group == ("ours", "prototype")


def test_a_file_that_nobody_wrote_holds_no_cases(tmp_path: Path):
    assert read_cases(tmp_path / "none.jsonl") == ((), {})
    with pytest.raises(DatasetUnreadableError, match="give a file of JSON lines"):
        read_cases(tmp_path)


def test_a_line_that_was_cut_off_costs_itself_alone(tmp_path: Path):
    file = tmp_path / "cases.jsonl"
    append_case(file, CASE)
    file.write_bytes(file.read_bytes() + b'{"id": "run-2", "mod')
    append_case(file, replace(CASE, id="run-3"))
    found = read_cases(file)
    assert [one.id for one in found.cases] == ["run-1", "run-3"]
    assert list(found.left_out) == [2]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"outcome": "exploded"}, "outcome 'exploded'; known: ran"),
        ({"step_s": -1}, "no positive number of seconds"),
        ({"step_s": "fast"}, "no positive number of seconds"),
        ({"step_s": True}, "no positive number of seconds"),
        ({"layout": [1]}, "layout is a list, it must name its axes"),
        ({"layout": None}, "layout is a NoneType"),
        ({"workload": {"seq_len": 10**400}}, "seq_len Input should be less"),
        ({"shape": [10**30]}, "ConfigError"),
        ({"pods": 1e999}, "OverflowError"),
        ({"layout": {"fsdp": 0}}, "fsdp=0 is no size"),
        ({"layout": {"fsdp": 2.5}}, "fsdp=2.5 is no size"),
        ({"layout": {"remat": "some"}}, "remat 'some'; known"),
        ({"layout": {"ring": 3}}, "ring"),
        ({"shape": [3, 5, 7]}, "v5p comes in no slice 3x5x7"),
        ({"model": {"name": "x"}}, "layers Field required"),
        ({"id": ""}, "an id has 1 to 80 characters"),
    ],
)
def test_a_line_that_is_no_case_is_left_out_with_its_reason(
    tmp_path: Path, change: dict[str, object], said: str
):
    file = tmp_path / "cases.jsonl"
    append_case(file, CASE)
    values = json.loads(file.read_text()) | change
    file.write_text(json.dumps(values) + "\n[1]\nnull\n\n\xff\n")
    found = read_cases(file)
    assert found.cases == ()
    assert said in found.left_out[1]
    assert sorted(found.left_out) == [1, 2, 3, 5]


def test_a_time_beside_a_failure_or_of_nothing_is_refused(tmp_path: Path):
    with pytest.raises(ConfigError, match="has a time, but its outcome is 'failed'"):
        append_case(tmp_path / "c", replace(CASE, outcome="failed"))
    with pytest.raises(ConfigError, match="give None"):
        append_case(tmp_path / "c", replace(CASE, step_s=float("nan")))


def test_published_rows_become_cases_with_facets_and_words():
    rows = read_published().rows
    cases = cases_of(rows)
    assert len(cases) == len(rows)
    mixtral = next(c for c in cases if c.job.model.name == "mixtral-8x22b")
    assert mixtral.layout.expert == 4
    assert "mixture of experts" in mixtral.text
    assert "24.71 s per step" in mixtral.text
    assert mixtral.facets["chip"] == frozenset({"v6e"})


def test_facets_bucket_at_their_bounds():
    # 46.7 billion parameters; 8,192 tokens; 128 chips.
    assert facets_of(JOB) == {
        "kind": "tpu", "stage": "pretrain", "moe": "moe", "chip": "v5p", "size": "large",
        "sequence": "medium", "scale": "hundreds",
    }  # fmt: skip
    few = Job(find_model("llama3.2-1b"), Workload(seq_len=4096), Slice.parse("h100:8"))
    found = facets_of(few)
    assert (found["size"], found["sequence"], found["scale"]) == ("small", "short", "few")
    huge = Job(find_model("deepseek-v3"), Workload(seq_len=16_385), Slice.parse("h100:1024"))
    found = facets_of(huge)
    assert (found["size"], found["sequence"], found["scale"]) == ("huge", "long", "thousands")
