"""Load FlagGems where there is no accelerator: on the CPU, in Triton's interpreter.

FlagGems picks a vendor, asks its driver for properties and times configurations when it is
imported or first called. Here it gets a vendor whose device is the CPU, a driver that answers with
the numbers of one streaming multiprocessor, `libentry` as the identity, and the first
configuration of every tuner. None of its files is changed, none of its sources is part of this
project (Apache-2.0).
"""

from __future__ import annotations

import contextlib
import enum
import hashlib
import importlib
import inspect
import os
import re
import sys
import textwrap
import types
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from models.errors import ConfigError

_VENDOR = "arm"
"""Its only vendor on the CPU; it is missing in its own list, and has operators that need a build
of Triton for the CPU: the general ones are used instead."""


class PeerMissingError(ConfigError):
    """FlagGems is not installed, or another version than the adapter is written for."""


@dataclass(frozen=True)
class LoadedPeer:
    """FlagGems, ready to be called."""

    version: str
    functions: dict[str, Callable[..., Any]]
    """Its functions by the ATen overload they serve, `add.Tensor`; functional ones only."""


class _FirstConfig:
    """Stands for a tuner: launches with the first configuration, whatever the sizes."""

    def __init__(self, fn: Any, configs: Iterable[Any]) -> None:
        self.fn = fn
        self.arg_names = fn.arg_names
        self.chosen = next(iter(configs), None)

    def __getitem__(self, grid: Any) -> Callable[..., Any]:
        """Return the launcher of a grid, as a kernel does."""
        return lambda *args, **kwargs: self.run(*args, grid=grid, warmup=False, **kwargs)

    def run(self, *args: Any, **kwargs: Any) -> Any:
        """Launch; arguments that the caller gives win over the configuration's."""
        chosen = {} if self.chosen is None else self.chosen.all_kwargs()
        return self.fn.run(*args, **{**chosen, **kwargs})

    def __getattr__(self, name: str) -> Any:
        return getattr(self.fn, name)


def _tuner(configs: Iterable[Any] = (), *_: Any, **__: Any) -> Callable[[Any], _FirstConfig]:
    return lambda fn: _FirstConfig(fn, configs)


def _module(name: str, **values: Any) -> types.ModuleType:
    """Register a module under a name that FlagGems is going to import."""
    module = types.ModuleType(name)
    vars(module).update(values)
    sys.modules[name] = module
    return module


def _vendors() -> Any:
    """Return its list of vendors with the one that it lacks."""
    names = ("nvidia", "cambricon", "metax", "iluvatar", "mthreads", "kunlunxin", "hygon", "amd",
             "aipu", "ascend", "tsingmicro", "sunrise", "enflame", _VENDOR)  # fmt: skip
    make: Any = enum.Enum
    vendors = make("vendors", [name.upper() for name in names])

    def get_all_vendors(kind: Any) -> dict[str, Any]:
        return {member.name.lower(): member for member in kind}

    vendors.get_all_vendors = classmethod(get_all_vendors)
    return vendors


def _stand_in(cache: Path) -> None:
    """Put in place what FlagGems imports and asks of the machine."""
    import torch

    os.environ |= {"GEMS_VENDOR": _VENDOR, "FLAGGEMS_CACHE_DIR": str(cache), "HOME": str(cache)}
    # It looks for the vendor's math library as an attribute, which an import makes.
    importlib.import_module("triton.language.extra.libdevice")
    _module("flag_gems.runtime.common", vendors=_vendors())
    _module(f"_{_VENDOR}.ops")
    _module(f"_{_VENDOR}.fused")
    _module("flag_gems.utils.libentry", libentry=lambda: lambda fn: fn, libtuner=_tuner,
            LibEntry=object, LibTuner=_FirstConfig, LibCache=object)  # fmt: skip
    properties = types.SimpleNamespace(
        multi_processor_count=1, max_shared_mem=2**20, L2_cache_size=2**22, major=9, minor=0,
        total_memory=2**33, name="interpreter", warp_size=32, max_threads_per_multi_processor=2048,
    )  # fmt: skip
    cpu: Any = torch.cpu
    cpu.device = lambda device=None: contextlib.nullcontext()
    cpu._DeviceGuard = cpu.device
    cpu.get_device_properties = lambda device=None: properties
    cpu.get_device_capability = lambda device=None: (9, 0)
    cpu.get_device_name = lambda device=None: "interpreter"
    cpu.current_device = lambda: 0
    cpu.default_generators = [torch.default_generator]


