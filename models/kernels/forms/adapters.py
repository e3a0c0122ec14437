"""Adapters: `wrapper_out` and `wrapper_inplace` around `wrapper`, with one kernel of their own.

They raise what ATen raises, before anything is written: a type that the result cannot be cast to,
memory that overlaps itself or part of an input, another shape in place. A result is computed
whole before it is stored, so an input may be the tensor that is written.
"""

from __future__ import annotations

import ast

from models.kernels.candidate import KernelCandidate
from models.kernels.lint.outline import FORM_NAMES
from models.kernels.lint.signature import Parameter, Signature
from models.kernels.operators import OperatorSpec
from models.kernels.synth.wrapper import parameters_text

_SHARED = """\
@triton.jit
def kernel_form_store(
    o_ptr, x_ptr, n, live, n1, n2, n3, n4,
    o0, o1, o2, o3, o4, x0, x1, x2, x3, x4, BLOCK: tl.constexpr,
):
    at = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    i4 = at % n4
    rest = at // n4
    i3 = rest % n3
    rest = rest // n3
    i2 = rest % n2
    rest = rest // n2
    i1 = rest % n1
    i0 = rest // n1
    places = i0 * x0 + i1 * x1 + i2 * x2 + i3 * x3 + i4 * x4
    value = tl.load(x_ptr + places, mask=at < live, other=0)
    places = i0 * o0 + i1 * o1 + i2 * o2 + i3 * o3 + i4 * o4
    tl.store(o_ptr + places, value.to(o_ptr.dtype.element_ty), mask=at < n)


def _form_copy(out, result, live):
    parts = [(out, result)]
    for _ in range(out.ndim - 5):
        parts = [(o.select(0, i), r.select(0, i)) for o, r in parts for i in range(o.shape[0])]
    for o, r in parts:
        ones = (1,) * (5 - o.ndim)
        n, sizes = o.numel(), ones + tuple(o.shape)
        to, of = ones + tuple(o.stride()), ones + tuple(r.stride())
        kernel_form_store[(triton.cdiv(n, 1024),)](
            o, r, n, n * live, sizes[1], sizes[2], sizes[3], sizes[4],
            to[0], to[1], to[2], to[3], to[4], of[0], of[1], of[2], of[3], of[4], BLOCK=1024,
        )


def _form_store(out, result):
    if out.numel() == 0:
        return
    if not out.is_complex():
        _form_copy(out, result, 1)
    elif result.is_complex():
        _form_copy(torch.view_as_real(out), torch.view_as_real(result), 1)
    else:
        pairs = torch.view_as_real(out)
        _form_copy(pairs.select(-1, 0), result, 1)
        _form_copy(pairs.select(-1, 1), result, 0)


def _form_ready(out, result):
    if out.device != result.device:
        raise RuntimeError(f"Expected out tensor on {result.device}, but got {out.device} instead")
    if not torch.can_cast(result.dtype, out.dtype):
        raise RuntimeError(
            f"result type {result.dtype} can't be cast to the desired output type {out.dtype}"
        )


def _form_single(out):
    for size, step in zip(out.shape, out.stride()):
        if size > 1 and step == 0 and out.numel() > 0:
            raise RuntimeError(
                "unsupported operation: more than one element of the written-to tensor refers to "
                "a single memory location"
            )


def _form_span(address, width, shape, steps):
    reach, count = 1, 1
    for size, step in zip(shape, steps):
        reach += (size - 1) * step
        count *= size
    return (address, address + count * width if reach == count else address, tuple(steps))


def _form_apart(own, others):
    for other in others:
        if own != other and own[0] < other[1] and other[0] < own[1]:
            raise RuntimeError(
                "unsupported operation: some elements of the input tensor and the written-to "
                "tensor refer to a single memory location"
            )
"""
_SPAN = "_form_span({0}.data_ptr(), {0}.element_size(), {0}.shape, {0}.stride())"
_OUT = """\
    outs = (out,) if isinstance(out, torch.Tensor) else out
    results = (result,) if isinstance(result, torch.Tensor) else result
    if not isinstance(outs, (tuple, list)) or not isinstance(results, (tuple, list)):
        raise TypeError("out= takes a tensor for each result")
    if len(outs) != len(results):
        raise TypeError(f"out= gives {len(outs)} tensors for {len(results)} results")
    for one, made in zip(outs, results):
        if not isinstance(one, torch.Tensor) or not isinstance(made, torch.Tensor):
            raise TypeError("out= takes a tensor for each result")
        _form_ready(one, made)
        if one.shape != made.shape:
            one.resize_(made.shape)
        _form_single(one)
APART
    for one, made in zip(outs, results):
        if isinstance(one, torch.Tensor) and isinstance(made, torch.Tensor):
            _form_store(one, made)
    return out
"""
_INPLACE = """\
    if not isinstance(result, torch.Tensor):
        raise TypeError("an operator without one tensor as its result has no in-place form")
    _form_ready(OWN, result)
    if OWN.shape != result.shape:
        raise RuntimeError(
            f"output with shape {list(OWN.shape)} doesn't match the broadcast shape "
            f"{list(result.shape)}"
        )
    _form_single(OWN)
APART
    _form_store(OWN, result)
    return OWN
"""
_FORM_OF = {"wrapper_out": "out", "wrapper_inplace": "inplace"}
"""Tag of the catalogue that says an operator has the form."""


