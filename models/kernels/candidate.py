"""One generated module: the author's text, its hash, and how it becomes a Python module."""

from __future__ import annotations

import hashlib
import importlib.util
import os
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType, ModuleType
from typing import Any, Literal, Self

from pydantic import Field, model_validator

from models.config import Config
from models.errors import ConfigError, DataError, unknown_name

IMPORT_HEADER = """\
import math
import torch
import triton
import triton.language as tl
from triton.language.extra import libdevice
"""
"""What stands before the author's text in the file: a module writes no import of its own."""

HEADER_LINES = IMPORT_HEADER.count("\n")
"""Line of the file minus line of the author's text."""

GENERATED = "generated"
"""Name under which a self-consistent module sees the others: `generated["op_id"](...)`."""

Mode = Literal["strict", "self_consistent"]


class BrokenModuleError(DataError):
    """A generated module cannot be loaded: it does not parse, raises, or has no wrapper."""


def source_sha(source: str) -> str:
    """Return the hash of the author's text, without header: 64 hexadecimal digits."""
    return hashlib.sha256(source.encode("utf-8", "surrogatepass")).hexdigest()


class KernelCandidate(Config):
    """A module that a proposer wrote for an operator; equal text has an equal `sha`."""

    sha: str
    """SHA-256 of `source`."""
    op_id: str
    """Operator of the catalogue."""
    source: str
    """The module as written: kernels and `wrapper`, no imports."""
    mode: Mode = "strict"
    """strict: launches its own kernels only. self_consistent: calls other generated modules."""
    depends_on: tuple[str, ...] = ()
    """Operators whose generated modules it calls; empty in strict mode."""
    proposer: str = "unknown"
    """Who wrote it."""
    parent_sha: str | None = None
    """The candidate that this one repairs."""
    session_id: str | None = None
    """The session that asked for it."""
    call_no: int = Field(0, ge=0)
    """Number of the proposer's call within its session; from 1, 0 outside a session."""
    policy: str = ""
    """Choices of the proposer that the text does not show (rules, schedule, repair)."""

    @model_validator(mode="after")
    def _is_consistent(self) -> Self:
        if self.sha != source_sha(self.source):
            raise ValueError(
                f"sha is {self.sha[:12]}.. but the source hashes to "
                f"{source_sha(self.source)[:12]}..; build candidates with KernelCandidate.of"
            )
        if self.mode == "strict" and self.depends_on:
            raise ValueError(
                f"a strict module depends on nothing, got {', '.join(self.depends_on)}; "
                "set mode to self_consistent"
            )
        if self.op_id in self.depends_on:
            raise ValueError(f"{self.op_id} depends on itself; take it out of depends_on")
        return self

    @classmethod
    def of(cls, op_id: str, source: str, **fields: Any) -> KernelCandidate:
        """Build a candidate and hash its text; `fields` are the remaining ones."""
        return cls(sha=source_sha(source), op_id=op_id, source=source, **fields)


def load_module(
    candidate: KernelCandidate,
    folder: Path,
    generated: Mapping[str, Callable[..., Any]] = MappingProxyType({}),
) -> ModuleType:
    """Write the module behind the import header and import it. This runs its code: lint before.

    Triton reads the source of a kernel from its file, so the file must stay while it is used.

    Args:
        candidate: What to load.
        folder: Where the file goes; made if missing. Equal text has an equal file.
        generated: Wrappers of other modules by operator, for `depends_on`.

    Raises:
        UnknownNameError: An operator of `depends_on` is not in `generated`.
        BrokenModuleError: The text does not parse, its import raises, or it has no `wrapper`.
    """
    for op_id in candidate.depends_on:
        if op_id not in generated:
            raise unknown_name("generated module", op_id, generated, f"{candidate.op_id} calls it")
    name = f"generated_{candidate.sha[:24]}"
    file = folder / f"{name}.py"
    folder.mkdir(parents=True, exist_ok=True)
    text = (IMPORT_HEADER + candidate.source).encode("utf-8", "surrogatepass")
    if not file.is_file() or file.read_bytes() != text:
        partial = folder / f"{name}.{os.getpid()}.partial"
        partial.write_bytes(text)
        partial.replace(file)
    spec = importlib.util.spec_from_file_location(name, file)
    if spec is None or spec.loader is None:
        raise ConfigError(f"{file} is no Python file to import; give a folder that can be read")
    module = importlib.util.module_from_spec(spec)
    if candidate.depends_on:
        allowed = {op_id: generated[op_id] for op_id in candidate.depends_on}
        setattr(module, GENERATED, MappingProxyType(allowed))
    before = sys.dont_write_bytecode
    sys.dont_write_bytecode = True
    try:
        spec.loader.exec_module(module)
    except Exception as error:
        raise BrokenModuleError(
            f"module {candidate.sha[:12]} of {candidate.op_id} does not import: "
            f"{type(error).__name__}: {error}; line numbers count {HEADER_LINES} header lines"
        ) from error
    finally:
        sys.dont_write_bytecode = before
    if not callable(getattr(module, "wrapper", None)):
        raise BrokenModuleError(
            f"module {candidate.sha[:12]} of {candidate.op_id} defines no function 'wrapper'; "
            "every module has one, with the signature of its operator"
        )
    return module
