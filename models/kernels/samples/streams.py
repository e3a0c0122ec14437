"""Streams of samples: OpInfo's own, other seeds, layouts, shapes, types, forms. Needs torch."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, Literal

from models.kernels.operators.opinfo import PUBLIC_SEED, entries_of, opinfo_samples
from models.kernels.operators.spec import PAPER_DTYPES
from models.kernels.samples.forms import given_outputs, written_inputs
from models.kernels.samples.keys import structure_key
from models.kernels.samples.layouts import LAYOUTS, with_layout
from models.kernels.samples.shapes import resized

Suite = Literal["S", "V1", "V2", "V3", "V4", "V6", "data"]
Form = Literal["functional", "out", "inplace", "error"]
UNSEEN_DTYPES = ("int8", "uint8", "int16", "bool", "float64")
"""Suite V4: types that no other suite and no proposer sees."""
_MOST_PER_KEY = 2
"""Samples of each structure key that layouts, shapes and forms are made from."""


@dataclass(frozen=True)
class RawSample:
    """A sample as torch objects, before it is written down."""

    variant: str
    dtype: str
    form: Form
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    function: Callable[..., Any]
    """What ATen does with it: the reference."""
    note: str = ""
    """Layout or shape that was made; part of the sample's id."""
    error_type: str | None = None
    """Exception that the reference raises by intention."""
    index: int = 0
    """Position among the samples of its variant and type."""
    extra: dict[str, Any] = field(default_factory=dict)


def default_dtypes(suite: Suite) -> tuple[str, ...]:
    """Return the types of a suite."""
    return UNSEEN_DTYPES if suite == "V4" else PAPER_DTYPES


def _plain(entry: Any, dtype_name: str, seed: int) -> Iterator[RawSample]:
    import torch

    dtype = getattr(torch, dtype_name)
    if dtype not in entry.supported_dtypes("cpu"):
        return
    for index, sample in enumerate(opinfo_samples(entry, dtype, seed)):
        yield RawSample(
            entry.variant_test_name, dtype_name, "functional",
            (sample.input, *sample.args), dict(sample.kwargs), entry.op, index=index,
        )  # fmt: skip


def _few_per_key(samples: Iterator[RawSample]) -> Iterator[RawSample]:
    seen: dict[str, int] = {}
    for sample in samples:
        key = structure_key(sample.args, sample.kwargs)
        seen[key] = seen.get(key, 0) + 1
        if seen[key] <= _MOST_PER_KEY:
            yield sample


def _layouts(samples: Iterator[RawSample], seed: int) -> Iterator[RawSample]:
    for sample in _few_per_key(samples):
        for name in LAYOUTS:
            changed = with_layout(name, sample.args, sample.kwargs)
            if changed is not None:
                yield _variant(sample, *changed, note=name)


def _shapes(samples: Iterator[RawSample], entry: Any, seed: int) -> Iterator[RawSample]:
    is_elementwise = type(entry).__name__ in ("UnaryUfuncInfo", "BinaryUfuncInfo")
    for sample in _few_per_key(samples):
        for note, args, kwargs in resized(sample.args, sample.kwargs, seed, is_elementwise):
            yield _variant(sample, args, kwargs, note=note)


def _variant(sample: RawSample, args: Any, kwargs: Any, **changes: Any) -> RawSample:
    values = {**vars(sample), "args": args, "kwargs": kwargs, **changes}
    return RawSample(**values)


def _forms(samples: Iterator[RawSample], entry: Any, dtype_name: str) -> Iterator[RawSample]:
    seen: set[str] = set()
    for sample in _few_per_key(samples):
        key = structure_key(sample.args, sample.kwargs)
        is_first = key not in seen
        seen.add(key)
        if entry.supports_out:
            for note, args, out in given_outputs(entry.op, sample.args, sample.kwargs, is_first):
                kwargs = {**sample.kwargs, "out": out}
                yield _variant(sample, args, kwargs, form="out", note=note)
        if entry.inplace_variant is not None:
            for note, args in written_inputs(sample.args, is_first):
                yield _variant(sample, args, sample.kwargs, form="inplace", note=note,
                               function=entry.inplace_variant)  # fmt: skip
        if len(sample.args) != 2 or sample.kwargs:
            continue
        if entry.operator_variant is not None:
            yield _variant(sample, sample.args, {}, note="dunder", function=entry.operator_variant)
        if entry.inplace_operator_variant is not None:
            yield _variant(sample, sample.args, {}, form="inplace", note="dunder",
                           function=entry.inplace_operator_variant)  # fmt: skip
    if entry.error_inputs_func is None or dtype_name != "float32":
        return
    for index, wrong in enumerate(entry.error_inputs("cpu")):
        sample = wrong.sample_input
        yield RawSample(
            entry.variant_test_name, dtype_name, "error", (sample.input, *sample.args),
            dict(sample.kwargs), entry.op, error_type=wrong.error_type.__name__, index=index,
        )  # fmt: skip


def stream(op_id: str, suite: Suite, dtype: str, seed: int = PUBLIC_SEED) -> Iterator[RawSample]:
    """Yield the samples of one operator, suite and type; equal arguments give equal samples.

    Args:
        op_id: Operator of the catalogue.
        suite: S: torch's own samples at torch's own seed. V1: at `seed`. V2: other layouts. V3:
            other shapes. V4: types of `UNSEEN_DTYPES`. V6: out=, in place, dunder,
            and error inputs.
        dtype: Name of the type, as torch writes it.
        seed: Seed of everything drawn; S ignores it.

    Raises:
        UnknownNameError: No such operator.
    """
    used = PUBLIC_SEED if suite == "S" else seed
    for entry in entries_of(op_id):
        samples = _plain(entry, dtype, used)
        if suite in ("S", "V1", "V4"):
            yield from samples
        elif suite == "V2":
            yield from _layouts(samples, used)
        elif suite == "V3":
            yield from _shapes(samples, entry, used)
        elif suite == "V6":
            yield from _forms(samples, entry, dtype)


def take(samples: Iterator[RawSample], most: int | None) -> Iterator[RawSample]:
    """Cut a stream; None: all of it."""
    return samples if most is None else itertools.islice(samples, most)
