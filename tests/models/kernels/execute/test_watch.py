"""What a candidate may not reach or change, and memory that only kernels may change."""

import ctypes
import types

import pytest
import torch

from models.kernels.execute.fixtures import Fixtures
from models.kernels.execute.frames import BrokenFrameError, FrameReader, frame
from models.kernels.execute.memory import Memory, Region, SanitizerError

COPY = """
@triton.jit
def kernel_copy(x, o, n, B: tl.constexpr):
    i = tl.arange(0, B)
    tl.store(o + i, tl.load(x + i, i < n), i < n)

def wrapper(input):
    out = torch.empty(input.shape)
    kernel_copy[(1,)](input, out, 4, B=4)
    return out
"""


def storage_of(values):
    tensor = torch.tensor(values)
    storage = tensor.untyped_storage()
    return tensor, storage


def test_bytes_that_change_between_launches_break_the_seal():
    tensor, storage = storage_of([1.0, 2.0])
    memory = Memory()
    region = memory.add(Region(storage.data_ptr(), storage.nbytes(), "filled", keep=storage))
    memory.check_seals([region])
    tensor[0] = 5.0
    with pytest.raises(SanitizerError, match="host_written: memory of 8 bytes"):
        memory.check_seals([region])
    assert [violation.kind for violation in memory.violations] == ["host_written"]


def test_bytes_that_a_kernel_wrote_are_sealed_again():
    import numpy as np

    tensor, storage = storage_of([1.0, 2.0])
    memory = Memory()
    region = memory.add(Region(storage.data_ptr(), storage.nbytes(), "filled", keep=storage))
    memory.mark(region, np.array([0]), 4)
    tensor[0] = 5.0
    memory.seal([region])
    memory.check_seals([region])
    assert memory.violations == []
    ctypes.memset(storage.data_ptr(), 1, 4)
    with pytest.raises(SanitizerError):
        memory.check_seals([region])


def test_fixtures_see_a_replaced_name_and_a_new_one_of_a_class():
    class Judge:
        def verdict(self):
            return "wrong"

    fixtures = Fixtures([("Judge", Judge)])
    assert fixtures.changed() is None
    before = Judge.verdict
    Judge.verdict = lambda self: "right"
    assert fixtures.changed() == "Judge.verdict"
    Judge.verdict = before
    assert fixtures.changed() is None
    Judge.__len__ = lambda self: 0
    assert fixtures.changed() == "Judge.__len__"


def test_a_library_that_loads_more_of_itself_is_no_change(monkeypatch):
    module = types.ModuleType("json")
    module.dumps = print
    monkeypatch.setitem(__import__("sys").modules, "json", module)
    fixtures = Fixtures()
    module.late = 1
    assert fixtures.changed() is None
    module.dumps = repr
    assert fixtures.changed() == "json.dumps"


def test_candidates_are_not_forked_from_the_process_that_knows_expected_results(execute, zygote):
    import os

    source = "def wrapper(input):\n    import os\n    raise ValueError(str(os.getppid()))\n"
    parent = int(execute(source, torch.ones(4))[0]["message"])
    assert parent not in (zygote._process.pid, os.getpid())


def test_modules_of_this_room_are_out_of_reach(execute):
    source = (
        "def wrapper(input):\n    names = [name for name in torch.os.sys.modules "
        "if name.startswith('models')]\n    raise ValueError(str(names))\n"
    )
    assert execute(source, torch.ones(4))[0]["message"] == "[]"


def test_a_wrapper_reads_sizes_and_not_data(execute):
    body = "    for _ in range({}):\n        out[0].item()\n    return out"
    few = COPY.replace("    return out", body.format(64))
    many = COPY.replace("    return out", body.format(65))
    assert execute(few, torch.ones(4), may_read=True)[0]["status"] == "ran"
    outcome = execute(many, torch.ones(4), may_read=True)[0]
    assert "more than 64 times" in outcome["violations"][0]["detail"]
    assert execute(few, torch.ones(4))[0]["violations"][0]["kind"] == "dispatch"


def test_memory_that_a_resize_made_is_new_and_undefined(execute):
    grown = COPY.replace("torch.empty(input.shape)", "torch.empty(0).resize_(4)")
    outcome, result, _ = execute(grown, torch.arange(4.0))
    assert outcome["status"] == "ran"
    assert result.tolist() == [0.0, 1.0, 2.0, 3.0]
    assert outcome["tensors"][0]["from"] == "empty"
    unread = COPY.replace("input, out, 4", "out.resize_(9), input.new_empty(4), 4")
    assert execute(unread, torch.ones(4))[0]["violations"][0]["kind"] == "uninitialised"
    of_input = COPY.replace("    out =", "    input.resize_(100)\n    out =")
    assert "on an input" in execute(of_input, torch.ones(4))[0]["violations"][0]["detail"]


def test_a_process_that_prints_without_end_is_killed(execute):
    source = (
        "def wrapper(input):\n    import sys\n    while True:\n"
        "        sys.stdout.write('x' * 2**16)\n"
    )
    outcome, _, ending = execute(source, torch.ones(4), printed_bytes=2**20)
    assert outcome["status"] == "crash"
    assert ending["signal"] == "SIGKILL"
    assert ending["printed_bytes"] < 2**26


def test_a_message_above_its_size_is_not_collected():
    reader = FrameReader(most_block=10)
    assert reader.feed(frame({"a": 1}, bytes(10))) == [({"a": 1}, bytes(10))]
    with pytest.raises(BrokenFrameError):
        reader.feed(frame({}, bytes(11))[:20])


def test_the_order_of_programs_and_the_bits_of_a_result_are_told(harness):
    from models.kernels.candidate import KernelCandidate
    from models.kernels.samples import Fill, SampleRecord

    tensor = {"dtype": "float32", "shape": (4,), "fill": Fill(kind="normal").model_dump()}
    samples = harness.prepare_records(
        "clone", [SampleRecord(op="clone", dtype="float32", args=({"tensor": tensor},))]
    )
    first, second = (
        harness.test(KernelCandidate.of("clone", source), samples).outcomes[0]
        for source in (COPY, COPY.replace("B=4", "B=8"))
    )
    assert (first.is_repeatable, first.is_order_free) == (True, True)
    assert first.dispatched == {"empty": 1}
    assert len(first.result_sha) == 32
    assert first.result_sha == second.result_sha
