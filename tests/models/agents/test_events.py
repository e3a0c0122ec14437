"""Behaviour 9 and the export: events load for ever, and are written as the same bytes."""

import asyncio
import sqlite3
from pathlib import Path
from typing import Any

import orjson
import pytest

from models.agents import Agent, LocalWorkspace
from models.agents.errors import CorruptLogError, LogError
from models.agents.events import (
    Answer,
    Event,
    Intent,
    Note,
    Result,
    Unknown,
    UserMessage,
    new_event,
    upcast,
)
from models.agents.events.codec import decode_body, decode_record, encode, encode_body, stored
from models.agents.events.types import BODIES
from models.agents.store import MemoryStore, SqliteStore
from models.agents.store.jsonl import export, export_lines, import_lines
from models.llm import Image, Reasoning, ScriptedModel, ToolCall, Usage, assistant, user
from models.llm.messages import Message, Text

FIXTURES = sorted((Path(__file__).parent / "fixtures").glob("events-v*.jsonl"))


@pytest.mark.parametrize("file", FIXTURES, ids=lambda file: file.stem)
def test_behaviour_09_events_of_every_version_load_for_ever(file: Path):
    log = MemoryStore().open("old")
    with file.open("rb") as lines:
        count = import_lines(lines, log)
    events = log.events()
    assert len(events) == count > 0
    assert {event.kind for event in events} >= {*BODIES}
    assert not [event for event in events if isinstance(event.body, Unknown)]
    # And written again, they are the same bytes: a body is never written anew.
    assert b"".join(export_lines(log)) == file.read_bytes().replace(b'"v1"', b'"old"')


def test_the_first_fixture_says_what_it_said_when_it_was_written():
    log = MemoryStore().open("old")
    with FIXTURES[0].open("rb") as lines:
        import_lines(lines, log)
    by_kind = {event.kind: event.body for event in log.events()}
    assert by_kind["user"] == UserMessage(user("Find the word.", Image(data="aGk=")))
    assert by_kind["answer"] == Answer(
        assistant("Looking.", ToolCall("c1", "grep", '{"word": "x"}'), reasoning="hm"),
        "tool_calls",
        Usage(100, 40, 20, 5),
        0.01,
        1.5,
        "m",
        "scripted",
    )
    assert by_kind["intent"] == Intent(
        "c1", "grep", '{"word": "x"}', "d1", True, True, "high", ("why",), {"rule": 3}
    )
    assert by_kind["result"] == Result(
        "c1", "grep", "found", "error", (Image(url="http://x/y.png"),), {"code": 1}, 0.25
    )


def test_an_old_shape_is_brought_to_the_present_step_by_step(monkeypatch: pytest.MonkeyPatch):
    def first(values: dict[str, Any]) -> dict[str, Any]:
        return {"subject": values.pop("about"), **values}

    def second(values: dict[str, Any]) -> dict[str, Any]:
        return {"topic": values.pop("subject"), **values}

    monkeypatch.setattr(upcast, "VERSIONS", {"note": 3})
    monkeypatch.setattr(upcast, "UPCASTS", {("note", 1): first, ("note", 2): second})
    assert decode_body("note", b'{"about":"a"}') == Note("a")
    assert decode_body("note", b'{"v":2,"subject":"b"}') == Note("b")
    assert encode_body(Note("c")) == b'{"topic":"c","v":3}'
    assert decode_body("note", b'{"topic":"c","v":3}') == Note("c")
    with pytest.raises(LogError, match="has version 4, this program reads up to 3"):
        decode_body("note", b'{"v":4}')


def test_a_field_that_a_later_version_added_is_passed_over():
    assert decode_body("note", b'{"topic":"a","colour":"red"}') == Note("a")


@pytest.mark.parametrize("raw", [b"{", b"[]", b'{"message":3}', b'{"usage":{"no":1}}'])
def test_a_body_that_cannot_be_read_is_damage(raw: bytes):
    with pytest.raises(LogError, match="cannot be read"):
        decode_body("answer", raw)


def test_what_json_cannot_say_is_put_in_words_and_reads_back_as_these():
    nested: Any = "x"
    for _ in range(400):
        nested = [nested]
    data = {"object": object(), "huge": 2**70, "vast": 2**9_999, "deep": nested, "set": {1},
            "\udc80": b"1", (1, 2): 2**64 - 1}  # fmt: skip
    raw, body = stored(Note("caf\udce9 lone \ud800", data))
    assert decode_body("note", raw) == body
    assert isinstance(body, Note)
    assert body.topic == "caf\\udce9 lone \\ud800"
    said = dict(body.data)
    assert "(nested more than 100 levels)" in str(said.pop("deep"))
    assert said == {
        "object": "(a object, which is no plain value)", "huge": str(2**70),
        "vast": "(an integer of 10000 bits)", "set": [1],
        "\\udc80": "(a bytes, which is no plain value)", "(1, 2)": 2**64 - 1,
    }  # fmt: skip
    plain = Note("a", {"n": 1})
    assert stored(plain)[1] is plain


