"""Profiles as JSON lines."""

import json

import pytest

from flows.command.bench_sharding_diagnosis import diagnosis
from models.errors import DatasetMissingError, DatasetUnreadableError
from models.sharding.bench import ShardingBenchConfig
from models.sharding.diagnosis import diagnose
from models.sharding.diagnosis.documents import Case, as_row, read_profiles, write_profiles
from models.sharding.diagnosis.inject import inject


@pytest.fixture(scope="module")
def injected():
    return inject(seed=5, count=12)


def row_of(one):
    return as_row(Case(one.id, one.job, one.layout, one.profile), one.labels)


def test_profiles_survive_a_file(injected, tmp_path):
    file = tmp_path / "profiles.jsonl"
    write_profiles(file, [row_of(one) for one in injected])
    read = read_profiles(file)
    assert [one.id for one in read.cases] == [one.id for one in injected]
    assert read.labels == {one.id: one.labels for one in injected}
    for before, after in zip(injected, read.cases, strict=True):
        assert after.job == before.job
        assert after.profile == before.profile
        first = diagnose(before.profile, before.job, before.layout)
        assert diagnose(after.profile, after.job, after.layout).kinds == first.kinds


def test_a_file_is_scored_and_one_without_labels_is_diagnosed(injected, tmp_path):
    file = tmp_path / "profiles.jsonl"
    write_profiles(file, [row_of(one) for one in injected])
    config = ShardingBenchConfig()
    tables, _, values, metrics = diagnosis(file, 0, lambda step: None, config)
    assert tables[0].rows[0][:2] == ("loomworks", 12)
    assert metrics["diagnosis/top_1"] == tables[0].rows[0][2]
    assert json.loads(json.dumps(values))["diagnosis"][0]["labels"]
    write_profiles(file, [row_of(one) | {"labels": []} for one in injected])
    tables, _, values, metrics = diagnosis(file, 0, lambda step: None, config)
    assert metrics == {}
    assert values["diagnosis"][0]["named"]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"question": {"model": "llama9"}}, "no model named 'llama9'"),
        ({"question": {"model": "llama3.1-8b", "colour": 1}}, "colour"),
        ({"layout": {"fsdp": "many"}}, "fsdp"),
        ({"layout": {"fdsp": 4}}, "Layout has no fdsp"),
        ({"profile": {"source": "guess"}}, "profile.source must be one of"),
        ({"profile": {"source": "xprof", "step_s": "long"}}, "step_s"),
        ({"profile": {"source": "xprof", "collectives": [3]}}, "must be an object"),
        ({"labels": ["slowness"]}, "unknown labels slowness"),
    ],
)
def test_a_bad_line_is_named_with_what_is_wrong(injected, tmp_path, change, words):
    file = tmp_path / "bad.jsonl"
    write_profiles(file, [row_of(injected[0]), row_of(injected[1]) | change])
    with pytest.raises(DatasetUnreadableError, match="line 2") as caught:
        read_profiles(file)
    assert words in str(caught.value)


def test_what_is_no_file_of_profiles_is_told(injected, tmp_path):
    file = tmp_path / "no.jsonl"
    with pytest.raises(DatasetMissingError, match="check the path"):
        read_profiles(file)
    file.write_text('{"id": 1')
    with pytest.raises(DatasetUnreadableError, match="line 1"):
        read_profiles(file)
    file.write_text("\n")
    with pytest.raises(DatasetUnreadableError, match="has no profile"):
        read_profiles(file)
    file.write_text('{"id": "a"}\n')
    with pytest.raises(DatasetUnreadableError, match="lacks question, layout, profile"):
        read_profiles(file)
    write_profiles(file, [row_of(injected[0])] * 2)
    with pytest.raises(DatasetUnreadableError, match="is there twice"):
        read_profiles(file)
