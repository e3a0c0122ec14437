"""One proposer first, another for what it leaves: the synthesizer, then a language model."""

from __future__ import annotations

from models.kernels.candidate import KernelCandidate
from models.kernels.operators import OperatorSpec
from models.kernels.profiles import DeviceProfile
from models.kernels.propose.base import NothingToProposeError, Packet, Proposer


class CascadeProposer:
    """Asks the first proposer until it has nothing more to propose for an operator, then the next.

    Which proposer an operator is at survives its sessions: what has nothing left will not find
    it again. The next proposer gets the packet that the one before could not answer, with the
    text of the module that it is about.

    Args:
        proposers: In their order; at least one.
    """

    def __init__(self, *proposers: Proposer) -> None:
        if not proposers:
            raise NothingToProposeError("a cascade of no proposers; give at least one")
        self._proposers = proposers
        self._places: dict[str, int] = {}
        self._last: dict[str, KernelCandidate] = {}

    @property
    def name(self) -> str:
        """`cascade:` and the names of its proposers."""
        return f"cascade:{'+'.join(one.name for one in self._proposers)}"

    def propose(
        self, spec: OperatorSpec, profile: DeviceProfile, packet: Packet | None
    ) -> KernelCandidate:
        """Return the candidate of the first proposer that has one.

        Raises:
            NothingToProposeError: The last proposer has nothing either.
        """
        place = self._places.get(spec.op_id, 0)
        while True:
            try:
                candidate = self._proposers[place].propose(spec, profile, packet)
            except NothingToProposeError:
                if place + 1 == len(self._proposers):
                    raise
                place += 1
                self._places[spec.op_id] = place
                packet = self._handed(spec.op_id, packet)
                continue
            self._last[spec.op_id] = candidate
            return candidate

    def _handed(self, op_id: str, packet: Packet | None) -> Packet | None:
        """Return the packet with the text of its module, which the next proposer never saw."""
        last = self._last.get(op_id)
        if packet is None or last is None or packet.machine.get("sha") != last.sha:
            return packet
        return _Handed(packet, last.source)


class _Handed:
    """A packet that carries the source it is about."""

    def __init__(self, packet: Packet, source: str) -> None:
        self.kind = packet.kind
        self.machine = {**packet.machine, "source": source}
        self.text = str(getattr(packet, "text", ""))
