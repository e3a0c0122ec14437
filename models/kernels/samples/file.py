"""Sample files: one JSON object per line, which `--data` reads and any tool can write."""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import Field, ValidationError, model_validator

from models.config import Config
from models.errors import DatasetMissingError, DatasetUnreadableError, is_storage_full

MOST_STORAGE_BYTES = 256 * 1024**2
_WIDTHS = {
    "bool": 1, "uint8": 1, "int8": 1, "int16": 2, "uint16": 2, "int32": 4, "uint32": 4,
    "int64": 8, "uint64": 8, "float16": 2, "bfloat16": 2, "float32": 4, "float64": 8,
    "complex64": 8, "complex128": 16, "float8_e4m3fn": 1, "float8_e5m2": 1,
}  # fmt: skip
Size = Annotated[int, Field(ge=0, le=2**40)]


class Fill(Config):
    """How a storage is filled: the same numbers on every machine."""

    kind: Literal["constant", "arange", "normal", "uniform", "integers"]
    """constant: `low`. arange: low, low + 1, .. normal: mean `low`, deviation `high`.
    uniform: in [low, high). integers: in [low, high)."""
    low: float = 0.0
    high: float = 1.0
    seed: int = Field(0, ge=0)


class TensorRecord(Config):
    """A tensor: where its elements lie in a storage, and what the storage holds."""

    dtype: str
    """As torch names it, without `torch.`."""
    shape: tuple[Size, ...]
    strides: tuple[int, ...] | None = None
    """In elements; None: contiguous."""
    offset: int = Field(0, ge=0)
    """Elements before the first one."""
    fill: Fill | None = None
    stored: str | None = None
    """The bytes of the whole storage in base64, little-endian."""

    @property
    def elements(self) -> int:
        """Elements that the storage must have."""
        if 0 in self.shape:
            return self.offset
        steps = self.strides if self.strides is not None else contiguous_strides(self.shape)
        return (
            self.offset
            + 1
            + sum((size - 1) * step for size, step in zip(self.shape, steps, strict=True))
        )

    @property
    def width(self) -> int:
        """Bytes per element."""
        return _WIDTHS[self.dtype]

    @model_validator(mode="after")
    def _is_whole(self) -> Self:
        if self.dtype not in _WIDTHS:
            raise ValueError(f"no dtype '{self.dtype}'; known: {', '.join(_WIDTHS)}")
        if self.strides is not None and len(self.strides) != len(self.shape):
            raise ValueError(f"{len(self.strides)} strides for {len(self.shape)} dimensions")
        if any(step < 0 for step in self.strides or ()):
            raise ValueError(f"strides {self.strides}: torch has no negative strides")
        if (self.fill is None) == (self.stored is None):
            raise ValueError("a tensor has either `fill` or `stored`")
        if self.elements * self.width > MOST_STORAGE_BYTES:
            raise ValueError(f"a storage of {self.elements * self.width:,} bytes; at most "
                             f"{MOST_STORAGE_BYTES:,}")  # fmt: skip
        if self.stored is not None:
            try:
                size = len(base64.b64decode(self.stored, validate=True))
            except (binascii.Error, ValueError):
                raise ValueError("`stored` is no base64") from None
            if size < self.elements * self.width:
                raise ValueError(f"`stored` has {size} bytes, shape and strides need "
                                 f"{self.elements * self.width}")  # fmt: skip
        return self


def contiguous_strides(shape: tuple[int, ...]) -> tuple[int, ...]:
    """Return the strides of a tensor without gaps, in elements."""
    strides, step = [], 1
    for size in reversed(shape):
        strides.append(step)
        step *= max(size, 1)
    return tuple(reversed(strides))


_ONE_KEY = {"tuple", "dict", "slice", "int", "float", "complex", "ellipsis", "dtype",
            "memory_format", "layout", "device"}  # fmt: skip


def _check_value(value: Any, depth: int = 0) -> None:
    if depth > 8:
        raise ValueError("values are nested more than 8 deep")
    if value is None or isinstance(value, (bool, int, float, str)):
        return
    if isinstance(value, list):
        for item in value:
            _check_value(item, depth + 1)
        return
    if not isinstance(value, dict) or len(value) != 1:
        raise ValueError(f"a value is a number, text, list or an object of one key: {value!r:.80}")
    ((kind, inner),) = value.items()
    if kind == "tensor":
        TensorRecord.model_validate(inner)
    elif kind not in _ONE_KEY:
        raise ValueError(f"no kind of value '{kind}'; known: tensor, {', '.join(sorted(_ONE_KEY))}")
    elif kind in ("tuple", "dict"):
        items = inner.values() if isinstance(inner, dict) else inner
        for item in items:
            _check_value(item, depth + 1)


class SampleRecord(Config):
    """One line of a sample file."""

    op: str
    """Operator of the catalogue."""
    variant: str = ""
    """Variant of OpInfo."""
    dtype: str
    """Type that the sample is counted under."""
    form: Literal["functional", "out", "inplace", "error"] = "functional"
    """How the operator is called."""
    args: tuple[Any, ...]
    """Values: JSON's own, or objects of one key: {"tensor": {..}}, {"tuple": [..]},
    {"dtype": "float32"}, {"float": "nan"}, {"memory_format": "channels_last"} .."""
    kwargs: dict[str, Any] = Field(default_factory=dict)
    """Values by name."""
    error_type: str | None = None
    """Exception that must be raised; with form `error` only."""

    @model_validator(mode="after")
    def _values_are_known(self) -> Self:
        for value in (*self.args, *self.kwargs.values()):
            _check_value(value)
        if (self.error_type is not None) != (self.form == "error"):
            raise ValueError("`error_type` goes with form 'error', and only with it")
        return self


def read_samples(path: Path) -> tuple[SampleRecord, ...]:
    """Read a sample file; empty lines are passed over.

    Raises:
        DatasetMissingError: There is no such file.
        DatasetUnreadableError: A line is no sample; its number and what is wrong are named.
    """
    if not path.is_file():
        raise DatasetMissingError(f"no sample file at {path}; give a JSONL file of samples")
    records = []
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except UnicodeDecodeError as error:
        raise DatasetUnreadableError(f"{path} is no text: {error}; give a JSONL file") from None
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            records.append(SampleRecord.model_validate_json(line))
        except ValidationError as error:
            first = error.errors()[0]
            place = ".".join(str(part) for part in first["loc"]) or "line"
            raise DatasetUnreadableError(
                f"{path}, line {number} is no sample: {place}: {first['msg']}; correct or remove it"
            ) from None
    if not records:
        raise DatasetUnreadableError(f"{path} holds no sample; give a file with at least one line")
    return tuple(records)


def write_samples(path: Path, records: Iterable[SampleRecord]) -> int:
    """Write a sample file and return the number of samples.

    Raises:
        StorageFullError: The disk is full.
    """
    from models.errors import StorageFullError

    count = 0
    try:
        with path.open("w", encoding="utf-8") as file:
            for record in records:
                file.write(json.dumps(record.model_dump(mode="json", exclude_none=True)) + "\n")
                count += 1
    except OSError as error:
        if is_storage_full(error):
            raise StorageFullError(f"{path} could not be written: {error}; free space") from error
        raise
    return count
