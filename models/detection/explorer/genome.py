"""An attack as genes: what is asked for, where it stands, how it is told, hidden and relayed."""

from __future__ import annotations

import hashlib
import random
from functools import lru_cache

import msgspec

from models.detection.explorer.declared import Goal, declared
from models.errors import DataError

PLACEMENTS = ("start", "middle", "end", "field")
DISGUISES = (
    "none", "base64", "zero_width", "homoglyph", "tags", "html_comment", "split_lines",
    "split_results", "foreign", "synonyms",
)  # fmt: skip
DERIVATIONS = ("literal", "data", "arithmetic", "concatenated")
DELAYS = (0, 1, 2, 4)
_RUG_PULL = "ADR.T0006"
_TRIES = 50


class Genome(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One attack.

    Attributes:
        technique: Id in ADR's taxonomy.
        goal: What the attacker wants, a name of the technique's goals.
        carrier: Kind of record that the text stands in.
        wrapper: Family of wordings around the order.
        wording: Which of the family.
        disguise: How the text is hidden.
        placement: Where in the record.
        relay: Way that it takes before it is obeyed.
        delay: Own calls of the agent between reading and obeying.
        derivation: How the critical value is told.
    """

    technique: str
    goal: str
    carrier: str
    wrapper: str
    wording: int
    disguise: str
    placement: str
    relay: str
    delay: int
    derivation: str

    @property
    def digest(self) -> str:
        """First 12 hexadecimal digits of the SHA-256 of its JSON."""
        return hashlib.sha256(self.to_json()).hexdigest()[:12]

    @property
    def cell(self) -> tuple[str, str]:
        """Technique and carrier: its place on the map."""
        return self.technique, self.carrier

    def to_json(self) -> bytes:
        """Return it as JSON, the same bytes for the same genes."""
        return msgspec.json.encode(self)

    @staticmethod
    def from_json(text: bytes | str) -> Genome:
        """Read what `to_json` wrote.

        Raises:
            DataError: It is something else, or its genes do not go together.
        """
        try:
            genome = msgspec.json.decode(text, type=Genome)
            mended = mend(genome)
        except (msgspec.DecodeError, msgspec.ValidationError, KeyError, ValueError) as error:
            raise DataError(f"no genome of the explorer: {error}") from None
        if mended != genome:
            changed = [f for f in GENES if getattr(mended, f) != getattr(genome, f)]
            raise DataError(
                f"genes that do not go together: {', '.join(changed)} of {genome}; `mend` gives "
                "the nearest genome that can be played"
            )
        return genome


GENES = Genome.__struct_fields__


@lru_cache(maxsize=1)
def alphabet() -> dict[str, tuple[str | int, ...]]:
    """Return the values of each gene; goals are those of all techniques."""
    known = declared()
    return {
        "technique": tuple(known.techniques),
        "goal": tuple(goal.name for one in known.techniques.values() for goal in one.goals),
        "carrier": tuple(known.carriers),
        "wrapper": tuple(known.wrappers),
        "wording": tuple(range(6)),
        "disguise": DISGUISES,
        "placement": PLACEMENTS,
        "relay": tuple(known.relays),
        "delay": DELAYS,
        "derivation": DERIVATIONS,
    }


def goal_of(genome: Genome) -> Goal:
    """Return what a genome wants."""
    return declared().techniques[genome.technique].goal(genome.goal)


def derivations_of(goal: Goal) -> tuple[str, ...]:
    """Return the ways to tell a goal's critical value: only numbers can be calculated."""
    if not goal.critical or goal.fact is not None:
        return ("literal",)
    other = "arithmetic" if goal.critical.endswith("amount") else "concatenated"
    return ("literal", "data", other)


def mend(genome: Genome) -> Genome:
    """Return the nearest genome that can be played: what a gene excludes is replaced.

    Raises:
        KeyError, ValueError: A gene has a value that there is not.
    """
    known, genes = declared(), alphabet()
    technique = known.techniques[genome.technique]
    goals = tuple(goal.name for goal in technique.goals)
    goal = technique.goal(_among(genome.goal, goals, genes["goal"]))
    carrier = _among(genome.carrier, known.carriers_of(technique.id), genes["carrier"])
    wrapper = _among(genome.wrapper, known.wrappers_of(technique.id), genes["wrapper"])
    derivation = _among(genome.derivation, derivations_of(goal), genes["derivation"])
    disguise = _among(genome.disguise, DISGUISES, DISGUISES)
    relay = _among(genome.relay, tuple(known.relays), genes["relay"])
    delay = genome.delay if genome.delay in DELAYS else DELAYS[-1]
    is_pulled = technique.id == _RUG_PULL
    if goal.fact is not None or is_pulled:
        relay, delay = "direct", 0
    if disguise == "split_lines" and carrier == "file_name":  # names have no lines
        disguise = "none"
    if disguise == "split_results" and (is_pulled or relay == "subagent"):
        disguise = "split_lines"
    if relay == "subagent":  # its report is one text
        placement = _among(genome.placement, PLACEMENTS[:3], PLACEMENTS)
    else:
        placement = _among(genome.placement, PLACEMENTS, PLACEMENTS)
    wording = genome.wording % len(known.wrappers[wrapper].text)
    return Genome(
        technique.id, goal.name, carrier, wrapper, wording, disguise, placement, relay, delay,
        derivation,
    )  # fmt: skip


def _among(value: str, allowed: tuple[str, ...], every: tuple[str | int, ...]) -> str:
    """Return a value if it is allowed, else the one that its number falls on."""
    return value if value in allowed else allowed[every.index(value) % len(allowed)]


def drawn(rng: random.Random) -> Genome:
    """Return a genome by chance: first the cell, so that no technique is drawn more often."""
    genes = {name: rng.choice(values) for name, values in alphabet().items()}
    technique = declared().techniques[str(genes["technique"])]
    genes["goal"] = rng.choice(technique.goals).name
    genes["carrier"] = rng.choice(declared().carriers_of(technique.id))
    return mend(msgspec.convert(genes, Genome))


def mutate(genome: Genome, rng: random.Random) -> Genome:
    """Return a genome with one or two genes changed; it differs from the given one."""
    for _ in range(_TRIES):
        chosen = rng.sample(GENES, rng.choice((1, 1, 2)))
        changes = {name: rng.choice(alphabet()[name]) for name in chosen}
        if "technique" in changes:
            changes["goal"] = rng.choice(
                declared().techniques[str(changes["technique"])].goals
            ).name
        child = mend(msgspec.convert({**msgspec.to_builtins(genome), **changes}, Genome))
        if child != genome:
            return child
    return genome


def cross(first: Genome, second: Genome, rng: random.Random) -> Genome:
    """Return a genome whose genes are each of one of two; technique and goal stay together."""
    other = msgspec.to_builtins(second)
    genes = {
        name: value if rng.random() < 0.5 else other[name]
        for name, value in msgspec.to_builtins(first).items()
    }
    origin = first if genes["technique"] == first.technique else second
    return mend(msgspec.convert({**genes, "goal": origin.goal}, Genome))


def moved(genome: Genome, cell: tuple[str, str], rng: random.Random) -> Genome:
    """Return a genome that does in another cell what it did in its own."""
    technique, carrier = cell
    goal = rng.choice(declared().techniques[technique].goals).name
    return mend(msgspec.structs.replace(genome, technique=technique, carrier=carrier, goal=goal))
