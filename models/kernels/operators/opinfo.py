"""The catalogue from torch's own test data; the adapter to its internal modules."""

from __future__ import annotations

import inspect
import re
import warnings
from collections.abc import Iterable
from typing import Any

from models.errors import ConfigError, unknown_name
from models.kernels.operators.families import exclusion_of, family_of, tags_of
from models.kernels.operators.serving import served_schema
from models.kernels.operators.spec import PAPER_DTYPES, OperatorSpec

PUBLIC_SEED = 1234
"""Seed that torch's tests set before each test (torch.testing._internal.common_utils.SEED)."""


def operator_entries() -> dict[str, list[Any]]:
    """Return OpInfo's entries by name; imports torch (about 4 CPU seconds).

    Raises:
        ConfigError: torch's test data cannot be imported.
    """
    warnings.simplefilter("ignore")
    try:
        from torch.testing._internal.common_methods_invocations import op_db
    except ImportError as error:
        raise ConfigError(
            f"torch's operator test data cannot be imported: {error}; install what it names "
            "(expecttest), the version of torch must be 2.13"
        ) from error
    entries: dict[str, list[Any]] = {}
    for entry in op_db:
        entries.setdefault(entry.name, []).append(entry)
    return entries


def entries_of(op_id: str) -> list[Any]:
    """Return the entries of one operator.

    Raises:
        UnknownNameError: There is no such operator.
    """
    entries = operator_entries()
    if op_id not in entries:
        raise unknown_name("operator", op_id, entries, "list them with `loom kernels ops`")
    return entries[op_id]


def seed_everything(seed: int) -> None:
    """Set the generators that OpInfo draws from."""
    import random

    import numpy as np
    import torch

    torch.manual_seed(seed)
    random.seed(seed)
    np.random.seed(seed % 2**32)


def opinfo_samples(entry: Any, dtype: Any, seed: int) -> Iterable[Any]:
    """Yield an entry's samples.

    OpInfo sets its own seed before every sample unless told otherwise: without `set_seed=False`
    another seed would give the same numbers.
    """
    seed_everything(seed)
    is_public = seed == PUBLIC_SEED
    return entry.sample_inputs("cpu", dtype, **({} if is_public else {"set_seed": False}))  # type: ignore[no-any-return]


def count_tests(entries: Iterable[Any], dtypes: Iterable[str] = PAPER_DTYPES) -> dict[str, int]:
    """Count the samples of entries by dtype; types without any are left out."""
    import torch

    counts: dict[str, int] = {}
    for name in dtypes:
        dtype = getattr(torch, name)
        total = 0
        for entry in entries:
            if dtype in entry.supported_dtypes("cpu"):
                total += sum(1 for _ in opinfo_samples(entry, dtype, PUBLIC_SEED))
        if total:
            counts[name] = total
    return counts


def aten_schemas(name: str, aten_name: str) -> tuple[str, ...]:
    """Return the schemas that ATen has under the names an operator may go by."""
    import torch

    names = [aten_name, name.replace(".", "_"), name.rsplit(".", 1)[-1], f"_{name}"]
    for tried in dict.fromkeys(names):
        found = torch._C._jit_get_schemas_for_operator(f"aten::{tried}")
        if found:
            return tuple(sorted(str(schema) for schema in found))
    return ()


def functional_schema(name: str, entry: Any, overloads: tuple[str, ...]) -> str:
    """Return the signature that torch shows: that of the Python function, else ATen's.

    The function that OpInfo calls decides, for its samples are its arguments; `served_schema`
    makes of it what a wrapper has.
    """
    plain = re.sub(r"\W", "_", name)
    try:
        signature = inspect.signature(entry.op)
    except (TypeError, ValueError):
        signature = None
    if signature is not None and any(
        parameter.kind is not parameter.VAR_POSITIONAL
        and parameter.kind is not parameter.VAR_KEYWORD
        for parameter in signature.parameters.values()
    ):
        parts, is_starred = [], False
        for parameter in signature.parameters.values():
            if parameter.name in ("out", "_stacklevel"):
                continue
            if parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD):
                continue
            if parameter.kind is parameter.KEYWORD_ONLY and not is_starred:
                parts.append("*")
                is_starred = True
            default = "" if parameter.default is parameter.empty else f"={parameter.default!r}"
            parts.append(f"Any {parameter.name}{default}")
        return f"{plain}({', '.join(parts)}) -> Any"
    for schema in overloads:
        if "!" not in schema and " out" not in schema:
            return schema.removeprefix("aten::")
    return f"{plain}(Any input) -> Any"


def derive(op_id: str, entries: list[Any]) -> OperatorSpec:
    """Build the spec of one operator from its entries."""
    counts = count_tests(entries)
    total = sum(counts.values())
    first = entries[0]
    kind = type(first).__name__
    overloads = aten_schemas(op_id, first.aten_name)
    facts = {
        "out": bool(first.supports_out),
        "inplace": first.inplace_variant is not None,
        "error_inputs": first.error_inputs_func is not None,
    }
    spec = OperatorSpec(
        op_id=op_id,
        opinfo_name=op_id,
        variants=tuple(entry.variant_test_name for entry in entries),
        overloads=overloads,
        schema_text=functional_schema(op_id, first, overloads),
        family=family_of(op_id, kind),
        dtypes=tuple(counts),
        tests_per_dtype=counts,
        tags=tags_of(op_id, facts),
        exclusion=exclusion_of(op_id, kind, total),
    )
    return spec.model_copy(update={"schema_text": served_schema(spec)})
