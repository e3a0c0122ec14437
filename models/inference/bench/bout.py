"""Engines on the same contests, in turn: A B C, A B C, so that a noisy minute hits all."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from models.inference.bench.contest import Contest
from models.inference.bench.engine import Score, Setup
from models.inference.bench.process import ContestantProcess

Tell = Callable[[str], None]


@dataclass(frozen=True)
class Corner:
    """A competitor: a loaded engine, and how it is told to run.

    Attributes:
        name: As in the tables.
        about: In words.
        setup: What is loaded; corners with equal setups share a process.
        options: Of each run.
        kinds: Kinds of contest that it takes part in; empty: all.
        contests: Names of contests that it takes part in; empty: all of its kinds.
    """

    name: str
    about: str
    setup: Setup
    options: dict[str, Any]
    kinds: tuple[str, ...] = ()
    contests: tuple[str, ...] = ()

    def enters(self, contest: Contest) -> bool:
        """Whether it takes part."""
        is_kind = not self.kinds or contest.kind in self.kinds
        return is_kind and (not self.contests or contest.name in self.contests)


@dataclass(frozen=True)
class Result:
    """One run.

    Attributes:
        contest, corner: Names.
        repeat: From 0.
        score: What was measured.
    """

    contest: str
    corner: str
    repeat: int
    score: Score


class Ring:
    """Runs contests; engine processes live as long as they are needed."""

    def __init__(self, folder: Path, tell: Tell) -> None:
        """Take a folder for contests and logs."""
        self._folder, self._tell = folder, tell
        self.abouts: dict[str, str] = {}
        """What each engine said of itself, by corner."""
        self.load_cpu_s: dict[str, float] = {}

    def fight(
        self, contests: Sequence[Contest], corners: Sequence[Corner], repeats: int
    ) -> Iterator[Result]:
        """Run every corner on every contest that it enters, `repeats` times in turn.

        One run of each comes before and does not count: it compiles and fills caches.
        """
        with ExitStack() as ample:
            lasting: dict[str, ContestantProcess] = {}
            for contest in contests:
                entered = [corner for corner in corners if corner.enters(contest)]
                with ExitStack() as brief:
                    passing: dict[str, ContestantProcess] = {}
                    place = contest.write(self._folder / contest.name.replace("/", "-"))
                    ready = []
                    for corner in entered:
                        setup = _suited(corner.setup, contest)
                        # vLLM with a KV of a contest's size serves that contest alone.
                        is_lasting = setup == corner.setup
                        stack, known = (ample, lasting) if is_lasting else (brief, passing)
                        ready.append((corner, self._process(corner, setup, stack, known)))
                    for repeat in range(-1, repeats):
                        for corner, process in ready:
                            self._tell(
                                f"{contest.name}: {corner.name}, "
                                + (f"{repeat + 1} of {repeats}" if repeat >= 0 else "warming up")
                            )
                            score = process.run(place, corner.options)
                            if repeat >= 0:
                                yield Result(contest.name, corner.name, repeat, score)

    def _process(
        self,
        corner: Corner,
        setup: Setup,
        stack: ExitStack,
        known: dict[str, ContestantProcess],
    ) -> ContestantProcess:
        name = repr(setup)
        if name not in known:
            self._tell(f"loading {corner.name}")
            log = self._folder / "logs" / f"{len(self.abouts)}-{setup.engine}.txt"
            known[name] = stack.enter_context(ContestantProcess(setup, log))
            self.load_cpu_s[corner.name] = known[name].load_cpu_s
        self.abouts.setdefault(corner.name, known[name].about)
        return known[name]


def _suited(setup: Setup, contest: Contest) -> Setup:
    """Give vLLM the KV of a contest; other engines take it run by run."""
    if setup.engine != "vllm" or contest.kv_tokens is None:
        return setup
    return replace(setup, options={**setup.options, "kv_tokens": contest.kv_tokens})


@contextmanager
def alone(setup: Setup, folder: Path) -> Iterator[ContestantProcess]:
    """Load one engine for a few runs of its own."""
    log = folder / "logs" / f"alone-{setup.engine}-{setup.dtype}.txt"
    with ContestantProcess(setup, log) as process:
        yield process
