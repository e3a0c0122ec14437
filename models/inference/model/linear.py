"""Matrix products with weights packed once for the processor."""

from __future__ import annotations

import torch
from torch.nn.functional import linear, pad

# oneDNN is asked for a layout that suits products of about this many rows.
PACK_ROWS = 64


class Linear:
    """`x @ weight.T + bias`.

    oneDNN turns bfloat16 weights into its own layout at every call unless they come packed:
    1.2 to 1.5 times the time at 8 to 256 rows. The packing is a private operation of torch; where
    it is missing or refuses, the plain product stands in.
    """

    def __init__(
        self, weight: torch.Tensor, bias: torch.Tensor | None = None, tile: int | None = None
    ) -> None:
        """Pack the weights.

        Args:
            weight: Shape (out, in).
            bias: Shape (out,), or None.
            tile: Rows of every product, the last one padded, so that a row's result does not
                depend on how many others there are; None: all rows at once.
        """
        self.weight, self.bias, self._tile = weight, bias, tile
        self._packed = _packed(weight)
        self.is_packed = self._packed is not None

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        """Return the product, shape (rows, out), contiguous; type of the weights."""
        if self._tile is None:
            return self._product(x)
        short = -len(x) % self._tile
        parts = torch.split(pad(x, (0, 0, 0, short)), self._tile) if len(x) else (x,)
        return torch.cat([self._product(part) for part in parts])[: len(x)]

    def _product(self, x: torch.Tensor) -> torch.Tensor:
        if self._packed is None or not len(x):
            return linear(x, self.weight, self.bias)
        product: torch.Tensor = torch.ops.mkldnn._linear_pointwise(
            x, self._packed, self.bias, "none", [], ""
        )
        return product


def _packed(weight: torch.Tensor) -> torch.Tensor | None:
    if weight.dtype is not torch.bfloat16:
        return None
    try:
        with torch.inference_mode():
            packed: torch.Tensor = torch.ops.mkldnn._reorder_linear_weight(weight, PACK_ROWS)
            row = torch.ones(1, weight.shape[1], dtype=weight.dtype)
            torch.ops.mkldnn._linear_pointwise(row, packed, None, "none", [], "")
    except (AttributeError, RuntimeError, NotImplementedError):
        return None
    return packed
