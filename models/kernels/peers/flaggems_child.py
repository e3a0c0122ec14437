"""FlagGems on the samples of one operator, in a fork of the warm parent.

torch's own function is called, and what reaches ATen goes to FlagGems where it has the overload:
so composite operators are FlagGems' too when all of their parts are. A sample of which a part
would compute in ATen is not served, and counts as failed under that reason.
"""

from __future__ import annotations

import ctypes
import resource
import signal
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from models.kernels.execute.audit import EMPTY, METADATA, READS, is_view, reading_allowed
from models.kernels.execute.builder import STATE
from models.kernels.execute.call import POISON
from models.kernels.execute.memory import Memory, Region, SanitizerError
from models.kernels.execute.recorder import BlackBox, Recorder
from models.kernels.execute.results import tensors_of
from models.kernels.peers.flaggems_shim import LoadedPeer, load_flaggems
from models.kernels.samples.values import Packer, unpack

_OWN = "flag_gems/"
_FREE = EMPTY | METADATA | READS


class NotServedError(Exception):
    """A part of an operator would compute in ATen: FlagGems does not have it."""


class SampleTimeoutError(BaseException):
    """A sample took longer than allowed; no `except Exception` of a library hides it."""


class PeerMemory(Memory):
    """Accesses are checked, changes between launches are not: wrappers of peers use ATen."""

    def check_seals(self, regions: Iterable[Region], kernel: str = "", line: int = 0) -> None:
        """Accept whatever changed outside of kernels."""


def run_batch(arguments: dict[str, Any], block: bytes) -> tuple[dict[str, Any], bytes]:
    """Run samples one by one.

    Args:
        arguments: op_id, samples (tree and place of each), sample_s, align_bytes.
        block: Bytes of the samples' storages.

    Returns:
        outcomes, places of the packed results, versions; the results.
    """
    from models.kernels.operators.opinfo import entries_of

    outcomes, places, whole = [], [], bytearray()
    function = entries_of(arguments["op_id"])[0].op
    STATE.recorder = Recorder(BlackBox(), "", 0)
    STATE.align_bytes = int(arguments["align_bytes"])
    signal.signal(signal.SIGALRM, _too_late)
    with tempfile.TemporaryDirectory(prefix="flaggems-") as cache:
        peer = load_flaggems(Path(cache))
        for sample in arguments["samples"]:
            outcome, out = _run(peer, function, sample, block, float(arguments["sample_s"]))
            outcomes.append(outcome)
            places.append([len(whole), len(out)])
            whole += out
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return {
        "outcomes": outcomes, "places": places, "version": peer.version,
        "cpu_s": usage.ru_utime + usage.ru_stime, "peak_rss_bytes": usage.ru_maxrss * 1024,
    }, bytes(whole)  # fmt: skip


def _too_late(*_: Any) -> None:
    raise SampleTimeoutError


def _run(
    peer: LoadedPeer, function: Callable[..., Any], sample: dict[str, Any], block: bytes,
    limit_s: float,
) -> tuple[dict[str, Any], bytes]:  # fmt: skip
    """Run one sample; returns its raw outcome as the harness knows it, and its packed result."""
    import torch

    memory, recorder = PeerMemory(), STATE.recorder
    assert recorder is not None

    def register(storage: Any) -> None:
        memory.add(Region(storage.data_ptr(), storage.nbytes(), "input", keep=storage))

    start, size = sample["place"]
    args, kwargs = unpack(sample["tree"], block[start : start + size], register)
    redirect = make_redirect(peer.functions, memory)
    began, before = time.process_time(), recorder.total
    STATE.caught.clear()
    STATE.memory = memory
    signal.setitimer(signal.ITIMER_REAL, limit_s)
    try:
        with torch.no_grad(), redirect:
            result = function(*args, **kwargs)
        signal.setitimer(signal.ITIMER_REAL, 0)
        packer = Packer()
        with reading_allowed():
            result = _plain(result)
            tree = packer.pack(result)
            facts = [_fact(tensor) for tensor in tensors_of(result)]
        outcome = {"status": "ran", "tree": tree, "tensors": facts}
        out = bytes(packer.block)
        if not redirect.served:
            outcome, out = _raised(NotServedError("FlagGems has no part in it")), b""
    except SampleTimeoutError:
        outcome, out = _raised(TimeoutError(f"no result within {limit_s:g} s")), b""
    except (SanitizerError, Exception) as error:
        # Triton's interpreter wraps what a kernel raised.
        cause = error.__cause__ if type(error).__name__ == "InterpreterError" else None
        outcome, out = _raised(cause or error), b""
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        STATE.memory = None
    if memory.violations:
        seen = [dict(vars(one)) for one in memory.violations[:4]]
        outcome, out = {"status": "violation", "violations": seen}, b""
    outcome |= {"cpu_s": time.process_time() - began, "launches": recorder.total - before}
    return outcome, out


