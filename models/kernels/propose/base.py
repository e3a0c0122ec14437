"""The seam between the loop and whoever writes kernels."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

from models.kernels.candidate import KernelCandidate
from models.kernels.operators import OperatorSpec
from models.kernels.profiles import DeviceProfile


class Packet(Protocol):
    """What went wrong with the last candidate; the loop's feedback has this shape."""

    @property
    def kind(self) -> str:
        """lint, compile, crash, timeout, accuracy, audit, resource."""
        ...

    @property
    def machine(self) -> Mapping[str, Any]:
        """Facts for a program: dtype, error_class, parent_sha and the like."""
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
            ProjectError: It has nothing more to propose.
        """
        ...
