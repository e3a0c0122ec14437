"""What must stay as it was while a candidate runs: the functions that run and judge it."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from operator import is_
from typing import Any

_MODULES = (
    "builtins", "ctypes", "hashlib", "json", "math", "numpy", "torch", "torch._ops",
    "torch.testing", "torch.testing._comparison", "torch.utils._python_dispatch", "triton",
    "triton.language", "triton.language.core", "triton.language.math",
    "triton.language.standard", "triton.runtime.interpreter", "triton.runtime.jit",
    "triton.language.extra.libdevice",
)  # fmt: skip
_OURS = "models.kernels."
_vars, _all, _map, _len = vars, all, map, len
"""Looked up once: the builtins themselves are among what may be replaced."""


class Fixtures:
    """Names of modules and classes with the objects that they had when this was made.

    A replaced name is seen whoever replaced it; what code an object runs is the watch's to see.
    New names are counted for classes and our own modules only: torch and numpy load some late.
    """

    def __init__(self, more: Iterable[tuple[str, Any]] = ()) -> None:
        """Remember the libraries, this room, and further (name, class) pairs."""
        self._kept: list[tuple[str, Any, tuple[str, ...], tuple[Any, ...], bool]] = []
        for name, module in list(sys.modules.items()):
            if name in _MODULES or name.startswith(_OURS):
                self._keep(name, module, name.startswith(_OURS))
                for inner, value in list(vars(module).items()):
                    if isinstance(value, type) and value.__module__ == name:
                        self._keep(f"{name}.{inner}", value, True)
        for name, value in more:
            self._keep(name, value, True)

    def _keep(self, name: str, owner: Any, is_closed: bool) -> None:
        now = vars(owner)
        self._kept.append((name, owner, tuple(now), tuple(now.values()), is_closed))

    def changed(self) -> str | None:
        """Return the first name that means something else now; None: none does."""
        for name, owner, keys, values, is_closed in self._kept:
            now = _vars(owner)
            if not _all(_map(is_, _map(now.get, keys), values)):
                return next(f"{name}.{key}" for key, value in zip(keys, values, strict=True)
                            if now.get(key) is not value)  # fmt: skip
            if is_closed and _len(now) != _len(keys):
                return f"{name}.{next(key for key in now if key not in keys)}"
        return None
