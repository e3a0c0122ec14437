"""Where the native engine computes."""

from __future__ import annotations

from typing import Literal

import torch

from models.errors import ConfigError

CPU = torch.device("cpu")


def device_for(asked: Literal["auto", "cpu", "cuda"]) -> torch.device:
    """Return the device for weights, keys and values.

    Args:
        asked: `LOOM_INFERENCE_DEVICE`; auto: a CUDA device if torch sees one.

    Raises:
        ConfigError: A CUDA device was asked for and torch sees none.
    """
    if asked == "cpu":
        return CPU
    if torch.cuda.is_available():
        return torch.device("cuda", torch.cuda.current_device())
    if asked == "cuda":
        built = f"is built for CUDA {torch.version.cuda}" if torch.version.cuda else "has no CUDA"
        raise ConfigError(
            f"LOOM_INFERENCE_DEVICE=cuda, but torch {torch.__version__}, which {built}, sees no "
            "device; install the driver and torch for CUDA, or set it to auto or cpu"
        )
    return CPU
