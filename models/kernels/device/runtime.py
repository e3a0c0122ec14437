"""Run generated modules on the device's memory: every launch bounded, every wrapper watched.

Needs a process that was started with TRITON_INTERPRET=1.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from models.errors import ProjectError
from models.kernels.candidate import HEADER_LINES, KernelCandidate, load_module
from models.kernels.device.extension import DEVICE
from models.kernels.execute.audit import EMPTY, METADATA, is_view
from models.kernels.execute.builder import STATE
from models.kernels.execute.launch import install
from models.kernels.execute.memory import Memory, Region
from models.kernels.execute.recorder import BlackBox, Recorder
from models.kernels.samples.layouts import map_tensors


class DeviceRuleError(ProjectError, RuntimeError):
    """A module on the device does what only another module may do."""


class DeviceMemory(Memory):
    """The storages of one call: arguments may be read, what the wrapper allocates also written."""

    def __init__(self, arguments: Iterable[Any], written: Iterable[Any] = ()) -> None:
        super().__init__()
        for tensor in arguments:
            self._know(tensor.untyped_storage(), "input")
        for tensor in written:
            self._know(tensor.untyped_storage(), "output")

    def _know(self, storage: Any, kind: Any) -> None:
        if storage.nbytes():
            start = storage.data_ptr()
            self.regions[start] = Region(start, storage.nbytes(), kind, keep=storage)

    def region_of(self, storage: Any) -> Region | None:
        """Return the region of a storage of the device; None for memory of the host."""
        if storage.device.type != DEVICE:
            return None
        if storage.data_ptr() not in self.regions:
            self._know(storage, "output")
        return self.regions.get(storage.data_ptr())

    def seal(self, regions: Iterable[Region]) -> None:
        """Seal nothing: on the device no operator writes but a module's own kernels."""

    def check_seals(self, regions: Iterable[Region], kernel: str = "", line: int = 0) -> None:
        """Check nothing; see `seal`."""


class Runtime:
    """The modules of a device, and what they did.

    Args:
        candidates: Modules by overload.
        folder: Where their files go; it must stay while the device is used.
    """

    def __init__(self, candidates: Mapping[str, KernelCandidate], folder: Path) -> None:
        install()
        self.modules: dict[str, Any] = {}
        self.calls: Counter[str] = Counter()
        """Calls of modules, by the overload that asked for one."""
        self._recorders: dict[str, Recorder] = {}
        box = BlackBox()
        for name, candidate in candidates.items():
            module = load_module(candidate, folder)
            self.modules[name] = module
            self._recorders[name] = Recorder(box, str(module.__file__), HEADER_LINES)
        self._watch = _make_watch()

    @property
    def launches(self) -> int:
        """Kernels launched so far."""
        return sum(recorder.total for recorder in self._recorders.values())

    def call(self, name: str, arguments: Mapping[str, Any], written: tuple[Any, ...] = ()) -> Any:
        """Run a module's wrapper.

        Args:
            name: Overload of the module.
            arguments: By name, on the device.
            written: Those of the arguments that it may write to.

        Raises:
            NotImplementedError: The module has no program for these types, ranks or options.
            DeviceRuleError: A wrapper asks ATen to compute.
        """
        if name not in self.modules:
            raise NotImplementedError(f"Could not run '{name}': no module of the device serves it")
        plain = map_tensors(dict(arguments), _plain)
        with self._checked(name, DeviceMemory(_tensors(plain), written)):
            try:
                return self.modules[name].wrapper(**plain)
            except NotImplementedError as error:
                raise NotImplementedError(
                    f"Could not run '{name}': {error}, for {describe_arguments(plain)}; capture "
                    "this call and refine the module with it"
                ) from error

    @contextmanager
    def _checked(self, name: str, memory: Memory) -> Iterator[None]:
        if STATE.memory is not None:
            raise DeviceRuleError(
                f"a wrapper asks for {name} while it runs; wrappers of a device allocate, change "
                "metadata and launch their own kernels"
            )
        self.calls[name] += 1
        STATE.memory, STATE.recorder = memory, self._recorders[name]
        STATE.recorder.kernel = ""
        try:
            with self._watch(name):
                yield
        finally:
            STATE.memory = None


def _tensors(value: Any) -> list[Any]:
    found: list[Any] = []

    def see(tensor: Any) -> Any:
        found.append(tensor)
        return tensor

    map_tensors(value, see)
    return found


def describe_arguments(arguments: Mapping[str, Any]) -> str:
    """Return types, shapes and options of a call in one line."""

    def words(value: Any) -> str:
        if hasattr(value, "dtype"):
            return f"{str(value.dtype).removeprefix('torch.')}{list(value.shape)}"
        if isinstance(value, list | tuple):
            return "[" + ", ".join(words(one) for one in value) + "]"
        return repr(value)

    return ", ".join(f"{name}={words(value)}" for name, value in arguments.items())


def _plain(tensor: Any) -> Any:
    """Return a tensor without its autograd history or class: a wrapper sees memory."""
    import torch

    if tensor.device.type == "cpu" and tensor.dim() == 0:
        return tensor.item()  # a number that ATen wrapped
    return tensor if type(tensor) is torch.Tensor else tensor.data


def _make_watch() -> Any:
    """Build the dispatch mode that a wrapper runs under; imports torch."""
    from torch.utils._python_dispatch import TorchDispatchMode

    class Watch(TorchDispatchMode):  # type: ignore[no-untyped-call]
        """Refuses what is neither allocation nor metadata."""

        def __init__(self, module: str) -> None:
            super().__init__()  # type: ignore[no-untyped-call]
            self.module = module

        def __torch_dispatch__(
            self, func: Any, types: Any, args: Any = (), kwargs: Any = None
        ) -> Any:
            name = func._schema.name.removeprefix("aten::")
            if name in EMPTY or name in METADATA or is_view(func._schema):
                return func(*args, **(kwargs or {}))
            raise DeviceRuleError(
                f"the wrapper of {self.module} asks ATen for {name}; it may allocate, change "
                "metadata and launch its own kernels"
            )

    return Watch
