"""Run mutants through the harness: killed by which suite, or why not."""

from __future__ import annotations

import contextlib
import json
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

from models.kernels.candidate import KernelCandidate
from models.kernels.compiler import CompilePool
from models.kernels.execute.recorder import LaunchRecord
from models.kernels.harness.run import Harness, SampleSet
from models.kernels.lint import Signature, lint_candidate
from models.kernels.mutation.equivalence import refusal_of_compiler, why_equivalent
from models.kernels.mutation.mutants import Mutant, mutants_of
from models.kernels.mutation.report import JudgedMutant, MutationReport
from models.kernels.operators.catalogue import find_operator
from models.kernels.profiles import find_profile
from models.kernels.samples.streams import Suite

SUITES: tuple[Suite, ...] = ("S", "V2", "V3", "V1")
"""Who judges, in order: public samples, layouts, shapes, and other seeds for what is left."""
COMPILED_FOR = "sm90"
"""Profile whose code shows that a survivor changes nothing."""


@dataclass(frozen=True)
class _Baseline:
    """What a module passes before it is changed."""

    sets: tuple[SampleSet, ...]
    """Samples that it passes, by suite; suites without any are left out."""
    results: dict[str, str]
    """Hash of the result's bits by sample."""
    launches: tuple[LaunchRecord, ...]


def mutation_score(
    candidates: Iterable[KernelCandidate],
    harness: Harness,
    per_candidate: int,
    seed: int,
    *,
    suites: Sequence[Suite] = SUITES,
    most_per_key: int | None = None,
    pool: CompilePool | None = None,
    on_judged: Callable[[JudgedMutant], None] | None = None,
) -> MutationReport:
    """Change passing modules one fault at a time and count how many the tests notice.

    A mutant is killed by the first sample that the original passes and it does not. What no
    sample can show (offsets above 2**31, types that only compilers refuse), the stages before the
    tests may; that is counted apart. No mutant is dropped: what survives is listed, and left out
    of the rate only where a program shows that the change changes nothing.

    Args:
        candidates: Modules that pass their tests, in any order.
        harness: What runs them.
        per_candidate: Mutants of each module at most.
        seed: Seed of the choice of mutants and of the suites but S.
        suites: Who judges, in order.
        most_per_key: Samples of each suite and structure key at most, from the smallest to the
            largest; None: all.
        pool: Compiles survivors; None: the compilers say nothing of them.
        on_judged: Called with each mutant once its fate is known.

    Raises:
        UnknownNameError: A candidate's operator is not in the catalogue.
    """
    judged: list[JudgedMutant] = []
    without = []
    for candidate in candidates:
        baseline = _baseline(candidate, harness, seed, suites, most_per_key)
        if not baseline.sets:
            without.append(candidate.op_id)
            continue
        launched = frozenset(launch.kernel for launch in baseline.launches)
        for mutant in mutants_of(candidate, per_candidate, seed, launched):
            one = _judge(candidate, mutant, baseline, harness, pool)
            judged.append(one)
            if on_judged is not None:
                on_judged(one)
    return MutationReport(seed=seed, suites=tuple(suites), judged=tuple(judged),
                          without_baseline=tuple(without))  # fmt: skip


def _baseline(
    candidate: KernelCandidate, harness: Harness, seed: int, suites: Sequence[Suite],
    most_per_key: int | None,
) -> _Baseline:  # fmt: skip
    sets, launches, results = [], dict[str, LaunchRecord](), dict[str, str]()
    for suite in suites:
        samples = _thinned(harness.prepare(candidate.op_id, suite, seed=seed), most_per_key)
        report = harness.test(candidate, samples)
        passed = {one.sample_id for one in report.outcomes if one.status == "passed"}
        results |= {one.sample_id: one.result_sha for one in report.outcomes}
        kept = tuple(one for one in samples.samples if one["sample_id"] in passed)
        if kept:
            sets.append(replace(samples, samples=kept))
        for launch in report.launches:
            key = launch.model_copy(update={"count": 0, "grid": (0, 0, 0)}).model_dump_json()
            launches.setdefault(key, launch)
    return _Baseline(tuple(sets), results, tuple(launches.values()))


def _thinned(samples: SampleSet, most_per_key: int | None) -> SampleSet:
    """Return at most so many samples of each key, spread over their sizes, largest included."""
    if most_per_key is None:
        return samples
    by_key: dict[str, list[dict[str, Any]]] = {}
    for one in samples.samples:
        by_key.setdefault(one["key"], []).append(one)
    kept: set[str] = set()
    for those in by_key.values():
        those.sort(key=lambda one: one.get("place", [0, 0])[1])
        steps = max(most_per_key - 1, 1)
        kept |= {those[(len(those) - 1) * i // steps]["sample_id"] for i in range(steps + 1)}
    return replace(samples, samples=tuple(o for o in samples.samples if o["sample_id"] in kept))


def _other_stages(
    original: KernelCandidate, mutant: Mutant, baseline: _Baseline, pool: CompilePool | None
) -> Iterator[tuple[str, str | None]]:
    """Yield what the stages before the tests say of a mutant and do not of the original."""
    yield "lint", _new_rules(original, mutant)
    if pool is not None:
        yield (
            "compile",
            refusal_of_compiler(
                original, mutant, baseline.launches, pool, find_profile(COMPILED_FOR)
            ),
        )


def _new_rules(original: KernelCandidate, mutant: Mutant) -> str:
    """Return rules of the linter that a mutant breaks more often than the original."""
    profile, signature = find_profile("interpreter"), _signature(original)
    before, after = (
        Counter(one.rule for one in lint_candidate(module, signature, profile).violations)
        for module in (original, mutant.candidate)
    )
    return ", ".join(sorted(after - before))


def _signature(candidate: KernelCandidate) -> Signature:
    """Return the signature that a proposer wrote for, or the catalogue's."""
    policy: Any = None
    with contextlib.suppress(ValueError):
        policy = json.loads(candidate.policy)
    schema = policy.get("signature") if isinstance(policy, dict) else None
    return Signature.parse(schema or find_operator(candidate.op_id).schema_text)


def _judge(
    original: KernelCandidate, mutant: Mutant, baseline: _Baseline, harness: Harness,
    pool: CompilePool | None,
) -> JudgedMutant:  # fmt: skip
    cpu_s, total, differing = 0.0, 0, 0
    for samples in baseline.sets:
        report = harness.test(mutant.candidate, samples, stop_at_first_failure=True)
        cpu_s += report.cpu_s
        if report.first_failure is not None:
            return JudgedMutant(
                mutant=mutant, fate="killed", suite=samples.suite, cpu_s=cpu_s,
                by=report.first_failure.message[:300],
            )  # fmt: skip
        total += report.total
        differing += sum(
            one.result_sha != baseline.results[one.sample_id] for one in report.outcomes
        )
    reason = why_equivalent(original, mutant, baseline.launches, pool, find_profile(COMPILED_FOR))
    if reason is not None:
        return JudgedMutant(mutant=mutant, fate="equivalent", by=reason, cpu_s=cpu_s)
    for stage, words in _other_stages(original, mutant, baseline, pool):
        if words:
            return JudgedMutant(mutant=mutant, fate="killed", suite=stage, by=words, cpu_s=cpu_s)
    said = f"the same bits in all {total} samples"
    if differing:
        said = f"other bits within the tolerance in {differing} of {total} samples"
    return JudgedMutant(mutant=mutant, fate="survived", by=said, cpu_s=cpu_s)
