"""Device: a torch device whose only operators are generated kernels, and models trained on it.

workloads/     four small models             capture.py     what a training step asks of ATen
writes.py      out= and in place             serving.py     catalogue modules under overloads
refine.py      modules from captured calls   store.py       the module that writes into memory
extension.py   cpp/ built once               runtime.py     modules on the device's memory
register.py    the device                    host.py        what a step computes on the host
train.py       train beside the CPU          worker.py, report.py  its process, what it found

A missing operator raises: there is no fallback.
"""

from models.kernels.device.capture import Capture, CapturedCall, capture_model
from models.kernels.device.extension import DEVICE, NoCompilerError
from models.kernels.device.refine import RefinedOperator, RefineReport, refine_kernels
from models.kernels.device.report import TrainReport
from models.kernels.device.train import DeviceRunError, device_candidates, train_model

__all__ = [
    "DEVICE",
    "Capture",
    "CapturedCall",
    "DeviceRunError",
    "NoCompilerError",
    "RefineReport",
    "RefinedOperator",
    "TrainReport",
    "capture_model",
    "device_candidates",
    "refine_kernels",
    "train_model",
]
