"""Small models in plain torch, whose training steps a device of generated kernels must run.

base.py      what a workload is      gpt.py, llama.py   language models of two layers
dlrm.py      a recommender           resnet18.py        images of 32x32
"""

from models.kernels.device.workloads.base import (
    LOSS_TOLERANCE,
    WORKLOADS,
    Workload,
    find_workload,
)

__all__ = ["LOSS_TOLERANCE", "WORKLOADS", "Workload", "find_workload"]
