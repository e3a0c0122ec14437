"""ResNet-18 for images of 32x32: a first layer of 3x3 without pooling, narrow stages.

After He et al. (2016), "Deep Residual Learning for Image Recognition".
"""

from __future__ import annotations

from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from models.kernels.device.workloads.base import Workload

STAGES = (4, 8, 12, 16)
"""Channels of the four stages, two blocks each; 64 to 512 in the paper."""
CLASSES, BATCH = 4, 2


def _convolution(before: int, after: int, size: int, stride: int) -> nn.Conv2d:
    return nn.Conv2d(before, after, size, stride, padding=size // 2, bias=False)


class Block(nn.Module):
    """Two convolutions of 3x3 whose result is added to the input."""

    def __init__(self, before: int, after: int, stride: int) -> None:
        super().__init__()
        self.first = _convolution(before, after, 3, stride)
        self.first_norm = nn.BatchNorm2d(after)
        self.second = _convolution(after, after, 3, 1)
        self.second_norm = nn.BatchNorm2d(after)
        self.shortcut = nn.Sequential()
        if stride != 1 or before != after:
            self.shortcut = nn.Sequential(
                _convolution(before, after, 1, stride), nn.BatchNorm2d(after)
            )

    def forward(self, x: Tensor) -> Tensor:
        """Return features of shape (batch, after, height / stride, width / stride)."""
        inner = functional.relu(self.first_norm(self.first(x)))
        return functional.relu(self.second_norm(self.second(inner)) + self.shortcut(x))


class ResNet18(nn.Module):
    """Names the class of an image."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(_convolution(3, STAGES[0], 3, 1), nn.BatchNorm2d(STAGES[0]))
        blocks: list[nn.Module] = []
        for place, (before, after) in enumerate(
            zip((STAGES[0], *STAGES[:-1]), STAGES, strict=True)
        ):
            blocks += [Block(before, after, 1 if place == 0 else 2), Block(after, after, 1)]
        self.blocks = nn.Sequential(*blocks)
        self.head = nn.Linear(STAGES[-1], CLASSES)

    def forward(self, images: Tensor, classes: Tensor) -> Tensor:
        """Return the mean cross-entropy; images have shape (batch, 3, 32, 32)."""
        features = self.blocks(functional.relu(self.stem(images)))
        logits = self.head(cast(Tensor, features).mean(dim=(2, 3)))
        return functional.cross_entropy(logits, classes)


def _batch(generator: torch.Generator) -> tuple[Tensor, ...]:
    """Draw noise with a bright quarter, whose place is the class."""
    classes = torch.randint(CLASSES, (BATCH,), generator=generator)
    images = torch.randn(BATCH, 3, 32, 32, generator=generator)
    for place, label in enumerate(classes.tolist()):
        top, left = 16 * (label // 2), 16 * (label % 2)
        images[place, :, top : top + 16, left : left + 16] += 1.0
    return images, classes


WORKLOAD = Workload(
    name="resnet18",
    make_model=ResNet18,
    make_batch=_batch,
    # At twice this rate float32 and float64 on the CPU part by 5e-4 within 20 steps: chaos.
    make_optimizer=lambda parameters: torch.optim.SGD(
        parameters, lr=0.01, momentum=0.9, weight_decay=5e-4, nesterov=True, foreach=False
    ),
)
