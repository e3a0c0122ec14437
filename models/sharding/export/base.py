"""What an export is, what a refusal is, and what is read back from a trainer's file."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from models.errors import ConfigError
from models.sharding.export.text import shown
from models.sharding.job import Job
from models.sharding.layout import Layout

MOST_CHARACTERS = 1_000_000
"""Longest text that is read."""
MOST_SIZE = 2**24
"""Largest size that is read."""


@dataclass(frozen=True)
class Exported:
    """A layout in the words of a trainer or server."""

    target: str
    files: Mapping[str, str]
    """Text by file name."""
    command: str | None
    """Command that starts it, in the folder of the files; None: the target has no command that
    we can name for this job."""
    notes: tuple[str, ...] = ()
    """What the target does otherwise than the layout says, or needs beside it."""


@dataclass(frozen=True)
class Refused:
    """Why a target cannot express a layout."""

    target: str
    reasons: tuple[str, ...]
    nearest: Layout | None
    """A legal layout near it that the target can express; None: it expresses none of this job."""


@dataclass(frozen=True)
class Imported:
    """A layout that was read from the file or the flags of a trainer or server."""

    target: str
    layout: Layout
    notes: tuple[str, ...] = ()
    """Where the text says more, or something else, than a layout and the job do."""


class Exporter(Protocol):
    """Turns layouts into the words of one target and back."""

    name: str
    title: str

    def why_not(self, job: Job, layout: Layout) -> list[str]:
        """Return what of a legal layout the target cannot express; empty: it can."""
        ...

    def write(self, job: Job, layout: Layout) -> Exported:
        """Return the files and the command for a layout of which nothing is in the way."""
        ...

    def read(self, text: str, job: Job) -> Imported:
        """Return the layout that a text describes.

        Raises:
            ConfigError: The text is not of this target, or describes no layout.
        """
        ...


def whole(values: Mapping[str, Any], key: str, default: int) -> int:
    """Return a whole number, 1 or more; the default where the key is missing or null.

    Raises:
        ConfigError: The value is no such number.
    """
    found = values.get(key)
    if found is None:
        return default
    number = 0.5
    if isinstance(found, str | int | float) and not isinstance(found, bool):
        text = str(found).strip().lower()
        if text in ("none", "null", ""):
            return default
        try:
            number = float(text.replace("_", ""))
        except ValueError:
            number = 0.5
    if not 1 <= number <= MOST_SIZE or number != int(number):
        raise ConfigError(f"'{key}' must be a whole number from 1 up, got {shown(found)}; write 1")
    return int(number)


def is_on(values: Mapping[str, Any], key: str) -> bool:
    """Return whether a switch is on, however it is written; missing is off."""
    return str(values.get(key, "")).strip().lower() in ("true", "1", "yes", "on")


def differs(job: Job, seq_len: int | None, batch: int | None) -> list[str]:
    """Return notes where a file has another sequence length or batch than the job.

    Args:
        job: What the layout is judged for.
        seq_len: Tokens per sequence in the file, None if it has none.
        batch: Sequences of a step in the file, None if it has none.
    """
    work, said = job.workload, []
    if seq_len is not None and seq_len != work.seq_len:
        said.append(f"the file has sequences of {seq_len} tokens, the job {work.seq_len}")
    if batch is not None and batch != work.global_batch:
        said.append(f"the file has {batch} sequences per step, the job {work.global_batch}")
    return said


def precision_notes(job: Job) -> list[str]:
    """Return notes on bytes per parameter that differ from bf16 with Adam in fp32."""
    work = job.workload
    usual = (work.weight_bytes, work.grad_bytes, work.optimizer_bytes) == (2.0, 4.0, 12.0)
    if usual or work.stage == "lora":
        return []
    return [
        f"memory was judged with {work.weight_bytes:g} + {work.grad_bytes:g} + "
        f"{work.optimizer_bytes:g} bytes per parameter (weight, gradient, optimizer): set the "
        "number formats of the trainer to match"
    ]


def uneven_halves(job: Job, layout: Layout) -> str:
    """Return why a sequence cannot be dealt out evenly; empty: it can.

    Both trainers for GPUs give each context rank one piece of the front and one of the back of a
    sequence, so that causal attention costs all the same.
    """
    if layout.context == 1 or job.workload.seq_len % (2 * layout.context) == 0:
        return ""
    return (
        f"each of context={layout.context} ranks takes a piece from the front and one from the "
        f"back: {2 * layout.context} must divide the sequence of {job.workload.seq_len}"
    )
