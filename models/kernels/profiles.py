"""What a device offers to a kernel: data types, functions, alignment, block sizes."""

from __future__ import annotations

from difflib import get_close_matches
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal, Self

import yaml
from pydantic import Field, ValidationError, model_validator

from models.config import Config
from models.errors import ConfigError, DatasetMissingError, unknown_name

PROFILES = Path(__file__).parent / "device_profiles"

DTYPES = (
    "bool",
    *(f"{sign}int{bits}" for sign in ("u", "") for bits in (8, 16, 32, 64)),
    *("float16", "bfloat16", "float32", "float64", "float8_e4m3fn", "float8_e5m2"),
)
"""Types of tensor elements that a profile may name, as torch names them."""


class Features(Config):
    """What the device can do beyond loads, stores and arithmetic."""

    scatter: bool
    """Stores to addresses that were themselves loaded."""
    atomics: tuple[str, ...]
    """Types with an atomic add; empty: no atomics at all."""
    fp64: bool
    """Arithmetic in double precision."""
    dot_dtypes: tuple[str, ...]
    """Types that `tl.dot` takes."""
    libdevice: bool
    """Whether the vendor's math library may be called."""


class BlockPolicy(Config):
    """Block sizes a proposer should choose from."""

    pointwise: int = Field(gt=0)
    """Elements per program of a pointwise kernel."""
    reduction: int = Field(gt=0)
    """Elements of a row held at once by a reduction."""
    dot: int = Field(ge=16)
    """Side of a block of a matrix product."""
    num_warps: int = Field(gt=0)
    """Warps per program."""

    @model_validator(mode="after")
    def _are_powers_of_two(self) -> Self:
        for name, value in self:
            if value & (value - 1):
                raise ValueError(f"{name} is {value}; Triton's blocks are powers of two")
        return self


class DeviceProfile(Config):
    """One device or dialect: the linter's allowlists and the limits of its blocks."""

    name: str
    """As asked for on the command line."""
    kind: Literal["interpreter", "gpu", "dialect"]
    """dialect: a virtual device, judged by the interpreter under narrower rules."""
    target: tuple[str, str | int, int] | None
    """Backend, architecture and warp size as Triton's GPUTarget; None: nothing to compile for."""
    dtypes: tuple[str, ...]
    """Element types that tensors may have."""
    tl_allow: frozenset[str]
    """Functions of triton.language."""
    torch_allow: frozenset[str]
    """Functions of torch: allocation and metadata."""
    features: Features
    """Scatter, atomics, doubles, products, vendor library."""
    align_bytes: int = Field(gt=0)
    """Alignment of every block access."""
    max_numel: int = Field(gt=0, le=1_048_576)
    """Most elements in one block; 1,048,576 is Triton's own limit."""
    block_policy: BlockPolicy
    """Sizes to choose from."""

    @model_validator(mode="after")
    def _names_exist(self) -> Self:
        asked = {*self.dtypes, *self.features.atomics, *self.features.dot_dtypes}
        for name in sorted(asked - set(DTYPES)):
            near = get_close_matches(name, DTYPES, n=1, cutoff=0.4)
            raise ValueError(
                f"no element type '{name}'{f'; did you mean {near[0]}?' if near else ''}"
            )
        for what, names in (("atomics", self.features.atomics), ("dot", self.features.dot_dtypes)):
            if alien := sorted(set(names) - set(self.dtypes)):
                raise ValueError(f"{what} of {', '.join(alien)}, which dtypes does not list")
        if self.features.fp64 != ("float64" in self.dtypes):
            raise ValueError("features.fp64 and float64 among dtypes must go together")
        if self.block_policy.pointwise > self.max_numel:
            raise ValueError(
                f"block_policy.pointwise {self.block_policy.pointwise} is above "
                f"max_numel {self.max_numel}"
            )
        return self


def _merged(base: dict[str, Any], over: dict[str, Any]) -> dict[str, Any]:
    """Return `base` with `over` on top: mappings by key, `tl_drop` and `torch_drop` as removals."""
    merged = dict(base)
    for key, value in over.items():
        if key in ("tl_drop", "torch_drop"):
            allow = key.replace("_drop", "_allow")
            if unknown := sorted(set(value) - set(merged[allow])):
                raise ValueError(f"{key} names {', '.join(unknown)}, which is not allowed anyway")
            merged[allow] = [name for name in merged[allow] if name not in value]
        elif isinstance(value, dict) and isinstance(merged.get(key), dict):
            merged[key] = {**merged[key], **value}
        else:
            merged[key] = value
    return merged


def _raw(name: str, folder: Path, chain: tuple[str, ...] = ()) -> dict[str, Any]:
    if name in chain:
        raise ConfigError(f"profiles extend each other in a circle: {' -> '.join((*chain, name))}")
    if not (folder / f"{name}.yaml").is_file():
        raise unknown_name("device profile", name, profile_names(folder))
    try:
        values = yaml.safe_load((folder / f"{name}.yaml").read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ConfigError(f"{folder / name}.yaml is no YAML: {error}; correct it") from None
    if not isinstance(values, dict):
        raise ConfigError(f"{folder / name}.yaml holds no mapping; write one key per field")
    parent = values.pop("extends", None)
    return _merged(_raw(str(parent), folder, (*chain, name)) if parent else {}, values)


def profile_names(folder: Path = PROFILES) -> tuple[str, ...]:
    """Return the profiles of a folder by name.

    Raises:
        DatasetMissingError: The folder does not exist.
    """
    if not folder.is_dir():
        raise DatasetMissingError(f"no folder of device profiles at {folder}; give one that exists")
    return tuple(sorted(file.stem for file in folder.glob("*.yaml")))


@lru_cache(maxsize=64)
def find_profile(name: str, folder: Path = PROFILES) -> DeviceProfile:
    """Read a profile and what it extends.

    Raises:
        UnknownNameError: No such profile or field; the nearest is named.
        ConfigError: A value cannot be used.
    """
    if name not in profile_names(folder):
        raise unknown_name("device profile", name, profile_names(folder))
    try:
        values = _raw(name, folder)
        return DeviceProfile.model_validate({**values, "name": name})
    except ValidationError as error:
        first = error.errors()[0]
        path = ".".join(str(part) for part in first["loc"])
        if first["type"] == "extra_forbidden":
            models: dict[str, type[Config]] = {"features": Features, "block_policy": BlockPolicy}
            kind = models.get(str(first["loc"][0]), DeviceProfile)
            raise unknown_name(
                f"field of device profile {name}", str(first["loc"][-1]), kind.model_fields
            ) from None
        raise ConfigError(f"device profile {name}: {path}: {first['msg']}; correct it") from None
    except (ValueError, KeyError, TypeError) as error:
        if isinstance(error, ConfigError):
            raise
        raise ConfigError(f"device profile {name}: {error}; correct its file") from None
