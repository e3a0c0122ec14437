"""out= and in-place forms of an operator, generated from its one functional module.

- `adapters.py`: the text that checks as ATen does, and stores a result into a given tensor

`adapted` adds it to a module; dunder forms (`a + b`, `a += b`) call the same functions.
"""

from models.kernels.forms.adapters import adapted, adapters_text

__all__ = ["adapted", "adapters_text"]