def _fact(tensor: Any) -> dict[str, Any]:
    """Say of a result that it is a peer's: its bytes are not asked who wrote them."""
    size = tensor.numel() * tensor.element_size()
    return {"bytes": size, "stored_bytes": 0, "from": "peer"}


def _plain(value: Any) -> Any:
    """Return a result without torch's named tuples, which the functions of torch give."""
    if isinstance(value, tuple | list):
        items = [_plain(item) for item in value]
        return items if isinstance(value, list) else tuple(items)
    return value


def _raised(error: BaseException) -> dict[str, Any]:
    own = [one for one in traceback.extract_tb(error.__traceback__) if _OWN in one.filename]
    where = f"{own[-1].filename.rpartition(_OWN)[2]}, line {own[-1].lineno}" if own else ""
    return {"status": "raised", "error_type": type(error).__name__,
            "error_bases": [base.__name__ for base in type(error).__mro__],
            "message": str(error)[:500], "trace": where}  # fmt: skip


def make_redirect(functions: dict[str, Callable[..., Any]], memory: Memory) -> Any:
    """Build the mode that sends ATen's overloads to a peer; imports torch.

    Args:
        functions: The peer's, by overload.
        memory: Where storages are registered, so that accesses of kernels are checked.

    Returns:
        The mode; `served` counts the peer's functions by overload.
    """
    from torch.utils._python_dispatch import TorchDispatchMode

    def register(value: Any, is_undefined: bool) -> None:
        for tensor in tensors_of(value):
            with reading_allowed():
                storage = tensor.untyped_storage()
            if storage.nbytes() and storage.data_ptr() not in memory.regions:
                if is_undefined:
                    ctypes.memset(storage.data_ptr(), POISON[0], storage.nbytes())
                memory.add(Region(storage.data_ptr(), storage.nbytes(), "filled", keep=storage))

    def name_of(func: Any) -> str:
        return str(func).removeprefix("aten.")

    class Registering(TorchDispatchMode):  # type: ignore[no-untyped-call]
        """Around the peer's own functions: ATen answers, storages become known."""

        def __torch_dispatch__(
            self, func: Any, types: Any, args: Any = (), kwargs: Any = None
        ) -> Any:
            result = func(*args, **(kwargs or {}))
            register(result, func._schema.name.removeprefix("aten::") in EMPTY)
            return result

    class Redirect(TorchDispatchMode):  # type: ignore[no-untyped-call]
        """Around torch's function."""

        def __init__(self) -> None:
            super().__init__()  # type: ignore[no-untyped-call]
            self.served: Counter[str] = Counter()

        def __torch_dispatch__(
            self, func: Any, types: Any, args: Any = (), kwargs: Any = None
        ) -> Any:
            name, named = name_of(func), kwargs or {}
            if name in functions:
                self.served[name] += 1
                register((args, named), False)
                with Registering():  # type: ignore[no-untyped-call]
                    return functions[name](*args, **named)
            plain_name = func._schema.name.removeprefix("aten::")
            if plain_name not in _FREE and not is_view(func._schema):
                raise NotServedError(f"FlagGems has no {name}")
            result = func(*args, **named)
            register(result, plain_name in EMPTY)
            return result

    return Redirect()
