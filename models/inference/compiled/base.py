"""How this folder's functions become machine code, and the array types they share."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeAlias, TypeVar, cast

import numba  # type: ignore[import-untyped]
import numpy as np
from numpy.typing import NDArray

FunctionT = TypeVar("FunctionT", bound=Callable[..., Any])
Longs: TypeAlias = NDArray[np.int64]
Reals: TypeAlias = NDArray[np.float64]
Flags: TypeAlias = NDArray[np.bool_]
Ids: TypeAlias = NDArray[np.unsignedinteger[Any]]


def _digest_of_sources() -> str:
    sources = sorted(Path(__file__).parent.glob("*.py"))
    return hashlib.sha256(b"".join(source.read_bytes() for source in sources)).hexdigest()[:12]


_DIGEST = _digest_of_sources()


def compiled(function: FunctionT) -> FunctionT:
    """Compile to machine code at the first call and keep the result on disk.

    The name carries a digest of all sources: numba's cache looks at the function's own
    file only and would keep machine code of a callee that has changed.
    """
    function.__qualname__ += f"_{_DIGEST}"
    return cast(FunctionT, numba.njit(cache=True, nogil=True)(function))