def test_messages_come_back_whole():
    thought = Message(
        "assistant",
        (Reasoning("deep", "sig", redacted=True), Text("so\u2028 é")),
        (ToolCall("1", "t", "{not json"),),
        cache=True,
    )
    event = Event(Answer(thought), "agent", "e1", None, 1.5, 1)
    assert decode_record(encode(event)) == event


def test_the_wire_frame_is_one_object_with_the_body_as_stored():
    event = Event(Result("c1", "t", "hi"), "environment", "e1", "e0", 1.5, 7)
    assert encode(event).wire == (
        b'{"seq":7,"id":"e1","parent":"e0","kind":"result","source":"environment","ts":1.5,'
        b'"call_id":"c1","body":{"call_id":"c1","name":"t","text":"hi"}}'
    )


def _talk(store: SqliteStore | MemoryStore) -> Any:
    log = store.open("talk")
    log.commit(
        [new_event(UserMessage(user(f'say {n} "' + '},"body":{')), "user") for n in range(5)]
    )
    log.commit([Event(Unknown("hologram", b'{ "b" : 1,\t"a":2}'), "agent", "h1")])
    return log


def test_export_import_export_gives_the_same_bytes(tmp_path: Path):
    log = _talk(SqliteStore(tmp_path))
    assert export(log, tmp_path / "a.jsonl") == 6
    other = SqliteStore(tmp_path / "other").open("talk")
    with (tmp_path / "a.jsonl").open("rb") as lines:
        assert import_lines(lines, other) == 6
    export(other, tmp_path / "b.jsonl")
    assert (tmp_path / "a.jsonl").read_bytes() == (tmp_path / "b.jsonl").read_bytes()
    assert other.events() == log.events()
    assert other.state == log.state
    for line in (tmp_path / "a.jsonl").read_bytes().splitlines():
        orjson.loads(line)


def test_hashes_made_anew_never_vouch_for_what_was_changed(tmp_path: Path):
    store = SqliteStore(tmp_path)
    talk = Agent(ScriptedModel(["one", "two", "three"]), []).open(
        LocalWorkspace(tmp_path), store, "talk"
    )
    for text in ("first", "second", "third"):
        talk.blocking.send(text)
    spoilt = talk.events(kinds=["answer"])[0].seq
    with sqlite3.connect(store.path("talk")) as file:
        file.execute(
            "UPDATE event SET body = CAST(replace(CAST(body AS TEXT), 'one', 'ONE') AS BLOB) "
            "WHERE seq = ?",
            (spoilt,),
        )
    with pytest.raises(CorruptLogError, match=f"event {spoilt} is not as it was") as caught:
        export(talk.store, tmp_path / "talk.jsonl")
    assert caught.value.intact_seq == spoilt - 1
    # What comes before is there, and as it was.
    copy = MemoryStore().open("copy")
    with (tmp_path / "talk.jsonl").open("rb") as lines:
        assert import_lines(lines, copy) == spoilt - 1
    with pytest.raises(CorruptLogError, match="cannot be trusted"):
        asyncio.run(talk.fork(id="laundered"))
    assert not store.exists("laundered")
    asyncio.run(talk.fork(spoilt - 1, "before")).blocking.close()
    assert store.exists("before")
    talk.blocking.close()


@pytest.mark.parametrize(
    ("spoil", "told"),
    [
        (lambda lines: [*lines[:-1], lines[-1][:40]], "is torn"),
        (lambda lines: [*lines[:-1], lines[-1].replace(b'"a":2', b'"a":3')], "not as it was"),
        (lambda lines: [*lines[:5], lines[6]], "not as it was"),
        (lambda lines: [*lines[:6], b'{oops,"body":{},"chain":"00"}\n'], "cannot be read"),
    ],
)
def test_a_torn_or_changed_line_is_told_and_what_comes_before_is_kept(spoil: Any, told: str):
    lines = [*export_lines(_talk(MemoryStore()))]
    log = MemoryStore().open("copy")
    with pytest.raises(CorruptLogError, match=told) as caught:
        import_lines(spoil(lines), log)
    assert caught.value.intact_seq == log.state.seq
    assert log.state.seq >= 4


def test_what_is_no_export_is_told():
    for lines in ([], [b"hello\n"], [b"[]\n"]):
        with pytest.raises(LogError, match="no export of a conversation"):
            import_lines(lines, MemoryStore().open("x"))
    with pytest.raises(LogError, match="has format 9"):
        import_lines([b'{"format":9}\n'], MemoryStore().open("x"))
