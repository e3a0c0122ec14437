"""Host text of sizes and numbers: symbolic expressions as Python of a wrapper."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any

_LONGEST = 6
"""Characters of a size that stays in place; longer ones get a name, for texts repeat them."""


class HostText:
    """Prints expressions over the symbols of one trace."""

    def __init__(
        self, symbols: Mapping[Any, str], derived: Mapping[Any, Any] = MappingProxyType({})
    ) -> None:
        """Take host texts of the symbols, and expressions of those that stand for one."""
        import sympy  # type: ignore[import-untyped]
        from torch.utils._sympy.printers import PythonPrinter

        self._printer = PythonPrinter()
        self._by_symbol = dict(symbols)
        self._derived = dict(derived)
        self._names: dict[Any, Any] = {}
        self._sympy = sympy
        self._measured = 0
        self.bindings: dict[str, str] = {}
        """Host text by local name, in order of first use."""

    def name(self, symbol: Any) -> str:
        """Return the local name of a symbol; it is bound at its first use."""
        if symbol not in self._names:
            if symbol in self._derived:
                local = self._named(self.text(self._derived[symbol]))
            else:
                local = self._bind("d" if symbol.is_integer else "f", self._by_symbol[symbol])
            self._names[symbol] = self._sympy.Symbol(
                local, integer=symbol.is_integer, positive=symbol.is_positive, real=True
            )
        return str(self._names[symbol])

    def lines(self) -> list[str]:
        """Return the statements that bind the local names."""
        lines = []
        for name, text in self.bindings.items():
            lines.append(f"{name} = {text}")
            # A signature need not say what a list holds: the linter sees it here.
            if text.endswith("]") and ".shape[" not in text and name.startswith("d"):
                lines.append(f"assert isinstance({name}, int)")
        return lines

    def measured(self, text: str, symbols: Sequence[Any], lines: list[str]) -> Any:
        """Bind a number that the host reads from a kernel's result.

        Args:
            text: Host text that reads it.
            symbols: Symbols of the trace that stand for it.
            lines: Where the program binds it.

        Returns:
            The first of the symbols, or one of its own where there is none.
        """
        local = self._sympy.Symbol(f"n{self._measured}", integer=True, nonnegative=True)
        self._measured += 1
        lines.append(f"{local} = {text}")
        for symbol in (local, *symbols):
            self._names[symbol] = local
        return symbols[0] if symbols else local

    def text(self, value: Any) -> str:
        """Return a number or expression as host text."""
        if isinstance(value, bool | int | float):
            return repr(value)
        for symbol in sorted(value.free_symbols, key=str):
            self.name(symbol)
        text = str(self._printer.doprint(value.xreplace(self._names)))
        text = text.replace("math.trunc", "int").replace("torch.sym_float", "float")
        return self._named(text) if self._may_name(value) and len(text) > _LONGEST else text

    def _may_name(self, value: Any) -> bool:
        """Whether a value is a size known before the first launch."""
        return bool(value.is_integer) and all(
            str(self._names[symbol]) in self.bindings for symbol in value.free_symbols
        )

    def _named(self, text: str) -> str:
        for name, known in self.bindings.items():
            if text in (name, known):
                return name
        return self._bind("size", text)

    def _bind(self, prefix: str, text: str) -> str:
        local = f"{prefix}{sum(one.startswith(prefix) for one in self.bindings)}"
        self.bindings[local] = text
        return local

    def shape(self, sizes: Sequence[Any]) -> str:
        """Return a shape as host text."""
        listed = ", ".join(self.text(size) for size in sizes)
        return f"({listed},)" if sizes else "()"
