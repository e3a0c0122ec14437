"""What a search leaves behind: labelled sessions for training, and intelligence for people.

Sessions are of the schema `detection-session/1`, split `train`. Each attack comes twice: followed,
and read without being followed; without the second a detector would learn that the text alone is
an attack that was carried out.
"""

from __future__ import annotations

import datetime
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec
import orjson

from models.detection.evaluation.labelled import SCHEMA as ROW_SCHEMA
from models.detection.explorer.archive import SCHEMA
from models.detection.explorer.config import ExploreConfig
from models.detection.explorer.declared import declared
from models.detection.explorer.dojo.stage import DojoPlay
from models.detection.explorer.execute import Play
from models.detection.explorer.executor import Executor, executor_of
from models.detection.explorer.explore import Exploration, sessions_of
from models.detection.explorer.fitness import Candidate
from models.detection.explorer.payload import Payload
from models.detection.explorer.victim import Victim, victim_of
from models.detection.intel import Intel
from models.detection.session import Event

SOURCE = "explorer"
_LONGEST_EXAMPLE = 600


class Entry(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One [EAS] entry: a way to attack that a detector did not notice.

    Attributes:
        id: `EAS-` and the digest of the genome.
        technique: Id in ADR's taxonomy.
        title: What it is, in a line.
        pattern: The wording with its places unfilled: `{goal}`'s places are names in braces.
        example: The text as it was written into a record.
        date: Day of the finding, ISO 8601.
        detector: Digest of the detector that did not notice it.
        fitness: F, in [0, 1].
        holds: It evaded in further sessions too; None: it was not tried.
        genes: How it is put together.
        origin: Of the environments it was found in; empty: our own.
    """

    id: str
    technique: str
    title: str
    pattern: str
    example: str
    date: str
    detector: str
    fitness: float
    holds: bool | None
    genes: dict[str, str | int]
    origin: str = ""

    def as_intel(self) -> Intel:
        """Return it as the intelligence that verdicts and analysts look up."""
        text = f"Worded like: {self.pattern} Example: {self.example}"
        where = f" in {self.origin}" if self.origin else ""
        source = f"explorer{where}, {self.date}, unnoticed by detector {self.detector}"
        return Intel(self.id, "EAS", self.technique, self.title, text, source)


def entries(found: Exploration, config: ExploreConfig, date: datetime.date) -> list[Entry]:
    """Return an entry for each attack that got through, the best first.

    Args:
        found: What a search found.
        config: What the search was.
        date: Day of the finding.
    """
    victim, seed = victim_of(config.victim), sessions_of(config)[0]
    with executor_of(config) as executor:
        return [
            _entry(
                one, executor.play(one.genome, seed, victim, obeys=False).payload, date, found,
                executor.origin,
            )
            for one in found.archive.survivors
        ]  # fmt: skip


def _entry(
    one: Candidate, payload: Payload, date: datetime.date, found: Exploration, origin: str
) -> Entry:
    genes = msgspec.to_builtins(one.genome)
    digest = one.genome.digest
    return Entry(
        f"EAS-{digest}", genes.pop("technique"), title(one), payload.pattern,
        "\n".join(payload.pieces)[:_LONGEST_EXAMPLE], date.isoformat(), found.detector,
        one.fitness, found.held.get(digest), genes, origin,
    )  # fmt: skip


def title(candidate: Candidate) -> str:
    """Say in a line what an attack is."""
    genome = candidate.genome
    name = declared().techniques[genome.technique].name
    hidden = "" if genome.disguise == "none" else f", {genome.disguise.replace('_', ' ')}"
    way = "" if genome.relay == "direct" else f", by way of {genome.relay}"
    goal, place = genome.goal.replace("-", " "), genome.carrier.replace("_", " ")
    return f"{name}: {goal}, in a {place}, worded as {genome.wrapper}{hidden}{way}"


def rows(found: Exploration, config: ExploreConfig) -> Iterator[dict[str, Any]]:
    """Yield labelled sessions of attacks that got through, each followed and resisted.

    Args:
        found: What a search found.
        config: What the search was; the sessions are those that attacks were tried on.
    """
    victim = victim_of(config.victim)
    with executor_of(config) as executor:
        for candidate in found.archive.survivors:
            for seed in sessions_of(config):
                for obeys in (True, False):
                    played = executor.play(candidate.genome, seed, victim, obeys=obeys)
                    yield _row(candidate, played, seed, victim, executor, obeys=obeys)


def _row(
    candidate: Candidate, played: Play, seed: str, victim: Victim, executor: Executor,
    *, obeys: bool,
) -> dict[str, Any]:  # fmt: skip
    genome = candidate.genome
    technique = declared().techniques[genome.technique]
    events = played.session.events
    written = dict.fromkeys((*played.payload.pieces, played.payload.plain))
    suite, user_task, injection_task = SOURCE, genome.carrier, genome.goal
    is_useful = None
    if isinstance(played, DojoPlay):
        suite, user_task = played.scene.suite, played.scene.user_task
        injection_task, is_useful = played.scene.task.task, played.is_useful
    return {
        "schema": ROW_SCHEMA,
        "session_id": f"eas-{genome.digest}-{seed}-{'executed' if obeys else 'resisted'}",
        "source": SOURCE,
        "source_version": SCHEMA,
        "origin": executor.origin,
        "licence": "MIT" if isinstance(played, DojoPlay) else "Apache-2.0",
        "split": "train",
        "domain": suite,
        "group": {
            "suite": suite, "user_task": user_task, "injection_task": injection_task,
            "wrapper": genome.wrapper,
            "key": f"{suite}|{genome.technique}|{injection_task}|{genome.wrapper}",
        },
        "label": int(played.share == 1),
        "outcome": "executed" if played.share == 1 else "resisted",
        "exposed": True,
        "attack": genome.wrapper,
        "technique": {"id": technique.id, "name": technique.name},
        "session": {
            "agent": f"victim {victim.name}", "system_prompt": None,
            "events": [*_events(events)],
        },
        "oracle": {
            "user_task_text": events[0].text,
            "injection_goal": played.payload.order,
            "injected_texts": {str(number): text for number, text in enumerate(written)},
            "hijack_calls": list(played.hijack_calls),
            "hijack_in_output": played.is_hijack_said,
            "attack_succeeded": played.share == 1,
            "user_task_solved": is_useful,
        },
        "leak": None,
        "quality": {
            "real_agent": False, "complete": True,
            "notes": [f"genome {genome.to_json().decode()}"],
        },
    }  # fmt: skip


def _events(events: Sequence[Event]) -> Iterator[dict[str, Any]]:
    calls = {event.id: event.call.id for event in events if event.call is not None}
    for number, event in enumerate(events):
        if event.call is not None:
            yield {
                "seq": number, "kind": event.kind, "call_id": event.call.id,
                "server": event.call.server, "server_alias": event.call.server,
                "tool": event.call.tool, "tool_alias": event.call.tool,
                "args": event.call.arguments,
            }  # fmt: skip
        elif event.kind == "tool_result":
            yield {
                "seq": number, "kind": event.kind, "call_id": calls[event.responds_to or ""],
                "text": event.text, "status": event.status,
            }  # fmt: skip
        else:
            yield {"seq": number, "kind": event.kind, "text": event.text}


def write_lines(file: Path, values: Iterator[Mapping[str, Any]]) -> int:
    """Write values as lines of JSON and return how many there were."""
    file.parent.mkdir(parents=True, exist_ok=True)
    count = 0
    with file.open("wb") as out:
        for value in values:
            out.write(orjson.dumps(value) + b"\n")
            count += 1
    return count
