"""Host text of sizes and numbers: symbolic expressions as Python of a wrapper."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any


class HostText:
    """Prints expressions over the symbols of one trace."""

    def __init__(self, symbols: Mapping[Any, str]) -> None:
        import sympy  # type: ignore[import-untyped]
        from torch.utils._sympy.printers import PythonPrinter

        self._printer = PythonPrinter()
        self._by_symbol = dict(symbols)
        self._names: dict[Any, Any] = {}
        self._sympy = sympy
        self.bindings: dict[str, str] = {}
        """Host text by local name, in order of first use."""

    def name(self, symbol: Any) -> str:
        """Return the local name of a symbol; it is bound at its first use."""
        if symbol not in self._names:
            kind = "d" if symbol.is_integer else "f"
            count = sum(one.startswith(kind) for one in self.bindings)
            local = f"{kind}{count}"
            self.bindings[local] = self._by_symbol[symbol]
            self._names[symbol] = self._sympy.Symbol(
                local, integer=symbol.is_integer, positive=symbol.is_positive, real=True
            )
        return str(self._names[symbol])

    def text(self, value: Any) -> str:
        """Return a number or expression as host text."""
        if isinstance(value, bool | int | float):
            return repr(value)
        for symbol in sorted(value.free_symbols, key=str):
            self.name(symbol)
        text = str(self._printer.doprint(value.xreplace(self._names)))
        return text.replace("math.trunc", "int").replace("torch.sym_float", "float")

    def shape(self, sizes: Sequence[Any]) -> str:
        """Return a shape as host text."""
        listed = ", ".join(self.text(size) for size in sizes)
        return f"({listed},)" if sizes else "()"
