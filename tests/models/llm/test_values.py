import copy
import json
import os
import pickle
import subprocess
import sys
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.llm import (
    Image,
    Message,
    Options,
    Reasoning,
    Reply,
    Request,
    Text,
    ToolCall,
    ToolSpec,
    Usage,
    assistant,
    tool_result,
    user,
)
from models.llm import errors as e
from models.llm.reply import TokenLogprob
from models.llm.wire import OPENAI, chat_body
from models.settings import ROOT

TEXT = st.text(max_size=20)
PARTS = st.one_of(
    st.builds(Text, TEXT),
    st.builds(Reasoning, TEXT, TEXT, st.booleans()),
    st.builds(lambda url: Image(url="http://x/" + url), TEXT),
    st.builds(lambda: Image(data="AAAA", media_type="image/jpeg")),
)
CALLS = st.builds(ToolCall, TEXT, TEXT, TEXT)
MESSAGES = st.builds(
    Message,
    st.sampled_from(["system", "user", "assistant", "tool"]),
    st.lists(PARTS, max_size=3),
    st.lists(CALLS, max_size=2),
    TEXT,
    TEXT,
    st.booleans(),
    st.booleans(),
)
JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=8,
)
OPTIONS = st.builds(
    Options,
    temperature=st.none() | st.floats(0, 2),
    max_tokens=st.none() | st.integers(1, 9999),
    stop=st.lists(TEXT, max_size=2),
    seed=st.none() | st.integers(),
    schema=st.none() | st.dictionaries(TEXT, JSON, max_size=3),
    tools=st.lists(
        st.builds(ToolSpec, TEXT, TEXT, st.dictionaries(TEXT, JSON, max_size=2), st.booleans()),
        max_size=2,
        unique_by=lambda tool: tool.name,
    ),
    logprobs=st.none() | st.integers(0, 5),
    extra=st.dictionaries(TEXT, JSON, max_size=2),
)
REQUESTS = st.builds(Request, st.lists(MESSAGES, min_size=1, max_size=3), OPTIONS, TEXT, TEXT, TEXT)


@given(REQUESTS)
def test_requests_survive_json_with_their_digest(request):
    loaded = Request.from_dict(json.loads(json.dumps(request.to_dict())))
    assert loaded == request
    assert loaded.digest == request.digest


@given(
    MESSAGES,
    st.builds(Usage, *[st.integers(0, 99)] * 4),
    st.none() | st.floats(0, 9),
    st.none()
    | st.lists(
        st.builds(TokenLogprob, TEXT, st.floats(-9, 0), st.just((("a", -1.0),))), max_size=2
    ).map(tuple),
)
def test_replies_survive_json(message, usage, cost, logprobs):
    reply = Reply(message, "stop", usage, cost, 0.5, "m", "id", logprobs, 2, "scripted")
    assert Reply.from_dict(json.loads(json.dumps(reply.to_dict()))) == reply


def test_the_digest_of_a_request_never_changes():
    # Recordings on disk live by it: a change here makes every cassette unreadable.
    request = Request((user("hé"), assistant("", ToolCall("1", "f", "{}"))), Options(temperature=0))
    assert request.digest == WANTED


WANTED = "064d3209820f49c3710879bdedf9551ddf90155a678488049e9e8d6408b5d959"


def test_the_digest_is_the_same_in_another_process_and_order():
    tool = {"name": "t", "parameters": {"b": 1, "a": {"d": 1, "c": 2}}}
    here = Request((user("x"),), Options(tools=(ToolSpec(**tool),), temperature=0)).digest
    code = (
        "from models.llm import *\n"
        "t = ToolSpec('t', parameters={'a': {'c': 2, 'd': 1}, 'b': 1})\n"
        "print(Request((user('x'),), Options(temperature=0.0, tools=[t])).digest)"
    )
    environment = {**os.environ, "PYTHONHASHSEED": "7"}
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, env=environment, capture_output=True, text=True
    )
    assert done.stdout.strip() == here


@pytest.mark.parametrize(
    "change",
    [
        {"messages": (user("y"),)},
        {"messages": (user("x"), user("x"))},
        {"options": Options(temperature=0.1)},
        {"options": Options(seed=0)},
        {"options": Options(schema={})},
        {"options": Options(schema_name="r")},
        {"options": Options(tools=(ToolSpec("t"),))},
        {"options": Options(extra={"a": 1})},
    ],
)
def test_what_decides_the_reply_changes_the_digest(change):
    request = Request((user("x"),))
    assert replace(request, **change).digest != request.digest


