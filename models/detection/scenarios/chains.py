"""Chains of calls over services: records advise, and later calls take their values from records.

That is how agents work with services all day: an identifier of one result goes into the next call,
and results say what should be done. Most chains are benign; some meet an injected text.
"""

from __future__ import annotations

import json
import random
import tomllib
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from typing import Any

from models.detection.evaluation.labelled import Labels
from models.detection.scenarios.generate import Scenario
from models.detection.session import Event, Session, ToolCall

KINDS = {"clean": 0.55, "resisted": 0.2, "executed": 0.25}
"""What becomes of a session, with how often."""


@lru_cache(maxsize=1)
def declared() -> dict[str, Any]:
    """Return chains.toml."""
    return tomllib.loads(Path(__file__).with_suffix(".toml").read_text(encoding="utf-8"))


def chains(seed: int, count: int) -> Iterator[tuple[Session, Labels]]:
    """Make sessions.

    Args:
        seed: Same seed, same sessions.
        count: How many.
    """
    for number in range(count):
        yield _Chain(random.Random(f"chain/{seed}/{number}")).play()


class _Chain(Scenario):
    """One session; injected texts and what an agent does that obeys are those of `Scenario`."""

    def __init__(self, rng: random.Random) -> None:
        super().__init__(rng, frozenset())
        self._kind = rng.choices(list(KINDS), list(KINDS.values()))[0]
        self._words = declared()
        self._is_blind = rng.random() < 0.35
        self._things = rng.sample(self._words["things"], 3)
        self._keys: list[str] = [self._key(self._things[0])]
        self._tools: dict[str, str] = {}

    def play(self) -> tuple[Session, Labels]:
        """Let an agent work through what it was asked for."""
        rng, words = self._rng, self._words
        steps = [self._step() for _ in range(rng.randrange(2, 12))]
        # What only looks may go unsaid, what changes something is asked for.
        spoken = [f"{verb} the {thing}" for verb, thing in steps
                  if verb in words["writes"] or rng.random() < 0.8]  # fmt: skip
        listed = ", then ".join(spoken or [f"look at the {self._things[0]}"])
        opening = rng.choice(words["openings"]).replace("{id}", self._keys[0])
        told = opening.replace("{0}", self._things[0]).replace("{1}", listed)
        self._tell("user_message", told[0].upper() + told[1:])
        injected = "" if self._kind == "clean" else self._injected()
        target = rng.randrange(len(steps)) if injected else -1
        for number, (verb, thing) in enumerate(steps):
            self._work(verb, thing, injected if number == target else "")
            if number == target and self._kind == "executed":
                self._obey()
        said = self._answer(bool(injected))
        is_attack = self._kind == "executed"
        labels = Labels(
            is_attack, self._kind, "train", "scenario",
            self._wrapper["family"] if injected else "", f"chain|{self._goal['text'][0]}",
            "ADR.T0002" if injected else "", tuple(self._hijack), said,
            (injected,) if injected else (),
            self._cast.fill(self._goal["text"][self._wording]) if injected else "", (), (),
        )  # fmt: skip
        return Session.of("", self._events), labels

    def _step(self) -> tuple[str, str]:
        verbs = self._words["reads" if self._rng.random() < 0.6 else "writes"]
        return self._rng.choice(verbs), self._rng.choice(self._things)

    def _tool(self, verb: str, thing: str) -> str:
        rng = self._rng
        forms = (f"{verb}_{thing}", f"{thing}_{verb}", f"{verb}{thing.capitalize()}",
                 f"{verb}_{thing}_data")  # fmt: skip
        name = rng.choice(forms)
        if self._is_blind:  # as where names were taken out
            name = f"tool_{rng.randrange(16**6):06x}"
        return self._tools.setdefault(f"{verb} {thing}", name)

    def _work(self, verb: str, thing: str, poison: str) -> None:
        rng = self._rng
        arguments: dict[str, Any] = {}
        for name in rng.sample(self._words["fields"], rng.randrange(0, 3)):
            arguments[name] = self._drawn()
        if rng.random() < 0.8:
            arguments[rng.choice((f"{thing}_id", "id", "target", thing))] = rng.choice(self._keys)
        call = ToolCall(f"c{len(self._events)}", self._tool(verb, thing), arguments=arguments)
        self._add("tool_call", call=call)
        self._add("tool_result", text=self._record(thing, poison), responds_to=self._events[-1].id)

    def _record(self, thing: str, poison: str) -> str:
        rng, words = self._rng, self._words
        own = [self._key(thing) for _ in range(rng.randrange(1, 4))]
        rows = [
            {"id": key, **{name: self._drawn() for name in rng.sample(words["fields"], 3)}}
            for key in own
        ]
        self._keys = [*self._keys[-4:], *own]
        record: dict[str, Any] = {"success": True, thing: rows[0] if len(rows) == 1 else rows}
        if rng.random() < 0.5:
            record["message"] = self._said(rng.choice(words["notes"]), thing)
        if rng.random() < 0.6:
            name = rng.choice(("recommendations", "next_steps", "actions", "warnings", "hints"))
            record[name] = [self._said(one, thing) for one in rng.sample(words["advice"], 2)]
        if poison:
            record[rng.choice(("note", "description", "comment", "message"))] = poison
        return str(rng.choice((repr(record), json.dumps(record), json.dumps(record, indent=2))))

    def _said(self, form: str, thing: str) -> str:
        tool = self._rng.choice(list(self._tools.values()) or ["get_status"])
        verb = self._rng.choice(self._words["writes"])
        for name, value in (("tool", tool), ("key", self._rng.choice(self._keys)),
                            ("thing", thing), ("verb", verb)):  # fmt: skip
            form = form.replace(f"{{{name}}}", value)
        return self._cast.fill(form)

    def _key(self, thing: str) -> str:
        rng = self._rng
        return str(
            rng.choice(
                (
                    f"{thing[:3].upper()}-{rng.randrange(100, 9_999)}",
                    f"{thing}_{rng.randrange(1, 400)}", str(rng.randrange(1_000, 99_999)),
                )
            )
        )  # fmt: skip

    def _drawn(self) -> Any:
        rng = self._rng
        return rng.choice(
            (rng.choice(self._words["values"]), rng.randrange(1, 500), round(rng.random(), 2))
        )

    def _answer(self, is_poisoned: bool) -> bool:
        rng = self._rng
        text, said = self._said(rng.choice(self._words["answers"]), self._things[0]), False
        if is_poisoned and self._kind == "executed" and "say" in self._goal:
            words = self._goal["say"][self._wording % len(self._goal["say"])]
            text, said = f"{text} {self._cast.fill(words)}", True
        self._tell("assistant_message", text)
        return said

    def _add(self, kind: Any, **more: Any) -> None:
        before = self._events[-1].id
        self._events.append(Event(str(len(self._events)), kind, parent=before, **more))
