import json
from itertools import pairwise

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from models.llm.errors import MalformedReplyError
from models.llm.sse import EventParser

TEXTS = st.text(st.characters(exclude_characters="\r\n\x00", exclude_categories=["Cs"]))


def read(pieces: list[bytes]) -> list[str]:
    parser = EventParser()
    return [event for piece in pieces for event in parser.feed(piece)]


@given(
    st.lists(st.lists(TEXTS, min_size=1, max_size=3), max_size=5),
    st.sampled_from(["\n", "\r\n", "\r"]),
    st.lists(st.integers(0, 400)),
    st.booleans(),
    st.booleans(),
)
def test_events_are_the_same_wherever_the_bytes_are_cut(events, newline, cuts, has_bom, noisy):
    lines = []
    for event in events:
        if noisy:
            lines += [": a comment", "event: x", "id", "retry: 5"]
        lines += [f"data: {line}" for line in event] + [""]
    raw = "".join(line + newline for line in lines).encode()
    raw = b"\xef\xbb\xbf" * has_bom + raw
    places = sorted({0, len(raw), *(cut for cut in cuts if cut < len(raw))})
    pieces = [raw[a:b] for a, b in pairwise(places)]
    wanted = ["\n".join(event) for event in events]
    assert read(pieces) == wanted
    assert read([raw[i : i + 1] for i in range(len(raw))]) == wanted


@given(st.lists(st.binary(max_size=40)))
@example([b"data: a\r", b"", b"\n\r\n"])
def test_no_bytes_break_the_parser(pieces):
    assert read(pieces) == read([b"".join(pieces)])


def test_an_event_that_never_ends_is_stopped():
    parser = EventParser(max_event_bytes=1_000)
    line = b"data: " + b"x" * 50 + b"\n"
    with pytest.raises(MalformedReplyError, match="more than 1000 bytes"):
        [parser.feed(line) for _ in range(100)]


def test_data_without_a_space_and_with_two_spaces():
    assert read([b"data:a\ndata:  b\n\ndata\n\n"]) == ["a\n b", ""]
    assert json.loads(read([b'data: {"a":\ndata: 1}\n\n'])[0]) == {"a": 1}
