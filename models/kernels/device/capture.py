"""Record what a training step asks of ATen: every operator with its arguments, as a device sees it.

The paper's second harness (model inputs): forward, backward and optimizer step run on the CPU
under a dispatch mode. Composite operators are taken apart as they are on a device that registers
none of them; calls that write are recorded as calls of the functional overload behind them.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any

from models.kernels.device.serving import named
from models.kernels.device.workloads import Workload
from models.kernels.device.writes import writes_of
from models.kernels.execute.audit import EMPTY, METADATA, READS, is_view
from models.kernels.operators.overloads import called, find_overload
from models.kernels.samples.build import record_of
from models.kernels.samples.file import SampleRecord
from models.kernels.samples.layouts import map_tensors
from models.kernels.synth.calls import Call

WHOLE = frozenset(
    {"aten::copy_", "aten::convolution", "aten::convolution_backward", "aten::index_put",
     "aten::index_put_"}
)  # fmt: skip
"""Composite operators that a device registers itself: taken apart, the first ends in a CPU loop
that no mode sees, convolutions choose a library by device."""
MOST_CALLS = 3
"""Calls kept of each overload with the same types, ranks and options, sizes 0 and 1 told from
others; their shapes and strides differ."""
STEPS = 2
"""Steps that are recorded: an optimizer's first step initialises its state."""


@dataclass(frozen=True)
class CapturedCall:
    """One call of a functional overload, with copies of its arguments."""

    overload: str
    """`aten.add.Tensor`."""
    args: tuple[Any, ...]
    kwargs: Mapping[str, Any]

    def call(self) -> Call:
        """Return the call as the synthesizer takes it."""
        return Call(called(self.overload), self.args, self.kwargs)

    def record(self) -> SampleRecord:
        """Return the call as a line of a sample file; its arguments all have names."""
        arguments = named(self.overload, self.args, self.kwargs)
        return record_of(self.overload, "", _first_dtype(arguments), (), arguments)


@dataclass(frozen=True)
class Capture:
    """What a model's training steps asked for."""

    model: str
    seed: int
    calls: tuple[CapturedCall, ...]
    counts: Mapping[str, int]
    """Calls per step by overload, whether kept or not; those that write under their own name."""

    @property
    def overloads(self) -> tuple[str, ...]:
        """Functional overloads that a device must have, ordered by name."""
        return tuple(sorted({one.overload for one in self.calls}))

    @property
    def records(self) -> tuple[SampleRecord, ...]:
        """Return the calls as lines of a sample file, which `write_samples` takes."""
        return tuple(one.record() for one in self.calls)

    def of(self, overload: str) -> tuple[CapturedCall, ...]:
        """Return the calls of one overload."""
        return tuple(one for one in self.calls if one.overload == overload)


def device_choices() -> AbstractContextManager[Any]:
    """Make the CPU choose as a device does: attention from parts, not one of the CPU's own."""
    from torch.nn.attention import SDPBackend, sdpa_kernel

    return sdpa_kernel(SDPBackend.MATH)


