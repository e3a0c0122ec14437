"""The seam between the loop and whoever writes kernels."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

from models.errors import ConfigError, DataError
from models.kernels.candidate import KernelCandidate
from models.kernels.operators import OperatorSpec
from models.kernels.profiles import DeviceProfile


class DialogFullError(DataError):
    """A proposer's dialog holds no further question; the session opens a new one."""


class NothingToProposeError(ConfigError):
    """No rule, repair or recorded candidate is left for an operator."""


class Packet(Protocol):
    """What went wrong with the last candidate; the loop's feedback has this shape."""

    @property
    def kind(self) -> str:
        """lint, compile, crash, timeout, accuracy, audit, resource."""
        ...

    @property
    def machine(self) -> Mapping[str, Any]:
        """Facts for a program: sha, dtype, error_class and the like.

        `dialog` and `call` count from 1 and say which call comes next; `policy` and `source` are
        those of the candidate that failed. `resume` is true where what was said before is
        forgotten: a new dialog begins, with the packet of the best candidate so far, or a killed
        session goes on.
        """
        ...


class Proposer(Protocol):
    """Writes the next candidate of an operator."""

    @property
    def name(self) -> str:
        """Recorded with every candidate."""
        ...

    def propose(
        self, spec: OperatorSpec, profile: DeviceProfile, packet: Packet | None
    ) -> KernelCandidate:
        """Return a candidate; with a packet, one that answers it.

        Raises:
            DialogFullError: The dialog is full; the next call begins a new one.
            ServiceError: What it asks does not answer now; it is asked again.
            ProjectError: It has nothing more to propose.
        """
        ...
