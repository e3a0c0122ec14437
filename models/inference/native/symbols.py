"""The C functions of the library and their types, for ctypes."""

from __future__ import annotations

import ctypes
from enum import IntEnum

import torch

_P, _N, _I, _F = ctypes.c_void_p, ctypes.c_int64, ctypes.c_int, ctypes.c_float


class Level(IntEnum):
    """Instructions that the library may use; the numbers are those of `levels.h`."""

    PORTABLE = 0
    AVX2 = 1
    AVX512_BF16 = 2
    AMX_BF16 = 3

    @property
    def activations(self) -> torch.dtype:
        """Type that products read and write: without products of bfloat16 it is float32."""
        return torch.bfloat16 if self >= Level.AVX512_BF16 else torch.float32


class Shape(ctypes.Structure):
    """Heads of the attention, as in `attention.h`."""

    _fields_ = [(name, _N) for name in ("n_heads", "n_kv_heads", "head_dim")]


_ARGUMENTS = {
    "loom_level": (),
    "loom_file_rows": (_I, *[_P] * 7, _F, _P, _N, Shape, _N, _I),
    "loom_attend": (_I, _P, _P, _P, _N, _P, _N, _P, _N, _P, Shape, _N, _I),
    "loom_norm": (_I, _P, _P, _P, _P, _N, _N, _F, _I),
    "loom_gate": (_I, _P, _P, _N, _N, _I),
    "loom_embed": (_I, _P, _P, _P, _N, _N, _I),
    "loom_largest": (_I, _P, _N, _N, _P, _P, _I),
}


def declare(library: ctypes.CDLL) -> ctypes.CDLL:
    """Tell ctypes the types; plain numbers and addresses then go in."""
    for name, arguments in _ARGUMENTS.items():
        function = getattr(library, name)
        function.argtypes, function.restype = arguments, ctypes.c_int
    return library


def address(tensor: torch.Tensor | None) -> int | None:
    """Where a tensor's values begin; None stays a null pointer."""
    return None if tensor is None else tensor.data_ptr()
