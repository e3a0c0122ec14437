"""The detector of a session: follows what it was told into what it did, and judges."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Collection
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from models.detection.dataflow.labels import UNLABELLED, Labels
from models.detection.reasoning.answers import Echo, best_echo
from models.detection.reasoning.explained import is_explained, is_half, reasons
from models.detection.reasoning.links import NAMES, Flow, Link, flow_of
from models.detection.session import Session
from models.detection.triage.blocks import Block, Reading, SpanModels, read_session
from models.detection.triage.route import Router
from models.detection.triage.sentences import BUCKETS
from models.detection.triage.spans import SpanModel
from models.detection.triage.trees import Trees
from models.detection.verdicts import Evidence, Outcome, Verdict
from models.errors import DataError
from models.settings import ROOT

SCHEMA = "loom-detector/2"
SHIPPED = ROOT / "datasets" / "detection" / "detector" / "detector.json"
"""The trained file; its card stands beside it."""

LEAST_COVERAGE = 0.5
"""Share of a record that must have been read to call it benign."""

_RULE_ODDS = 2.5
"""How much likelier a call obeys an order when a rule found something in it too: declared, not
fitted."""
_LONGEST_SPAN = 400
_MOST_TOLD = 5
"""Blocks that lead away that a verdict shows: the strongest, each text once."""
_INJECTION = "ADR.T0002"


@dataclass(frozen=True)
class Detector:
    """A trained detector.

    Attributes:
        spans: What finds instruction blocks.
        calls: Chance that a call obeys a block, by the features of a link.
        echoes: Chance that an answer does, by the features of an echo.
        router: Which sessions are worth that.
        alert: Chance from which a session counts as executed.
        attempt: Chance of a block from which an agent counts as led away.
        origin: What it was trained on.
    """

    spans: SpanModels
    calls: Trees
    echoes: Trees
    router: Router
    alert: float
    attempt: float
    origin: dict[str, Any]

    @cached_property
    def digest(self) -> str:
        """SHA-256 of all that decides, 12 hexadecimal digits."""
        return hashlib.sha256(json.dumps(self.to_dict(), sort_keys=True).encode()).hexdigest()[:12]

    def read(self, session: Session, labels: Labels = UNLABELLED) -> Reading:
        """Find what the results of a session ask for; both tiers go by it.

        Args:
            session: What happened.
            labels: Whose word results are.
        """
        return read_session(session, self.spans, labels)

    def examine(
        self,
        session: Session,
        reading: Reading | None = None,
        suspects: Collection[str] = (),
    ) -> Verdict:
        """Judge a session call by call, without asking the first tier.

        Args:
            session: What happened.
            reading: What its results hold; None: they are read.
            suspects: Events of calls that a rule found something in, which is evidence of its own.
        """
        began = time.perf_counter()
        reading = reading or self.read(session)
        flow = flow_of(session, reading)
        scored = [
            (_told_too(chance) if session.events[link.at].id in suspects else chance, link)
            for chance, link in ((self.calls.chance(link.features), link) for link in flow.links)
        ]
        echo = best_echo(flow.answers, flow.blocks, flow.prompt, flow.data)
        echoed = self.echoes.chance(echo.features) if echo else 0.0
        is_unclear = not is_whole(session, reading)
        outcome, score = self._outcome(flow, scored, echoed, is_unclear)
        evidence = self._evidence(session, flow, scored, echo, echoed)
        return Verdict(
            session.id, outcome, round(score, 4), evidence,
            (_INJECTION,) if outcome in ("attempted", "partial", "executed") else (),
            session.coverage.share, self.digest,
            elapsed_ms=(time.perf_counter() - began) * 1e3,
        )  # fmt: skip

    def _outcome(
        self, flow: Flow, scored: list[tuple[float, Link]], echoed: float, is_unclear: bool
    ) -> tuple[Outcome, float]:
        whole = [chance for chance, link in scored if not is_half(link) and is_explained(link)]
        half = [chance for chance, link in scored if is_half(link)]
        score = max([*whole, echoed], default=0.0)
        if score >= self.alert:
            return "executed", score
        if max(half, default=0.0) >= self.alert:
            return "partial", score
        if is_unclear:
            return "undetermined", score
        if any(block.steers >= self.attempt for block in flow.blocks):
            return "attempted", score
        return "benign", score

    def _evidence(
        self,
        session: Session,
        flow: Flow,
        scored: list[tuple[float, Link]],
        echo: Echo | None,
        echoed: float,
    ) -> tuple[Evidence, ...]:
        found = []
        for chance, link in scored:
            if chance < self.alert or not is_explained(link):
                continue
            event = session.events[link.at]
            by = reasons(link)
            found.append(
                Evidence(
                    "half-hijacked-call" if is_half(link) else "hijacked-call",
                    f"`{link.call.tool}` does what the result of event {link.block.event} asked "
                    f"for and the user did not: {by}",
                    (link.block.event, event.id), round(chance, 4),
                    spans=(_short(link.block.text), _short(str(link.call.arguments))),
                )
            )  # fmt: skip
        if echo and echoed >= self.alert:
            found.append(
                Evidence(
                    "hijacked-answer",
                    f"the answer says what the result of event {echo.block.event} asked for",
                    (echo.block.event,), round(echoed, 4),
                    spans=(_short(echo.block.text), _short(echo.answer)),
                )
            )  # fmt: skip
        leading = {block.text: block for block in flow.blocks if block.steers >= self.attempt}
        strongest = sorted(leading.values(), key=lambda block: -block.steers)
        found += [_told(block) for block in strongest[:_MOST_TOLD]]
        return tuple(sorted(found, key=lambda one: (one.rule == "led-away", -one.weight)))

    def to_dict(self) -> dict[str, Any]:
        """Return it for a JSON file."""
        return {
            "schema": SCHEMA,
            "features": list(NAMES),
            "alert": self.alert,
            "attempt": self.attempt,
            "origin": self.origin,
            "asks": _spans_to(self.spans.asks),
            "steers": _spans_to(self.spans.steers),
            "calls": self.calls.to_dict(),
            "echoes": self.echoes.to_dict(),
            "router": self.router.to_dict(),
        }

    def save(self, file: Path) -> None:
        """Write it."""
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(json.dumps(self.to_dict(), separators=(",", ":")) + "\n")

    @staticmethod
    def load(file: Path = SHIPPED) -> Detector:
        """Read a trained detector.

        Raises:
            DataError: The file is none, or was trained for other features.
        """
        try:
            values = json.loads(file.read_text())
            if values.get("schema") != SCHEMA or values["features"] != list(NAMES):
                raise ValueError("it was trained for another version of this program")
            if not 0 < float(values["alert"]) <= 1 or not 0 < float(values["attempt"]) <= 1:
                raise ValueError("its thresholds are no chances")
            return Detector(
                SpanModels(_spans_from(values["asks"]), _spans_from(values["steers"])),
                Trees.from_dict(values["calls"]), Trees.from_dict(values["echoes"]),
                Router.from_dict(values["router"]),
                values["alert"], values["attempt"], values["origin"],
            )  # fmt: skip
        except (
            OSError, ValueError, KeyError, TypeError, IndexError, AttributeError, RecursionError
        ) as error:  # fmt: skip
            raise DataError(
                f"{file} is no detector of {SCHEMA} ({error}); "
                "`python -m models.detection.reasoning.train` makes one"
            ) from None


def is_whole(session: Session, reading: Reading) -> bool:
    """Return whether enough was read to say that nothing happened."""
    if reading.is_cut or session.coverage.share < LEAST_COVERAGE:
        return False
    return not (session.coverage.quarantined and _went_on_without(session))


def _went_on_without(session: Session) -> bool:
    """Return whether an agent went on after a call without a result, which was perhaps not read."""
    acted = [e for e in session.events if e.call is not None or e.kind == "assistant_message"]
    return any(event.call is not None and event.id not in session.results for event in acted[:-1])


def _told_too(chance: float) -> float:
    """Return the chance of a call that a rule found something in as well."""
    return _RULE_ODDS * chance / (1 + (_RULE_ODDS - 1) * chance)


@lru_cache(maxsize=1)
def shipped() -> Detector:
    """Return the detector that comes with the program."""
    return Detector.load()


def _told(block: Block) -> Evidence:
    hidden = "hidden by an encoding, " if block.is_encoded else ""
    return Evidence(
        "led-away", f"{hidden}a result speaks to the agent to lead it away from its task",
        (block.event,), round(block.steers, 4), spans=(_short(block.text),),
    )  # fmt: skip


def _short(text: str) -> str:
    return text if len(text) <= _LONGEST_SPAN else f"{text[:_LONGEST_SPAN]}…"


def _spans_to(model: SpanModel) -> dict[str, Any]:
    rounded = np.round(model.words, 4)
    # What rounds to nothing is left out: a detector is the same after it was written and read.
    return {
        "words": {str(index): float(rounded[index]) for index in np.flatnonzero(rounded)},
        "dense": np.round(model.dense, 6).tolist(),
        "bias": round(model.bias, 6),
    }


def _spans_from(values: dict[str, Any]) -> SpanModel:
    weights = np.zeros(BUCKETS)
    for index, weight in values["words"].items():
        weights[int(index)] = weight
    return SpanModel(weights, np.asarray(values["dense"]), values["bias"])
