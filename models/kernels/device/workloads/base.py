"""What a model must say to be trained on a device: its parts, its data, its optimizer."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from importlib import import_module

import torch
from torch import Tensor, nn

from models.errors import unknown_name

WORKLOADS = ("gpt", "llama", "dlrm", "resnet18")
"""Names of the models, each a module of this folder."""
DISTINCT_BATCHES = 2
LOSS_TOLERANCE = 1e-4
"""Largest relative difference from the CPU that a loss of 20 steps may have: sums in another order,
which training amplifies. The CPU's own float32 and float64 part by at most 8e-7 on these models."""


@dataclass(frozen=True)
class Workload:
    """One model and how it is trained; equal seeds give equal weights and batches."""

    name: str
    make_model: Callable[[], nn.Module]
    """Its forward takes a batch and returns the loss, of no dimensions."""
    make_batch: Callable[[torch.Generator], tuple[Tensor, ...]]
    """Draws one batch on the CPU."""
    make_optimizer: Callable[[Iterable[nn.Parameter]], torch.optim.Optimizer]

    def model(self, seed: int) -> nn.Module:
        """Return the model with the weights of a seed, on the CPU."""
        torch.manual_seed(seed)
        return self.make_model()

    def batch(self, seed: int, step: int) -> tuple[Tensor, ...]:
        """Return the batch of a step; few come again and again, so losses fall in 20 steps."""
        number = seed * 1_000_003 + step % DISTINCT_BATCHES
        return self.make_batch(torch.Generator().manual_seed(number))


def find_workload(name: str) -> Workload:
    """Return a model by name.

    Raises:
        UnknownNameError: There is none of this name.
    """
    if name not in WORKLOADS:
        raise unknown_name("model", name, WORKLOADS, "add it to models/kernels/device/workloads")
    found = import_module(f"models.kernels.device.workloads.{name}").WORKLOAD
    assert isinstance(found, Workload)
    return found
