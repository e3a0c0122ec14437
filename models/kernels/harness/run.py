"""Test a candidate: first one sample per structure key, then all; crashes contained."""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from models.kernels.candidate import KernelCandidate
from models.kernels.execute.recorder import LaunchRecord
from models.kernels.execute.walls import ExecutionLimits
from models.kernels.execute.zygote import Zygote
from models.kernels.harness.batches import BatchKey, BatchResult, BatchStore, cut, samples_hash
from models.kernels.harness.outcome import outcome_of
from models.kernels.harness.report import TestOutcome, TestReport, summed
from models.kernels.operators.catalogue import find_operator
from models.kernels.operators.opinfo import PUBLIC_SEED
from models.kernels.operators.spec import OperatorSpec
from models.kernels.profiles import DeviceProfile, find_profile
from models.kernels.samples.file import SampleRecord
from models.kernels.samples.streams import Suite, default_dtypes

HARNESS_VERSION = "4"
"""Part of every report: raised when a rule of passing changes."""
_KEPT_SETS = 4


@dataclass(frozen=True)
class SampleSet:
    """The samples of one operator and suite, with expected results; bytes, no torch."""

    op_id: str
    suite: str
    seed: int
    samples: tuple[dict[str, Any], ...]
    """Ordered: first of each structure key, then the others."""
    inputs: bytes = field(repr=False)
    expected: bytes = field(repr=False)

    def __len__(self) -> int:
        """Return the number of samples, skipped ones included."""
        return len(self.samples)

    def firsts(self) -> SampleSet:
        """Return one sample per structure key: what is worth testing before all the others."""
        kept = tuple(one for one in self.samples if one.get("is_first_of_key", False))
        return replace(self, samples=kept)


class Harness:
    """Makes samples and tests candidates; keeps the samples of the last few operators.

    Args:
        zygote: The warm parent that everything runs in.
        limits: What one candidate's process may use.
    """

    def __init__(self, zygote: Zygote, limits: ExecutionLimits | None = None) -> None:
        self.zygote = zygote
        self.limits = limits or ExecutionLimits()
        self._sets: OrderedDict[tuple[Any, ...], SampleSet] = OrderedDict()

    def prepare(
        self,
        op_id: str,
        suite: Suite = "S",
        dtypes: Sequence[str] | None = None,
        seed: int = PUBLIC_SEED,
        most_per_dtype: int | None = None,
        repeat_all: bool = False,
    ) -> SampleSet:
        """Make samples and expected results in a process of their own.

        Args:
            op_id: Operator of the catalogue.
            suite: Suite; see `samples.stream`.
            dtypes: Types; None: those of the suite.
            seed: Seed; S ignores it.
            most_per_dtype: Cut, for development; never in a published run.
            repeat_all: Run every sample twice, not only the first of each structure key.

        Raises:
            UnknownNameError: No such operator.
            ZygoteError: The samples could not be made.
        """
        spec = find_operator(op_id)
        names = tuple(dtypes or default_dtypes(suite))
        used = PUBLIC_SEED if suite == "S" else seed
        key = (op_id, suite, names, used, most_per_dtype, repeat_all)
        if key not in self._sets:
            self._sets[key] = self._produce(
                spec, {"op_id": op_id, "suite": suite, "dtypes": list(names), "seed": used,
                       "most_per_dtype": most_per_dtype}, repeat_all)  # fmt: skip
            while len(self._sets) > _KEPT_SETS:
                self._sets.popitem(last=False)
        self._sets.move_to_end(key)
        return self._sets[key]

    def prepare_records(self, op_id: str, records: Sequence[SampleRecord]) -> SampleSet:
        """Make a set from the records of a sample file that are of this operator."""
        spec = find_operator(op_id)
        raw = [record.model_dump(mode="json") for record in records if record.op == op_id]
        return self._produce(
            spec, {"op_id": op_id, "suite": "data", "records": raw, "seed": 0}, True
        )

    def _produce(
        self, spec: OperatorSpec, arguments: dict[str, Any], repeat_all: bool
    ) -> SampleSet:
        answer, block = self.zygote.call("models.kernels.harness.reference:produce", arguments)
        split = answer["inputs_bytes"]
        described = [
            sample | {"repeat": repeat_all or sample.get("is_first_of_key", False),
                      "may_read": "reads_data" in spec.tags}
            for sample in answer["samples"]
        ]  # fmt: skip
        described.sort(key=lambda sample: not sample.get("is_first_of_key", False))
        return SampleSet(spec.op_id, arguments["suite"], arguments["seed"], tuple(described),
                         block[:split], block[split:])  # fmt: skip

    def versions(self) -> dict[str, str]:
        """Return the versions of torch, triton, numpy, scipy and of the rules of passing."""
        self.zygote.start()
        return {**self.zygote.hello.get("versions", {}), "harness": HARNESS_VERSION}

    def test(
        self,
        candidate: KernelCandidate,
        samples: SampleSet,
        profile: DeviceProfile | None = None,
        stop_at_first_failure: bool = False,
        depends_on: Sequence[KernelCandidate] = (),
        store: BatchStore | None = None,
    ) -> TestReport:
        """Run a candidate on all samples and judge the results.

        A process that crashes, loops, or exits loses its sample only; the next sample runs in a
        new one, up to `limits.most_restarts` per batch.

        Args:
            candidate: What to test.
            samples: From `prepare`.
            profile: Alignment rules; None: the interpreter's profile.
            stop_at_first_failure: As in the loop; the rest counts as not run.
            depends_on: Modules that a self-consistent candidate calls, in order of dependence.
            store: Where finished batches are kept and found; None: nowhere.

        Raises:
            ZygoteError: The machinery itself failed; never because of a candidate.
        """
        began = time.monotonic()
        profile = profile or find_profile("interpreter")
        run = _Run(self, candidate, samples, profile, stop_at_first_failure, depends_on, store)
        outcomes = run.all()
        return TestReport(
            sha=candidate.sha, op_id=candidate.op_id, profile=profile.name, suite=samples.suite,
            seed_set=(samples.seed,), launches=run.distinct_launches(),
            store_coverage=run.stored / run.due if run.due else None,
            peak_rss_bytes=run.peak, elapsed_s=time.monotonic() - began, cpu_s=run.cpu_s,
            walls_missing=tuple(sorted(run.missing)),
            versions=self.versions(),
            **summed(outcomes),
        )  # fmt: skip


