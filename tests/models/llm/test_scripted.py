import asyncio
import time
from dataclasses import replace
from pathlib import Path

import pytest

from models.errors import UnknownNameError
from models.llm import (
    LanguageModel,
    Options,
    Request,
    Rule,
    ScriptedModel,
    ToolCall,
    ToolSpec,
    Turn,
    assistant,
    collect,
    language_model,
    tool_result,
    user,
)
from models.llm import errors as e
from models.llm.blocking import run
from models.llm.scripted import SCRIPTED


def test_a_sequence_is_played_in_order_and_then_is_over():
    model = ScriptedModel(["one", ToolCall.of("", "f", {}), e.RateLimitError("slow")])
    assert isinstance(model, LanguageModel)
    reply = model.blocking.generate("a")
    assert (reply.text, reply.source, reply.cost_usd) == ("one", "scripted", 0.0)
    assert model.blocking.generate("b").finish_reason == "tool_calls"
    with pytest.raises(e.RateLimitError):
        model.blocking.generate("c")
    with pytest.raises(e.ScriptError, match=r"all 3 replies are played.*'d'"):
        model.blocking.generate("d")
    assert [request.messages[0].text for request in model.requests] == list("abcd")


def test_rules_speak_by_text_purpose_and_tool():
    model = ScriptedModel(
        [
            Rule("once", match="hi", times=1),
            Rule("planned", purpose="plan"),
            Rule("after find", after_tool="find"),
            Rule("hello", match=r"\bhi\b"),
        ]
    )
    say = model.blocking.generate
    assert [say("hi").text, say("hi").text] == ["once", "hello"]
    assert say(Request((user("zzz"),), purpose="plan")).text == "planned"
    assert say([user("x"), tool_result(ToolCall("1", "find"), "y")]).text == "after find"
    with pytest.raises(e.ScriptError, match="no rule fits"):
        say("zzz")


def test_a_function_sees_the_request():
    model = ScriptedModel(lambda request: f"you said {request.messages[-1].text}")
    assert model.blocking.generate("hi").text == "you said hi"


def test_calls_without_an_id_are_numbered_through_the_conversation():
    model = ScriptedModel([], otherwise=ToolCall("", "f"))
    first = model.blocking.generate("x")
    second = model.blocking.generate([user("x"), first.message, tool_result("call_0", "y")])
    assert [reply.tool_calls[0].id for reply in (first, second)] == ["call_0", "call_1"]


def test_streams_delays_and_cuts_are_played():
    model = ScriptedModel([], otherwise=Turn("abcdef", chunk_chars=4, delay_s=0.05, cut_after=5))
    shown = []
    start = time.monotonic()
    chunks = model.blocking.stream("x")
    with pytest.raises(e.StreamCutError) as caught:
        shown.extend(chunk.text for chunk in chunks)
    assert shown == ["abcd", "e"]
    assert caught.value.text == "abcde"
    assert time.monotonic() - start >= 0.05
    whole = run(collect(ScriptedModel([Turn("abcdef", chunk_chars=4)]).stream("x")))
    assert whole.text == "abcdef"


def test_a_small_context_is_played_too():
    model = ScriptedModel(["ok"], capabilities=replace(SCRIPTED, context_tokens=20))
    with pytest.raises(e.ContextLengthError):
        model.blocking.generate("word " * 50)
    assert model.blocking.generate("word").text == "ok"


def test_a_batch_never_loses_a_row_whatever_a_model_does():
    def play(request: Request) -> str:
        text = request.messages[0].text
        if text == "1":
            raise ZeroDivisionError("oops")
        if text == "2":
            raise e.ContentFilterError("no")
        return f"re {text} {request.options.seed}"

    prompts = ["0", "1", "2", Request((user("3"),), Options(seed=9))]
    rows = ScriptedModel(play).blocking.batch(prompts, Options(seed=1), concurrency=2)
    assert rows[0].text == "re 0 1"
    assert isinstance(rows[1], e.UnexpectedError)
    assert isinstance(rows[1].__cause__, ZeroDivisionError)
    assert isinstance(rows[2], e.ContentFilterError)
    assert rows[3].text == "re 3 9"
    assert ScriptedModel([]).blocking.batch([]) == []


