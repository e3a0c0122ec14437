"""Write a module by rules: here, or in a fork of the warm parent.

Tracing keeps Python busy for seconds per operator. In a fork it has a core of its own, a time-out,
and what it allocates goes with it.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from typing import Any

from models.config import Config
from models.kernels.execute.zygote import Zygote, ZygoteError
from models.kernels.operators import OperatorSpec
from models.kernels.propose.base import NothingToProposeError
from models.kernels.synth.calls import Call, serving_signature
from models.kernels.synth.module import synthesize
from models.kernels.synth.program import BY_HAND
from models.kernels.synth.schedule import Schedule

_PER_TYPE_CALLS = 1_000
_IN_FORK = "models.kernels.propose.writing:write_in_fork"
_MOST_S = 900.0
"""Wall seconds for one module; max_pool2d takes 200 on a busy machine."""


class Written(Config):
    """A module, and what its rules say of it."""

    source: str
    """The module."""
    rules: tuple[str, ...]
    """Families of rules that wrote it."""
    programs: int
    """Programs in it, each for one structure of arguments."""
    refused: dict[str, int]
    """Calls without a program, by reason."""
    signature: str
    """Schema that its wrapper follows."""
    hand_written: bool = False
    """Begins with a function of torch spelled out by hand for this operator."""


Writer = Callable[[OperatorSpec, Schedule], Written]


def public_calls(spec: OperatorSpec) -> list[Call]:
    """Return the calls of the public suite, which is what a proposer may see."""
    from models.kernels.samples.streams import stream, take

    return [
        Call(one.function, one.args, one.kwargs)
        for dtype in spec.dtypes
        for one in take(stream(spec.op_id, "S", dtype), _PER_TYPE_CALLS)
    ]


@contextmanager
def _quiet_tracing() -> Iterator[None]:
    """Silence torch's log of failed traces: what they mean is in the policy, as `refused`."""
    logger = logging.getLogger("torch._subclasses.fake_tensor")
    before, logger.disabled = logger.disabled, True
    try:
        yield
    finally:
        logger.disabled = before


def write_module(spec: OperatorSpec, schedule: Schedule, calls: Sequence[Call]) -> Written:
    """Write the module that serves calls, as far as the rules go.

    Raises:
        NothingToProposeError: No rule serves any call.
    """
    from models.kernels.synth.scalar import UnsupportedError

    try:
        with _quiet_tracing():
            signature = serving_signature(spec.op_id, spec.schema_text, spec.overloads, calls)
            source, made = synthesize(signature, calls, schedule)
    except UnsupportedError as error:
        raise NothingToProposeError(f"no rule serves {spec.op_id}: {error}") from error
    return Written(
        source=source, rules=made.rules, programs=len(made.programs), refused=made.refused,
        signature=signature.schema, hand_written=BY_HAND in made.rules,
    )  # fmt: skip


def write_in_fork(arguments: dict[str, Any], _: bytes) -> tuple[dict[str, Any], bytes]:
    """Write a module of an operator's public calls; what the warm parent calls in a fork."""
    spec = OperatorSpec.model_validate(arguments["spec"])
    try:
        written = write_module(spec, Schedule(**arguments["schedule"]), public_calls(spec))
    except NothingToProposeError as error:
        return {"nothing": str(error)}, b""
    return {"written": written.model_dump(mode="json")}, b""


class ForkedWriter:
    """Writes in forks of a warm parent.

    Args:
        zygote: The parent.
        most_s: Wall seconds for one module.
    """

    def __init__(self, zygote: Zygote, most_s: float = _MOST_S) -> None:
        self._zygote = zygote
        self._most_s = most_s

    def __call__(self, spec: OperatorSpec, schedule: Schedule) -> Written:
        """Write the module of an operator's public calls.

        Raises:
            NothingToProposeError: No rule serves any call, or the fork took too long or died.
            ZygoteError: The warm parent is gone.
        """
        arguments = {"spec": spec.model_dump(mode="json"), "schedule": asdict(schedule)}
        try:
            answer, _ = self._zygote.call(_IN_FORK, arguments, timeout_s=self._most_s)
        except ZygoteError as error:
            if not str(error).startswith(_IN_FORK):
                raise  # the parent itself is gone: asked again, the same question may be answered
            raise NothingToProposeError(
                f"writing {spec.op_id} by rules failed: {str(error)[:500]}; mend the rule that "
                "did it"
            ) from error
        if "nothing" in answer:
            raise NothingToProposeError(answer["nothing"])
        return Written.model_validate(answer["written"])
