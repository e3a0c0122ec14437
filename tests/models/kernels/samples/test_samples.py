import base64
import json

import pytest
import torch

from models.errors import DataError, DatasetMissingError, DatasetUnreadableError
from models.kernels.samples import (
    Fill,
    SampleRecord,
    TensorRecord,
    read_samples,
    stream,
    structure_key,
    write_samples,
)
from models.kernels.samples.build import build_record, record_of
from models.kernels.samples.layouts import with_layout
from models.kernels.samples.shapes import LARGE_NUMEL, resized
from models.kernels.samples.values import UnsupportedValueError, pack, unpack


def same(one, other):
    assert one.dtype == other.dtype
    assert one.stride() == other.stride()
    assert one.storage_offset() == other.storage_offset()
    torch.testing.assert_close(one, other, rtol=0, atol=0, equal_nan=True)


@pytest.mark.parametrize("tensor", [
    torch.arange(12.0).reshape(3, 4).t(), torch.arange(10)[3:9:2], torch.ones(1).expand(5),
    torch.tensor(float("nan")), torch.empty(0, 3),
    torch.ones(2, 3, 4, 5).to(memory_format=torch.channels_last),
    torch.tensor([True, False]), torch.randn(3).bfloat16(), torch.arange(3).to(torch.uint8),
    torch.tensor([1 + 2j, 3 - 1j]).conj(), torch.randn(4).to(torch.float8_e4m3fn),
])  # fmt: skip
def test_a_tensor_comes_back_with_its_layout(tensor):
    tree, block = pack([tensor])
    (again,) = unpack(json.loads(json.dumps(tree)), block)
    assert again.data_ptr() != tensor.data_ptr() or tensor.numel() == 0
    assert again.is_conj() == tensor.is_conj()
    if tensor.dtype == torch.float8_e4m3fn:
        assert torch.equal(again.view(torch.uint8), tensor.view(torch.uint8))
    else:
        same(again, tensor)


def test_tensors_that_share_memory_still_do_and_every_copy_is_fresh():
    base = torch.arange(6.0)
    tree, block = pack((base, base[2:], {"k": base.view(2, 3)}))
    first, part, named = unpack(tree, block)
    first[3] = 99
    assert part[1] == named["k"][1, 0] == 99
    assert unpack(tree, block)[0][3] == 3


@pytest.mark.parametrize("value", [
    None, True, 3, 2**62, -0.5, float("inf"), 2 + 1j, "mean", [1, (2, 3)], slice(1, None, 2),
    torch.float32, torch.channels_last, torch.strided, torch.device("cpu"), Ellipsis, {"a": [None]},
])  # fmt: skip
def test_plain_values_come_back(value):
    tree, block = pack(value)
    assert unpack(json.loads(json.dumps(tree)), block) == value


@pytest.mark.parametrize("value", [torch.eye(2).to_sparse(), torch.Generator(), lambda x: x])
def test_what_no_file_can_hold_is_named(value):
    with pytest.raises(UnsupportedValueError, match="cannot be written to a sample file"):
        pack([value])


def node(dtype, shape, strides, offset, storage):
    return {"tensor": {"dtype": dtype, "shape": shape, "strides": strides, "offset": offset,
                       "storage": storage}}  # fmt: skip


@pytest.mark.parametrize(("tree", "words"), [
    (node("float32", [4], [1], 0, [0, 99]), "outside"),
    (node("float99", [], [], 0, [0, 4]), "no dtype"),
    (node("float32", [2], [-1], 1, [0, 8]), "fit"),
    ({"what": 1}, "no kind of value"), ({"a": 1, "b": 2}, "object of one key"),
])  # fmt: skip
def test_a_damaged_tree_is_named(tree, words):
    with pytest.raises(DataError, match=words):
        unpack(tree, bytes(8))


def test_a_key_has_no_shape_and_no_number_in_it():
    def key(*args, **kwargs):
        return structure_key(args, kwargs)

    x = torch.ones(2, 3)
    assert key(x, 3, dim=1) == key(torch.ones(7, 9), 5, dim=0)
    different = [key(x), key(x.half()), key(x[0]), key(x, None), key(x, True), key(x, False),
                 key(x, 1), key(x, 1.0), key(x, [1, 2]), key(x, [1, 2, 3]), key(x, "mean"),
                 key(x, "sum"), key(x, x), key(x, dtype=torch.int8)]  # fmt: skip
    assert len(set(different)) == len(different)
    assert len(key(*[x, None, 1, "text"] * 40)) <= 160


def test_fresh_seeds_give_other_values_of_the_same_structure():
    public, fresh, again = (
        [sample.args[0] for sample in stream("sum", suite, "float32", seed)]
        for suite, seed in (("S", 5), ("V1", 5), ("V1", 6))
    )
    assert len(public) == len(fresh) == 20
    assert [t.shape for t in public] == [t.shape for t in fresh]
    assert not torch.equal(public[1], fresh[1])
    assert not torch.equal(fresh[1], again[1])


def test_layouts_keep_values_and_change_strides():
    x = torch.arange(24.0).reshape(2, 3, 4)
    for name in ("transposed", "sliced"):
        ((changed, one), _) = with_layout(name, (x, 1), {})
        assert torch.equal(changed, x)
        assert changed.stride() != x.stride()
        assert one == 1
    ((expanded,), _) = with_layout("stride0", (x,), {})
    assert expanded.stride()[-1] == 0
    assert torch.equal(expanded, x[..., :1].expand(2, 3, 4))
    assert with_layout("channels_last", (x,), {}) is None
    ((images,), _) = with_layout("channels_last", (torch.ones(2, 3, 4, 5),), {})
    assert images.stride() == (60, 1, 15, 3)


