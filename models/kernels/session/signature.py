"""The signature that an operator's wrapper is judged by."""

from __future__ import annotations

from functools import lru_cache

from models.kernels.lint.signature import Signature
from models.kernels.operators import OperatorSpec


def operator_signature(spec: OperatorSpec) -> Signature:
    """Return the signature that binds every public sample of an operator.

    It comes from the catalogue (see `models.kernels.operators.serving`) and from nothing that a
    proposer says: a module cannot choose what it is judged by.
    """
    return _parsed(spec.schema_text)


@lru_cache(maxsize=1024)
def _parsed(schema: str) -> Signature:
    return Signature.parse(schema)
