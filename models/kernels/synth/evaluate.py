"""What a traced graph gives for a call, run by torch on the call's own tensors."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from models.kernels.synth.calls import Call
from models.kernels.synth.trace import Trace


def same_values(
    call: Call, traced: Trace, inputs: Mapping[str, Any], sizes: Mapping[Any, Any]
) -> bool:
    """Whether a graph gives what ATen does.

    Shapes say nothing of the values of a result that is made from nothing.

    Args:
        call: A call like the traced one, of other sizes.
        traced: The trace.
        inputs: Its inputs for that call, by host text.
        sizes: Numbers of that call in place of the trace's symbols.
    """
    import torch

    class Root(torch.nn.Module):
        pass

    class Folded(torch.fx.Interpreter):
        """Takes numbers as kernels do: a size above 1 may have made a maximum disappear."""

        def run_node(self, n: Any) -> Any:
            result, traced_value = super().run_node(n), n.meta.get("val")
            if isinstance(traced_value, torch.SymInt):
                return int(traced_value.node.expr.xreplace(sizes))
            return result

    root = Root()
    for name, constant in traced.constants.items():
        setattr(root, name, constant)
    due = _aten(call)
    if due is None:
        return True
    try:
        module = torch.fx.GraphModule(root, traced.graph)
        with torch.no_grad():
            found = _tensors(
                Folded(module).run(*(inputs[path] for path, _ in traced.inputs))
            )
    except Exception:
        # Primitives refuse what it asks of them: the smallest element of nothing.
        return False
    return len(due) == len(found) and all(
        one.shape == other.shape and torch.allclose(one.double(), other.double(), equal_nan=True)
        for one, other in zip(due, found, strict=True)
        if not one.is_complex()
    )


def same_types(call: Call, traced: Trace) -> bool:
    """Whether ATen's results have the types that a trace has."""
    import torch

    output = next(node.args[0] for node in traced.graph.nodes if node.op == "output")
    due = _aten(call)
    if due is None:
        return True
    fakes = torch.fx.node.map_arg(output, lambda node: node.meta.get("val"))
    return [one.dtype for one in due] == [one.dtype for one in _tensors(fakes)]


def _aten(call: Call) -> list[Any] | None:
    """Return ATen's results; None where zeros are no fit input, which says nothing of sizes."""
    import torch

    try:
        with torch.no_grad():
            return _tensors(call.function(*call.args, **call.kwargs))
    except torch._C._LinAlgError:  # type: ignore[attr-defined]
        return None


def _tensors(value: Any) -> list[Any]:
    if isinstance(value, list | tuple):
        return [one for part in value for one in _tensors(part)]
    return [value] if hasattr(value, "dtype") else []
