"""Calls that are made at the same time go to a model as one batch."""

import asyncio

import pytest

from models.llm import Reply, ScriptedModel, generate_value
from models.llm.blocking import run
from models.llm.bulk import BulkModel
from models.llm.errors import ScriptError, UnexpectedError

SCHEMA = {"type": "object", "required": ["n"]}


class Batches(ScriptedModel):
    """Notes how many rows each batch had."""

    def __init__(self, turns, **fields):
        super().__init__(turns, **fields)
        self.sizes = []

    async def batch(self, prompts, options=None, *, concurrency=8):
        self.sizes.append(len(prompts))
        return await super().batch(prompts, options, concurrency=concurrency)


async def asked(model, *prompts):
    return await asyncio.gather(*(model.generate(p) for p in prompts), return_exceptions=True)


def test_calls_at_once_are_one_batch_and_later_ones_another():
    model = Batches(["a", "b", "c"])
    bulk = BulkModel(model)
    assert [row.text for row in run(asked(bulk, "1", "2"))] == ["a", "b"]
    assert run(bulk.generate("3")).text == "c"
    assert model.sizes == [2, 1]
    assert (bulk.name, bulk.capabilities) == (model.name, model.capabilities)


def test_a_row_that_fails_stops_no_other_and_repairs_go_together():
    model = Batches(["?", "?", '{"n": 1}', '{"n": 2}', '{"n": 3}'])
    bulk = BulkModel(model)

    async def values():
        return await asyncio.gather(*(generate_value(bulk, str(n), SCHEMA) for n in range(3)))

    found = run(values())
    assert sorted(one.value["n"] for one in found) == [1, 2, 3]
    assert model.sizes == [3, 2]
    one, other = run(asked(BulkModel(ScriptedModel(["a"])), "1", "2"))
    assert isinstance(one, Reply)
    assert isinstance(other, ScriptError)


def test_a_model_that_fails_as_a_whole_is_told_to_all_and_who_left_is_not_asked_for():
    class Broken(ScriptedModel):
        async def batch(self, prompts, options=None, *, concurrency=8):
            raise RuntimeError("no engine")

    rows = run(asked(BulkModel(Broken([])), "1", "2"))
    assert all(isinstance(row, UnexpectedError) and "no engine" in str(row) for row in rows)
    model = Batches(["a"])
    bulk = BulkModel(model, linger_s=0.1)

    async def leave():
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.01):
                await bulk.generate("1")
        await asyncio.sleep(0.2)
        return await bulk.generate("2")

    assert run(leave()).text == "a"
    assert model.sizes == [1]
