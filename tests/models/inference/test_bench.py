"""The benchmark's own arithmetic, and its contestants on a tiny model."""

from __future__ import annotations

from dataclasses import replace
from itertools import islice
from pathlib import Path

import numpy as np
import pytest

from models.errors import DatasetUnreadableError
from models.inference.bench.bout import Corner, Result, Ring
from models.inference.bench.contest import Contest, under_pressure, working_set
from models.inference.bench.engine import Score, Setup
from models.inference.bench.gates import saving_gates
from models.inference.bench.native import VARIANTS
from models.inference.bench.process import ContestantError, ContestantProcess
from models.inference.bench.progress import Progress
from models.inference.bench.ratios import lines, mean_ratio, ratio
from models.inference.bench.sets import contest_of_file, contests
from models.inference.bench.verdicts import PROMISES, verdicts
from models.inference.tiny_job import write_tiny_job
from models.inference.token_table import TokenTable


def contest(name: str = "A", kind: str = "shared", prompts: int = 6) -> Contest:
    rows = [[5, 6, 7, 8, 9, 10, 11, 12, 20 + i] for i in range(prompts)]
    outputs = np.full(prompts, 4, np.int64)
    return Contest(name, "test", kind, TokenTable.from_lists(rows, "uint32"), outputs)


def score(cpu_s: float, computed: int | None = None, peak: int | None = None) -> Score:
    return Score(cpu_s, 2 * cpu_s, computed, 10, peak, [])


def test_medians_and_geometric_means_are_those_by_hand():
    results = [Result("A", "slow", i, score(cpu)) for i, cpu in enumerate((9.0, 8.0, 100.0))]
    results += [Result("A", "fast", i, score(cpu)) for i, cpu in enumerate((2.0, 3.0, 3.0))]
    results += [Result("B", "slow", 0, score(12.0)), Result("B", "fast", 0, score(1.0))]
    table = lines(results)
    first = table[0]
    assert (first.cpu_s, first.low_s, first.high_s, first.repeats) == (9.0, 8.0, 100.0, 3)
    assert ratio(table, "A", "slow", "fast") == 3.0
    assert ratio(table, "C", "slow", "fast") is None
    both = [contest("A"), contest("B")]
    assert mean_ratio(table, both, "slow", "fast") == pytest.approx(6.0)  # sqrt(3 x 12)
    assert mean_ratio(table, [contest("C")], "slow", "fast") is None


def test_a_promise_is_judged_on_its_kinds_only_and_names_its_worst_contest():
    given = [contest("A"), contest("B"), contest("E", "unshared")]
    cpu = {"A": (30.0, 10.0), "B": (40.0, 10.0), "E": (9.0, 10.0)}
    results = [
        Result(name, corner, 0, score(seconds))
        for name, pair in cpu.items()
        for corner, seconds in zip(("vllm tuned", "loomworks"), pair, strict=True)
    ]
    found = {v.promise.words: v for v in verdicts(given, lines(results))}
    shared = found["vllm tuned / ours, shared"]
    assert shared.found == pytest.approx(12**0.5)
    assert (shared.worst, shared.contests, shared.is_kept) == (("A", 3.0), 2, True)
    alone = found["vllm tuned / ours, nothing shared"]
    assert (alone.found, alone.is_kept) == (pytest.approx(0.9), False)
    missing = found["hf generate / ours"]
    assert (missing.found, missing.is_kept) == (None, None)
    assert len(found) == len(PROMISES)


def test_pressure_is_a_share_of_what_would_be_held_and_leaves_room_for_the_largest_row():
    large = contest(prompts=200)
    # 8 shared tokens, one of its own and four emitted tokens per row.
    assert working_set(large) == 8 + 200 + 800
    pressed = under_pressure(large, 1 / 3, "A/3")
    assert pressed.kind == "pressure"
    assert pressed.kv_tokens == 384  # 336 and whole blocks of 128
    assert under_pressure(contest(), 1 / 3, "A/3").kv_tokens == 384  # 2 x 13 + 256 at least


def test_saving_and_peak_are_held_against_optimum_and_budget():
    ample, pressed = contest(), under_pressure(contest(), 1 / 3, "A/3")
    # The trie holds 8 + 6 of 54 tokens.
    results = [
        Result("A", "loomworks", 0, score(1.0, computed=14, peak=100)),
        Result("A/3", "loomworks", 0, score(1.0, computed=22, peak=300 * 2)),
    ]
    gates, table = saving_gates([ample, pressed], results, "loomworks", token_bytes=2)
    assert [row["of_optimum"] for row in table] == [1.0, pytest.approx(32 / 40)]
    assert [gate.holds for gate in gates] == [False, True]
    assert gates[0].found == pytest.approx(0.8)
    assert gates[1].found == pytest.approx(300 / 384)


