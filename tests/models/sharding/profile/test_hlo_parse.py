import gzip
import random
import time

import pytest

from models.errors import DatasetUnreadableError
from models.sharding.profile.hlo import parse_hlo
from models.sharding.profile.hlo.parse import parse_instruction
from models.sharding.profile.hlo.shape import Shape, ShapeError, parse_shape

SMALL = """HloModule jit_f, is_scheduled=true, num_partitions=4

%body (p: (s32[], f32[8])) -> (s32[], f32[8]) {
  %p = (s32[], f32[8]{0}) parameter(0)
  %i = s32[] get-tuple-element(%p), index=0
  %x = f32[8]{0} get-tuple-element(%p), index=1
  %one = s32[] constant(1)
  %next = s32[] add(%i, %one)
  ROOT %t = (s32[], f32[8]{0}) tuple(%next, %x)
}

%test (p.1: (s32[], f32[8])) -> pred[] {
  %p.1 = (s32[], f32[8]{0}) parameter(0)
  %i.1 = s32[] get-tuple-element(%p.1), index=0
  %end = s32[] constant(7)
  ROOT %lt = pred[] compare(%i.1, %end), direction=LT
}

ENTRY %main (a: f32[8]) -> f32[8] {
  %a = f32[8]{0} parameter(0), metadata={op_name="x(y, calls=%body) \\"z\\""}
  %zero = s32[] constant(0)
  %first = (s32[], f32[8]{0}) tuple(%zero, %a)
  %loop = (s32[], f32[8]{0}) while(%first), condition=%test, body=%body
  ROOT %r = f32[8]{0} get-tuple-element(%loop), index=1
}
"""


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("f32[4,64]{1,0}", 1024),
        ("bf16[6,512,2048]{2,1,0:T(8,128)(2,1)S(1)}", 6 * 512 * 2048 * 2),
        ("s4[10]{0:E(4)}", 5),
        ("f8e4m3fn[3,3]", 9),
        ("f4e2m1fn[8]", 4),
        ("pred[]", 1),
        ("token[]", 0),
        ("c64[2]", 16),
        ("s32[<=8]", 32),
        ("(f32[2]{0}, (bf16[2], u32[]{:S(2)}), /*index=5*/pred[4])", 8 + 4 + 4 + 4),
        ("()", 0),
    ],
)
def test_shapes_have_the_bytes_of_their_elements(text, size):
    assert parse_shape(text).size_bytes == size


def test_a_shape_keeps_its_memory_space():
    assert parse_shape("bf16[8]{0:T(256)S(1)}") == Shape("bf16", (8,), 1)


@pytest.mark.parametrize("text", ["f33[2]", "f32[2", "(f32[2]", "f32[a]", "", "[2]", "f32[2] x"])
def test_what_is_no_shape_is_refused(text):
    with pytest.raises(ShapeError):
        parse_shape(text)


def test_a_program_has_computations_instructions_and_edges():
    program = parse_hlo(SMALL)
    assert (program.name, program.partitions, program.is_scheduled) == ("jit_f", 4, True)
    assert list(program.computations) == ["body", "test", "main"]
    assert program.entry.name == "main"
    assert program.entry.root.name == "r"
    loop = program.entry.by_name["loop"]
    assert loop.called() == {"body": ("body",), "condition": ("test",)}
    assert [one.name for one in program.entry.users["loop"]] == ["r"]
    assert program.computations["body"].parameters[0].name == "p"
    assert program.entry.root.index == 1
    assert program.entry.by_name["zero"].literal == "0"


def test_attributes_are_not_looked_for_inside_strings():
    one = parse_hlo(SMALL).entry.by_name["a"]
    assert set(one.attributes) == {"metadata"}
    assert one.called() == {}


def test_operands_are_read_with_and_without_percent_signs_shapes_and_comments():
    plain = parse_instruction("a = f32[2]{0} add(f32[2]{0} b, (f32[1], s32[]) c.1)", 1)
    signed = parse_instruction("%a = f32[2]{0} add(f32[2]{0} %b, /*index=5*/%c.1)", 1)
    assert plain.operands == ("b", "c.1")
    assert signed.operands == ("b", "c.1")


def test_a_backend_config_is_read_as_json_or_as_a_quoted_one():
    bare = parse_instruction(
        '%a = s32[] while(%b), backend_config={"known_trip_count":{"n":"6"}}', 1
    )
    quoted = parse_instruction(
        '%a = s32[] while(%b), backend_config="{\\"known_trip_count\\":{\\"n\\":\\"6\\"}}", x=1', 1
    )
    assert bare.backend_config == quoted.backend_config == {"known_trip_count": {"n": "6"}}
    assert parse_instruction("%a = s32[] while(%b), backend_config=raw", 1).backend_config == {}


def test_constants_with_brackets_and_strings_end_where_they_end():
    one = parse_instruction('%c = u32[4]{0} constant({0, 1, (2), ")"}), metadata={op_name="m"}', 1)
    assert one.literal == '{0, 1, (2), ")"}'
    assert one.operands == ()
    assert one.attributes["metadata"] == '{op_name="m"}'


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("HloModule jit_f", "Hello", r"line 1: expected 'HloModule'"),
        ("s32[] add(%i, %one)", "s32[] add(%i, %two)", r"line 8: .*operand two is not defined"),
        ("%next = s32[] add", "%next = s33[] add", r"line 8: no dtype named 's33'"),
        ("%next = s32[] add(%i, %one)", "%next = s32[] add(%i", r"line 8: '\(' .* never closed"),
        ("%one = s32[] constant(1)", "rubbish", r"line 7: expected 'name = shape opcode"),
        ("%x = f32[8]{0}", "%i = f32[8]{0}", r"line 6: expected another name than i"),
        ("%test (p.1", "%body (p.1", r"computation stands twice"),
        ("ENTRY %main", "%main", r"without an ENTRY computation \(found 3 others\)"),
    ],
)
def test_a_garbled_line_is_named_with_what_was_expected(old, new, said):
    assert old in SMALL
    with pytest.raises(DatasetUnreadableError, match=said):
        parse_hlo(SMALL.replace(old, new))


def test_a_text_that_breaks_off_says_where():
    with pytest.raises(DatasetUnreadableError, match=r"ends at line 14 inside computation test"):
        parse_hlo(SMALL[: SMALL.index("  %end")])
    with pytest.raises(DatasetUnreadableError, match="is empty"):
        parse_hlo("\n\n")


def test_every_cut_of_a_real_program_is_refused(shipped):
    text = gzip.decompress((shipped / "train_v5e.hlo.gz").read_bytes()).decode()
    draw = random.Random(5)
    for _ in range(30):
        with pytest.raises(DatasetUnreadableError):
            parse_hlo(text[: draw.randrange(len(text) - 200)])


def test_reading_takes_time_in_proportion_to_the_text(shipped):
    text = gzip.decompress((shipped / "train_cpu.hlo.gz").read_bytes()).decode()
    header, _, rest = text.partition("\n\n\n")
    inner = rest[: rest.index("ENTRY")].splitlines()
    bodies = [
        "\n".join(f"%k{n}_{line[1:]}" if line.startswith("%") else line for line in inner)
        for n in range(60)
    ]
    long = "\n".join([header, "", *bodies, rest])
    begun = time.process_time()
    program = parse_hlo(long)
    took = time.process_time() - begun
    assert len(program.computations) > 60 * 50
    # 20 MB must take less than 20 s.
    assert took < len(long) / 1e6
