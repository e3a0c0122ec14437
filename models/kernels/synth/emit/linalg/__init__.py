"""Linear algebra on batches of matrices, over the device functions of devlib/linalg and jacobi.

matrices.py  blocks of matrices      factors.py  LU, Cholesky, determinants, solutions
orthogonal.py  QR, singular values, symmetric eigenvalues
indefinite.py  LDL, eigenvalues of general matrices
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from models.kernels.synth.emit.linalg import factors, indefinite, orthogonal

RULES: dict[str, Callable[..., Any]] = {
    **factors.RULES,
    **orthogonal.RULES,
    **indefinite.RULES,
}
