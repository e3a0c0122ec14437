"""Launch kernels in the checked interpreter: patched once per process, not at every launch.

Scalars arrive as a compiled kernel gets them: a Python float becomes fp32 (or what the
annotation of its parameter says), where Triton's interpreter passes 64 bits on.
"""

from __future__ import annotations

import inspect
from functools import lru_cache
from types import FunctionType
from typing import Any

import numpy as np

from models.kernels.execute.audit import reading_allowed
from models.kernels.execute.boolean import install_boolean
from models.kernels.execute.builder import STATE, make_builder
from models.kernels.execute.combine import install_combine
from models.kernels.execute.libdevice import install_libdevice
from models.kernels.execute.memory import Memory, Region, Violation
from models.kernels.execute.recorder import LaunchRecord, Recorder

_MOST_PROGRAMS = (2**31 - 1, 65_535, 65_535)
"""Largest grid per axis (CUDA C++ programming guide, compute capabilities)."""
_FLOATS = {"fp16": np.float16, "fp32": np.float32, "fp64": np.float64}
_INTEGERS = {
    f"{sign}{bits}": np.dtype(f"{'int' if sign == 'i' else 'uint'}{bits}")
    for sign in "iu"
    for bits in (8, 16, 32, 64)
}
_OPTIONS = ("num_warps", "num_stages", "num_ctas", "maxnreg")


class _NoScope:
    """Stands for Triton's scope of patches, which are permanent here."""

    def restore(self) -> None:
        """Nothing was patched."""


def install() -> None:
    """Patch Triton's interpreter for the life of this process.

    Raises:
        RuntimeError: The process was not started with TRITON_INTERPRET=1.
    """
    import triton
    import triton.language as tl
    from triton.runtime import interpreter

    if not triton.knobs.runtime.interpret:
        raise RuntimeError("start the process with TRITON_INTERPRET=1 to execute kernels")
    builder = make_builder()
    interpreter.interpreter_builder = builder
    interpreter.interpreter_semantic = interpreter.TritonSemantic(builder)
    install_combine()

    def every_language() -> None:
        """Its globals are what Triton looks through for modules to patch."""

    names = {"tl": tl, "core": tl.core}
    carrier = FunctionType(every_language.__code__, {**names, "__name__": __name__})
    interpreter._patch_lang(carrier)
    interpreter._patch_lang = lambda function: _NoScope()
    interpreter.GridExecutor.__call__ = _run
    install_libdevice()
    install_boolean()


@lru_cache(maxsize=4096)
def _parameters(function: Any) -> tuple[inspect.Signature, frozenset[str], dict[str, str]]:
    from triton.runtime.jit import _normalize_ty

    # Triton compiles the rewritten function with annotations as source text: quotes are in them.
    types = {
        name: _normalize_ty(ty.strip("'\"") if isinstance(ty, str) else ty)
        for name, ty in inspect.get_annotations(function).items()
    }
    constexprs = frozenset(name for name, ty in types.items() if "constexpr" in str(ty))
    known = {name: ty for name, ty in types.items() if ty in _FLOATS or ty in _INTEGERS}
    return inspect.signature(function), constexprs, known


def _scalar(value: Any, wanted: str | None) -> tuple[Any, str]:
    """Return a scalar as the interpreter's tensor and its Triton type."""
    import triton.language as tl
    from triton.runtime import interpreter
    from triton.runtime.jit import mangle_type

    name = wanted or ("fp32" if isinstance(value, float) else mangle_type(value))
    if name in ("u1", "i1"):
        kind: Any = np.bool_
    else:
        kind = _FLOATS.get(name) or _INTEGERS[name]
    dtype = tl.str_to_ty(name, None)
    with np.errstate(all="ignore"):
        handle = interpreter.TensorHandle(np.array([value]).astype(kind), dtype)
    return tl.tensor(handle, dtype), name


