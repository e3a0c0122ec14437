"""Make samples and their expected results, in a fork of the warm parent of its own.

What a candidate gets and what is expected leave this process as two separate blocks.
"""

from __future__ import annotations

import copy
import warnings
from collections.abc import Iterator
from typing import Any

from models.kernels.harness.tolerance import tolerance_of
from models.kernels.operators.opinfo import entries_of
from models.kernels.operators.overloads import called, is_overload
from models.kernels.samples.build import build_record
from models.kernels.samples.file import SampleRecord
from models.kernels.samples.keys import structure_key
from models.kernels.samples.layouts import map_tensors
from models.kernels.samples.streams import RawSample, stream, take
from models.kernels.samples.values import ALIGNMENT, UnsupportedValueError, pack

MOST_BLOCK_BYTES = 768 * 1024**2


def _tensors(value: Any) -> list[Any]:
    found: list[Any] = []

    def see(tensor: Any) -> Any:
        found.append(tensor)
        return tensor

    map_tensors(value, see)
    return found


class _Blocks:
    """Two blocks that grow: inputs and expected results."""

    def __init__(self) -> None:
        self.inputs, self.expected = bytearray(), bytearray()

    @staticmethod
    def add(block: bytearray, data: bytes) -> list[int]:
        """Append at a multiple of 64 bytes; returns start and size."""
        block.extend(bytes(-len(block) % ALIGNMENT))
        start = len(block)
        block.extend(data)
        return [start, len(data)]


def _raw_samples(arguments: dict[str, Any]) -> Iterator[tuple[str, RawSample]]:
    """Yield (id, sample) of a stream or of file records."""
    op_id, suite = arguments["op_id"], arguments["suite"]
    if suite == "data":
        entry = None if is_overload(op_id) else entries_of(op_id)[0]
        for index, raw in enumerate(arguments["records"]):
            record = SampleRecord.model_validate(raw)
            args, kwargs = build_record(record)
            function = called(op_id) if entry is None else entry.op
            if record.form == "inplace" and entry is not None and entry.inplace_variant:
                function = entry.inplace_variant
            yield f"{op_id}/{record.variant or '-'}/data/{record.dtype}/{index}", RawSample(
                record.variant, record.dtype, record.form, args, kwargs, function,
                error_type=record.error_type, index=index)  # fmt: skip
        return
    seed = arguments["seed"]
    for dtype in arguments["dtypes"]:
        raws = stream(op_id, suite, dtype, seed)
        for position, raw in enumerate(take(raws, arguments.get("most_per_dtype"))):
            name = f"{op_id}/{raw.variant or '-'}/{suite}/{dtype}/{seed}/{position}"
            yield f"{name}/{raw.form}" + (f"/{raw.note}" if raw.note else ""), raw


def produce(arguments: dict[str, Any], block: bytes) -> tuple[dict[str, Any], bytes]:
    """Make the samples of one operator and suite with what is expected of them.

    Args:
        arguments: op_id, suite, dtypes, seed, most_per_dtype; or records with suite `data`.
        block: Not used.

    Returns:
        samples and the size of the inputs' block; inputs and expected results, one after the other.
    """
    import torch

    warnings.simplefilter("ignore")
    listed = [] if is_overload(arguments["op_id"]) else entries_of(arguments["op_id"])
    entries = {entry.variant_test_name: entry for entry in listed}
    blocks, described = _Blocks(), []
    keys: set[str] = set()
    for sample_id, raw in _raw_samples(arguments):
        head: dict[str, Any] = {"sample_id": sample_id, "variant": raw.variant, "dtype": raw.dtype,
                "form": raw.form, "index": raw.index,
                "key": f"{raw.form}|{structure_key(raw.args, raw.kwargs)}"}  # fmt: skip
        if len(blocks.inputs) + len(blocks.expected) > MOST_BLOCK_BYTES:
            described.append(head | {"skip": "samples of this operator exceed 768 MB"})
            continue
        args = map_tensors(tuple(raw.args), torch.Tensor.detach)
        kwargs = map_tensors(raw.kwargs, torch.Tensor.detach)
        try:
            tree, data = pack((args, kwargs))
        except UnsupportedValueError as error:
            described.append(head | {"skip": str(error)})
            continue
        # ATen gets inputs of its own, rebuilt: an operator may change them.
        expected = _expected(raw, args, kwargs, arguments["suite"])
        if expected is None:
            continue
        head |= {"tree": tree, "place": blocks.add(blocks.inputs, data),
                 "is_first_of_key": head["key"] not in keys}  # fmt: skip
        keys.add(head["key"])
        if "skip" in expected or "error_type" in expected:
            described.append(head | expected)
            continue
        try:
            tree, data = pack(expected.pop("value"))
        except UnsupportedValueError as error:
            described.append(head | {"skip": f"the result: {error}"})
            continue
        entry, results = entries.get(raw.variant), expected.pop("tensors")
        tolerances = [tolerance_of(entry, _computed_in(raw, t.dtype)) for t in results]
        expected["tolerances"] = tolerances
        oracle, wider = "fp32", _wider(raw, args, kwargs, results)
        if wider is None and arguments["suite"] == "V3":
            oracle, wider = "fp64", _in_float64(raw, args, kwargs, results, tolerances)
        if wider is not None:
            wide_tree, wide_data = pack(wider)
            head |= {"wider": wide_tree, "wider_place": blocks.add(blocks.expected, wide_data),
                     "wider_oracle": oracle}  # fmt: skip
        described.append(head | expected | {
            "expected": tree, "expected_place": blocks.add(blocks.expected, data)})  # fmt: skip
    answer = {"samples": described, "inputs_bytes": len(blocks.inputs)}
    return answer, bytes(blocks.inputs) + bytes(blocks.expected)


