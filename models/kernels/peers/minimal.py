"""Baseline: trace one call, write its primitives as one pointwise kernel, and repair nothing.

What an afternoon's work gives, to compare the synthesizer's figures with. No families, no
reductions, no promotion of mixed types; the first public sample stands for all of them.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterable
from typing import Any

from models.kernels.candidate import KernelCandidate
from models.kernels.operators import OperatorSpec
from models.kernels.profiles import DeviceProfile
from models.kernels.propose.base import NothingToProposeError, Packet
from models.kernels.propose.writing import public_calls
from models.kernels.synth.calls import Call, bind, serving_signature

RANK = 4
"""Dimensions that the kernel counts; more are not served."""
_SAME = ("{0}", "_to_copy clone alias detach contiguous lift_fresh_copy positive")
_FORMS: tuple[tuple[str, str], ...] = (
    _SAME,
    ("({0} + {1})", "add"), ("({0} - {1})", "sub"), ("({0} * {1})", "mul"),
    ("({0} / {1})", "div"), ("(-{0})", "neg"), ("(1.0 / {0})", "reciprocal"),
    ("tl.{name}({0})", "exp exp2 log log2 sqrt rsqrt sin cos abs floor ceil erf"),
    ("tl.maximum({0}, {1})", "maximum"), ("tl.minimum({0}, {1})", "minimum"),
    ("tl.where({0} != 0, {1}, {2})", "where"),
    ("({0} == {1})", "eq"), ("({0} != {1})", "ne"), ("({0} < {1})", "lt"),
    ("({0} <= {1})", "le"), ("({0} > {1})", "gt"), ("({0} >= {1})", "ge"),
    ("(({0} != 0) & ({1} != 0))", "logical_and"), ("(({0} != 0) | ({1} != 0))", "logical_or"),
    ("(({0} != 0) ^ ({1} != 0))", "logical_xor"), ("({0} == 0)", "logical_not"),
    ("({0} & {1})", "bitwise_and"), ("({0} | {1})", "bitwise_or"), ("({0} ^ {1})", "bitwise_xor"),
    ("(~{0})", "bitwise_not"), ("tl.sigmoid({0})", "sigmoid"), ("({0} * {0})", "square"),
    ("tl.where({0} > 0, {0}, 0)", "relu"), ("tl.where({0} != {0}, 1, 0)", "isnan"),
    ("tl.log({0} + 1)", "log1p"), ("(tl.exp({0}) - 1)", "expm1"), ("{1}", "fill full_like"),
    ("(2 * tl.sigmoid(2 * {0}) - 1)", "tanh"), ("0", "zeros_like"), ("1", "ones_like"),
    ("tl.where({0} > 0, 1, tl.where({0} < 0, -1, 0))", "sign sgn"),
)  # fmt: skip
RULES: dict[str, str] = {
    name: form.replace("{name}", name) for form, names in _FORMS for name in names.split()
}
"""Expression by primitive of ATen, whatever its overload."""


class MinimalProposer:
    """Proposes one module per operator from one traced call; has no answer to feedback."""

    name = "minimal"

    def __init__(self, calls: Callable[[OperatorSpec], Iterable[Call]] = public_calls) -> None:
        """Take what lists the calls to serve; tests give their own."""
        self._calls = calls

    def propose(
        self, spec: OperatorSpec, profile: DeviceProfile, packet: Packet | None
    ) -> KernelCandidate:
        """Write the module.

        Raises:
            NothingToProposeError: There is feedback, or the trace has more than pointwise parts.
        """
        if packet is not None:
            raise NothingToProposeError(f"the baseline repairs nothing of {spec.op_id}")
        calls = list(self._calls(spec))
        try:
            signature = serving_signature(spec.op_id, spec.schema_text, spec.overloads, calls)
            bound = bind(signature, calls[0])
            names = [name for name, value in bound.items() if _is_tensor(value)]
            expression = traced(calls[0], names)
            source = written(signature.parameters, names, expression, result_types(calls))
        except Exception as error:
            # Tracing runs torch's own functions on fake values: anything may come out of it.
            raise NothingToProposeError(
                f"{spec.op_id} is no pointwise trace: {type(error).__name__}: {error}"[:300]
            ) from error
        return KernelCandidate.of(spec.op_id, source, proposer=self.name)


def _is_tensor(value: Any) -> bool:
    import torch

    return isinstance(value, torch.Tensor)


def traced(call: Call, names: list[str]) -> str:
    """Return a call as an expression of `names`, its tensors in order."""
    import torch
    from torch.fx.experimental.proxy_tensor import make_fx

    leaves = [*call.args, *call.kwargs.values()]
    tensors = [value for value in leaves if _is_tensor(value)]
    if not tensors or len(tensors) != len(names):
        raise ValueError("its tensors are not arguments of their own")

    def run(*given: Any) -> Any:
        left = iter(given)
        args = [next(left) if _is_tensor(value) else value for value in call.args]
        kwargs = {k: next(left) if _is_tensor(v) else v for k, v in call.kwargs.items()}
        return call.function(*args, **kwargs)

    table: dict[Any, Any] = dict(torch._decomp.decomposition_table)
    rules = {rule: table[rule] for rule in table if _primitive(rule) not in RULES}
    graph = make_fx(run, rules)(*tensors).graph
    inputs = iter(names)
    texts: dict[Any, str] = {}
    for node in graph.nodes:
        if node.op == "placeholder":
            texts[node] = f"{next(inputs)}_value"
        elif node.op == "output":
            return texts[node.args[0]]
        else:
            texts[node] = _expression(node, texts)
    raise ValueError("the trace returns nothing")


def _primitive(target: Any) -> str:
    """Return the name of an overload without namespace: `add` of `aten.add.Tensor`."""
    return str(target).removeprefix("aten.").split(".")[0]


def _expression(node: Any, texts: dict[Any, str]) -> str:
    name = _primitive(node.target)
    if node.target is operator.getitem or name not in RULES:
        raise ValueError(f"no rule for {node.target}")
    operands = [texts.get(arg, _number(arg)) for arg in node.args]
    if (alpha := node.kwargs.get("alpha", 1)) != 1:
        operands[1] = f"({operands[1]} * {alpha!r})"
    return RULES[name].format(*operands)


def _number(value: Any) -> str:
    if isinstance(value, float) and value - value != 0:
        return f'float("{value}")'
    return repr(value)


def result_types(calls: Iterable[Call]) -> dict[str, str]:
    """Return the type of the result by that of the first tensor, as the calls show it."""
    found: dict[str, str] = {}
    for call in calls:
        first = next(v for v in (*call.args, *call.kwargs.values()) if _is_tensor(v))
        if str(first.dtype) not in found:
            found[str(first.dtype)] = str(call.function(*call.args, **call.kwargs).dtype)
    return found


def written(parameters: Any, names: list[str], expression: str, types: dict[str, str]) -> str:
    """Return the module: one kernel over four dimensions with strides."""
    starred, heads = False, []
    for one in parameters:
        if one.is_keyword_only and not starred:
            starred = True
            heads.append("*")
        heads.append(one.name if one.default is None else f"{one.name}={one.default}")
    strides = ", ".join(f"{name}_{dim}" for name in names for dim in range(RANK))
    index = {0: "i // (s1 * s2 * s3)", 1: "i // (s2 * s3) % s1", 2: "i // s3 % s2", 3: "i % s3"}
    lines = [
        "@triton.jit",
        f"def kernel_pointwise(o, {', '.join(names)}, n, s1, s2, s3, {strides}, "
        "FLOAT: tl.constexpr, B: tl.constexpr):",
        "    i = tl.program_id(0).to(tl.int64) * B + tl.arange(0, B)",
        *(f"    i{dim} = {text}" for dim, text in index.items()),
    ]
    for name in names:
        place = " + ".join(f"i{dim} * {name}_{dim}" for dim in range(RANK))
        lines.append(
            f"    {name}_value = tl.load({name} + {place}, i < n, 0).to("
            "tl.float32 if FLOAT else tl.int64)"
        )
    table = ", ".join(f"{key}: {value}" for key, value in types.items())
    shapes = ", ".join(f"{name}.shape" for name in names)
    lines += [
        f"    value = {expression} + tl.zeros((B,), tl.int32)",
        "    tl.store(o + i, value.to(o.dtype.element_ty), i < n)",
        "",
        f"def wrapper({', '.join(heads)}):",
        f"    shape = torch.broadcast_shapes({shapes})",
        f"    out = torch.empty(shape, dtype={{{table}}}[{names[0]}.dtype])",
        f"    rest = {RANK} - len(shape)",
        "    sizes = (1,) * rest + tuple(shape)",
        f"    wide = out.dtype.is_floating_point or {names[0]}.dtype.is_floating_point",
        *(f"    view_{name} = {name}.expand(shape)" for name in names),
        "    kernel_pointwise[(triton.cdiv(out.numel(), 4096),)](",
        f"        out, {', '.join(f'view_{name}' for name in names)}, out.numel(), *sizes[1:],",
        *(f"        *((0,) * rest), *view_{name}.stride()," for name in names),
        "        FLOAT=wide, B=4096)",
        "    return out",
    ]
    return "\n".join(lines) + "\n"
