"""Functions of JAX that have no types, with types."""

from __future__ import annotations

from typing import Any, cast

import jax
from jax import Array
from jax.ad_checkpoint import checkpoint_name
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from models.sharding.export.jax_mesh import Spec


def constrain(x: Array, sharding: NamedSharding | None) -> Array:
    """Lay an array within a program; None leaves it to the compiler."""
    if sharding is None:
        return x
    return cast(Array, jax.lax.with_sharding_constraint(x, sharding))  # type: ignore[no-untyped-call]


def named(x: Array, name: str) -> Array:
    """Name a value for policies of recomputation."""
    return cast(Array, checkpoint_name(x, name))  # type: ignore[no-untyped-call]


def on_mesh(mesh: Mesh, spec: Spec) -> NamedSharding:
    """Return the sharding of a spec."""
    entries = (entry or None for entry in spec)
    return NamedSharding(mesh, PartitionSpec(*entries))  # type: ignore[no-untyped-call]


def shape_of(shape: tuple[int, ...], dtype: Any, sharding: NamedSharding | None = None) -> Any:
    """Return what stands for an array that does not exist."""
    return jax.ShapeDtypeStruct(shape, dtype, sharding=sharding)  # type: ignore[no-untyped-call]


def bound_to(params: Any, x: Array) -> tuple[Any, Array]:
    """Return both, so that neither is known before the other."""
    pair = jax.lax.optimization_barrier((params, x))  # type: ignore[no-untyped-call]
    return cast(tuple[Any, Array], pair)
