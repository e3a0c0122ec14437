"""Arguments of an operator as a JSON tree and one block of bytes, and back.

Tensors keep shape, strides, offset and the storage they share. The block holds each storage once,
at a multiple of 64 bytes. Every unpacking makes fresh memory.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from typing import Any

from models.errors import DataError

ALIGNMENT = 64
Tree = Any
"""JSON: numbers, text, None, lists, and objects with one key that says what they are."""


class UnsupportedValueError(DataError):
    """A value cannot be written down: a sparse tensor, a generator, a function."""


_PLAIN = (bool, str, type(None))
_NAMES = ("dtype", "memory_format", "layout", "device")


class Packer:
    """Collects storages while values are written down."""

    def __init__(self) -> None:
        self.block = bytearray()
        self._places: dict[int, tuple[int, int]] = {}
        self._kept: list[Any] = []

    def pack(self, value: Any) -> Tree:
        """Write a value down.

        Raises:
            UnsupportedValueError: It is of a kind that no file can hold.
        """
        import torch

        if isinstance(value, _PLAIN):
            return value
        if isinstance(value, torch.Tensor):
            return {"tensor": self._tensor(value)}
        if isinstance(value, (torch.SymInt, torch.SymFloat)):
            raise UnsupportedValueError("a symbolic size is no value; give a number")
        if isinstance(value, int):
            return int(value) if abs(int(value)) < 2**53 else {"int": str(int(value))}
        if isinstance(value, float):
            return {"float": value.hex()} if value != value or abs(value) == float("inf") else value
        if isinstance(value, complex):
            return {"complex": [self.pack(value.real), self.pack(value.imag)]}
        if isinstance(value, list):
            return [self.pack(item) for item in value]
        if isinstance(value, tuple):
            return {"tuple": [self.pack(item) for item in value]}
        if isinstance(value, dict) and all(isinstance(key, str) for key in value):
            return {"dict": {key: self.pack(item) for key, item in value.items()}}
        if isinstance(value, slice):
            return {"slice": [self.pack(value.start), self.pack(value.stop), self.pack(value.step)]}
        if value is Ellipsis:
            return {"ellipsis": True}
        for name in _NAMES:
            if isinstance(value, getattr(torch, name)):
                return {name: str(value).removeprefix("torch.")}
        if hasattr(value, "dtype") and hasattr(value, "item"):
            return self.pack(value.item())
        raise UnsupportedValueError(
            f"a {type(value).__module__}.{type(value).__qualname__} cannot be written to a sample "
            "file; samples hold dense tensors, numbers, text, dtypes and lists of them"
        )

    def _tensor(self, tensor: Any) -> dict[str, Any]:
        import torch

        if tensor.layout != torch.strided or tensor.is_quantized or tensor.device.type != "cpu":
            raise UnsupportedValueError(
                f"a tensor of layout {tensor.layout} on {tensor.device} cannot be written to a "
                "sample file; samples hold dense tensors of the CPU"
            )
        plain = tensor.detach()
        conj, neg = plain.is_conj(), plain.is_neg()
        plain = plain.conj() if conj else plain
        plain = plain._neg_view() if neg else plain
        storage = plain.untyped_storage()
        start, size = self._store(storage)
        described: dict[str, Any] = {
            "dtype": str(plain.dtype).removeprefix("torch."),
            "shape": list(plain.shape),
            "strides": list(plain.stride()),
            "offset": plain.storage_offset(),
            "storage": [start, size],
        }
        flags = {"conj": conj, "neg": neg, "requires_grad": tensor.requires_grad}
        return described | {name: True for name, is_on in flags.items() if is_on}

    def _store(self, storage: Any) -> tuple[int, int]:
        key = storage._cdata
        if key not in self._places:
            self.block.extend(bytes(-len(self.block) % ALIGNMENT))
            size = storage.nbytes()
            self._places[key] = (len(self.block), size)
            self._kept.append(storage)
            if size:
                self.block.extend(ctypes.string_at(storage.data_ptr(), size))
        return self._places[key]


def pack(value: Any) -> tuple[Tree, bytes]:
    """Write one value down; see `Packer`."""
    packer = Packer()
    tree = packer.pack(value)
    return tree, bytes(packer.block)


def unpack(tree: Tree, block: bytes, on_storage: Callable[[Any], None] | None = None) -> Any:
    """Build the value again, in memory of its own.

    Args:
        tree: As `pack` returned it.
        block: The bytes of its storages.
        on_storage: Called with each storage that was made.

    Raises:
        DataError: The tree is damaged: unknown kind, storage outside of the block, a tensor that
            does not fit its storage.
    """
    import torch

    storages: dict[tuple[int, int], Any] = {}

    def storage_of(place: list[int]) -> Any:
        start, size = int(place[0]), int(place[1])
        if (start, size) not in storages:
            if start < 0 or size < 0 or start + size > len(block):
                raise DataError(
                    f"a storage of {size} bytes at {start} lies outside of the {len(block)} bytes "
                    "of its sample; the file is damaged, make it again"
                )
            memory = torch.empty(size, dtype=torch.uint8).untyped_storage()
            if size:
                view = memoryview(block)[start : start + size]
                ctypes.memmove(memory.data_ptr(), bytes(view), size)
            storages[start, size] = memory
            if on_storage is not None:
                on_storage(memory)
        return storages[start, size]

    def tensor_of(node: dict[str, Any]) -> Any:
        dtype = named(torch.dtype, node["dtype"])
        empty = torch.empty(0, dtype=dtype)
        try:
            tensor = empty.set_(
                storage_of(node["storage"]), node["offset"], node["shape"], node["strides"]
            )
        except RuntimeError as error:
            raise DataError(f"a tensor does not fit its storage: {error}; correct shape, strides, "
                            "offset or storage") from None  # fmt: skip
        tensor = tensor.conj() if node.get("conj") else tensor
        tensor = tensor._neg_view() if node.get("neg") else tensor
        return tensor.requires_grad_() if node.get("requires_grad") else tensor

    def named(kind: Any, name: str) -> Any:
        value = torch.device(name) if kind is torch.device else getattr(torch, name, None)
        if not isinstance(value, kind):
            raise DataError(f"torch has no {kind.__name__} '{name}'; correct the sample")
        return value

    def build(node: Tree) -> Any:
        if isinstance(node, (*_PLAIN, int, float)):
            return node
        if isinstance(node, list):
            return [build(item) for item in node]
        if not isinstance(node, dict) or len(node) != 1:
            raise DataError(f"a value is an object of one key, found {str(node)[:80]}; correct it")
        ((kind, inner),) = node.items()
        if kind == "tensor":
            return tensor_of(inner)
        if kind in ("tuple", "slice"):
            items = [build(item) for item in inner]
            return tuple(items) if kind == "tuple" else slice(*items)
        if kind == "dict":
            return {key: build(item) for key, item in inner.items()}
        if kind == "int":
            return int(inner)
        if kind == "float":
            return float.fromhex(inner)
        if kind == "complex":
            return complex(*(build(part) for part in inner))
        if kind == "ellipsis":
            return Ellipsis
        if kind in _NAMES:
            return named(getattr(torch, kind), inner)
        raise DataError(f"no kind of value named '{kind}'; known: tensor, tuple, dict, slice, int, "
                        f"float, complex, ellipsis, {', '.join(_NAMES)}")  # fmt: skip

    return build(tree)
