"""What steps cost on this machine, measured once per model, processor and thread count."""

from __future__ import annotations

import hashlib
import os
import platform
import shutil
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import orjson

from models.inference.cost import CostModel
from models.settings import get_settings

if TYPE_CHECKING:
    # A process that only plans reads what was measured; importing torch takes 4 CPU s.
    import torch

    from models.inference.model.decoder import Decoder

SIZES = (1, 32, 128, 256, 512)
_FORMAT = 2  # part of the key: raise it when what is measured changes
_SAMPLED_ROWS = 64
_COPIED_TOKENS = 256


@dataclass(frozen=True)
class Calibration:
    """Measured prices.

    Attributes:
        cost: For the planner.
        tokens: Sizes of the measured steps.
        seconds: Seconds of the computing thread for each.
    """

    cost: CostModel
    tokens: tuple[int, ...]
    seconds: tuple[float, ...]


def calibrate(decoder: Decoder, fingerprint: str, cache: Path, n_threads: int = 1) -> Calibration:
    """Measure, or read what was measured here before.

    Args:
        decoder: The model, as it will run.
        fingerprint: Digest of its weights.
        cache: Folder of measurements.
        n_threads: Threads that a step uses.
    """
    dtype = str(decoder.weights.embedding.dtype).removeprefix("torch.")
    found = read_calibration(fingerprint, dtype, cache, n_threads)
    if found is not None:
        return found
    measured = measure(decoder)
    cache.mkdir(parents=True, exist_ok=True)
    file = _file(fingerprint, dtype, cache, n_threads)
    draft = file.with_suffix(f".{os.getpid()}")
    draft.write_bytes(orjson.dumps(asdict(measured)))
    os.replace(draft, file)
    return measured


def read_calibration(
    fingerprint: str, dtype: str, cache: Path, n_threads: int = 1
) -> Calibration | None:
    """Return what was measured here before, without loading the model; see `calibrate`."""
    try:
        found = orjson.loads(_file(fingerprint, dtype, cache, n_threads).read_bytes())
        return Calibration(
            CostModel(**found["cost"]), tuple(found["tokens"]), tuple(found["seconds"])
        )
    except (OSError, orjson.JSONDecodeError, KeyError, TypeError):
        return None


def _file(fingerprint: str, dtype: str, cache: Path, n_threads: int) -> Path:
    # Without a compiler the engine runs in torch, at other prices.
    compiler = bool(os.environ.get("CXX") or shutil.which("g++") or shutil.which("clang++"))
    device = (get_settings().inference_device, os.environ.get("CUDA_VISIBLE_DEVICES"))
    parts = (_FORMAT, fingerprint, dtype, _processor(), n_threads, compiler, device)
    return cache / f"cost-{hashlib.sha256(repr(parts).encode()).hexdigest()[:24]}.json"


def measure(decoder: Decoder) -> Calibration:
    """Time steps of several sizes, the head and a copy: 1-2 s for a model of 135 M weights."""
    import torch

    from models.inference.attention.base import Piece

    sizes = [size for size in SIZES if size <= decoder.config.context]
    attention = decoder.attention

    def step(size: int, wanted: torch.Tensor) -> torch.Tensor:
        # Sequences of 32 tokens: attention is priced by the planner's token counts alone.
        ids = torch.arange(size) % decoder.config.vocabulary
        ends = [min(begin + 32, size) for begin in range(0, size, 32)]
        pieces = [
            Piece(slice(begin, end), None, attention.new_span(end - begin))
            for begin, end in zip(range(0, size, 32), ends, strict=True)
        ]
        return decoder.hidden(ids, pieces, wanted)

    is_waited_for = decoder.weights.device.type != "cpu"

    def timed(run: Callable[[], object]) -> float:
        return _fastest(run, torch.cuda.synchronize if is_waited_for else None)

    one = torch.tensor([0])
    step(sizes[0], one)  # the first call pays for what is made lazily
    seconds = [timed(lambda size=size: step(size, one)) for size in sizes]  # type: ignore[misc]
    hidden = step(_SAMPLED_ROWS, torch.arange(_SAMPLED_ROWS))
    sample_s = timed(lambda: decoder.best(hidden)) / _SAMPLED_ROWS
    source, target = attention.new_span(_COPIED_TOKENS), attention.new_span(_COPIED_TOKENS)
    copy_s = timed(lambda: attention.copy(source, _COPIED_TOKENS, target)) / _COPIED_TOKENS
    cost = CostModel().fitted(sizes, seconds)
    return Calibration(replace(cost, sample_s=sample_s, copy_s=copy_s), (*sizes,), (*seconds,))


def _fastest(run: Callable[[], object], wait: Callable[[], object] | None) -> float:
    """The faster of two runs, as other work only ever adds.

    Seconds of this thread; where a device works (`wait` waits for it), by the clock.
    """
    best, clock = float("inf"), time.thread_time if wait is None else time.perf_counter
    for _ in range(2):
        begun = clock()
        run()
        if wait is not None:
            wait()
        best = min(best, clock() - begun)
    return max(best, 1e-9)


def _processor() -> str:
    """What tells processors apart: the kernel's list of flags, or the machine's name."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        return "\n".join(sorted({x for x in lines if x.startswith(("flags", "model name"))}))
    except OSError:
        return f"{platform.machine()} {platform.processor()}"


def main(model: str, dtype: str, cache: Path, n_threads: int) -> None:
    """Measure a model and keep what was measured, in a process of its own."""
    import torch

    from models.inference.device import device_for
    from models.inference.local_model import find_model
    from models.inference.model.assemble import assemble
    from models.inference.model.weights import DTYPES, load_weights

    torch.set_num_threads(n_threads)
    found = find_model(model, cache)
    assert found.config is not None
    device = device_for(get_settings().inference_device)
    weights = load_weights(found.folder, found.config, DTYPES[dtype], device)
    decoder = assemble(found.config, weights, cache / "native", n_threads)
    calibrate(decoder, found.fingerprint, cache / "costs", n_threads)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], Path(sys.argv[3]), int(sys.argv[4]))
