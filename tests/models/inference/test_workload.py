"""Generated workloads have the shape that was asked for, by seed; the planner's scale."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest

from models.errors import NotEnoughDataError, UnknownNameError
from models.inference import CostModel, KvBudget, plan_job
from models.inference.planner_bench import planner_scale
from models.inference.workload import (
    PRESETS,
    WorkloadSettings,
    generate_workload,
    preset_workload,
)
from models.settings import ROOT


def test_a_workload_has_the_shape_of_its_settings():
    shape = WorkloadSettings(n_prompts=5_000, duplicates=0.05, beginnings=0.05)
    work = generate_workload(shape, 3)
    assert len(work.prompts) == 5_000
    assert (work.groups == -1).mean() == pytest.approx(0.2, abs=0.01)
    sizes = np.sort(np.bincount(work.groups[work.groups >= 0]))[::-1]
    # Zipf: the largest group is some ten times the tenth.
    assert sizes[0] > 6 * sizes[9]
    assert sizes.min() >= 2
    assert work.prompts.ids.max() < 49_152
    assert 5 <= work.prompts.lengths.max() <= 3_300
    texts = [ids.tobytes() for ids in work.prompts]
    assert 1 - len(set(texts)) / 5_000 == pytest.approx(0.05, abs=0.02)
    output = work.loads.output_tokens
    assert (output.min(), output.max()) == (1, 256)
    assert np.median(output) == pytest.approx(32, rel=0.1)
    plan = plan_job(work.prompts, work.loads, KvBudget(10**12))
    # Up to three levels: some prefix copies from one that copies itself.
    parent = plan.groups.parent
    assert (parent[parent[parent >= 0]] >= 0).any()
    assert plan.stats.planned_share > plan.stats.saving(plan.stats.single_level) > 0.4


def test_orders_hold_the_same_prompts_and_interleaving_takes_groups_in_turn(tmp_path):
    made = {
        arrival: generate_workload(WorkloadSettings(n_prompts=300, arrival=arrival), 1)
        for arrival in ("random", "interleaved", "sorted")
    }
    sets = [sorted(ids.tobytes() for ids in work.prompts) for work in made.values()]
    assert sets[0] == sets[1] == sets[2]
    assert (np.diff(made["sorted"].groups) != 0).sum() == len(np.unique(made["sorted"].groups)) - 1
    groups = made["interleaved"].groups
    n_groups = groups.max() + 2
    assert len(set(groups[:n_groups])) == n_groups
    on_disk = generate_workload(WorkloadSettings(n_prompts=300), 1, tmp_path / "t")
    assert on_disk.prompts.digest == made["random"].prompts.digest
    other = generate_workload(WorkloadSettings(n_prompts=300), 2)
    assert other.prompts.digest != on_disk.prompts.digest


@pytest.mark.parametrize("name", sorted(PRESETS))
def test_a_preset_has_its_groups_and_lengths(name):
    preset, work = PRESETS[name], preset_workload(name, seed=4)
    assert len(work.prompts) == preset.groups * preset.requests
    own = work.prompts.lengths - preset.prefix_tokens
    assert own.min() >= 0.6 * preset.suffix_tokens
    assert own.max() <= 1.4 * preset.suffix_tokens
    heads = {ids[: preset.prefix_tokens].tobytes() for ids in work.prompts}
    assert len(heads) == (preset.groups if preset.prefix_tokens else 1)
    with pytest.raises(UnknownNameError, match="no workload preset named 'F'"):
        preset_workload("F")


def test_step_prices_follow_measured_steps():
    sizes = [1, 8, 64, 256]
    fitted = CostModel().fitted(sizes, [0.02 + 0.0005 * size for size in sizes])
    assert fitted.step_s == pytest.approx(0.02)
    assert fitted.prefill_s == fitted.decode_s == pytest.approx(0.0005)
    with pytest.raises(NotEnoughDataError, match="at least two sizes"):
        CostModel().fitted([8, 8], [0.1, 0.1])


@pytest.mark.slow
def test_a_hundred_thousand_prompts_are_planned_at_the_optimum_in_bounds(tmp_path):
    scale = planner_scale(100_000, seed=5, folder=tmp_path)
    assert scale.n_tokens > 60_000_000
    assert 1 - scale.planned_share <= 1.005 * (1 - scale.optimal_share)
    assert scale.planned_share > scale.single_level_share >= scale.enlarged_share
    # A tenth of the 10 s and 3 GB for a million, with room for a loaded machine.
    assert scale.total_s < 2
    assert scale.peak_rss_bytes < 1.5 * 10**9
    assert set(scale.phase_s) >= {"sort", "tree", "stats", "choose", "order", "write"}
    assert list(tmp_path.iterdir()) == []


def test_importing_the_room_loads_no_compiler():
    code = "import sys, models.inference; sys.exit('numba' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT).returncode == 0
