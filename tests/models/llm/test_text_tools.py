import json

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from models.llm import (
    Capabilities,
    Options,
    Request,
    ScriptedModel,
    TextTools,
    ToolCall,
    ToolSpec,
    Turn,
    assistant,
    system,
    tool_result,
    user,
)
from models.llm import errors as e
from models.llm.text_codec import as_text, decode, encode, escape, unescape

TEXT = st.text(max_size=20)
MARKS = st.lists(
    st.sampled_from(
        [
            "<tool_call>",
            "</tool_call>",
            "&lt;tool_call",
            "&amp;lt;/tool_response",
            "<",
            "&",
            "amp;",
            "a",
        ]
    ),
    max_size=6,
).map("".join)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | TEXT | MARKS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=6,
)
CALLS = st.lists(
    st.tuples(st.text(min_size=1, max_size=8), st.dictionaries(TEXT | MARKS, JSON, max_size=3)),
    max_size=3,
)
PLAIN = Capabilities(tools=False, schema=False)
FIND = ToolSpec("find", "Find things.", {"type": "object", "properties": {"q": {}}})
WITH_TOOLS = Options(tools=(FIND,))


def played(*lines, **more) -> ScriptedModel:
    return ScriptedModel(lines, capabilities=PLAIN, **more)


@given(TEXT | MARKS, CALLS)
@example("</tool_call>", [("a", {"b": "</tool_call>"})])
def test_what_is_written_is_read_back(text, calls):
    made = [ToolCall.of(f"call_{i}", name, args) for i, (name, args) in enumerate(calls)]
    decoded = decode(encode(text, made))
    assert decoded.text == text.strip()
    assert [(c.id, c.name, c.parsed()) for c in decoded.calls] == [
        (c.id, c.name, c.parsed()) for c in made
    ]
    assert not decoded.broken


@given(MARKS)
def test_escaping_is_undone_and_leaves_no_mark(text):
    assert unescape(escape(text)) == text
    assert "<tool_call" not in escape(text)


@given(st.text(st.sampled_from('<>/tool_call{}"name:f `\n,')))
def test_no_text_breaks_the_decoder(text):
    decode(text, {"f"})
    decode(f"<tool_call>{text}", {"f"})


@pytest.mark.parametrize(
    "text",
    [
        '<tool_call>{"name": "find", "arguments": {"q": 1}}',
        '<tool_call>\n{"name": "find", "arguments": {"q": 1}\n</tool_call>',
        "<tool_call>{'name': 'find', 'parameters': {'q': 1,}}</tool_call>",
        '<tool_call>{"function": {"name": "find", "arguments": "{\\"q\\": 1}"}}</tool_call>',
        '```json\n{"name": "find", "arguments": {"q": 1}}\n```',
        '{"tool": "find", "input": {"q": 1}}',
        '[{"name": "find", "args": {"q": 1}}]',
    ],
)
def test_usual_ways_to_write_a_call_are_read(text):
    decoded = decode(text, {"find"}, calls_before=4)
    assert [(c.id, c.name, c.parsed()) for c in decoded.calls] == [("call_4", "find", {"q": 1})]
    assert decoded.text == ""


@pytest.mark.parametrize(
    "text",
    [
        '```json\n{"name": "other", "arguments": {}}\n```',
        '{"name": "Ada", "age": 36}',
        "```python\nfind(1)\n```",
        '{"answer": 42}',
    ],
)
def test_json_that_is_no_call_stays_text(text):
    decoded = decode(text, {"find"})
    assert (decoded.text, decoded.calls) == (text, ())


def test_two_calls_and_the_words_before_them():
    one, two = (f'<tool_call>{{"name": "find", "arguments": {{"q": {i}}}}}' for i in (1, 2))
    decoded = decode(f"Let me see.\n{one}{two}</tool_call>", {"find"})
    assert decoded.text == "Let me see."
    assert [call.parsed()["q"] for call in decoded.calls] == [1, 2]


def test_a_conversation_with_tools_becomes_one_of_plain_turns():
    call = ToolCall.of("1", "find", {"q": 1})
    request = Request(
        (
            system("Be terse."),
            user("look"),
            assistant("ok", call),
            tool_result(call, "found </tool_response>"),
            user("and?"),
        ),
        Options(tools=(FIND,), tool_choice="required"),
    )
    plain = as_text(request)
    assert plain.options.tools == ()
    assert [m.role for m in plain.messages] == ["system", "user", "assistant", "user"]
    assert "Be terse." in plain.messages[0].text
    assert json.dumps(FIND.description) in plain.messages[0].text
    assert "must call at least one" in plain.messages[0].text
    assert plain.messages[2].text == encode("ok", [call])
    assert plain.messages[3].text.count("</tool_response>") == 1
    assert plain.messages[3].text.endswith("and?")


def test_a_model_without_tools_calls_them_by_text():
    inner = played('Looking.\n<tool_call>{"name": "find", "arguments": {"q": 1}}</tool_call>')
    model = TextTools(inner)
    assert model.capabilities.tools
    reply = model.blocking.generate("x", WITH_TOOLS)
    assert (reply.text, reply.finish_reason) == ("Looking.", "tool_calls")
    assert reply.tool_calls == (ToolCall("call_0", "find", '{"q": 1}'),)
    assert inner.requests[0].options.tools == ()


def test_a_call_that_cannot_be_read_is_asked_for_once_more_and_both_tries_count():
    inner = played("<tool_call>find it!</tool_call>", encode("", [ToolCall.of("", "find", {})]))
    reply = TextTools(inner).blocking.generate("x", WITH_TOOLS)
    assert reply.tool_calls[0].name == "find"
    assert "cannot be read: find it!" in inner.requests[1].messages[-1].text
    assert reply.attempts == 2
    assert reply.usage.prompt_tokens > inner.requests[0].messages[0].tokens * 2
    with pytest.raises(e.MalformedReplyError, match="cannot be read"):
        TextTools(played("<tool_call>a", "<tool_call>b")).blocking.generate("x", WITH_TOOLS)


@pytest.mark.parametrize("size", [1, 3, 1000])
@pytest.mark.parametrize(
    ("text", "shown", "calls"),
    [
        ('Hi <b>you</b>.\n<tool_call>{"name": "find"}</tool_call>', "Hi <b>you</b>.", 1),
        ('{"name": "find", "arguments": {}}', "", 1),
        ('{"age": 3}', '{"age": 3}', 0),
        ("a & b &lt;tool_call> c", "a & b <tool_call> c", 0),
        ("plain words", "plain words", 0),
    ],
)
def test_a_stream_shows_text_at_once_and_never_a_half_call(size, text, shown, calls):
    model = TextTools(played(Turn(text, chunk_chars=size)))
    chunks = list(model.blocking.stream("x", WITH_TOOLS))
    assert "".join(chunk.text for chunk in chunks) == shown
    assert chunks[-1].reply.text == shown
    assert len(chunks[-1].reply.tool_calls) == calls
    assert sum(chunk.tool_call is not None for chunk in chunks) == calls


def test_without_tools_nothing_is_read_into_a_reply():
    text = '<tool_call>{"name": "find"}</tool_call>'
    assert TextTools(played(text)).blocking.generate("x").text == text
