"""What `loom bench kernels` measures, and the package it measures."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Literal, TypeVar

from pydantic import Field

from models.config import Config, Texts
from models.errors import ConfigError
from models.kernels.campaign import OperatorOptions, OperatorSummary, run_operator
from models.kernels.compiler import CompilePool
from models.kernels.config import EvaluationConfig
from models.kernels.evaluation import Judged, SuiteResult, evaluate_operator
from models.kernels.execute import LaunchRecord, Zygote
from models.kernels.harness import Harness
from models.kernels.ledger import Ledger
from models.kernels.operators import OperatorSpec
from models.kernels.profiles import find_profile
from models.kernels.propose import Proposer
from models.kernels.propose.synthesizer import forked_synthesizer
from models.kernels.samples.streams import Suite
from models.kernels.targets import GPU_TARGETS, CompileFolder, MatrixRow, compile_matrix
from models.kernels.workshop import workshop

Track = Literal[
    "suites", "targets", "dialects", "models", "mutation", "cheats", "ablation", "peers"
]
Tell = Callable[[str], None]
Item = TypeVar("Item")
Made = TypeVar("Made")


class KernelsBenchConfig(Config):
    """Tracks of the benchmark, and how much of each."""

    tracks: tuple[Track, ...] = (
        "suites", "targets", "dialects", "models", "mutation", "cheats", "ablation", "peers",
    )  # fmt: skip
    """What is measured."""

    ops: str = "slice60"
    """Operators: slice60, paper, all, families or patterns. `paper` takes hours."""

    package: Path | None = None
    """Frozen package that is judged; None: the synthesizer writes one for `ops` first."""

    suites: tuple[Suite, ...] = ("S", "V1", "V2", "V3", "V4", "V6")
    """Suites that the package is put to."""

    split: str = "loom:0.2"
    """SALT:SHARE of operators that are reported apart, by a salted hash of their names."""

    most_per_type: int | None = Field(None, ge=1)
    """Tests per type and suite at most, for development; a published figure has None."""

    targets: Texts = GPU_TARGETS
    """Profiles that kernels are compiled for."""

    most_signatures: int = Field(2, ge=1)
    """Launches per kernel that are compiled for each target."""

    dialects: Texts = ("padded32", "gather_only")
    """Virtual devices: another profile and nothing else."""

    models: Texts = ("gpt", "llama", "dlrm", "resnet18")
    """Models that are trained on generated kernels."""

    steps: int = Field(20, ge=1)
    """Training steps."""

    mutated: int = Field(12, ge=1)
    """Modules that mutants are made of, spread over the families."""

    mutants: int = Field(8, ge=1)
    """Mutants per module."""

    judged_per_key: int | None = Field(3, ge=1)
    """Samples of each structure of arguments that judge a mutant; None: all."""

    ablated: int = Field(20, ge=1)
    """Operators of each ablation, spread over the families."""

    @property
    def holdout(self) -> tuple[str, float]:
        """Salt and share of `split`.

        Raises:
            ConfigError: It is no SALT:SHARE.
        """
        salt, _, share = self.split.rpartition(":")
        try:
            value = float(share)
        except ValueError:
            value = -1.0
        if not salt or not 0 < value < 1:
            raise ConfigError(f"split '{self.split}' is no SALT:SHARE such as loom:0.2")
        return salt, value


def spread(specs: Sequence[OperatorSpec], most: int) -> list[OperatorSpec]:
    """Return up to `most` operators, one of each family in turn, those with fewest tests first."""
    by_family: dict[str, list[OperatorSpec]] = {}
    for spec in sorted(specs, key=lambda spec: (spec.tests, spec.op_id)):
        by_family.setdefault(spec.family, []).append(spec)
    chosen: list[OperatorSpec] = []
    while by_family and len(chosen) < most:
        for family in sorted(by_family):
            if len(chosen) < most:
                chosen.append(by_family[family].pop(0))
            if not by_family[family]:
                del by_family[family]
    return chosen


def run_operators(
    specs: Iterable[OperatorSpec],
    options: OperatorOptions,
    ledger: Path,
    workers: int,
    tell: Tell,
    make_proposer: Callable[[Zygote], Proposer] = forked_synthesizer,
) -> list[OperatorSummary]:
    """Run sessions of operators, the longest first; what the ledger holds is not run again."""
    ordered = sorted(specs, key=lambda spec: (-spec.tests, spec.op_id))
    run = partial(run_operator, options=options, ledger_path=ledger, make_proposer=make_proposer)
    return list(_each(ordered, lambda spec: run(spec.op_id), workers, tell, lambda s: s.op_id))


def evaluate_all(
    judged: Iterable[Judged], config: EvaluationConfig, ledger: Path, workers: int, tell: Tell
) -> list[SuiteResult]:
    """Put frozen modules to suites."""
    found = _each(
        list(judged), lambda one: evaluate_operator(one, config, ledger, config.digest), workers,
        tell, lambda one: one.candidate.op_id,
    )  # fmt: skip
    return [result for results in found for result in results]


def _each(
    items: Sequence[Item], work: Callable[[Item], Made], workers: int, tell: Tell,
    name: Callable[[Item], str],
) -> Iterator[Made]:  # fmt: skip
    """Yield what comes of each item, in the order of the items."""
    results: dict[int, Made] = {}
    with ThreadPoolExecutor(workers) as pool:
        asked = {pool.submit(work, item): place for place, item in enumerate(items)}
        for done, future in enumerate(as_completed(asked), start=1):
            place = asked[future]
            results[place] = future.result()
            tell(f"{done} of {len(items)} operators, last {name(items[place])}")
    yield from (results[place] for place in range(len(items)))


def launches_of(judged: Judged, most_per_type: int | None, ledger: Path) -> list[LaunchRecord]:
    """Return the distinct launches of a module's public tests, from the ledger if it has them."""
    with Ledger(ledger) as store, workshop() as shop:
        harness = Harness(shop.zygote)
        samples = harness.prepare(judged.candidate.op_id, most_per_dtype=most_per_type)
        report = harness.test(judged.candidate, samples, find_profile(judged.profile),
                              depends_on=judged.others, store=store)  # fmt: skip
    return list(report.launches)


def matrix_of(
    judged: Sequence[Judged], config: KernelsBenchConfig, ledger: Path, workers: int, tell: Tell
) -> list[MatrixRow]:
    """Compile the kernels of modules for every target; what a former run compiled is kept."""
    found = list(_each(
        judged, lambda one: (one.candidate.sha, launches_of(one, config.most_per_type, ledger)),
        workers, tell, lambda one: one.candidate.op_id,
    ))  # fmt: skip
    done = 0

    def note(row: MatrixRow) -> None:
        nonlocal done
        done += 1
        tell(f"{done} kernels compiled, last {row.op_id} for {row.result.profile}")

    with ExitStack() as stack:
        pools = [stack.enter_context(CompilePool()) for _ in range(workers)]
        return compile_matrix(
            [one.candidate for one in judged], dict(found),
            [find_profile(name) for name in config.targets], pools, config.most_signatures,
            CompileFolder(ledger.parent / "compiled"), note,
        )  # fmt: skip
