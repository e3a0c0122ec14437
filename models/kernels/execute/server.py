"""The warm parents: import torch, triton and OpInfo once, then fork for every request.

Runs as `python -m models.kernels.execute.server CALLS CANDIDATES` (descriptors) with
TRITON_INTERPRET=1, and splits in two once it is warm: one parent makes and compares expected
results, the other forks candidates, so no memory that a candidate inherits ever held them. A
parent runs no code of a candidate itself: children do, behind walls, and all it believes of them
are complete messages.
"""

from __future__ import annotations

import contextlib
import ctypes
import faulthandler
import gc
import importlib
import os
import select
import signal
import sys
import tempfile
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

from models.kernels.execute.frames import (
    MOST_BLOCK,
    BrokenFrameError,
    FrameReader,
    frame,
    read_frame,
    write_all,
)
from models.kernels.execute.orphans import end_with_the_asker
from models.kernels.execute.recorder import BlackBox
from models.kernels.execute.walls import ExecutionLimits, leave_network

_PR_SET_PDEATHSIG, _PR_SET_DUMPABLE = 1, 4
_TRUSTED = "models.kernels."
MOST_OF_CANDIDATE = 512 * 1024**2
"""Bytes of one result: more is not collected, for a candidate may write the message itself."""


def _prctl(option: int, value: int) -> None:
    ctypes.CDLL(None).prctl(option, value, 0, 0, 0)


class _Child:
    """One forked process: what it says, what it prints, how it ended."""

    def __init__(
        self,
        body: Callable[[int, BlackBox], None],
        keep_bytes: int,
        most_block: int = MOST_BLOCK,
    ) -> None:
        self.box = BlackBox()
        self.reader = FrameReader(most_block)
        self.text = bytearray()
        self.printed_bytes = 0
        self.keep_bytes = keep_bytes
        results, results_end = os.pipe()
        printed, printed_end = os.pipe()
        self.pid = os.fork()
        if self.pid == 0:
            _become_child(body, results_end, printed_end, self.box)
        os.close(results_end)
        os.close(printed_end)
        with contextlib.suppress(OSError):
            os.setpgid(self.pid, self.pid)
        self.results, self.printed = results, printed
        self.open = {results, printed}
        self.is_broken = False

    def pump(self, timeout_s: float) -> list[tuple[dict[str, Any], bytes]]:
        """Read what is there; returns complete messages."""
        messages: list[tuple[dict[str, Any], bytes]] = []
        ready = select.select(list(self.open), [], [], timeout_s)[0]
        for descriptor in ready:
            data = os.read(descriptor, 1_048_576)
            if not data:
                self.open.discard(descriptor)
            elif descriptor == self.printed:
                self.printed_bytes += len(data)
                self.text += data[: max(self.keep_bytes - len(self.text), 0)]
            elif not self.is_broken:
                try:
                    messages += self.reader.feed(data)
                except BrokenFrameError:
                    self.is_broken = True
        return messages

    def kill(self) -> None:
        """End the whole group."""
        for target in (-self.pid, self.pid):
            with contextlib.suppress(OSError):
                os.kill(target, signal.SIGKILL)

    def ended(self) -> dict[str, Any]:
        """Collect the process and say how it ended."""
        _, status, usage = os.wait4(self.pid, 0)
        self.kill_group()
        for descriptor in (self.results, self.printed):
            os.close(descriptor)
        code = os.waitstatus_to_exitcode(status)
        last = self.box.read()
        return {
            "exit_code": code if code >= 0 else None,
            "signal": signal.Signals(-code).name if code < 0 else None,
            "text": self.text.decode("utf-8", "replace"),
            "printed_bytes": self.printed_bytes,
            "cpu_s": usage.ru_utime + usage.ru_stime,
            "peak_rss_bytes": usage.ru_maxrss * 1024,
            "last": None if last is None else last.model_dump(),
        }

    def kill_group(self) -> None:
        """End what the process left behind in its group."""
        with contextlib.suppress(OSError):
            os.kill(-self.pid, signal.SIGKILL)


def _become_child(
    body: Callable[[int, BlackBox], None], results: int, printed: int, box: BlackBox
) -> None:
    """Run in the fork; never returns."""
    code = 1
    try:
        os.setpgid(0, 0)
        _prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        null = os.open(os.devnull, os.O_RDONLY)
        for source, target in ((null, 0), (printed, 1), (printed, 2)):
            os.dup2(source, target)
        results = os.dup2(results, 3)
        os.closerange(4, 256)
        faulthandler.enable(2, all_threads=False)
        body(results, box)
        code = 0
    except BaseException:
        with contextlib.suppress(BaseException):
            os.write(2, traceback.format_exc().encode()[-8_000:])
    finally:
        with contextlib.suppress(BaseException):
            sys.stdout.flush()
        os._exit(code)


