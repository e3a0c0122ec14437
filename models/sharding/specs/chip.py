"""Rates and links of one accelerator, read from `datasets/sharding/chips/chips.toml`."""

from __future__ import annotations

import math
import tomllib
from functools import lru_cache
from pathlib import Path
from stat import S_ISREG
from typing import Annotated, Literal, Self

from pydantic import Field, ValidationError, model_validator

from models.config import Config
from models.errors import ConfigError, DatasetMissingError, unknown_name
from models.settings import ROOT

SHIPPED = ROOT / "datasets" / "sharding" / "chips" / "chips.toml"
Dtype = Literal["bf16", "fp8", "int8", "fp4"]
MOST_SIDE = 1024
"""Chips along one dimension of a torus."""
_MOST_POD = 2**20
_MOST_FILE_BYTES = 2**20
_MOST_SAID = 3
_MOST_SHOWN = 80
# From a microcontroller to a thousand times today's fastest; outside, a unit was mistaken.
Flops = Annotated[float, Field(ge=1e9, le=1e20, allow_inf_nan=False)]
Bytes = Annotated[float, Field(ge=1e6, le=1e15, allow_inf_nan=False)]
BytesPerS = Annotated[float, Field(ge=1e3, le=1e17, allow_inf_nan=False)]
Side = Annotated[int, Field(ge=1, le=MOST_SIDE)]


class ChipSpec(Config):
    """Peak rates of one chip; a new one is described in TOML, without code."""

    name: str
    """Short name, in small letters."""
    kind: Literal["tpu", "gpu"]
    """Torus of chips (tpu) or switched domains of chips (gpu)."""
    flops: dict[Dtype, Flops]
    """Dense peak in FLOP/s by number format; bf16 must be there."""
    hbm_bytes: Bytes
    """Memory, in bytes."""
    hbm_bytes_per_s: BytesPerS
    """Memory bandwidth."""
    link_bytes_per_s: BytesPerS
    """One direction of one ICI link (tpu) or of a chip's NVLink (gpu), in bytes/s."""
    network_bytes_per_s: BytesPerS
    """One direction of the data-centre network per chip, in bytes/s."""
    torus_dims: int = Field(0, ge=0, le=3)
    """Dimensions of the torus, 2 or 3; 0 for gpu."""
    pod: tuple[Side, ...] = ()
    """Largest torus."""
    wrap_multiple: int = Field(1, ge=1, le=MOST_SIDE)
    """A dimension of the torus closes to a ring where this divides it."""
    domain: int = Field(1, ge=1, le=2**20)
    """Chips that share one NVLink domain."""
    devices_per_chip: int = Field(1, ge=1, le=64)
    """JAX devices per chip where megacore is off."""
    source: str
    """Where the numbers are from."""

    @model_validator(mode="after")
    def _is_consistent(self) -> Self:
        if "bf16" not in self.flops:
            raise ValueError(f"flops needs a rate of bf16, got {self.flops}")
        dims = (2, 3) if self.kind == "tpu" else (0,)
        if self.torus_dims not in dims or len(self.pod) != self.torus_dims:
            raise ValueError(
                "a tpu needs torus_dims (2 or 3) and as many numbers in pod, a gpu 0 and none; got "
                f"{self.kind}, torus_dims {self.torus_dims}, pod {self.pod}"
            )
        if math.prod(self.pod) > _MOST_POD:
            raise ValueError(f"pod {self.pod} has more than {_MOST_POD} chips; give a smaller one")
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
        ConfigError: It is no file, no TOML, or a chip lacks a rate or has an impossible one.
    """
    try:
        found = file.stat()
        # Devices and pipes may never end, a folder cannot be read.
        is_file = S_ISREG(found.st_mode) and found.st_size <= _MOST_FILE_BYTES
        tables = tomllib.loads(file.read_text(encoding="utf-8") if is_file else "")
    except FileNotFoundError:
        raise DatasetMissingError(f"table of chips {file} does not exist; check the path") from None
    except OSError as error:
        raise ConfigError(
            f"table of chips {str(file)[:_MOST_SHOWN]} cannot be read ({error.strerror}); name a "
            "TOML file that can"
        ) from None
    except (ValueError, RecursionError) as error:
        # Not TOML, not UTF-8, a number of thousands of digits, a path with a null character.
        raise ConfigError(
            f"table of chips {str(file)!r} is no TOML file ({error}); mend it"
        ) from None
    if not is_file:
        raise ConfigError(
            f"table of chips {file} is a folder, a device or larger than {_MOST_FILE_BYTES} "
            "bytes; name a TOML file such as chips.toml"
        )
    chips = {}
    for name, values in tables.items():
        try:
            chips[name.lower()] = ChipSpec(name=name.lower(), **values)
        except ValidationError as error:
            raise ConfigError(f"{file}: chip '{name}' cannot be used: {_said(error)}") from None
        except TypeError:
            raise ConfigError(
                f"{file}: chip '{name}' cannot be used: it must be a table of keys without "
                "'name', which is its heading"
            ) from None
    return chips


def _said(error: ValidationError) -> str:
    """Return the first findings in one line: key, what is wrong, what was found."""
    found = error.errors(include_url=False)
    said = [
        f"'{'.'.join(map(str, one['loc'])) or 'chip'}': {one['msg'].removeprefix('Value error, ')}"
        + ("" if isinstance(one["input"], dict) else f", got {str(one['input'])[:_MOST_SHOWN]}")
        for one in found[:_MOST_SAID]
    ]
    return "; ".join([*said, *([f"{len(found) - _MOST_SAID} more"] * (len(found) > _MOST_SAID))])


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
