"""Any file that tells of one step -> Profile; its content says what it is, not its name."""

from __future__ import annotations

import gzip
import zlib
from pathlib import Path

from models.errors import ConfigError, DatasetMissingError, DatasetUnreadableError
from models.sharding.job import Job
from models.sharding.layout import Layout
from models.sharding.profile.base import Profile
from models.sharding.profile.compiled import CompiledSource, profile_of_hlo
from models.sharding.profile.maxtext_log import profile_of_maxtext_log
from models.sharding.profile.trace.chrome import read_chrome
from models.sharding.profile.trace.profile import profile_of_trace
from models.sharding.profile.trace.xspace import read_xspace

_HEAD = 4096
_MOST_BYTES = 2 << 30
_KINDS = (
    "HLO text (compiled.as_text()), *.xplane.pb or *.trace.json of jax.profiler.trace, the "
    "standard output of MaxText; each may be gzipped"
)


def read_profile(path: Path, job: Job | None = None, layout: Layout | None = None) -> Profile:
    """Read what a file tells of one step.

    Args:
        path: File, gzipped or not; or a folder of `jax.profiler.trace`, of which the first
            *.xplane.pb is taken.
        job: Model, workload and slice. HLO text needs it: its seconds are over the chip's rates.
        layout: How the job is split, to name axes of collectives. HLO text needs it.

    Raises:
        DatasetMissingError: There is no such file.
        DatasetUnreadableError: It is cut off, garbled or of no known kind.
        NotEnoughDataError: A log without steps.
        ConfigError: HLO text without job or layout.
    """
    path = _file(path)
    data = _bytes(path)
    head = data[:_HEAD]
    is_text = b"\0" not in head
    if is_text and (b"completed step:" in data or b"Config param " in head):
        return profile_of_maxtext_log(data.decode(errors="replace"), job, layout)
    if head.lstrip().startswith((b"HloModule", b"//")) or b"\nENTRY " in data:
        if job is None or layout is None:
            raise ConfigError(
                f"{path.name} is HLO text: give the job and the layout that it was compiled for; "
                "its seconds are over the rates of the job's chip"
            )
        text = data.decode(errors="replace")
        # Only TPUs tile layouts: bf16[8,128]{1,0:T(8,128)(2,1)}.
        source: CompiledSource = "tpu_aot" if ":T(" in text else "cpu_hlo"
        return profile_of_hlo(text, job, layout, source=source)
    if head.lstrip().startswith((b"{", b"[")):
        return profile_of_trace(read_chrome(data, path.name), job, layout, data)
    if head[:1] == b"\n" or path.name.endswith((".pb", ".pb.gz")):
        return profile_of_trace(read_xspace(data, path.name), job, layout, data)
    raise DatasetUnreadableError(
        f"{path.name} starts with {head[:24]!r}, expected one of: {_KINDS}"
    )


def _file(path: Path) -> Path:
    if path.is_dir():
        found = sorted(path.rglob("*.xplane.pb")) or sorted(path.rglob("*.trace.json.gz"))
        if not found:
            raise DatasetMissingError(
                f"folder {path} holds no *.xplane.pb; give a folder that jax.profiler.trace wrote"
            )
        return found[0]
    if not path.is_file():
        raise DatasetMissingError(f"profile {path} does not exist; expected one of: {_KINDS}")
    return path


def _bytes(path: Path) -> bytes:
    data = path.read_bytes()
    if data[:2] != b"\x1f\x8b":
        return data
    try:
        with gzip.open(path) as file:
            data = file.read(_MOST_BYTES + 1)
    except (OSError, EOFError, zlib.error) as error:
        raise DatasetUnreadableError(
            f"{path.name} is no whole gzip file ({error}); copy it again"
        ) from None
    if len(data) > _MOST_BYTES:
        raise DatasetUnreadableError(
            f"{path.name} unpacks to more than {_MOST_BYTES >> 30} GiB; trace fewer steps"
        )
    return data
