"""Results that are views of an argument: the host changes metadata and no kernel runs."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from models.kernels.synth.host import HostText
from models.kernels.synth.lower import sizes_of, symbolic
from models.kernels.synth.scalar import UnsupportedError
from models.kernels.synth.trace import Trace


@dataclass
class ViewProgram:
    """Host text that gives views of the arguments."""

    host: HostText
    lines: list[str] = field(default_factory=list)
    tests: list[str] = field(default_factory=list)
    """Tests of the arguments' strides under which the views exist."""
    result: str = ""
    is_general: bool = True
    """Right for every size: the guards of the trace say nothing more."""
    is_split: bool = False
    """All parts of one tensor, however many the size gives."""


def viewed(traced: Trace, copies: Mapping[str, str] | None = None) -> ViewProgram:
    """Write a trace over ATen's own views as host text.

    Args:
        traced: Traced without decompositions.
        copies: Host names of copies that stand for arguments, where views of these are asked for.

    Raises:
        UnsupportedError: A node is no view, or needs an order of memory that only a copy has.
    """
    program = ViewProgram(HostText(traced.symbols))
    names: dict[Any, str] = {}
    inputs = iter(traced.inputs)
    for node in traced.graph.nodes:
        if node.op == "placeholder":
            path, fake = next(inputs)
            names[node] = (copies or {}).get(path, path) if hasattr(fake, "dtype") else ""
        elif node.op == "call_function":
            _write(program, names, node)
        elif node.op == "output":
            _finish(program, names, node.args[0])
        else:
            raise UnsupportedError(f"a view of what is no argument: {node.target}")
    return program


def _write(program: ViewProgram, names: dict[Any, str], node: Any) -> None:
    if not node.args or node.args[0] not in names or "sym_" in str(node.target):
        names.setdefault(node, "")
        return
    source = names[node.args[0]]
    target = str(node.target)
    if target == "<built-in function getitem>":
        names[node] = f"{source}[{node.args[1]}]"
        return
    rule = _RULES.get(target)
    if not source or rule is None:
        if not hasattr(node.meta.get("val"), "dtype"):
            names[node] = ""
            return
        raise UnsupportedError(f"no view: {target}")
    name = f"w{len(program.lines)}"
    program.lines.append(f"{name} = {rule(program, source, node)}")
    names[node] = name


def _finish(program: ViewProgram, names: dict[Any, str], output: Any) -> None:
    listed = list(output) if isinstance(output, list | tuple) else [output]
    if not all(names.get(one) for one in listed):
        raise UnsupportedError("a result that is no view")
    texts = []
    for one in listed:
        if one.op == "placeholder":
            # An operator that gives its argument back may copy it where its memory has gaps.
            program.tests.append(f"{names[one]}.is_contiguous()")
        texts.append(f"{names[one]}.detach()" if one.op == "placeholder" else names[one])
    program.result = texts[0] if len(texts) == 1 else ""
    program.is_general &= not isinstance(output, list | tuple)
    if isinstance(output, list | tuple):
        program.result = f"({', '.join(texts)},)" if texts else "()"
        whole = {one.args[0] for one in listed if "getitem" in str(one.target)}
        if len(whole) == 1 and [one.args[1] for one in listed] == list(range(len(listed))):
            split = whole.pop()
            program.result = names[split]
            program.is_split = program.is_general = len(program.lines) == 1


def _arg(node: Any, place: int, name: str, default: Any) -> Any:
    value = node.args[place] if len(node.args) > place else node.kwargs.get(name, default)
    return _plain(value)


def _plain(value: Any) -> Any:
    if isinstance(value, list | tuple):
        return [_plain(one) for one in value]
    return symbolic(value.meta["val"]) if hasattr(value, "meta") else symbolic(value)


def _called(method: str, *names: tuple[str, Any]) -> Callable[[ViewProgram, str, Any], str]:
    """Return the rule of a method that takes the node's arguments as they are."""

    def rule(program: ViewProgram, source: str, node: Any) -> str:
        texts = []
        for place, (name, default) in enumerate(names, 1):
            value = _arg(node, place, name, default)
            listed = isinstance(value, list)
            texts.append(program.host.shape(value) if listed else program.host.text(value))
        return f"{source}.{method}({', '.join(texts)})"

    return rule


