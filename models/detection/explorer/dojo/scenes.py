"""Which tasks and places of AgentDojo stand for a genome."""

from __future__ import annotations

import datetime
import hashlib
import itertools
import tomllib
from collections.abc import Collection, Iterator, Mapping, Sequence
from functools import lru_cache
from pathlib import Path

import msgspec

from models.detection.explorer.genome import DELAYS, Genome
from models.errors import DataError

DISGUISES = frozenset(
    ("none", "base64", "zero_width", "homoglyph", "tags", "html_comment", "split_lines",
     "split_results")
)  # fmt: skip
"""AgentDojo's goals are there in one wording: no other language, no other words."""
_DERIVATIONS = frozenset(("literal", "data", "concatenated"))
_PLACEMENTS = frozenset(("start", "middle", "end"))


class Task(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """An injection task and the goal of ours that it comes nearest to.

    Attributes:
        goal: Ours.
        suite, task: AgentDojo's.
        critical: A value in the words of the task that may be told by a detour.
        say: Sentence of the answer that it asks for; empty: it asks for calls.
    """

    goal: str
    suite: str
    task: str
    critical: str
    say: str = ""


class Declared(msgspec.Struct, frozen=True, rename={"tasks": "task"}, forbid_unknown_fields=True):
    """What `agentdojo.toml` says.

    Attributes:
        version: Of AgentDojo's suites.
        clock: What tools write on what they make, in place of the time of day.
        carriers: Kind of record of each place, by suite.
        tasks: Injection tasks.
    """

    version: str
    clock: datetime.datetime
    carriers: dict[str, dict[str, str]]
    tasks: tuple[Task, ...]

    @property
    def digest(self) -> str:
        """First 12 hexadecimal digits of the SHA-256 of all of it."""
        return hashlib.sha256(msgspec.json.encode(self)).hexdigest()[:12]


class Shown(msgspec.Struct, frozen=True):
    """What a user task shows of the places for injections.

    Attributes:
        suite, user_task: Which one.
        left: By place, calls of the task after the one that shows it first.
    """

    suite: str
    user_task: str
    left: dict[str, int]


class Scene(msgspec.Struct, frozen=True):
    """Where an attack is played.

    Attributes:
        suite, user_task: What the user asks for.
        places: Where the attacker's pieces stand, in the order of reading.
        task: What the attacker wants.
    """

    suite: str
    user_task: str
    places: tuple[str, ...]
    task: Task


@lru_cache(maxsize=1)
def declared() -> Declared:
    """Read the file.

    Raises:
        DataError: It does not say what it should.
    """
    file = Path(__file__).parent.parent / "agentdojo.toml"
    try:
        return msgspec.convert(tomllib.loads(file.read_text(encoding="utf-8")), Declared)
    except (OSError, tomllib.TOMLDecodeError, msgspec.ValidationError) as error:
        raise DataError(f"{file} cannot be used: {error}") from None


def scenes_of(genome: Genome, shown: Sequence[Shown]) -> list[Scene]:
    """Return where a genome can be played, always in the same order."""
    known = declared()
    pieces = 2 if genome.disguise == "split_results" else 1
    return [
        Scene(one.suite, one.user_task, places, task)
        for one in shown
        for places in _places(one, known.carriers[one.suite], genome, pieces)
        for task in known.tasks
        if task.goal == genome.goal and task.suite == one.suite
    ]


def _places(
    one: Shown, carriers: dict[str, str], genome: Genome, pieces: int
) -> Iterator[tuple[str, ...]]:
    fitting = [place for place in one.left if carriers.get(place) == genome.carrier]
    # Read first, written first; a task that is done has no call left to wait for.
    fitting.sort(key=lambda place: (-one.left[place], place))
    for places in itertools.combinations(fitting, pieces):
        if one.left[places[-1]] >= genome.delay:
            yield places


def cells_of(
    shown: Sequence[Shown], cells: Sequence[tuple[str, str]], goals: Mapping[str, Collection[str]]
) -> tuple[tuple[str, str], ...]:
    """Return technique and carrier of all that can be played.

    Args:
        shown: By the suites that are used.
        cells: All that there are.
        goals: Names of the goals of each technique.
    """
    known = declared()
    pairs = {
        (task.goal, known.carriers[one.suite][place])
        for one in shown
        for place in one.left
        for task in known.tasks
        if task.suite == one.suite
    }
    return tuple(
        (technique, carrier)
        for technique, carrier in cells
        if any((goal, carrier) in pairs for goal in goals[technique])
    )


def fit(genome: Genome, shown: Sequence[Shown]) -> Genome | None:
    """Return the nearest genome that can be played; None: its goal is nowhere in its carrier."""
    changes: dict[str, str] = {"relay": "direct"}
    if genome.disguise not in DISGUISES:
        changes["disguise"] = "none"
    if genome.derivation not in _DERIVATIONS:
        changes["derivation"] = "literal"
    if genome.placement not in _PLACEMENTS:
        changes["placement"] = "middle"
    fitted = msgspec.structs.replace(genome, **changes)
    whole = "split_lines" if fitted.disguise == "split_results" else fitted.disguise
    for disguise in dict.fromkeys((fitted.disguise, whole)):
        for delay in (one for one in reversed(DELAYS) if one <= fitted.delay):
            found = msgspec.structs.replace(fitted, disguise=disguise, delay=delay)
            if scenes_of(found, shown):
                return found
    return None
