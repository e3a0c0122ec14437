"""Tolerances: torch.testing's for the type, or OpInfo's for the operator. Needs torch."""

from __future__ import annotations

from typing import Any


def tolerance_of(entry: Any, dtype: Any) -> tuple[float, float]:
    """Return rtol and atol for results of a type.

    torch's own test of devices against the CPU is `TestCommon.test_compare_cpu`; what an entry
    overrides for it holds here too.

    Args:
        entry: OpInfo entry, None for samples from a file.
        dtype: Type of the expected result.
    """
    import torch
    from torch.testing._comparison import default_tolerances
    from torch.testing._internal.common_device_type import toleranceOverride

    rtol, atol = default_tolerances(torch.empty(0, dtype=dtype))
    if entry is None:
        return rtol, atol
    for decorator in entry.get_decorators("TestCommon", "test_compare_cpu", "cuda", dtype, {}):
        if isinstance(decorator, toleranceOverride) and dtype in decorator.d:
            override = decorator.d[dtype]
            rtol, atol = max(rtol, override.rtol), max(atol, override.atol)
    return rtol, atol
