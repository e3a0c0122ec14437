"""The model of an agent that attacks are tried on: declared rules, no language model.

It does what its user asked for. Of what it reads it follows what it understands: a text that it can
read through its disguise, whole, in a language that it knows, with a value that it can work out.
Nothing else makes it obey or resist; no wording convinces it more than another. So it stands for
the worst case of an agent, and tells what a detector would have to notice, not how often a real
agent falls for a text.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from models.detection.dataflow.leaves import leaves
from models.detection.explorer.declared import Call, Columns
from models.detection.explorer.disguise import squash, understood
from models.detection.explorer.genome import DERIVATIONS, DISGUISES, Genome, goal_of
from models.detection.explorer.payload import Payload
from models.detection.explorer.plan import Plan
from models.detection.explorer.toolbox import Toolbox, Words
from models.errors import UnknownNameError, unknown_name

_MOST_TOLD = 1_200
"""Characters of the last results that it passes on when it is to write down what it read."""
_LAST_RESULTS = 3
_EXCERPT = 120
ANSWER = "Here is what I found: everything looks fine."


@dataclass(frozen=True)
class Victim:
    """What an agent is able to.

    Attributes:
        name: For configs and reports.
        reads: Disguises that it sees through.
        derives: Ways to tell a value that it can work out.
        horizon: Own calls after which it has forgotten what it was told.
    """

    name: str
    reads: frozenset[str]
    derives: frozenset[str]
    horizon: int


VICTIMS = {
    victim.name: victim
    for victim in (
        # Large models decode base64 and tags, calculate, and keep long sessions in sight.
        Victim("capable", frozenset(DISGUISES), frozenset(DERIVATIONS), 8),
        Victim(
            "plain",
            frozenset(DISGUISES) - {"base64", "tags", "homoglyph"},
            frozenset(("literal", "data", "concatenated")), 2,
        ),
    )
}  # fmt: skip


def victim_of(name: str) -> Victim:
    """Return a victim by its name.

    Raises:
        UnknownNameError: There is no such one.
    """
    if name not in VICTIMS:
        error: UnknownNameError = unknown_name("victim", name, VICTIMS)
        raise error
    return VICTIMS[name]


@dataclass(frozen=True)
class Asked:
    """A call that the victim makes.

    Attributes:
        operation: What it does.
        columns: With which values.
        is_hijack: It serves the attacker.
    """

    operation: str
    columns: Columns
    is_hijack: bool


class Attention:
    """What a victim understands of what it reads, and when it obeys that.

    Args:
        victim: What it is able to.
        genome: The attack that it may meet.
        parts: What has to be read to follow it; all of them.
        obeys: Whether it follows what it understands; False makes the same session, resisted.
    """

    def __init__(
        self, victim: Victim, genome: Genome, parts: Sequence[str], *, obeys: bool
    ) -> None:
        self._victim, self._waits = victim, genome.delay
        self._parts = [squash(part) for part in parts]
        # Who cannot work a value out, read a language or remember so long is not led anywhere.
        can = genome.derivation in victim.derives and genome.delay <= victim.horizon
        can = can and (genome.disguise in victim.reads or genome.disguise in ("none", "synonyms"))
        self._can_obey = obeys and can
        self._read = ""
        self.has_understood = False

    def turn(self) -> None:
        """Begin with another message of the user: what was read in parts is forgotten."""
        self._read = ""

    def sees(self, result: str) -> bool:
        """Return whether the whole order stands in one result, whoever reads it."""
        seen = understood(result, self._victim.reads)
        return all(part in seen for part in self._parts)

    def read(self, result: str) -> bool:
        """Read a result; returns whether it is the one that makes the order whole."""
        if self.has_understood or not self._can_obey:
            return False
        self._read += understood(result, self._victim.reads)
        self.has_understood = all(part in self._read for part in self._parts)
        return self.has_understood

    def obeys_now(self, *, is_last: bool) -> bool:
        """Return whether it turns to the order, given whether its own work is done."""
        return self.has_understood and (self._waits <= 0 or is_last)

    def works_on(self) -> None:
        """Make a call of its own while an order waits."""
        if self.has_understood:
            self._waits -= 1


class Mind:
    """A victim at work on a plan, call by call.

    Args:
        victim: What it is able to.
        genome, payload: The attack that it may meet.
        plan: What its user asks for.
        tools, words: Of the session.
        obeys: Whether it follows what it understands; False makes the same session, resisted.
    """

    def __init__(
        self, victim: Victim, genome: Genome, payload: Payload, plan: Plan,
        tools: Toolbox, words: Words, *, obeys: bool,
    ) -> None:  # fmt: skip
        self._victim, self._goal = victim, goal_of(genome)
        self._payload = payload
        self._attention = Attention(victim, genome, payload.parts, obeys=obeys)
        self._plan, self._tools, self._words = plan, tools, words
        self._told: list[str] = []
        self._turn = -1
        self._calls: list[Call] = []
        self._hijack: Iterator[Call] = iter(())
        self._is_done = False

    @property
    def has_understood(self) -> bool:
        """An order was read that it follows."""
        return self._attention.has_understood

    def begin(self) -> str | None:
        """Take the next message of the user and return it; None: there is none."""
        self._turn += 1
        if self._turn >= len(self._plan.turns):
            return None
        turn = self._plan.turns[self._turn]
        self._calls, self._told = list(turn.calls), []
        self._attention.turn()
        return turn.prompt

    def hear(self, result: str) -> None:
        """Read what a call answered."""
        self._told.append("\n".join(leaves(result)))
        if self._turn < self._plan.arms or not self._attention.read(result):
            return
        if self._goal.fact is None:
            steps = [step for step in self._goal.steps if step.do]
            self._hijack = iter(
                [Call(step.do, step.given) for step in steps for _ in range(step.times)]
            )

    @property
    def told(self) -> str:
        """What it passes on of what it read in this turn."""
        return "\n".join(self._told[-_LAST_RESULTS:])[-_MOST_TOLD:]

    def reported(self, result: str) -> str:
        """Return what a sub-agent of its kind says of a result: in its own words, undisguised."""
        lines = [f"Report: it begins with: {' '.join(result.split())[:_EXCERPT]}"]
        if self._attention.sees(result):
            lines += [self._payload.plain, self._payload.reference]
        return "\n".join(filter(None, lines))

    def next(self) -> Asked | None:
        """Return its next call; None: it answers."""
        if not self._is_done and self._attention.obeys_now(is_last=not self._calls):
            call = next(self._hijack, None)
            if call is not None:
                # What an order asks to send is what its own step before fetched.
                last = "".join(self._told[-1:])[-_MOST_TOLD:]
                return Asked(call.do, self._tools.columns(call, last), True)
            self._is_done = True
        if not self._calls:
            return None
        call = self._calls.pop(0)
        self._attention.works_on()
        columns = self._tools.columns(call, self.told)
        fact = self._goal.fact
        if self.has_understood and fact is not None and fact.do == call.do:
            changes = {name: self._words.fill(text) for name, text in fact.change.items()}
            return Asked(call.do, {**columns, **changes}, True)
        return Asked(call.do, columns, False)

    def answer(self) -> tuple[str, bool]:
        """Return what it says at the end of a turn, and whether the attacker wanted that."""
        if self.has_understood and self._goal.say:
            said = " ".join([self._words.fill(self._goal.say)] * self._goal.says)
            return f"{ANSWER} {said}", True
        return ANSWER, False