def _view(program: ViewProgram, source: str, node: Any) -> str:
    if node.args[0].op != "placeholder":
        raise UnsupportedError("a view of a view, which may need a copy")
    program.tests.append(f"{source}.is_contiguous()")
    program.is_general = False
    return f"{source}.view({program.host.shape(sizes_of(node.meta['val'].shape))})"


def _expand(program: ViewProgram, source: str, node: Any) -> str:
    program.is_general = False
    return f"{source}.expand({program.host.shape(sizes_of(node.meta['val'].shape))})"


def _slice(program: ViewProgram, source: str, node: Any) -> str:
    """Return the text for any size: ends are moved inside as ATen moves them."""
    host, rank = program.host, len(node.meta["val"].shape)
    dim = _arg(node, 1, "dim", 0) % rank
    bounds = [_arg(node, 2, "start", None), _arg(node, 3, "end", None)]
    step, size = host.text(_arg(node, 4, "step", 1)), f"{source}.shape[{dim}]"
    texts = []
    for bound, default in zip(bounds, ("0", size), strict=True):
        is_open = bound is None or bound == sys.maxsize
        is_end = isinstance(bound, int) and bound < 0
        moved = "" if is_open else f"{size} - {-bound}" if is_end else host.text(bound)
        texts.append(default if is_open else f"min(max({moved}, 0), {size})")
    if texts == ["0", size] and step == "1":
        return f"{source}.detach()"
    strides = [f"{source}.stride({place})" for place in range(rank)]
    offset = f"{source}.storage_offset() + {texts[0]} * {strides[dim]}"
    if step != "1":
        strides[dim] = f"{strides[dim]} * {step}"
    sizes = [f"{source}.shape[{place}]" for place in range(rank)]
    sizes[dim] = f"max(({texts[1]} - {texts[0]} + {step} - 1) // {step}, 0)"
    return f"{source}.as_strided(({', '.join(sizes)},), ({', '.join(strides)},), {offset})"


def _as_strided(program: ViewProgram, source: str, node: Any) -> str:
    host = program.host
    offset = _arg(node, 3, "storage_offset", None)
    texts = [host.shape(_arg(node, 1, "size", ())), host.shape(_arg(node, 2, "stride", ()))]
    texts.append(f"{source}.storage_offset()" if offset is None else host.text(offset))
    return f"{source}.as_strided({', '.join(texts)})"


_RULES: dict[str, Callable[[ViewProgram, str, Any], str]] = {
    "aten.view.default": _view,
    "aten._unsafe_view.default": _view,
    "aten._reshape_alias.default": _view,
    "aten.permute.default": _called("permute", ("dims", ())),
    "aten.transpose.int": _called("transpose", ("dim0", 0), ("dim1", 1)),
    "aten.t.default": _called("t"),
    "aten.expand.default": _expand,
    "aten.squeeze.default": _called("squeeze"),
    "aten.squeeze.dim": _called("squeeze", ("dim", 0)),
    "aten.squeeze.dims": _called("squeeze", ("dim", ())),
    "aten.unsqueeze.default": _called("unsqueeze", ("dim", 0)),
    "aten.select.int": _called("select", ("dim", 0), ("index", 0)),
    "aten.slice.Tensor": _slice,
    "aten.diagonal.default": _called("diagonal", ("offset", 0), ("dim1", 0), ("dim2", 1)),
    "aten.split.Tensor": _called("split", ("split_size", 1), ("dim", 0)),
    "aten.split_with_sizes.default": _called("split", ("split_sizes", ()), ("dim", 0)),
    "aten.unsafe_split.Tensor": _called("split", ("split_size", 1), ("dim", 0)),
    "aten.unbind.int": _called("unbind", ("dim", 0)),
    "aten.unbind_copy.int": _called("unbind", ("dim", 0)),
    "aten.unfold.default": _called("unfold", ("dimension", 0), ("size", 1), ("step", 1)),
    "aten.as_strided.default": _as_strided,
    "aten.detach.default": _called("detach"),
    "aten.alias.default": _called("detach"),
}
