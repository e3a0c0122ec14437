"""Candidates that loop, fork, allocate, lie or look around: contained and reported."""

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
import torch

from models.kernels.candidate import KernelCandidate
from models.kernels.execute import Zygote, ZygoteError
from models.kernels.execute.frames import BrokenFrameError, FrameReader, frame
from models.kernels.execute.recorder import BlackBox
from models.settings import ROOT

HONEST = """
@triton.jit
def kernel_copy(x, o, n, B: tl.constexpr):
    i = tl.arange(0, B)
    tl.store(o + i, tl.load(x + i, i < n), i < n)

def wrapper(input):
    out = torch.empty_like(input)
    kernel_copy[(1,)](input, out, 4, B=4)
    return out
"""


def wrapper(body):
    lines = "\n    ".join(["import os, socket, ctypes, sys, subprocess", *body.split("\n")])
    return f"def wrapper(input):\n    {lines}\n    return torch.empty(0)\n"


@pytest.fixture(autouse=True)
def and_an_honest_one_passes_afterwards(execute):
    yield
    assert execute(HONEST, torch.ones(4))[1].tolist() == [1.0] * 4


def test_an_endless_loop_is_killed_at_its_time(execute):
    source = HONEST.replace("    i = tl.arange", "    while True:\n        pass\n    i = tl.arange")
    outcome, _, ending = execute(source, torch.ones(4), sample_s=1.0)
    assert outcome["status"] == "timeout"
    assert ending["signal"] == "SIGKILL"
    assert (ending["last"]["operation"], ending["last"]["kernel"]) == ("launch", "kernel_copy")


@pytest.mark.parametrize("call", [
    "os.fork()", "os.posix_spawn('/bin/true', ['true'], {})", "subprocess.run(['/bin/true'])",
    "os.execv('/bin/true', ['true'])", "socket.socket()", "os.kill(os.getppid(), 9)",
    "os.kill(-1, 9)", "open('/tmp/written', 'w')", "os.mkdir('/tmp/made')", "os.setsid()",
    "os.open('/etc/hostname', os.O_RDWR)", "os.unlink(__file__)",
])  # fmt: skip
def test_a_door_of_the_system_is_closed(execute, call):
    outcome, _, _ = execute(wrapper(call), torch.ones(4))
    assert outcome["status"] == "raised"
    assert "PermissionError" in outcome["error_bases"]


def test_files_outside_of_python_cannot_be_read(execute, tmp_path):
    secret = tmp_path / "expected.bin"
    secret.write_text("42")
    outcome, _, ending = execute(wrapper(f"open({str(secret)!r}).read()"), torch.ones(4))
    if any("files stay readable" in words for words in ending.get("missing", ())):
        pytest.skip("no Landlock on this machine")
    assert "PermissionError" in outcome["error_bases"]


def test_the_environment_is_empty(execute, monkeypatch):
    outcome, _, _ = execute(wrapper("raise ValueError(str(dict(os.environ)))"), torch.ones(4))
    assert outcome["message"] == "{}"


def test_the_memory_of_the_parent_is_closed(execute):
    read = wrapper("open(f'/proc/{os.getppid()}/mem', 'rb').read(1)")
    outcome, _, _ = execute(read, torch.ones(4))
    assert "PermissionError" in outcome["error_bases"]


def test_a_memory_bomb_gets_no_memory(execute):
    body = "kept = []\nwhile True:\n    kept.append(bytearray(2**28))"
    outcome, _, _ = execute(wrapper(body), torch.ones(4), memory_bytes=2**30)
    assert outcome["error_type"] == "MemoryError"


def test_leaving_without_a_report_is_a_failure_whatever_the_code(execute):
    outcome, _, ending = execute(wrapper("os._exit(0)"), torch.ones(4))
    assert outcome["status"] == "no_report"
    assert (ending["exit_code"], ending["signal"]) == (0, None)


def test_a_forged_report_is_no_report(execute):
    body = (
        "from models.kernels.execute.frames import frame\n"
        "lie = {'what': 'end', 'nonce': 'guessed', 'sample': 0, 'outcome': {'status': 'ran'}}\n"
        "os.write(3, frame(lie))\nos._exit(0)"
    )
    assert execute(wrapper(body), torch.ones(4))[0]["status"] == "no_report"


def test_rubbish_on_the_channel_is_no_report(execute):
    outcome, _, _ = execute(wrapper("os.write(3, b'x' * 1000)"), torch.ones(4))
    assert outcome["status"] == "no_report"


