"""Outputs that are cut off go on from what they had emitted, and end as if nothing had been."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from models.inference.attention.reference import ReferenceAttention
from models.inference.config import BatchConfig
from models.inference.engine import Engine
from models.inference.grammar import Grammars
from models.inference.job_state import PARTIALS
from models.inference.loads import RowLoads
from models.inference.memory import KvBudget
from models.inference.model.decoder import Decoder
from models.inference.model.gguf_file import embedded_gguf
from models.inference.outputs import Decode, Output
from models.inference.partials import (
    Begun,
    Checkpoints,
    PartialWriter,
    read_begun,
    with_emitted,
)
from models.inference.planner import plan_job
from models.inference.requests import Sampling
from models.inference.segments import Scan, scan_segment
from models.inference.tokenizer import load_tokenizer
from models.inference.verify import verify_plan
from tests.models.inference.engine_cases import TINY, random_weights, table, tiny

PROMPTS = [[5, 6, 7, 8, 9, 10 + index] for index in range(5)] + [[30, 31, 32]]
EVERY = 3


class CutError(Exception):
    """The process is gone."""


@pytest.fixture(scope="module")
def decoder() -> Decoder:
    return Decoder(TINY, random_weights(TINY), ReferenceAttention(TINY, torch.float32))


def decode(ids: Sequence[int]) -> str:
    return "".join(chr(32 + i) for i in ids)


def key(prompt: int) -> bytes:
    return prompt.to_bytes(16, "big")


def run_cut(
    decoder: Decoder,
    samplings: list[Sampling],
    job: Path,
    cuts: Sequence[int],
    monkeypatch: pytest.MonkeyPatch,
    decode: Decode = decode,
    grammars: Grammars | None = None,
    is_told: bool = False,
) -> tuple[dict[int, Output], list[int]]:
    """Run all prompts; the process is gone after so many steps, and another one goes on.

    Returns outputs, and the tokens that were on record when each process began.
    """
    prompts = table(PROMPTS[: len(samplings)])
    n = len(samplings)
    loads = RowLoads(
        np.array([s.max_tokens for s in samplings]),
        *(np.array([s.n for s in samplings]), np.zeros(n, np.int64), np.full(n, -1)),
    )
    budget = KvBudget(64 << 20)
    got: dict[int, Output] = {}
    on_record = []
    for number, cut in enumerate([*cuts, None]):
        todo = np.array([p for p in range(n) if p not in got], np.int64)
        wanted = {key(p): p for p in todo.tolist()}
        begun = read_begun(job, wanted)
        on_record.append(sum(len(one.token_ids) for row in begun.values() for one in row))
        writer = PartialWriter(job / PARTIALS, f"try-{number}", 4, 100)
        for name, row in begun.items():
            writer.goes_on(name, row)
        checkpoints = Checkpoints(
            EVERY,
            lambda prompt, one, writer=writer: writer.add(key(prompt), one),
            {wanted[name]: row for name, row in begun.items()},
        )
        plan = plan_job(
            *(prompts, with_emitted(loads, job, [key(p) for p in range(n)], todo), budget),
            *(BatchConfig(),),
            todo=todo,
        )
        engine = Engine(decoder, budget.bytes, decode, grammars=grammars)
        with monkeypatch.context() as patch:
            hidden, steps = Decoder.hidden, []

            def counted(self: Decoder, *arguments: Any, cut=cut, hidden=hidden, steps=steps):
                steps.append(1)
                if cut is not None and len(steps) > cut:
                    raise CutError
                return hidden(self, *arguments)

            patch.setattr(Decoder, "hidden", counted)
            try:
                for output in engine.run(plan, 0, prompts, samplings, checkpoints=checkpoints):
                    got[output.prompt] = output
            except CutError:
                if is_told:
                    engine.keep_all()
        writer.close()
    return got, on_record


SAMPLINGS = [
    Sampling(20, 0.0, ignore_eos=True),
    Sampling(20, 0.9, seed=3, top_p=0.9, n=3, ignore_eos=True),
    Sampling(20, 0.0, frequency_penalty=0.7, repetition_penalty=1.3, logprobs=2, ignore_eos=True),
    Sampling(20, 1.1, seed=8, presence_penalty=0.5, logprobs=0, ignore_eos=True),
    Sampling(2, 0.0, ignore_eos=True),
    Sampling(20, 0.8, seed=1, n=2, ignore_eos=True),
]


def choices(outputs: dict[int, Output]) -> dict[int, Any]:
    """Everything but log-probabilities, which sums in another order may move by a last bit."""
    return {
        p: [(c.token_ids, c.text, c.finish_reason) for c in o.choices]
        for p, o in sorted(outputs.items())
    }


@pytest.mark.parametrize("cuts", [[1], [5], [11], [17], [4, 4, 4, 4], [9, 1, 8]])
def test_a_run_that_is_cut_off_and_goes_on_gives_the_tokens_of_one_that_is_not(
    decoder: Decoder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cuts: list[int]
):
    whole, _ = run_cut(decoder, SAMPLINGS, tmp_path / "whole", [], monkeypatch)
    got, on_record = run_cut(decoder, SAMPLINGS, tmp_path / "cut", cuts, monkeypatch)
    assert choices(got) == choices(whole)
    for prompt, output in got.items():
        for mine, theirs in zip(output.choices, whole[prompt].choices, strict=True):
            assert (mine.logprobs is None) == (theirs.logprobs is None)
            assert mine.logprobs == pytest.approx(theirs.logprobs, abs=1e-4)
    # Eight long outputs have emitted a token in each step; less than an interval of each is lost.
    assert on_record[1] > 8 * (cuts[0] - 1 - EVERY)


def test_a_process_that_is_asked_to_end_leaves_every_token(
    decoder: Decoder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    whole, _ = run_cut(decoder, SAMPLINGS, tmp_path / "whole", [], monkeypatch)
    got, on_record = run_cut(decoder, SAMPLINGS, tmp_path / "cut", [11], monkeypatch, is_told=True)
    assert choices(got) == choices(whole)
    # Step 1 computes the shared prefix and the prompts; each later one emits a token of each.
    assert on_record[1] in (8 * 10, 8 * 11)


def test_a_stop_text_across_the_cut_ends_the_row(
    decoder: Decoder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    drawn = Sampling(20, 1.1, seed=8, ignore_eos=True)
    free, _ = run_cut(decoder, [drawn], tmp_path / "free", [], monkeypatch)
    text = free[0].choices[0].text
    assert text.index(text[4:8]) == 4
    stopped = [replace(drawn, stop=(text[4:8],))]
    got, on_record = run_cut(decoder, stopped, tmp_path / "cut", [6], monkeypatch, is_told=True)
    assert on_record == [0, 6]
    assert got[0].choices[0].finish_reason == "stop"
    assert got[0].choices[0].text == text[:4]
    assert len(got[0].choices[0].token_ids) == 8


def test_a_grammar_goes_on_where_it_stood(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    config = tiny(n_layers=1, vocabulary=49_152)
    decoder = Decoder(config, random_weights(config), ReferenceAttention(config, torch.float32))
    tokenizer = load_tokenizer(embedded_gguf())
    grammars = Grammars(tokenizer, config.vocabulary, config.eos_ids)
    schema = {
        "type": "object",
        "properties": {"why": {"type": "string", "maxLength": 30}, "n": {"type": "integer"}},
        "required": ["why", "n"],
        "additionalProperties": False,
    }
    samplings = [Sampling(60, 1.0, seed=s, schema=json.dumps(schema), n=2) for s in range(3)]
    arguments = (monkeypatch, tokenizer.decode, grammars)
    whole, _ = run_cut(decoder, samplings, tmp_path / "whole", [], *arguments)
    got, on_record = run_cut(decoder, samplings, tmp_path / "cut", [5, 6], *arguments)
    assert choices(got) == choices(whole)
    assert min(on_record[1:]) > 0
    # Tokens that the grammar does not allow are no beginning of anything: the row starts over.
    writer = PartialWriter(tmp_path / "odd" / PARTIALS, "w", 1, 1)
    writer.add(key(0), Begun(0, [11, 12, 13]))
    writer.close()
    got, on_record = run_cut(decoder, samplings, tmp_path / "odd", [], *arguments)
    assert on_record == [3]
    assert choices(got) == choices(whole)


def write(job: Path, name: str, *states: list[int], known: list[int] | None = None) -> Path:
    writer = PartialWriter(job / PARTIALS, name, 100, 100)
    if known is not None:
        writer.goes_on(key(1), (Begun(0, known),))
    for token_ids in states:
        writer.add(key(1), Begun(0, token_ids, [-0.5] * len(token_ids)))
    writer.close()
    return max((job / PARTIALS).glob(f"{name}-*"))


def read(job: Path) -> list[int]:
    begun = read_begun(job, {key(1)})
    return begun[key(1)][0].token_ids if begun else []


def test_a_long_output_is_written_once_and_a_torn_or_damaged_piece_ends_it_there(tmp_path: Path):
    states = [list(range(5, 5 + n)) for n in (40, 80, 120)]
    segment = write(tmp_path / "a", "w", *states)
    assert read(tmp_path / "a") == states[2]
    assert segment.stat().st_size < 2 * len(json.dumps([states[2], [-0.5] * 120]))
    data = segment.read_bytes()
    (_, second, _) = [place for _, place, _ in scan_segment(segment, Scan())]
    segment.write_bytes(data[:-3])
    assert read(tmp_path / "a") == states[1]
    damaged = bytearray(data)
    damaged[second.offset + 9] ^= 1
    segment.write_bytes(bytes(damaged))
    assert read(tmp_path / "a") == states[0]


def test_pieces_of_two_processes_do_not_mix(tmp_path: Path):
    write(tmp_path, "first", [1, 2, 3], [1, 2, 3, 4, 5])
    # Another process went on from a place that the record does not hold any more.
    write(tmp_path, "second", [1, 2, 9, 9, 9, 9], known=[1, 2, 9])
    assert read(tmp_path) == [1, 2, 3, 4, 5]
    # And one from a place that it does hold: what follows replaces what was there.
    write(tmp_path, "third", [1, 2, 3, 7], known=[1, 2, 3])
    assert read(tmp_path) == [1, 2, 3, 7]


def test_no_file_is_made_for_rows_that_end_before_the_first_record(
    decoder: Decoder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    run_cut(decoder, [Sampling(EVERY, 0.0)] * 3, tmp_path, [], monkeypatch)
    assert not (tmp_path / PARTIALS).exists()


def test_a_plan_takes_emitted_tokens_for_private_prompt_tokens():
    prompts = table([[5, 6, 7, 8], [5, 6, 7, 9]])
    loads = RowLoads.uniform([100, 100])
    budget = KvBudget(64 << 20)
    fresh = plan_job(prompts, loads, budget)
    again = replace(loads, forks=np.array([3, 1]), emitted=np.array([299, 0]))
    tight = KvBudget((4 + 3 * 100) * 10, token_bytes=10)
    assert verify_plan(plan_job(prompts, again, tight), prompts, again) == []
    resumed = plan_job(prompts, replace(loads, emitted=np.array([60, 0])), budget)
    assert verify_plan(resumed, prompts, replace(loads, emitted=np.array([60, 0]))) == []
    assert sorted(resumed.rows.output_tokens.tolist()) == [40, 100]
    assert (resumed.stats.planned or 0) == (fresh.stats.planned or 0) + 60
    assert resumed.predicted_s < fresh.predicted_s
