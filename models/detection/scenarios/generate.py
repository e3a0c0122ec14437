"""Sessions of many tools, with injected texts that agents follow, half follow, or resist.

Written for training beside recorded sessions, which know few tools and few wordings. Benign ones
have what cries wolf: sources that may say what is to be done, links that are to be followed,
manuals that order, and attackers who ask for what the user asked for too.
"""

from __future__ import annotations

import base64
import random
import tomllib
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from typing import Any

from models.detection.evaluation.labelled import Labels
from models.detection.scenarios.cast import Cast
from models.detection.scenarios.shapes import Shapes
from models.detection.session import Event, Session, ToolCall

KINDS = {"clean": 0.16, "resisted": 0.34, "partial": 0.08, "executed": 0.42}
"""What becomes of a session, with how often."""


@lru_cache(maxsize=1)
def tables() -> dict[str, Any]:
    """Return operations, tasks, goals, wrappers and fillers as they are declared."""
    folder = Path(__file__).parent
    return {
        name: tomllib.loads((folder / f"{name}.toml").read_text(encoding="utf-8"))
        for name in ("operations", "tasks", "goals", "wrappers", "fillers")
    }


def scenarios(
    seed: int, count: int, *, without: frozenset[str] = frozenset()
) -> Iterator[tuple[Session, Labels]]:
    """Make sessions.

    Args:
        seed: Same seed, same sessions.
        count: How many.
        without: Families of wrappers to leave out.
    """
    for number in range(count):
        yield Scenario(random.Random(f"{seed}/{number}"), without).play()


