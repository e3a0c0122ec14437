"""Matrix products with weights packed once for the processor."""

from __future__ import annotations

import torch
from torch.nn.functional import linear, pad

# oneDNN is asked for a layout that suits products of about this many rows.
PACK_ROWS = 64


class Linear:
    """`x @ weight.T + bias`.

    oneDNN turns weights into its own layout at every call unless they come packed: 1.2 to 1.5
    times the time at 8 to 256 rows in bfloat16, 1.1 to 1.3 up to 32 rows in float32. The packing
    is a private operation of torch; where it is missing or refuses, the plain product stands in.
    """

    def __init__(
        self,
        weight: torch.Tensor,
        bias: torch.Tensor | None = None,
        tile: int | None = None,
        is_packed: bool = True,
    ) -> None:
        """Pack the weights.

        Args:
            weight: Shape (out, in).
            bias: Shape (out,), or None.
            tile: Rows of every product, the last one padded, so that a row's result does not
                depend on how many others there are; None: all rows at once.
            is_packed: False: keep the layout, and with it the order in which torch adds.
        """
        self._bias, self._tile, self._out = bias, tile, len(weight)
        self._packed = _packed(weight) if is_packed else None
        self.is_packed = self._packed is not None
        self._weight = None if self.is_packed else weight  # both would be twice the memory

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        """Return the product, shape (rows, out), contiguous; type of the weights."""
        if self._tile is None:
            return self._product(x)
        short = -len(x) % self._tile
        parts = torch.split(pad(x, (0, 0, 0, short)), self._tile) if len(x) else (x,)
        return torch.cat([self._product(part) for part in parts])[: len(x)]

    def _product(self, x: torch.Tensor) -> torch.Tensor:
        if self._weight is not None:
            return linear(x, self._weight, self._bias)
        if not len(x):
            return x.new_empty(0, self._out)
        product: torch.Tensor = torch.ops.mkldnn._linear_pointwise(
            x, self._packed, self._bias, "none", [], ""
        )
        return product


def _packed(weight: torch.Tensor) -> torch.Tensor | None:
    try:
        with torch.inference_mode():
            packed: torch.Tensor = torch.ops.mkldnn._reorder_linear_weight(weight, PACK_ROWS)
            row = torch.ones(1, weight.shape[1], dtype=weight.dtype)
            torch.ops.mkldnn._linear_pointwise(row, packed, None, "none", [], "")
    except (AttributeError, RuntimeError, NotImplementedError):
        return None
    return packed
