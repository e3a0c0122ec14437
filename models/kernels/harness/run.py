"""Test a candidate: first one sample per structure key, then all; crashes contained."""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from models.kernels.candidate import KernelCandidate
from models.kernels.execute.recorder import LaunchRecord
from models.kernels.execute.walls import ExecutionLimits
from models.kernels.execute.zygote import Zygote
from models.kernels.harness.outcome import outcome_of
from models.kernels.harness.report import TestOutcome, TestReport, summed
from models.kernels.operators.catalogue import find_operator
from models.kernels.operators.opinfo import PUBLIC_SEED
from models.kernels.operators.spec import OperatorSpec
from models.kernels.profiles import DeviceProfile, find_profile
from models.kernels.samples.file import SampleRecord
from models.kernels.samples.streams import Suite, default_dtypes

HARNESS_VERSION = "1"
"""Part of every report: raised when a rule of passing changes."""
BATCH = 128
"""Samples per process: a kill loses at most one batch."""
_BATCH_BYTES = 96 * 1024**2
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

    def test(
        self,
        candidate: KernelCandidate,
        samples: SampleSet,
        profile: DeviceProfile | None = None,
        stop_at_first_failure: bool = False,
        depends_on: Sequence[KernelCandidate] = (),
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

        Raises:
            ZygoteError: The machinery itself failed; never because of a candidate.
        """
        began = time.monotonic()
        profile = profile or find_profile("interpreter")
        run = _Run(self, candidate, samples, profile, stop_at_first_failure, depends_on)
        outcomes = run.all()
        return TestReport(
            sha=candidate.sha, op_id=candidate.op_id, profile=profile.name, suite=samples.suite,
            seed_set=(samples.seed,), launches=run.distinct_launches(),
            store_coverage=run.stored / run.due if run.due else None,
            peak_rss_bytes=run.peak, elapsed_s=time.monotonic() - began, cpu_s=run.cpu_s,
            walls_missing=tuple(sorted(run.missing)),
            versions={**self.zygote.hello.get("versions", {}), "harness": HARNESS_VERSION},
            **summed(outcomes),
        )  # fmt: skip


class _Run:
    """The state of one test run."""

    def __init__(
        self, harness: Harness, candidate: KernelCandidate, samples: SampleSet,
        profile: DeviceProfile, stops: bool, depends_on: Sequence[KernelCandidate],
    ) -> None:  # fmt: skip
        self.harness, self.candidate, self.samples = harness, candidate, samples
        self.profile, self.stops, self.depends_on = profile, stops, depends_on
        self.tags = find_operator(samples.op_id).tags
        self.launched: dict[str, LaunchRecord] = {}
        self.due = self.stored = self.peak = 0
        self.cpu_s = 0.0
        self.missing: set[str] = set()

    def all(self) -> list[TestOutcome]:
        """Run every batch, in order."""
        outcomes: list[TestOutcome] = []
        has_failed = False
        for batch in self._batches():
            if has_failed and self.stops:
                outcomes += [outcome_of(sample, {"status": "not_run"}) for sample in batch]
                continue
            found = self._batch(batch)
            outcomes += found
            has_failed |= any(o.status not in ("passed", "skipped") for o in found)
        return outcomes

    def _batches(self) -> list[list[dict[str, Any]]]:
        batches: list[list[dict[str, Any]]] = []
        size = 0
        for sample in self.samples.samples:
            own = sample.get("place", [0, 0])[1]
            is_full = bool(batches) and (len(batches[-1]) >= BATCH or size + own > _BATCH_BYTES)
            if not batches or is_full:
                batches.append([])
                size = 0
            batches[-1].append(sample)
            size += own
        return batches

    def _batch(self, batch: list[dict[str, Any]]) -> list[TestOutcome]:
        runnable = [sample for sample in batch if "skip" not in sample]
        reply: dict[str, Any] = {"outcomes": [], "places": [], "endings": []}
        results = b""
        if runnable:
            reply, results = self._execute(runnable)
        self._note(reply["endings"])
        raws = [dict(raw) for raw in reply["outcomes"]]
        self._compare(runnable, raws, reply["places"], results)
        by_id = {sample["sample_id"]: raw for sample, raw in zip(runnable, raws, strict=True)}
        return [
            outcome_of(sample, by_id.get(sample["sample_id"], {"status": "skipped"}))
            for sample in batch
        ]

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
    ) -> None:  # fmt: skip
        """Put the verdict into each raw outcome that ran."""
        block, cases, judged = bytearray(results), [], []
        for sample, raw, place in zip(runnable, raws, places, strict=True):
            if raw["status"] != "ran" or "expected" not in sample:
                continue
            start, size = sample["expected_place"]
            cases.append({"tree": raw["tree"], "place": place, "tensors": raw["tensors"],
                          "is_repeatable": raw.get("is_repeatable"),
                          "expected": sample["expected"], "expected_place": [len(block), size],
                          "aliases": sample["aliases"], "tolerances": sample["tolerances"],
                          "variant": sample["variant"], "dtype": sample["dtype"],
                          "index": sample["index"]})  # fmt: skip
            block += self.samples.expected[start : start + size]
            if "wider" in sample:
                start, size = sample["wider_place"]
                cases[-1] |= {"wider": sample["wider"], "wider_place": [len(block), size]}
                block += self.samples.expected[start : start + size]
            judged.append(raw)
        if not cases:
            return
        arguments = {"cases": cases, "op_id": self.samples.op_id, "suite": self.samples.suite,
                     "seed": self.samples.seed, "tags": list(self.tags)}  # fmt: skip
        verdicts, _ = self.harness.zygote.call(
            "models.kernels.harness.compare:compare_batch", arguments, bytes(block)
        )
        for raw, verdict in zip(judged, verdicts, strict=True):
            raw |= verdict
            self.due += verdict["bytes"]
            self.stored += verdict["stored_bytes"]

    def _note(self, endings: list[dict[str, Any]]) -> None:
        for ending in endings:
            self.cpu_s += ending["cpu_s"]
            self.peak = max(self.peak, ending["peak_rss_bytes"])
            self.missing.update(ending.get("missing", ()))
            for raw in ending.get("launches", ()):
                record = LaunchRecord.model_validate(raw)
                key = record.model_copy(update={"count": 0, "grid": (0, 0, 0)}).model_dump_json()
                before = self.launched.get(key)
                total = record.count + (before.count if before else 0)
                self.launched[key] = (before or record).model_copy(update={"count": total})

    def distinct_launches(self) -> tuple[LaunchRecord, ...]:
        """Return launches that differ in more than their grid."""
        return tuple(self.launched[key] for key in sorted(self.launched))
