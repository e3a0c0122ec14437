"""Registers, spills and shared memory of compiled kernels."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path
from tempfile import NamedTemporaryFile
from typing import NamedTuple


class Resources(NamedTuple):
    """What one program needs; None where the artefact does not say."""

    registers: int | None = None
    spilled_bytes: int | None = None
    shared_bytes: int | None = None


def of_cubin(cubin: bytes, tool: Path) -> Resources:
    """Read a cubin's resource usage with NVIDIA's `cuobjdump`, part of Triton's package."""
    with NamedTemporaryFile(suffix=".cubin") as file:
        file.write(cubin)
        file.flush()
        done = subprocess.run(
            [str(tool), "--dump-resource-usage", file.name],
            capture_output=True,
            text=True,
            timeout=20,
            check=False,
        )
    found = re.search(r"Function (?!\.)\S+:\s*\n?\s*(REG:.*)", done.stdout)
    if found is None:
        return Resources()
    numbers = dict(re.findall(r"(\w+):(\d+)", found[1]))
    return Resources(
        int(numbers["REG"]),
        int(numbers.get("STACK", 0)) + int(numbers.get("LOCAL", 0)),
        int(numbers.get("SHARED", 0)),
    )


def of_amdgcn(assembly: str) -> Resources:
    """Read the metadata at the end of AMD assembly."""

    def number(name: str) -> int | None:
        found = re.search(rf"\.{name}:\s*(\d+)", assembly)
        return int(found[1]) if found else None

    return Resources(
        number("vgpr_count"),
        number("private_segment_fixed_size"),
        number("group_segment_fixed_size"),
    )
