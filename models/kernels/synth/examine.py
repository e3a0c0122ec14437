"""Synthesise, lint and run one operator in this process; the census's work on each."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from models.kernels.lint.signature import Signature
from models.kernels.operators import OperatorSpec
from models.kernels.synth.schedule import Schedule

SCHEDULES = (Schedule(), Schedule(round_between=True))
"""Tried in order while results are wrong: the repair that the proposer makes first."""


@dataclass(frozen=True)
class CensusRow:
    """What became of one operator."""

    op_id: str
    family: str
    status: str
    """passed, failed (some tests), unsupported (no module), broken, timeout."""
    total: int
    """Tests of the public suite in the types asked for."""
    passed: int
    programs: int = 0
    rules: tuple[str, ...] = ()
    lint: tuple[str, ...] = ()
    """Lint rules that the module breaks."""
    reasons: dict[str, int] = field(default_factory=dict)
    """Tests by reason of failure."""
    synthesis_s: float = 0.0
    """CPU seconds to write the module."""
    run_s: float = 0.0
    """CPU seconds to run its tests."""
    source_bytes: int = 0
    repair: str = ""
    """What was changed after wrong results: round_between."""


def _calls(
    spec: OperatorSpec, dtypes: Sequence[str], most: int | None
) -> tuple[list[Any], list[Any]]:
    from models.kernels.samples.streams import stream, take
    from models.kernels.synth.calls import Call

    samples = [
        one
        for dtype in dtypes
        if dtype in spec.dtypes
        for one in take(stream(spec.op_id, "S", dtype), most)
    ]
    return samples, [Call(one.function, one.args, one.kwargs) for one in samples]


def examine(
    spec: OperatorSpec, dtypes: Sequence[str], most: int | None, folder: Path, keep: Path | None
) -> CensusRow:
    """Synthesise, lint and run one operator in this process, which must be warmed up.

    Args:
        spec: The operator.
        dtypes: Types of the tests.
        most: Tests per type at most; None: all.
        folder: Where the module is loaded from.
        keep: Where its text stays; None: nowhere.
    """
    from models.kernels.synth.calls import serving_signature

    samples, calls = _calls(spec, dtypes, most)
    began = time.process_time()
    try:
        signature = serving_signature(spec.op_id, spec.schema_text, spec.overloads, calls)
        row = _tried(spec, signature, samples, calls, SCHEDULES[0], folder, keep)
    except Exception as error:
        reason = f"{type(error).__name__}: {error}"[:200]
        cpu_s = time.process_time() - began
        return CensusRow(
            spec.op_id, spec.family, "unsupported", len(samples), 0,
            reasons={reason: len(samples)}, synthesis_s=cpu_s,
        )  # fmt: skip
    for schedule in SCHEDULES[1:]:
        if row.status == "passed" or not any("wrong" in reason for reason in row.reasons):
            break
        again = _tried(spec, signature, samples, calls, schedule, folder, keep)
        row = again if again.passed > row.passed else row
    return row


def _tried(
    spec: OperatorSpec,
    signature: Signature,
    samples: Sequence[Any],
    calls: Sequence[Any],
    schedule: Schedule,
    folder: Path,
    keep: Path | None,
) -> CensusRow:
    from models.kernels.lint import lint_text
    from models.kernels.profiles import find_profile
    from models.kernels.synth.module import synthesize

    began = time.process_time()
    source, made = synthesize(signature, calls, schedule)
    synthesis_s = time.process_time() - began
    if keep is not None:
        (keep / f"{spec.op_id}.txt").write_text(source, encoding="utf-8")
    report = lint_text(
        source, signature, find_profile("interpreter"), size_reads="reads_data" in spec.tags
    )
    lint = tuple(sorted({one.rule for one in report.violations if one.severity == "error"}))
    began = time.process_time()
    passed, reasons = run_samples(spec.op_id, source, samples, folder, spec.tags)
    reasons.update({f"refused: {reason}": count for reason, count in made.refused.items()})
    is_whole = passed == len(samples) and not lint
    return CensusRow(
        spec.op_id, spec.family, "passed" if is_whole else "failed", len(samples), passed,
        len(made.programs), made.rules, lint, dict(reasons.most_common(4)), synthesis_s,
        time.process_time() - began, len(source), "round_between" if schedule.round_between else "",
    )  # fmt: skip


def run_samples(
    op_id: str, source: str, samples: Sequence[Any], folder: Path, tags: Sequence[str] = ()
) -> tuple[int, Counter[str]]:
    """Run a module on samples; return how many equal ATen's results, and the failures."""
    from models.kernels.candidate import HEADER_LINES, KernelCandidate, load_module
    from models.kernels.execute.builder import STATE
    from models.kernels.execute.call import run_call
    from models.kernels.execute.recorder import BlackBox, Recorder
    from models.kernels.harness.gauge import post_processing
    from models.kernels.operators.opinfo import PUBLIC_SEED, entries_of
    from models.kernels.samples.values import pack, unpack

    candidate = KernelCandidate.of(op_id, source)
    entry = entries_of(op_id)[0]
    recorder = Recorder(
        BlackBox(), str(folder / f"generated_{candidate.sha[:24]}.py"), HEADER_LINES
    )
    STATE.recorder, STATE.align_bytes = recorder, 1
    module = load_module(candidate, folder)
    passed, reasons = 0, Counter[str]()
    for sample in samples:
        tree, block = pack((sample.args, sample.kwargs))
        request = {"tree": tree, "place": [0, len(block)], "form": "functional",
                   "may_read": "reads_data" in tags}  # fmt: skip
        outcome, out = run_call(module, request, bytes(block), recorder)
        if outcome["status"] != "ran":
            said = outcome.get("violations") or outcome.get("message", "")
            reasons[
                f"{outcome['status']}: {said}"[:220] + str(outcome.get("trace", ""))[-160:]
            ] += 1
            continue
        with_values = "uninitialised" not in tags
        actual = unpack(outcome["tree"], out)
        change = None
        if "gauge" in tags:
            case = {"variant": sample.variant, "dtype": sample.dtype, "index": sample.index}
            change = post_processing(op_id, case, PUBLIC_SEED)
        said = differs(actual, sample, entry, with_values, change)
        if said:
            reasons[f"wrong {sample.dtype}: {said}"[:260]] += 1
        else:
            passed += 1
    return passed, reasons


