"""The end of a wrapper: what no program serves is refused by what is wrong with it."""

from __future__ import annotations

import re

from models.kernels.lint.signature import Parameter
from models.kernels.synth.program import Synthesis

_DIMENSION = re.compile(r"(dim|axis)\d?|dims|axes|source|destination")
_REDUCTIONS = ("none", "mean", "sum")
_WINDOW = {"M", "sym", "dtype", "layout"}
"""Parameters that windows of signals share, which check them alike."""


def refusal_text(made: Synthesis) -> str:
    """Return the last lines of a wrapper: errors of the classes that ATen raises, then the rest.

    A dimension beyond the rank of the first tensor is an IndexError; an unknown reduction of a
    loss, and a window of negative length or in a type that has none, a ValueError. Nothing here
    serves a call, so a call that a program serves never comes here.
    """
    parameters = made.signature.parameters
    lines: list[str] = []
    first = parameters[0] if parameters else None
    if first is not None and {"Tensor", "Any"} & set(first.types) and not first.is_list:
        least = 1 if _serves_single_numbers(made, first) else 0
        for one in parameters[1:]:
            if _DIMENSION.fullmatch(one.name) and not {"Tensor", "Any"} & set(one.types):
                lines += _dimensions(first.name, one.name, least)
    names = {one.name for one in parameters}
    if "reduction" in names:
        lines += [
            f"if isinstance(reduction, str) and reduction not in {_REDUCTIONS}:",
            '    raise ValueError(f"{reduction} is not a valid value for reduction")',
        ]
    if names >= _WINDOW:
        lines += [
            "if isinstance(M, int) and M < 0:",
            '    raise ValueError(f"a window requires non-negative length, got M={M}")',
            "if layout is not None and layout != torch.strided:",
            '    raise ValueError(f"a window is implemented for strided tensors only, '
            'got: {layout}")',
            "if dtype is not None and dtype != torch.float32 and dtype != torch.float64:",
            '    raise ValueError(f"a window expects float32 or float64 dtypes, got: {dtype}")',
        ]
    lines.append('raise NotImplementedError("no program for these types, ranks and options")')
    return "\n".join(f"    {line}" for line in lines)


def _serves_single_numbers(made: Synthesis, first: Parameter) -> bool:
    """Whether the operator takes a first tensor without dimensions; torch lets those index one."""
    ranks = [
        key[3] for one in made.programs for key in one.key if key[:2] == (first.name, "tensor")
    ]
    return "" in ranks or any(one.spread for one in made.programs)


def _dimensions(tensor: str, name: str, least: int) -> list[str]:
    """Return the test of a dimension, or of each of a list of them.

    Args:
        tensor: Parameter whose dimensions are counted.
        name: Parameter with one or several dimensions.
        least: Dimensions that a tensor has for this operator even where it has none.
    """
    return [
        f"if isinstance({tensor}, torch.Tensor):",
        f"    rank = max({tensor}.ndim, {least})",
        f"    for place in {name} if isinstance({name}, (tuple, list)) else ({name},):",
        "        if isinstance(place, int) and not -rank <= place < rank:",
        "            raise IndexError(",
        '                "Dimension out of range (expected to be in range of "',
        '                f"[{-rank}, {rank - 1}], but got {place})"',
        "            )",
    ]
