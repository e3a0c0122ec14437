"""Inside the walls: load a candidate, run samples one by one, report what each gave."""

from __future__ import annotations

import ctypes
import time
import traceback
from pathlib import Path
from typing import Any

from models.kernels.candidate import HEADER_LINES, BrokenModuleError, KernelCandidate, load_module
from models.kernels.execute.audit import make_audit
from models.kernels.execute.builder import STATE
from models.kernels.execute.frames import frame, write_all
from models.kernels.execute.memory import (
    Memory,
    Region,
    SanitizerError,
    Violation,
    element_offsets,
)
from models.kernels.execute.recorder import BlackBox, Recorder
from models.kernels.execute.walls import ExecutionLimits, raise_walls

POISON = (0xA5, 0x5A)
"""Bytes of undefined memory in the first and in the second run of a sample."""
_FORMS = {"functional": "wrapper", "error": "wrapper", "out": "wrapper_out",
          "inplace": "wrapper_inplace"}  # fmt: skip


def run_batch(
    request: dict[str, Any],
    block: bytes,
    folder: Path,
    first: int,
    nonce: str,
    results: int,
    box: BlackBox,
    limits: ExecutionLimits,
) -> None:
    """Run samples from `first` on and write a message before and after each."""
    candidate = KernelCandidate.model_validate(request["candidate"])
    others = [KernelCandidate.model_validate(raw) for raw in request["depends_on"]]
    file = folder / f"generated_{candidate.sha[:24]}.py"
    recorder = Recorder(box, str(file), HEADER_LINES)
    STATE.recorder, STATE.align_bytes = recorder, int(request["align_bytes"])
    for module in (*others, candidate):
        _write_source(module, folder)
    missing = raise_walls(limits, [folder])

    def say(what: str, block: bytes = b"", **fields: Any) -> None:
        write_all(results, frame({"what": what, "nonce": nonce, **fields}, block))

    say("start", sample=first)
    try:
        generated: dict[str, Any] = {}
        for module in (*others, candidate):
            loaded = load_module(module, folder, generated)
            generated[module.op_id] = loaded.wrapper
    except BrokenModuleError as error:
        for index in range(first, len(request["samples"])):
            say("start", sample=index)
            say("end", sample=index, outcome={"status": "broken_module", "message": str(error)})
    else:
        for index in range(first, len(request["samples"])):
            say("start", sample=index)
            outcome, out = _run_sample(loaded, request["samples"][index], block, recorder)
            say("end", out, sample=index, outcome=outcome)
            if request["stop_at_first_failure"] and outcome["status"] != "ran":
                break
    launches = [record.model_dump(mode="json") for record in recorder.launches.values()]
    say("done", launches=launches, missing=missing)


def _write_source(candidate: KernelCandidate, folder: Path) -> None:
    """Put the file where `load_module` would: the walls forbid writing afterwards."""
    from models.kernels.candidate import IMPORT_HEADER

    text = (IMPORT_HEADER + candidate.source).encode("utf-8", "surrogatepass")
    (folder / f"generated_{candidate.sha[:24]}.py").write_bytes(text)


def _run_sample(
    module: Any, sample: dict[str, Any], block: bytes, recorder: Recorder
) -> tuple[dict[str, Any], bytes]:
    """Run one sample, twice where asked for; returns its outcome and its packed result."""
    began = time.process_time()
    before = recorder.total
    outcome, out = _once(module, sample, block, recorder, POISON[0])
    if sample.get("repeat") and outcome["status"] == "ran":
        again, out_again = _once(module, sample, block, recorder, POISON[1])
        same = (
            again.get("status") == "ran" and out_again == out and again["tree"] == outcome["tree"]
        )
        outcome["is_repeatable"] = same
        if same:
            # A cached answer shows the second time only: its memory is not of that call.
            outcome["tensors"] = again["tensors"]
    outcome["cpu_s"] = time.process_time() - began
    outcome["launches"] = recorder.total - before
    return outcome, out


