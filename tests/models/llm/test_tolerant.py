import contextlib
import json
from types import NoneType

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models.llm.errors import MalformedReplyError
from models.llm.tolerant import find_json, parse_tolerantly

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=15)
JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | TEXT,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXT, inner, max_size=4),
    max_leaves=12,
)
BOXES = st.lists(JSON, max_size=4) | st.dictionaries(TEXT, JSON, max_size=4)


@given(JSON)
def test_strict_json_is_read_as_it_is(value):
    assert parse_tolerantly(json.dumps(value)) == value
    assert parse_tolerantly(json.dumps(value, ensure_ascii=False, indent=1)) == value
    assert find_json(f" {json.dumps(value)}\n") == value


@given(BOXES)
def test_a_value_is_found_in_prose_and_fences(value):
    text = json.dumps(value)
    assert find_json(f"Sure! Here it is:\n```json\n{text}\n```\nAnything else?") == value
    if value:
        assert find_json(f"The answer: {text}") == value


@given(st.lists(st.integers() | st.booleans() | st.none() | st.text("abc_ xyz"), max_size=5))
def test_python_literals_are_read(values):
    assert parse_tolerantly(repr({"a": values})) == {"a": values}


@given(BOXES, st.data())
def test_a_text_cut_anywhere_still_gives_the_outer_kind(value, data):
    text = json.dumps(value)
    cut = data.draw(st.integers(1, len(text)))
    assert type(parse_tolerantly(text[:cut])) is type(value)


@settings(max_examples=300)
@given(st.text(st.sampled_from("{}[]\"'\\:,utrue0-1.e/*# \n")))
def test_no_text_makes_the_reader_hang_or_fail_otherwise(text):
    with contextlib.suppress(MalformedReplyError):
        assert isinstance(find_json(text), NoneType | bool | int | float | str | list | dict)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("{a: 1, 'b': \"x\",}", {"a": 1, "b": "x"}),
        ('{"a": 1 "b": 2}', {"a": 1, "b": 2}),
        ('{"a": True, "b": None}', {"a": True, "b": None}),
        ('{"a": "line\nline"}', {"a": "line\nline"}),
        ('// yes\n{"a": /* one */ 1}', {"a": 1}),
        ('{"a": [1, 2', {"a": [1, 2]}),
        ('{"a": "cut', {"a": "cut"}),
        ('{"a": 1, "b', {"a": 1}),
        ('{"a": 1, "b":', {"a": 1}),
        ('["\\ud83d\\ude00"]', ["😀"]),
        ('{"v": 1.2.3}', {"v": "1.2.3"}),
    ],
)
def test_usual_slips_are_mended(text, value):
    assert find_json(text) == value


@pytest.mark.parametrize("text", ["", "no", "I cannot help with that.", "[" * 5_000, "{" * 5_000])
def test_what_holds_no_value_is_a_typed_error(text):
    with pytest.raises(MalformedReplyError):
        find_json(text)
