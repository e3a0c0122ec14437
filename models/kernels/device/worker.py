"""The process that has the device: torch keeps one for life, so every run takes a new process.

Runs as `python -m models.kernels.device.worker REQUEST ANSWER` with TRITON_INTERPRET=1.
"""

from __future__ import annotations

import math
import re
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any

from models.config import Config
from models.kernels.candidate import KernelCandidate
from models.kernels.device.report import TrainReport
from models.kernels.device.workloads import LOSS_TOLERANCE, Workload, find_workload

_OPERATOR = re.compile(r"Could not run 'aten(?:::|\.)(\w+)(?:\.(\w+))?'")
"""torch's words for an operator that a device lacks, and ours."""


class TrainRequest(Config):
    """What to train, on which modules."""

    model: str
    steps: int
    seed: int
    candidates: dict[str, KernelCandidate]
    cache: Path
    """Folder of built extensions."""


def step_losses(
    workload: Workload, seed: int, steps: int, device: Any, watch: Any = None, dtype: Any = None
) -> Iterator[float]:
    """Train and yield the loss of each step.

    Args:
        workload: The model.
        seed: Of weights and batches.
        steps: How many.
        device: Where the model is.
        watch: A dispatch mode that steps run under.
        dtype: Type of weights and of batches of floats; None: float32.
    """
    model = workload.model(seed).to(device, dtype)
    optimizer = workload.make_optimizer(model.parameters())
    for step in range(steps):
        batch = tuple(
            one.to(device, dtype if one.is_floating_point() else None)
            for one in workload.batch(seed, step)
        )
        with watch or nullcontext():
            optimizer.zero_grad()
            loss = model(*batch)
            loss.backward()
            optimizer.step()
        yield float(loss.item())


def train(request: TrainRequest, folder: Path) -> TrainReport:
    """Train on the CPU, then on the device, and compare.

    Args:
        request: What to train.
        folder: Where module files go.
    """
    import torch

    from models.kernels.device.capture import device_choices
    from models.kernels.device.host import make_host_watch
    from models.kernels.device.register import Device
    from models.kernels.device.runtime import DeviceRuleError
    from models.kernels.execute.memory import SanitizerError

    torch.set_num_threads(1)
    workload = find_workload(request.model)
    began = time.monotonic()
    # Before any backward pass: the first one counts the devices that get a queue.
    device = Device(request.candidates, folder, request.cache)
    build_s = time.monotonic() - began
    cpu, steps = torch.device("cpu"), request.steps
    with device_choices():
        on_cpu = list(step_losses(workload, request.seed, steps, cpu))
        exacter = list(step_losses(workload, request.seed, steps, cpu, dtype=torch.float64))
    watch, losses, stopped = make_host_watch(), [], ""
    began = time.process_time()
    try:
        for loss in step_losses(workload, request.seed, request.steps, device.torch_device, watch):
            losses.append(loss)
    except (NotImplementedError, SanitizerError, DeviceRuleError) as error:
        # torch goes on for a thousand characters about keys.
        stopped = str(error).splitlines()[0].split(". This could be")[0]
    return TrainReport(
        model=request.model,
        seed=request.seed,
        steps=request.steps,
        losses=tuple(losses),
        cpu_losses=tuple(on_cpu),
        largest_difference=largest_difference(losses, on_cpu),
        tolerance=LOSS_TOLERANCE,
        cpu_difference=largest_difference(exacter, on_cpu),
        missing=missing_of(stopped),
        stopped_by=stopped,
        registered=len(device.registered),
        calls=dict(sorted(device.runtime.calls.items())),
        launches=device.runtime.launches,
        host_operators=dict(watch.counts),
        cpu_s=time.process_time() - began,
        build_s=build_s,
    )


def largest_difference(losses: Sequence[float], due: Sequence[float]) -> float | None:
    """Return the largest |loss - due| / max(|due|, 1) of steps that both have; None: no step.

    A loss that is no number differs without bound.
    """
    gaps = [abs(a - b) / max(abs(b), 1.0) for a, b in zip(losses, due, strict=False)]
    return max((gap if gap == gap else math.inf for gap in gaps), default=None)


def missing_of(message: str) -> tuple[str, ...]:
    """Return the functional overload that a refusal names; empty if it names none."""
    from models.kernels.device.writes import functional_name

    found = _OPERATOR.search(message)
    return (functional_name(f"aten.{found[1]}.{found[2] or 'default'}"),) if found else ()


def main(request: Path, answer: Path) -> None:
    """Read the request, train, write the report."""
    asked = TrainRequest.model_validate_json(request.read_text(encoding="utf-8"))
    with tempfile.TemporaryDirectory(prefix="device-") as folder:
        report = train(asked, Path(folder))
    answer.write_text(report.model_dump_json(), encoding="utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
