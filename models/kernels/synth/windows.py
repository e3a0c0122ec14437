"""Windows whose coefficients are arguments, which torch makes tensors of and a trace would keep."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any


def general_cosine(
    M: Any, *, a: Sequence[Any], sym: bool = True, dtype: Any = None, **options: Any
) -> Any:
    """Sum cosines, each with a coefficient of the call.

    Source: torch.signal.windows.general_cosine, whose `linspace` of M points this spells out.
    """
    import torch

    kind = dtype or torch.get_default_dtype()
    if M == 0:
        return torch.empty((0,), dtype=kind, **_kept(options))
    if M == 1:
        return torch.ones((1,), dtype=kind, **_kept(options))
    places = torch.arange(M, dtype=kind, **_kept(options))
    turn = places * (2 * math.pi / (M - 1 if sym else M))
    total = torch.zeros_like(turn)
    for number, coefficient in enumerate(a):
        wave = torch.cos(turn * number) * coefficient
        total = total - wave if number % 2 else total + wave
    return total


def general_hamming(
    M: Any, *, alpha: Any = 0.54, sym: bool = True, dtype: Any = None, **options: Any
) -> Any:
    """Return the window of two coefficients that add up to 1."""
    return general_cosine(M, a=[alpha, 1.0 - alpha], sym=sym, dtype=dtype, **options)


def _kept(options: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in options.items() if name in ("layout", "device")}


def window_functions() -> dict[Any, Callable[..., Any]]:
    """Return them by torch's function."""
    import torch

    return {
        torch.signal.windows.general_cosine: general_cosine,
        torch.signal.windows.general_hamming: general_hamming,
    }
