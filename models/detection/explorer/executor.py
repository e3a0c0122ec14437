"""Where attacks are played: our own worlds, or the environments of AgentDojo."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol

from models.detection.explorer.config import ExploreConfig
from models.detection.explorer.declared import declared
from models.detection.explorer.dojo.suites import check_installed
from models.detection.explorer.execute import Play, play
from models.detection.explorer.genome import Genome
from models.detection.explorer.victim import Victim


class Executor(Protocol):
    """Plays attacks; the same genome, seed and victim give the same session."""

    @property
    def origin(self) -> str:
        """What its findings are marked with; empty: they may be trained on as they are."""

    @property
    def digest(self) -> str:
        """Of all that is declared and that decides what is played."""

    @property
    def cells(self) -> tuple[tuple[str, str], ...]:
        """Technique and carrier of each attack that it can play."""

    def fit(self, genome: Genome) -> Genome | None:
        """Return the nearest genome that it can play; None: there is none."""

    def play(self, genome: Genome, seed: str, victim: Victim, *, obeys: bool = True) -> Play:
        """Play a session; with `obeys` off the text is read and not followed."""


class OwnWorlds:
    """Plays attacks in our own simulated worlds, in this process."""

    origin = ""

    @property
    def digest(self) -> str:
        """Of techniques, places and the world."""
        return declared().digest

    @property
    def cells(self) -> tuple[tuple[str, str], ...]:
        """All that are declared."""
        return declared().cells()

    def fit(self, genome: Genome) -> Genome:
        """Return the genome: all of them can be played."""
        return genome

    def play(self, genome: Genome, seed: str, victim: Victim, *, obeys: bool = True) -> Play:
        """Play a session; see `execute.play`."""
        return play(genome, seed, victim, obeys=obeys)


OURS = OwnWorlds()


def place_of(config: ExploreConfig) -> str:
    """Say where attacks of a config are played.

    Raises:
        ConfigError: An extra is needed that is not installed; it tells how to install it.
    """
    if config.executor == "ours":
        return "our own worlds"
    check_installed()
    return f"AgentDojo ({', '.join(config.suites)})"


@contextmanager
def executor_of(config: ExploreConfig) -> Iterator[Executor]:
    """Give the executor that a config names, and end what it started.

    Raises:
        ConfigError: It needs an extra that is not installed; it tells how to install it.
    """
    if config.executor == "ours":
        yield OURS
        return
    from models.detection.explorer.dojo.executor import AgentDojo

    dojo = AgentDojo(config.suites)
    try:
        yield dojo
    finally:
        dojo.close()
