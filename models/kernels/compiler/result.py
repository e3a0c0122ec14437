"""What the compilers say of one kernel under one signature."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from models.config import Config

Stage = Literal["load", "ttir", "ttgir", "llir", "assembly", "binary"]
ErrorClass = Literal[
    "type",
    "shape",
    "name",
    "constexpr",
    "unsupported",
    "resource",
    "syntax",
    "dialect",
    "timeout",
    "crash",
    "other",
]


class CompileResult(Config):
    """Outcome for one kernel, signature and profile."""

    sha: str
    """Hash of the author's text."""
    kernel: str
    """Name of the kernel."""
    profile: str
    """Device profile it was compiled for."""
    signature: dict[str, str]
    """Triton type by parameter."""
    ok: bool
    """All stages of the profile's compiler ended well."""
    stage_reached: Stage
    """Last stage that ended well; `load`: none."""
    elapsed_s: float
    """Wall seconds in the worker."""
    sizes: dict[str, int] = Field(default_factory=dict)
    """Bytes by artefact: ttir, ptx, cubin, amdgcn, hsaco."""
    code_sha: str | None = None
    """Hash of the assembly without comments and debug information: equal hashes, equal code."""
    registers: int | None = None
    """Registers per thread (vector registers on AMD)."""
    spilled_bytes: int | None = None
    """Local memory per thread that registers did not hold."""
    shared_bytes: int | None = None
    """Shared memory per program."""
    error_class: ErrorClass | None = None
    error_line: int | None = None
    """Line of the author's text."""
    error_excerpt: str = ""
    """The message, trimmed: the statement and what is wrong with it."""