def test_workloads_follow_from_the_seed_and_pressure_has_the_prompts_of_its_contest():
    one, again, other = (contests(seed, False, 500) for seed in (3, 3, 4))
    assert [c.prompts.digest for c in one] == [c.prompts.digest for c in again]
    assert {c.prompts.digest for c in one}.isdisjoint(c.prompts.digest for c in other)
    named = {c.name: c for c in one}
    assert {c.kind for c in one} == {"shared", "decode", "unshared", "pressure"}
    assert named["A/3"].prompts.digest == named["A"].prompts.digest
    assert named["E"].plan(1).stats.optimal_share < 0.01
    assert len(contests(3, True, 500)[0].prompts) == 128


def test_a_file_of_rows_is_a_contest_and_a_bad_line_is_named(tmp_path: Path):
    file = tmp_path / "rows.jsonl"
    file.write_text(
        '{"token_ids": [1, 2, 3], "max_tokens": 2}\n\n{"token_ids": [4], "max_tokens": 1}'
    )
    given, pressed = contest_of_file(file, 10)
    assert (given.kind, pressed.kind) == ("unshared", "pressure")
    assert [row.tolist() for row in map(given.prompts.__getitem__, range(2))] == [[1, 2, 3], [4]]
    assert given.output_tokens.tolist() == [2, 1]
    for line in (
        "{",
        '{"token_ids": [10], "max_tokens": 1}',
        '{"token_ids": [1], "max_tokens": 0}',
    ):
        file.write_text(f'{{"token_ids": [1], "max_tokens": 1}}\n{line}\n')
        with pytest.raises(DatasetUnreadableError, match=r"line 2 is no workload row"):
            contest_of_file(file, 10)
    file.write_text("")
    with pytest.raises(DatasetUnreadableError, match="has no rows"):
        contest_of_file(file, 10)


@pytest.mark.slow
def test_variants_of_our_engine_give_the_same_tokens_and_compute_what_they_say(tmp_path: Path):
    model, _ = write_tiny_job(tmp_path, 2, 4)
    setup = Setup("native", str(model), tmp_path / "cache", "bfloat16")
    given = [contest(), under_pressure(contest("P", prompts=40), 1 / 3, "P/3")]
    names = ("whole", "alone", "one-level", "prefix-order", "by-count", "small-steps")
    corners = [Corner(n, VARIANTS[n].about, setup, {"variant": n}) for n in names]
    ring = Ring(tmp_path / "ring", Progress(tmp_path / "progress"), lambda words: None)
    results = list(ring.fight(given, corners, 1))
    first = {r.corner: r.score for r in results if r.contest == "A"}
    assert {name: s.computed_tokens for name, s in first.items() if name in ("whole", "alone")} == {
        "whole": 14,
        "alone": 54,
    }
    for one in ("A", "P/3"):
        mine = [r.score for r in results if r.contest == one]
        assert len(mine) == len(names)
        assert all(len(tokens) == 4 for s in mine for tokens in s.tokens)
        # Equal but for near ties in bfloat16.
        same = [a == b for s in mine for a, b in zip(s.tokens, mine[0].tokens, strict=True)]
        assert np.mean(same) > 0.8


def test_an_engine_that_fails_is_named_with_its_error_and_leaves_no_process(tmp_path: Path):
    setup = Setup("native", str(tmp_path / "missing"), tmp_path, "bfloat16")
    process = ContestantProcess(setup, tmp_path / "log.txt")
    with pytest.raises(ContestantError, match="native failed: DatasetMissingError"):
        process.__enter__()
    assert process._process.poll() is not None
    model, _ = write_tiny_job(tmp_path, 1, 2)
    place = contest().write(tmp_path / "contest")
    with ContestantProcess(replace(setup, model=str(model)), tmp_path / "log.txt") as ready:
        with pytest.raises(ContestantError, match="native failed: KeyError"):
            ready.run(place, {"variant": "no such"})
        assert ready._process.poll() is not None


@pytest.mark.slow
def test_an_interrupted_bout_goes_on_where_it_was_and_a_finished_one_begins_anew(tmp_path: Path):
    model, _ = write_tiny_job(tmp_path, 2, 4)
    setup = Setup("native", str(model), tmp_path / "cache", "bfloat16")
    corners = [Corner(n, "test", setup, {"variant": n}) for n in ("whole", "alone")]
    given = [contest(), contest("B")]
    told: list[str] = []

    def fight(progress: Progress, rounds: int) -> list[Result]:
        ring = Ring(tmp_path / "ring", progress, told.append)
        results = list(islice(ring.fight(given, corners, 2), rounds))
        assert set(ring.abouts) == {"whole", "alone"}
        return results

    begun = fight(Progress(tmp_path / "progress"), 6)  # A twice, B once
    told.clear()
    again = Progress(tmp_path / "progress")
    assert again.begun == 3
    whole = fight(again, 8)
    assert whole[:6] == begun
    assert [(r.contest, r.corner, r.repeat) for r in whole[6:]] == [
        ("B", "whole", 1),
        ("B", "alone", 1),
    ]
    assert "B: alone, 2 of 2" in told
    assert not any(words.startswith("A:") for words in told)
    told.clear()
    assert fight(again, 8) == whole
    assert told == []
    again.finish()
    assert Progress(tmp_path / "progress").begun == 0