def test_shapes_change_one_size_everywhere_and_keep_values():
    x, index = torch.rand(5, 3) + 1, torch.randint(0, 3, (5,))
    made = {note: args for note, args, _ in resized((x, index), {}, 1, False)}
    assert made["5to0"][0].shape == (0, 3)
    assert (made["5to33"][0].shape, made["5to33"][1].shape) == ((33, 3), (33,))
    assert made["3to1025"][0].shape == (5, 1025)
    assert set(made["5to33"][1].tolist()) <= set(index.tolist())
    assert float(made["5to33"][0].min()) >= 1
    elementwise = {note: args for note, args, _ in resized((x, x), {}, 1, True)}
    assert elementwise["0d"][0].shape == ()
    assert elementwise["large"][1].numel() > LARGE_NUMEL
    assert elementwise["large"][1].ndim == x.ndim


def record(**changes):
    tensor = {"dtype": "float32", "shape": [2, 3], "strides": [1, 2], "offset": 1,
              "fill": {"kind": "arange", "low": 10}}  # fmt: skip
    values = {"op": "add", "dtype": "float32",
              "args": [{"tensor": tensor}, {"float": "inf"}], "kwargs": {"alpha": 2}}  # fmt: skip
    return values | changes


def test_a_line_of_a_file_becomes_arguments(tmp_path):
    path = tmp_path / "samples.jsonl"
    assert write_samples(path, [SampleRecord.model_validate(record())] * 2) == 2
    args, kwargs = build_record(read_samples(path)[1])
    assert args[0].tolist() == [[11.0, 13.0, 15.0], [12.0, 14.0, 16.0]]
    assert args[0].stride() == (1, 2)
    assert args[1] == float("inf")
    assert kwargs == {"alpha": 2}


def test_arguments_become_a_line_of_a_file():
    x = torch.randn(4, 4).t()[1:]
    made = record_of("add", "", "float32", (x, [x, 2]), {"alpha": 3, "dtype": torch.float16})
    args, kwargs = build_record(SampleRecord.model_validate_json(made.model_dump_json()))
    same(args[0], x)
    same(args[1][0], x)
    assert kwargs == {"alpha": 3, "dtype": torch.float16}


def test_fills_are_the_same_everywhere():
    def first(**fill):
        tensor = TensorRecord(dtype="float64", shape=(2,), fill=Fill(**fill)).model_dump()
        sample = SampleRecord(op="add", dtype="float64", args=({"tensor": tensor},))
        return build_record(sample)[0][0].tolist()

    assert first(kind="constant", low=2) == [2.0, 2.0]
    # numpy.random.default_rng(7), PCG64
    assert first(kind="normal", seed=7) == pytest.approx([0.00123015, 0.29874554], abs=1e-8)
    assert first(kind="integers", low=0, high=10, seed=7) == [9.0, 6.0]


BAD = {
    "neither fill nor stored": ({"shape": [1], "dtype": "int8"}, "either `fill` or `stored`"),
    "unknown dtype": ({"shape": [1], "dtype": "float99", "fill": {"kind": "arange"}}, "no dtype"),
    "negative size": ({"shape": [-1], "dtype": "int8", "fill": {"kind": "arange"}}, "greater than"),
    "negative stride": ({"shape": [2], "strides": [-1], "dtype": "int8",
                         "fill": {"kind": "arange"}}, "negative strides"),
    "ranks": ({"shape": [2], "strides": [1, 1], "dtype": "int8", "fill": {"kind": "arange"}},
              "2 strides for 1"),
    "too big": ({"shape": [2**33], "dtype": "int8", "fill": {"kind": "arange"}}, "at most"),
    "short": ({"shape": [9], "dtype": "int8",
               "stored": base64.b64encode(b"12").decode()}, "has 2 bytes"),
    "no base64": ({"shape": [1], "dtype": "int8", "stored": "?"}, "no base64"),
    "unknown field": ({"shape": [1], "dtype": "int8", "colour": 1}, "Extra inputs"),
}  # fmt: skip


@pytest.mark.parametrize("name", BAD)
def test_a_bad_tensor_of_a_file_is_named_with_its_line(tmp_path, name):
    tensor, words = BAD[name]
    path = tmp_path / "samples.jsonl"
    good = json.dumps(record())
    path.write_text(good + "\n\n" + json.dumps(record(args=[{"tensor": tensor}])) + "\n")
    with pytest.raises(DatasetUnreadableError, match="line 3 is no sample") as raised:
        read_samples(path)
    assert words in str(raised.value)


@pytest.mark.parametrize(("text", "words"), [
    ("{not json", "line 1 is no sample"), ('{"op": "add"}', "Field required"),
    ("", "holds no sample"),
    (json.dumps(record(args=[{"a": 1, "b": 2}])), "object of one key"),
    (json.dumps(record(args=[{"lambda": 1}])), "no kind of value 'lambda'"),
    (json.dumps(record(form="error")), "error_type"),
])  # fmt: skip
def test_a_bad_file_is_named(tmp_path, text, words):
    path = tmp_path / "samples.jsonl"
    path.write_text(text)
    with pytest.raises(DatasetUnreadableError, match=words):
        read_samples(path)
    with pytest.raises(DatasetMissingError):
        read_samples(tmp_path / "none.jsonl")
