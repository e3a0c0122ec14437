"""Triton's interpreter with a device's arithmetic, and every access looked at before it happens.

Only for worker processes that were started with TRITON_INTERPRET=1. What differs from Triton
3.9's own builder, each with a conformance test: bfloat16 and 8-bit floats are widened, computed
and rounded to nearest even (Triton computes on the raw codes and truncates); accesses are checked;
reductions and scans with a function of their own run in log2(n) vector steps, as devices do, not
element by element; `erf` is vectorised; the library of the vendor answers from numpy and scipy.
An addition of booleans wraps (1 + 1 = 0), as compiled kernels do: write `|`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from models.kernels.execute.fixtures import Fixtures
from models.kernels.execute.floats import decode, encode, is_coded
from models.kernels.execute.memory import Memory, Region, Violation
from models.kernels.execute.recorder import Recorder


class CallState:
    """What the builder knows of the running call and launch; one per process."""

    def __init__(self) -> None:
        self.memory: Memory | None = None
        self.recorder: Recorder | None = None
        self.launch_regions: list[Region] = []
        self.align_bytes = 1
        self.is_backwards = False
        """Programs of a grid run from the last to the first."""
        self.caught: list[Violation] = []
        """What the watch saw, beside what the memory of the call keeps; see `watch.py`."""
        self.fixtures: Fixtures | None = None
        """What the candidate must leave as it is; None outside of the walls."""


STATE = CallState()
"""The builder is one object of Triton's module, so its state is one too."""