def test_a_crash_says_its_signal_its_traceback_and_the_last_access(execute):
    source = HONEST.replace(
        "    return out", "    import faulthandler\n    faulthandler._sigsegv()"
    )
    outcome, _, ending = execute(source, torch.ones(4))
    assert outcome["status"] == "crash"
    assert ending["signal"] == signal.Signals.SIGSEGV.name
    assert "Fatal Python error: Segmentation fault" in ending["text"]
    assert "in wrapper" in ending["text"]
    assert (ending["last"]["operation"], ending["last"]["line"]) == ("store", 5)


def test_a_hundred_megabytes_of_printing_are_read_and_dropped(execute):
    body = "for _ in range(100):\n    sys.stdout.write('x' * 10**6)"
    outcome, _, ending = execute(wrapper(body), torch.ones(4))
    assert outcome["status"] == "ran"
    assert ending["printed_bytes"] == 10**8
    assert len(ending["text"]) == 65_536


def test_the_folder_of_a_candidate_is_gone_afterwards(execute):
    source = "def place():\n    pass\n\n" + wrapper("raise ValueError(place.__code__.co_filename)")
    outcome, _, _ = execute(source, torch.ones(4))
    assert os.path.basename(outcome["message"]).startswith("generated_")
    assert not os.path.exists(os.path.dirname(outcome["message"]))


def test_a_function_of_ours_that_fails_says_so(zygote):
    with pytest.raises(ZygoteError, match="no operator named 'no_such_op'"):
        zygote.call("models.kernels.harness.reference:produce", {"op_id": "no_such_op"})
    with pytest.raises(ZygoteError, match="os is no module of this room"):
        zygote.call("os:getcwd", {})


def test_a_parent_that_died_is_started_again(execute):
    parent = Zygote()
    parent.start()
    parent._process.kill()
    parent._process.wait()
    answer, _ = parent.call("models.kernels.harness.reference:produce", {
        "op_id": "sin", "suite": "S", "dtypes": ["float32"], "seed": 1})  # fmt: skip
    assert [sample["key"] for sample in answer["samples"]] == ["functional|float32[2]"]
    parent.close()


def test_messages_survive_any_cut_and_rubbish_is_named():
    data = frame({"a": 1}, b"xyz") + frame({"b": 2})
    reader, found = FrameReader(), []
    for byte in data:
        found += reader.feed(bytes([byte]))
    assert found == [({"a": 1}, b"xyz"), ({"b": 2}, b"")]
    with pytest.raises(BrokenFrameError):
        FrameReader().feed(b"GET / HTTP/1.1\r\n\r\n")


def test_the_black_box_keeps_the_last_operation():
    box = BlackBox()
    assert box.read() is None
    box.write("store", 12, (3, 0, 1), "kernel_ä", 64)
    last = box.read()
    assert (last.operation, last.line, last.program) == ("store", 12, (3, 0, 1))
    assert (last.kernel, last.first_address) == ("kernel_ä", 64)
    box.clear()
    assert box.read() is None


def test_the_source_of_a_candidate_is_data(execute):
    outcome, _, _ = execute("def wrapper(input:\n", torch.ones(4))
    assert outcome["status"] == "broken_module"
    assert "does not import: SyntaxError" in outcome["message"]
    assert KernelCandidate.of("add", "x = 1").sha == KernelCandidate.of("mul", "x = 1").sha


def test_a_parent_outlives_the_thread_that_started_it_and_ends_with_its_process():
    # The kernel's signal for orphans is about threads: it once killed idle parents of pools.
    parent = Zygote()
    thread = threading.Thread(target=parent.start)
    thread.start()
    thread.join()
    assert parent._process is not None
    time.sleep(1.0)
    assert parent._process.poll() is None
    parent.close()
    program = (
        "import time\n"
        "from models.kernels.execute import Zygote\n"
        "parent = Zygote()\n"
        "parent.start()\n"
        "print(parent._process.pid, flush=True)\n"
        "time.sleep(600)\n"
    )
    asker = subprocess.Popen(
        [sys.executable, "-c", program], stdout=subprocess.PIPE, text=True, cwd=ROOT
    )
    assert asker.stdout is not None
    pid = int(asker.stdout.readline())
    os.kill(pid, signal.SIGSTOP)  # as deaf as in the middle of a test
    asker.kill()
    asker.wait()
    asker.stdout.close()
    state = Path(f"/proc/{pid}/stat")
    until = time.monotonic() + 20
    while state.exists() and state.read_text().rpartition(")")[2].split()[0] != "Z":
        assert time.monotonic() < until, "it lives on"
        time.sleep(0.1)
