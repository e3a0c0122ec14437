"""What a wrapper returned: plain values only, and where the bytes of its tensors come from."""

from __future__ import annotations

from typing import Any

from models.kernels.execute.memory import Memory, SanitizerError, Violation, element_offsets

_NUMBERS = (bool, int, float, complex, str, type(None))
_DEEPEST = 8


def plain(value: Any, memory: Memory, depth: int = 0) -> Any:
    """Return a result rebuilt from torch's own tensors, lists, tuples, dicts and numbers.

    An object of another class, or a tensor with attributes of its own, could answer the questions
    that follow with code of the candidate: what it holds, where it comes from.

    Args:
        value: What the wrapper returned.
        memory: Where a result of another class is noted as a violation.
        depth: Of nesting, so that a list in itself has an end.
    """
    import torch

    kind = type(value)
    if kind is torch.Tensor:
        return torch._C.TensorBase.detach(value)
    if kind in (*_NUMBERS, torch.dtype, torch.device, torch.layout, torch.memory_format):
        return value
    if depth < _DEEPEST and kind in (list, tuple, torch.Size):
        items = [plain(item, memory, depth + 1) for item in value]
        return items if kind is list else tuple(items)
    if depth < _DEEPEST and kind is dict and all(type(key) is str for key in value):
        return {key: plain(item, memory, depth + 1) for key, item in value.items()}
    refused = Violation(
        "forged_result",
        f"the wrapper returns a {kind.__module__}.{kind.__qualname__}; results are tensors, "
        "numbers, and lists, tuples and dicts of them",
    )
    memory.violations.append(refused)
    raise SanitizerError(refused)


def tensors_of(value: Any) -> list[Any]:
    """Return the tensors of a plain result, in order."""
    import torch

    if isinstance(value, torch.Tensor):
        return [value]
    if isinstance(value, dict):
        return [tensor for item in value.values() for tensor in tensors_of(item)]
    if isinstance(value, (list, tuple)):
        return [tensor for item in value for tensor in tensors_of(item)]
    return []


def provenance(tensor: Any, memory: Memory) -> dict[str, Any]:
    """Say where the bytes of one result come from.

    Returns:
        `from`: input, output (given to be written), empty or filled (allocated in the call),
        elsewhere, or empty for a tensor without elements; `bytes` of all elements, and
        `stored_bytes` that a kernel wrote.
    """
    storage = tensor.untyped_storage()
    width = tensor.element_size()
    region = memory.regions.get(storage.data_ptr()) if storage.nbytes() else None
    facts: dict[str, Any] = {"bytes": tensor.numel() * width, "stored_bytes": 0, "from": "nothing"}
    if tensor.numel() == 0:
        return facts | {"from": "empty"}
    if region is None:
        return facts | {"from": "elsewhere"}
    offsets = element_offsets(tuple(tensor.shape), tuple(tensor.stride()),
                              tensor.storage_offset(), width)  # fmt: skip
    stored = sum(int(region.is_stored[offsets + byte].sum()) for byte in range(width))
    return facts | {"from": region.kind, "stored_bytes": stored}
