"""Output contracts: what each tool returned before, and what is new and sensitive in it now."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import msgspec

from models.detection.integrity.leaks import default_scanner
from models.detection.integrity.manifests import latest
from models.detection.integrity.records import fields_of, kind_of, number_of, parsed, plain_name
from models.detection.integrity.request import Step, steps_of
from models.detection.secrets import SecretScanner
from models.detection.session import Session, ToolManifest
from models.detection.verdicts import Evidence, Outcome, Signal
from models.errors import DataError

SCHEMA = "loom-contracts/1"
OUTPUT, POISONING = "ADR.T0005", "ADR.T0013"
_LEAST_RESULTS = 5
"""Results of a tool from which on its contract says something."""
_LEAST_NUMBERS = 20
_FAR = 50.0
"""How many times beyond all that was seen a number must lie."""

_SENSITIVE = re.compile(
    r"password|passwd|passphrase|secret|apikey|accesskey|privatekey|accesstoken|refreshtoken|"
    r"authtoken|sessiontoken|bearer|credential|ssn|socialsecurity|creditcard|cardnumber|cvv|"
    r"geolocation|latitude|longitude|homeaddress|dateofbirth|keystroke|clipboard|screenshot|"
    r"browserhistory|environment(?:variables)?$|^env(?:vars?)?$|contacts?list|fingerprint|"
    r"trackingid|deviceid|macaddress"
)
_HIDDEN_NAMES = ("_", "x-")


class FieldContract(msgspec.Struct):
    """What one field of a tool's results was.

    Attributes:
        kinds: Sorts of its values with how often.
        least, most: Of its numbers.
        numbers: How many numbers there were.
    """

    kinds: dict[str, int] = {}
    least: float = 0.0
    most: float = 0.0
    numbers: int = 0


class ToolContract(msgspec.Struct):
    """What a tool's results were.

    Attributes:
        results: How many were read as records.
        fields: By their paths.
    """

    results: int = 0
    fields: dict[str, FieldContract] = {}


class _File(msgspec.Struct):
    schema: str
    tools: dict[str, ToolContract]


class Contracts:
    """Contracts of tools, learned from sessions that are known to be good.

    Args:
        tools: By `server/tool`.
    """

    def __init__(self, tools: dict[str, ToolContract] | None = None) -> None:
        self.tools = tools or {}

    def learn(self, sessions: Iterable[Session]) -> int:
        """Take the results of sessions into the contracts; returns how many were records."""
        count = 0
        for session in sessions:
            for step in steps_of(session):
                value = _record(step)
                if value is not None:
                    count += 1
                    self._take(step.title, value)
        return count

    def _take(self, tool: str, value: Any) -> None:
        contract = self.tools.setdefault(tool, ToolContract())
        contract.results += 1
        for one in fields_of(value):
            field = contract.fields.setdefault(one.path, FieldContract())
            kind = kind_of(one.value)
            field.kinds[kind] = field.kinds.get(kind, 0) + 1
            if (number := number_of(one.value)) is not None:
                is_first = field.numbers == 0
                field.least = number if is_first else min(field.least, number)
                field.most = number if is_first else max(field.most, number)
                field.numbers += 1

    def examine(
        self, session: Session, manifests: Iterable[ToolManifest] = (),
        scanner: SecretScanner | None = None,
    ) -> tuple[Signal, ...]:  # fmt: skip
        """Return what the results of a session hold that their tools never did.

        Args:
            session: Judged.
            manifests: Beside those in its record; a declared output schema is a contract too.
            scanner: What finds credentials; None: the shipped forms.
        """
        offered = latest((*manifests, *session.manifests))
        scanner = scanner or default_scanner()
        found: list[Signal] = []
        for step in steps_of(session):
            value = _record(step)
            if value is not None:
                schema = getattr(offered.get((step.call.server, step.call.tool)), "output_schema",
                                 None)  # fmt: skip
                found += self._of_result(step, value, schema, scanner)
        return tuple(dict.fromkeys(found))

    def _of_result(
        self, step: Step, value: Any, schema: Mapping[str, Any] | None, scanner: SecretScanner
    ) -> Iterator[Signal]:
        contract = self.tools.get(step.title)
        is_learned = contract is not None and contract.results >= _LEAST_RESULTS
        declared = _declared(schema) if schema else None
        for one in fields_of(value):
            name = plain_name(one.name)
            known = contract.fields.get(one.path) if contract and is_learned else None
            is_new = (is_learned and known is None) or (
                declared is not None and name not in declared and not is_learned
            )
            if is_new and _SENSITIVE.search(name) and one.value not in (None, "", False):
                yield from _undeclared(step, one.path, str(one.value), scanner)
            elif known is not None:
                yield from _out_of_range(step, one.path, one.value, known)

    def save(self, file: Path) -> None:
        """Write the contracts."""
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(msgspec.json.encode(_File(SCHEMA, self.tools), order="sorted") + b"\n")

    @staticmethod
    def load(file: Path) -> Contracts:
        """Read contracts.

        Raises:
            DataError: The file holds none.
        """
        try:
            read = msgspec.json.decode(file.read_bytes(), type=_File)
            if read.schema != SCHEMA:
                raise ValueError(f"its schema is {read.schema!r}")
        except (OSError, ValueError) as error:
            raise DataError(
                f"{file} holds no contracts of {SCHEMA} ({error}); learn them anew"
            ) from None
        return Contracts(read.tools)


def _record(step: Step) -> Any:
    result = step.result
    return parsed(result.text) if result is not None and result.status == "ok" else None


def _declared(schema: Mapping[str, Any]) -> set[str]:
    """Return the names of all fields that a schema knows, at any depth."""
    found: set[str] = set()
    stack: list[Any] = [schema]
    while stack and len(found) < 5_000:
        one = stack.pop()
        if isinstance(one, dict):
            properties = one.get("properties")
            if isinstance(properties, dict):
                found |= {plain_name(str(name)) for name in properties}
            stack += one.values()
        elif isinstance(one, list):
            stack += one
    return found


def _undeclared(step: Step, path: str, value: str, scanner: SecretScanner) -> Iterator[Signal]:
    # A user who asks for the password expects one.
    if any(word in step.request.source.text for word in re.findall(r"[a-z]{4,}", path.casefold())):
        return
    secrets = scanner.scan(f"{path}: {value}")
    is_certain = any(one.certainty == "certain" for one in secrets)
    yield _signal(
        "undeclared-field",
        f"`{step.title}` returned a field '{path}' that it neither declares nor returned before"
        + (f"; it holds a credential ({secrets[0].rule})" if is_certain else ""),
        step, 0.8 if is_certain else 0.5, OUTPUT, "policy" if is_certain else "partial",
    )  # fmt: skip


def _out_of_range(step: Step, path: str, value: Any, known: FieldContract) -> Iterator[Signal]:
    number = number_of(value)
    if number is None or known.numbers < _LEAST_NUMBERS:
        return
    reach = max(abs(known.least), abs(known.most), 1e-9)
    is_flipped = number < 0 <= known.least and abs(number) > 0.01 * reach
    if abs(number) > _FAR * reach or is_flipped:
        yield _signal(
            "number-out-of-range",
            f"`{step.title}` returned {path} = {number:,g}; in {known.numbers} results before it "
            f"lay between {known.least:,g} and {known.most:,g}",
            step, 0.3, POISONING, "attempted",
        )  # fmt: skip


def _signal(
    rule: str, sentence: str, step: Step, weight: float, technique: str, outcome: Outcome
) -> Signal:
    events = (step.result.id,) if step.result is not None else (step.event.id,)
    return Signal(outcome, Evidence(rule, sentence, events, weight), technique)