def capture_model(workload: Workload, seed: int = 0, steps: int = STEPS) -> Capture:
    """Run training steps on the CPU and record what they ask of ATen.

    Args:
        workload: The model.
        seed: Of weights and batches.
        steps: Steps to record.
    """
    model = workload.model(seed)
    optimizer = workload.make_optimizer(model.parameters())
    recorder = make_recorder(lambda tensor: is_step_counter(optimizer, tensor))
    for step in range(steps):
        batch = workload.batch(seed, step)
        with device_choices(), recorder:
            optimizer.zero_grad()
            model(*batch).backward()
            optimizer.step()
    counts = {name: -(-count // steps) for name, count in sorted(recorder.counts.items())}
    return Capture(workload.name, seed, tuple(recorder.kept), counts)


def is_step_counter(optimizer: Any, tensor: Any) -> bool:
    """Whether a tensor counts an optimizer's steps: torch keeps it on the host, whatever device."""
    return any(state.get("step") is tensor for state in optimizer.state.values())


def make_recorder(is_on_host: Callable[[Any], bool]) -> Any:
    """Build the dispatch mode that records; imports torch.

    Args:
        is_on_host: Whether a tensor stays on the host when the model is on a device.
    """
    import torch
    from torch.utils._python_dispatch import TorchDispatchMode

    key = torch._C.DispatchKey

    class Recorder(TorchDispatchMode):  # type: ignore[no-untyped-call]
        """See the module."""

        def __init__(self) -> None:
            super().__init__()  # type: ignore[no-untyped-call]
            self.kept: list[CapturedCall] = []
            self.counts: Counter[str] = Counter()
            self._seen: dict[str, set[str]] = {}

        def __torch_dispatch__(
            self, func: Any, types: Any, args: Any = (), kwargs: Any = None
        ) -> Any:
            named = kwargs or {}
            if func.namespace != "aten":
                return func(*args, **named)
            if func._schema.name == "aten::scalar_tensor":
                # Only on the CPU is the number written without an operator.
                result = func(*args, **named)
                self._keep("aten.fill_.Scalar", (result, args[0]), {})
                return result
            has = func.has_kernel_for_dispatch_key
            is_whole = func._schema.name in WHOLE or has(key.CPU)
            if has(key.CompositeImplicitAutograd) and not is_whole:
                with self:
                    return func._op_dk(key.CompositeImplicitAutograd, *args, **named)
            if _is_free(func):
                return func(*args, **named)
            if has(key.CompositeExplicitAutograd) and not is_whole:
                with self:
                    return func._op_dk(key.CompositeExplicitAutograd, *args, **named)
            if not (args and is_on_host(args[0])):
                self._keep(str(func), args, named)
            return called(str(func))(*args, **named)

        def _keep(self, name: str, args: Sequence[Any], kwargs: Mapping[str, Any]) -> None:
            self.counts[name] += 1
            overload, args, kwargs = as_functional(name, args, kwargs)
            kind, places = _described((args, kwargs))
            seen = self._seen.setdefault(f"{overload} {kind}", set())
            if places in seen or len(seen) >= MOST_CALLS:
                return
            seen.add(places)
            copied = map_tensors((tuple(args), dict(kwargs)), _copied)
            self.kept.append(CapturedCall(overload, *copied))

    return Recorder()


def as_functional(
    name: str, args: Sequence[Any], kwargs: Mapping[str, Any]
) -> tuple[str, tuple[Any, ...], dict[str, Any]]:
    """Return a call as one of the functional overload: without the arguments for results only."""
    writes = writes_of(name)
    if writes is None:
        return name, tuple(args), dict(kwargs)
    wanted = {one.name for one in find_overload(writes.functional)._schema.arguments}
    kept = {key: value for key, value in kwargs.items() if key in wanted}
    return writes.functional, tuple(args), kept


def _is_free(func: Any) -> bool:
    """Whether a call allocates, changes metadata or reads one value: it computes nothing."""
    name = func._schema.name.removeprefix("aten::")
    return name in EMPTY or name in METADATA or name in READS or is_view(func._schema)


def _copied(tensor: Any) -> Any:
    """Return a tensor of its own memory with the same strides and gaps."""
    detached = tensor.detach()
    storage = detached.untyped_storage().clone()
    copy = detached.new_empty(0)
    return copy.set_(storage, detached.storage_offset(), detached.shape, detached.stride())


def _described(value: Any) -> tuple[str, str]:
    """Return types, ranks and options of a call, and its shapes and strides."""
    import torch

    kinds: list[str] = []
    places: list[str] = []

    def see(one: Any) -> None:
        if isinstance(one, torch.Tensor):
            # Programs differ where a size is 0 or 1; see synth/structure.py.
            classes = "".join(str(size) if size < 2 else "n" for size in one.shape)
            kinds.append(f"{one.dtype}[{classes}]")
            places.append(f"{tuple(one.shape)}{one.stride()}")
        elif isinstance(one, Mapping):
            for key in sorted(one):
                kinds.append(key)
                see(one[key])
        elif isinstance(one, list | tuple):
            kinds.append(str(len(one)))
            for part in one:
                see(part)
        elif isinstance(one, float) and math.isfinite(one) and one not in (0.0, 1.0):
            kinds.append("float")
        else:
            kinds.append(repr(one))

    see(value)
    return " ".join(kinds), " ".join(places)


def _first_dtype(value: Any) -> str:
    """Return the type that a call is counted under: its first tensor's."""
    import torch

    found: list[str] = []

    def see(tensor: Any) -> Any:
        found.append(str(tensor.dtype).removeprefix("torch."))
        return tensor

    map_tensors(value, see)
    return found[0] if found else str(torch.get_default_dtype()).removeprefix("torch.")