def make_builder() -> Any:
    """Build the checked builder; imports Triton."""
    import triton.language as tl
    from triton._C.libtriton import ir
    from triton.runtime import interpreter
    from triton.runtime.interpreter import InterpreterBuilder, TensorHandle

    numpy_type = interpreter._get_np_dtype

    def coded(handle: Any) -> str | None:
        name = str(handle.dtype.scalar.name) if hasattr(handle.dtype, "scalar") else ""
        wide = handle.data.dtype not in (np.uint16, np.uint8)
        return name if is_coded(name) and not wide else None

    def widened(handle: Any) -> Any:
        name = coded(handle)
        return handle.data if name is None else decode(handle.data, name)

    class CheckedBuilder(InterpreterBuilder):  # type: ignore[misc]
        """See the module."""

        def _program(self) -> tuple[int, int, int]:
            x, y, z = self.grid_idx
            return int(x), int(y), int(z)

        # -- memory ------------------------------------------------------------------------

        def _look(self, what: str, ptrs: Any, mask: Any, width: int) -> list[Any]:
            """Check one access; returns [region, lanes of it, offsets in bytes] per region."""
            memory, recorder = STATE.memory, STATE.recorder
            if memory is None or recorder is None:
                raise RuntimeError("a kernel ran outside of a checked call; use execute.call")
            flat = np.broadcast_to(ptrs.data, np.shape(mask.data)).reshape(-1)
            lanes = np.flatnonzero(mask.data)
            addresses = flat if len(lanes) == len(flat) else flat[lanes]
            line, kernel = recorder.line(), recorder.kernel
            program = self._program()
            recorder.box.write(what, line, program, kernel,
                               int(addresses[0]) if len(addresses) else 0)  # fmt: skip
            if not len(addresses):
                return []
            base = ptrs.attr.get("region")
            among = STATE.launch_regions if base is None else [base]
            found, outside = memory.owners(addresses, width, among)
            if outside.any():
                first = int(addresses[outside][0])
                near = base or min(
                    STATE.launch_regions or [Region(0, 0, "foreign")],
                    key=lambda region: min(abs(first - region.start), abs(first - region.end)),
                )
                lanes_out, offset = int(outside.sum()), first - near.start
                memory.refuse(Violation(
                    "out_of_bounds",
                    f"{what} of {lanes_out} lanes, first offset {offset} bytes, of tensor "
                    f"'{near.name}' whose storage has {near.size} bytes",
                    kernel, line, program, lanes_out, offset))  # fmt: skip
            align = STATE.align_bytes
            past = int(addresses.min()) % align
            if past and len(addresses) > 1:
                memory.refuse(Violation(
                    "misaligned",
                    f"{what} of {len(addresses)} lanes starts {past} bytes past a multiple of "
                    f"{align}", kernel, line, program, len(addresses)))  # fmt: skip
            return [
                (region, inside, addresses[inside].astype(np.int64) - region.start)
                for region, inside in found
            ]

        def _read(self, what: str, ptrs: Any, mask: Any, width: int) -> list[Any]:
            accesses = self._look(what, ptrs, mask, width)
            memory, recorder = STATE.memory, STATE.recorder
            assert memory is not None
            assert recorder is not None
            for region, _, offsets in accesses:
                bad = memory.unset(region, offsets, width)
                if bad is not None:
                    memory.refuse(Violation(
                        "uninitialised",
                        f"{what} of {int(bad.sum())} lanes of tensor '{region.name}' that nothing "
                        f"wrote, first offset {int(offsets[bad][0])} bytes", recorder.kernel,
                        recorder.line(), self._program(), int(bad.sum()),
                        int(offsets[bad][0])))  # fmt: skip
            return accesses

        def _write(self, accesses: list[Any], what: str, width: int) -> None:
            memory, recorder = STATE.memory, STATE.recorder
            assert memory is not None
            assert recorder is not None
            for region, _, offsets in accesses:
                if region.kind == "input":
                    memory.refuse(Violation(
                        "input_written",
                        f"{what} of {len(offsets)} lanes to input '{region.name}', first offset "
                        f"{int(offsets[0])} bytes", recorder.kernel, recorder.line(),
                        self._program(), len(offsets), int(offsets[0])))  # fmt: skip
                memory.mark(region, offsets, width)

        def create_masked_load(
            self, ptrs: Any, mask: Any, other: Any, cache_policy: Any, is_volatile: bool
        ) -> Any:
            width = numpy_type(ptrs.get_element_ty()).itemsize
            self._read("load", ptrs, mask, width)
            return super().create_masked_load(ptrs, mask, other, cache_policy, is_volatile)

        def create_masked_store(self, ptrs: Any, value: Any, mask: Any, cache_policy: Any) -> Any:
            element = numpy_type(ptrs.get_element_ty())
            accesses = self._look("store", ptrs, mask, element.itemsize)
            self._write(accesses, "store", element.itemsize)
            if value.data.dtype != element:
                value = TensorHandle(value.data.astype(element), value.dtype)
            return super().create_masked_store(ptrs, value, mask, cache_policy)

        def create_atomic_rmw(
            self, rmwOp: Any, ptr: Any, val: Any, mask: Any, sem: Any, scope: Any
        ) -> Any:
            width = numpy_type(ptr.get_element_ty()).itemsize
            self._write(self._read("atomic", ptr, mask, width), "atomic", width)
            if rmwOp == ir.ATOMIC_OP.FADD and STATE.memory is not None:
                STATE.memory.has_float_atomics = True
            if coded(val) == "bf16" and rmwOp == ir.ATOMIC_OP.FADD:
                return self._add_one_by_one(ptr, val, mask)
            return super().create_atomic_rmw(rmwOp, ptr, val, mask, sem, scope)

        def _add_one_by_one(self, ptr: Any, val: Any, mask: Any) -> Any:
            """Add bfloat16 lanes in order, rounding after each, as a device's atomics do."""
            shape = np.shape(val.data)
            before = np.zeros(int(np.prod(shape)), np.uint16)
            everything = [np.broadcast_to(part, shape).reshape(-1)
                          for part in (ptr.data, val.data, mask.data)]  # fmt: skip
            for lane, (address, addend, active) in enumerate(zip(*everything, strict=True)):
                if active:
                    one, yes = np.array([address], np.uint64), np.ones(1, bool)
                    old = interpreter._interpreter.load(one, yes, np.zeros(1, np.uint16),
                                                        np.dtype(np.uint16))  # fmt: skip
                    total = decode(old, "bf16") + decode(np.array([addend], np.uint16), "bf16")
                    interpreter._interpreter.store(one, encode(total, "bf16"), yes)
                    before[lane] = old[0]
            return TensorHandle(before.reshape(shape), val.dtype.scalar)

        def create_atomic_cas(self, ptr: Any, cmp: Any, val: Any, sem: Any, scope: Any) -> Any:
            width = numpy_type(ptr.get_element_ty()).itemsize
            mask = TensorHandle(np.ones_like(ptr.data, dtype=bool), tl.int1)
            self._write(self._read("atomic", ptr, mask, width), "atomic", width)
            return super().create_atomic_cas(ptr, cmp, val, sem, scope)

        # -- pointers keep the storage that they came from ----------------------------------

        def create_addptr(self, ptr: Any, offset: Any) -> Any:
            moved = super().create_addptr(ptr, offset)
            return self._same_region(moved, ptr)

        def create_splat(self, ret_ty: Any, arg: Any) -> Any:
            return self._same_region(super().create_splat(ret_ty, arg), arg)

        def create_broadcast(self, arg: Any, shape: Any) -> Any:
            return self._same_region(super().create_broadcast(arg, shape), arg)

        def create_expand_dims(self, arg: Any, axis: int) -> Any:
            return self._same_region(super().create_expand_dims(arg, axis), arg)

        def create_bitcast(self, src: Any, dst_type: Any) -> Any:
            return self._same_region(super().create_bitcast(src, dst_type), src)

        @staticmethod
        def _same_region(result: Any, origin: Any) -> Any:
            if "region" in origin.attr:
                result.attr["region"] = origin.attr["region"]
            return result

        # -- arithmetic --------------------------------------------------------------------

        def cast_impl(self, src: Any, dst_type: Any, toward_zero: bool = False) -> Any:
            target = dst_type.scalar
            data = widened(src)
            if is_coded(target.name):
                if coded(src) == target.name:
                    return TensorHandle(src.data, target)
                codes = encode(data.astype(np.float32), target.name, toward_zero)
                return TensorHandle(codes, target)
            result = data.astype(numpy_type(dst_type))
            if toward_zero and result.dtype.kind == "f" and data.dtype.kind == "f":
                grew = np.abs(result.astype(data.dtype)) > np.abs(data)
                result = np.where(grew, np.nextafter(result, result.dtype.type(0)), result)
            return TensorHandle(result, target)

        def create_fp_to_fp(self, src: Any, dst_type: Any, rounding_mode: Any) -> Any:
            return self.cast_impl(src, dst_type, rounding_mode == ir.ROUNDING_MODE.RTZ)

        def binary_op(self, lhs: Any, rhs: Any, op: Callable[..., Any]) -> Any:
            name = coded(lhs) or coded(rhs)
            if name is None:
                result = super().binary_op(lhs, rhs, op)
                if result.data.dtype == np.bool_ and result.dtype != tl.int1:
                    result.dtype = tl.int1
                return result
            value = op(widened(lhs), widened(rhs))
            if value.dtype == np.bool_:
                return TensorHandle(value, tl.int1)
            return TensorHandle(encode(value, name), lhs.dtype.scalar)

        def ternary_op(self, lhs: Any, rhs: Any, other: Any, op: Callable[..., Any]) -> Any:
            name = coded(other)
            if name is None or op is np.where:
                return super().ternary_op(lhs, rhs, other, op)
            value = op(widened(lhs), widened(rhs), widened(other))
            return TensorHandle(encode(value, name), other.dtype.scalar)

        def unary_op(self, arg: Any, op: Callable[..., Any]) -> Any:
            name = coded(arg)
            if name is None:
                return super().unary_op(arg, op)
            return TensorHandle(encode(op(widened(arg)), name), arg.dtype.scalar)

        def create_fma(self, x: Any, y: Any, z: Any) -> Any:
            name = coded(z)
            if name is None:
                return super().create_fma(x, y, z)
            # Products of bfloat16 are exact in double precision; one rounding remains.
            total = widened(x).astype(np.float64) * widened(y) + widened(z)
            return TensorHandle(encode(total.astype(np.float32), name), z.dtype.scalar)

        def create_rsqrt(self, arg: Any) -> Any:
            return self.unary_op(arg, lambda data: (1 / np.sqrt(data)).astype(data.dtype))

        def create_erf(self, arg: Any) -> Any:
            from scipy.special import erf

            return self.unary_op(arg, erf)

        def create_dot(
            self, a: Any, b: Any, d: Any, input_precision: Any, max_num_imprecise_acc: Any
        ) -> Any:
            if coded(a) is None and coded(b) is None and coded(d) is None:
                return super().create_dot(a, b, d, input_precision, max_num_imprecise_acc)
            total = np.matmul(widened(a), widened(b), dtype=np.float32) + widened(d)
            name = coded(d)
            if name is not None:
                return TensorHandle(encode(total, name), d.dtype.scalar)
            return TensorHandle(total.astype(d.data.dtype), d.dtype.scalar)

    return CheckedBuilder()
