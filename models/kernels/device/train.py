"""Train a model on a device whose operators are generated kernels, beside the CPU."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Protocol

from models.errors import ServiceError
from models.kernels.candidate import KernelCandidate
from models.kernels.device.capture import Capture
from models.kernels.device.report import TrainReport
from models.kernels.device.serving import overloads_of
from models.kernels.device.worker import TrainRequest
from models.kernels.operators.overloads import is_overload
from models.settings import ROOT, get_settings

_SHOWN = 2_000


class DeviceRunError(ServiceError):
    """The process of the device ended without a report."""


class KernelPackage(Protocol):
    """A package of modules: of ATen overloads, or of operators of the catalogue."""

    @property
    def operators(self) -> tuple[str, ...]:
        """Operators that it has a module of."""
        ...

    def candidate(self, op_id: str) -> KernelCandidate:
        """Return the module of an operator."""
        ...


def device_candidates(
    kernels: KernelPackage | Mapping[str, KernelCandidate],
) -> dict[str, KernelCandidate]:
    """Return modules by the functional overload that they serve on a device.

    A module of an overload itself goes before one of the catalogue that may serve it too. Modules
    that call others are passed over: on a device a wrapper runs alone.
    """
    op_ids = list(kernels) if isinstance(kernels, Mapping) else list(kernels.operators)
    found: dict[str, KernelCandidate] = {}
    for op_id in sorted(op_ids, key=is_overload):
        candidate = kernels[op_id] if isinstance(kernels, Mapping) else kernels.candidate(op_id)
        if not candidate.depends_on:
            found |= dict.fromkeys(overloads_of(op_id), candidate)
    return found


def train_model(
    name: str,
    kernels: KernelPackage | Mapping[str, KernelCandidate],
    steps: int = 20,
    seed: int = 0,
    capture: Capture | None = None,
    cache: Path | None = None,
    timeout_s: float = 1_800.0,
) -> TrainReport:
    """Train a model on the device of generated kernels and on the CPU, and compare losses.

    The device lives in a process of its own, for torch keeps it for the life of a process.

    Args:
        name: Model of `workloads`.
        kernels: Modules by operator: of overloads, as `RefineReport.candidates`, or a package.
        steps: Training steps.
        seed: Of weights and batches; another one than the capture's proves more.
        capture: What the model asks for, to report coverage; None: coverage is not reported.
        cache: Folder of built extensions; None: in the project's home.
        timeout_s: Wall time of the run, in seconds.

    Raises:
        UnknownNameError: No such model.
        DeviceRunError: The process died or took too long; its last words are in the message.
    """
    from models.kernels.device.workloads import find_workload

    find_workload(name)
    candidates = device_candidates(kernels)
    request = TrainRequest(
        model=name,
        steps=steps,
        seed=seed,
        candidates=candidates,
        cache=cache or get_settings().home / "kernels" / "device",
    )
    report = _run(request, timeout_s)
    needed = capture.overloads if capture is not None else ()
    return report.model_copy(
        update={
            "needed": needed,
            "covered": tuple(one for one in needed if one in candidates),
            "missing": tuple(
                dict.fromkeys([*(one for one in needed if one not in candidates), *report.missing])
            ),
        }
    )


def _run(request: TrainRequest, timeout_s: float) -> TrainReport:
    environment = {"TRITON_INTERPRET": "1", "OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1",
                   "PATH": os.environ.get("PATH", os.defpath), "PYTHONHASHSEED": "0",
                   "LC_ALL": "C.UTF-8", "PYTHONPATH": str(ROOT)}  # fmt: skip
    with tempfile.TemporaryDirectory(prefix="device-run-") as name:
        asked, answer = Path(name) / "request.json", Path(name) / "answer.json"
        asked.write_text(request.model_dump_json(), encoding="utf-8")
        command = [sys.executable, "-m", "models.kernels.device.worker", str(asked), str(answer)]
        try:
            ended = subprocess.run(
                command, env=environment, cwd=ROOT, capture_output=True, timeout=timeout_s,
                check=False,
            )  # fmt: skip
        except subprocess.TimeoutExpired:
            raise DeviceRunError(
                f"{request.steps} steps of {request.model} on the device took more than "
                f"{timeout_s:.0f} s; ask for fewer steps or allow more time"
            ) from None
        if not answer.is_file():
            said = (ended.stderr or ended.stdout).decode("utf-8", "replace").strip()
            raise DeviceRunError(
                f"the device's process ended with {ended.returncode} and no report; it said: "
                f"{said[-_SHOWN:] or 'nothing'}"
            )
        return TrainReport.model_validate_json(answer.read_text(encoding="utf-8"))