def _once(
    module: Any, sample: dict[str, Any], block: bytes, recorder: Recorder, poison: int
) -> tuple[dict[str, Any], bytes]:
    import torch

    from models.kernels.samples.values import Packer, unpack

    memory = Memory()
    start, size = sample["place"]
    own = block[start : start + size]
    writable = sample["form"] in ("out", "inplace")

    def register(storage: Any) -> None:
        kind: Any = "output" if writable else "input"
        memory.add(Region(storage.data_ptr(), storage.nbytes(), kind, keep=storage))

    STATE.memory = None
    args, kwargs = unpack(sample["tree"], own, register)
    originals = {start: ctypes.string_at(start, region.size)
                 for start, region in memory.regions.items()}  # fmt: skip
    wrapper = getattr(module, _FORMS[sample["form"]], None)
    if wrapper is None:
        return {"status": "no_form", "message": f"no function {_FORMS[sample['form']]}"}, b""
    outcome: dict[str, Any] = {}
    result: Any = None
    recorder.box.write("wrapper", 0, (0, 0, 0), "", 0)
    recorder.kernel = ""
    STATE.memory = memory
    try:
        with torch.no_grad(), make_audit(memory, poison, bool(sample.get("may_read"))):
            result = wrapper(*args, **kwargs)
    except SanitizerError:
        pass
    except Exception as error:
        outcome = {"status": "raised", "error_type": type(error).__name__,
                   "error_bases": [base.__name__ for base in type(error).__mro__],
                   "message": str(error)[:2_000], "trace": _own_trace(recorder)}  # fmt: skip
    finally:
        STATE.memory = None
    recorder.box.clear()
    if memory.violations:
        seen = [dict(vars(violation)) for violation in memory.violations[:8]]
        return {"status": "violation", "violations": seen}, b""
    if outcome:
        return outcome, b""
    if not writable:
        for address, bytes_before in originals.items():
            if ctypes.string_at(address, len(bytes_before)) != bytes_before:
                changed = Violation("input_written", "an input changed outside of any kernel")
                return {"status": "violation", "violations": [dict(vars(changed))]}, b""
    try:
        packer = Packer()
        tree = packer.pack(result)
    except Exception as error:
        said = f"the result cannot be read: {error}"[:2_000]
        return {"status": "raised", "error_type": type(error).__name__, "error_bases": [],
                "message": said, "trace": ""}, b""  # fmt: skip
    facts = [_provenance(tensor, memory) for tensor in _tensors(result)]
    return {"status": "ran", "tree": tree, "tensors": facts}, bytes(packer.block)


def _own_trace(recorder: Recorder) -> str:
    """Return the traceback's lines within the candidate, numbered as its author sees them."""
    import sys

    error = sys.exc_info()[1]
    lines = []
    for entry in traceback.extract_tb(error.__traceback__) if error else []:
        if entry.filename == recorder.file:
            number = (entry.lineno or 0) - recorder.header_lines
            lines.append(f"line {number}, in {entry.name}: {entry.line}")
    return "\n".join(lines[-12:])


def _tensors(value: Any) -> list[Any]:
    import torch

    if isinstance(value, torch.Tensor):
        return [value]
    if isinstance(value, dict):
        return [tensor for item in value.values() for tensor in _tensors(item)]
    if isinstance(value, (list, tuple)):
        return [tensor for item in value for tensor in _tensors(item)]
    return []


def _provenance(tensor: Any, memory: Memory) -> dict[str, Any]:
    """Say where the bytes of one result come from."""
    storage = tensor.untyped_storage()
    width = tensor.element_size()
    region = memory.regions.get(storage.data_ptr()) if storage.nbytes() else None
    facts: dict[str, Any] = {"bytes": tensor.numel() * width, "stored_bytes": 0, "from": "nothing"}
    if tensor.numel() == 0:
        return facts | {"from": "empty"}
    if region is None:
        return facts | {"from": "elsewhere"}
    offsets = element_offsets(tuple(tensor.shape), tuple(tensor.stride()),
                              tensor.storage_offset(), width)  # fmt: skip
    stored = sum(int(region.is_stored[offsets + byte].sum()) for byte in range(width))
    return facts | {"from": region.kind, "stored_bytes": stored}