def differs(
    actual: Any,
    sample: Any,
    entry: Any,
    with_values: bool = True,
    change: Callable[[Any], Any] | None = None,
) -> str:
    """Return how a result differs from ATen's under OpInfo's tolerances; empty: it does not.

    A half result may also equal what ATen computes in float32 and rounds once. Without values,
    only types and shapes count. `change` is OpInfo's post-processing of results that are right up
    to a sign.
    """
    import torch

    from models.kernels.harness.tolerance import tolerance_of
    from models.kernels.samples.layouts import map_tensors

    def listed(value: Any) -> list[Any]:
        return list(value) if isinstance(value, list | tuple) else [value]

    def compared(expected: Any) -> str:
        got, wanted = listed(actual), listed(expected)
        if len(got) != len(wanted):
            return f"{len(got)} results, {len(wanted)} expected"
        for one, other in zip(got, wanted, strict=True):
            if not isinstance(other, torch.Tensor):
                if type(one) is not type(other) or one != other:
                    return f"{one!r}, expected {other!r}"
                continue
            if not with_values:
                if (one.dtype, one.shape) != (other.dtype, other.shape):
                    return f"{one.dtype}{one.shape}, expected {other.dtype}{other.shape}"
                continue
            half = getattr(other, "dtype", None) or torch.float32
            is_exact = not (half.is_floating_point or half.is_complex)
            rtol, atol = (0.0, 0.0) if is_exact else tolerance_of(entry, half)
            try:
                torch.testing.assert_close(
                    one, other, rtol=rtol, atol=atol, equal_nan=True, check_stride=False
                )
            except AssertionError as error:
                return " ".join(str(error).split())
        return ""

    expected = sample.function(*sample.args, **sample.kwargs)
    if change is not None:
        actual, expected = change(actual), change(expected)
    said = compared(expected)
    if said and sample.dtype in ("float16", "bfloat16"):
        halves = (torch.float16, torch.bfloat16)

        def widened(tensor: Any) -> Any:
            return tensor.float() if tensor.dtype in halves else tensor

        args, kwargs = map_tensors((sample.args, sample.kwargs), widened)
        try:
            wide = listed(sample.function(*args, **kwargs))
        except Exception:
            return said
        kinds = [one.dtype for one in listed(expected)]
        if not compared([one.to(kind) for one, kind in zip(wide, kinds, strict=True)]):
            return ""
    return said
