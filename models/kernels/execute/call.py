"""One call of a wrapper under all checks: what came out, and what it did that it may not do."""

from __future__ import annotations

import sys
import traceback
from typing import Any

from models.kernels.execute.audit import make_audit, reading_allowed
from models.kernels.execute.builder import STATE
from models.kernels.execute.memory import Memory, Region, SanitizerError, Violation
from models.kernels.execute.recorder import Recorder
from models.kernels.execute.results import plain, provenance, tensors_of
from models.kernels.samples.values import Packer, unpack

POISON = (0xA5, 0x5A)
"""Bytes of undefined memory in the first and in the second run of a sample."""
_FORMS = {"functional": "wrapper", "error": "wrapper", "out": "wrapper_out",
          "inplace": "wrapper_inplace"}  # fmt: skip
_SHOWN = 8
"""Violations of one call that are reported."""

Outcome = dict[str, Any]


def run_call(
    module: Any,
    sample: dict[str, Any],
    block: bytes,
    recorder: Recorder,
    poison: int = POISON[0],
    is_backwards: bool = False,
) -> tuple[Outcome, bytes]:
    """Call a module's wrapper once, on memory of this call's own.

    Args:
        module: Loaded module of a candidate.
        sample: Its `tree`, `place` in the block, `form`, and whether it `may_read` values.
        block: Bytes of the arguments' storages.
        recorder: Of this process; it must be `STATE.recorder`.
        poison: Byte that undefined memory is filled with.
        is_backwards: Run the programs of every grid from the last to the first.

    Returns:
        The outcome, and the packed result where its `status` is `ran`.
    """
    name = _FORMS[sample["form"]]
    if sample["form"] == "error" and "out" in sample["tree"]["tuple"][1]["dict"]:
        name = _FORMS["out"]
    wrapper = getattr(module, name, None)
    if wrapper is None:
        return {"status": "no_form", "message": f"no function {name}"}, b""
    memory, args, kwargs, written = _prepared(sample, block)
    given = frozenset(tensor.untyped_storage()._cdata for tensor in written)
    for region in memory.regions.values():
        if region.keep._cdata in given:
            region.kind = "output"
    audit = make_audit(memory, poison, bool(sample.get("may_read")), given)
    recorder.box.write("wrapper", 0, (0, 0, 0), "", 0)
    recorder.kernel = ""
    STATE.caught.clear()
    STATE.is_backwards, STATE.memory = is_backwards, memory
    try:
        outcome, out = _called(wrapper, args, kwargs, audit, memory, recorder, written)
    finally:
        STATE.memory, STATE.is_backwards = None, False
    recorder.box.clear()
    violations = [*STATE.caught, *memory.violations]
    if violations:
        seen = [dict(vars(violation)) for violation in violations[:_SHOWN]]
        return {"status": "violation", "violations": seen}, b""
    outcome["dispatched"] = dict(audit.calls)
    outcome["has_float_atomics"] = memory.has_float_atomics
    return outcome, out


def _prepared(
    sample: dict[str, Any], block: bytes
) -> tuple[Memory, tuple[Any, ...], dict[str, Any], list[Any]]:
    """Build the arguments; only what the form writes to may be written.

    Returns:
        The memory of the call, arguments, keyword arguments, and the tensors to be written.
    """
    memory = Memory()
    start, size = sample["place"]

    def register(storage: Any) -> None:
        memory.add(Region(storage.data_ptr(), storage.nbytes(), "input", keep=storage))

    args, kwargs = unpack(sample["tree"], block[start : start + size], register)
    written: Any = ()
    if sample["form"] == "inplace":
        written = args[0] if args else next(iter(kwargs.values()), None)
    elif sample["form"] in ("out", "error"):
        written = kwargs.get("out", ())
    return memory, args, kwargs, tensors_of(written)


def _called(
    wrapper: Any, args: tuple[Any, ...], kwargs: dict[str, Any], audit: Any, memory: Memory,
    recorder: Recorder, written: list[Any],
) -> tuple[Outcome, bytes]:  # fmt: skip
    """Run the wrapper and write its result down, before what it left running can change it."""
    import torch

    try:
        with torch.no_grad(), audit:
            result = wrapper(*args, **kwargs)
    except SanitizerError:
        return {}, b""
    except Exception as error:
        return _raised(error, recorder), b""
    packer = Packer()
    try:
        with reading_allowed():
            _check_returned(result, written, memory)
            result = plain(result, memory)
            tree = packer.pack(result)
            facts = [provenance(tensor, memory) for tensor in tensors_of(result)]
        memory.check_seals(list(memory.regions.values()))
    except SanitizerError:
        return {}, b""
    except Exception as error:
        said = f"the result cannot be read: {error}"[:2_000]
        return {"status": "raised", "error_type": type(error).__name__, "error_bases": [],
                "message": said, "trace": ""}, b""  # fmt: skip
    changed = STATE.fixtures.changed() if STATE.fixtures is not None else None
    if changed is not None:
        memory.violations.append(Violation("tampered", f"the module replaced {changed}"))
    return {"status": "ran", "tree": tree, "tensors": facts}, bytes(packer.block)


def _check_returned(result: Any, written: list[Any], memory: Memory) -> None:
    """Refuse results of a form that writes which are not the tensors themselves.

    A view of them would have the values that are due in another order than the caller sees.
    """
    found = result if isinstance(result, list | tuple) else [result]
    if written and not (
        len(found) == len(written)
        and all(one is due for one, due in zip(found, written, strict=True))
    ):
        memory.refuse(Violation("provenance", "a result is new memory or another view, ATen "
                                "returns the tensor that it is given to write"))  # fmt: skip


def _raised(error: Exception, recorder: Recorder) -> Outcome:
    return {"status": "raised", "error_type": type(error).__name__,
            "error_bases": [base.__name__ for base in type(error).__mro__],
            "message": str(error)[:2_000], "trace": _own_trace(recorder)}  # fmt: skip


def _own_trace(recorder: Recorder) -> str:
    """Return the traceback's lines within the candidate, numbered as its author sees them."""
    error = sys.exc_info()[1]
    lines = []
    for entry in traceback.extract_tb(error.__traceback__) if error else []:
        if entry.filename == recorder.file:
            number = (entry.lineno or 0) - recorder.header_lines
            lines.append(f"line {number}, in {entry.name}: {entry.line}")
    return "\n".join(lines[-12:])
