"""Candidates that were recorded, proposed again byte for byte."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from pathlib import Path

from models.errors import DataError, DatasetMissingError
from models.kernels.candidate import KernelCandidate
from models.kernels.operators import OperatorSpec
from models.kernels.profiles import DeviceProfile
from models.kernels.propose.base import NothingToProposeError, Packet


class ReplayError(DataError):
    """A record cannot be replayed."""


def traced_candidates(traces: Iterable[Path]) -> Iterator[KernelCandidate]:
    """Yield what proposers answered in traces of sessions, in the order of calls.

    A line that a kill tore at the end of a trace is passed over, as the session does.

    Args:
        traces: JSONL files of `SessionTrace`.

    Raises:
        DatasetMissingError: A file does not exist.
        ReplayError: A line is no event of a session.
    """
    for file in traces:
        if not file.is_file():
            raise DatasetMissingError(f"no trace of a session at {file}; give one that exists")
        whole, _, _ = file.read_bytes().rpartition(b"\n")
        for number, text in enumerate(whole.split(b"\n") if whole else (), start=1):
            try:
                line = json.loads(text)
                is_answer = line["what"] == "result" and line["name"] == "propose"
                if is_answer and "source" in line["data"]:
                    yield KernelCandidate.model_validate(line["data"])
            except (ValueError, TypeError, KeyError) as error:
                raise ReplayError(
                    f"{file}, line {number} is no event of a session ({error}); record it again"
                ) from error


class ReplayProposer:
    """Proposes an operator's recorded candidates in their order, whatever came of each.

    A candidate is returned as it was recorded, with the proposer that wrote it: a replayed run
    that judges otherwise than the recorded one shows a change of the judges. A new session
    (no packet) goes on where the last one ended, as the recorded sessions did; a candidate that
    was recorded twice in a row is proposed twice.

    Args:
        candidates: Of a trace, a ledger or a package, in the order of their calls.
    """

    name = "replay"

    def __init__(self, candidates: Iterable[KernelCandidate]) -> None:
        self._left: dict[str, list[KernelCandidate]] = {}
        for candidate in candidates:
            self._left.setdefault(candidate.op_id, []).append(candidate)
        if not self._left:
            raise ReplayError(
                "nothing to replay: the record holds no candidates; give one that does"
            )
        self._recorded = {op_id: len(rows) for op_id, rows in self._left.items()}

    @property
    def op_ids(self) -> tuple[str, ...]:
        """Operators with a recorded candidate."""
        return tuple(sorted(self._recorded))

    def propose(
        self, spec: OperatorSpec, profile: DeviceProfile, packet: Packet | None
    ) -> KernelCandidate:
        """Return the next recorded candidate of the operator.

        Raises:
            NothingToProposeError: All of them were proposed, or there are none.
        """
        left = self._left.get(spec.op_id)
        if not left:
            raise NothingToProposeError(
                f"{self._recorded.get(spec.op_id, 0)} candidates of {spec.op_id} are recorded and "
                "all were replayed; record more sessions or ask another proposer"
            )
        return left.pop(0)
