"""Where a job reads and writes: no input is written over, no two jobs write one file."""

from __future__ import annotations

from pathlib import Path

import pytest

from models.errors import ConfigError
from models.inference.batch_input import BatchInput, Places, beside, check_output, read_batch
from models.inference.job import run_job
from models.inference.job_config import JobConfig
from models.inference.tiny_job import write_tiny_job
from tests.models.inference.job_cases import start_stand_in


@pytest.fixture
def tiny(tmp_path: Path) -> JobConfig:
    model, data = write_tiny_job(tmp_path, seed=3, n_rows=6)
    return JobConfig(
        data=data, output=tmp_path / "out.jsonl", model=str(model), backend="native", kv_gib=0.01
    )


def read(config: JobConfig, **changes: object) -> BatchInput:
    home = Path(config.model).parent / "home"
    return read_batch(config.model_copy(update=changes), Places(home, home))


def test_no_spelling_of_the_inputs_path_lets_results_take_its_place(
    tiny: JobConfig, tmp_path: Path
):
    data = tiny.data
    assert data is not None
    (tmp_path / "folder").mkdir()
    (tmp_path / "leads-there.jsonl").symlink_to(data)
    (tmp_path / "errors.jsonl").symlink_to(data)
    (tmp_path / "a.errors.jsonl").symlink_to(data)
    for changes in (
        {"output": data},
        {"output": tmp_path / "folder" / ".." / data.name},
        {"output": tmp_path / "leads-there.jsonl"},
        {"data": tmp_path / "leads-there.jsonl", "output": data},
        {"output": tmp_path / "results.jsonl"},
        {"output": tmp_path / "a.parquet"},
    ):
        with pytest.raises(ConfigError, match="the input are the same file"):
            read(tiny, **changes)


def test_one_job_has_one_folder_however_its_paths_are_written(tiny: JobConfig, tmp_path: Path):
    (tmp_path / "folder").mkdir()
    roundabout = tmp_path / "folder" / ".." / "out.jsonl"
    assert read(tiny, output=roundabout).folder == read(tiny).folder


def test_a_path_that_no_file_can_have_is_refused(tiny: JobConfig, tmp_path: Path):
    (tmp_path / "circle.jsonl").symlink_to(tmp_path / "circle.jsonl")
    for name in ("x" * 300 + ".jsonl", "a\0.jsonl", "a\udcff.jsonl", "circle.jsonl"):
        for key in ("data", "output"):
            with pytest.raises(ConfigError, match=f"{key} .* is no usable path"):
                read(tiny, **{key: tmp_path / name})
    # Its draft would have a name that is too long: said now, not once all is computed.
    with pytest.raises(ConfigError, match=r"cannot write there \(File name too long\)"):
        check_output(tmp_path / ("x" * 249 + ".jsonl"))


def test_jobs_of_one_folder_keep_their_lists_of_errors_apart(tmp_path: Path):
    assert beside(tmp_path / "results.parquet", "errors.jsonl") == tmp_path / "errors.jsonl"
    assert beside(tmp_path / "a.jsonl", "errors.jsonl") == tmp_path / "a.errors.jsonl"
    assert beside(tmp_path / "b.1.jsonl", "report.html") == tmp_path / "b.1.report.html"


def test_inputs_of_one_name_in_two_folders_have_results_of_their_own(
    tiny: JobConfig, tmp_path: Path
):
    data = tiny.data
    assert data is not None
    (tmp_path / "other").mkdir()
    other = tmp_path / "other" / data.name
    other.write_bytes(data.read_bytes())
    assert read(tiny, output=None).output != read(tiny, output=None, data=other).output
    assert read(tiny, output=None).output == read(tiny, output=None).output


def test_a_folder_where_errors_or_the_report_are_to_go_is_found_out_first(
    tiny: JobConfig, tmp_path: Path
):
    home = tmp_path / "home"
    for name in ("out.errors.jsonl", "out.report.html"):
        (tmp_path / name).mkdir()
        with pytest.raises(ConfigError, match=f"{name} is a folder"):
            run_job(tiny, Places(home, home), start=start_stand_in)
        (tmp_path / name).rmdir()


def test_a_context_that_the_model_was_not_made_for_is_refused(tiny: JobConfig):
    assert read(tiny, context_tokens=512).n_input == 6
    with pytest.raises(ConfigError, match=r"513 asked for, .* was made for 512"):
        read(tiny, context_tokens=513)
    assert read(tiny, context_tokens=513, backend="auto", url="http://127.0.0.1:9/v1").n_input == 6
