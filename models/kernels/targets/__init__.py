"""Targets: what compiles where, and what the synthesizer serves when only the device changes.

matrix.py   kernels of passing modules by target    effort.py   the longest compile first
store.py    results on disk                         summary.py  the matrix in numbers
dialects.py  the synthesizer on virtual devices, told nothing but their profile
"""

from models.kernels.targets.dialects import (
    DialectReport,
    DialectRow,
    dialect_report,
    dialect_session,
)
from models.kernels.targets.effort import expected_effort
from models.kernels.targets.matrix import (
    GPU_TARGETS,
    CompileStore,
    MatrixRow,
    chosen_signatures,
    compile_matrix,
)
from models.kernels.targets.store import CompileFolder
from models.kernels.targets.summary import MatrixSummary, summarise_matrix

__all__ = [
    "GPU_TARGETS",
    "CompileFolder",
    "CompileStore",
    "DialectReport",
    "DialectRow",
    "MatrixRow",
    "MatrixSummary",
    "chosen_signatures",
    "compile_matrix",
    "dialect_report",
    "dialect_session",
    "expected_effort",
    "summarise_matrix",
]
