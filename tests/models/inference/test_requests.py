"""Input rows: what is read, and what becomes of every kind of bad row."""

from __future__ import annotations

import gzip
import json
import math

import orjson
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from models.errors import DatasetMissingError, DatasetUnreadableError
from models.inference import Request, RowError, Sampling, read_requests
from models.inference.parse import parse_line, parse_row

CHAT, TEXT = "/v1/chat/completions", "/v1/completions"


def batch(body, custom_id="a", url=TEXT, **more):
    return {"custom_id": custom_id, "method": "POST", "url": url, "body": body, **more}


def parsed(value) -> Request | RowError:
    return parse_line(7, orjson.dumps(value))


def test_a_chat_line_of_openais_batch_format_is_read_whole():
    body = {
        "model": "m",
        "messages": [{"role": "user", "content": [{"type": "text", "text": "Hi"}]}],
        "max_completion_tokens": 5,
        "temperature": 0,
        "stop": "END",
        "seed": 3,
        "n": 2,
        "logprobs": True,
        "top_logprobs": 4,
        "response_format": {
            "type": "json_schema",
            "json_schema": {"name": "x", "schema": {"type": "object"}},
        },
    }
    request = parsed(batch(body, url=CHAT, tenant="acme"))
    assert request == Request(
        row=7,
        custom_id="a",
        messages=({"role": "user", "content": "Hi"},),
        tenant="acme",
        endpoint=CHAT,
        sampling=Sampling(
            max_tokens=5,
            temperature=0.0,
            stop=("END",),
            seed=3,
            n=2,
            logprobs=4,
            schema='{"type":"object"}',
        ),
    )
    assert request.sampling.is_greedy


def test_a_plain_line_takes_ids_and_the_fields_of_the_body():
    request = parsed(
        {"custom_id": "a", "token_ids": [1, 2], "max_tokens": 3, "group": 4, "top_k": -1}
    )
    assert isinstance(request, Request)
    assert request.token_ids == (1, 2)
    assert request.sampling == Sampling(max_tokens=3)
    ids = parsed(batch({"prompt": [5, 6]}))
    assert isinstance(ids, Request)
    assert ids.token_ids == (5, 6)


GOOD = {"prompt": "x"}
BAD = [
    ([1], "invalid_type", None),
    ({"prompt": "x"}, "missing_required_parameter", "custom_id"),
    ({"custom_id": 3, "prompt": "x"}, "invalid_type", "custom_id"),
    ({"custom_id": "a"}, "missing_required_parameter", "prompt"),
    (batch({}, url=CHAT), "missing_required_parameter", "messages"),
    (batch(GOOD, url=None), "missing_required_parameter", "url"),
    (batch(GOOD, url="/v1/embeddings"), "unsupported_endpoint", "url"),
    (batch(GOOD) | {"method": "GET"}, "invalid_value", "method"),
    (batch([1]), "invalid_type", "body"),
    ({"custom_id": "a", "method": "POST", "url": CHAT}, "missing_required_parameter", "body"),
    (batch({"prompt": ""}), "empty_prompt", "prompt"),
    (batch({"prompt": []}), "empty_prompt", "prompt"),
    (batch({"messages": []}, url=CHAT), "empty_prompt", "messages"),
    (batch({"prompt": ["a", "b"]}), "unsupported_parameter", "prompt"),
    (batch({"prompt": [1, True]}), "invalid_type", "prompt"),
    (batch({"prompt": [1, -1]}), "unknown_token_id", "prompt"),
    (
        batch({"messages": [{"role": "user"}]}, url=CHAT),
        "missing_required_parameter",
        "messages[0]",
    ),
    (
        batch({"messages": [{"role": "user", "content": [{"type": "image_url"}]}]}, url=CHAT),
        "unsupported_parameter",
        "messages[0]",
    ),
    (batch({"prompt": "x"}, url=CHAT), "unsupported_parameter", "prompt"),
    (batch({**GOOD, "token_ids": [1]}), "invalid_value", "prompt"),
    (batch({**GOOD, "max_tokens": 0}), "invalid_value", "max_tokens"),
    (batch({**GOOD, "max_tokens": 2.5}), "invalid_type", "max_tokens"),
    (batch({**GOOD, "max_tokens": 2, "max_completion_tokens": 3}), "invalid_value", "max_tokens"),
    (batch({**GOOD, "temperature": -1}), "invalid_value", "temperature"),
    (batch({**GOOD, "temperature": True}), "invalid_type", "temperature"),
    (batch({**GOOD, "top_p": 0}), "invalid_value", "top_p"),
    (batch({**GOOD, "stop": [1]}), "invalid_type", "stop"),
    (batch({**GOOD, "top_logprobs": 3}), "invalid_value", "top_logprobs"),
    (batch({**GOOD, "stream": True}), "unsupported_parameter", "stream"),
    (batch({**GOOD, "tools": [{}]}), "unsupported_parameter", "tools"),
    (batch({**GOOD, "temprature": 1}), "unsupported_parameter", "temprature"),
    (batch({**GOOD, "schema": {"type": "thing"}}), "invalid_json_schema", "schema"),
    (batch({**GOOD, "schema": "{"}), "invalid_json_schema", "schema"),
    (batch({**GOOD, "schema": 5}), "invalid_json_schema", "schema"),
    (batch({**GOOD, "schema": {"$ref": "http://x/y.json"}}), "invalid_json_schema", "schema"),
    (
        batch({**GOOD, "schema": {"anyOf": [{"items": {"$ref": "y.json#/a"}}]}}),
        "invalid_json_schema",
        "schema",
    ),
    (batch({**GOOD, "regex": "("}), "invalid_value", "regex"),
    (batch({**GOOD, "regex": "a", "grammar": "b"}), "invalid_value", "regex"),
    (
        batch({**GOOD, "response_format": {"type": "json_schema"}}),
        "missing_required_parameter",
        "response_format",
    ),
    (batch({**GOOD, "tenant": 4}), "invalid_type", "tenant"),
]