@pytest.mark.parametrize("change", [{"purpose": "p"}, {"conversation": "c"}, {"id": "i"}])
def test_whose_call_it_is_does_not_change_the_digest(change):
    request = Request((user("x"),))
    assert replace(request, **change).digest == request.digest
    assert Request((user("x", cache=True),)).digest == request.digest


def test_values_that_no_request_can_carry_are_refused_with_a_reason():
    for make in (
        lambda: Options(max_tokens=0),
        lambda: Options(tools=(ToolSpec("a"), ToolSpec("a"))),
        lambda: Options(tool_choice="b", tools=(ToolSpec("a"),)),
        lambda: Message("robot"),
        lambda: Options(extra={"messages": []}),
        lambda: Image(),
        lambda: Image(url="u", data="d"),
        lambda: Request(()),
        lambda: Request((user("x"),), Options(extra={"a": float("nan")})).digest,
        lambda: Message.from_dict({"parts": []}),
        lambda: Message.from_dict({"role": "user", "parts": [{"kind": "song"}]}),
    ):
        with pytest.raises(e.BadRequestError):
            make()


@given(st.text(st.characters(), max_size=6), st.integers())
def test_any_text_and_number_can_be_sent(text, number):
    extra = {"note": [text, number]}
    call = ToolCall(text, text, text)
    request = Request(
        (
            Message("user", (Text(text), Reasoning(text, text), Image(url="x" + text)), name=text),
            assistant(text, call),
            tool_result(call, text),
        ),
        Options(tools=(ToolSpec(text, text),), stop=(text,), extra=extra),
    )
    body = json.loads(chat_body("m", request, OPENAI))
    assert body["note"][1] == number
    assert len(body["messages"]) == 3
    assert len(request.digest) == 64
    json.loads(json.dumps(Request.from_dict(request.to_dict()).to_dict()))


def test_lone_surrogates_become_a_replacement_and_all_else_stays():
    assert user("a\ud800b").text == "a\ufffdb"
    assert user("a\U0001f600\x00é").text == "a\U0001f600\x00é"
    assert ToolCall("1", "f", '"\udfff"').arguments == '"\ufffd"'


@pytest.mark.parametrize("arguments", ["{", "[1]", "null", "5", "[" * 100_000])
def test_arguments_that_are_no_object_are_a_typed_error(arguments):
    with pytest.raises(e.MalformedReplyError) as caught:
        ToolCall("1", "f", arguments).parsed()
    assert caught.value.text == arguments
    assert ToolCall("1", "f", "").parsed() == {}


def test_errors_cross_process_boundaries_with_what_they_hold():
    for error in (
        e.RateLimitError("slow", status=429, retry_after_s=2.0),
        e.SchemaError("no", text="t", problems=("p",)),
        e.BudgetExceededError("over", limit="usd", is_running=True),
        e.NoModelError("none", errors=(e.ServerError("x", status=500),)),
    ):
        for twin in (pickle.loads(pickle.dumps(error)), copy.copy(error)):
            assert type(twin) is type(error)
            assert str(twin) == str(error)
            assert {**vars(twin), "errors": ()} == {**vars(error), "errors": ()}


def test_a_tool_result_names_its_call():
    call = ToolCall.of("1", "f", {"ü": 1})
    assert call.arguments == '{"ü": 1}'
    result = tool_result(call, "oops", is_error=True)
    assert (result.tool_call_id, result.name, result.is_error) == ("1", "f", True)


def test_importing_the_room_is_cheap_and_loads_no_client():
    code = (
        "import resource, sys; import models.llm; "
        "u = resource.getrusage(resource.RUSAGE_SELF); "
        "heavy = set('litellm openai httpx pydantic jsonschema yaml'.split()) & {*sys.modules}; "
        "print(u.ru_utime + u.ru_stime, sorted(heavy))"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    seconds, heavy = done.stdout.split(maxsplit=1)
    assert heavy.strip() == "[]"
    assert float(seconds) < 1.0  # 0.09 s when the machine is quiet
