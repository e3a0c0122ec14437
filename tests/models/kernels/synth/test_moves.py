"""Elements that a kernel only moves keep their type; those it computes with are widened."""

from models.kernels.synth.moves import unconverted

COPY = [
    "    v0 = at % a2",
    "    v1 = tl.load(p1 + v0, mask=mask, other=0.0).to(tl.float32)",
    "    tl.store(p0 + at, v1, mask=mask)",
]
HALVES = {"p0": "bfloat16", "p1": "bfloat16"}


def test_a_copy_has_one_text_for_every_type():
    whole = [
        line.replace("0.0", "0").replace("float32", "int64") if "load" in line else line
        for line in COPY
    ]
    assert unconverted(COPY, HALVES) == unconverted(whole, {"p0": "int64", "p1": "int64"})
    assert unconverted(COPY, HALVES)[1] == "    v1 = tl.load(p1 + v0, mask=mask, other=0)"


def test_a_choice_between_two_moved_elements_moves_them():
    lines = [
        *COPY[:2],
        "    v2 = tl.load(p2 + v0, mask=mask, other=0.0).to(tl.float32)",
        "    v3 = v0 < a4",
        "    v4 = tl.where(v3, v1, v2)",
        "    tl.store(p0 + at, v4, mask=mask)",
    ]
    kept = unconverted(lines, {**HALVES, "p2": "bfloat16"})
    assert not any(".to(" in line for line in kept)
    # Of two types the choice is made in the wider one.
    assert unconverted(lines, {**HALVES, "p2": "float32"}) == lines


def test_what_is_computed_with_or_stored_as_another_type_is_widened():
    summed = [*COPY[:2], "    v2 = v1 + v1", COPY[2].replace("v1", "v2")]
    assert unconverted(summed, HALVES) == summed
    assert unconverted(COPY, {"p0": "float32", "p1": "bfloat16"}) == COPY
    both = [*COPY, "    v2 = v1 * 2", "    tl.store(p2 + at, v2, mask=mask)"]
    assert unconverted(both, {**HALVES, "p2": "bfloat16"}) == both


def test_an_element_that_chooses_or_is_an_offset_is_widened():
    places = [
        "    v0 = tl.load(p2 + at, mask=mask, other=0).to(tl.int64)",
        "    v1 = tl.load(p1 + v0, mask=mask, other=0.0).to(tl.float32)",
        "    v2 = tl.where(v0 != 0, v1, v1)",
        "    tl.store(p0 + at, v2, mask=mask)",
    ]
    kept = unconverted(places, {**HALVES, "p2": "int64"})
    assert kept[0] == places[0]
    assert kept[1].endswith("other=0)")


def test_whole_numbers_that_are_only_converted_are_loaded_as_they_are():
    def lines(kind: str) -> list[str]:
        return [
            COPY[0],
            f"    v1 = tl.load(p1 + v0, mask=mask, other=0).to(tl.{kind})",
            "    v2 = v1.to(tl.float32)",
            "    tl.store(p0 + at, v2, mask=mask)",
        ]

    narrow = unconverted(lines("int32"), {"p0": "float32", "p1": "int32"})
    assert narrow == unconverted(lines("int64"), {"p0": "float32", "p1": "int64"})
    assert narrow[1] == "    v1 = tl.load(p1 + v0, mask=mask, other=0)"
    added = [*lines("int32")[:2], "    v2 = v1 + v1", "    tl.store(p0 + at, v2, mask=mask)"]
    assert unconverted(added, {"p0": "int64", "p1": "int32"})[1].endswith(".to(tl.int32)")
