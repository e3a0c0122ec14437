"""Every target by name: export a layout, or read one from a file or flags."""

from __future__ import annotations

import re
from dataclasses import fields
from pathlib import Path

import numpy as np

from models.errors import ConfigError, DatasetMissingError, unknown_name
from models.sharding.export.base import (
    MOST_CHARACTERS,
    Exported,
    Exporter,
    Imported,
    Refused,
)
from models.sharding.export.jax_target import Jax
from models.sharding.export.maxtext import MaxText
from models.sharding.export.megatron_bridge import MegatronBridge
from models.sharding.export.torchtitan import TorchTitan
from models.sharding.export.vllm import Vllm
from models.sharding.job import Job
from models.sharding.layout import REMATS, Layout, why_illegal
from models.sharding.space import enumerate_layouts

EXPORTERS: dict[str, Exporter] = {
    one.name: one for one in (Jax(), MaxText(), MegatronBridge(), TorchTitan(), Vllm())
}
_SIGNS = (
    ("jax", r"^import jax$"),
    ("torchtitan", r"^\s*\[parallelism\]|--parallelism\.|data_parallel_shard_degree"),
    ("maxtext", r"(ici|dcn)_\w+_parallelism|per_device_batch_size|max_target_length|remat_policy"),
    ("megatron", r"(tensor|pipeline|expert)[-_]model[-_]parallel[-_]size|context[-_]parallel"),
    ("vllm", r"vllm serve|tensor[-_]parallel[-_]size|max[-_]num[-_]seqs|max[-_]model[-_]len"),
)
_MOST_TRIED = 4_000
_WEIGHTS = {"micro_batch": 0.5, "interleave": 0.5, "zero": 0.5}
"""How much a difference counts; 1 where nothing is said."""


def exporter(target: str) -> Exporter:
    """Return a target by name.

    Raises:
        UnknownNameError: There is none; the nearest is named.
    """
    if target not in EXPORTERS:
        raise unknown_name("export target", target, EXPORTERS)
    return EXPORTERS[target]


def export(target: str, job: Job, layout: Layout) -> Exported | Refused:
    """Return a layout in the words of a target, or why it cannot be said there.

    Args:
        target: Name in `EXPORTERS`.
        job: Model, workload and chips.
        layout: Layout of the job.

    Raises:
        UnknownNameError: No such target.
        ConfigError: A size of the layout is below 1.
    """
    one = exporter(target)
    reasons = why_illegal(layout, job) or one.why_not(job, layout)
    if reasons:
        return Refused(target, tuple(reasons), nearest_expressible(target, job, layout))
    return one.write(job, layout)


def nearest_expressible(target: str, job: Job, layout: Layout) -> Layout | None:
    """Return the legal layout nearest to one that a target can express.

    Nearest by the sum of the logarithms of the ratios of sizes; of 4,000 layouts next to it at the
    most. None: none of them can be expressed.
    """
    table = enumerate_layouts(job)
    distance = np.zeros(table.size)
    for name in (field.name for field in fields(Layout)):
        column = getattr(table, name)
        if name == "remat":
            distance += column != REMATS.index(layout.remat)
        elif name == "zero":
            distance += _WEIGHTS[name] * (column != layout.zero)
        else:
            ratio = np.log2(column) - np.log2(max(getattr(layout, name), 1))
            distance += _WEIGHTS.get(name, 1.0) * np.abs(ratio)
    one = exporter(target)
    for row in np.argsort(distance, kind="stable")[:_MOST_TRIED]:
        found = table.row(int(row))
        if not one.why_not(job, found):
            return found
    return None


def read_layout(source: str | Path, job: Job, target: str | None = None) -> Imported:
    """Return the layout of a trainer's or server's file or flags; nothing of it is run.

    Whether it is legal is not asked here: see `why_illegal`.

    Args:
        source: A file (`Path`), or the text itself.
        job: What the layout is for; sizes that the text leaves open are filled from it.
        target: Name in `EXPORTERS`; None: told by the text.

    Raises:
        DatasetMissingError: There is no such file.
        UnknownNameError: No such target, or a key that looks misspelt.
        ConfigError: The text is too long or no text, or describes no layout.
    """
    text = _text_of(source) if isinstance(source, Path) else source
    if len(text) > MOST_CHARACTERS:
        raise ConfigError(
            f"a file of {len(text)} characters was given for a layout, at most {MOST_CHARACTERS} "
            "are read; give the trainer's configuration alone"
        )
    return exporter(target or recognise(text)).read(text, job)


def recognise(text: str) -> str:
    """Return the target that a text is written for.

    Raises:
        ConfigError: It is written for none that we know.
    """
    for target, sign in _SIGNS:
        if re.search(sign, text, re.MULTILINE):
            return target
    raise ConfigError(
        f"the text is of none of these: {', '.join(EXPORTERS)}; say which, or give the keys that "
        "split the model"
    )


def _text_of(path: Path) -> str:
    try:
        with path.open(encoding="utf-8") as file:
            return file.read(MOST_CHARACTERS + 1)
    except FileNotFoundError:
        raise DatasetMissingError(f"layout file {path} does not exist; check the path") from None
    except (OSError, ValueError) as error:
        # A name with a NUL is a ValueError, as are bytes that are no text.
        raise ConfigError(
            f"layout file {str(path)!r} cannot be read ({error}); give a text"
        ) from None
