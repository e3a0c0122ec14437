"""The process that compiles: one request, one answer, then it ends.

Run as `python -m models.sharding.compile.child REQUEST ANSWER TEXT PARENT`, the last one being the
process that asks, with which this one ends; devices and platform come from the environment, which
must be set before JAX starts.
"""

from __future__ import annotations

import gzip
import hashlib
import json
import re
import sys
import time
from pathlib import Path
from typing import Any

from models.sharding.compile.parent import end_with
from models.sharding.compile.request import Request
from models.sharding.compile.result import Where

_UNITS = {"K": 2**10, "M": 2**20, "G": 2**30, "T": 2**40, "": 1}
_SIZE = r"([\d.]+)([KMGT]?)"
_SAID = (
    re.compile(rf"Used {_SIZE} of {_SIZE} hbm"),
    re.compile(rf"temporaries \({_SIZE}\) exceeds available HBM \({_SIZE}\)"),
)
"""What does not fit, of what there is: the whole program, or what it holds in between."""


def main(request_file: str, answer_file: str, text_file: str) -> None:
    """Compile and write the answer."""
    request = Request.from_json(json.loads(Path(request_file).read_text()))
    answer, text = compile_request(request)
    if text:
        data = text.encode()
        Path(text_file).write_bytes(gzip.compress(data, compresslevel=1, mtime=0))
        answer["hlo_digest"] = hashlib.sha256(data).hexdigest()
    Path(answer_file).write_text(json.dumps(answer))


def compile_request(request: Request) -> tuple[dict[str, Any], str]:
    """Return the fields of a `Compiled` that a compile tells, and the text of the program."""
    import jax

    from models.sharding.program.lower import lower
    from models.sharding.program.start import program_of

    started = time.perf_counter()
    program = program_of(request.job, request.layout, _devices(request))
    notes = [f"repeated: {one}" for one in program.spec.repeated]
    lowered = lower(program, request.phase)
    lowered_at = time.perf_counter()
    answer: dict[str, Any] = {"lower_s": lowered_at - started, "notes": notes}
    try:
        compiled = lowered.compile()
    except jax.errors.JaxRuntimeError as error:
        found = out_of_memory(str(error))
        if found is None:
            raise
        return {**answer, **found, "compile_s": time.perf_counter() - lowered_at}, ""
    answer |= {"status": "ok", "compile_s": time.perf_counter() - lowered_at}
    answer |= _memory(compiled.memory_analysis(), request.where)
    costs = compiled.cost_analysis() or {}
    flops = costs.get("flops")
    answer["flops_once"] = flops if flops and flops > 0 else None
    try:
        text = compiled.as_text() or ""
    except jax.errors.JaxRuntimeError as error:
        # Seen of libtpu 0.0.52 on pure FSDP over 3D tori: an internal RET_CHECK.
        notes.append(f"the compiler prints no program: {str(error)[:200]}")
        text = ""
    return answer, text


def out_of_memory(message: str) -> dict[str, Any] | None:
    """Read what the TPU compiler says where a program does not fit; None: it says another thing."""
    if (
        "CompileTimeHbmOom" not in message
        and "Ran out of memory in memory space hbm" not in message
    ):
        return None
    found = next((match for one in _SAID if (match := one.search(message))), None)
    numbers: dict[str, Any] = {}
    if found:
        used, used_unit, held, held_unit = found.groups()
        numbers["needed_bytes"] = float(used) * _UNITS[used_unit]
        numbers["capacity_bytes"] = float(held) * _UNITS[held_unit]
    lines = [line.strip() for line in message.splitlines() if line.strip()]
    return {"status": "out of memory", "detail": " ".join(lines[:3])[:500], **numbers}


def _devices(request: Request) -> Any:
    import jax

    if request.where == "cpu":
        return jax.devices("cpu")[: request.devices]
    from jax.experimental import topologies

    found = topologies.get_topology_desc(platform="tpu", topology_name=request.topology)
    return list(found.devices)


def _memory(stats: Any, where: Where) -> dict[str, int]:
    """Return bytes per device; the peak is that of the TPU compiler, of a CPU the sum."""
    if stats is None:
        return {}
    parts = {
        f"{name}_bytes": int(getattr(stats, f"{name}_size_in_bytes"))
        for name in ("argument", "output", "alias", "temp")
    }
    whole = parts["argument_bytes"] + parts["output_bytes"] - parts["alias_bytes"]
    # What jaxlib 0.10.2 calls the peak of a CPU program leaves out what is held in between.
    told = int(getattr(stats, "peak_memory_in_bytes", 0) or 0) if where == "tpu" else 0
    return {**parts, "peak_bytes": told or whole + parts["temp_bytes"]}


if __name__ == "__main__":
    end_with(int(sys.argv[4]))
    main(*sys.argv[1:4])
