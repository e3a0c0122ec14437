"""Steps of a plan: the present layout, profiles that are not of it, one measured step."""

from pathlib import Path

import pytest

from models.errors import ConfigError
from models.settings import ROOT
from models.sharding import Job, Layout, LayoutTable, why_illegal
from models.sharding.config import PlanConfig
from models.sharding.constants import DEFAULT
from models.sharding.cost import step_cost
from models.sharding.knowledge.cases import read_cases
from models.sharding.question import ShardingQuestion
from models.sharding.ranking import prior_of
from models.sharding.residual import Site
from models.sharding.work import (
    anchored,
    compiled_step,
    keep_run,
    known_step,
    present_layout,
    recall_for,
    trivial_layout,
)

PROFILES = ROOT / "datasets" / "sharding" / "profiles"
SMALL = {"model": "llama3.1-8b", "slice": "v5e:4x4", "seq_len": 4096, "global_batch": 64}


def job_of(**asked) -> Job:
    return ShardingQuestion(**{**SMALL, **asked}).job()


def log_of(folder: Path, seconds: float) -> Path:
    file = folder / "run.log"
    file.write_text("".join(f"completed step: {n}, seconds: {seconds}\n" for n in range(20)))
    return file


def test_the_trivial_answer_is_pure_fsdp_where_that_is_legal():
    assert trivial_layout(job_of()) == Layout(fsdp=16)
    short = job_of(global_batch=4)
    found = trivial_layout(short)
    assert found is not None
    assert why_illegal(found, short) == []
    assert LayoutTable.of([found]).batch_shards(short)[0] == 4


def test_a_layout_in_words_or_of_a_trainer_is_the_present_one(tmp_path: Path):
    job = job_of()
    words = PlanConfig(**SMALL, present="fsdp=8 tensor=2 micro=2 none")
    assert present_layout(words, job, None)[0] == Layout(
        fsdp=8, tensor=2, micro_batch=2, remat="none"
    )
    file = tmp_path / "mine.yml"
    file.write_text(
        "ici_fsdp_parallelism: 8\nici_tensor_parallelism: 2\nper_device_batch_size: 4\n"
        "max_target_length: 4096\nremat_policy: full\n"
    )
    found, _ = present_layout(PlanConfig(**SMALL, present=str(file)), job, None)
    assert (found.fsdp, found.tensor) == (8, 2)


def test_a_profile_of_other_devices_or_of_impossible_speed_is_refused(tmp_path: Path):
    foreign = PlanConfig(**SMALL, data=PROFILES / "train_v5e.hlo.gz", present="fsdp=16")
    with pytest.raises(ConfigError, match=r"another program: .* 8 devices"):
        known_step(foreign, job_of(), DEFAULT)
    fast = PlanConfig(**SMALL, data=log_of(tmp_path, 0.01), present="fsdp=16")
    with pytest.raises(ConfigError, match="at the peak of the chips"):
        known_step(fast, job_of(), DEFAULT)


def test_one_measured_step_moves_all_predictions_towards_it(tmp_path: Path):
    job = job_of()
    rows = LayoutTable.of([Layout(fsdp=16), Layout(fsdp=8, tensor=2)])
    before = step_cost(rows, job, DEFAULT).step_s
    measured = 1.4 * float(before[0])
    config = PlanConfig(**SMALL, data=log_of(tmp_path, measured), present="fsdp=16")
    known = known_step(config, job, DEFAULT)
    site = anchored(Site(), known, job)
    after = step_cost(rows, job, site.constants).step_s
    assert abs(after[0] / measured - 1) < abs(before[0] / measured - 1) / 2
    assert after[1] > before[1]
    assert site.constants.time_spread == DEFAULT.time_spread


def test_nothing_is_anchored_without_a_measurement():
    job = job_of()
    known = known_step(PlanConfig(**SMALL), job, DEFAULT)
    assert anchored(Site(), known, job) == Site()
    assert anchored(Site(), None, job) == Site()


def test_time_alone_ranks_without_a_prior_and_experts_with_theirs():
    assert prior_of("time") is None
    assert prior_of("experts") is not None


def test_a_measured_step_is_kept_once_and_recalled_unless_own_runs_are_left_out(tmp_path: Path):
    job = job_of()
    measured = known_step(
        PlanConfig(**SMALL, data=log_of(tmp_path, 12.0), present="fsdp=16"), job, DEFAULT
    )
    keep_run(known_step(PlanConfig(**SMALL), job, DEFAULT), job, tmp_path)
    assert not (tmp_path / "sharding").exists()
    keep_run(measured, job, tmp_path)
    keep_run(measured, job, tmp_path)
    (case,) = read_cases(tmp_path / "sharding" / "cases.jsonl").cases
    assert (case.layout, case.step_s) == (Layout(fsdp=16), pytest.approx(12.0))
    assert case.id in [one.id for one in recall_for(job, None, tmp_path).cases.items]
    blind = recall_for(job, None, tmp_path, leave_own_out=True)
    assert case.id not in [one.id for one in blind.cases.items]


def test_a_compile_of_the_present_layout_gives_its_profile(tmp_path: Path):
    asked = {"model": "llama3.2-1b", "slice": "v5e:2x2", "seq_len": 2048, "global_batch": 16}
    job = job_of(**asked)
    config = PlanConfig(**asked, profile="cpu", present="fsdp=4 micro=1 full")
    known = known_step(config, job, DEFAULT)
    assert known is not None
    found = compiled_step(known, config, job, tmp_path).profile
    assert (found.source, found.trust["argument_bytes"]) == ("cpu_hlo", "compiled")
    # fp32 weights and two moments of Adam, a quarter of each.
    assert found.argument_bytes == pytest.approx(12 * job.model.params / 4, rel=0.01)
    assert "fsdp" in {axis for one in found.collectives for axis in one.axes}
    assert compiled_step(known, PlanConfig(**asked), job, tmp_path) is known
