"""Operators: the catalogue of ATen operators with their public tests, from torch's OpInfo.

spec.py           one operator              families.py  family, exclusions, tags by rule
catalogue.py      the snapshot, sets, slice opinfo.py    the adapter to torch's test data
documentation.py  nested docstrings         snapshot.py  the command that makes the snapshot
serving.py        the signature that a wrapper has
overloads.py      ATen overloads as operators
"""

from models.kernels.operators.catalogue import (
    find_operator,
    read_catalogue,
    select_operators,
    slice60,
)
from models.kernels.operators.spec import PAPER_DTYPES, Family, OperatorSpec

__all__ = [
    "PAPER_DTYPES",
    "Family",
    "OperatorSpec",
    "find_operator",
    "read_catalogue",
    "select_operators",
    "slice60",
]
