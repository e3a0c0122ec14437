"""Engines on the same contests, in turn: A B C, A B C, so that a noisy minute hits all."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from models.inference.bench.contest import Contest
from models.inference.bench.engine import Score, Setup
from models.inference.bench.process import ContestantProcess
from models.inference.bench.progress import Progress

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

    def __init__(self, folder: Path, progress: Progress, tell: Tell) -> None:
        """Take a folder for contests and logs, and what was measured before."""
        self._folder, self._progress, self._tell = folder, progress, tell
        self.abouts: dict[str, str] = {}
        """What each engine said of itself, by corner."""
        self.load_cpu_s: dict[str, float] = {}

    def fight(
        self, contests: Sequence[Contest], corners: Sequence[Corner], repeats: int
    ) -> Iterator[Result]:
        """Run every corner on every contest that it enters, `repeats` times in turn.

        One run of each comes before and does not count: it compiles and fills caches. Rounds
        that an earlier benchmark of this progress ran are taken from there; a round counts when
        all have run it.
        """
        with ExitStack() as ample:
            lasting: dict[str, ContestantProcess] = {}
            for contest in contests:
                entered = [corner for corner in corners if corner.enters(contest)]
                names = [f"{contest.name} {repeat} {entered}" for repeat in range(repeats)]
                with ExitStack() as brief:
                    ready: list[tuple[Corner, ContestantProcess]] = []
                    place = self._folder / contest.name.replace("/", "-")
                    for repeat, name in enumerate(names):
                        if not ready and not self._progress.has(name):
                            contest.write(place)
                            ready = self._enter(contest, entered, (ample, lasting), brief)
                            self._round(contest, place, ready, "warming up")
                        about = f"{repeat + 1} of {repeats}"
                        run = partial(self._round, contest, place, ready, about)
                        scores, abouts, loads = self._progress.once(name, run)
                        self.abouts |= abouts
                        self.load_cpu_s |= loads
                        for corner, score in scores.items():
                            yield Result(contest.name, corner, repeat, score)

    def _enter(
        self,
        contest: Contest,
        entered: Sequence[Corner],
        ample: tuple[ExitStack, dict[str, ContestantProcess]],
        brief: ExitStack,
    ) -> list[tuple[Corner, ContestantProcess]]:
        """Load those that are not loaded yet."""
        passing: dict[str, ContestantProcess] = {}
        ready = []
        for corner in entered:
            setup = _suited(corner.setup, contest)
            # vLLM with a KV of a contest's size serves that contest alone.
            stack, known = ample if setup == corner.setup else (brief, passing)
            ready.append((corner, self._process(corner, setup, stack, known)))
        return ready

    def _round(
        self,
        contest: Contest,
        place: Path,
        ready: Sequence[tuple[Corner, ContestantProcess]],
        about: str,
    ) -> tuple[dict[str, Score], dict[str, str], dict[str, float]]:
        """Run each once; returns scores, what engines say of themselves, and loading times."""
        scores = {}
        for corner, process in ready:
            self._tell(f"{contest.name}: {corner.name}, {about}")
            scores[corner.name] = process.run(place, corner.options)
        return scores, dict(self.abouts), dict(self.load_cpu_s)

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
