"""What is declared in the files beside this one, read once: techniques, places, the world."""

from __future__ import annotations

import hashlib
import tomllib
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal

import msgspec

from models.detection.scenarios.generate import tables as scenario_tables
from models.errors import DataError

Columns = dict[str, str]


class Check(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What the world is like after a step was carried out.

    Attributes:
        table: Where to look.
        has: Columns of a row that is there.
        lacks: Columns of a row that is there no more.
        least: So many rows more than without the attack.
    """

    table: str
    has: Columns = {}
    lacks: Columns = {}
    least: int = 1


class Call(msgspec.Struct, frozen=True, rename={"given": "with"}):
    """A call of an operation; `given` replaces places of its arguments."""

    do: str
    given: Columns = {}


class Step(msgspec.Struct, frozen=True, rename={"given": "with"}, forbid_unknown_fields=True):
    """A step of an attack; without `do` it needs no call of its own."""

    do: str
    sink: str
    check: Check
    given: Columns = {}
    times: int = 1


class Fact(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What an agent that believes a text does differently in its own next call `do`."""

    do: str
    change: Columns


class Goal(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What an attacker wants, in three wordings, and how to see that it happened."""

    name: str
    text: str
    synonyms: str
    foreign: str
    critical: str
    steps: tuple[Step, ...]
    fact: Fact | None = None
    errand: str = ""
    say: str = ""
    says: int = 1


class Technique(msgspec.Struct, frozen=True, rename={"goals": "goal"}, forbid_unknown_fields=True):
    """A technique of ADR's taxonomy; empty carriers and wrappers: all."""

    id: str
    name: str
    goals: tuple[Goal, ...]
    carriers: tuple[str, ...] = ()
    wrappers: tuple[str, ...] = ()

    def goal(self, name: str) -> Goal:
        """Return a goal by its name."""
        return next(goal for goal in self.goals if goal.name == name)


class Carrier(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A kind of record that agents read and others may write to."""

    name: str
    reads: str
    table: str
    text: str
    field: str
    prompts: tuple[str, ...] = ()
    calls: tuple[Call, ...] = ()
    second: Columns = {}


class Wrapper(msgspec.Struct, frozen=True):
    """Wordings around `{goal}`."""

    family: str
    text: tuple[str, ...]
    foreign: str = "Hinweis: {goal}"


class Errand(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a user asks for besides; `told` has to stand in what the agent reads."""

    prompt: str
    calls: tuple[Call, ...]
    told: str = ""


class Relay(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A way that a text takes before it is obeyed."""

    prompt: str
    later: str
    writes: Call | None = None
    reads: Call | None = None


class Effect(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What an operation does to a table; `by` is the argument that is the key."""

    kind: Literal["list", "get", "insert", "update", "delete", "run"]
    table: str
    key: str = ""
    by: str = ""
    text: str = ""
    shows: tuple[str, ...] = ()


class Operation(msgspec.Struct, frozen=True):
    """Names that tools for an operation go by, and their arguments."""

    tools: tuple[str, ...]
    args: dict[str, Any]


class Seed(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Rows of a table before anybody works."""

    least: int
    most: int
    row: Columns
    also: tuple[Columns, ...] = ()


class Declared(msgspec.Struct, frozen=True):
    """All of it, by name."""

    techniques: dict[str, Technique]
    carriers: dict[str, Carrier]
    wrappers: dict[str, Wrapper]
    errands: dict[str, Errand]
    relays: dict[str, Relay]
    effects: dict[str, Effect]
    operations: dict[str, Operation]
    rows: dict[str, Seed]
    sentences: dict[str, tuple[str, ...]]

    def carriers_of(self, technique: str) -> tuple[str, ...]:
        """Return the carriers that a technique can use."""
        return self.techniques[technique].carriers or tuple(self.carriers)

    def wrappers_of(self, technique: str) -> tuple[str, ...]:
        """Return the families of wordings that a technique can use."""
        return self.techniques[technique].wrappers or tuple(self.wrappers)

    @property
    def digest(self) -> str:
        """First 12 hexadecimal digits of the SHA-256 of all of it."""
        return hashlib.sha256(msgspec.json.encode(self)).hexdigest()[:12]

    def cells(self) -> tuple[tuple[str, str], ...]:
        """Return technique and carrier of each attack that there can be."""
        return tuple((one, place) for one in self.techniques for place in self.carriers_of(one))


# Families that are a disguise here.
_DISGUISES = frozenset(("html", "foreign"))


@lru_cache(maxsize=1)
def declared() -> Declared:
    """Read the files.

    Raises:
        DataError: One of them does not say what it should.
    """
    try:
        places, world = _read("places"), _read("world")
        techniques = _read("techniques")["technique"]
        known = scenario_tables()
        wordings = [w for w in known["wrappers"]["wrapper"] if w["family"] not in _DISGUISES]
        names = {
            "techniques": {one["id"]: one for one in techniques},
            "carriers": {one["name"]: one for one in places["carrier"]},
            "wrappers": {one["family"]: one for one in (*wordings, *places["wrapper"])},
            "errands": places["errands"],
            "relays": {"direct": {"prompt": "", "later": ""}, **places["relays"]},
            "effects": world["effects"],
            "operations": {**known["operations"], **world["more"]},
            "rows": world["rows"],
            "sentences": {**known["fillers"], **world["sentences"]},
        }
        return msgspec.convert(names, Declared)
    except (OSError, KeyError, tomllib.TOMLDecodeError, msgspec.ValidationError) as error:
        raise DataError(
            f"the declarations of the explorer in {Path(__file__).parent} cannot be used: {error}"
        ) from None


def _read(name: str) -> dict[str, Any]:
    file = Path(__file__).parent / f"{name}.toml"
    return tomllib.loads(file.read_text(encoding="utf-8"))
