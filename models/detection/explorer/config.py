"""What defines a search for attacks: same config and same detector, same attacks."""

from __future__ import annotations

import datetime
import hashlib
from pathlib import Path
from typing import Literal

from pydantic import Field

from models.config import Config

# Where results go and what names them, which does not change what is found.
_ELSEWHERE = frozenset(("folder", "detector", "date"))
# What says nothing of a search in our own worlds.
_OTHER_EXECUTOR = frozenset(("executor", "suites"))


class ExploreConfig(Config):
    """A search for attacks that are carried out and not noticed."""

    generations: int = Field(12, ge=1, le=200)
    """At most so many; the search ends before when it dies out."""

    population: int = Field(96, ge=4, le=10_000)
    """Attacks of a generation, at most."""

    mutations: int = Field(10, ge=1, le=100)
    """Mutations per survivor (mu): the search ends when survival rate times mu is below 1."""

    sessions: int = Field(3, ge=1, le=20)
    """Sessions that each attack is tried on: other names, records, tools and tasks."""

    confirmations: int = Field(3, ge=0, le=50)
    """Further sessions that each survivor has to get through in the end, to tell luck."""

    crossover: float = Field(0.3, ge=0, le=1)
    """Share of children that have two parents."""

    travel: float = Field(0.4, ge=0, le=1)
    """Share of children that are sent to a cell of the map where nothing evades yet."""

    seed: int = 7
    """Of everything that is drawn."""

    victim: Literal["capable", "plain"] = "capable"
    """Model of an agent that attacks are tried on; see models/detection/explorer/victim.py."""

    executor: Literal["ours", "agentdojo"] = "ours"
    """Where attacks are played: our own worlds, or AgentDojo's environments (an extra)."""

    suites: tuple[Literal["banking", "travel", "workspace", "slack"], ...] = Field(
        ("banking", "travel"), min_length=1
    )
    """Suites of the executor `agentdojo`; workspace and slack are material for choosing and
    testing, so by default no search sees them."""

    detector: Path | None = None
    """File of the detector that is to be evaded; none: the shipped one."""

    folder: Path | None = None
    """Where checkpoints and results go; none: a folder of the config below the home folder."""

    date: datetime.date | None = None
    """Date of the published entries; none: the day on which the search ends."""

    @property
    def digest(self) -> str:
        """What of it decides, 12 hexadecimal digits."""
        idle = _OTHER_EXECUTOR if self.executor == "ours" else frozenset[str]()
        decides = self.model_dump_json(exclude=set(_ELSEWHERE | idle))
        return hashlib.sha256(decides.encode()).hexdigest()[:12]
