"""One operator of the catalogue."""

from __future__ import annotations

import hashlib
from typing import Literal

from pydantic import Field

from models.config import Config

PAPER_DTYPES = ("bfloat16", "float16", "float32", "int32", "int64")
"""The five types of the paper (arXiv 2512.10977, section on the operator set)."""
MOST_TESTS = 900
"""The paper leaves operators with this many tests or more out of its set."""

Family = Literal[
    "unary", "binary", "pointwise", "view", "creation", "copy", "reduction", "scan", "sort",
    "index", "matmul", "conv", "norm", "pool", "resample", "loss", "attention", "embedding",
    "linalg", "fft", "random", "sparse", "other",
]  # fmt: skip
"""Kinds of operators that share rules for kernels."""
Split = Literal["train", "holdout"]


class OperatorSpec(Config):
    """What the room knows of an operator; one per name of OpInfo."""

    op_id: str
    """Stable id: OpInfo's name."""
    opinfo_name: str
    """Name in `op_db`."""
    variants: tuple[str, ...]
    """Variants of OpInfo under this name; an empty text is the plain one."""
    overloads: tuple[str, ...]
    """Schemas of ATen under its name; empty where the operator is Python over others."""
    schema_text: str
    """The functional signature that `wrapper` has, in ATen's language."""
    family: Family
    """Kind of operator; see `families.py` for the rule."""
    dtypes: tuple[str, ...]
    """Types of `PAPER_DTYPES` with at least one test."""
    tests_per_dtype: dict[str, int]
    """Tests of the public suite by type."""
    docstring: str = ""
    """Documentation of the operator; filled by `documented`."""
    nested_docs: dict[str, str] = Field(default_factory=dict)
    """Documentation of what it cites, by name; filled by `documented`."""
    tags: tuple[str, ...] = ()
    """out, inplace, error_inputs, reads_data, uninitialised, gauge, unwritable."""
    exclusion: str | None = None
    """Why it is not in the paper-like set; None: it is."""

    @property
    def tests(self) -> int:
        """Tests of the public suite in all types."""
        return sum(self.tests_per_dtype.values())

    def split(self, salt: str, share: float = 0.2) -> Split:
        """Return the part of a group split: a salted hash of the name decides.

        Args:
            salt: Any text; another one gives another split.
            share: Share of operators that are held out, in [0, 1].
        """
        digest = hashlib.sha256(f"{salt}:{self.op_id}".encode()).digest()
        return "holdout" if int.from_bytes(digest[:8], "big") < share * 2**64 else "train"