def _call(request: dict[str, Any], block: bytes) -> tuple[dict[str, Any], bytes]:
    """Run one of our own functions in a fork: reference values, comparisons."""
    module, _, name = str(request["function"]).partition(":")
    if not module.startswith(_TRUSTED):
        return {"error": f"{module} is no module of this room"}, b""
    arguments = request["arguments"]

    def body(results: int, box: BlackBox) -> None:
        _prctl(_PR_SET_DUMPABLE, 0)  # so that no candidate may look into its memory
        function = getattr(importlib.import_module(module), name)
        try:
            answer, out = function(arguments, block)
            write_all(results, frame({"answer": answer}, out))
        except Exception as error:
            said = {"error": f"{type(error).__name__}: {error}", "trace": traceback.format_exc()}
            write_all(results, frame(said))

    child = _Child(body, 65_536)
    until = time.monotonic() + float(request["timeout_s"])
    reply: tuple[dict[str, Any], bytes] | None = None
    is_late = False
    while child.open:
        for message in child.pump(1.0):
            reply = message
        if time.monotonic() > until and not is_late:
            child.kill()
            is_late = True
    ended = child.ended()
    if reply is None:
        reason = "took too long" if is_late else "ended without an answer"
        reply = {"error": f"{name} {reason}"}, b""
    return reply[0] | {"ended": ended}, reply[1]


def _execute(request: dict[str, Any], block: bytes) -> tuple[dict[str, Any], bytes]:
    """Run a batch of samples in a folder that is gone afterwards."""
    with tempfile.TemporaryDirectory(prefix="kernel-", ignore_cleanup_errors=True) as folder:
        return _run_children(request, block, Path(folder))


def _run_children(
    request: dict[str, Any], block: bytes, folder: Path
) -> tuple[dict[str, Any], bytes]:
    """Run samples in children, a new one after each that ended too early."""
    from models.kernels.execute.child import run_batch

    limits = ExecutionLimits.model_validate(request["limits"])
    samples: list[dict[str, Any]] = request["samples"]
    outcomes: dict[int, dict[str, Any]] = {}
    blocks: dict[int, bytes] = {}
    endings: list[dict[str, Any]] = []
    start = 0
    while start < len(samples) and len(endings) <= limits.most_restarts:
        nonce = os.urandom(16).hex()
        first = start

        def body(results: int, box: BlackBox, first: int = first, nonce: str = nonce) -> None:
            run_batch(request, block, folder, first, nonce, results, box, limits)

        child = _Child(body, limits.output_bytes, MOST_OF_CANDIDATE)
        running, since, is_late, is_done = first, time.monotonic(), False, False
        while child.open:
            for header, out in child.pump(0.25):
                if header.get("nonce") != nonce:
                    continue
                since = time.monotonic()
                if header.get("what") == "start":
                    running = int(header["sample"])
                elif header.get("what") == "end" and int(header["sample"]) == running:
                    outcomes[running] = header["outcome"]
                    blocks[running] = out
                    running += 1
                elif header.get("what") == "done":
                    is_done = True
                    endings.append({"launches": header["launches"], "missing": header["missing"]})
            is_over = time.monotonic() - since > limits.sample_s
            if child.printed_bytes > limits.printed_bytes:
                child.kill()
            if is_over or (is_done and not child.open - {child.printed}):
                is_late = is_late or (is_over and not is_done)
                child.kill()
                since = time.monotonic()
        how = child.ended()
        if is_done:
            endings[-1] |= how
            break
        if running < len(samples):
            reason = "timeout" if is_late else "crash" if how["signal"] else "no_report"
            outcomes[running] = {"status": reason, "ended": how, "limit_s": limits.sample_s}
        endings.append(how)
        start = running + 1
        if request["stop_at_first_failure"]:
            break
    placed, whole = [], bytearray()
    for index in range(len(samples)):
        out = blocks.get(index, b"")
        placed.append([len(whole), len(out)])
        whole += out
    listed = [outcomes.get(index, {"status": "not_run"}) for index in range(len(samples))]
    return {"outcomes": listed, "places": placed, "endings": endings}, bytes(whole)


def main(calls: int, candidates: int) -> None:
    """Serve until the other side closes.

    Args:
        calls: Socket on which this room's own functions are asked for.
        candidates: Socket on which batches of samples for candidates come.
    """
    os.environ["TRITON_INTERPRET"] = "1"
    end_with_the_asker(calls)
    _prctl(_PR_SET_DUMPABLE, 0)
    has_no_network = leave_network()
    from models.kernels.execute.warm import warm_up

    start = time.process_time()
    versions = warm_up()
    gc.collect()
    gc.freeze()
    hello = {"ready": True, "start_cpu_s": time.process_time() - start,
             "versions": versions, "has_no_network": has_no_network}  # fmt: skip
    if os.fork() == 0:
        _prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        os.close(calls)
        _serve(candidates, _execute)
        os._exit(0)
    os.close(candidates)
    write_all(calls, frame(hello))
    _serve(calls, _call)


Handler = Callable[[dict[str, Any], bytes], tuple[dict[str, Any], bytes]]


def _serve(descriptor: int, handler: Handler) -> None:
    while True:
        try:
            request, block = read_frame(descriptor)
        except BrokenFrameError:
            return
        _answer(descriptor, handler, request, block)
        del request, block


def _answer(descriptor: int, handler: Handler, request: dict[str, Any], block: bytes) -> None:
    """Answer one request; nothing of the answer outlives it, for later forks would inherit it."""
    try:
        reply, out = handler(request, block)
    except Exception as error:
        reply, out = {"error": f"{type(error).__name__}: {error}",
                      "trace": traceback.format_exc()}, b""  # fmt: skip
    write_all(descriptor, frame(reply, out))


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]))
