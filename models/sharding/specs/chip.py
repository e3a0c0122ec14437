"""Rates and links of one accelerator, read from `datasets/sharding/chips/chips.toml`."""

from __future__ import annotations

import tomllib
from functools import lru_cache
from pathlib import Path
from typing import Literal, Self

from pydantic import Field, ValidationError, model_validator

from models.config import Config
from models.errors import ConfigError, DatasetMissingError, unknown_name
from models.settings import ROOT

SHIPPED = ROOT / "datasets" / "sharding" / "chips" / "chips.toml"
Dtype = Literal["bf16", "fp8", "int8", "fp4"]


class ChipSpec(Config):
    """Peak rates of one chip; a new one is described in TOML, without code."""

    name: str
    """Short name, in small letters."""
    kind: Literal["tpu", "gpu"]
    """Torus of chips (tpu) or switched domains of chips (gpu)."""
    flops: dict[Dtype, float]
    """Dense peak in FLOP/s by number format; bf16 must be there."""
    hbm_bytes: float = Field(gt=0)
    """Memory, in bytes."""
    hbm_bytes_per_s: float = Field(gt=0)
    """Memory bandwidth."""
    link_bytes_per_s: float = Field(gt=0)
    """One direction of one ICI link (tpu) or of a chip's NVLink (gpu), in bytes/s."""
    network_bytes_per_s: float = Field(gt=0)
    """One direction of the data-centre network per chip, in bytes/s."""
    torus_dims: int = Field(0, ge=0, le=3)
    """Dimensions of the torus; 0 for gpu."""
    pod: tuple[int, ...] = ()
    """Largest torus."""
    wrap_multiple: int = Field(1, ge=1)
    """A dimension of the torus closes to a ring where this divides it."""
    domain: int = Field(1, ge=1)
    """Chips that share one NVLink domain."""
    devices_per_chip: int = Field(1, ge=1)
    """JAX devices per chip where megacore is off."""
    source: str
    """Where the numbers are from."""

    @model_validator(mode="after")
    def _is_consistent(self) -> Self:
        if "bf16" not in self.flops or any(rate <= 0 for rate in self.flops.values()):
            raise ValueError(f"flops needs bf16 and positive rates, got {self.flops}")
        if (self.kind == "tpu") != (self.torus_dims > 0) or len(self.pod) != self.torus_dims:
            raise ValueError("a tpu needs torus_dims (2 or 3) and as many numbers in pod; a gpu 0")
        return self

    def __hash__(self) -> int:
        """Hash by name: layouts onto a chip are remembered per chip."""
        return hash((self.name, self.kind, self.link_bytes_per_s, self.domain))

    def rate(self, dtype: Dtype) -> float:
        """Return the peak in FLOP/s of a number format; of bf16 where the chip has none."""
        return self.flops.get(dtype, self.flops["bf16"])


@lru_cache(maxsize=8)
def load_chips(file: Path = SHIPPED) -> dict[str, ChipSpec]:
    """Read a table of chips.

    Raises:
        DatasetMissingError: The file does not exist.
        ConfigError: It is no TOML, or a chip lacks a rate.
    """
    try:
        tables = tomllib.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise DatasetMissingError(f"table of chips {file} does not exist; check the path") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"table of chips {file} is no TOML ({error}); mend it") from None
    chips = {}
    for name, values in tables.items():
        try:
            chips[name.lower()] = ChipSpec(name=name.lower(), **values)
        except (ValidationError, TypeError) as error:
            said = str(error).replace("\n", " ")
            raise ConfigError(f"{file}: chip '{name}' cannot be used: {said}") from None
    return chips


def find_chip(name: str, file: Path = SHIPPED) -> ChipSpec:
    """Return a chip by name.

    Raises:
        UnknownNameError: There is none; the nearest is named.
    """
    chips = load_chips(file)
    wanted = name.strip().lower().replace("tpu-", "").replace("_", "")
    if wanted not in chips:
        raise unknown_name("chip", name, chips, "describe others in a TOML file like chips.toml")
    return chips[wanted]