def test_blocking_inside_a_loop_is_refused():
    async def wrong() -> None:
        ScriptedModel(["x"]).blocking.generate("x")

    async def wrong_stream() -> None:
        list(ScriptedModel(["x"]).blocking.stream("x"))

    for call in (wrong, wrong_stream):
        with pytest.raises(RuntimeError, match="await the model"):
            asyncio.run(call())


def test_leaving_a_blocking_stream_early_ends_it():
    model = ScriptedModel([Turn("a" * 1_000, chunk_chars=1, chunk_s=0.01)])
    for chunk in model.blocking.stream("x"):
        assert chunk.text == "a"
        break


YAML = """
rules:
  - match: weather
    tool_calls: [{name: lookup, arguments: {city: Bern}}]
  - after_tool: lookup
    text: It rains.
  - purpose: judge
    error: {type: RateLimit, message: later, retry_after_s: 3}
  - match: broken
    tool_calls: [{name: lookup, arguments: '{"city": ', id: bad}]
otherwise: I do not know.
"""


def test_a_script_file_plays_rules(tmp_path: Path):
    file = tmp_path / "play.yaml"
    file.write_text(YAML)
    model = language_model(f"scripted:{file}")
    assert model.name == "scripted:play.yaml"
    say = model.blocking.generate
    asked = say("the weather?", Options(tools=(ToolSpec("lookup"),)))
    assert asked.tool_calls[0].parsed() == {"city": "Bern"}
    talk = [user("the weather?"), asked.message, tool_result(asked.tool_calls[0], "rain")]
    assert say(talk).text == "It rains."
    with pytest.raises(e.RateLimitError, match="later") as caught:
        say(Request((user("x"),), purpose="judge"))
    assert caught.value.retry_after_s == 3
    with pytest.raises(e.MalformedReplyError):
        say("broken").tool_calls[0].parsed()
    assert say([user("a"), assistant("b"), user("c")]).text == "I do not know."


def test_a_jsonl_file_is_a_sequence(tmp_path: Path):
    file = tmp_path / "play.jsonl"
    file.write_text('"one"\n{"text": "two", "usage": {"prompt_tokens": 5}}\n\n')
    model = language_model(f"scripted:{file}")
    assert model.blocking.generate("x").text == "one"
    assert model.blocking.generate("x").usage.prompt_tokens == 5


@pytest.mark.parametrize(
    ("text", "kind", "words"),
    [
        ("5", e.ScriptError, "holds a int"),
        ("replies: 5", e.ScriptError, "are lists"),
        ("replies: [5]", e.ScriptError, "a text or a mapping"),
        ("replies: [{txt: a}]", UnknownNameError, "did you mean 'text'"),
        ("replies: [{error: RateLimt}]", UnknownNameError, "did you mean 'RateLimit'"),
        ("replies: [{tool_calls: [{}]}]", e.ScriptError, "is no reply"),
        ("rules: []\nreplies: []", e.ScriptError, "keep one"),
        ("replise: []", UnknownNameError, "did you mean 'replies'"),
        ("a: [", e.ScriptError, "cannot be parsed"),
    ],
)
def test_a_script_file_that_is_none_says_what_is_wrong(tmp_path: Path, text, kind, words):
    file = tmp_path / "play.yaml"
    file.write_text(text)
    with pytest.raises(kind, match=words):
        language_model(f"scripted:{file}")


def test_a_missing_script_file_is_named(tmp_path: Path):
    with pytest.raises(e.ScriptError, match=r"gone\.yaml"):
        language_model(f"scripted:{tmp_path}/gone.yaml")
