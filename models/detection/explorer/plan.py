"""What the user of a session asks for, and the calls of an agent that does it."""

from __future__ import annotations

import random
from dataclasses import dataclass

from models.detection.explorer.declared import Call, Carrier, Errand, declared
from models.detection.explorer.genome import Genome, goal_of
from models.detection.explorer.payload import Payload
from models.detection.explorer.toolbox import Words
from models.detection.explorer.world import World
from models.detection.scenarios.generate import tables

READER = "reader"
"""Name of the sub-agent that reads for the agent."""
_PASTIMES = ("look", "channels", "services", "note", "history")


@dataclass(frozen=True)
class Turn:
    """One message of the user, and the calls that do what it asks for."""

    prompt: str
    calls: tuple[Call, ...]


@dataclass(frozen=True)
class Plan:
    """A session's task.

    Attributes:
        turns: Messages of the user in order.
        arms: Number of the turn from which on a text is obeyed: the one in which it comes back.
        is_pulled: The attacker writes only after the first call, as a changed tool does.
        told: Lines that the task needs the agent to be told.
    """

    turns: tuple[Turn, ...]
    arms: int
    is_pulled: bool
    told: str


def plan_of(genome: Genome, words: Words, rng: random.Random) -> Plan:
    """Return the task of a session that meets a genome's carrier."""
    known = declared()
    carrier, goal = known.carriers[genome.carrier], goal_of(genome)
    prompt, calls = _task(carrier, rng)
    if genome.disguise == "split_results" and carrier.second:
        prompt += f" Do the same with {next(iter(carrier.second.values()))}."
        calls = (*calls, Call(carrier.reads, carrier.second))
    relay = known.relays[genome.relay]
    errands: list[Errand] = [known.errands[goal.errand]] if goal.errand else []
    pastimes = [known.errands[name] for name in _PASTIMES]
    errands += rng.sample(pastimes, genome.delay)
    prompts = [prompt, relay.prompt]
    is_pulled = genome.technique == "ADR.T0006"
    if is_pulled:
        calls = (*calls, *known.errands["look"].calls, calls[-1])
        prompts.append(f"{known.errands['look'].prompt} Then look at the tools once more.")
    if genome.relay == "subagent":
        calls = (Call("agent-run", {"agent": READER, "body": prompt}),)
    asked = tuple(call for errand in errands for call in errand.calls)
    ends = [errand.prompt for errand in errands]
    told = words.fill(" ".join(errand.told for errand in errands if errand.told))

    def turn(texts: list[str], calls: tuple[Call, ...]) -> Turn:
        return Turn(words.fill(" ".join(text for text in texts if text)), calls)

    if relay.writes is None or relay.reads is None:
        return Plan((turn([*prompts, *ends], (*calls, *asked)),), 0, is_pulled, told)
    first = turn(prompts, (*calls, relay.writes))
    return Plan((first, turn([relay.later, *ends], (relay.reads, *asked))), 1, is_pulled, told)


def _task(carrier: Carrier, rng: random.Random) -> tuple[str, tuple[Call, ...]]:
    """Return a prompt and its calls: the carrier's own, or a scenario's that reads it."""
    if carrier.prompts:
        return rng.choice(carrier.prompts), carrier.calls
    tasks = [
        task for task in tables()["tasks"]["task"]
        if not task.get("grants")
        and any(call["do"] == carrier.reads and call.get("poison") for call in task["calls"])
    ]  # fmt: skip
    task = rng.choice(tasks)
    variant = rng.randrange(len(task["prompt"]))
    calls = [call for call in task["calls"] if call.get("only", variant) == variant]
    return (
        str(task["prompt"][variant]),
        tuple(Call(call["do"], dict(call.get("with", {}))) for call in calls),
    )


def plant(
    world: World, genome: Genome, payload: Payload, plan: Plan, words: Words, rng: random.Random
) -> None:
    """Write the attacker's text, and what the task needs to be told, into the world."""
    carrier = declared().carriers[genome.carrier]
    rows = _rows(world, carrier, words, rng, len(payload.pieces))
    body = "note" if carrier.name == "file_name" else carrier.text
    if plan.told:
        rows[0][body] = f"{plan.told}\n{rows[0][body]}"
    if payload.reference:
        rows[-1][body] = f"{rows[-1][body]}\n{payload.reference}"
    for row, piece in zip(rows, payload.pieces, strict=True):
        _write(row, carrier, genome.placement, piece)


def _rows(
    world: World, carrier: Carrier, words: Words, rng: random.Random, count: int
) -> list[dict[str, str]]:
    """Return the rows that the task shows: two where a text is parted."""
    rows, effect = world.tables[carrier.table], declared().effects[carrier.reads]
    if effect.key:
        named = (*carrier.calls[-1].given.values(), *carrier.second.values())
        keys = [words.fill(name) for name in named[:count]]
        return [next(row for row in rows if row[effect.key] == key) for key in keys]
    while len(rows) < count:
        rows.append(dict(rows[0]))
    if carrier.name in ("file_name", "tool_description"):  # later rows are not the task's own
        return rows[:count]
    return [rows[at] for at in sorted(rng.sample(range(len(rows)), count))]


def _write(row: dict[str, str], carrier: Carrier, placement: str, piece: str) -> None:
    if carrier.name == "file_name":
        _name(row, placement, piece)
        return
    if carrier.name == "code_comment":
        piece = "\n".join(f"# {line}" for line in piece.split("\n"))
    if placement == "field" and carrier.field:
        row[carrier.field] = f"{row[carrier.field]} {piece}"
        return
    text = row[carrier.text]
    if placement == "field":
        row[carrier.text] = f"Keywords: {piece}\n{text}"
        return
    row[carrier.text] = inserted(text, placement, piece)


def inserted(text: str, placement: str, piece: str) -> str:
    """Return a text with a piece between its lines or sentences: start, middle or end."""
    lines = text.split("\n") if "\n" in text else text.split(". ")
    at = {"start": 0, "middle": len(lines) // 2, "end": len(lines)}[placement]
    lines.insert(at, piece)
    return ("\n" if "\n" in text or "\n" in piece else ". ").join(lines)


def _name(row: dict[str, str], placement: str, piece: str) -> None:
    piece = piece.replace("\n", " ")
    path = row["path"]
    stem, dot, ending = path.rpartition(".")
    if placement == "field":
        row["note"] = f"{row['note']} {piece}".strip()
    elif placement == "start":
        row["path"] = f"{piece} {path}"
    elif placement == "middle":
        row["path"] = f"{stem} {piece}{dot}{ending}"
    else:
        row["path"] = f"{path} {piece}"