def _tensor(name: str, value: Any, regions: dict[int, Region]) -> tuple[Any, str]:
    """Return a tensor as a pointer that remembers its storage, and its Triton type."""
    import triton.language as tl
    from triton.runtime import interpreter
    from triton.runtime.jit import mangle_type

    memory, recorder = STATE.memory, STATE.recorder
    assert memory is not None
    assert recorder is not None
    # Methods of the class: an attribute of the object may be another function.
    kind_of_tensor = type(value)
    storage = kind_of_tensor.untyped_storage(value)
    start, size = storage.data_ptr(), storage.nbytes()
    region = memory.region_of(storage)
    if size == 0:
        region = Region(start, 0, "empty", name)
    elif region is None:
        memory.refuse(Violation(
            "foreign_tensor", f"argument '{name}' is neither an input nor allocated in this call",
            recorder.kernel, recorder.line()))  # fmt: skip
    assert region is not None
    region.name = region.name or name
    regions[id(region)] = region
    kind = mangle_type(value)
    dtype = tl.str_to_ty(kind, None)
    handle = interpreter.TensorHandle(np.array([kind_of_tensor.data_ptr(value)], np.uint64), dtype)
    handle.set_attr("region", region)
    return tl.tensor(handle, dtype), kind


def _shown(value: Any) -> Any:
    """Return a constexpr as JSON can hold it."""
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    inner = getattr(value, "value", None)
    if inner is not None and inner is not value:
        return _shown(inner)
    name = getattr(value, "name", None)
    return f"tl.{value!r}" if name is not None else repr(value)


def _run(self: Any, *args: Any, **kwargs: Any) -> None:
    """Run a grid; stands for GridExecutor.__call__.

    The audit of the wrapper goes on: a kernel's body and a grid's function are Python too.
    """
    memory, recorder = STATE.memory, STATE.recorder
    if memory is None or recorder is None:
        raise RuntimeError("a kernel was launched outside of a checked call")
    with np.errstate(all="ignore"):
        _launch(self, memory, recorder, args, kwargs)


def _launch(
    self: Any, memory: Memory, recorder: Recorder, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> None:
    import torch
    from triton.runtime import interpreter

    signature, constexprs, annotated = _parameters(self.fn)
    options = {name: kwargs[name] for name in _OPTIONS if name in kwargs}
    given = {name: value for name, value in kwargs.items() if name in signature.parameters}
    bound = signature.bind(*args, **given)
    bound.apply_defaults()
    before, recorder.kernel = recorder.kernel, self.fn.__name__
    line = recorder.line()
    recorder.box.write("launch", line, (0, 0, 0), recorder.kernel, 0)
    regions: dict[int, Region] = {}
    values: dict[str, Any] = {}
    types: dict[str, str] = {}
    for name, value in bound.arguments.items():
        if name in constexprs:
            values[name], types[name] = value, "constexpr"
        elif type(value) is torch.Tensor:
            with reading_allowed():
                values[name], types[name] = _tensor(name, value, regions)
        elif isinstance(value, (bool, int, float)):
            values[name], types[name] = _scalar(value, annotated.get(name))
        elif value is None:
            values[name], types[name] = None, "constexpr"
        else:
            raise TypeError(
                f"argument '{name}' of {recorder.kernel} is a {type(value).__name__}; a kernel "
                "takes tensors and numbers, others as tl.constexpr"
            )
    grid = self.grid(dict(bound.arguments)) if callable(self.grid) else self.grid
    size = tuple(int(extent) for extent in grid) + (1,) * (3 - len(grid))
    if len(size) != 3 or any(
        not 0 <= n <= most for n, most in zip(size, _MOST_PROGRAMS, strict=True)
    ):
        raise ValueError(
            f"grid {tuple(grid)} is no grid: up to three axes, at most {_MOST_PROGRAMS}"
        )
    constants = {name: _shown(bound.arguments[name]) for name, ty in types.items()
                 if ty == "constexpr"}  # fmt: skip
    recorder.launched(LaunchRecord(kernel=recorder.kernel, signature=types, constexprs=constants,
                                   grid=size, options=options))  # fmt: skip
    memory.check_seals(regions.values(), recorder.kernel, line)
    outer, STATE.launch_regions = STATE.launch_regions, list(regions.values())
    builder = interpreter.interpreter_builder
    builder.set_grid_dim(*size)
    step = -1 if STATE.is_backwards else 1
    try:
        for x in range(size[0])[::step]:
            for y in range(size[1])[::step]:
                for z in range(size[2])[::step]:
                    builder.set_grid_idx(x, y, z)
                    self.fn(**values)
    finally:
        memory.seal(regions.values())
        STATE.launch_regions = outer
        recorder.kernel = before