@pytest.mark.parametrize(("value", "code", "param"), BAD)
def test_a_bad_row_becomes_an_error_that_names_row_code_and_parameter(value, code, param):
    error = parsed(value)
    assert isinstance(error, RowError)
    assert (error.row, error.code, error.param) == (7, code, param)
    assert error.message
    assert RowError.from_openai(orjson.loads(orjson.dumps(error.to_openai()))) == error


NAMES = [
    *("custom_id", "method", "url", "body", "tenant", "messages", "prompt", "token_ids"),
    *("max_tokens", "temperature", "top_p", "stop", "seed", "n", "logprobs", "top_logprobs"),
    *("response_format", "structured_outputs", "schema", "regex", "grammar", "logit_bias"),
    *("role", "content", "type", "text", "json_schema", "stop_token_ids", "other"),
]
values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**70), 2**70)
    | st.floats()
    | st.sampled_from(["", "a", "(", CHAT, TEXT, "POST", "text", "json_schema", "\ud800"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(NAMES), inner),
    max_leaves=12,
)


@settings(
    max_examples=500, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(value=values, body=st.dictionaries(st.sampled_from(NAMES), values), is_wrapped=st.booleans())
def test_no_row_whatever_it_holds_raises(value, body, is_wrapped):
    row = batch(body, url=TEXT) if is_wrapped else {"custom_id": "a", "prompt": "x", **body}
    for item in (value, row):
        assert isinstance(parse_row(1, item), Request | RowError)
        line = json.dumps(item).encode()
        assert isinstance(parse_line(1, line), Request | RowError)


@pytest.mark.parametrize("name", ["temperature", "top_p", "min_p", "presence_penalty"])
@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_a_number_that_json_cannot_hold_but_parquet_can_is_refused(name, value):
    error = parse_row(0, batch({**GOOD, name: value}))
    assert isinstance(error, RowError)
    assert (error.code, error.param) == ("invalid_value", name)


def test_limits_are_told_as_they_are():
    error = parsed(batch({**GOOD, "max_tokens": 0}))
    assert isinstance(error, RowError)
    assert error.message == "max_tokens must be in [1, 2147483648], got 0"


def test_a_misspelled_parameter_is_told_its_name():
    error = parsed(batch({**GOOD, "temprature": 1}))
    assert isinstance(error, RowError)
    assert "did you mean 'temperature'?" in error.message


def test_a_file_is_read_to_its_end_whatever_its_lines_hold(tmp_path):
    lines = [
        b"\xef\xbb\xbf" + orjson.dumps({"custom_id": "a", "prompt": "x"}),
        b"",
        b"{not json",
        b'{"custom_id": "b", "prompt": "\xff"}',
        orjson.dumps({"custom_id": "a", "prompt": "again"}),
        b'{"custom_id": "c", "prompt": NaN}',
        b"[" * 100_000,
        orjson.dumps({"custom_id": "d", "token_ids": [1]}),
    ]
    file = tmp_path / "in.jsonl"
    file.write_bytes(b"\n".join(lines))
    found = list(read_requests(file))
    codes = {item.row: item.code for item in found if isinstance(item, RowError)}
    assert codes == {
        2: "invalid_json",
        3: "invalid_utf8",
        4: "duplicate_custom_id",
        5: "invalid_json",
        6: "invalid_json",
    }
    assert [item.row for item in found if isinstance(item, Request)] == [0, 7]


def test_parquet_gives_the_same_requests_as_lines(tmp_path):
    rows = [
        {"custom_id": "a", "messages": [{"role": "user", "content": "x"}], "max_tokens": 4},
        {"custom_id": "b", "messages": [{"role": "user", "content": "y"}], "seed": 1},
        {"custom_id": "b", "messages": [], "max_tokens": 1},
    ]
    lines = tmp_path / "in.jsonl"
    lines.write_bytes(b"\n".join(map(orjson.dumps, rows)))
    nested, texts = tmp_path / "nested.parquet", tmp_path / "texts.parquet"
    pq.write_table(
        pa.Table.from_pylist([{"seed": None, "max_tokens": None, **r} for r in rows]), nested
    )
    as_text = [
        {
            "custom_id": r["custom_id"],
            "url": CHAT,
            "body": orjson.dumps({k: v for k, v in r.items() if k != "custom_id"}).decode(),
        }
        for r in rows
    ]
    pq.write_table(pa.Table.from_pylist(as_text), texts)
    expected = list(read_requests(lines))
    assert list(read_requests(nested)) == expected
    assert list(read_requests(texts)) == expected
    assert isinstance(expected[2], RowError)


def test_a_file_that_is_missing_or_no_parquet_is_refused(tmp_path):
    with pytest.raises(DatasetMissingError, match="no input file"):
        read_requests(tmp_path / "none.jsonl")
    (tmp_path / "bad.parquet").write_bytes(b"nothing")
    with pytest.raises(DatasetUnreadableError, match="no readable Parquet file"):
        list(read_requests(tmp_path / "bad.parquet"))
    with pytest.raises(DatasetUnreadableError, match="is no file"):
        read_requests(tmp_path)


def test_a_packed_file_is_refused_as_a_whole(tmp_path):
    (tmp_path / "in.jsonl").write_bytes(gzip.compress(b'{"custom_id": "a", "prompt": "x"}'))
    with pytest.raises(DatasetUnreadableError, match="packed; unpack it with gunzip first"):
        read_requests(tmp_path / "in.jsonl")


def test_a_parquet_file_is_known_by_what_it_holds_and_gaps_of_pandas_are_no_faults(tmp_path):
    table = pa.table(
        {
            "custom_id": ["a", "b", "c"],
            "prompt": ["x", "x", "x"],
            "max_tokens": pa.array([4.0, None, 2.5]),
            "temperature": pa.array([0.0, None, math.nan]),
        }
    )
    pq.write_table(table, tmp_path / "in.data")
    first, second, third = read_requests(tmp_path / "in.data")
    assert isinstance(first, Request)
    assert isinstance(second, Request)
    assert first.sampling == Sampling(max_tokens=4, temperature=0.0)
    assert type(first.sampling.max_tokens) is int
    assert second.sampling == Sampling()
    assert isinstance(third, RowError)
    assert third.param == "max_tokens"


def test_a_schema_may_refer_to_itself_and_hold_references_as_data():
    schema = {
        "$defs": {"a": {"const": {"$ref": "http://x/y.json"}}},
        "properties": {"$ref": {"$ref": "#/$defs/a"}},
    }
    assert isinstance(parsed(batch({**GOOD, "schema": schema})), Request)


def test_one_text_that_is_not_utf8_costs_its_row_only(tmp_path):
    prompts = pa.array([b"a", b"\xff", b"c"]).view(pa.string())
    table = pa.table({"custom_id": ["x", "y", "z"], "prompt": prompts})
    pq.write_table(table, tmp_path / "in.parquet")
    found = list(read_requests(tmp_path / "in.parquet"))
    assert [getattr(item, "code", None) for item in found] == [None, "invalid_utf8", None]
    assert [item.row for item in found] == [0, 1, 2]


def test_sampling_keeps_its_values_and_a_greedy_digest_ignores_the_seed():
    sampling = Sampling(max_tokens=4, stop=("a",), stop_token_ids=(3,), temperature=0.5, seed=1)
    assert Sampling.from_json(sampling.to_json()) == sampling
    assert Sampling(temperature=0, seed=1).digest() == Sampling(temperature=0, seed=2).digest()
    assert Sampling(seed=1).digest() != Sampling(seed=2).digest()
