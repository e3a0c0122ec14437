"""Jobs that cannot run say why in one error; rows that cannot run are errors of their own."""

from __future__ import annotations

import errno
import json
import math
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from pydantic import ValidationError
from safetensors.torch import load_file, save_file

from models.errors import ConfigError, DataError, ProjectError, StorageFullError
from models.inference.batch_input import Places
from models.inference.job import run_job
from models.inference.job_config import JobConfig
from models.inference.job_state import ask_to_stop, stop_reason
from models.inference.local_model import find_model
from models.inference.prepare import ErrorRateError
from models.inference.tiny_job import write_tiny_job
from tests.models.inference.job_cases import start_stand_in


@pytest.fixture
def tiny(tmp_path: Path) -> JobConfig:
    model, data = write_tiny_job(tmp_path, seed=3, n_rows=6)
    return JobConfig(
        data=data,
        output=tmp_path / "out" / "out.jsonl",
        model=str(model),
        dtype="float32",
        backend="native",
        kv_gib=0.01,
    )


def places(config: JobConfig) -> Places:
    assert config.data is not None
    home = config.data.parent / "home"
    return Places(home, home)


def weights_file(config: JobConfig) -> Path:
    return Path(config.model) / "model.safetensors"


def cut(config: JobConfig) -> None:
    data = weights_file(config).read_bytes()
    weights_file(config).write_bytes(data[: len(data) // 2])


def remove(config: JobConfig) -> None:
    weights_file(config).unlink()


def retype(config: JobConfig) -> None:
    tensors = load_file(weights_file(config))
    save_file({n: t.to(torch.int8) for n, t in tensors.items()}, weights_file(config))


def spoil(config: JobConfig) -> None:
    tensors = load_file(weights_file(config))
    tensors["model.norm.weight"][3] = torch.nan
    save_file(tensors, weights_file(config))


def another_shape(config: JobConfig) -> None:
    file = Path(config.model) / "config.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), "hidden_size": 64}))


def another_architecture(config: JobConfig) -> None:
    file = Path(config.model) / "config.json"
    found = {**json.loads(file.read_text()), "architectures": ["MambaForCausalLM"]}
    file.write_text(json.dumps({**found, "model_type": "mamba"}))


def no_object(config: JobConfig) -> None:
    (Path(config.model) / "config.json").write_text("[]")


def broken_json(config: JobConfig) -> None:
    (Path(config.model) / "config.json").write_text("{broken")


def no_folder(config: JobConfig) -> None:
    shutil.rmtree(config.model)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("fault", "kind", "words"),
    [
        (cut, DataError, "model.safetensors"),
        (remove, DataError, r"holds no \*.safetensors"),
        (retype, DataError, "is of type torch.int8"),
        (spoil, DataError, "model.norm.weight holds values that are no numbers"),
        (another_shape, DataError, "belong to different models"),
    ],
)
def test_weights_that_cannot_be_used_end_the_job_with_what_is_wrong(
    tiny: JobConfig, fault: Callable[[JobConfig], None], kind: type[ProjectError], words: str
):
    fault(tiny)
    with pytest.raises(kind, match=words):
        run_job(tiny, places(tiny))


@pytest.mark.parametrize(
    ("fault", "kind", "words"),
    [
        (another_architecture, ConfigError, "vllm"),
        (broken_json, DataError, r"config\.json"),
        (no_object, DataError, r"config\.json holds no JSON object"),
        (no_folder, DataError, "no model directory"),
    ],
)
def test_a_model_that_cannot_be_used_is_refused_before_any_process_starts(
    tiny: JobConfig, fault: Callable[[JobConfig], None], kind: type[ProjectError], words: str
):
    fault(tiny)
    with pytest.raises(kind, match=words):
        run_job(tiny, places(tiny), start=start_stand_in)


def test_a_model_that_only_vllm_runs_is_not_asked_for_more_context_than_it_has(
    tiny: JobConfig, tmp_path: Path
):
    for number, (field, values) in enumerate(
        (
            (300, {"max_position_embeddings": 300}),
            (200, {"max_position_embeddings": None, "n_positions": 200}),
            (100, {"max_position_embeddings": None, "text_config": {"n_positions": 100}}),
            (8_192, {"max_position_embeddings": None}),
        )
    ):
        folder = tmp_path / f"m{number}"
        shutil.copytree(tiny.model, folder)
        another_architecture(tiny.model_copy(update={"model": str(folder)}))
        file = folder / "config.json"
        file.write_text(json.dumps({**json.loads(file.read_text()), **values}))
        model = find_model(str(folder), tmp_path / "cache")
        assert model.config is None
        assert model.context_tokens == field


def test_numbers_that_no_job_can_have_are_no_config():
    for values in ({"kv_gib": math.inf}, {"seed": 2**63}, {"seed": -(2**63) - 1}):
        with pytest.raises(ValidationError, match=next(iter(values))):
            JobConfig.model_validate(values)


def test_a_refused_job_says_where_all_bad_rows_are_listed(tiny: JobConfig):
    assert tiny.data is not None
    with tiny.data.open("a") as file:
        file.write("{broken\n" * 2)
    with pytest.raises(ErrorRateError, match=r"2 of 8 .*row 6: .*\(all: ") as refused:
        run_job(tiny, places(tiny), start=start_stand_in)
    listed = Path(str(refused.value).partition("(all: ")[2].partition(")")[0])
    assert [json.loads(line)["row"] for line in listed.open()] == [6, 7]


def test_a_disk_that_is_full_does_not_hide_why_a_job_ends(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Path, "open", full)
    ask_to_stop(tmp_path, "interrupted")
    monkeypatch.undo()
    assert stop_reason(tmp_path) is None
    ask_to_stop(tmp_path, "interrupted")
    assert stop_reason(tmp_path) == "interrupted"


def test_every_row_over_the_budget_is_told_when_none_fits(tiny: JobConfig):
    small = tiny.model_copy(update={"kv_gib": 1_000 / 1024**3})
    with pytest.raises(ErrorRateError, match=r"6 of 6 .* row 0: .*raise kv_gib"):
        run_job(small, places(tiny), start=start_stand_in)
    report = run_job(
        small.model_copy(update={"max_error_rate": 1.0}), places(tiny), start=start_stand_in
    )
    assert report.merged.errors_by_code == {"kv_budget_exceeded": 6}


def test_an_output_that_cannot_be_written_is_refused_before_anything_is_computed(
    tiny: JobConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    (tmp_path / "a.jsonl").mkdir()
    for output, words in (
        (tmp_path / "a.jsonl", "is a folder"),
        (tmp_path / "in.jsonl" / "out.jsonl", "cannot write there"),
    ):
        with pytest.raises(ConfigError, match=words):
            run_job(tiny.model_copy(update={"output": output}), places(tiny))

    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(tempfile, "NamedTemporaryFile", full)
    with pytest.raises(StorageFullError, match="free some, or name another output"):
        run_job(tiny, places(tiny))
    assert not list((tmp_path / "home").glob("inference/jobs/*/shards"))
