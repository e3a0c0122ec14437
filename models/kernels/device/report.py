"""What a training run on the device found."""

from __future__ import annotations

from pydantic import ConfigDict, Field

from models.config import Config


class TrainReport(Config):
    """Losses of the same steps on the device and on the CPU, and what ran them."""

    model_config = ConfigDict(ser_json_inf_nan="strings")

    model: str
    seed: int
    steps: int
    """Steps that were asked for."""
    losses: tuple[float, ...]
    """On the device; fewer than `steps` if an operator was missing."""
    cpu_losses: tuple[float, ...]
    """On the CPU, by ATen, from the same weights and batches."""
    largest_difference: float | None
    """Largest |device - CPU| / max(|CPU|, 1) of a step; None without a step."""
    tolerance: float
    """Largest difference that is allowed."""
    cpu_difference: float | None = None
    """The same between float32 and float64 on the CPU: what rounding alone does to the losses."""
    needed: tuple[str, ...] = ()
    """Functional overloads that the captured step asks for; empty where it was not captured."""
    covered: tuple[str, ...] = ()
    """Those that a module serves."""
    missing: tuple[str, ...] = ()
    """Needed overloads without a module, and the operator that stopped the run."""
    stopped_by: str = ""
    """Why the run ended early; empty: it did not."""
    registered: int = 0
    """Overloads that the modules serve, adapters included."""
    calls: dict[str, int] = Field(default_factory=dict)
    """Calls of modules by overload, over all steps."""
    launches: int = 0
    """Kernels launched, over all steps."""
    host_operators: dict[str, int] = Field(default_factory=dict)
    """What steps computed on the host: torch's optimizers count their steps there, nothing else
    may be in it."""
    cpu_s: float = 0.0
    """Processor time of the steps on the device."""
    build_s: float = 0.0
    """Wall time of making the device: building its extension, loading modules."""

    @property
    def agrees(self) -> bool:
        """Whether all steps ran and every loss is within the tolerance."""
        return (
            len(self.losses) == self.steps
            and self.largest_difference is not None
            and self.largest_difference <= self.tolerance
        )

    @property
    def coverage(self) -> float | None:
        """Return the share of needed overloads that a module serves; None: none were captured."""
        return len(self.covered) / len(self.needed) if self.needed else None
