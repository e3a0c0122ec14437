"""What the warm parent loads before it forks."""

from __future__ import annotations

import warnings
from typing import Any


def warm_up() -> dict[str, str]:
    """Load torch, Triton, OpInfo and scipy, patch the interpreter; returns their versions."""
    warnings.simplefilter("ignore")
    import numpy as np
    import scipy.special
    import torch
    import triton

    from models.kernels.execute.audit import guard_python_reads
    from models.kernels.execute.launch import install
    from models.kernels.operators.opinfo import operator_entries

    torch.set_num_threads(1)
    # Kernels are decorated in children, whose environment is empty.
    triton.knobs.runtime.interpret = True
    install()
    guard_python_reads()
    modules: dict[str, Any] = {"torch": torch, "triton": triton, "numpy": np, "scipy": scipy}
    operator_entries()
    return {name: str(module.__version__) for name, module in modules.items()}
