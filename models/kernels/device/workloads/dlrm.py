"""A recommender: embedding bags and dense features, their products by pairs, a top network.

After Naumov et al. (2019), "Deep Learning Recommendation Model for Personalization and
Recommendation Systems".
"""

from __future__ import annotations

from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from models.kernels.device.workloads.base import Workload

TABLES, ROWS, WIDTH, DENSE, BATCH, PER_BAG = 3, 24, 8, 13, 8, 3


class DLRM(nn.Module):
    """Predicts whether an item is clicked."""

    def __init__(self) -> None:
        super().__init__()
        self.bottom = nn.Sequential(
            nn.Linear(DENSE, 32), nn.ReLU(), nn.Linear(32, WIDTH), nn.ReLU()
        )
        self.tables = nn.ModuleList(nn.EmbeddingBag(ROWS, WIDTH, mode="sum") for _ in range(TABLES))
        self.left: Tensor
        self.right: Tensor
        pairs = torch.tril_indices(TABLES + 1, TABLES + 1, offset=-1)
        self.register_buffer("left", pairs[0])
        self.register_buffer("right", pairs[1])
        self.top = nn.Sequential(nn.Linear(WIDTH + pairs.shape[1], 32), nn.ReLU(), nn.Linear(32, 1))

    def forward(self, dense: Tensor, indices: Tensor, offsets: Tensor, clicked: Tensor) -> Tensor:
        """Return the mean logistic loss.

        Args:
            dense: Shape (batch, DENSE).
            indices: Rows of each table, shape (TABLES, batch * PER_BAG).
            offsets: First index of each bag, shape (batch,).
            clicked: 0 or 1, shape (batch,), float32.
        """
        below = self.bottom(dense)
        bags = [table(indices[place], offsets) for place, table in enumerate(self.tables)]
        features = torch.stack([below, *bags], dim=1)
        products = torch.bmm(features, features.transpose(1, 2))
        pairs = products[:, self.left, self.right]
        logits = cast(Tensor, self.top(torch.cat((below, pairs), dim=1)))
        return functional.binary_cross_entropy_with_logits(logits.squeeze(1), clicked)


def _batch(generator: torch.Generator) -> tuple[Tensor, ...]:
    dense = torch.randn(BATCH, DENSE, generator=generator)
    indices = torch.randint(ROWS, (TABLES, BATCH * PER_BAG), generator=generator)
    offsets = torch.arange(BATCH) * PER_BAG
    clicked = (dense[:, 0] + dense[:, 1] > 0).float()
    return dense, indices, offsets, clicked


WORKLOAD = Workload(
    name="dlrm",
    make_model=DLRM,
    make_batch=_batch,
    make_optimizer=lambda parameters: torch.optim.SGD(parameters, lr=0.1, foreach=False),
)
