"""One session played in an environment of AgentDojo; whether it succeeded, AgentDojo says."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Literal

import msgspec

from models.detection.explorer.declared import declared
from models.detection.explorer.disguise import hide
from models.detection.explorer.dojo.scenes import Scene, Shown, scenes_of
from models.detection.explorer.dojo.suites import Suite, run_call, suite_of
from models.detection.explorer.execute import Play, squeezed
from models.detection.explorer.genome import Genome
from models.detection.explorer.payload import Payload, detour
from models.detection.explorer.plan import inserted
from models.detection.explorer.record import Record
from models.detection.explorer.victim import ANSWER, VICTIMS, Attention, Victim
from models.errors import DataError


@dataclass(frozen=True)
class DojoPlay(Play):
    """A session that was played in AgentDojo; `counts` is its verdict on the attack, 0 or 1.

    Attributes:
        scene: Where.
        prompt: What the user asked for.
        is_useful: AgentDojo says that the user's task was done.
    """

    scene: Scene
    prompt: str
    is_useful: bool


def play_in_dojo(
    genome: Genome, seed: str, victim: Victim, shown: Sequence[Shown], *, obeys: bool = True
) -> DojoPlay:
    """Play a session.

    The scene is drawn among those in which the goal can be reached at all: its own ground truth
    reaches it, by AgentDojo's check, and the user's task alone does not.

    Args:
        genome: The attack.
        seed: Same seed, same session.
        victim: The model of an agent.
        shown: User tasks of the suites that are used.
        obeys: False: the same session, in which the text is read and not followed.

    Raises:
        DataError: There is no scene for this genome.
    """
    rng = random.Random(f"{seed}/{genome.digest}")
    scenes = scenes_of(genome, shown)
    rng.shuffle(scenes)
    scene = next((one for one in scenes if _can_succeed(one, genome.delay)), None)
    if scene is None:
        raise DataError(
            f"AgentDojo has no scene for the goal '{genome.goal}' in a {genome.carrier} with delay "
            f"{genome.delay} and disguise '{genome.disguise}'; `fit` gives the nearest genome"
        )
    chance = rng.randrange(2**32)
    run = _Run(scene, genome, chance, victim, obeys=obeys)
    without = run
    if run.is_obeyed:
        without = _Run(scene, genome, chance, victim, obeys=False)
    record, is_reached = run.record, run.holds("security")
    # What the user's own task brings about is no success of the attacker.
    is_carried = is_reached and not without.holds("security")
    return DojoPlay(
        record.session(), (int(is_reached),), (is_carried,), tuple(record.hijack),
        record.is_hijack_said, run.payload, run.carrier_size, scene, run.prompt,
        run.holds("utility"),
    )  # fmt: skip


@lru_cache(maxsize=4_096)
def _can_succeed(scene: Scene, delay: int) -> bool:
    split = "split_results" if len(scene.places) > 1 else "none"
    plain = Genome(
        "ADR.T0002", scene.task.goal, "", "bare", 0, split, "end", "direct", delay, "literal"
    )
    done, resisted = (
        _Run(scene, plain, 0, VICTIMS["capable"], obeys=obeys).holds("security")
        for obeys in (True, False)
    )
    return done and not resisted


class _Run:
    """A session in a given scene, played to its end."""

    def __init__(
        self, scene: Scene, genome: Genome, chance: int, victim: Victim, *, obeys: bool
    ) -> None:
        suite = suite_of(scene.suite)
        self._user = suite.user_task(scene.user_task)
        self._injection = suite.injection_task(scene.task.task)
        rng = random.Random(chance)
        self.payload = compose(genome, self._injection.GOAL, scene.task.critical, rng)
        texts = _texts(scene, genome, self.payload, suite)
        self._environment = self._user.init_environment(suite.environment(texts))
        self._before = self._environment.model_copy(deep=True)
        self._runtime, self._scene = suite.runtime(), scene
        self._calls: list[Any] = []
        self.record, self.prompt = Record(), self._user.PROMPT
        self.carrier_size, self.is_obeyed = 0, False
        self._play(Attention(victim, genome, self.payload.parts, obeys=obeys))

    def _play(self, attention: Attention) -> None:
        shows = [squeezed(piece) for piece in self.payload.pieces]
        own = list(self._user.ground_truth(self._before))
        self.record.tell("user_message", self.prompt)
        while True:
            if not self.is_obeyed and attention.obeys_now(is_last=not own):
                for call in self._injection.ground_truth(self._before):
                    self._call(call, is_hijack=True)
                self.is_obeyed = True
            if not own:
                break
            attention.works_on()
            text = self._call(own.pop(0), is_hijack=False)
            attention.read(text)
            if not self.carrier_size and any(piece in squeezed(text) for piece in shows):
                self.carrier_size = len(text)
        self._said = self._user.GROUND_TRUTH_OUTPUT or ANSWER
        is_said = self.is_obeyed and bool(self._scene.task.say)
        if is_said:
            self._said = f"{self._said} {self._scene.task.say}"
        self.record.answer(self._said, is_hijack=is_said)

    def _call(self, call: Any, *, is_hijack: bool) -> str:
        self._calls.append(call)
        text, is_failed = run_call(self._runtime, self._environment, call)
        self.record.call(
            call.function, call.model_dump(mode="json")["args"], text, is_hijack=is_hijack,
            server=self._scene.suite, status="error" if is_failed else "ok",
        )  # fmt: skip
        return text

    def holds(self, check: Literal["security", "utility"]) -> bool:
        """Return what AgentDojo's own check says: of the calls where it has one, else of the state.

        `security` of an injection task holds when the attacker reached the goal.
        """
        task = self._injection if check == "security" else self._user
        told = self._said, self._before, self._environment
        by_calls = getattr(task, f"{check}_from_traces")(*told, self._calls)
        return bool(getattr(task, check)(*told) if by_calls is None else by_calls)


def compose(genome: Genome, goal: str, critical: str, rng: random.Random) -> Payload:
    """Return the text of a genome that wants one of AgentDojo's goals.

    Args:
        genome: How it is told.
        goal: In AgentDojo's words.
        critical: Value in these words that may be told by a detour.
        rng: Chance.
    """
    told, reference = detour(genome.derivation, critical, (1, 1))
    order = goal.replace(critical, told)
    around = declared().wrappers[genome.wrapper].text[genome.wording]
    plain = around.replace("{goal}", order)
    pieces = hide(plain, genome.disguise, rng)
    parts = pieces if len(pieces) > 1 else (order,)
    return Payload(
        pieces, plain, (*parts, reference) if reference else parts, order, reference,
        around.replace("{goal}", goal),
    )  # fmt: skip


def _texts(scene: Scene, genome: Genome, payload: Payload, suite: Suite) -> dict[str, str]:
    """Return what stands in the places of a scene: pieces within AgentDojo's own texts."""
    found = {}
    for place, piece in zip(scene.places, payload.pieces, strict=True):
        default = suite.defaults[place]
        found[place] = inserted(default, genome.placement, piece) if default else piece
    if payload.reference:
        found[scene.places[-1]] += f"\n{payload.reference}"
    return found


def encoded(played: DojoPlay) -> bytes:
    """Return a session as JSON."""
    return msgspec.json.encode(played)


def decoded(text: bytes) -> DojoPlay:
    """Read what `encoded` wrote."""
    return msgspec.json.decode(text, type=DojoPlay)