class _Run:
    """The state of one test run."""

    def __init__(
        self, harness: Harness, candidate: KernelCandidate, samples: SampleSet,
        profile: DeviceProfile, stops: bool, depends_on: Sequence[KernelCandidate],
        store: BatchStore | None,
    ) -> None:  # fmt: skip
        self.harness, self.candidate, self.samples = harness, candidate, samples
        self.profile, self.stops, self.depends_on = profile, stops, depends_on
        self.store = store
        self.tags = find_operator(samples.op_id).tags
        self.launched: dict[str, LaunchRecord] = {}
        self.due = self.stored = self.peak = 0
        self.cpu_s = 0.0
        self.missing: set[str] = set()

    def all(self) -> list[TestOutcome]:
        """Run every batch, in order; finished ones are taken from the store."""
        outcomes: list[TestOutcome] = []
        has_failed = False
        for batch in cut(self.samples.samples):
            if has_failed and self.stops:
                outcomes += [outcome_of(sample, {"status": "not_run"}) for sample in batch]
                continue
            result = self._kept(batch)
            self._note(result)
            outcomes += result.outcomes
            has_failed |= result.has_failed
        return outcomes

    def _kept(self, batch: list[dict[str, Any]]) -> BatchResult:
        if self.store is None:
            return self._batch(batch)
        key = self._key(batch)
        result = self.store.get(key)
        if result is None:
            result = self._batch(batch)
            # What an early stop left out has to run when all outcomes are asked for.
            if result.is_whole or not self.stops:
                self.store.put(key, result)
        return result

    def _key(self, batch: list[dict[str, Any]]) -> BatchKey:
        return BatchKey(
            op_id=self.candidate.op_id, sha=self.candidate.sha,
            depends_on=tuple(other.sha for other in self.depends_on), profile=self.profile.name,
            suite=self.samples.suite, seed=self.samples.seed,
            samples=samples_hash(batch, self.samples.inputs),
            conditions={**self.harness.versions(), "align_bytes": str(self.profile.align_bytes),
                        "limits": self.harness.limits.model_dump_json()},
        )  # fmt: skip

    def _batch(self, batch: list[dict[str, Any]]) -> BatchResult:
        runnable = [sample for sample in batch if "skip" not in sample]
        reply: dict[str, Any] = {"outcomes": [], "places": [], "endings": []}
        results = b""
        if runnable:
            reply, results = self._execute(runnable)
        raws = [dict(raw) for raw in reply["outcomes"]]
        due, stored = self._compare(runnable, raws, reply["places"], results)
        by_id = {sample["sample_id"]: raw for sample, raw in zip(runnable, raws, strict=True)}
        endings = reply["endings"]
        return BatchResult(
            outcomes=tuple(
                outcome_of(sample, by_id.get(sample["sample_id"], {"status": "skipped"}))
                for sample in batch
            ),
            launches=tuple(
                LaunchRecord.model_validate(raw)
                for ending in endings
                for raw in ending.get("launches", ())
            ),
            due_bytes=due,
            stored_bytes=stored,
            peak_rss_bytes=max((ending["peak_rss_bytes"] for ending in endings), default=0),
            cpu_s=sum(ending["cpu_s"] for ending in endings),
            walls_missing=tuple(sorted({n for one in endings for n in one.get("missing", ())})),
        )

    def _execute(self, runnable: list[dict[str, Any]]) -> tuple[dict[str, Any], bytes]:
        block, sent = bytearray(), []
        for sample in runnable:
            start, size = sample["place"]
            sent.append({"tree": sample["tree"], "place": [len(block), size],
                         "form": sample["form"], "repeat": sample["repeat"],
                         "may_read": sample["may_read"]})  # fmt: skip
            block += self.samples.inputs[start : start + size]
        request = {
            "kind": "execute", "candidate": self.candidate.model_dump(mode="json"),
            "depends_on": [other.model_dump(mode="json") for other in self.depends_on],
            "samples": sent, "limits": self.harness.limits.model_dump(),
            "align_bytes": self.profile.align_bytes, "stop_at_first_failure": self.stops,
        }  # fmt: skip
        return self.harness.zygote.ask(request, bytes(block))

    def _compare(
        self, runnable: list[dict[str, Any]], raws: list[dict[str, Any]],
        places: list[list[int]], results: bytes,
    ) -> tuple[int, int]:  # fmt: skip
        """Put the verdict into each raw outcome that ran; returns bytes due and bytes stored."""
        block, cases, judged = bytearray(results), [], []
        for sample, raw, place in zip(runnable, raws, places, strict=True):
            if raw["status"] != "ran" or "expected" not in sample:
                continue
            start, size = sample["expected_place"]
            cases.append({"tree": raw["tree"], "place": place, "tensors": raw["tensors"],
                          "is_repeatable": raw.get("is_repeatable"), "form": sample["form"],
                          "is_order_free": raw.get("is_order_free"),
                          "expected": sample["expected"], "expected_place": [len(block), size],
                          "aliases": sample["aliases"], "tolerances": sample["tolerances"],
                          "variant": sample["variant"], "dtype": sample["dtype"],
                          "index": sample["index"]})  # fmt: skip
            block += self.samples.expected[start : start + size]
            if "wider" in sample:
                start, size = sample["wider_place"]
                cases[-1] |= {"wider": sample["wider"], "wider_place": [len(block), size],
                              "wider_oracle": sample["wider_oracle"]}  # fmt: skip
                block += self.samples.expected[start : start + size]
            judged.append(raw)
        if not cases:
            return 0, 0
        arguments = {"cases": cases, "op_id": self.samples.op_id, "suite": self.samples.suite,
                     "seed": self.samples.seed, "tags": list(self.tags)}  # fmt: skip
        verdicts, _ = self.harness.zygote.call(
            "models.kernels.harness.compare:compare_batch", arguments, bytes(block)
        )
        for raw, verdict in zip(judged, verdicts, strict=True):
            raw |= verdict
        return (sum(verdict["bytes"] for verdict in verdicts),
                sum(verdict["stored_bytes"] for verdict in verdicts))  # fmt: skip

    def _note(self, result: BatchResult) -> None:
        self.cpu_s += result.cpu_s
        self.peak = max(self.peak, result.peak_rss_bytes)
        self.due += result.due_bytes
        self.stored += result.stored_bytes
        self.missing.update(result.walls_missing)
        for record in result.launches:
            key = record.model_copy(update={"count": 0, "grid": (0, 0, 0)}).model_dump_json()
            before = self.launched.get(key)
            total = record.count + (before.count if before else 0)
            self.launched[key] = (before or record).model_copy(update={"count": total})

    def distinct_launches(self) -> tuple[LaunchRecord, ...]:
        """Return launches that differ in more than their grid."""
        return tuple(self.launched[key] for key in sorted(self.launched))