def _complete_interpreter() -> None:
    """Give interpreted kernels what compiled ones have and FlagGems asks of them."""
    import triton
    from triton.runtime import interpreter

    triton.autotune = _tuner
    interpreted: Any = interpreter.InterpretedFunction
    interpreted.src = property(_source)
    interpreted.__globals__ = property(lambda function: function.fn.__globals__)
    interpreted.cache_key = property(
        lambda function: hashlib.sha256(_source(function).encode()).hexdigest()
    )
    # Compiled, a type that is a constexpr has its value there; interpreted, it is the type itself.
    kind_of_type: Any = triton.language.dtype
    kind_of_type.value = property(lambda kind: kind)


@contextlib.contextmanager
def _interpreted_is_compiled() -> Iterator[None]:
    """Let FlagGems take an interpreted function for the class that it asserts to get."""
    from triton.runtime import interpreter, jit

    compiled: Any = jit.JITFunction
    jit.JITFunction = interpreter.InterpretedFunction
    try:
        yield
    finally:
        jit.JITFunction = compiled


def _unwrap_buffers(kind: type[Any]) -> None:
    """Launch with tensors where FlagGems passes its own pointer with sizes of its own."""
    import torch
    from triton.runtime import interpreter

    interpreted: Any = interpreter.InterpretedFunction
    launch = interpreted.run

    def tensor_of(value: Any) -> Any:
        if not isinstance(value, kind):
            return value
        base = value.unwrap()
        size = 1 if base.numel() else 0
        # A kernel takes the address only; its strides are arguments of their own.
        at = torch.as_strided(base, (size,), (1,), base.storage_offset() + value.offset)
        return at.view(value.dtype) if value.dtype != base.dtype else at

    def run(self: Any, *args: Any, **kwargs: Any) -> Any:
        named = {name: tensor_of(value) for name, value in kwargs.items()}
        return launch(self, *map(tensor_of, args), **named)

    interpreted.run = run


def _source(function: Any) -> str:
    """Return a kernel's text from `def` on, as compiled functions have it."""
    text = textwrap.dedent(inspect.getsource(function.fn))
    return text[re.search(r"^def\s+\w+\s*\(", text, re.MULTILINE).start() :]  # type: ignore[union-attr]


def load_flaggems(cache: Path) -> LoadedPeer:
    """Import FlagGems into this process, which must interpret kernels; takes about 3 seconds.

    Args:
        cache: Folder for the wrappers that it generates.

    Raises:
        PeerMissingError: It is not installed, or cannot be imported with these versions.
    """
    _stand_in(cache)
    _complete_interpreter()
    try:
        with _interpreted_is_compiled():
            gems = importlib.import_module("flag_gems")
            buffers = importlib.import_module("flag_gems.utils.tensor_wrapper").StridedBuffer
            generated = importlib.import_module("flag_gems.utils.codegen_config_utils")
    except ImportError as error:
        raise PeerMissingError(
            f"FlagGems cannot be imported: {error}; install it with "
            "`python .ci/install.py --extra flaggems`"
        ) from error
    _unwrap_buffers(buffers)
    # Triton 3.9 has no block pointers any more; FlagGems generates kernels without them too.
    generated.CodeGenConfig.prefer_block_pointer = property(lambda _: False, lambda _, __: None)
    functions = {}
    for entry in gems._FULL_CONFIG:
        name, function = entry[0], entry[1]
        base, _, overload = name.partition(".")
        if not base.endswith("_") and "out" not in overload:
            functions[f"{base}.{overload or 'default'}"] = function
    return LoadedPeer(str(gems.__version__), functions)
