"""The one module that writes into memory which exists: a strided copy, for out= and in place.

Generated modules give new tensors. An adapter of a form that writes runs the functional module
and then this one, so a kernel of the package writes every byte of a tensor on the device.
"""

from __future__ import annotations

from models.kernels.candidate import KernelCandidate

MOST_DIMS = 6
"""Ranks of tensors that are written; a batch of volumes has 5."""
STORE = "aten.copy_.default"
"""Overload of the module, and its op_id."""
SCHEMA = "copy_(Tensor(a!) self, Tensor src, bool non_blocking=False) -> Tensor(a!)"
_BLOCK = 131_072


def _kernel(rank: int) -> str:
    """Return the kernel that copies one element per lane, last dimension fastest."""
    sizes = [f"n{dim}" for dim in range(1, rank)]
    to = [f"to{dim}" for dim in range(rank)]
    of = [f"of{dim}" for dim in range(rank)]
    lines = [
        "@triton.jit",
        f"def kernel_{rank}({', '.join(['target', 'source', 'n', *sizes, *to, *of])}, "
        "BLOCK: tl.constexpr):",
        "    at = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)",
        "    mask = at < n",
    ]
    for dim in range(rank - 1, 0, -1):
        lines += [f"    i{dim} = at % n{dim}", f"    at = at // n{dim}"]
    lines.append("    i0 = at")
    read = " + ".join(f"i{dim} * of{dim}" for dim in range(rank))
    written = " + ".join(f"i{dim} * to{dim}" for dim in range(rank))
    lines += [
        f"    element = tl.load(source + {read}, mask=mask)",
        f"    tl.store(target + {written}, element, mask=mask)",
    ]
    return "\n".join(lines)


_FLAT = """\
@triton.jit
def kernel_flat(target, source, n, BLOCK: tl.constexpr):
    at = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    mask = at < n
    element = tl.load(source + at, mask=mask)
    tl.store(target + at, element, mask=mask)"""


def _branch(rank: int) -> list[str]:
    passed = ["self", "src", "self.numel()"]
    passed += [f"self.shape[{dim}]" for dim in range(1, rank)]
    passed += [f"self.stride({dim})" for dim in range(rank)]
    passed += [f"src.stride({dim})" for dim in range(rank)]
    return [
        f"    if self.ndim == {rank}:",
        f"        kernel_{rank}[grid]({', '.join(passed)}, BLOCK=block)",
        "        return self",
    ]


def store_module() -> KernelCandidate:
    """Return the module: copies a tensor into another of the same shape and type."""
    lines = [
        "def wrapper(self, src, non_blocking=False):",
        "    if self.shape != src.shape or self.dtype != src.dtype:",
        '        raise NotImplementedError("a copy between shapes or types")',
        "    if self.numel() == 0:",
        "        return self",
        f"    block = min({_BLOCK}, triton.next_power_of_2(self.numel()))",
        "    grid = (triton.cdiv(self.numel(), block),)",
        "    if self.is_contiguous() and src.is_contiguous():",
        "        kernel_flat[grid](self, src, self.numel(), BLOCK=block)",
        "        return self",
    ]
    for rank in range(1, MOST_DIMS + 1):
        lines += _branch(rank)
    lines.append(f'    raise NotImplementedError("a copy of more than {MOST_DIMS} dimensions")')
    kernels = [_FLAT, *(_kernel(rank) for rank in range(1, MOST_DIMS + 1))]
    source = "\n\n\n".join([*kernels, "\n".join(lines)]) + "\n"
    return KernelCandidate.of(STORE, source, proposer="template")