def _computed_in(raw: RawSample, dtype: Any) -> Any:
    """Return the type that a result is exact in: into a wider `out` it is cast once computed."""
    import torch

    own = getattr(torch, raw.dtype)
    return own if raw.note == "wider" and own.is_floating_point else dtype


def _wider(
    raw: RawSample, args: tuple[Any, ...], kwargs: dict[str, Any], results: list[Any]
) -> Any:
    """Return ATen's result at fp32, rounded once to the type of the sample; None: not possible.

    ATen on the CPU rounds some half-precision operators several times (add with alpha), a device
    once: torch's tolerance of fp16 is two steps of the type, so the exacter answer may miss it.
    """
    import torch

    halves = (torch.float16, torch.bfloat16)
    return _computed_wider(raw, args, kwargs, results, halves, torch.float32)


def _in_float64(
    raw: RawSample, args: tuple[Any, ...], kwargs: dict[str, Any], results: list[Any],
    tolerances: list[tuple[float, float]],
) -> Any:  # fmt: skip
    """Return ATen's result in float64, rounded once, where its own in float32 misses that by more
    than half the tolerance; None: it does not, or it cannot be said.

    Over a million elements ATen's float32 can be hundreds of tolerances from the truth (norms). At
    half of one, nothing but rounding may be left to a result that is compared with it.
    """
    import torch

    wider = _computed_wider(raw, args, kwargs, results, (torch.float32,), torch.float64)
    if wider is None:
        return None
    for own, exact, (rtol, atol) in zip(results, _tensors(wider), tolerances, strict=True):
        if own.dtype != exact.dtype or own.shape != exact.shape:
            return None
        if own.dtype == torch.float32 and not torch.allclose(
            own, exact, rtol=rtol / 2, atol=atol / 2, equal_nan=True
        ):
            return wider
    return None


def _computed_wider(
    raw: RawSample, args: tuple[Any, ...], kwargs: dict[str, Any], results: list[Any],
    narrow_types: tuple[Any, ...], wide_type: Any,
) -> Any:  # fmt: skip
    """Return what ATen computes of arguments in a wider type, rounded once; None: not possible."""
    import torch

    if raw.form == "error" or not any(result.dtype in narrow_types for result in results):
        return None

    def widen(tensor: Any) -> Any:
        return tensor.to(wide_type) if tensor.dtype in narrow_types else tensor.clone()

    try:
        with torch.no_grad():
            value = raw.function(*map_tensors(args, widen), **map_tensors(kwargs, widen))
    except Exception:
        return None
    found = _tensors(value)
    if len(found) != len(results):
        return None
    due = iter(results)

    def narrow(tensor: Any) -> Any:
        wanted = next(due)
        return tensor.to(wanted.dtype) if tensor.dtype == wide_type else tensor

    return map_tensors(value, narrow)


def _expected(
    raw: RawSample, args: tuple[Any, ...], kwargs: dict[str, Any], suite: str
) -> dict[str, Any] | None:
    """Run ATen; None where it refuses a sample that we made ourselves."""
    import torch

    own_args, own_kwargs = copy.deepcopy((args, kwargs))
    try:
        with torch.no_grad():
            value = raw.function(*own_args, **own_kwargs)
    except Exception as error:
        if raw.form == "error":
            return {"error_type": raw.error_type}
        # By its documentation ATen takes any `out` of a wider type; some operators do not.
        if raw.form in ("out", "inplace") and raw.note != "wider" and not _is_gap(error):
            return {"error_type": type(error).__name__}
        if suite in ("V2", "V3", "V6"):
            return None
        return {"skip": f"ATen raises {type(error).__name__}: {str(error)[:200]}"}
    if raw.form == "error":
        return {"skip": "ATen raises no error on the CPU"}
    if raw.note in ("expanded", "overlap"):
        return None  # ATen did not look; what it wrote where depends on its order
    if raw.form == "inplace" and _moves(own_args[0], args[0]):
        return {"skip": "in place ATen changes the shape or strides, no bytes"}
    inputs = {t.untyped_storage().data_ptr() for t in _tensors((own_args, own_kwargs))
              if t.layout == torch.strided and t.numel()}  # fmt: skip
    results = _tensors(value)
    if any(t.layout != torch.strided for t in results):
        return {"skip": "the result is sparse"}
    aliases = [bool(t.numel()) and t.untyped_storage().data_ptr() in inputs for t in results]
    return {"value": value, "tensors": results, "aliases": aliases}


def _is_gap(error: Exception) -> bool:
    """Whether ATen raises for what it has no kernel for, not for what is wrong."""
    return isinstance(error, NotImplementedError) or "not implemented for" in str(error)


def _moves(after: Any, before: Any) -> bool:
    """Whether an operator changed where a tensor's elements lie."""
    return any(
        getattr(after, fact)() != getattr(before, fact)()
        for fact in ("size", "stride", "storage_offset")
    )
