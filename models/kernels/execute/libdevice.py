"""The vendor's math library in numpy and scipy, for kernels of peers and of language models.

Kernels of the package do not need it: they carry their own math in plain `tl`. Triton's
interpreter returns None for these functions (issue 8825 of triton-lang/triton).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np


def functions() -> dict[str, Callable[..., Any]]:
    """Return the supported functions by name; imports scipy.

    Source of names: NVIDIA's libdevice user's guide, without the leading `__nv_`.
    """
    from scipy import special

    same = (
        "abs floor ceil trunc rint sqrt exp exp2 expm1 log log2 log10 log1p sin cos tan asin acos "
        "atan sinh cosh tanh asinh acosh atanh atan2 hypot copysign nextafter fmod cbrt fmin fmax"
    )
    renamed = {"asin": "arcsin", "acos": "arccos", "atan": "arctan", "asinh": "arcsinh",
               "acosh": "arccosh", "atanh": "arctanh", "atan2": "arctan2"}  # fmt: skip
    table: dict[str, Callable[..., Any]] = {
        name: getattr(np, renamed.get(name, name)) for name in same.split()
    }
    table |= {
        "erf": special.erf,
        "erfc": special.erfc,
        "erfcx": special.erfcx,
        "erfinv": special.erfinv,
        "erfcinv": special.erfcinv,
        "lgamma": special.gammaln,
        "tgamma": special.gamma,
        "normcdf": special.ndtr,
        "normcdfinv": special.ndtri,
        "j0": special.j0,
        "j1": special.j1,
        "y0": special.y0,
        "y1": special.y1,
        "cyl_bessel_i0": special.i0,
        "cyl_bessel_i1": special.i1,
        "rsqrt": lambda x: 1 / np.sqrt(x),
        "rcbrt": lambda x: 1 / np.cbrt(x),
        "exp10": lambda x: np.power(x.dtype.type(10), x),
        "sinpi": lambda x: np.sin(np.pi * np.remainder(x, 2)),
        "cospi": lambda x: np.cos(np.pi * np.remainder(x, 2)),
        "pow": np.power,
        "remainder": lambda x, y: x - y * np.rint(x / y),
        "fdim": lambda x, y: np.maximum(x - y, 0),
        "fma": lambda x, y, z: x * y + z,
        "round": lambda x: np.where(x < 0, np.ceil(x - 0.5), np.floor(x + 0.5)),
        "nearbyint": np.rint,
    }
    return table


def install_libdevice() -> list[str]:
    """Make `libdevice` answer inside interpreted kernels; imports Triton. Returns the names."""
    import triton.language as tl
    from triton.language.extra import libdevice
    from triton.runtime import interpreter

    def shim(name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any, _semantic: Any = None) -> Any:
            tensors = [interpreter.interpreter_semantic.to_tensor(arg) for arg in args]
            kind = tensors[0].dtype
            if not (kind.is_fp32() or kind.is_fp64()):
                raise ValueError(f"libdevice.{name} takes fp32 or fp64, got {kind}; cast first")
            with np.errstate(all="ignore"):
                data = np.asarray(function(*(tensor.handle.data for tensor in tensors)))
            data = data.astype(tensors[0].handle.data.dtype)
            shape = list(data.shape) if any(t.type.is_block() for t in tensors) else []
            result = tl.block_type(kind, shape) if shape else kind
            return tl.tensor(interpreter.TensorHandle(data, kind), result)

        call.__name__ = name
        return call

    table = functions()
    for name, function in table.items():
        setattr(libdevice, name, shim(name, function))
    return sorted(table)
