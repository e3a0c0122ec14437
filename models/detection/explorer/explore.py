"""The search: survivors mutate, the best of each cell is kept, random search runs beside it."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import msgspec

from models.detection.explorer.archive import SCHEMA, Archive, read_checkpoint, write_checkpoint
from models.detection.explorer.config import ExploreConfig
from models.detection.explorer.executor import Executor, executor_of
from models.detection.explorer.fitness import Candidate, evaluate
from models.detection.explorer.generation import COUNTED, Counts, Generation, carried_of, count
from models.detection.explorer.genome import Genome, cross, drawn, moved, mutate
from models.detection.explorer.victim import victim_of
from models.detection.reasoning.detector import Detector
from models.errors import DataError

CHECKPOINT = "checkpoint.json"
_TRIES = 200


def sessions_of(config: ExploreConfig) -> list[str]:
    """Return the seeds of the sessions that each attack is tried on."""
    return [f"{config.seed}/{number}" for number in range(config.sessions)]


def dies_out(survival: float, mutations: int) -> bool:
    """Return whether a search is over: fewer than one survivor per survivor is to be expected.

    Source: ADR (MLSys 2026), stopping rule of the Explorer; Galton & Watson (1875).
    """
    return survival * mutations < 1


@dataclass(frozen=True)
class Exploration:
    """What a search found.

    Attributes:
        generations: One after the other.
        archive, random: Maps of the search, and of random search.
        counts, random_counts: Evasions by genes.
        held, random_held: Survivors, and those of them that evade in further sessions too.
        has_died_out: It ended by the stopping rule, not by the number of generations.
        detector: Digest of the detector.
    """

    generations: tuple[Generation, ...]
    archive: Archive
    random: Archive
    counts: Counts
    random_counts: Counts
    held: dict[str, bool]
    random_held: dict[str, bool]
    has_died_out: bool
    detector: str


Tell = Callable[[Generation], None]


def explore(
    config: ExploreConfig, detector: Detector, folder: Path, tell: Tell = lambda _: None
) -> Exploration:
    """Search for attacks; run again with the same folder, it goes on where it was.

    Args:
        config: What defines the search.
        detector: Who is to be evaded.
        folder: Where a checkpoint is kept after each generation.
        tell: Hears of each generation that this call made.

    Raises:
        ConfigError: The executor needs an extra that is not installed.
        DataError: The folder holds the state of another search, or a damaged one.
    """
    with executor_of(config) as executor:
        search = _Search(config, detector, folder / CHECKPOINT, executor)
        search.resume()
        while not search.is_over:
            tell(search.step())
        return search.result()


class _Search:
    def __init__(
        self, config: ExploreConfig, detector: Detector, file: Path, executor: Executor
    ) -> None:
        self._config, self._detector, self._file = config, detector, file
        self._executor, self._cells = executor, executor.cells
        self._victim = victim_of(config.victim)
        self._known: dict[str, Candidate] = {}
        self._parents: list[Candidate] = []
        self._generations: list[Generation] = []
        self._archive, self._random = (Archive((), len(self._cells)) for _ in range(2))
        self._counts: Counts = {gene: {} for gene in COUNTED}
        self._random_counts: Counts = {gene: {} for gene in COUNTED}

    def resume(self) -> None:
        """Take over the state of a search that was ended."""
        body = read_checkpoint(self._file)
        if body is None:
            return
        other = [
            f"{name} {body[name]}, not {own}"
            for name, own in self._origin.items()
            if body[name] != own
        ]
        if other:
            raise DataError(
                f"{self._file} is of another search ({'; '.join(other)}); give another `folder`, "
                "or remove it"
            )
        candidates = msgspec.convert(body["candidates"], dict[str, Candidate])
        self._archive, self._random = (
            Archive((candidates[one] for one in body[name]), len(self._cells))
            for name in ("archive", "random")
        )
        self._parents = [candidates[one] for one in body["parents"]]
        self._generations = msgspec.convert(body["generations"], list[Generation])
        self._counts, self._random_counts = body["counts"], body["random_counts"]

    @property
    def _origin(self) -> dict[str, str]:
        """What decides the result of a search."""
        return {
            "config": self._config.digest, "detector": self._detector.digest,
            "declarations": self._executor.digest,
        }  # fmt: skip

    @property
    def is_over(self) -> bool:
        return self._has_died_out or len(self._generations) >= self._config.generations

    @property
    def _has_died_out(self) -> bool:
        last = self._generations[-1] if self._generations else None
        if last is None or last.number == 0:
            # The first one is drawn, not bred: it dies out where nobody of it survives.
            return last is not None and last.survivors == 0
        return dies_out(last.survival, self._config.mutations)

    def step(self) -> Generation:
        """Make a generation and keep the state."""
        number, config = len(self._generations), self._config
        # A generation's chance depends on its number alone, so that a search can go on anywhere.
        rng = random.Random(f"{config.seed}/{number}")
        by_chance = random.Random(f"{config.seed}/{number}/random")
        genomes = [self._drawn(rng) for _ in range(config.population)] if number == 0 else []
        if number:
            genomes = [self._child(parent, rng) for parent in self._chosen(rng)]
        tried = [self._tried(genome) for genome in genomes]
        beside = tried if number == 0 else [self._tried(self._drawn(by_chance)) for _ in tried]
        survivors = [one for one in tried if self._archive.place(one) and one.evades]
        for one in beside:
            self._random.place(one)
        count(self._counts, tried)
        count(self._random_counts, beside)
        self._parents = survivors
        generation = self._figures(number, tried, beside, len(survivors))
        self._generations.append(generation)
        self._keep()
        return generation

    def _chosen(self, rng: random.Random) -> list[Candidate]:
        """Return the parents of the next generation, each as often as it has children.

        Survivors of the last one, and those that hold a cell since before.
        """
        newest = {one.genome.digest for one in self._parents}
        older = [one for one in self._archive.survivors if one.genome.digest not in newest]
        children = [one for one in (*self._parents, *older) for _ in range(self._config.mutations)]
        if len(children) <= self._config.population:
            return children
        return rng.sample(children, self._config.population)

    def _drawn(self, rng: random.Random) -> Genome:
        while True:
            fitted = self._executor.fit(drawn(rng))
            if fitted is not None:
                return fitted

    def _child(self, parent: Candidate, rng: random.Random) -> Genome:
        for _ in range(_TRIES):
            bred = self._bred(parent.genome, rng)
            fitted = self._executor.fit(bred)
            # Not one whose only difference cannot be played.
            if fitted is not None and (fitted == bred or fitted != parent.genome):
                return fitted
        return parent.genome

    def _bred(self, genome: Genome, rng: random.Random) -> Genome:
        if rng.random() < self._config.crossover:
            genome = cross(genome, rng.choice(self._archive.survivors).genome, rng)
        if rng.random() < self._config.travel:
            held = {one.genome.cell for one in self._archive.survivors}
            left = [cell for cell in self._cells if cell not in held]
            if left:
                return moved(genome, rng.choice(left), rng)
        return mutate(genome, rng)

    def _tried(self, genome: Genome) -> Candidate:
        found = self._known.get(genome.digest)
        if found is None:
            seeds = sessions_of(self._config)
            found = self._evaluated(genome, seeds)
            self._known[genome.digest] = found
        return found

    def _evaluated(self, genome: Genome, seeds: Sequence[str]) -> Candidate:
        return evaluate(genome, self._detector, self._victim, seeds, self._executor)

    def _figures(
        self, number: int, tried: Sequence[Candidate], beside: Sequence[Candidate], survivors: int
    ) -> Generation:
        elites = self._archive.elites
        best = max((elite.fitness for elite in elites), default=0.0)
        return Generation(
            number, len(tried), *carried_of(tried), survivors, len(elites),
            len(self._archive.survivors), best, self._archive.quality / max(1, len(elites)),
            self._archive.quality, *carried_of(beside), len(self._random.elites),
            len(self._random.survivors), self._random.quality,
        )  # fmt: skip

    def _keep(self) -> None:
        kept = {
            "archive": self._archive.elites, "random": self._random.elites,
            "parents": tuple(self._parents),
        }  # fmt: skip
        names = {name: [one.genome.digest for one in ones] for name, ones in kept.items()}
        candidates = {one.genome.digest: one for ones in kept.values() for one in ones}
        body = {
            "schema": SCHEMA, **self._origin, "generations": self._generations,
            "candidates": candidates, "counts": self._counts,
            "random_counts": self._random_counts, **names,
        }  # fmt: skip
        write_checkpoint(self._file, msgspec.to_builtins(body))

    def result(self) -> Exploration:
        return Exploration(
            tuple(self._generations), self._archive, self._random, self._counts,
            self._random_counts, self._held(self._archive), self._held(self._random),
            self._has_died_out, self._detector.digest,
        )  # fmt: skip

    def _held(self, archive: Archive) -> dict[str, bool]:
        """Return of each survivor whether it evades in sessions that it was not chosen by."""
        count = self._config.confirmations
        seeds = [f"{self._config.seed}/further/{number}" for number in range(count)]
        if not seeds:
            return {}
        return {
            one.genome.digest: self._evaluated(one.genome, seeds).evades
            for one in archive.survivors
        }
