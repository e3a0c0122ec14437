"""Lines and values that nobody vouches for: a bad record never costs the others."""

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models.detection.sensor import jsonl, read_log
from models.detection.sensor.base import ReadPosition
from models.detection.sensor.draft import Draft
from models.detection.sensor.jsonl import BadRecordError, decode, read_lines, salvage
from models.detection.sensor.values import arguments, content, seconds, split_tool
from models.detection.session import Session

JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=20,
)


def good(number: int) -> dict[str, Any]:
    return {
        "type": "user", "uuid": f"u{number}", "parentUuid": f"u{number - 1}" if number else None,
        "sessionId": "s", "message": {"role": "user", "content": f"prompt {number}"},
    }  # fmt: skip


def transcript(folder: Path, *lines: bytes, end: bytes = b"\n") -> Path:
    path = folder / "s.jsonl"
    path.write_bytes(b"\n".join(lines) + end)
    return path


def encoded(number: int) -> bytes:
    return json.dumps(good(number)).encode()


def prompts(session: Session) -> list[str]:
    return [event.text for event in session.events if event.kind == "user_message"]


BAD = {
    "cut": b'{"type":"user","uuid":"u1","mess',
    "no object": b"[1, 2]",
    "nested": b'{"uuid":"u1","type":"user","x":' + b"[" * 5_000 + b"]" * 5_000 + b"}",
    "nested a little too deep": b'{"uuid":"u1","x":' + b"[" * 150 + b"]" * 150 + b"}",
    "binary": bytes(range(1, 10)) + bytes(range(11, 256)),
    "a message that is none": b'{"type":"user","uuid":"u1","parentUuid":"u0","message":[]}',
}


@pytest.mark.parametrize("kind", BAD)
def test_a_bad_record_is_put_aside_with_its_digest_and_the_session_goes_on(kind, tmp_path):
    (session,) = read_log(transcript(tmp_path, encoded(0), BAD[kind], encoded(2), encoded(3)))
    assert prompts(session) == ["prompt 0", "prompt 2", "prompt 3"]
    (bad,) = session.coverage.quarantined
    assert bad.place == "s.jsonl:2"
    assert bad.digest == hashlib.sha256(BAD[kind]).hexdigest()
    assert session.coverage.records == 4
    assert session.coverage.share == 0.75


def test_what_followed_a_lost_record_is_no_rewind(tmp_path):
    (session,) = read_log(transcript(tmp_path, encoded(0), encoded(1), BAD["cut"], encoded(3)))
    assert session.by_id["u3"].parent == "u1"
    assert not any(event.is_abandoned for event in session.events)


def test_the_last_line_of_a_growing_file_waits_for_its_end(tmp_path):
    cut = encoded(1)[:30]
    (session,) = read_log(transcript(tmp_path, encoded(0), cut, end=b""))
    assert prompts(session) == ["prompt 0"]
    assert session.coverage.quarantined == ()
    assert session.coverage.mended == {"last line that is not whole yet": 1}
    (session,) = read_log(transcript(tmp_path, encoded(0), encoded(1), end=b""))
    assert prompts(session) == ["prompt 0", "prompt 1"]
    assert session.coverage.mended == {}


def test_a_line_above_the_limit_is_named_by_its_digest_and_the_others_are_read(
    tmp_path, monkeypatch
):
    monkeypatch.setattr(jsonl, "LONGEST_LINE_BYTES", 200_000)
    monkeypatch.setattr(jsonl, "_CHUNK_BYTES", 4_096)
    long = b'{"uuid":"u1","x":"' + b"y" * 300_000 + b'"}'
    (session,) = read_log(transcript(tmp_path, encoded(0), long, encoded(2)))
    assert prompts(session) == ["prompt 0", "prompt 2"]
    (bad,) = session.coverage.quarantined
    assert (bad.place, bad.digest) == ("s.jsonl:2", hashlib.sha256(long).hexdigest())
    assert bad.reason == f"a line of {len(long)} bytes"


def test_a_hundred_megabytes_in_one_line_take_bounded_memory(tmp_path):
    import tracemalloc

    path = tmp_path / "s.jsonl"
    with path.open("wb") as file:
        file.write(b'{"x":"')
        for _ in range(100):
            file.write(b"y" * 1024**2)
        file.write(b'"}\n{}\n')
    tracemalloc.start()
    lines = list(read_lines(path))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert [line.raw is None for line in lines] == [True, False]
    assert lines[0].bytes == 100 * 1024**2 + 8
    assert peak < 3 * jsonl.LONGEST_LINE_BYTES


def test_odd_bytes_in_a_record_are_mended_and_told():
    assert decode(b'{"a":"x\xffy"}') == ({"a": "x\ufffdy"}, ("invalid UTF-8",))
    assert decode(b'{"a":"x\0y"}') == ({"a": "x\0y"}, ("control character in a text",))
    assert decode(b'{"a":"\\ud83d"}').value == {"a": "\ufffd"}
    assert decode(b'{"a":"\\ud83d\\ude00"}').value == {"a": "😀"}
    assert decode(b'\xef\xbb\xbf{"a":1}').value == {"a": 1}