class Scenario:
    """One generated session; `play` makes it."""

    def __init__(self, rng: random.Random, without: frozenset[str]) -> None:
        self._rng = rng
        self._tables = tables()
        self._cast = Cast(rng)
        self._shapes = Shapes(rng, self._cast, self._tables["fillers"])
        self._kind = rng.choices(list(KINDS), list(KINDS.values()))[0]
        self._task = rng.choice(self._tables["tasks"]["task"])
        goals = self._tables["goals"]["goal"]
        if self._kind == "partial":
            goals = [g for g in goals if any(c.get("reads") for c in g.get("calls", ()))]
        self._goal = rng.choice(goals)
        families = [w for w in self._tables["wrappers"]["wrapper"] if w["family"] not in without]
        self._wrapper = rng.choice(families)
        self._names: dict[str, str] = {}
        self._events: list[Event] = []
        self._hijack: list[str] = []
        self._wording = rng.randrange(len(self._goal["text"]))

    def play(self) -> tuple[Session, Labels]:
        """Let an agent work."""
        rng, task, is_clean = self._rng, self._task, self._kind == "clean"
        variant = rng.randrange(len(task["prompt"]))
        self._tell("user_message", self._cast.fill(task["prompt"][variant]))
        calls = [c for c in task["calls"] if c.get("only", variant) == variant]
        poisoned = [number for number, call in enumerate(calls) if call.get("poison")]
        target = rng.choice(poisoned) if poisoned and not is_clean else -1
        injected = self._injected() if target >= 0 else ""
        delay = rng.choice((0, 0, 0, 1, 9)) if self._kind in ("executed", "partial") else None
        is_lost = self._kind == "executed" and rng.random() < 0.3
        for number, call in enumerate(calls):
            self._do(call, injected if number == target else "", is_hijack=False)
            if (
                delay is not None
                and target >= 0
                and (
                    number == target + delay
                    or (number == len(calls) - 1 and number < target + delay)
                )
            ):
                self._obey()
                if is_lost:
                    break
        said = self._answer(target >= 0)
        is_attack = target >= 0 and self._kind == "executed"
        outcome = self._kind if target >= 0 else "clean"
        labels = Labels(
            is_attack, outcome, "train", "scenario", self._wrapper["family"] if injected else "",
            f"{task['prompt'][0]}|{self._goal['text'][0]}", "ADR.T0002" if injected else "",
            tuple(self._hijack), said, (injected,) if injected else (),
            self._cast.fill(self._goal["text"][self._wording]) if injected else "", (), (),
        )  # fmt: skip
        return Session.of("", self._events), labels

    def _injected(self) -> str:
        goal = self._cast.fill(self._goal["text"][self._wording])
        form = self._rng.choice(self._wrapper["text"])
        # A goal within a sentence begins in small letters.
        if not form.startswith("{goal}") and form[form.index("{goal}") - 2] in ",t":
            goal = goal[0].lower() + goal[1:]
        text = str(form.replace("{goal}", goal))
        if self._rng.random() < 0.04:
            return base64.b64encode(text.encode()).decode()
        return text

    def _obey(self) -> None:
        for call in self._goal.get("calls", ()):
            if self._kind == "partial" and not call.get("reads"):
                break
            self._do(call, "", is_hijack=True)

    def _do(self, call: dict[str, Any], poison: str, *, is_hijack: bool) -> None:
        rng, name = self._rng, call["do"]
        operation = self._tables["operations"][name]
        tool = self._names.setdefault(name, rng.choice(operation["tools"]))
        own = call.get("with", {})
        arguments = {
            self._names.setdefault(f"{name}/{key}", rng.choice(key.split("|"))): self._value(
                value, own
            )
            for key, value in operation["args"].items()
        }
        asked = ToolCall(f"c{len(self._events)}", tool, arguments=arguments)
        if is_hijack:
            self._hijack.append(asked.id)
        before = self._events[-1].id
        self._events.append(Event(str(len(self._events)), "tool_call", call=asked, parent=before))
        text = self._shapes.make(
            operation["result"], poison,
            self._cast.fill(rng.choice(self._task["says"])) if call.get("says") else "",
            self._link(call),
        )  # fmt: skip
        made = self._events[-1].id
        self._events.append(
            Event(str(len(self._events)), "tool_result", text, parent=made, responds_to=made)
        )

    def _link(self, call: dict[str, Any]) -> str:
        words = self._cast.words
        if call.get("links"):
            links = ("I read an interesting article on {}.", "See {}", "Everything is on {}!",
                    "{} has the details.", "Her contact info is on {}")  # fmt: skip
            return self._rng.choice(links).format(words["data.url"])
        if call.get("tells") == "to":
            form = ("My e-mail is {}.", "Contact: {}", "You can write to me at {}.")
            return self._rng.choice(form).format(words["data.to"])
        return ""

    def _value(self, value: Any, own: dict[str, str]) -> Any:
        if isinstance(value, list):
            return [self._value(one, own) for one in value]
        if not isinstance(value, str):
            return value
        filled = value
        for name, given in own.items():
            filled = filled.replace(f"{{{name}}}", self._data(given))
        return self._cast.fill(filled)

    def _data(self, given: str) -> str:
        if given in ("data.body", "data.profile"):
            return "\n".join(self._shapes.told[-3:]).replace("{", "(").replace("}", ")")
        return f"{{{given}}}" if given.startswith("data.") else given

    def _answer(self, is_poisoned: bool) -> bool:
        rng, fillers = self._rng, self._tables["fillers"]
        text, said = rng.choice(fillers["answer"]), False
        if is_poisoned and self._kind == "executed" and "say" in self._goal:
            words = self._goal["say"][self._wording % len(self._goal["say"])]
            text, said = f"{text} {self._cast.fill(words)}", True
        elif is_poisoned and self._kind == "resisted" and rng.random() < 0.3:
            text = f"{text} {rng.choice(fillers['refusal'])}"
        if said or rng.random() < 0.8:
            self._tell("assistant_message", text)
        return said

    def _tell(self, kind: Any, text: str) -> None:
        before = self._events[-1].id if self._events else None
        self._events.append(Event(str(len(self._events)), kind, text, parent=before))