def adapters_text(signature: Signature, names: tuple[str, ...] = FORM_NAMES) -> str:
    """Return the text of adapters that goes below a module with `wrapper`.

    Args:
        signature: Of `wrapper`.
        names: Functions to write, of `wrapper_out` and `wrapper_inplace`.
    """
    parts = [_SHARED]
    parameters = signature.parameters
    if "wrapper_out" in names:
        more = "out" if any(one.is_keyword_only for one in parameters) else "*, out"
        head = ", ".join(part for part in (parameters_text(signature), more) if part)
        body = _computed(signature, parameters) + _OUT
        parts.append(f"def wrapper_out({head}):\n{_apart(body, 'one', 8)}")
    if "wrapper_inplace" in names:
        own = parameters[0].name
        body = _computed(signature, parameters[1:]) + _INPLACE.replace("OWN", own)
        parts.append(f"def wrapper_inplace({parameters_text(signature)}):\n{_apart(body, own, 4)}")
    return "\n\n".join(parts)


def _computed(signature: Signature, inputs: tuple[Parameter, ...]) -> str:
    """Return the lines that call `wrapper` and note where its inputs lie."""
    passed = [f"{one.name}={one.name}" if one.is_keyword_only else one.name
              for one in signature.parameters]  # fmt: skip
    lines = [f"result = wrapper({', '.join(passed)})"]
    tensors = [one for one in inputs if {"Tensor", "Any"} & set(one.types)]
    if tensors:
        lines.append(f"given = [{', '.join(one.name for one in tensors if not one.is_list)}]")
        for one in tensors:
            if one.is_list or "Any" in one.types:
                lines.append(f"if isinstance({one.name}, (tuple, list)):")
                lines.append(f"    given.extend({one.name})")
        lines.append(f"spans = [{_SPAN.format('x')} for x in given if isinstance(x, torch.Tensor)]")
    return "".join(f"    {line}\n" for line in lines)


def _apart(body: str, written: str, indent: int) -> str:
    """Put in the line that compares places in memory, where there are inputs to compare with."""
    line = f"{' ' * indent}_form_apart({_SPAN.format(written)}, spans)\n"
    return body.replace("APART\n", line if "spans = " in body else "")


def adapted(candidate: KernelCandidate, spec: OperatorSpec) -> KernelCandidate:
    """Return a module with the forms that its operator has and it lacks; itself if none is due.

    A module that has functions of the adapters' names keeps its own, and gets none.
    """
    due = tuple(name for name, tag in _FORM_OF.items() if tag in spec.tags)
    try:
        body = ast.parse(candidate.source).body
    except (SyntaxError, ValueError):
        return candidate
    has = {node.name for node in body if isinstance(node, ast.FunctionDef)}
    lacks = tuple(name for name in due if name not in has)
    signature = Signature.parse(spec.schema_text)
    is_taken = any(name.startswith(("_form_", "kernel_form_")) for name in has)
    if not lacks or is_taken or not signature.parameters:
        return candidate
    text = f"{candidate.source.rstrip()}\n\n\n{adapters_text(signature, lacks)}"
    fields = candidate.model_dump(exclude={"sha", "op_id", "source", "parent_sha"})
    return KernelCandidate.of(candidate.op_id, text, parent_sha=candidate.sha, **fields)