def test_numbers_that_no_file_of_ours_can_hold_become_text():
    assert decode(b'{"a":' + b"9" * 5_000 + b"}").value == {"a": "9" * 5_000}
    assert decode(b'{"a":' + b"9" * 30 + b"}").value == {"a": int("9" * 30)}
    assert decode(b'{"a":NaN}').value == {"a": "NaN"}


def test_of_a_key_that_comes_twice_the_last_counts_and_it_is_told():
    assert decode(b'{"a":1,"b":{"c":2,"c":3}}') == (
        {"a": 1, "b": {"c": 3}},
        ("key that came twice",),
    )
    # A text that only looks like keys is none.
    assert decode(b'{"a":"{\\"b\\": 1, \\"b\\": 2}"}').mended == ()


@given(JSON)
@settings(max_examples=150, deadline=None)
def test_what_json_can_say_is_read_as_it_is(value):
    assert decode(json.dumps({"x": value}).encode()).value == {"x": jsonl.without_surrogates(value)}


@given(st.binary(max_size=300))
@settings(max_examples=300, deadline=None)
def test_any_bytes_are_a_value_or_a_bad_record(raw):
    try:
        decoded = decode(raw)
    except BadRecordError:
        return
    json.dumps(decoded.value, ensure_ascii=False).encode()


@given(st.lists(st.binary(max_size=40), max_size=12), st.integers(1, 9))
@settings(max_examples=150, deadline=None)
def test_lines_are_those_of_the_file_whatever_the_chunks(tmp_path_factory, parts, chunk):
    path = tmp_path_factory.mktemp("lines") / "f"
    path.write_bytes(b"\n".join(parts))
    before, jsonl._CHUNK_BYTES = jsonl._CHUNK_BYTES, chunk
    try:
        lines = [(line.number, line.raw) for line in read_lines(path)]
    finally:
        jsonl._CHUNK_BYTES = before
    whole = b"\n".join(parts).split(b"\n")
    assert lines == [(n, raw) for n, raw in enumerate(whole, 1) if raw.strip()]


@given(JSON, JSON)
@settings(max_examples=150, deadline=None)
def test_every_value_has_a_content_arguments_and_perhaps_a_time(value, other):
    told = content([value, {"type": "text", "text": other}, {"type": "image", "source": value}])
    assert isinstance(told.text, str)
    by_name, raw = arguments(value)
    assert by_name == (value if isinstance(value, dict) else by_name)
    assert isinstance(raw, str)
    assert seconds(value) is None or isinstance(seconds(value), float)


def test_elements_of_a_document_that_breaks_off_are_saved():
    assert salvage('[{"a": 1}, {"b": "]"}, {"c": ') == ([{"a": 1}, {"b": "]"}], 23)
    assert salvage('{"x": 1, "messages": [1, 2', "messages") == ([1, 2], 26)
    assert salvage("no array") == ([], 0)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("2026-03-02T09:00:00.500Z", 1772442000.5),
        ("2026-03-02T09:00:00", 1772442000.0),
        ("2026-03-02T10:00:00+01:00", 1772442000.0),
        (1772442000500, 1772442000.5),
        ("1772442000", 1772442000.0),
        (True, None),
        (10**400, None),
        (float("inf"), None),
        ("yesterday", None),
        ({}, None),
    ],
)
def test_times_are_read_in_all_their_forms(value, expected):
    assert seconds(value) == expected


def test_a_tools_name_with_a_server_is_split_once():
    assert split_tool("mcp__jira__get_issue") == ("jira", "get_issue")
    assert split_tool("mcp__plugin_a_b__tool__x") == ("plugin_a_b", "tool__x")
    assert split_tool("Bash") == ("", "Bash")
    assert split_tool("mcp__") == ("", "mcp__")


def test_a_picture_is_a_notice_with_its_digest_and_no_bytes():
    data = "aGVsbG8="
    block = {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": data}}
    told = content([{"type": "text", "text": "see"}, block])
    assert told.text == "see"
    assert hashlib.sha256(data.encode()).hexdigest() in told.images[0]
    assert data not in told.images[0]


def test_a_block_of_an_unknown_kind_is_kept_as_json_and_counted():
    told = content([{"type": "smell", "of": "roses"}])
    assert (told.text, told.unknown) == ('{"type":"smell","of":"roses"}', ("smell",))


def test_ids_that_repeat_a_hundred_thousand_times_take_no_square_of_it():
    draft = Draft("x")
    for _ in range(100_000):
        draft.add("notice", "x", id="same")
    assert len({event.id for event in draft.events}) == 100_000
    assert draft.mended["id that came twice"] == 99_999


def test_a_file_is_known_again_by_what_was_read_of_it(tmp_path):
    path = tmp_path / "f"
    path.write_bytes(b"one\n")
    position = ReadPosition.of(path)
    assert position is not None
    assert position.change(path) == "unchanged"
    with path.open("ab") as file:
        file.write(b"two\n")
    assert position.change(path) == "grown"
    path.write_bytes(b"0ne\ntwo\n")
    assert position.change(path) == "rewritten"
    path.write_bytes(b"on")
    assert position.change(path) == "rewritten"
    path.unlink()
    assert position.change(path) == "gone"
    assert ReadPosition.of(path) is None
