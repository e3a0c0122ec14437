"""Inside the walls: load a candidate, run samples one by one, report what each gave."""

from __future__ import annotations

import hashlib
import json
import sys
import time
from pathlib import Path
from types import ModuleType
from typing import Any

from models.kernels.candidate import (
    HEADER_LINES,
    IMPORT_HEADER,
    BrokenModuleError,
    KernelCandidate,
    load_module,
)
from models.kernels.execute.builder import STATE
from models.kernels.execute.call import POISON, Outcome, run_call
from models.kernels.execute.fixtures import Fixtures
from models.kernels.execute.frames import frame, write_all
from models.kernels.execute.recorder import BlackBox, Recorder
from models.kernels.execute.walls import ExecutionLimits, raise_walls
from models.kernels.execute.watch import install_watch

_OURS = "models"


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
    _hide(folder)

    def say(what: str, block: bytes = b"", **fields: Any) -> None:
        write_all(results, frame({"what": what, "nonce": nonce, **fields}, block))

    def refuse_all(outcome: Outcome) -> None:
        for index in range(first, len(request["samples"])):
            say("start", sample=index)
            say("end", sample=index, outcome=outcome)

    say("start", sample=first)
    try:
        generated: dict[str, Any] = {}
        for module in (*others, candidate):
            loaded = load_module(module, folder, generated)
            generated[module.op_id] = loaded.wrapper
    except BrokenModuleError as error:
        refuse_all({"status": "broken_module", "message": str(error)})
    else:
        if STATE.caught:
            refuse_all({"status": "violation", "violations": [dict(vars(v)) for v in STATE.caught]})
        else:
            for index in range(first, len(request["samples"])):
                say("start", sample=index)
                outcome, out = _run_sample(loaded, request["samples"][index], block, recorder)
                say("end", out, sample=index, outcome=outcome)
                if request["stop_at_first_failure"] and outcome["status"] != "ran":
                    break
    launches = [record.model_dump(mode="json") for record in recorder.launches.values()]
    say("done", launches=launches, missing=missing)


def _hide(folder: Path) -> None:
    """Keep this room's own objects out of the candidate's reach, and note what it may not change.

    Modules of this room vanish from `sys.modules`: what is needed of them is referred to already.
    """
    import triton

    builder = type(sys.modules["triton.runtime.interpreter"].interpreter_builder)
    STATE.fixtures = Fixtures([("the interpreter's builder", builder)])
    # Paths of the standard library are not among them: it does what its caller wants.
    libraries = tuple(
        str(Path(module.__file__ or "").resolve().parent)
        for module in (triton, sys.modules["torch"], sys.modules["numpy"], sys.modules["scipy"])
    )
    room = str(Path(__file__).resolve().parents[2])
    install_watch(str(folder), (*libraries, room, "<frozen"))
    for name in [name for name in sys.modules if name.partition(".")[0] == _OURS]:
        del sys.modules[name]
    sys.modules["__main__"] = ModuleType("__main__")


def _write_source(candidate: KernelCandidate, folder: Path) -> None:
    """Put the file where `load_module` would: the walls forbid writing afterwards."""
    text = (IMPORT_HEADER + candidate.source).encode("utf-8", "surrogatepass")
    (folder / f"generated_{candidate.sha[:24]}.py").write_bytes(text)


def _run_sample(
    module: Any, sample: dict[str, Any], block: bytes, recorder: Recorder
) -> tuple[Outcome, bytes]:
    """Run one sample, twice where asked for; returns its outcome and its packed result.

    The second run has other undefined memory and runs programs in the other order. Only where
    these change the result a third run tells one cause from the other.
    """
    began = time.process_time()
    before = recorder.total
    outcome, out = first = run_call(module, sample, block, recorder)
    if sample.get("repeat") and outcome["status"] == "ran":
        second = run_call(module, sample, block, recorder, POISON[1], is_backwards=True)
        is_order_free = is_repeatable = _is_same(first, second)
        if not is_order_free:
            is_repeatable = _is_same(first, run_call(module, sample, block, recorder, POISON[1]))
        if second[0]["status"] != "ran" or (is_repeatable and not is_order_free):
            # Programs run in any order on a device: what the less usual one gave is judged.
            outcome, out = second
        else:
            # A cached answer shows the second time only: its memory is not of that call.
            outcome["tensors"] = second[0]["tensors"]
        outcome |= {"is_repeatable": is_repeatable, "is_order_free": is_order_free}
    if outcome["status"] == "ran":
        bits = hashlib.blake2b(json.dumps(outcome["tree"]).encode() + out, digest_size=16)
        outcome["result_sha"] = bits.hexdigest()
    outcome["cpu_s"] = time.process_time() - began
    outcome["launches"] = recorder.total - before
    return outcome, out


def _is_same(one: tuple[Outcome, bytes], other: tuple[Outcome, bytes]) -> bool:
    """Whether both runs ended with the same bits."""
    return (
        one[0]["status"] == other[0]["status"]
        and one[1] == other[1]
        and (one[0].get("tree") == other[0].get("tree"))
    )
