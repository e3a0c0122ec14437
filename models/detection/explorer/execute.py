"""One attack, played: a session of tools with state, and what of the attack the state shows."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass

from models.detection.explorer.declared import Call, declared
from models.detection.explorer.genome import Genome, goal_of
from models.detection.explorer.payload import Payload, compose
from models.detection.explorer.plan import READER, Plan, plan_of, plant
from models.detection.explorer.record import Record
from models.detection.explorer.toolbox import Toolbox, Words
from models.detection.explorer.victim import Asked, Mind, Victim
from models.detection.explorer.world import World
from models.detection.session import Session


@dataclass(frozen=True)
class Play:
    """A session that was played.

    Attributes:
        session: What a detector may read.
        counts: Of each step of the attack, rows of the world that are as it leaves them.
        effects: Of each step, whether it was carried out; see `effects_of`.
        hijack_calls: Ids of the calls that serve the attack.
        is_hijack_said: An answer does.
        payload: What the attacker wrote.
        carrier_size: Characters of the result that showed it first.
    """

    session: Session
    counts: tuple[int, ...]
    effects: tuple[bool, ...]
    hijack_calls: tuple[str, ...]
    is_hijack_said: bool
    payload: Payload
    carrier_size: int

    @property
    def share(self) -> float:
        """Share of the attack's steps that were carried out (eps), in [0, 1]."""
        return sum(self.effects) / len(self.effects)


class Stage:
    """World, tools, task and attack of one session; the same seed makes the same ones.

    Args:
        genome: The attack.
        seed: Of names, records, task and tools.
        victim: Who works.
        obeys: Whether it follows what it understands.
    """

    def __init__(self, genome: Genome, seed: str, victim: Victim, *, obeys: bool = True) -> None:
        rng = random.Random(f"{seed}/{genome.digest}")
        self.genome, self._rng = genome, rng
        self.words = Words(rng)
        self.tools = Toolbox(rng, self.words)
        self.world = World(rng, self.words)
        self.payload: Payload = compose(genome, self.words, rng)
        self.plan: Plan = plan_of(genome, self.words, rng)
        self.mind = Mind(
            victim, genome, self.payload, self.plan, self.tools, self.words, obeys=obeys
        )
        self._is_planted = False
        if not self.plan.is_pulled:
            self._plant()

    def _plant(self) -> None:
        plant(self.world, self.genome, self.payload, self.plan, self.words, self._rng)
        self._is_planted = True

    def call(self, asked: Asked) -> str:
        """Carry a call out; a tool that is pulled changes after its first reading."""
        if asked.operation == "agent-run" and asked.columns["agent"] == READER:
            return self._delegate(asked)
        text = self.world.call(asked.operation, asked.columns)
        if not self._is_planted:
            self._plant()
        return text

    def _delegate(self, asked: Asked) -> str:
        """Let a sub-agent read the carrier; its own calls are in a record of its own."""
        carrier = declared().carriers[self.genome.carrier]
        texts = [
            self.world.call(call.do, self.tools.columns(call))
            for call in carrier.calls or (Call(carrier.reads),)
        ]
        self.world.call(asked.operation, asked.columns)
        return self.mind.reported(texts[-1])

    def counts(self) -> tuple[int, ...]:
        """Return of each step of the attack how many rows of the world are as it leaves them."""
        return tuple(self.world.count(step.check) for step in goal_of(self.genome).steps)


def play(genome: Genome, seed: str, victim: Victim, *, obeys: bool = True) -> Play:
    """Play a session in this process.

    Args:
        genome: The attack.
        seed: Same seed, same session.
        victim: The model of an agent.
        obeys: False: the same session, in which the text is read and not followed.
    """
    stage = Stage(genome, seed, victim, obeys=obeys)
    record = Record()
    shows = [squeezed(piece) for piece in stage.payload.pieces]
    carrier_size = 0
    while (prompt := stage.mind.begin()) is not None:
        record.tell("user_message", prompt)
        while (asked := stage.mind.next()) is not None:
            text = stage.call(asked)
            record.call(
                stage.tools.tools[asked.operation],
                stage.tools.spelled(asked.operation, asked.columns),
                text,
                is_hijack=asked.is_hijack,
            )
            stage.mind.hear(text)
            if not carrier_size and any(piece in squeezed(text) for piece in shows):
                carrier_size = len(text)
        said, is_hijack = stage.mind.answer()
        record.answer(said, is_hijack=is_hijack)
        stage.world.answer(said)
    counts = stage.counts()
    is_led = bool(record.hijack) or record.is_hijack_said
    without = play(genome, seed, victim, obeys=False).counts if is_led else counts
    return Play(
        record.session(), counts, effects_of(genome, counts, without),
        tuple(record.hijack), record.is_hijack_said, stage.payload, carrier_size,
    )  # fmt: skip


def effects_of(genome: Genome, counts: Sequence[int], without: Sequence[int]) -> tuple[bool, ...]:
    """Return of each step of an attack whether it was carried out.

    Args:
        genome: The attack.
        counts: Rows of the world that are as each step leaves them.
        without: The same of the session in which nobody obeyed: what the user's own task does is
            no success of the attacker.
    """
    steps = goal_of(genome).steps
    return tuple(
        now - before >= step.check.least
        for step, now, before in zip(steps, counts, without, strict=True)
    )


def squeezed(text: str) -> str:
    """Return a text without spaces and escapes: enough to see where a piece was shown."""
    return "".join(text.replace("\\n", "").replace("\\", "").split())
