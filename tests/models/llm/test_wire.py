"""Whatever a server sends is a reply or a typed error."""

import importlib.util
import json
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models.llm import Chunk, Reply, user
from models.llm.delta import StreamReader
from models.llm.errors import MalformedReplyError, StreamCutError
from models.llm.http_errors import error_of
from models.llm.request import as_request
from models.llm.tokens import estimate_tokens
from models.llm.wire import parse_reply
from models.settings import ROOT

KEYS = st.sampled_from(
    [
        "choices", "message", "delta", "content", "tool_calls", "function", "name", "arguments",
        "index", "id", "usage", "prompt_tokens", "completion_tokens", "prompt_tokens_details",
        "finish_reason", "logprobs", "tokens", "top_logprobs", "token", "text", "error", "type",
        "reasoning_content", "thinking_blocks", "refusal", "model",
    ]
)  # fmt: skip
JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-2, 5) | st.floats(-1, 1) | st.text("ab{}", max_size=3),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(KEYS, inner, max_size=4),
    max_leaves=12,
)
REQUEST = as_request(user("x"))


def choices(name):
    return JSON.map(lambda value: {"choices": [{name: value, "finish_reason": "stop"}]})


MESSAGES = JSON | choices("message") | choices("text") | choices("logprobs")
EVENTS = JSON | choices("delta") | choices("text") | choices("logprobs")


@settings(max_examples=300)
@given(MESSAGES)
def test_any_json_is_a_reply_or_a_typed_error(values):
    try:
        reply = parse_reply(values, REQUEST, "m")
    except MalformedReplyError:
        return
    assert Reply.from_dict(json.loads(json.dumps(reply.to_dict()))) == reply


@settings(max_examples=300)
@given(st.lists(EVENTS, max_size=4))
def test_any_events_are_a_reply_or_a_typed_error(events):
    reader = StreamReader(REQUEST, "m")
    try:
        chunks = [chunk for event in events for chunk in reader.feed(json.dumps(event))]
        reply = reader.reply()
    except (MalformedReplyError, StreamCutError):
        return
    assert all(isinstance(chunk, Chunk) for chunk in chunks)
    assert "".join(chunk.text for chunk in chunks) == reply.text
    assert Reply.from_dict(json.loads(json.dumps(reply.to_dict()))) == reply


@given(st.integers(200, 599), st.binary(max_size=20) | JSON.map(lambda v: json.dumps(v).encode()))
def test_any_refusal_is_a_typed_error_that_says_its_status(status, body):
    error = error_of(status, {}, body, "m")
    assert error.status is not None
    assert str(error.status) in str(error)


CL100K = "litellm/litellm_core_utils/tokenizers/9b5ad71b2ce5302211f9c61530b329a4922fc6a4"


def test_estimates_lean_to_too_many_tokens(monkeypatch: pytest.MonkeyPatch):
    spec = importlib.util.find_spec("litellm")
    file = Path(spec.origin).parent.parent / CL100K
    if not file.exists():
        pytest.skip("this litellm brings no tokenizer")
    monkeypatch.setenv("TIKTOKEN_CACHE_DIR", str(file.parent))
    tiktoken = pytest.importorskip("tiktoken")
    encoding = tiktoken.get_encoding("cl100k_base")
    for page in [*sorted((ROOT / "docs").glob("*.md")), *sorted((ROOT / "models").glob("*.py"))]:
        text = page.read_text(encoding="utf-8")
        if text:
            true = len(encoding.encode(text, disallowed_special=()))
            assert 1.0 <= estimate_tokens(text) / true <= 1.6, page.name
    for text in ("Привет, как дела?", "你好，世界。", "🙂🙂🎉", "0x7f3a9b2c", "Übergrößenträger"):
        assert estimate_tokens(text) >= 0.9 * len(encoding.encode(text))
    assert estimate_tokens("") == 0
